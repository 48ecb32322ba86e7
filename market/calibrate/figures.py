"""The figures by which a simulated market is held against the real one: one code for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from configs.errors import DataError
from configs.execution import ExecutionConfig
from configs.market import LADDER_MULTIPLE
from market.facts import messages, prices, quotes, trades
from market.facts.sample import Sample, pooled
from market.record import DISTANCES, record_market
from market.recording import Recording

MESSAGES, SIZE, SPREAD, DEPTH = "messages_per_second", "trade_size_mean", "spread_mean", "depth"
VOLATILITY = "volatility"

_EDGE = 64  # ladder levels at either end that the path never reaches
_DEVIATIONS = 6.0  # of the path that a recording's ladder must hold
_MOST_LEVELS = 1 << 16


@dataclass(frozen=True)
class Figure:
    """One number of a market; `tolerance` is how far reached may lie from wanted, relative."""

    name: str
    unit: str
    tolerance: float | None
    of: Callable[[Sample], float]


def _depth(sample: Sample) -> float:
    return float(quotes.depth_profile(sample)[:DISTANCES].sum())


def _size_dispersion(sample: Sample) -> float:
    sizes, _ = trades.sizes(sample)
    if not len(sizes):
        raise DataError("no trades")
    return float(np.log(sizes).std())


FIGURES = (
    Figure(MESSAGES, "1/s", 0.10, lambda s: messages.messages_per_second(s).value),
    Figure("orders_per_second", "1/s", 0.15, lambda s: trades.orders_per_second(s).value),
    Figure(SIZE, "units", 0.10, lambda s: trades.trade_size_mean(s).value),
    Figure("size_dispersion", "1", 0.15, _size_dispersion),
    Figure(SPREAD, "ticks", 0.15, lambda s: quotes.spread_mean(s).value),
    Figure(DEPTH, f"units a side within {DISTANCES} ticks", 0.20, _depth),
    Figure(VOLATILITY, "ticks/sqrt(s)", 0.20, lambda s: prices.volatility(s).value),
    Figure("variance_ratio", "1", 0.25, lambda s: prices.variance_ratio(s).value),
    Figure("sign_memory_1", "1", 0.30, lambda s: trades.sign_memory(s, 1).value),
    Figure("sign_memory_10", "1", 0.50, lambda s: trades.sign_memory(s, 10).value),
    Figure("fano_1s", "1", 0.30, lambda s: messages.fano(s, 1.0).value),
    Figure("fano_60s", "1", 0.50, lambda s: messages.fano(s, 60.0).value),
    Figure("cancel_age_median", "s", 0.50, lambda s: messages.cancel_age_median(s).value),
)


def figures(recordings: Sequence[Recording]) -> dict[str, float]:
    """Every figure of one market; NaN where the recordings cannot tell it."""
    sample = pooled(recordings)
    out = {}
    for figure in FIGURES:
        try:
            out[figure.name] = figure.of(sample)
        except DataError:
            out[figure.name] = float("nan")
    return out


def ladder_for(config: ExecutionConfig, seconds: float, deviations: float = _DEVIATIONS) -> int:
    """Ladder levels that hold a path of `seconds`, or as many as a ladder may have."""
    reference = config.market.reference
    if reference.kind != "generator":
        return config.market.book.ladder_levels
    worst = max(regime.volatility for regime in reference.regimes)
    sigma = worst * np.sqrt(seconds / reference.trading_seconds_per_year)
    reach = deviations * sigma * reference.price / config.market.tick
    levels = 2 * (reach + config.market.flow.placement_limit + _EDGE)
    whole = int(np.ceil(levels / LADDER_MULTIPLE)) * LADDER_MULTIPLE
    return min(max(whole, config.market.book.ladder_levels), _MOST_LEVELS)


def simulate(
    config: ExecutionConfig, seconds: float, recordings: int, seed: int = 0
) -> list[Recording]:
    """Recordings of the market of `config`, on a ladder with room for the path."""
    book = config.market.book.model_copy(update={"ladder_levels": ladder_for(config, seconds)})
    roomy = config.model_copy(update={"market": config.market.model_copy(update={"book": book})})
    return [record_market(roomy, seconds, seed + number) for number in range(recordings)]
