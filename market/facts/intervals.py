"""Numbers with their intervals: statistics of block sums, quantiles and power laws.

Whatever is measured here is a function of sums over blocks, stretches that are
drawn again as one (block bootstrap: Kuensch 1989, "The jackknife and the bootstrap
for general stationary observations"; percentile interval: Efron 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import DataError
from configs.facts import FactsConfig

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FEWEST_BLOCKS = 5  # below it a bootstrap over blocks says nothing
FEWEST_DRAWS = 0.9  # share of the draws that must give a number, or there is no interval
FEWEST_IN_TAIL = 10  # values that an exponent is fitted to
VARIANCE_FLOOR = 1e-12  # of the mean square: below it a variance is rounding
EXPONENT_LIMIT = 3.0  # exponents are sought in plus and minus it
COARSE_STEP = 0.1  # of the first grid
EXPONENT_STEP = 0.01  # of the grid around its best, which a parabola refines
NUMBERS_AT_ONCE = 4_000_000  # weights of draws held in memory together


@dataclass(frozen=True)
class Estimate:
    """A number and its interval; none where there are too few blocks to tell one."""

    value: float
    low: float | None = None
    high: float | None = None


def of_sums(
    sums: Floats, statistic: Callable[[Floats], Floats], config: FactsConfig, otherwise: str
) -> Estimate:
    """A function of the total of block sums, with its interval.

    Args:
        sums: [blocks, terms].
        statistic: from totals [draws, terms] to numbers [draws]; not finite where
            the draw does not determine one.
        otherwise: why there is no number where the total determines none.

    Raises:
        DataError: `otherwise`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(sums.sum(axis=0, keepdims=True))[0])
        if not np.isfinite(value):
            raise DataError(otherwise)
        if len(sums) < FEWEST_BLOCKS:
            return Estimate(value)
        drawn = statistic(draws(len(sums), config) @ sums)
    return _with_interval(value, drawn, config)


def of_quantile(
    values: Floats, weights: Floats, blocks: Integers, probability: float, config: FactsConfig
) -> Estimate:
    """The weighted quantile of `values` [n], with its interval.

    Args:
        weights: [n], not negative.
        blocks: [n], the block of each value.
        probability: of the quantile, in (0, 1).

    Raises:
        DataError: no value has weight.
    """
    order = np.argsort(values, kind="stable")
    ranked, weight, block = values[order], weights[order], blocks[order]
    if not weight.sum() > 0.0:
        raise DataError("no value has weight")
    value = _quantile(ranked, weight, probability)
    labels, block = np.unique(block, return_inverse=True)
    if labels.size < FEWEST_BLOCKS:
        return Estimate(value)
    drawn = [
        _quantile(ranked, weight * counts[block], probability)
        for counts in draws(labels.size, config)
    ]
    return _with_interval(value, np.array(drawn), config)


def of_tail(values: Floats, blocks: Integers, config: FactsConfig, what: str) -> Estimate:
    """Hill's exponent of the upper tail of `values` [n]: P(value > x) ~ x^-a.

    1 / a is the mean of log(value / threshold) over the values above the threshold,
    which is the quantile that leaves `tail_share` above it (Hill 1975).

    Raises:
        DataError: the tail has fewer than ten values; `what` names the values.
    """
    threshold = float(np.quantile(values, 1.0 - config.tail_share)) if values.size else 0.0
    above = values > max(threshold, 0.0)
    if threshold <= 0.0 or above.sum() < FEWEST_IN_TAIL:
        raise DataError(
            f"{int(above.sum())} of {values.size} {what} above the tail's threshold, "
            f"expected {FEWEST_IN_TAIL} or more"
        )
    kinds, block = np.unique(blocks, return_inverse=True)
    excess = np.log(values[above] / threshold)
    sums = np.stack(
        [
            np.bincount(block[above], weights=term, minlength=kinds.size).astype(np.float64)
            for term in (excess, np.ones_like(excess))
        ],
        axis=1,
    )
    return of_sums(sums, ratio, config, f"no tail among {values.size} {what}")


