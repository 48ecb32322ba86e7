"""Whether losses passed value at risk as often, and as far apart, as it claims.

Kupiec, "Techniques for verifying the accuracy of risk measurement models" (1995): the share
of exceptions. Christoffersen, "Evaluating interval forecasts" (1998): that they do not
follow each other, and both together. All are likelihood ratios, of chi-squared law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import DataError


@dataclass(frozen=True)
class BacktestResult:
    """One likelihood ratio test.

    Attributes:
        name: coverage, independence or conditional coverage.
        statistic: the ratio, 0 or above.
        p_value: of a statistic as large, were the claim true.
        exceptions, days: how often the loss passed value at risk, of how many.
    """

    name: str
    statistic: float
    p_value: float
    exceptions: int
    days: int


def exceptions(losses: ArrayLike, forecasts: ArrayLike) -> NDArray[np.bool_]:
    """bool [T]: the loss of day t passed the value at risk that was forecast for it.

    Raises:
        DataError: not two series of one length, of finite numbers.
    """
    lost, claimed = np.asarray(losses, np.float64), np.asarray(forecasts, np.float64)
    if lost.ndim != 1 or lost.shape != claimed.shape:
        raise DataError(
            f"backtest: losses have shape {lost.shape} and forecasts {claimed.shape}, expected two "
            "series of one length"
        )
    if not (np.isfinite(lost).all() and np.isfinite(claimed).all()):
        raise DataError("backtest: a loss or a forecast is not finite; leave such days out")
    return np.asarray(lost > claimed)


def kupiec(hits: ArrayLike, level: float) -> BacktestResult:
    """Unconditional coverage: exceptions are 1 - level of the days.

    Args:
        hits: bool [T], see `exceptions`.
        level: of value at risk.
    """
    flags = _flags(hits, 1, level)
    count, days = int(flags.sum()), len(flags)
    statistic = _ratio(count, days, 1.0 - level)
    return BacktestResult("coverage", statistic, _survival_1(statistic), count, days)


def christoffersen(hits: ArrayLike, level: float) -> tuple[BacktestResult, BacktestResult]:
    """(independence, conditional coverage) of exceptions; see `kupiec`.

    Independence is of a first-order Markov chain; the first day has none before it.
    """
    flags = _flags(hits, 2, level)
    before, after = flags[:-1], flags[1:]
    calm, struck = int((~before).sum()), int(before.sum())
    from_calm, from_struck = int((~before & after).sum()), int((before & after).sum())
    apart = _log_likelihood(from_calm, calm) + _log_likelihood(from_struck, struck)
    together = _log_likelihood(from_calm + from_struck, calm + struck)
    independence = max(2.0 * (apart - together), 0.0)
    count, days = int(flags.sum()), len(flags)
    both = independence + _ratio(count, days, 1.0 - level)
    return (
        BacktestResult("independence", independence, _survival_1(independence), count, days),
        BacktestResult("conditional coverage", both, math.exp(-0.5 * both), count, days),
    )


def _flags(hits: ArrayLike, least: int, level: float) -> NDArray[np.bool_]:
    flags = np.asarray(hits)
    if flags.ndim != 1 or flags.dtype != np.bool_ or len(flags) < least:
        raise DataError(
            f"backtest: exceptions are {flags.dtype} of shape {flags.shape}, expected bool of "
            f"{least} days or more"
        )
    if not 0.0 < level < 1.0:
        raise DataError(f"backtest: level is {level}, expected one between 0 and 1")
    return flags


def _log_likelihood(count: int, days: int, share: float | None = None) -> float:
    """Of `count` exceptions in `days` at probability `share`, by default the observed one."""
    p = share if share is not None else count / days if days else 0.0
    hit = count * math.log(p) if count else 0.0
    return hit + ((days - count) * math.log1p(-p) if days > count else 0.0)


def _ratio(count: int, days: int, share: float) -> float:
    return max(2.0 * (_log_likelihood(count, days) - _log_likelihood(count, days, share)), 0.0)


def _survival_1(statistic: float) -> float:
    """1 - F of the chi-squared law of one degree of freedom; of two it is exp(-x / 2)."""
    return math.erfc(math.sqrt(0.5 * statistic))
