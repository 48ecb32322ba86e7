"""Shorter bars that emerge from longer ones, for layers that decide more often than a file tells.

Each bar is cut into equal parts along one path: a bridge pinned at its open, high, low and
close (`market.reference`), whose clock and volume follow an activity that is drawn. Between
two marks of the path the extremes are drawn from their law given both and given that the bar's
own high and low are not passed (Brownian bridge; Karatzas and Shreve, "Brownian Motion and
Stochastic Calculus", 1991, section 4.3.C), so that the parts' ranges are not too narrow. The
parts add up to the bar exactly, and depend on that bar alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.market import FlowConfig
from market.arrivals import draw_activity
from market.bars import Bars
from market.kernels import inlined, kernel
from market.random import PURPOSE_FINER, hash64, stream_key, uniform
from market.reference import bar_deviation, pinned_bridge
from market.synthetic import bars_of_columns

MARK_SECONDS = 30.0  # between two marks of the path, at most
_NS_PER_MINUTE = 60_000_000_000
_MINUTE = 60.0
_PATH, _MOOD, _EXTREMES = range(3)  # draws of one bar, by number
_OPEN, _HIGH, _LOW, _CLOSE, _VOLUME = range(5)
_COLUMNS = 5


def finer_bars(
    bars: Bars,
    bar_minutes: float,
    parts: int,
    tick: float,
    seed: int,
    flow: FlowConfig | None = None,
) -> Bars:
    """Every bar of `bars` cut into `parts`; opens, extremes, closes and volumes add up exactly.

    Args:
        bars: of `bar_minutes` each.
        bar_minutes: their length.
        parts: of one bar, equally long; 1 gives the same bars.
        tick: price increment, currency; what the bar does not pin lies on it.
        seed: of every draw, with the bar's stamp; 0 to 2^64 - 1.
        flow: how activity wanders; the default flow where None.

    Raises:
        DataError: `parts` is not positive, or a part is no whole number of ns.
    """
    length = bar_minutes * _NS_PER_MINUTE
    if parts < 1 or length % parts:
        raise DataError(
            f"{bars.source}: bars of {bar_minutes:g} min cut into {parts}, expected one part or "
            "more of a whole number of ns; set bar_minutes to a part of the file's"
        )
    arrivals = (flow or FlowConfig()).arrivals
    seconds = bar_minutes * _MINUTE / parts
    steps = max(math.ceil(seconds / MARK_SECONDS), 1)
    given = np.stack([bars.open, bars.high, bars.low, bars.close, bars.volume], axis=1)
    columns = np.empty((_COLUMNS, len(bars) * parts))
    _cut(
        np.uint64(seed),
        bars.start,
        given,
        tick,
        parts,
        seconds / steps,
        np.array(arrivals.activity_seconds),
        arrivals.activity_dispersion,
        np.empty(parts * steps),
        np.empty(parts * steps + 1),
        np.empty(parts * steps + 1),
        columns,
    )
    offsets = np.arange(parts, dtype=np.int64) * int(length // parts)
    start = (bars.start[:, None] + offsets).ravel()
    source = f"{bars.source}, each bar in {parts}" if parts > 1 else bars.source
    return bars_of_columns(start, tuple(columns), source)


@inlined
def _beyond(first: float, second: float, edge: float, variance: float, draw: float) -> float:
    """The highest of a bridge from `first` to `second` that does not pass `edge`.

    P(highest > m) = exp(-2 (m - first) (m - second) / variance) for m at or above both.
    """
    if variance <= 0.0:
        return max(first, second)
    passing = math.exp(-2.0 * (edge - first) * (edge - second) / variance)
    change = second - first
    free = math.log(passing + (1.0 - passing) * draw)
    return first + 0.5 * (change + math.sqrt(change * change - 2.0 * variance * free))


@inlined
def _settled(price: float, tick: float, low: float, high: float) -> float:
    """The price on its increment, within the bar; the bar's extremes stay what they are."""
    if price <= low or price >= high:
        return min(max(price, low), high)
    return min(max(np.rint(price / tick) * tick, low), high)


@kernel
def _cut(
    seed: np.uint64,
    start: NDArray[np.int64],
    given: NDArray[np.float64],
    tick: float,
    parts: int,
    mark_seconds: float,
    memories: NDArray[np.float64],
    dispersion: float,
    busy: NDArray[np.float64],
    path: NDArray[np.float64],
    scratch: NDArray[np.float64],
    columns: NDArray[np.float64],
) -> None:
    """Cut bars `given` [n, 5] into `columns` [5, n parts]; the rest is scratch."""
    for bar in range(len(start)):
        row = given[bar]
        key = stream_key(seed, start[bar], PURPOSE_FINER)
        draw_activity(hash64(key, _MOOD), mark_seconds, memories, dispersion, busy)
        sigma = bar_deviation(row[_OPEN], row[_HIGH], row[_LOW], row[_CLOSE])
        bridge = hash64(key, _PATH)
        pinned_bridge(
            bridge, row[_OPEN], row[_HIGH], row[_LOW], row[_CLOSE], sigma, busy, path, scratch
        )
        _part(hash64(key, _EXTREMES), row, sigma, tick, parts, busy, path, bar * parts, columns)


@inlined
def _part(
    key: np.uint64,
    row: Any,
    sigma: float,
    tick: float,
    parts: int,
    busy: Any,
    path: Any,
    at: int,
    columns: Any,
) -> None:
    """Write the parts of one bar, whose path and activity are drawn, from column `at`."""
    steps, low, high = len(busy) // parts, row[_LOW], row[_HIGH]
    whole, gone, sold = np.sum(busy), 0.0, 0.0
    last = row[_OPEN]
    for part in range(parts):
        top = bottom = columns[_OPEN, at + part] = last
        for step in range(part * steps, (part + 1) * steps):
            first, second = path[step], path[step + 1]
            variance = sigma * sigma * busy[step] / whole
            above = _beyond(first, second, high, variance, uniform(key, 2 * step))
            below = -_beyond(-first, -second, -low, variance, uniform(key, 2 * step + 1))
            top = max(top, _settled(above, tick, low, high))
            bottom = min(bottom, _settled(below, tick, low, high))
            gone += busy[step]
        last = row[_CLOSE] if part == parts - 1 else _settled(second, tick, low, high)
        columns[_HIGH, at + part], columns[_LOW, at + part] = max(top, last), min(bottom, last)
        columns[_CLOSE, at + part] = last
        # Whole units, so that they add up to the bar's volume to the bit.
        until = row[_VOLUME] if part == parts - 1 else math.floor(row[_VOLUME] * gone / whole)
        columns[_VOLUME, at + part] = until - sold
        sold = until
