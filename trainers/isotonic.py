"""The isotonic fit of realised return on score: pool adjacent violators, on training folds alone.

Ayer et al., "An empirical distribution function for sampling with incomplete information"
(1955); Barlow et al., "Statistical Inference under Order Restrictions" (1972). Of all functions
that never fall it is the one of least squares, and assumes nothing else of how a score pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import DataError
from market.splits import Fold, SplitRange
from signals.expected_return import ReturnMap

Floats = NDArray[np.float64]
LEAST_SAMPLES = 100  # below which a map says more of noise than of returns
LEAST_AT_AN_END = 30  # samples of the lowest and of the highest block


def pool_adjacent_violators(values: ArrayLike, weights: ArrayLike) -> Floats:
    """The never falling series [n] nearest to `values` in weighted squares.

    Args:
        values: [n], in the order in which the fit may not fall.
        weights: [n], above 0.

    Raises:
        DataError: of other shapes, not finite, or a weight not above 0.
    """
    y, w = np.asarray(values, np.float64), np.asarray(weights, np.float64)
    if y.ndim != 1 or y.shape != w.shape or not (np.isfinite(y).all() and np.isfinite(w).all()):
        raise DataError(
            f"isotonic fit: values have shape {y.shape} and weights {w.shape}, expected finite "
            "numbers [n] of both"
        )
    if (w <= 0.0).any():
        raise DataError("isotonic fit: a weight is not above 0")
    means: list[float] = []
    masses: list[float] = []
    counts: list[int] = []
    for value, weight in zip(y.tolist(), w.tolist(), strict=True):
        mean, mass, count = value, weight, 1
        while means and means[-1] >= mean:
            before, behind = means.pop(), masses.pop()
            mean = (before * behind + mean * mass) / (behind + mass)
            mass += behind
            count += counts.pop()
        means.append(mean)
        masses.append(mass)
        counts.append(count)
    return np.repeat(means, counts)


def ends_pooled(counts: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """Groups [n] of levels, from 0: the lowest and the highest of `least` samples, others alone.

    At its ends nothing holds an isotonic fit: one extreme return at the highest score would be a
    block of its own (the spiking problem; Wu, Meyer and Opsomer, "Penalized isotonic regression",
    2015). Where both ends meet there is one group.

    Args:
        counts: int64 [n], samples of each level of the score.
    """
    last = len(counts) - 1
    low = min(int(np.searchsorted(np.cumsum(counts), least)), last)
    high = last - min(int(np.searchsorted(np.cumsum(counts[::-1]), least)), last)
    if high <= low:
        return np.zeros(len(counts), np.int64)
    return np.clip(np.arange(len(counts)), low, high) - low


def fit_return_map(scores: ArrayLike, returns: ArrayLike, horizon_bars: int) -> ReturnMap:
    """The map of realised returns over the horizon on the scores before it.

    Equal scores are one observation of their mean, and so are the LEAST_AT_AN_END lowest and
    highest ones. A block of equal fit is kept by its first
    and last score, so that the map is the fit at every score that it was fitted on.

    Args:
        scores: [n], such as `signals.expected_return.score` of each bar.
        returns: [n], of the price over the `horizon_bars` after it.

    Raises:
        DataError: of other shapes, not finite, or fewer than LEAST_SAMPLES.
    """
    s, r = np.asarray(scores, np.float64), np.asarray(returns, np.float64)
    if s.ndim != 1 or s.shape != r.shape or not (np.isfinite(s).all() and np.isfinite(r).all()):
        raise DataError(
            f"return map: scores have shape {s.shape} and returns {r.shape}, expected finite "
            "numbers [n] of both; leave bars without a whole horizon out"
        )
    if len(s) < LEAST_SAMPLES:
        raise DataError(f"return map: {len(s)} samples, expected {LEAST_SAMPLES} or more")
    levels, place, counts = np.unique(s, return_inverse=True, return_counts=True)
    groups = ends_pooled(counts, LEAST_AT_AN_END)
    held = np.bincount(groups[place])
    means = np.bincount(groups[place], weights=r) / held
    fitted = pool_adjacent_violators(means, held)[groups]
    edges = np.flatnonzero(np.diff(fitted) != 0.0)
    kept = np.unique(np.concatenate([[0], edges, edges + 1, [len(levels) - 1]]))
    sigma = float(np.sqrt(np.mean((r - fitted[place]) ** 2)))
    return ReturnMap(levels[kept], fitted[kept], sigma, horizon_bars, len(s))


def fit_on(
    scores: ArrayLike, returns: ArrayLike, ranges: Sequence[SplitRange], horizon_bars: int
) -> ReturnMap:
    """`fit_return_map` on the bars of training ranges alone.

    A bar whose horizon ends beyond its range is left out: its return is of bars held back. So is
    one of which nothing is said, or no return known: NaN.

    Args:
        scores, returns: [bars], of all bars; elsewhere than on the ranges anything, NaN too.

    Raises:
        DataError: see `fit_return_map`; or a range that is not for training.
    """
    wrong = [found.split for found in ranges if found.split != "train"]
    if wrong:
        raise DataError(f"return map: a range of split '{wrong[0]}', expected 'train' alone")
    s, r = np.asarray(scores, np.float64), np.asarray(returns, np.float64)
    rows = _rows(ranges, horizon_bars, s, r)
    return fit_return_map(s[rows], r[rows], horizon_bars)


@dataclass(frozen=True)
class HeldOut:
    """What maps fitted before each validation block are worth within it.

    Attributes:
        maps: one of each fold.
        gain: 1 - squared error over that of the training mean, of all folds together: what the
            score explains beyond no score; 0 or below where it explains nothing.
        slope: of realised on expected return, 1 where expectations hold; NaN where all are one.
        samples: bars judged.
    """

    maps: tuple[ReturnMap, ...]
    gain: float
    slope: float
    samples: int


def walk_forward(
    scores: ArrayLike, returns: ArrayLike, folds: Sequence[Fold], horizon_bars: int
) -> HeldOut:
    """Fit on the training bars of each fold and judge on its validation bars.

    Raises:
        DataError: see `fit_on`; or no fold.
    """
    s, r = np.asarray(scores, np.float64), np.asarray(returns, np.float64)
    maps, said, met, means = [], [], [], []
    for fold in folds:
        made = fit_on(s, r, [fold.train], horizon_bars)
        rows = _rows([fold.validation], horizon_bars, s, r)
        maps.append(made)
        said.append(made.of(s[rows]))
        met.append(r[rows])
        means.append(np.full(len(rows), r[_rows([fold.train], horizon_bars, s, r)].mean()))
    if not maps:
        raise DataError("return map: no fold to walk forward over; expected one or more")
    expected, realised = np.concatenate(said), np.concatenate(met)
    none = float(np.sum((realised - np.concatenate(means)) ** 2))
    gain = 1.0 - float(np.sum((realised - expected) ** 2)) / none if none > 0.0 else 0.0
    spread = float(expected.var())
    covariance = float(np.mean((expected - expected.mean()) * (realised - realised.mean())))
    slope = covariance / spread if spread > 0.0 else float("nan")
    return HeldOut(tuple(maps), gain, slope, len(expected))


def forward_returns(close: ArrayLike, horizon_bars: int) -> Floats:
    """Return of the price over the `horizon_bars` after each bar, [n]; NaN of the last ones.

    Raises:
        DataError: closes that are not finite and above 0, or a horizon under one bar.
    """
    prices = np.asarray(close, np.float64)
    if prices.ndim != 1 or not (np.isfinite(prices) & (prices > 0.0)).all() or horizon_bars < 1:
        raise DataError(
            f"forward returns: closes of shape {prices.shape} over {horizon_bars} bars, expected "
            "finite prices [n] above 0 and 1 bar or more"
        )
    out = np.full(len(prices), np.nan)
    out[:-horizon_bars] = prices[horizon_bars:] / prices[:-horizon_bars] - 1.0
    return out


def _rows(
    ranges: Sequence[SplitRange], horizon_bars: int, scores: Floats, returns: Floats
) -> NDArray[np.int64]:
    """Bars of the ranges whose horizon ends within them, each once, of which both are known."""
    parts = [np.arange(found.first, found.after - horizon_bars) for found in ranges]
    rows = np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))
    known = ~np.isnan(scores[rows]) & ~np.isnan(returns[rows])
    return np.asarray(rows[known], np.int64)
