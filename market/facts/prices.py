"""Returns of the mid: tails, clustering, and how variance grows with the horizon.

Prices are in ticks, times in seconds. A mid that is missing leaves out the returns
that need it. A measure that the sample does not determine raises DataError.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from market.facts.intervals import VARIANCE_FLOOR, Estimate, correlation, of_sums, ratio
from market.facts.sample import Sample

Floats = NDArray[np.float64]

GRID_SECONDS = 1.0  # returns over longer horizons start at every point of this grid
KURTOSIS_HORIZONS = (1.0, 10.0, 60.0)
CLUSTERING_SECONDS = 10.0  # horizon of the absolute returns
VARIANCE_RATIO_SECONDS = 300
VOLATILITY_SECONDS = 60.0


def returns(sample: Sample, horizon: float) -> list[Floats]:
    """Changes of the mid over `horizon` from every grid point, ticks; NaN where unquoted.

    The grid has one point a second, or one a horizon where that is shorter: long
    returns overlap, which uses all phases of the clock instead of one.
    """
    if horizon < GRID_SECONDS:
        return [np.diff(mid) for mid in sample.mids(horizon)]
    steps = round(horizon / GRID_SECONDS)
    return [mid[steps:] - mid[:-steps] for mid in sample.mids_each_second]


def volatility(sample: Sample, horizon: float = VOLATILITY_SECONDS) -> Estimate:
    """Root of the mean squared change of the mid over `horizon`, a second: ticks / sqrt(s)."""
    return of_sums(
        _return_sums(sample, horizon, lambda r: (r**2,)),
        lambda s: np.sqrt(ratio(s) / horizon),
        sample.config,
        _no_returns(horizon),
    )


def variance_growth(sample: Sample, horizon: float) -> Estimate:
    """Variance of changes over `horizon`, a second, over that of 1 s changes; not centred.

    Its interval draws both again together; `variance_ratio` has one of theory.
    """
    both = [_return_sums(sample, h, lambda r: (r**2,)) for h in (horizon, 1.0)]
    return of_sums(
        np.concatenate(both, axis=1),
        lambda s: ratio(s[:, :2]) / horizon / ratio(s[:, 2:]),
        sample.config,
        _no_returns(horizon),
    )


def kurtosis(sample: Sample, horizon: float) -> Estimate:
    """Fourth central moment of changes over `horizon` over their squared variance; 3 if normal."""
    sums = _moment_sums(sample, horizon)
    return of_sums(sums, _kurtosis, sample.config, _no_returns(horizon))


def kurtosis_fall(sample: Sample) -> Estimate:
    """The largest ratio of kurtosis at one horizon (1, 10, 60 s) to that at the one before.

    Below 1 it falls at every step.
    """
    sums = np.concatenate([_moment_sums(sample, h) for h in KURTOSIS_HORIZONS], axis=1)

    def largest(totals: Floats) -> Floats:
        at = [_kurtosis(part) for part in np.split(totals, len(KURTOSIS_HORIZONS), axis=1)]
        return np.max([b / a for a, b in itertools.pairwise(at)], axis=0)

    return of_sums(sums, largest, sample.config, _no_returns(KURTOSIS_HORIZONS[-1]))


def absolute_memory(sample: Sample, lag_seconds: float) -> Estimate:
    """Correlation of absolute 10 s changes with those `lag_seconds` (>= 10) after their start."""
    lag = round(lag_seconds / GRID_SECONDS)
    sums = np.zeros((sample.blocks, 6))
    for index, change in enumerate(returns(sample, CLUSTERING_SECONDS)):
        size = np.abs(change)
        sums += sample.pair_sums(index, _starts(size, CLUSTERING_SECONDS), size, lag)
    reason = f"fewer than two pairs of 10 s returns {lag_seconds:g} s apart, or no mid that moved"
    return of_sums(sums, correlation, sample.config, reason)


def variance_ratio(sample: Sample, seconds: int = VARIANCE_RATIO_SECONDS) -> Estimate:
    """Variance of changes over `seconds`, a second, over that of 1 s changes.

    1 for a martingale; the mean change is taken as zero, which it is but for noise.
    The interval is the estimate and the normal quantile of its standard error under a
    martingale of varying volatility (Lo and MacKinlay 1988, theorem 3): one hour has
    twelve returns of 300 s, so that it is wide.
    """
    short, long = returns(sample, 1.0), returns(sample, float(seconds))
    base = np.concatenate(short)
    spans = np.concatenate(long)
    total = float(np.nansum(base**2))
    if not np.isfinite(spans).any() or not total > 0.0:
        raise DataError(_no_returns(float(seconds)))
    value = float(np.nanmean(spans**2) / seconds / np.nanmean(base**2))
    variance = 0.0
    squares = [np.nan_to_num(change) ** 2 for change in short]
    for lag in range(1, seconds):
        product = sum(float(s[lag:] @ s[:-lag]) for s in squares if s.size > lag)
        variance += (2.0 * (seconds - lag) / seconds) ** 2 * product / total**2
    half = NormalDist().inv_cdf((1.0 + sample.config.confidence) / 2.0) * float(np.sqrt(variance))
    return Estimate(value, max(value - half, 0.0), value + half)


def _starts(change: Floats, horizon: float) -> Floats:
    return np.arange(change.size, dtype=np.float64) * min(horizon, GRID_SECONDS)


def _return_sums(
    sample: Sample, horizon: float, terms: Callable[[Floats], tuple[Floats, ...]]
) -> Floats:
    """Sums of 1 and of the `terms` of the returns over `horizon`, by the block they start in."""
    sums = np.zeros((sample.blocks, 1 + len(terms(np.zeros(0)))))
    for index, change in enumerate(returns(sample, horizon)):
        times = _starts(change, horizon)
        sums += sample.finite_sums(index, times, np.ones_like(change), *terms(change))
    return sums


def _moment_sums(sample: Sample, horizon: float) -> Floats:
    return _return_sums(sample, horizon, lambda r: (r, r**2, r**3, r**4))


def _kurtosis(sums: Floats) -> Floats:
    """From sums of the powers 0 to 4, [draws, 5]; nan where the variance is nil."""
    mean, second, third, fourth = (sums[:, k] / sums[:, 0] for k in range(1, 5))
    variance = second - mean**2
    central = fourth - 4.0 * mean * third + 6.0 * mean**2 * second - 3.0 * mean**4
    return np.where(variance > VARIANCE_FLOOR * second, central / variance**2, np.nan)


def _no_returns(horizon: float) -> str:
    return f"the mid did not move, or was not quoted, over any {horizon:g} s"
