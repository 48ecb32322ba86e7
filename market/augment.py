"""Bars that might have been, for training alone: block bootstrap and volatility scaling.

A bar is taken apart into what it did: the gap from the last close to its open, then high, low
and close over the open, all as log-returns, and its volume. Chained anew from the first open
these are bars again, whatever was done to them in between. Synthetic bars of switching
regimes, the third kind, come from `market.synthetic` and need no bars.

Only the training split is augmented: a validation or a test on bars that never were would
say nothing. What lies outside the split's range is not looked at.

A gap over a hole in the stamps (`hole_hours`) counts as 0: over months left out, or a
contract's end, prices move by what no bar shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.augmentation import HOLE_HOURS, AugmentationConfig
from configs.errors import ConfigError, DataError
from market.bars import Bars
from market.kernels import kernel
from market.random import PURPOSE_BOOTSTRAP, stream_key, uniform
from market.splits import SplitRange
from market.synthetic import bars_of_columns

Floats = NDArray[np.float64]

_HOUR_NS = 3_600_000_000_000
_DAY_NS = 24 * _HOUR_NS
_BLOCKS, _FACTOR = 0, 1  # streams of one copy


@dataclass(frozen=True)
class Moves:
    """What bars did: gap, high, low and close [n], log-returns; volume [n], units."""

    gap: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


def augmented(
    bars: Bars,
    part: SplitRange,
    config: AugmentationConfig,
    copy: int,
    seed: int,
    tick: float | None = None,
) -> Bars:
    """Copy number `copy` of the training bars: bootstrapped if so configured, then rescaled.

    Args:
        bars: all bars.
        part: the training split's range.
        config: how; `config.copies` is for the caller, who numbers copies from 0.
        copy, seed: the copy is a function of both, whichever others are made.
        tick: currency; prices are rounded to it where it is given.

    Raises:
        ConfigError: `part` is another split, or `copy` or `seed` is out of its range.
        DataError: the moves lead to prices that are none.
    """
    _training_only(part)
    for name, value in (("copy", copy), ("seed", seed)):
        _check_number(name, value)
    moves = _moves(bars, part, config.hole_hours)
    if config.bootstrap:
        moves = _resampled(moves, bars.start[part.rows], config.block_bars, copy, seed)
    span = math.log(config.volatility_high / config.volatility_low)
    drawn = uniform(_key(seed, copy), _FACTOR)
    moves = _scaled(moves, config.volatility_low * math.exp(span * drawn))
    return _chained(moves, bars, part, tick, f"augmented, copy {copy} of seed {seed}")


def bootstrapped(
    bars: Bars,
    part: SplitRange,
    block_bars: float,
    seed: int,
    tick: float | None = None,
    hole_hours: float = HOLE_HOURS,
) -> Bars:
    """The training bars resampled in blocks, under their own stamps.

    The stationary bootstrap (Politis and Romano, 1994: blocks of geometric length, here of
    mean `block_bars` at most), but for one thing: a block begins at a bar of the time of day
    (UTC) that it is put at, and ends early where the times part, so that what a day's hours and a
    session's break are like is kept. Moves, ranges and volume of a bar stay together.

    Raises:
        ConfigError: `part` is another split, or `block_bars` or `seed` is out of its range.
        DataError: the moves lead to prices that are none.
    """
    _training_only(part)
    _check_number("seed", seed)
    if not block_bars >= 1.0:
        raise ConfigError(f"block_bars={block_bars:g}: expected 1 or more")
    moves = _moves(bars, part, hole_hours)
    drawn = _resampled(moves, bars.start[part.rows], block_bars, 0, seed)
    return _chained(drawn, bars, part, tick, f"bootstrapped, seed {seed}")


def volatility_scaled(
    bars: Bars,
    part: SplitRange,
    factor: float,
    tick: float | None = None,
    hole_hours: float = HOLE_HOURS,
) -> Bars:
    """The training bars with all log-returns times `factor`; volume as it was.

    Their drift is multiplied with them: over one bar it is far less than its deviation.

    Raises:
        ConfigError: `part` is another split, or `factor` is not above 0.
        DataError: the moves lead to prices that are none.
    """
    _training_only(part)
    if not (math.isfinite(factor) and factor > 0.0):
        raise ConfigError(f"factor={factor:g}: expected a finite number above 0")
    moves = _scaled(_moves(bars, part, hole_hours), factor)
    return _chained(moves, bars, part, tick, f"volatility times {factor:g}")


def _training_only(part: SplitRange) -> None:
    if part.split != "train":
        raise ConfigError(
            f"augmenting the {part.split} split: expected the training split; only what is "
            "learnt from may be made up"
        )


def _check_number(name: str, value: int) -> None:
    if not 0 <= value < 1 << 63:
        raise ConfigError(f"{name}={value}: expected 0 to 2^63 - 1")


def _moves(bars: Bars, part: SplitRange, hole_hours: float) -> Moves:
    rows = part.rows
    opened, closed = np.log(bars.open[rows]), np.log(bars.close[rows])
    gap = np.zeros(len(opened))
    gap[1:] = opened[1:] - closed[:-1]
    gap[1:][np.diff(bars.start[rows]) > hole_hours * _HOUR_NS] = 0.0
    high, low = np.log(bars.high[rows]) - opened, np.log(bars.low[rows]) - opened
    return Moves(gap, high, low, closed - opened, bars.volume[rows])


def _scaled(moves: Moves, factor: float) -> Moves:
    return Moves(
        factor * moves.gap,
        factor * moves.high,
        factor * moves.low,
        factor * moves.close,
        moves.volume,
    )


def _resampled(
    moves: Moves, start: NDArray[np.int64], block_bars: float, copy: int, seed: int
) -> Moves:
    clock = np.unique(start % _DAY_NS, return_inverse=True)[1].astype(np.int64)
    order = np.argsort(clock, kind="stable").astype(np.int64)
    groups = np.append(0, np.cumsum(np.bincount(clock))).astype(np.int64)
    rows = np.empty(len(clock), np.int64)
    _draw_rows(_key(seed, copy), clock, order, groups, 1.0 / block_bars, rows)
    return Moves(*(column[rows] for column in vars(moves).values()))


def _key(seed: int, copy: int) -> np.uint64:
    return np.uint64(stream_key(np.uint64(seed), copy, PURPOSE_BOOTSTRAP))


@kernel
def _draw_rows(
    key: np.uint64,
    clock: NDArray[np.int64],
    order: NDArray[np.int64],
    groups: NDArray[np.int64],
    leave: float,
    out: NDArray[np.int64],
) -> None:
    """Which bar stands at each place, [n] into `out`.

    Args:
        clock: [n], the time of day (UTC) of each bar, numbered.
        order: [n], bars by time of day; those of time c at groups[c] to groups[c + 1].
        leave: probability that a block ends after a bar.
    """
    blocks = stream_key(key, _BLOCKS, PURPOSE_BOOTSTRAP)
    row = len(out)
    for place in range(len(out)):
        row += 1
        parted = row >= len(out) or clock[row] != clock[place]
        if parted or uniform(blocks, 2 * place) < leave:
            first, after = groups[clock[place]], groups[clock[place] + 1]
            row = order[first + int(uniform(blocks, 2 * place + 1) * (after - first))]
        out[place] = row


def _chained(moves: Moves, bars: Bars, part: SplitRange, tick: float | None, how: str) -> Bars:
    """Bars from the range's first open on; the first gap leads nowhere and is left out."""
    steps = moves.close.copy()
    steps[1:] += moves.gap[1:]
    closed = math.log(bars.open[part.first]) + np.cumsum(steps)
    opened = closed - moves.close
    logs = (opened, opened + moves.high, opened + moves.low, closed)
    source = f"{bars.source} ({how})"
    with np.errstate(over="ignore"):
        open_, high, low, close = (_rounded(np.exp(column), tick) for column in logs)
    # opened + close need not be the number that close was, to the last bit.
    high, low = (
        np.maximum(high, np.maximum(open_, close)),
        np.minimum(low, np.minimum(open_, close)),
    )
    if not (np.isfinite(high).all() and low.min() > 0.0):
        raise DataError(
            f"{source}: prices leave what floats and ticks hold ({low.min():g} to {high.max():g}); "
            "take a smaller volatility factor, a smaller tick or fewer bars"
        )
    columns: tuple[Any, ...] = (open_, high, low, close, moves.volume)
    return bars_of_columns(bars.start[part.rows].copy(), columns, source)


def _rounded(prices: Floats, tick: float | None) -> Floats:
    return prices if tick is None else np.rint(prices / tick) * tick
