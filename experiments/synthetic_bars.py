"""Bars that need no data: days of a price whose volatility clusters, with volume that follows it.

Returns over a second are GARCH(1,1) (Bollerslev, "Generalized autoregressive conditional
heteroskedasticity", 1986) with tails of Student's t, busier toward the ends of a day.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.bars import BarsConfig
from market.bars import Bars, load_bars
from market.trade_bars import bars_of, joined, write_bars

DAY_SECONDS = 6.5 * 3600
OPEN_NS = 52_200_000_000_000  # 14:30 UTC
_STEP_SECONDS = 1.0
_ALPHA, _BETA = 0.005, 0.9945  # of variance over one step, on the last square and on itself
_FREEDOM = 5.0  # degrees, of Student's t
_ENDS = 1.0  # by how much busier the ends of a day are than its middle, as a share
_DAY_NS = 86_400_000_000_000
_FIRST_DAY = 19_723  # 2024-01-01, days since 1970
_YEAR_SECONDS = 252 * DAY_SECONDS
_NOISE = 0.3  # sigma of the log volume of a step
_STEP_VOLUME = 10.0


def synthetic_bars(
    path: Path,
    days: int,
    seed: int = 0,
    minutes: int = 30,
    price: float = 100.0,
    tick: float = 0.01,
    volatility: float = 0.15,
) -> Bars:
    """Write bars to a CSV file and load them.

    Args:
        path: of the file.
        days: each a session of 6.5 hours; between them the price jumps.
        seed: of every draw.
        minutes: length of a bar.
        price, tick: currency.
        volatility: a year, of the log price while the market is open; that of a broad index.
    """
    rng = np.random.default_rng(seed)
    steps = round(DAY_SECONDS / _STEP_SECONDS)
    usual = volatility**2 * _STEP_SECONDS / _YEAR_SECONDS
    returns, variance = _garch(rng, days * steps, usual)
    place = np.arange(0.5, steps) / steps
    busy = 1.0 + _ENDS * ((2.0 * place - 1.0) ** 2 - 1.0 / 3.0)
    time = np.arange(0.5, steps) * _STEP_SECONDS
    parts, level = [], np.log(price)
    for day in range(days):
        rows = slice(day * steps, (day + 1) * steps)
        prices = np.exp(level + np.cumsum(returns[rows] * np.sqrt(busy)))
        noise = rng.lognormal(0.0, _NOISE, steps)
        volume = np.rint(_STEP_VOLUME * busy * variance[rows] / usual * noise)
        start = (_FIRST_DAY + day) * _DAY_NS + OPEN_NS
        on_tick = np.rint(prices / tick) * tick
        parts.append(bars_of(str(path), start, minutes, DAY_SECONDS, time, on_tick, volume))
        level = np.log(prices[-1]) + np.sqrt(usual * steps) * rng.normal() / 2.0
    write_bars(joined(parts), path)
    return load_bars(BarsConfig(path=path, bar_minutes=minutes))


def _garch(
    rng: np.random.Generator, count: int, usual: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns and their variances, [count] each; `usual` is the mean variance."""
    shocks = rng.standard_t(_FREEDOM, count) * np.sqrt((_FREEDOM - 2.0) / _FREEDOM)
    returns, variance = np.empty(count), np.empty(count)
    now = usual
    for index in range(count):
        variance[index] = now
        returns[index] = np.sqrt(now) * shocks[index]
        now = (1.0 - _ALPHA - _BETA) * usual + _ALPHA * returns[index] ** 2 + _BETA * now
    return returns, variance
