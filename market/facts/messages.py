"""Messages: rates, gaps between them, how they cluster, and how long orders rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from market.facts.intervals import Estimate, of_quantile, of_sums, of_tail, ratio
from market.facts.sample import ROUNDING, Sample

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SHORT_GAP_SECONDS = 1e-3
BRANCHING_SECONDS = 60.0


def messages_per_second(sample: Sample) -> Estimate:
    """Limit orders, market orders and cancels a second."""
    return sample.rate([recording.message_time for recording in sample.recordings], "messages")


def interarrival_cv(sample: Sample) -> Estimate:
    """Standard deviation of the gaps between messages over their mean; 1 for Poisson."""
    gap, blocks = gaps(sample)
    sums = sample.block_sums(blocks, np.ones_like(gap), gap, gap**2)

    def variation(s: Floats) -> Floats:
        mean = s[:, 1] / s[:, 0]
        return np.sqrt(np.maximum(s[:, 2] / s[:, 0] - mean**2, 0.0)) / mean

    return of_sums(sums, variation, sample.config, "fewer than two messages apart in time")


def interarrival_below(sample: Sample, seconds: float = SHORT_GAP_SECONDS) -> Estimate:
    """Share of the gaps between messages that are shorter than `seconds`."""
    gap, blocks = gaps(sample)
    sums = sample.block_sums(blocks, np.ones_like(gap), (gap < seconds).astype(np.float64))
    return of_sums(sums, ratio, sample.config, "fewer than two messages")


def fano(sample: Sample, window: float) -> Estimate:
    """Variance over mean of the count of messages in windows of `window` s; 1 for Poisson."""
    sums = _count_sums(sample, window)
    return of_sums(sums, _fano, sample.config, _no_counts(window))


def branching_ratio(sample: Sample) -> Estimate:
    """1 - 1 / sqrt(Fano factor of a minute): the share of messages that others caused.

    Hardiman and Bouchaud (2014): exact for a Hawkes process over windows longer than
    its memory; a rate that varies for other reasons raises it. 0 where the factor is
    below 1.
    """
    sums = _count_sums(sample, BRANCHING_SECONDS)
    return of_sums(
        sums,
        lambda s: 1.0 - 1.0 / np.sqrt(np.maximum(_fano(s), 1.0)),
        sample.config,
        _no_counts(BRANCHING_SECONDS),
    )


def cancel_age_median(sample: Sample) -> Estimate:
    """Median time from an order's arrival to its cancel, seconds, of those cancelled."""
    age, blocks = ages(sample)
    return of_quantile(age, np.ones_like(age), blocks, 0.5, sample.config)


def cancel_age_tail(sample: Sample) -> Estimate:
    """Hill's exponent of the longest ages at cancel: P(age > x) ~ x^-a.

    A recording cannot see an age beyond its own length, which raises the exponent.
    """
    age, blocks = ages(sample)
    return of_tail(age, blocks, sample.config, "cancels")


def gaps(sample: Sample) -> tuple[Floats, Integers]:
    """Every gap between successive messages of one recording, seconds, and its block."""
    parts = [
        (np.diff(r.message_time), sample.block_of(index, r.message_time[1:]))
        for index, r in enumerate(sample.recordings)
    ]
    seconds, blocks = (np.concatenate(column) for column in zip(*parts, strict=True))
    return seconds, blocks


def ages(sample: Sample) -> tuple[Floats, Integers]:
    """Every age at cancel, seconds, and its block; cancels are taken to come in time."""
    parts = [
        (r.cancel_age, sample.block_of_rank(index, r.cancel_age.size))
        for index, r in enumerate(sample.recordings)
    ]
    seconds, blocks = (np.concatenate(column) for column in zip(*parts, strict=True))
    return seconds, blocks


def _count_sums(sample: Sample, window: float) -> Floats:
    """Sums of 1, N and N^2 over full windows, by the block they start in, [blocks, 3]."""
    sums = np.zeros((sample.blocks, 3))
    for index, recording in enumerate(sample.recordings):
        windows = int(recording.seconds / window + ROUNDING)
        if windows == 0:
            continue
        place = np.floor(recording.message_time / window).astype(np.int64)
        count = np.bincount(place[place < windows], minlength=windows).astype(np.float64)
        blocks = sample.block_of(index, np.arange(windows, dtype=np.float64) * window)
        sums += sample.block_sums(blocks, np.ones_like(count), count, count**2)
    return sums


def _fano(sums: Floats) -> Floats:
    """Unbiased variance over mean, from sums of 1, N, N^2, [draws, 3]."""
    windows, mean = sums[:, 0], sums[:, 1] / sums[:, 0]
    return (sums[:, 2] / windows - mean**2) * windows / (windows - 1.0) / mean


def _no_counts(window: float) -> str:
    return f"no messages, or fewer than two windows of {window:g} s"
