"""Measures of a series of returns: pure functions, time along the first axis.

Returns are simple returns of one period, net of costs, as fractions (.01 is 1%). Each
function takes [n, ...] and gives [...], so that bootstrap samples or candidates stand in
columns. `periods` is how many of them a year has: 252 of days. What has no value (a ratio over
zero) is nan, never 0. Tested against empyrical-reloaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from trainers.evaluation.series import Floats, checked

DAYS_A_YEAR = 252.0  # trading days, as empyrical and the literature count
_LEAST_DEVIATION = 1e-14  # of returns, below which a spread is rounding: it divides nothing


def returns_of(equity: ArrayLike) -> Floats:
    """Simple returns [n] of an equity curve [n + 1], whatever its currency."""
    values = checked(equity, 2, "equity")
    return values[1:] / values[:-1] - 1.0


def equity_of(returns: ArrayLike) -> Floats:
    """The equity [n + 1, ...] that grows by `returns` from 1."""
    values = checked(returns)
    return np.concatenate([np.ones((1, *values.shape[1:])), np.cumprod(1.0 + values, axis=0)])


def total_return(returns: ArrayLike) -> Floats:
    """The return over all periods, compounded, fraction."""
    return np.asarray(np.prod(1.0 + checked(returns), axis=0) - 1.0)


def annual_return(returns: ArrayLike, periods: float = DAYS_A_YEAR) -> Floats:
    """The compound growth a year, fraction; -1 where the equity is lost."""
    values = checked(returns)
    grown = np.maximum(np.prod(1.0 + values, axis=0), 0.0)
    return np.asarray(grown ** (periods / len(values)) - 1.0)


def volatility(returns: ArrayLike, periods: float = DAYS_A_YEAR) -> Floats:
    """The standard deviation (n - 1) of a year's return, fraction."""
    return np.asarray(checked(returns, 2).std(axis=0, ddof=1) * math.sqrt(periods))


def drawdowns(returns: ArrayLike) -> Floats:
    """How far the equity lies below its highest so far, [n, ...], fraction, 0 or below.

    The start counts as a high.
    """
    equity = equity_of(returns)
    return (equity / np.maximum.accumulate(equity, axis=0) - 1.0)[1:]


def max_drawdown(returns: ArrayLike) -> Floats:
    """The deepest drawdown, fraction, 0 or below."""
    return np.asarray(drawdowns(returns).min(axis=0))


def sharpe(returns: ArrayLike, periods: float = DAYS_A_YEAR) -> Floats:
    """Mean over standard deviation (n - 1), a year (Sharpe, "The Sharpe ratio", 1994)."""
    values = checked(returns, 2)
    spread = values.std(axis=0, ddof=1)
    return _ratio(values.mean(axis=0), spread, _LEAST_DEVIATION) * math.sqrt(periods)


def sortino(returns: ArrayLike, periods: float = DAYS_A_YEAR) -> Floats:
    """Mean over downside deviation, a year (Sortino and Price, 1994); the target is 0.

    The downside deviation is the root of the mean over all n of squared losses.
    """
    values = checked(returns)
    downside = np.sqrt(np.square(np.minimum(values, 0.0)).mean(axis=0))
    return _ratio(values.mean(axis=0), downside, _LEAST_DEVIATION) * math.sqrt(periods)


def calmar(returns: ArrayLike, periods: float = DAYS_A_YEAR) -> Floats:
    """Annual return over the deepest drawdown (Young, "Calmar ratio", 1991)."""
    return _ratio(annual_return(returns, periods), -max_drawdown(returns))


def hit_rate(returns: ArrayLike) -> Floats:
    """The share of periods that gained among those that gained or lost."""
    values = checked(returns)
    gained = (values > 0.0).sum(axis=0)
    return _ratio(gained, gained + (values < 0.0).sum(axis=0))


