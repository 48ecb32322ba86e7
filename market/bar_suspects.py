"""Bars that are whole and in order and yet look wrong: splices, contract rolls, outliers.

Scales are medians, which the suspects themselves do not move. A suspect is no verdict:
each is for a person to look at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from market.bar_sessions import Sessions
from market.bar_table import VALUES

OPEN, HIGH, LOW, CLOSE, VOLUME = range(len(VALUES))
"""Columns of the values."""

NORMAL = 0.6745
"""Median absolute deviation of a normal variable, in standard deviations."""

PARKINSON = 2.0 * math.sqrt(math.log(2.0))
"""Root mean square of the range of a random walk, in its standard deviations (Parkinson, 1980)."""

_SESSIONS_AROUND = 500
_MIN_SESSIONS = 20
_OFF = 5.0
_PARTLY_OFF = 2.0
_LEAST_OFF = 5
_BACK = 3
"""A stretch begins where five sessions in a row trade under a fifth (or over five times) of
what is usual two years around; it ends before three in a row within a factor of two."""
_UPPER_QUARTILE = 0.75
_AT_ONCE = 1 << 12

_JUMP_DEVIATIONS = 8.0
_JUMP_BARS = 2.0
_QUIET_RANGE = 0.3
_QUIET_VOLUME = 1.5
_VOLUME_AROUND = 20
"""A jump is quiet when the bar that makes it hardly moves itself, at usual volume: news
moves prices on, and trades."""

_SAME_SIZE = 0.25
_MOVE_DEVIATIONS = 25.0
_WICK_DEVIATIONS = 12.0
_REVERSED_DEVIATIONS = 10.0
_LOCAL = 230
"""Bars over which the local scale of moves is taken."""

_TAKEN_BACK = "a move of {:+.2%} that the next bar takes back"

_TINY = 1e-12
_LARGEST = 700.0
"""The largest log ratio whose exponential is a float."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Stretch:
    """Rows `first` to `last`, both included, whose volume or level is off, and how."""

    first: int
    last: int
    why: str


@dataclass(frozen=True)
class Jump:
    """A jump from the close of the bar before to the open of the bar `row`.

    size: log ratio of the two.
    deviations: robust deviations of jumps of its kind.
    quiet: the bar hardly moves further, at usual volume.
    session: the bar is the first of a session.
    """

    row: int
    size: float
    deviations: float
    quiet: bool
    session: bool


def volume_stretches(values: Floats, sessions: Sessions) -> list[Stretch]:
    """Stretches of sessions whose volume is far off that of the sessions around them."""
    first = sessions.first
    total = sessions.total(np.minimum(values[:, VOLUME], np.finfo(np.float64).max / len(values)))
    if len(first) < _MIN_SESSIONS:
        return []
    usual = _usual_around(total, _SESSIONS_AROUND)
    if (usual <= 0.0).any():
        return []  # a file without volume: it tells nothing
    ratio = np.maximum(total, _TINY) / usual
    found = []
    for low in (True, False):
        factor = 1.0 / ratio if low else ratio
        for a, b in _runs(factor):
            last = first[b + 1] - 1 if b + 1 < len(first) else len(values) - 1
            median = float(np.median(values[first[a] : last + 1, VOLUME]))
            times = float(np.median(total[a : b + 1]) / np.median(usual[a : b + 1]))
            found.append(
                Stretch(
                    int(first[a]),
                    int(last),
                    f"{b - a + 1} sessions at {times:.2g} times the volume around them"
                    f" (median of a bar {median:g}), {_opening(values, int(first[a]))}",
                )
            )
    return sorted(found, key=lambda stretch: stretch.first)


def _opening(values: Floats, row: int) -> str:
    if row == 0:
        return "at the start of the file"
    move = float(np.expm1(_ratio(values[row, OPEN], values[row - 1, CLOSE])))
    return f"opening {move:+.2%} from the close before"


