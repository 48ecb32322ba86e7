"""Sizes, signs, lifetimes and placement of orders: simple laws fitted to what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from market.state import length_table

Floats = NDArray[np.float64]

SIGN_LAGS = (1, 2, 3, 5, 8, 12, 20, 30)
LONGEST_METAORDER = 500
AT_WORK = range(1, 21)
TAILS = np.arange(1.1, 3.01, 0.05)
FEWEST_SIGNS = 100
FEWEST_AGES = 100
FEWEST_PLACEMENTS = 100
_ROUNDS = 500  # of expectation and maximisation
_SHORTEST_AGE = 1e-6  # seconds; below it clocks tell nothing
_SCALES = np.geomspace(0.05, 500.0, 120)  # ticks
_TAILS = np.geomspace(0.3, 12.0, 120)
_LEAST_CHANCE = 1e-300
SEEN_SHARE = 0.95  # of placements that the furthest placement leaves where they were


@dataclass(frozen=True)
class SizeLaw:
    """A log-normal law of sizes: its mean, and the deviation of the logarithm."""

    mean: float
    dispersion: float
    count: int


def fit_sizes(sizes: Floats) -> SizeLaw:
    """Mean of the sizes [n] and deviation of their logarithm, the law's two parameters.

    Raises:
        DataError: there is no size.
    """
    if not len(sizes):
        raise DataError("no order whose size could be measured; give a longer file")
    return SizeLaw(float(np.mean(sizes)), float(np.std(np.log(sizes))), len(sizes))


@dataclass(frozen=True)
class SignLaw:
    """Metaorders at work, the tail exponent of their lengths, and the correlations fitted."""

    at_work: int
    exponent: float
    measured: Floats  # [SIGN_LAGS]
    fitted: Floats
    count: int


def fit_signs(signs: Floats) -> SignLaw:
    """Fit metaorders to the correlations of the signs [n] of successive market orders.

    Raises:
        DataError: too few orders.
    """
    if len(signs) < FEWEST_SIGNS:
        raise DataError(
            f"{len(signs)} market orders: expected at least {FEWEST_SIGNS} to tell the memory of"
            " their signs; give a longer file"
        )
    centred = signs - signs.mean()
    variance = float(np.mean(centred**2))
    measured = np.array(
        [float(np.mean(centred[lag:] * centred[:-lag])) / max(variance, 1e-12) for lag in SIGN_LAGS]
    )
    best, least = (1, float(TAILS[0])), np.inf
    for exponent in TAILS:
        for at_work in AT_WORK:
            misfit = float(np.sum((sign_memory(at_work, float(exponent)) - measured) ** 2))
            if misfit < least:
                best, least = (at_work, float(exponent)), misfit
    return SignLaw(best[0], best[1], measured, sign_memory(*best), len(signs))


def sign_memory(at_work: int, exponent: float, longest: int = LONGEST_METAORDER) -> Floats:
    """Correlation of two orders' signs at SIGN_LAGS, where metaorders take turns at random.

    (Lillo, Mike and Farmer, 2005): both orders are of one metaorder, and it has not ended
    in between. Of a metaorder met at work, P(k or more orders are left after this one) is
    the sum over lengths beyond k, over the mean length.
    """
    lengths = length_table(exponent, longest)
    longer = np.array([np.mean(lengths > k) for k in range(max(SIGN_LAGS) + 1)])
    beyond = np.maximum(lengths[None] - np.arange(len(longer))[:, None], 0).mean(axis=1)
    left = np.append(beyond[1:], max(float(beyond[-1] - longer[-1]), 0.0)) / lengths.mean()
    share = 1.0 / at_work
    memory = [
        share
        * sum(
            comb(lag - 1, k) * share**k * (1.0 - share) ** (lag - 1 - k) * left[k]
            for k in range(lag)
        )
        for lag in SIGN_LAGS
    ]
    return np.array(memory)


@dataclass(frozen=True)
class LifeLaw:
    """Two populations of orders by age at cancel: the longer-lived share, and both mean ages."""

    patient_share: float
    fast_seconds: float
    slow_seconds: float
    count: int

    @property
    def patience(self) -> float:
        """Mean age of patient orders over that of impatient ones."""
        return self.slow_seconds / self.fast_seconds


def fit_lives(ages: Floats) -> LifeLaw:
    """A mixture of two exponential laws of ages at cancel [n], by expectation-maximisation.

    Raises:
        DataError: too few cancels of orders whose arrival is known.
    """
    if len(ages) < FEWEST_AGES:
        raise DataError(
            f"{len(ages)} cancels of orders whose arrival is in the file: expected at least"
            f" {FEWEST_AGES} to tell two populations; give a longer file"
        )
    age = np.maximum(ages, _SHORTEST_AGE)
    split = float(np.median(age))
    if not age.max() > split:  # all of one age: one population
        return LifeLaw(0.0, split, split, len(ages))
    fast, slow, share = float(age[age <= split].mean()), float(age[age > split].mean()), 0.5
    for _ in range(_ROUNDS):
        patient = share / slow * np.exp(-age / slow)
        impatient = (1.0 - share) / fast * np.exp(-age / fast)
        weight = patient / (patient + impatient)
        before, share = share, float(weight.mean())
        slow = float((weight * age).sum() / weight.sum())
        fast = float(((1.0 - weight) * age).sum() / (1.0 - weight).sum())
        if abs(share - before) < 1e-6:
            break
    return LifeLaw(share, fast, slow, len(ages))


@dataclass(frozen=True)
class PlacementLaw:
    """Distance of limit orders from the opposite best.

    P(distance >= x) = (1 + (x - 1) / scale)^-exponent, as the simulator places them.
    """

    exponent: float
    scale: float  # ticks
    limit: int  # ticks; beyond it distances count as it
    count: int


def fit_placement(distances: Floats) -> PlacementLaw:
    """Fit the law to distances [n] of at least 1 tick, by maximum likelihood on a grid.

    Distances beyond the limit, the 95% quantile, say only that they lie beyond.

    Raises:
        DataError: too few orders placed while the other side was quoted.
    """
    if len(distances) < FEWEST_PLACEMENTS:
        raise DataError(
            f"{len(distances)} limit orders placed against a quote: expected at least"
            f" {FEWEST_PLACEMENTS} to tell their distances; give a longer file"
        )
    limit = max(int(np.ceil(np.quantile(distances, SEEN_SHARE))), 2)
    seen = np.bincount(np.minimum(distances, limit).astype(np.int64), minlength=limit + 1)[1:]
    edges = np.arange(limit, dtype=np.float64)  # ticks beyond the first
    best, most = (1.0, 1.0), -np.inf
    for scale in _SCALES:
        beyond = np.exp(-_TAILS[:, None] * np.log1p(edges / scale))
        chance = np.append(beyond[:, :-1] - beyond[:, 1:], beyond[:, -1:], axis=1)
        likelihood = np.log(np.maximum(chance, _LEAST_CHANCE)) @ seen
        if likelihood.max() > most:
            best, most = (float(_TAILS[likelihood.argmax()]), float(scale)), likelihood.max()
    return PlacementLaw(best[0], best[1], limit, len(distances))