def profit_factor(returns: ArrayLike) -> Floats:
    """The sum of gains over the sum of losses; above 1 where there was a profit."""
    values = checked(returns)
    gains, losses = np.maximum(values, 0.0).sum(axis=0), np.maximum(-values, 0.0).sum(axis=0)
    return _ratio(gains, losses)


def payoff_ratio(returns: ArrayLike) -> Floats:
    """The mean gain over the mean loss: what a hit rate has to be read beside."""
    values = checked(returns)
    gains, losses = np.maximum(values, 0.0).sum(axis=0), np.maximum(-values, 0.0).sum(axis=0)
    won, lost = (values > 0.0).sum(axis=0), (values < 0.0).sum(axis=0)
    return _ratio(_ratio(gains, won), _ratio(losses, lost))


def turnover(traded: ArrayLike) -> Floats:
    """The mean of what was traded a period, as a share of the limit."""
    return np.asarray(np.abs(checked(traded, what="traded quantities")).mean(axis=0))


def exposure(positions: ArrayLike) -> Floats:
    """The mean size of the position, either side, as a share of the limit."""
    return np.asarray(np.abs(checked(positions, what="positions")).mean(axis=0))


def total_costs(costs: ArrayLike) -> Floats:
    """All costs (spread, impact, fees), in the unit they are given in."""
    return np.asarray(checked(costs, what="costs").sum(axis=0))


def rolling_sharpe(returns: ArrayLike, window: int, periods: float = DAYS_A_YEAR) -> Floats:
    """The Sharpe ratio of the last `window` periods, [n]; nan before there are so many.

    Entry t uses periods up to t alone.
    """
    values = checked(returns, 2)
    out = np.full(values.shape, np.nan)
    if window <= len(values):
        windows = np.lib.stride_tricks.sliding_window_view(values, window, axis=0)
        out[window - 1 :] = sharpe(np.moveaxis(windows, -1, 0), periods)
    return out


# Of returns alone: what intervals are drawn for. name -> (function, takes `periods`).
MEASURES: Mapping[str, tuple[Callable[..., Floats], bool]] = MappingProxyType(
    {
        "total_return": (total_return, False),
        "annual_return": (annual_return, True),
        "volatility": (volatility, True),
        "max_drawdown": (max_drawdown, False),
        "sharpe": (sharpe, True),
        "sortino": (sortino, True),
        "calmar": (calmar, True),
        "hit_rate": (hit_rate, False),
        "profit_factor": (profit_factor, False),
        "payoff_ratio": (payoff_ratio, False),
    }
)


def measured(returns: ArrayLike, periods: float = DAYS_A_YEAR) -> dict[str, Floats]:
    """Every one of `MEASURES` of returns [n, ...]: name -> [...]."""
    values = checked(returns, 2)
    return {
        name: function(values, periods) if annual else function(values)
        for name, (function, annual) in MEASURES.items()
    }


@dataclass(frozen=True)
class Metrics:
    """The measures of one series of returns [n]; units as of the functions of their names."""

    periods: int
    total_return: float
    annual_return: float
    volatility: float
    max_drawdown: float
    sharpe: float
    sortino: float
    calmar: float
    hit_rate: float
    profit_factor: float
    payoff_ratio: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data; what has no value is None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def metrics_of(returns: ArrayLike, periods: float = DAYS_A_YEAR) -> Metrics:
    """All measures of one series [n].

    Raises:
        DataError: fewer than two periods, or one that is not finite.
    """
    values = checked(returns, 2).reshape(-1)
    found = {name: float(value) for name, value in measured(values, periods).items()}
    return Metrics(periods=values.size, **found)


def _ratio(above: ArrayLike, below: ArrayLike, least: float = 0.0) -> Floats:
    """above / below, nan where `below` is not more than `least`."""
    over, under = np.asarray(above, np.float64), np.asarray(below, np.float64)
    out = np.full(np.broadcast(over, under).shape, np.nan)
    np.divide(over, under, out=out, where=np.broadcast_to(under > least, out.shape))
    return out