def _runs(factor: Floats) -> list[tuple[int, int]]:
    """First and last session of each stretch that is off by `factor` [s]."""
    far, partly = factor > _OFF, factor > _PARTLY_OFF
    runs, k = [], 0
    while k < len(factor):
        if not far[k : k + _LEAST_OFF].all() or k + _LEAST_OFF > len(factor):
            k += 1
            continue
        last = k
        for j in range(k, len(factor)):
            if partly[j]:
                last = j
            elif j - last >= _BACK:
                break
        runs.append((k, last))
        k = last + 1
    return runs


def _usual_around(values: Floats, window: int) -> Floats:
    """The upper quartile of the `window` values around each, fewer at the ends.

    Splices are thin: the quartile stands until three quarters of what is around are.
    """
    half = min(window // 2, len(values) - 1)
    padded = np.concatenate([np.full(half, np.nan), values, np.full(half, np.nan)])
    around = np.empty(len(values))
    for at in range(0, len(values), _AT_ONCE):
        views = sliding_window_view(padded[at : at + _AT_ONCE + 2 * half], 2 * half + 1)
        ranked = np.sort(views, axis=1)  # what is beyond the ends comes last
        there = np.isfinite(ranked).sum(axis=1)
        place = np.ceil(_UPPER_QUARTILE * (there - 1)).astype(np.int64)
        around[at : at + _AT_ONCE] = ranked[np.arange(len(ranked)), place]
    return around


def find_jumps(values: Floats, sessions: Sessions, follows: Bools) -> list[Jump]:
    """Jumps between bars far beyond those usual between sessions, or inside them.

    A jump counts from eight robust deviations of its kind, where it also passes twice
    the usual move of a whole bar.

    Args:
        values: float64 [n, 5].
        sessions: of the bars.
        follows: bool [n], bars before which nothing is left out.
    """
    if len(values) < _MIN_SESSIONS:
        return []
    size = np.r_[0.0, _ratio(values[1:, OPEN], values[:-1, CLOSE])]
    bar = _deviation(_ratio(values[:, CLOSE], values[:, OPEN])[follows])
    breaks = sessions.breaks
    found = []
    for session in (True, False):
        kind = np.flatnonzero(follows & (breaks == session))
        deviation = _deviation(size[kind])
        least = max(_JUMP_DEVIATIONS * deviation, _JUMP_BARS * bar, _TINY)
        for row in kind[np.abs(size[kind]) > least]:
            beyond = abs(float(size[row])) / max(deviation, bar / NORMAL / _JUMP_DEVIATIONS, _TINY)
            quiet = _quiet(values, sessions, int(row), float(size[row]))
            found.append(Jump(int(row), float(size[row]), beyond, quiet, session))
    return sorted(found, key=lambda jump: jump.row)


def _quiet(values: Floats, sessions: Sessions, row: int, size: float) -> bool:
    """Whether the bar of a jump stays where it opens, at the volume usual at its time."""
    width = float(_ratio(values[row, HIGH], values[row, LOW]))
    if width > _QUIET_RANGE * abs(size):
        return False
    if sessions.breaks[row]:
        first = sessions.first
        place = int(np.searchsorted(first, row))
        around = first[max(place - _VOLUME_AROUND, 0) : place + _VOLUME_AROUND + 1]
    else:
        around = np.arange(max(row - _VOLUME_AROUND, 0), min(row + _VOLUME_AROUND, len(values)))
    usual = float(np.median(values[around, VOLUME]))
    return bool(values[row, VOLUME] <= _QUIET_VOLUME * usual)


def level_stretches(jumps: list[Jump], values: Floats) -> list[Stretch]:
    """Stretches on another level: a quiet jump, undone later by one of its size."""
    quiet = [jump for jump in jumps if jump.quiet]
    found, k = [], 0
    while k + 1 < len(quiet):
        there, back = quiet[k], quiet[k + 1]
        larger = max(abs(there.size), abs(back.size))
        if abs(there.size + back.size) > _SAME_SIZE * larger or back.row - there.row < _BACK:
            k += 1
            continue
        move, undone = np.expm1(there.size), np.expm1(back.size)
        why = f"level {move:+.2%} from the bar before, undone by {undone:+.2%} after"
        found.append(Stretch(there.row, back.row - 1, why))
        k += 2
    return found


@dataclass(frozen=True)
class Outlier:
    """A bar that moves too far, in robust deviations of the bars around it, and how."""

    row: int
    deviations: float
    why: str


def outliers(values: Floats, sessions: Sessions, known: Bools) -> list[Outlier]:
    """Moves, single prices off, and moves that the next bar takes back.

    Args:
        values: float64 [n, 5].
        sessions: of the bars.
        known: bool [n], bars that follow the one before them, and whose move nothing
            else explains, such as a roll.
    """
    n = len(values)
    if n < _MIN_SESSIONS:
        return []
    close, open_ = values[:, CLOSE], values[:, OPEN]
    move = np.r_[0.0, _ratio(close[1:], close[:-1])]
    width = _ratio(values[:, HIGH], values[:, LOW]) / PARKINSON
    scale = np.maximum(_local_scale(move, known), _local_scale(width * NORMAL, known))
    before = np.r_[open_[:1], close[:-1]]
    after = np.r_[np.where(known[1:], open_[1:], close[:-1]), close[-1:]]
    top = np.maximum.reduce([open_, close, before, after])
    bottom = np.minimum.reduce([open_, close, before, after])
    wick = np.maximum(_ratio(values[:, HIGH], top), _ratio(bottom, values[:, LOW]))
    undone = np.zeros(n)
    opposite = (np.sign(move[:-1]) * np.sign(move[1:]) < 0) & ~sessions.breaks[1:] & known[1:]
    undone[:-1] = np.minimum(np.abs(move[:-1]), np.abs(move[1:])) * opposite
    found: dict[int, Outlier] = {}
    for why, size, least in (
        (_TAKEN_BACK, undone * np.sign(move), _REVERSED_DEVIATIONS),
        ("a price {:.2%} beyond the bars beside it", wick, _WICK_DEVIATIONS),
        ("a move of {:+.2%}", move, _MOVE_DEVIATIONS),
    ):
        beyond = np.abs(size) / scale
        for row in np.flatnonzero(known & (beyond > least)):
            if why != _TAKEN_BACK and row - 1 in found and undone[row - 1] > 0:
                continue  # the way back of the move before
            share = float(np.expm1(min(float(size[row]), _LARGEST)))
            found.setdefault(int(row), Outlier(int(row), float(beyond[row]), why.format(share)))
    return [found[row] for row in sorted(found)]


def _local_scale(move: Floats, known: Bools) -> Floats:
    """Robust deviation of moves around each bar [n]: the largest of three blocks' medians."""
    blocks = -(-len(move) // _LOCAL)
    size = np.abs(move)
    whole = _deviation(move[known])
    each = np.array(
        [
            _deviation(size[a : a + _LOCAL][known[a : a + _LOCAL]])
            for a in range(0, blocks * _LOCAL, _LOCAL)
        ]
    )
    beside = np.r_[each[:1], each, each[-1:]]
    scale = np.maximum.reduce([beside[:-2], beside[1:-1], beside[2:]])
    scale = np.where(scale > 0, scale, max(whole, _TINY))
    return scale[np.arange(len(move)) // _LOCAL]


def _deviation(values: Floats) -> float:
    """Robust standard deviation about zero."""
    return float(np.median(np.abs(values))) / NORMAL if len(values) else 0.0


def _ratio(upper: Floats, lower: Floats) -> Floats:
    """The log of a ratio of positive prices, which does not overflow."""
    return np.log(upper) - np.log(lower)
