"""Recordings made to order, whose statistics are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.recording import Recording

Floats = NDArray[np.float64]


def recording(seconds: float = 3600.0, **arrays: Any) -> Recording:
    """A recording in which nothing happened but what `arrays` say."""
    floats = ("message_time", "trade_time", "trade_price", "quote_time", "bid", "ask")
    whole = ("trade_quantity", "trade_side", "bid_quantity", "ask_quantity")
    given: dict[str, Any] = {name: np.zeros(0) for name in (*floats, "cancel_age", "depth")}
    given |= {name: np.zeros(0, np.int64) for name in whole}
    given |= {
        name: np.asarray(values, np.int64 if name in whole else np.float64)
        for name, values in arrays.items()
    }
    for side in ("bid_quantity", "ask_quantity"):
        if "quote_time" in arrays and side not in arrays:
            given[side] = np.full(len(given["quote_time"]), 100, np.int64)
    return Recording(source="made", seconds=seconds, tick=0.01, **given)


def quoted(mid: Floats, spread: float = 2.0) -> Recording:
    """A recording whose mid takes the values of `mid` [seconds + 1], one each second."""
    return recording(
        seconds=float(mid.size - 1),
        quote_time=np.arange(mid.size),
        bid=mid - spread / 2,
        ask=mid + spread / 2,
    )


def traded(sides: Floats, fills: int = 1) -> Recording:
    """A recording of one order a second, each in `fills` fills of 10, at a quote of 99 to 101."""
    sides = np.repeat(sides, fills)
    times = np.repeat(np.arange(1, sides.size // fills + 1), fills)
    return recording(
        seconds=float(times[-1] + 1),
        trade_time=times,
        trade_price=100.0 + sides,
        trade_quantity=np.full(sides.size, 10),
        trade_side=sides,
        quote_time=[0.0],
        bid=[99.0],
        ask=[101.0],
    )


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> Floats:
    """Times of a Poisson stream of `rate` a second."""
    return np.sort(rng.uniform(0.0, seconds, rng.poisson(rate * seconds)))


def hawkes(
    immigrants: float, branching: float, delay: float, seconds: float, rng: np.random.Generator
) -> Floats:
    """Times of a Hawkes stream: each event causes Poisson(branching) more, exp(delay) later."""
    generation = poisson(immigrants, seconds, rng)
    every = [generation]
    while generation.size:
        parents = np.repeat(generation, rng.poisson(branching, generation.size))
        generation = parents + rng.exponential(delay, parents.size)
        every.append(generation)
    times = np.sort(np.concatenate(every))
    return times[times < seconds]
