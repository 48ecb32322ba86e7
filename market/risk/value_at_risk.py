"""Value at risk and expected shortfall of a book, parametric and historical (SPEC section 7).

Losses are shares of equity, above 0; exposures are signed shares of equity, and a level is
the probability that a loss is no larger. McNeil, Frey and Embrechts, "Quantitative Risk
Management" (2015), sections 2.2 and 9.2.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import DataError

Floats = NDArray[np.float64]
_NORMAL = NormalDist()
_WHOLE = 1e-9  # by which a product of a share and a count may miss a whole number


def covariance_of(deviations: ArrayLike, correlation: ArrayLike) -> Floats:
    """D R D, [n, n], of deviations [n] and a correlation matrix [n, n]."""
    spread = np.asarray(deviations, np.float64)
    return np.asarray(correlation, np.float64) * np.outer(spread, spread)


def parametric_var(
    exposures: ArrayLike, covariance: ArrayLike, level: float, horizon: float = 1.0
) -> float:
    """z sqrt(w' C w) sqrt(h).

    Args:
        exposures: w [n].
        covariance: C = D R D [n, n], of one day's returns.
        level: such as .95, above .5.
        horizon: h, days.

    Raises:
        DataError: shapes that do not fit, numbers that are not finite, a level off (.5, 1) or
            a horizon that is not above 0.
    """
    return _NORMAL.inv_cdf(_checked(level, horizon)) * _deviation(exposures, covariance, horizon)


def parametric_shortfall(
    exposures: ArrayLike, covariance: ArrayLike, level: float, horizon: float = 1.0
) -> float:
    """Mean of a normal loss beyond its quantile: phi(z) / (1 - level) deviations."""
    z = _NORMAL.inv_cdf(_checked(level, horizon))
    return _NORMAL.pdf(z) / (1.0 - level) * _deviation(exposures, covariance, horizon)


def historical_var(
    exposures: ArrayLike, returns: ArrayLike, level: float, horizon: float = 1.0
) -> float:
    """The smallest loss that `level` of the past losses do not exceed, times sqrt(h).

    Args:
        exposures: w [n].
        returns: [T, n], of past periods, each of the unit of `horizon`.

    Raises:
        DataError: see `parametric_var`; or fewer than 1 / (1 - level) periods.
    """
    losses = _losses(exposures, returns, _checked(level, horizon))
    return float(max(losses[_rank(len(losses), level)], 0.0)) * math.sqrt(horizon)


def historical_shortfall(
    exposures: ArrayLike, returns: ArrayLike, level: float, horizon: float = 1.0
) -> float:
    """The mean of the worst 1 - level of past losses, times sqrt(h); see `historical_var`.

    The loss at the quantile counts by the part of it that is within the tail (Acerbi and
    Tasche, "On the coherence of expected shortfall", 2002, definition 2.6).
    """
    losses = _losses(exposures, returns, _checked(level, horizon))
    rank, tail = _rank(len(losses), level), len(losses) * (1.0 - level)
    beyond = losses[rank + 1 :]
    mean = (beyond.sum() + (tail - len(beyond)) * losses[rank]) / tail
    return float(max(mean, 0.0)) * math.sqrt(horizon)


def _rank(count: int, level: float) -> int:
    """Place of the quantile in sorted losses: the ceil(level x count)-th smallest."""
    return max(math.ceil(level * count - _WHOLE) - 1, 0)


def _checked(level: float, horizon: float) -> float:
    if not 0.5 < level < 1.0:
        raise DataError(f"value at risk: level is {level}, expected one between .5 and 1")
    if not 0.0 < horizon < math.inf:
        raise DataError(f"value at risk: horizon is {horizon}, expected days above 0")
    return level


def _deviation(exposures: ArrayLike, covariance: ArrayLike, horizon: float) -> float:
    w, c = np.asarray(exposures, np.float64), np.asarray(covariance, np.float64)
    if w.ndim != 1 or c.shape != (len(w), len(w)):
        raise DataError(
            f"value at risk: exposures have shape {w.shape} and the covariance {c.shape}, expected "
            "[n] and [n, n]"
        )
    if not (np.isfinite(w).all() and np.isfinite(c).all()):
        raise DataError("value at risk: an exposure or a covariance is not finite")
    return math.sqrt(max(float(w @ c @ w), 0.0) * horizon)


def _losses(exposures: ArrayLike, returns: ArrayLike, level: float) -> Floats:
    """Past losses of today's exposures, sorted, the worst last."""
    w, past = np.asarray(exposures, np.float64), np.asarray(returns, np.float64)
    if w.ndim != 1 or past.ndim != 2 or past.shape[1] != len(w):
        raise DataError(
            f"value at risk: exposures have shape {w.shape} and returns {past.shape}, expected "
            "[n] and [T, n]"
        )
    if not (np.isfinite(w).all() and np.isfinite(past).all()):
        raise DataError("value at risk: an exposure or a return is not finite")
    if len(past) * (1.0 - level) < 1.0 - _WHOLE:
        raise DataError(
            f"value at risk: {len(past)} past returns, expected {math.ceil(1.0 / (1.0 - level))} "
            f"or more for level {level:g}"
        )
    return np.sort(-(past @ w))
