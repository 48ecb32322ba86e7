"""The last values of a series as one stretch of memory, and sums over them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from market.kernels import inlined, kernel

Floats = NDArray[np.float64]


class Ring(NamedTuple):
    """The last n values of a series.

    Attributes:
        values: float64 [2n]; each value stands twice, n apart, so that the last n
            are one stretch wherever they end.
        at: int64 [2], where the next value goes (PLACE), values pushed so far (PUSHED).
    """

    values: Floats
    at: NDArray[np.int64]


PLACE, PUSHED = 0, 1


def new_ring(size: int) -> Ring:
    """An empty ring of `size` values."""
    return Ring(np.zeros(2 * size), np.zeros(2, np.int64))


@inlined
def push(ring: Ring, value: float) -> None:
    """Append a value; the oldest of a full ring goes."""
    size = len(ring.values) // 2
    place = ring.at[PLACE]
    ring.values[place] = value
    ring.values[place + size] = value
    place += 1
    ring.at[PLACE] = place if place < size else 0
    ring.at[PUSHED] += 1


@inlined
def pushed(ring: Ring) -> int:
    """How many values were pushed."""
    return ring.at[PUSHED]


@inlined
def full(ring: Ring) -> bool:
    """Whether as many values were pushed as the ring holds."""
    return ring.at[PUSHED] >= len(ring.values) // 2


@inlined
def window(ring: Ring) -> Floats:
    """A view of the values, oldest first; fewer while fewer were pushed."""
    size = len(ring.values) // 2
    if ring.at[PUSHED] < size:
        return ring.values[: ring.at[PUSHED]]
    return ring.values[ring.at[PLACE] : ring.at[PLACE] + size]


@inlined
def back(ring: Ring, bars: int) -> float:
    """The value pushed `bars` ago, 0 being the last."""
    return ring.values[ring.at[PLACE] + len(ring.values) // 2 - 1 - bars]


@kernel
def weighted_mean(ring: Ring, length: int) -> float:
    """The mean of the last `length` values weighted 1 (oldest) to `length` (newest)."""
    values = window(ring)
    first = len(values) - length
    total = 0.0
    for index in range(length):
        total += (index + 1.0) * values[first + index]
    return total / (0.5 * length * (length + 1))


@kernel
def deviation(ring: Ring) -> float:
    """The sample standard deviation (n - 1) of the values."""
    values = window(ring)
    mean = 0.0
    for value in values:
        mean += value
    mean /= len(values)
    total = 0.0
    for value in values:
        total += (value - mean) * (value - mean)
    return np.sqrt(total / (len(values) - 1))
