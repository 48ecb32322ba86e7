"""Bars in memory for measurements: a price with clustered volatility, in futures' sessions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from market.bars import Bars, BarsReport

TICK = 0.25
SESSION_HOURS = 23  # then an hour's break; five sessions a week
_NS_PER_MINUTE = 60_000_000_000
_DAY_MINUTES, _WEEK_DAYS, _SESSIONS = 1440, 7, 5
_START = 1_593_468_000_000_000_000  # 2020-06-29 22:00 UTC, a Monday
_PRICE = 10_000.0
_STEPS = 16  # of the path inside a bar
_SIGMA = 0.0015  # of a bar's log return, on average
_VOLUME = 5_000.0


def bar_series(count: int, minutes: int, seed: int = 0) -> Bars:
    """`count` bars of `minutes`, 23 hours a session, five sessions a week.

    The log of volatility is an autoregression with a half-life of some hundred bars.
    """
    rng = np.random.default_rng(seed)
    log_sigma = _autoregression(rng.normal(0.0, 0.05, count), 0.995)
    sigma = _SIGMA * np.exp(log_sigma)
    steps = rng.standard_t(5, (count, _STEPS)) * (sigma / np.sqrt(_STEPS * 5.0 / 3.0))[:, None]
    path = np.cumsum(steps.ravel()).reshape(count, _STEPS)
    open_ = np.r_[0.0, path[:-1, -1]]
    whole = np.column_stack([open_, path])
    columns = np.column_stack([open_, whole.max(axis=1), whole.min(axis=1), path[:, -1]])
    prices = np.maximum(np.rint(_PRICE / TICK * np.exp(columns)), 1.0) * TICK
    volume = np.rint(_VOLUME * np.exp(log_sigma) * rng.lognormal(0.0, 0.4, count))
    high, low = prices[:, 1].copy(), prices[:, 2].copy()
    report = BarsReport(count, count, {}, 0, 0, 0, None)
    return Bars(
        _stamps(count, minutes),
        prices[:, 0].copy(),
        high,
        low,
        prices[:, 3].copy(),
        volume,
        "synthetic bars",
        f"seed {seed}",
        report,
    )


def _stamps(count: int, minutes: int) -> NDArray[np.int64]:
    """Starts of bars, ns."""
    full = SESSION_HOURS * 60 // minutes
    session, bar = np.divmod(np.arange(count), full)
    week, day = np.divmod(session, _SESSIONS)
    return _START + ((week * _WEEK_DAYS + day) * _DAY_MINUTES + bar * minutes) * _NS_PER_MINUTE


def _autoregression(shocks: NDArray[np.float64], keep: float) -> NDArray[np.float64]:
    out, now = np.empty(len(shocks)), 0.0
    for index, shock in enumerate(shocks):
        now = keep * now + shock
        out[index] = now
    return out
