"""Quotes and depth: the spread, locked markets, and what rests behind the best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from market.facts.intervals import Estimate, of_quantile, of_sums, ratio
from market.facts.sample import Sample, quote_seconds

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NEVER_QUOTED = "never quoted on both sides"


def spread_mean(sample: Sample) -> Estimate:
    """Mean of ask less bid over the time that both are quoted, ticks."""
    spread, seconds, blocks = spreads(sample)
    sums = sample.block_sums(blocks, seconds, spread * seconds)
    return of_sums(sums, ratio, sample.config, NEVER_QUOTED)


def spread_median(sample: Sample) -> Estimate:
    """The spread that is not exceeded half of the time that both sides are quoted, ticks."""
    spread, seconds, blocks = spreads(sample)
    if not seconds.sum() > 0.0:
        raise DataError(NEVER_QUOTED)
    return of_quantile(spread, seconds, blocks, 0.5, sample.config)


def locked_or_crossed(sample: Sample) -> Estimate:
    """Share of the time quoted on both sides that the bid is at or above the ask."""
    spread, seconds, blocks = spreads(sample)
    sums = sample.block_sums(blocks, seconds, seconds * (spread <= 0.0))
    return of_sums(sums, ratio, sample.config, NEVER_QUOTED)


def one_sided(sample: Sample) -> Estimate:
    """Share of the time from the first quote on that a side is empty."""
    sums = np.zeros((sample.blocks, 2))
    for index, recording in enumerate(sample.recordings):
        seconds = quote_seconds(recording)
        blocks = sample.block_of(index, recording.quote_time)
        sums += sample.block_sums(blocks, seconds, seconds * np.isnan(recording.mid))
    return of_sums(sums, ratio, sample.config, "no quotes")


def depth_profile(sample: Sample) -> Floats:
    """Mean quantity k ticks behind the best quote, [k], as far as every recording tells it."""
    shortest = min(recording.depth.size for recording in sample.recordings)
    if not shortest:
        raise DataError("no depth recorded")
    weights = [recording.seconds for recording in sample.recordings]
    profiles = [recording.depth[:shortest] for recording in sample.recordings]
    return np.average(profiles, axis=0, weights=weights)


def depth_at_best(sample: Sample) -> Estimate:
    """Mean quantity at the best quote, units."""
    return Estimate(float(depth_profile(sample)[0]))


def depth_peak(sample: Sample) -> Estimate:
    """How far behind the best quote most quantity rests, ticks."""
    profile = depth_profile(sample)
    if not profile.sum() > 0.0:
        raise DataError("no quantity rests in the depth recorded")
    return Estimate(float(profile.argmax()))


def spreads(sample: Sample) -> tuple[Floats, Floats, Integers]:
    """Every spread quoted, ticks, the seconds that it stood, and its block."""
    kept: list[tuple[Floats, Floats, Integers]] = []
    for index, recording in enumerate(sample.recordings):
        spread = recording.ask - recording.bid
        quoted = np.isfinite(spread)
        blocks = sample.block_of(index, recording.quote_time)
        kept.append((spread[quoted], quote_seconds(recording)[quoted], blocks[quoted]))
    spread, seconds, blocks = (np.concatenate(column) for column in zip(*kept, strict=True))
    return spread, seconds, blocks
