"""NW-RQK: Nadaraya-Watson regression of the close on time, rational quadratic kernel.

y_t = sum w_i p_{t-i} / sum w_i, w_i = (1 + i^2 / (2 r h^2))^-r, over past bars alone
(Nadaraya, "On estimating regression", 1964; Watson, 1964).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from configs.signals import NWRQKConfig
from market.kernels import kernel
from signals.bars.trend import ATR, Scalars, atr_update
from signals.bars.windows import Floats, Ring, new_ring, push, window

FIT = np.dtype([("last", "f8"), ("fitted", "i8"), ("side", "f8")])


class NWRQKSettings(NamedTuple):
    """`weights` [window] of the last close, of the one before it, ...; lengths in bars."""

    weights: Floats
    least: int
    atr_bars: int


class NWRQKState(NamedTuple):
    """Closes, the average true range, and the last fit with the side of its slope."""

    closes: Ring
    atr: Scalars
    fit: Scalars


def nwrqk_settings(config: NWRQKConfig, atr_bars: int) -> NWRQKSettings:
    lag = np.arange(config.window, dtype=np.float64)
    r, h = config.relative_weight, config.bandwidth
    return NWRQKSettings((1.0 + lag**2 / (2.0 * r * h**2)) ** -r, config.least, atr_bars)


def new_nwrqk(config: NWRQKConfig) -> NWRQKState:
    """The state before the first bar."""
    return NWRQKState(new_ring(config.window), np.zeros(1, ATR), np.zeros(1, FIT))


@kernel
def nwrqk_update(
    state: NWRQKState, settings: NWRQKSettings, high: float, low: float, close: float
) -> tuple[float, float, float]:
    """One bar. Returns the fit (currency), its slope in average true ranges a bar, and the
    signal: +1 or -1 on the bar where the slope changes its sign, else 0.

    NaN each while too few bars were seen. In a market that never moved the slope is 0.
    """
    atr = atr_update(state.atr, settings.atr_bars, high, low, close)
    push(state.closes, close)
    closes = window(state.closes)
    count = len(closes)
    if count < settings.least:
        return np.nan, np.nan, np.nan
    total, mass = 0.0, 0.0
    for lag in range(count):
        total += settings.weights[lag] * closes[count - 1 - lag]
        mass += settings.weights[lag]
    value = total / mass
    s = state.fit[0]
    change, known = value - s.last, s.fitted > 0
    s.last = value
    s.fitted = 1
    if not known or np.isnan(atr):
        return value, np.nan, np.nan
    side = np.sign(change)
    signal = side if side * s.side < 0.0 else 0.0
    if side != 0.0:
        s.side = side
    return value, change / atr if atr > 0.0 else 0.0, signal


@kernel
def nwrqk_series(
    state: NWRQKState,
    settings: NWRQKSettings,
    high: Floats,
    low: Floats,
    close: Floats,
    value: Floats,
    slope: Floats,
    signal: Floats,
) -> None:
    """Every bar of a stretch without a hole into `value`, `slope` and `signal` [n]."""
    for t in range(len(close)):
        value[t], slope[t], signal[t] = nwrqk_update(state, settings, high[t], low[t], close[t])
