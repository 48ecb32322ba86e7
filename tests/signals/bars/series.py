"""Bars for tests: a random walk on ticks, in sessions, with a hole where one is wanted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from configs.signals import MMDConfig, ScalingConfig, SignalsConfig
from market.bars import Bars, BarsReport
from signals.bars.streams import Bar

TICK = 0.25
MINUTES = 30
NS_PER_MINUTE = 60_000_000_000
SESSION = 46  # bars, then an hour's break, as in the sample of real bars
SHORT = SignalsConfig(
    mmd=MMDConfig(recent=12, reference=40),
    scaling=ScalingConfig(zscore_window=60, zscore_least=20),
)
"""Windows short enough that a few hundred bars warm everything up."""


def bars_of(start: np.ndarray, prices: np.ndarray, volume: np.ndarray) -> Bars:
    """Bars of arrays: start [n], prices [n, 4], volume [n]."""
    n = len(start)
    open_, high, low, close = (np.ascontiguousarray(column) for column in prices.T)
    report = BarsReport(n, n, {}, 0, 0, 0, None)
    return Bars(start, open_, high, low, close, volume, "a test", "none", report)


def walk(n: int, seed: int = 0, hole: int | None = None, scale: float = 8.0) -> Bars:
    """A random walk of `n` bars, with ten days missing before row `hole`."""
    rng = np.random.default_rng(seed)
    steps = np.rint(rng.standard_t(4, (n, 8)) * scale / np.sqrt(8.0))
    jump = np.where(np.arange(n) % SESSION == 0, np.rint(rng.normal(0.0, 2.0 * scale, n)), 0.0)
    path = np.cumsum(np.concatenate([jump[:, None], steps], axis=1).ravel()).reshape(n, 9)[:, 1:]
    ticks = 40_000.0 + path
    prices = TICK * np.column_stack([ticks[:, 0], ticks.max(1), ticks.min(1), ticks[:, -1]])
    volume = np.rint(1000.0 * rng.lognormal(0.0, 0.6, n))
    volume[rng.random(n) < 0.01] = 0.0
    bar = np.arange(n)
    minutes = MINUTES * bar + 60 * (bar // SESSION)
    if hole is not None:
        minutes[hole:] += 10 * 24 * 60
    start = 1_600_000_200_000_000_000 + minutes * NS_PER_MINUTE
    return bars_of(start, prices, volume)


def part(bars: Bars, rows: slice) -> Bars:
    """Some rows of bars."""
    names = ("start", "open", "high", "low", "close", "volume")
    return replace(bars, **{name: getattr(bars, name)[rows] for name in names})


def each(bars: Bars) -> list[Bar]:
    """The bars one by one."""
    columns = (bars.start, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return [Bar(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
