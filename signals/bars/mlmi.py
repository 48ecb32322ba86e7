"""MLMI: what followed the past crosses that were most like the last one.

At a cross of the fast and the slow weighted average of the Heikin-Ashi close the two
smoothed strength indices are kept. Its label, the sign of the move to the next cross,
is known there and stored with it; then the k stored crosses nearest to the new one, by
Euclidean distance between the two indices, vote. Between crosses the value stands.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from configs.signals import MLMIConfig
from market.kernels import kernel
from signals.bars.trend import RSI, Scalars, heikin_ashi, rsi_update
from signals.bars.windows import Floats, Ring, full, new_ring, push, weighted_mean

MIDDLE = 50.0  # the value of a tied vote; the signal is its crossing
CROSS = np.dtype(
    [
        ("side", "f8"),  # of the fast average to the slow one at the last bar where they differed
        ("value_side", "f8"),  # of the value to its middle, likewise
        ("slow", "f8"),  # strength indices and price at the last cross, and whether there is one
        ("fast", "f8"),
        ("price", "f8"),
        ("crossed", "i8"),
        ("stored", "i8"),  # crosses stored so far
        ("value", "f8"),
        ("valued", "i8"),
    ]
)
NEIGHBOUR = np.dtype([("slow", "f8"), ("fast", "f8"), ("label", "f8")])


class MLMISettings(NamedTuple):
    """Lengths in bars; `neighbours` that vote."""

    fast_average: int
    slow_average: int
    slow_rsi: int
    fast_rsi: int
    smoothing: int
    neighbours: int


class MLMIState(NamedTuple):
    """Heikin-Ashi closes, strength indices with their last values, the cross, the history."""

    prices: Ring
    slow_rsi: Scalars
    fast_rsi: Scalars
    slow: Ring
    fast: Ring
    cross: Scalars
    history: Scalars


def mlmi_settings(config: MLMIConfig) -> MLMISettings:
    return MLMISettings(
        config.fast_average,
        config.slow_average,
        config.slow_rsi,
        config.fast_rsi,
        config.smoothing,
        config.neighbours,
    )


def new_mlmi(config: MLMIConfig) -> MLMIState:
    """The state before the first bar."""
    return MLMIState(
        new_ring(config.slow_average),
        np.zeros(1, RSI),
        np.zeros(1, RSI),
        new_ring(config.smoothing),
        new_ring(config.smoothing),
        np.zeros(1, CROSS),
        np.zeros(config.history, NEIGHBOUR),
    )


@kernel
def _vote(history: Scalars, stored: int, neighbours: int, slow: float, fast: float) -> float:
    """50 + 50 x the mean label of the nearest; of equally near ones the newer count."""
    size = min(stored, len(history))
    distance = np.empty(size)
    for age in range(size):
        row = history[(stored - 1 - age) % len(history)]
        a, b = row.slow - slow, row.fast - fast
        distance[age] = a * a + b * b
    count = min(neighbours, size)
    bound = np.partition(distance, count - 1)[count - 1]
    total, taken = 0.0, 0
    for age in range(size):
        if distance[age] < bound:
            total += history[(stored - 1 - age) % len(history)].label
            taken += 1
    for age in range(size):
        if taken < count and distance[age] == bound:
            total += history[(stored - 1 - age) % len(history)].label
            taken += 1
    return MIDDLE + MIDDLE * total / count


@kernel
def _at_cross(
    state: MLMIState, settings: MLMISettings, price: float, slow: float, fast: float
) -> float:
    """Store the cross before this one with its label, vote on this one; the signal."""
    s = state.cross[0]
    if s.crossed > 0:
        row = state.history[s.stored % len(state.history)]
        row.slow, row.fast = s.slow, s.fast
        row.label = np.sign(price - s.price)
        s.stored += 1
    s.slow, s.fast, s.price = slow, fast, price
    s.crossed = 1
    if s.stored == 0:
        return 0.0
    s.value = _vote(state.history, s.stored, settings.neighbours, slow, fast)
    s.valued = 1
    side = np.sign(s.value - MIDDLE)
    signal = side if side * s.value_side < 0.0 else 0.0
    if side != 0.0:
        s.value_side = side
    return signal


@kernel
def mlmi_update(
    state: MLMIState,
    settings: MLMISettings,
    open_: float,
    high: float,
    low: float,
    close: float,
) -> tuple[float, float]:
    """One bar. Returns the value in [0, 100] and the signal, +1 or -1 on the bar where the
    value crosses its middle, else 0; NaN each before the first vote.

    Averages that touch without changing sides are no cross.
    """
    price = heikin_ashi(open_, high, low, close)
    push(state.prices, price)
    slow = rsi_update(state.slow_rsi, settings.slow_rsi, price)
    fast = rsi_update(state.fast_rsi, settings.fast_rsi, price)
    if not np.isnan(slow):
        push(state.slow, slow)
    if not np.isnan(fast):
        push(state.fast, fast)
    s = state.cross[0]
    signal = 0.0
    if full(state.prices):
        side = np.sign(
            weighted_mean(state.prices, settings.fast_average)
            - weighted_mean(state.prices, settings.slow_average)
        )
        crossed = side * s.side < 0.0
        if side != 0.0:
            s.side = side
        if crossed and full(state.slow) and full(state.fast):
            slow = weighted_mean(state.slow, settings.smoothing)
            fast = weighted_mean(state.fast, settings.smoothing)
            signal = _at_cross(state, settings, price, slow, fast)
    if s.valued == 0:
        return np.nan, np.nan
    return s.value, signal


@kernel
def mlmi_series(
    state: MLMIState,
    settings: MLMISettings,
    open_: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    value: Floats,
    signal: Floats,
) -> None:
    """Every bar of a stretch without a hole into `value` and `signal` [n]."""
    for t in range(len(close)):
        value[t], signal[t] = mlmi_update(state, settings, open_[t], high[t], low[t], close[t])
