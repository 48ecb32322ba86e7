"""FVG: gaps between the first and the third of three bars, left by a large middle one.

Bullish where low[t] > high[t-2], bearish where high[t] < low[t-2], and the middle bar's
body is above `body_ratio` times the mean body of the `body_bars` before it; the three
bars are of one session. A gap lives from high to low (or low to high) of its outer
bars. It is mitigated when a later bar's low (bullish) or high (bearish) reaches its far
edge, and expires after `expiry` bars. It outlives a session break, never a hole.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.signals import FVGConfig
from market.kernels import kernel
from signals.bars.trend import PERCENT, Scalars
from signals.bars.windows import Floats, Ring, back, new_ring, push, window

SPAN = 3  # bars that make a gap
BULL, BEAR = 1.0, -1.0
GAP = np.dtype([("lower", "f8"), ("upper", "f8"), ("born", "i8"), ("side", "f8")])
GAPS = np.dtype([(name, "f8") for name in ("bullish", "bearish", "level", "age", "mitigation")])
COUNTS = np.dtype([("bar", "i8"), ("session", "i8"), ("active", "i8")])


class FVGSettings(NamedTuple):
    """See `FVGConfig`."""

    body_ratio: float
    body_bars: int
    expiry: int


class FVGState(NamedTuple):
    """The last highs, lows and bodies, the bars seen, and the active gaps, oldest first."""

    highs: Ring
    lows: Ring
    bodies: Ring
    counts: Scalars
    gaps: Scalars


def fvg_settings(config: FVGConfig) -> FVGSettings:
    return FVGSettings(config.body_ratio, config.body_bars, config.expiry)


def new_fvg(config: FVGConfig) -> FVGState:
    """The state before the first bar."""
    bodies = new_ring(config.body_bars + 2)
    # One gap a bar at most: no more are active than bars that one lives for.
    gaps = np.zeros(config.expiry + 1, GAP)
    return FVGState(new_ring(SPAN), new_ring(SPAN), bodies, np.zeros(1, COUNTS), gaps)


@kernel
def _age(state: FVGState, expiry: int, high: float, low: float) -> float:
    """Drop what this bar mitigates or lets expire; the side of the newest mitigated, or 0."""
    counts = state.counts[0]
    kept, mitigated = 0, 0.0
    for index in range(counts.active):
        gap = state.gaps[index]
        if counts.bar - gap.born > expiry:
            continue
        if low <= gap.lower if gap.side == BULL else high >= gap.upper:
            mitigated = gap.side
        else:
            to = state.gaps[kept]
            to.lower, to.upper, to.born, to.side = gap.lower, gap.upper, gap.born, gap.side
            kept += 1
    counts.active = kept
    return mitigated


@kernel
def _form(state: FVGState, settings: FVGSettings) -> None:
    """Add the gap that the last three bars make, if they make one."""
    counts = state.counts[0]
    if counts.session < SPAN or counts.bar < settings.body_bars + 2:
        return
    bodies = window(state.bodies)
    mean = 0.0
    for index in range(settings.body_bars):
        mean += bodies[index]
    mean /= settings.body_bars
    if not back(state.bodies, 1) > settings.body_ratio * mean:
        return
    low, high = back(state.lows, 0), back(state.highs, 0)
    first_low, first_high = back(state.lows, SPAN - 1), back(state.highs, SPAN - 1)
    if low > first_high or high < first_low:
        gap = state.gaps[counts.active]
        gap.born = counts.bar
        if low > first_high:
            gap.lower, gap.upper, gap.side = first_high, low, BULL
        else:
            gap.lower, gap.upper, gap.side = high, first_low, BEAR
        counts.active += 1


@kernel
def fvg_update(
    state: FVGState,
    settings: FVGSettings,
    opens: bool,
    open_: float,
    high: float,
    low: float,
    close: float,
) -> tuple[float, float, float, float, float]:
    """One bar; `opens` where it is the first of its session.

    Returns 1 or 0 each for an active bullish and bearish gap; the percent from the close
    to the middle of the gap whose middle is nearest (the newer of two), NaN without one;
    its age in bars, infinite without one; and +1 or -1 on the bar that mitigates a
    bullish or bearish gap, else 0 (the newest decides where it mitigates several).
    """
    counts = state.counts[0]
    counts.bar += 1
    counts.session = 1 if opens else counts.session + 1
    push(state.highs, high)
    push(state.lows, low)
    push(state.bodies, abs(close - open_))
    mitigated = _age(state, settings.expiry, high, low)
    _form(state, settings)
    bull, bear, level, age, nearest = 0.0, 0.0, np.nan, np.inf, np.inf
    for index in range(counts.active):
        gap = state.gaps[index]
        if gap.side == BULL:
            bull = 1.0
        else:
            bear = 1.0
        away = 0.5 * (gap.lower + gap.upper) - close
        if abs(away) <= nearest:
            nearest = abs(away)
            level = PERCENT * away / close
            age = float(counts.bar - gap.born)
    return bull, bear, level, age, mitigated


@kernel
def fvg_warm(state: FVGState, settings: FVGSettings) -> bool:
    """Whether every gap that could be active was seen to form."""
    return state.counts[0].bar >= settings.body_bars + 2 + settings.expiry


@kernel
def fvg_series(
    state: FVGState,
    settings: FVGSettings,
    opens: NDArray[np.bool_],
    open_: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    out: Scalars,
) -> None:
    """Every bar of a stretch without a hole into `out`, GAPS [n]."""
    for t in range(len(close)):
        row = out[t]
        row.bullish, row.bearish, row.level, row.age, row.mitigation = fvg_update(
            state, settings, opens[t], open_[t], high[t], low[t], close[t]
        )
