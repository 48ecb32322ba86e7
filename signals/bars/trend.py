"""Averages and ranges that the other indicators are made of, and the momentum columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from market.kernels import inlined, kernel
from signals.bars.windows import Floats, Ring, back, deviation, full, new_ring, push, pushed

PERCENT = 100.0
_NEUTRAL = 50.0  # a strength index without a move
RSI = np.dtype([("last", "f8"), ("gain", "f8"), ("loss", "f8"), ("count", "i8")])
ATR = np.dtype([("last", "f8"), ("value", "f8"), ("count", "i8")])
AVERAGE = np.dtype([("value", "f8"), ("count", "i8")])
Scalars = NDArray[np.void]


@inlined
def heikin_ashi(open_: float, high: float, low: float, close: float) -> float:
    """The Heikin-Ashi close."""
    return (open_ + high + low + close) / 4.0


@kernel
def rsi_update(state: Scalars, length: int, price: float) -> float:
    """Wilder's relative strength index in [0, 100]; NaN until `length` changes were seen.

    Gains and losses start as the means of the first `length` changes and are smoothed
    by 1/length from there (Wilder, "New Concepts in Technical Trading Systems", 1978).
    Without any move it is 50.

    Args:
        state: RSI [1].
    """
    s = state[0]
    s.count += 1
    change = price - s.last
    s.last = price
    seen = s.count - 1
    if seen == 0:
        return np.nan
    gain, loss = max(change, 0.0), max(-change, 0.0)
    if seen <= length:
        s.gain += gain / length
        s.loss += loss / length
    else:
        s.gain += (gain - s.gain) / length
        s.loss += (loss - s.loss) / length
    if seen < length:
        return np.nan
    total = s.gain + s.loss
    return PERCENT * s.gain / total if total > 0.0 else _NEUTRAL


@kernel
def atr_update(state: Scalars, length: int, high: float, low: float, close: float) -> float:
    """Wilder's average true range; NaN until `length` bars were seen.

    The first bar's true range is high - low; the average starts as a plain mean. A range
    spans a session break: that move was real.

    Args:
        state: ATR [1].
    """
    s = state[0]
    s.count += 1
    span = high - low
    if s.count > 1:
        span = max(span, abs(high - s.last), abs(low - s.last))
    s.last = close
    if s.count <= length:
        s.value += span / length
    else:
        s.value += (span - s.value) / length
    return s.value if s.count >= length else np.nan


@kernel
def ema_update(state: Scalars, length: int, value: float) -> float:
    """The exponential average with weight 2 / (length + 1), from the first value on.

    NaN until `length` values were seen.

    Args:
        state: AVERAGE [1].
    """
    s = state[0]
    s.count += 1
    if s.count == 1:
        s.value = value
    else:
        s.value += (value - s.value) * 2.0 / (length + 1.0)
    return s.value if s.count >= length else np.nan


@kernel
def volume_ratio_update(state: Scalars, length: int, volume: float) -> float:
    """tanh(ln(v / EMA v)), the bar's own volume being in the average; -1 without volume.

    tanh(ln x) = (x^2 - 1) / (x^2 + 1), which has no pole at 0.

    Args:
        state: AVERAGE [1].
    """
    average = ema_update(state, length, volume)
    if np.isnan(average):
        return np.nan
    a, b = volume * volume, average * average
    return (a - b) / (a + b) if a + b > 0.0 else -1.0


@inlined
def momentum(closes: Ring, bars: int) -> float:
    """Percent by which the last close stands above that `bars` ago; NaN without one."""
    if pushed(closes) <= bars:
        return np.nan
    return PERCENT * (back(closes, 0) / back(closes, bars) - 1.0)


@inlined
def acceleration(closes: Ring, bars: int) -> float:
    """The log move in percent over the last `bars` less that over the `bars` before them."""
    if pushed(closes) <= 2 * bars:
        return np.nan
    now, then, before = back(closes, 0), back(closes, bars), back(closes, 2 * bars)
    return PERCENT * np.log(now * before / (then * then))


@inlined
def divergence(closes: Ring, fast: int, slow: int) -> float:
    """The pace of the last `fast` bars less that of the last `slow`, percent a bar."""
    return momentum(closes, fast) / fast - momentum(closes, slow) / slow


class VolatilityState(NamedTuple):
    """The last close [1] and the last log returns."""

    last: Floats
    returns: Ring


def new_volatility(bars: int) -> VolatilityState:
    return VolatilityState(np.zeros(1), new_ring(bars))


@kernel
def volatility_update(state: VolatilityState, close: float) -> tuple[float, float]:
    """The log return of the bar, and the standard deviation of the last ones, a bar.

    NaN each until they can be told.
    """
    if state.last[0] == 0.0:
        state.last[0] = close
        return np.nan, np.nan
    change = np.log(close / state.last[0])
    state.last[0] = close
    push(state.returns, change)
    return change, deviation(state.returns) if full(state.returns) else np.nan