def ratio(sums: Floats) -> Floats:
    """The second of two sums over the first, [draws, 2]."""
    return sums[:, 1] / sums[:, 0]


def correlation(sums: Floats) -> Floats:
    """Of x and y, from sums of 1, x, y, xy, x^2, y^2, [draws, 6]; nan where either is constant."""
    mean_x, mean_y, xy, xx, yy = (sums[:, k] / sums[:, 0] for k in range(1, 6))
    spread_x, spread_y = xx - mean_x**2, yy - mean_y**2
    varied = (spread_x > VARIANCE_FLOOR * xx) & (spread_y > VARIANCE_FLOOR * yy)
    return np.where(varied, (xy - mean_x * mean_y) / np.sqrt(spread_x * spread_y), np.nan)


def draws(blocks: int, config: FactsConfig) -> Floats:
    """How often each of `blocks` is drawn, [bootstrap_samples, blocks]; seeded by `config`."""
    return next(_draws_in_parts(blocks, config.bootstrap_samples, config))


def power_law_exponent(
    volume: ArrayLike,
    impact: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    clusters: ArrayLike | None = None,
    config: FactsConfig | None = None,
) -> Estimate:
    """The exponent d of impact = c volume^d, c > 0, by weighted least squares.

    The fit is of impact itself, not of its logarithm, so that single noisy orders,
    some of which have an impact below zero, can be fitted without bias; it is the
    likeliest under normal noise of variance 1 / weight.

    Args:
        volume: [n], positive; of an order or the mean of a group of orders.
        impact: [n], any unit.
        weights: [n], not negative; equal where left out.
        clusters: labels [n] of what was drawn together and is drawn again as one;
            each pair on its own where left out.
        config: of the bootstrap.

    Raises:
        DataError: of unequal lengths, not finite, fewer than two distinct volumes,
            a volume <= 0, a weight < 0, or impact that grows as no power law
            of an exponent within +-3.
    """
    config = config or FactsConfig()
    x, y = np.asarray(volume, np.float64), np.asarray(impact, np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, np.float64)
    labels = np.arange(x.size) if clusters is None else np.asarray(clusters)
    _check_pairs(x, y, w, labels)
    value = float(fit_exponent(x, y[None], w[None])[0])
    if not np.isfinite(value):
        raise DataError(
            f"impact over {x.size} volumes is no power law of an exponent within "
            f"+-{EXPONENT_LIMIT:g}: it falls below zero on the whole or ends at that limit"
        )
    kinds, cluster = np.unique(labels, return_inverse=True)
    if kinds.size < FEWEST_BLOCKS:
        return Estimate(value)
    at_once = max(NUMBERS_AT_ONCE // x.size, 1)
    drawn = [
        fit_exponent(x, y[None], w * counts[:, cluster])
        for counts in _draws_in_parts(kinds.size, at_once, config)
    ]
    return _with_interval(value, np.concatenate(drawn), config)


def power_law_scale(
    volume: ArrayLike, impact: ArrayLike, weights: ArrayLike | None, exponent: float
) -> float:
    """The c of impact = c volume^exponent that fits best; arguments as of the exponent's fit."""
    x, y = np.asarray(volume, np.float64), np.asarray(impact, np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, np.float64)
    power = x**exponent
    return float((w * y) @ power / (w @ power**2))


def fit_exponent(x: Floats, y: Floats, weights: Floats) -> Floats:
    """The exponents d that fit y = c x^d with c > 0 best; nan where none within +-3 does.

    For a given d the best c is A / B with A = sum w y x^d and B = sum w x^2d, and it
    leaves sum w y^2 - A^2 / B: the best d has the greatest A^2 / B.

    Args:
        x: [n], positive.
        y: [draws, n] or [1, n].
        weights: [draws, n] or [1, n].
    """
    order = np.argsort(x, kind="stable")
    distinct, first = np.unique(x[order], return_index=True)
    log_x = np.log(distinct) - np.log(distinct).mean()
    weighted = np.add.reduceat((weights * y)[:, order], first, axis=1)
    weight = np.add.reduceat(weights[:, order], first, axis=1)
    grid = _exponents(-EXPONENT_LIMIT, EXPONENT_LIMIT, COARSE_STEP)
    coarse = _gain(log_x, weighted, weight, grid)
    near = grid[coarse.argmax(axis=1)]
    grid = _exponents(near.min() - COARSE_STEP, near.max() + COARSE_STEP, EXPONENT_STEP)
    gain = _gain(log_x, weighted, weight, grid)
    best = np.clip(gain.argmax(axis=1), 1, grid.size - 2)
    draw = np.arange(len(gain))
    left, top, right = (gain[draw, best + k] for k in (-1, 0, 1))
    bend = left - 2.0 * top + right
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(bend < 0.0, 0.5 * (left - right) / bend, 0.0)
    found = grid[best] + np.clip(shift, -1.0, 1.0) * EXPONENT_STEP
    return np.where((top > 0.0) & (np.abs(found) < EXPONENT_LIMIT), found, np.nan)


def _exponents(low: float, high: float, step: float) -> Floats:
    return low + step * np.arange(round((high - low) / step) + 1, dtype=np.float64)


def _gain(log_x: Floats, weighted: Floats, weight: Floats, exponents: Floats) -> Floats:
    """A^2 / B of every draw at every exponent, [draws, exponents]; 0 where A <= 0."""
    power = np.exp(np.outer(log_x, exponents))
    fitted, scale = weighted @ power, weight @ power**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((fitted > 0.0) & (scale > 0.0), fitted**2 / scale, 0.0)


def _draws_in_parts(blocks: int, at_once: int, config: FactsConfig) -> Iterator[Floats]:
    """The draws, `at_once` of them at a time, [<= at_once, blocks]."""
    rng = np.random.default_rng([config.seed, blocks])
    share = np.full(blocks, 1.0 / blocks)
    for first in range(0, config.bootstrap_samples, at_once):
        size = min(at_once, config.bootstrap_samples - first)
        yield rng.multinomial(blocks, share, size=size).astype(np.float64)


def _with_interval(value: float, drawn: Floats, config: FactsConfig) -> Estimate:
    known = drawn[np.isfinite(drawn)]
    if known.size < FEWEST_DRAWS * drawn.size:
        return Estimate(value)
    tail = (1.0 - config.confidence) / 2.0
    low, high = (float(q) for q in np.quantile(known, (tail, 1.0 - tail)))
    return Estimate(value, low, high)


def _quantile(ranked: Floats, weight: Floats, probability: float) -> float:
    """The least of the `ranked` values below or at which lies `probability` of the weight."""
    below = np.cumsum(weight)
    place = int(np.searchsorted(below, probability * below[-1]))
    return float(ranked[min(place, ranked.size - 1)])


def _check_pairs(x: Floats, y: Floats, w: Floats, labels: NDArray[np.generic]) -> None:
    shapes = {x.shape, y.shape, w.shape, labels.shape}
    if len(shapes) != 1 or x.ndim != 1:
        raise DataError(
            f"volume {x.shape}, impact {y.shape}, weights {w.shape}, clusters {labels.shape}: "
            "expected one-dimensional arrays of equal length"
        )
    for name, values in (("volume", x), ("impact", y), ("weights", w)):
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DataError(f"{name}[{at}] is {values[at]}: expected a finite number")
    if (x <= 0.0).any() or (w < 0.0).any():
        raise DataError("expected volumes above zero and weights not below it")
    if np.unique(x[w > 0.0]).size < 2:
        raise DataError(f"{x.size} pairs: expected two distinct volumes or more, of some weight")
