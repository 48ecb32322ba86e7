"""FVG: gaps between the first and the third of three bars, left by a large middle one.

Bullish where low[t] > high[t-2], bearish where high[t] < low[t-2], and the middle bar's
body is above `body_ratio` times the mean body of the `body_bars` before it; the three
bars are of one session. A gap lives from high to low (or low to high) of its outer
bars. It is mitigated when a later bar's low (bullish) or high (bearish) reaches its far
edge, and expires after `expiry` bars. It outlives a session break, never a hole.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.signals import FVGConfig
from market.kernels import inlined, kernel
from signals.bars.trend import PERCENT, Scalars
from signals.bars.windows import Floats

SPAN = 3  # bars that make a gap
BULL, BEAR = 1.0, -1.0
GAP = np.dtype(
    [
        ("middle", "f8"),
        ("floor", "f8"),  # a low down here mitigates it; minus infinity for a bearish one
        ("ceiling", "f8"),  # a high up here does; infinity for a bullish one
        ("born", "i8"),
        ("side", "f8"),
    ]
)
GAPS = np.dtype([(name, "f8") for name in ("bullish", "bearish", "level", "age", "mitigation")])
MEMORY = np.dtype(
    [
        ("bar", "i8"),  # bars seen
        ("session", "i8"),  # of them since the session began
        ("active", "i8"),  # gaps
        ("high", "f8"),  # of the last bar, and of the one before it
        ("high_before", "f8"),
        ("low", "f8"),
        ("low_before", "f8"),
        ("body", "f8"),
        ("place", "i8"),  # of the next body
    ]
)


class FVGSettings(NamedTuple):
    """See `FVGConfig`."""

    body_ratio: float
    body_bars: int
    expiry: int


class FVGState(NamedTuple):
    """What is remembered [1], bodies before the last bar [body_bars], active gaps, oldest first.

    Few arrays and no rings: at a tenth of a microsecond a bar, handing them over counts.
    """

    memory: Scalars
    bodies: Floats
    gaps: Scalars


def fvg_settings(config: FVGConfig) -> FVGSettings:
    return FVGSettings(config.body_ratio, config.body_bars, config.expiry)


def new_fvg(config: FVGConfig) -> FVGState:
    """The state before the first bar."""
    # One gap a bar at most: no more are active than bars that one lives for.
    gaps = np.zeros(config.expiry + 1, GAP)
    return FVGState(np.zeros(1, MEMORY), np.zeros(config.body_bars), gaps)


@inlined
def _age(memory: Any, gaps: Scalars, expiry: int, high: float, low: float) -> float:
    """Drop what this bar mitigates or lets expire; the side of the newest mitigated, or 0."""
    kept, mitigated = 0, 0.0
    for index in range(memory.active):
        gap = gaps[index]
        if memory.bar - gap.born > expiry:
            continue
        if low <= gap.floor or high >= gap.ceiling:
            mitigated = gap.side
            continue
        if kept < index:
            to = gaps[kept]
            to.middle, to.floor, to.ceiling = gap.middle, gap.floor, gap.ceiling
            to.born, to.side = gap.born, gap.side
        kept += 1
    memory.active = kept
    return mitigated


@inlined
def _form(
    memory: Any, bodies: Floats, gaps: Scalars, ratio: float, high: float, low: float
) -> None:
    """Add the gap that this bar and the last two make, if they make one."""
    first_low, first_high = memory.low_before, memory.high_before
    if low <= first_high and high >= first_low:
        return
    if memory.session < SPAN or memory.bar < len(bodies) + 2:
        return
    total = 0.0
    for body in bodies:
        total += body
    if not memory.body > ratio * (total / len(bodies)):
        return
    gap = gaps[memory.active]
    gap.born = memory.bar
    if low > first_high:
        gap.middle, gap.floor, gap.ceiling = 0.5 * (first_high + low), first_high, np.inf
        gap.side = BULL
    else:
        gap.middle, gap.floor, gap.ceiling = 0.5 * (high + first_low), -np.inf, first_low
        gap.side = BEAR
    memory.active += 1


@inlined
def _remember(memory: Any, bodies: Floats, body: float, high: float, low: float) -> None:
    """Move on by one bar. The bodies stand in a circle: their sum alone is asked for."""
    if memory.bar > 1:
        place = memory.place
        bodies[place] = memory.body
        memory.place = place + 1 if place + 1 < len(bodies) else 0
    memory.body = body
    memory.high_before, memory.low_before = memory.high, memory.low
    memory.high, memory.low = high, low


@inlined
def _step(
    memory: Any,
    bodies: Floats,
    gaps: Scalars,
    settings: FVGSettings,
    opens: bool,
    open_: float,
    high: float,
    low: float,
    close: float,
) -> tuple[float, float, float, float, float]:
    memory.bar += 1
    memory.session = 1 if opens else memory.session + 1
    mitigated = _age(memory, gaps, settings.expiry, high, low)
    _form(memory, bodies, gaps, settings.body_ratio, high, low)
    _remember(memory, bodies, abs(close - open_), high, low)
    bull, bear, level, born, nearest = 0.0, 0.0, np.nan, -1, np.inf
    for index in range(memory.active):
        gap = gaps[index]
        bull = max(bull, gap.side)
        bear = max(bear, -gap.side)
        away = gap.middle - close
        if abs(away) <= nearest:
            nearest, level, born = abs(away), away, gap.born
    if born < 0:
        return bull, bear, np.nan, np.inf, mitigated
    return bull, bear, PERCENT * level / close, float(memory.bar - born), mitigated


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
    memory, bodies, gaps = state.memory[0], state.bodies, state.gaps
    return _step(memory, bodies, gaps, settings, opens, open_, high, low, close)


@kernel
def fvg_warm(state: FVGState, settings: FVGSettings) -> bool:
    """Whether every gap that could be active was seen to form."""
    return state.memory[0].bar >= settings.body_bars + 2 + settings.expiry


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
    memory, bodies, gaps = state.memory[0], state.bodies, state.gaps
    for t in range(len(close)):
        row = out[t]
        row.bullish, row.bearish, row.level, row.age, row.mitigation = _step(
            memory, bodies, gaps, settings, opens[t], open_[t], high[t], low[t], close[t]
        )
