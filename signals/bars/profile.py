"""The volume profile of the last bars on ticks: its low-volume nodes (LVN) and its skew.

A bar's volume lies evenly on the ticks from its low to its high. The profile is then
constant between the bars' ends: at most 2 window - 1 pieces however many ticks they
span, summed anew at every bar, so that nothing drifts. The point of control is the
largest volume on a tick; a node is a run of ticks below `low_share` of it, stands at
the middle of its thinnest piece, and the node nearest to the close is reported.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from configs.signals import ProfileConfig
from market.kernels import inlined, kernel
from signals.bars.trend import Scalars
from signals.bars.windows import Floats, Ring, full, new_ring, push, window

NODES = np.dtype([(name, "f8") for name in ("distance", "strength", "skew")])


class ProfileSettings(NamedTuple):
    """See `ProfileConfig`; `tick` in currency, `decay` of the proximity per price."""

    tick: float
    low_share: float
    thinness: float
    per_test: float
    most_tests: float
    rejection: float
    recency: float
    proximity: float
    decay: float


class ProfileState(NamedTuple):
    """Of the last bars, in ticks: low, high, open and close; and their volume on each tick."""

    lows: Ring
    highs: Ring
    opens: Ring
    closes: Ring
    thickness: Ring


def profile_settings(config: ProfileConfig, tick: float, decay: float) -> ProfileSettings:
    return ProfileSettings(
        tick,
        config.low_share,
        config.thinness,
        config.per_test,
        config.most_tests,
        config.rejection,
        config.recency,
        config.proximity,
        decay,
    )


def new_profile(config: ProfileConfig) -> ProfileState:
    """The state before the first bar."""
    n = config.window
    return ProfileState(new_ring(n), new_ring(n), new_ring(n), new_ring(n), new_ring(n))


@kernel
def _pieces(state: ProfileState, first: Floats, after: Floats, volume: Floats) -> int:
    """Write the profile's pieces, lowest first; how many.

    Args:
        first, after: first tick of each piece and the tick after its last.
        volume: on each of its ticks.
    """
    lows, highs = window(state.lows), window(state.highs)
    thickness = window(state.thickness)
    ends = np.empty(2 * len(lows))
    ends[: len(lows)] = lows
    for index in range(len(lows)):
        ends[len(lows) + index] = highs[index] + 1.0
    ends.sort()
    count = 0
    for index in range(len(ends) - 1):
        if ends[index] == ends[index + 1]:
            continue
        total = 0.0
        for bar in range(len(lows)):
            if lows[bar] <= ends[index] and ends[index] <= highs[bar]:
                total += thickness[bar]
        if count > 0 and volume[count - 1] == total:
            after[count - 1] = ends[index + 1]
            continue
        first[count], after[count], volume[count] = ends[index], ends[index + 1], total
        count += 1
    return count


@inlined
def _middle(first: float, after: float) -> float:
    """The middle of a piece, ticks."""
    return 0.5 * (first + after - 1.0)


@kernel
def _nearest(
    count: int, first: Floats, after: Floats, volume: Floats, bound: float, close: float
) -> int:
    """The piece at which the node nearest to the close (ticks) stands; -1 without a node.

    Of equally thin pieces of a node the nearer counts, then the lower; of equally near
    nodes the lower.
    """
    best, thinnest = -1, -1
    for piece in range(count + 1):
        if piece < count and volume[piece] < bound:
            if thinnest < 0 or volume[piece] < volume[thinnest]:
                thinnest = piece
            elif volume[piece] == volume[thinnest]:
                away = abs(_middle(first[piece], after[piece]) - close)
                if away < abs(_middle(first[thinnest], after[thinnest]) - close):
                    thinnest = piece
        elif thinnest >= 0:
            away = abs(_middle(first[thinnest], after[thinnest]) - close)
            if best < 0 or away < abs(_middle(first[best], after[best]) - close):
                best = thinnest
            thinnest = -1
    return best


@kernel
def _strength(
    state: ProfileState, settings: ProfileSettings, node: float, share: float, nearness: float
) -> float:
    """How strong a node at tick `node` is, whose volume is `share` of the point of control.

    A bar tests the node where its range holds it, and is rejected where it opens and
    closes on the same side of it. The rejection counts in the share of tests rejected,
    the recency as 1 - (bars since the last test) / window.
    """
    lows, highs = window(state.lows), window(state.highs)
    opens, closes = window(state.opens), window(state.closes)
    tests, rejected, last = 0.0, 0.0, -1
    for bar in range(len(lows)):
        if lows[bar] <= node and node <= highs[bar]:
            tests += 1.0
            last = bar
            if (opens[bar] - node) * (closes[bar] - node) > 0.0:
                rejected += 1.0
    out = settings.thinness * (1.0 - share) + settings.proximity * nearness
    if last >= 0:
        out += min(settings.per_test * tests, settings.most_tests)
        out += settings.rejection * rejected / tests
        out += settings.recency * (1.0 - (len(lows) - 1.0 - last) / len(lows))
    return out


@kernel
def _skew(state: ProfileState) -> float:
    """The skewness of the profile; 0 where it has no width or no volume.

    A mixture of even laws over n ticks, each of variance (n^2 - 1) / 12 and no third moment.
    """
    lows, highs = window(state.lows), window(state.highs)
    thickness = window(state.thickness)
    mass, mean = 0.0, 0.0
    for bar in range(len(lows)):
        part = thickness[bar] * (highs[bar] - lows[bar] + 1.0)
        mass += part
        mean += part * (0.5 * (lows[bar] + highs[bar]) - lows[0])
    if not mass > 0.0:
        return 0.0
    mean = mean / mass + lows[0]
    second, third = 0.0, 0.0
    for bar in range(len(lows)):
        ticks = highs[bar] - lows[bar] + 1.0
        part = thickness[bar] * ticks / mass
        away = 0.5 * (lows[bar] + highs[bar]) - mean
        own = (ticks * ticks - 1.0) / 12.0
        second += part * (own + away * away)
        third += part * (3.0 * own * away + away * away * away)
    return third / second**1.5 if second > 0.0 else 0.0


@kernel
def profile_update(
    state: ProfileState,
    settings: ProfileSettings,
    open_: float,
    high: float,
    low: float,
    close: float,
    volume: float,
) -> tuple[float, float, float]:
    """One bar. Returns the distance from the close to the nearest node (share of the price,
    infinite without a node), its strength (0 without one) and the profile's skew.

    NaN each until the window is full.
    """
    bottom, top = np.rint(low / settings.tick), np.rint(high / settings.tick)
    push(state.lows, bottom)
    push(state.highs, top)
    push(state.opens, open_ / settings.tick)
    push(state.closes, close / settings.tick)
    push(state.thickness, volume / (top - bottom + 1.0))
    if not full(state.lows):
        return np.nan, np.nan, np.nan
    room = 2 * len(window(state.lows))
    first, after, held = np.empty(room), np.empty(room), np.empty(room)
    count = _pieces(state, first, after, held)
    control = 0.0
    for piece in range(count):
        control = max(control, held[piece])
    best = _nearest(count, first, after, held, settings.low_share * control, close / settings.tick)
    skew = _skew(state)
    if best < 0:
        return np.inf, 0.0, skew
    node = _middle(first[best], after[best])
    distance = abs(node * settings.tick - close) / close
    nearness = np.exp(-settings.decay * distance)
    return distance, _strength(state, settings, node, held[best] / control, nearness), skew


@kernel
def profile_series(
    state: ProfileState,
    settings: ProfileSettings,
    open_: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    volume: Floats,
    out: Scalars,
) -> None:
    """Every bar of a stretch without a hole into `out`, NODES [n]."""
    for t in range(len(close)):
        row = out[t]
        row.distance, row.strength, row.skew = profile_update(
            state, settings, open_[t], high[t], low[t], close[t], volume[t]
        )
