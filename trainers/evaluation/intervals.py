"""Intervals of measures of a series by stationary bootstrap.

Blocks of geometric length keep what depends on time together (Politis and Romano, "The
stationary bootstrap", 1994); their mean length is the one that Politis and White (2004,
corrected by Patton, Politis and White 2009) find best for the series. Both are arch's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from numpy.typing import ArrayLike

from trainers.evaluation.metrics import DAYS_A_YEAR, measured
from trainers.evaluation.series import Floats, checked

LEAST_PERIODS = 16  # arch's choice of a block length looks at correlations of several lags
SAMPLES = 1_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A measure with its percentile interval; nan where it has no value."""

    value: float
    low: float
    high: float


def block_length(returns: ArrayLike) -> int:
    """The mean length of blocks, periods: the longest that any column asks for, 1 at least.

    Args:
        returns: [n] or [n, k]; columns that never change ask for nothing.
    """
    values = checked(returns, LEAST_PERIODS)
    columns = values.reshape(len(values), -1)
    moving = columns[:, columns.std(axis=0) > 0.0]
    if not moving.size:
        return 1
    wanted = float(np.nanmax(optimal_block_length(moving)["stationary"].to_numpy()))
    return max(1, min(math.ceil(wanted), len(values) // 2)) if math.isfinite(wanted) else 1


def resampled(returns: ArrayLike, samples: int, seed: int, block: int | None = None) -> Floats:
    """Bootstrap samples of a series [n] in columns, [n, samples].

    The same arguments give the same samples.
    """
    values = checked(returns, LEAST_PERIODS).reshape(-1)
    length = block_length(values) if block is None else block
    drawn = StationaryBootstrap(length, values, seed=np.random.default_rng(seed))
    out = np.empty((values.size, samples))
    for column, ((sample,), _) in enumerate(drawn.bootstrap(samples)):
        out[:, column] = sample
    return out


def intervals(
    returns: ArrayLike,
    periods: float = DAYS_A_YEAR,
    *,
    confidence: float = CONFIDENCE,
    samples: int = SAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Every measure of a series [n] with its percentile interval.

    Samples in which a measure has no value are left out of its interval. Intervals of the
    deepest drawdown and of what is made of it are of the like of the path that was seen: a
    longer one has deeper ones.

    Raises:
        DataError: fewer than `LEAST_PERIODS` periods, or one that is not finite.
    """
    values = checked(returns, LEAST_PERIODS).reshape(-1)
    found = measured(values, periods)
    drawn = measured(resampled(values, samples, seed), periods)
    tail = (1.0 - confidence) / 2.0
    out = {}
    for name, value in found.items():
        known = drawn[name][np.isfinite(drawn[name])]
        low, high = np.quantile(known, [tail, 1.0 - tail]) if known.size else (math.nan, math.nan)
        out[name] = Interval(float(value), float(low), float(high))
    return out
