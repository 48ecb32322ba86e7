"""A rolling robust z-score: how far a value stands from the median, in scaled MADs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from market.kernels import inlined, kernel
from signals.bars.windows import Floats, Ring, back, new_ring, push, pushed

SCALE = 1.4826  # median absolute deviations of a normal law to one standard deviation


class RobustState(NamedTuple):
    """The last values in time, and in order of size [window]."""

    ring: Ring
    ordered: Floats


def new_robust(window: int) -> RobustState:
    """The state before the first value."""
    return RobustState(new_ring(window), np.zeros(window))


@inlined
def _place(ordered: Floats, count: int, value: float) -> int:
    """The first place of `ordered[:count]` whose value is not below `value`."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def _deviation(ordered: Floats, count: int, centre: float, rank: int) -> float:
    """The `rank`-th smallest |value - centre| of `ordered[:count]`, from 0.

    Deviations rise from the middle to either end: the rank is found by bisection over
    how many of them lie below the middle.
    """
    half = count // 2
    low, high = max(0, rank + 1 - (count - half)), min(rank + 1, half)
    while low < high:
        left = (low + high) // 2
        if centre - ordered[half - 1 - left] < ordered[half + rank - left] - centre:
            low = left + 1
        else:
            high = left
    right = rank + 1 - low
    out = 0.0
    if low > 0:
        out = centre - ordered[half - low]
    if right > 0:
        out = max(out, ordered[half + right - 1] - centre)
    return out


@kernel
def robust_update(state: RobustState, least: int, clip: float, value: float) -> float:
    """(value - median) / (1.4826 MAD) of the last values, this one included, within +-clip.

    NaN for NaN, which is not remembered, and until `least` values were seen. Where more
    than half of the values are equal the MAD is 0 and the score has its limit: 0 at the
    median, +-clip beside it.
    """
    if np.isnan(value):
        return np.nan
    ordered = state.ordered
    size = len(ordered)
    count = min(pushed(state.ring), size)
    if count == size:
        place = _place(ordered, count, back(state.ring, size - 1))
        for index in range(place, count - 1):
            ordered[index] = ordered[index + 1]
        count -= 1
    place = _place(ordered, count, value)
    for index in range(count, place, -1):
        ordered[index] = ordered[index - 1]
    ordered[place] = value
    count += 1
    push(state.ring, value)
    if count < least:
        return np.nan
    low, high = (count - 1) // 2, count // 2
    centre = 0.5 * (ordered[low] + ordered[high])
    spread = _deviation(ordered, count, centre, low) + _deviation(ordered, count, centre, high)
    if not spread > 0.0:
        return clip * np.sign(value - centre)
    return min(max((value - centre) / (SCALE * 0.5 * spread), -clip), clip)


@kernel
def robust_series(state: RobustState, least: int, clip: float, values: Floats, out: Floats) -> None:
    """Every value of a stretch without a hole into `out` [n]."""
    for t in range(len(values)):
        out[t] = robust_update(state, least, clip, values[t])
