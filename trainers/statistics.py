"""Comparisons on common random numbers: paired, with bootstrap intervals over clusters.

A cluster is what was drawn together: a path and its two sides is one, so it is
drawn again as one (cluster bootstrap: Cameron, Gelbach and Miller 2008; percentile
interval: Efron 1979). Everything is seeded by its arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import DataError

Floats = NDArray[np.float64]
_DRAWS_AT_ONCE = 4_000_000  # cluster indices held in memory together


@dataclass(frozen=True)
class MeanResult:
    """A mean and its bootstrap interval, in the unit of the series."""

    mean: float
    low: float
    high: float
    half_width: float
    n: int
    clusters: int


@dataclass(frozen=True)
class PairedResult:
    """The difference a - b of two series measured on the same random numbers.

    `correlation` of a and b is what pairing brought: without it the variance of
    the difference would be the sum of theirs. It is nan where either is constant.
    """

    mean_a: float
    mean_b: float
    mean_difference: float
    low: float
    high: float
    half_width: float
    correlation: float
    n: int
    clusters: int

    @property
    def below_zero(self) -> bool:
        """a is lower than b and the interval excludes zero."""
        return self.high < 0.0

    @property
    def above_zero(self) -> bool:
        """a is higher than b and the interval excludes zero."""
        return self.low > 0.0


def mean_interval(
    values: ArrayLike, *, clusters: ArrayLike, confidence: float, samples: int, seed: int
) -> MeanResult:
    """The mean of `values` [n] with its interval over `clusters` [n] (labels).

    Raises:
        DataError: empty, of unequal lengths, not finite, or a single cluster.
    """
    (series,), labels = _checked([values], clusters)
    low, high = _bootstrap(series, labels, confidence, samples, seed)
    return MeanResult(
        mean=float(series.mean()),
        low=low,
        high=high,
        half_width=(high - low) / 2.0,
        n=series.size,
        clusters=int(labels.max()) + 1,
    )


def paired(
    a: ArrayLike,
    b: ArrayLike,
    *,
    clusters: ArrayLike,
    confidence: float,
    samples: int,
    seed: int,
) -> PairedResult:
    """The mean of a - b with its interval, entry i of both on the same random numbers.

    Args:
        a, b: series [n] in the same unit.
        clusters: labels [n]; entries of one label are drawn together.
        confidence: such as .95.
        samples: bootstrap samples.
        seed: of the bootstrap; the same arguments give the same interval.

    Raises:
        DataError: empty, of unequal lengths, not finite, or a single cluster.
    """
    (first, second), labels = _checked([a, b], clusters)
    difference = first - second
    low, high = _bootstrap(difference, labels, confidence, samples, seed)
    return PairedResult(
        mean_a=float(first.mean()),
        mean_b=float(second.mean()),
        mean_difference=float(difference.mean()),
        low=low,
        high=high,
        half_width=(high - low) / 2.0,
        correlation=_correlation(first, second),
        n=first.size,
        clusters=int(labels.max()) + 1,
    )


def enough(half_width: float, reference_cost: float, share: float) -> bool:
    """Whether an interval is narrow enough to stop: half-width <= share x |reference cost|.

    The rule looks at the width alone, never at where zero lies, so that
    stopping by it does not favour either side (Chow and Robbins 1965).
    """
    return half_width <= share * abs(reference_cost)


def _checked(
    series: list[ArrayLike], clusters: ArrayLike
) -> tuple[list[Floats], NDArray[np.int64]]:
    arrays = [np.asarray(values, dtype=np.float64) for values in series]
    keys = np.asarray(clusters)
    for values in arrays:
        if values.ndim != 1 or values.size == 0 or values.shape != keys.shape:
            raise DataError(
                f"series of shape {values.shape} with clusters of shape {keys.shape}: "
                "expected equal, non-empty, one-dimensional ones"
            )
        if not np.isfinite(values).all():
            where = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DataError(f"entry {where} of a series is {values[where]}: expected finite ones")
    _, labels = np.unique(keys, return_inverse=True)
    if int(labels.max()) == 0:
        raise DataError("a single cluster has no interval: play at least two paths")
    return arrays, labels.astype(np.int64)


def _bootstrap(
    values: Floats, labels: NDArray[np.int64], confidence: float, samples: int, seed: int
) -> tuple[float, float]:
    sizes = np.bincount(labels).astype(np.float64)
    sums = np.bincount(labels, values)
    generator = np.random.default_rng(seed)
    means = np.empty(samples)
    at_once = max(1, _DRAWS_AT_ONCE // sizes.size)
    equal = bool((sizes == sizes[0]).all())
    for start in range(0, samples, at_once):
        stop = min(start + at_once, samples)
        drawn = generator.integers(0, sizes.size, size=(stop - start, sizes.size), dtype=np.int32)
        counted = sizes[0] * sizes.size if equal else sizes[drawn].sum(axis=1)
        means[start:stop] = sums[drawn].sum(axis=1) / counted
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def _correlation(a: Floats, b: Floats) -> float:
    spread = float(a.std() * b.std())
    if spread == 0.0 or not math.isfinite(spread):
        return math.nan
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread)
