"""What the plots of a market show: each a curve, with a band where blocks tell one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from market.facts import messages, prices, quotes, trades
from market.facts.intervals import Estimate, power_law_scale
from market.facts.sample import Sample
from market.facts.table import ImpactSample

Floats = NDArray[np.float64]

HORIZONS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
SHORT_HORIZONS = (0.1, 0.2, 0.5)
CLUSTERING_LAGS = tuple(float(lag) for lag in range(10, 301, 10))
ORDER_LAGS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300)
WINDOWS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0)
TAIL_POINTS = 40
SHOWN_SHARE = 0.995  # of the time: wider spreads are counted at the last one shown
IMPACT_GROUPS = 12  # of volumes, where there are more distinct ones


def _nothing() -> Floats:
    return np.zeros(0)


@dataclass(frozen=True)
class Curve:
    """y over x, and a band (NaN where it is not known); empty with a `reason` if unmeasurable."""

    x: Floats = field(default_factory=_nothing)
    y: Floats = field(default_factory=_nothing)
    low: Floats = field(default_factory=_nothing)
    high: Floats = field(default_factory=_nothing)
    reason: str = ""


def kurtosis(sample: Sample) -> Curve:
    """Kurtosis of returns over the horizon in seconds."""
    return _measured(HORIZONS, lambda h: prices.kurtosis(sample, h))


def clustering(sample: Sample) -> Curve:
    """Correlation of absolute 10 s returns over the lag in seconds."""
    return _measured(CLUSTERING_LAGS, lambda lag: prices.absolute_memory(sample, lag))


def sign_memory(sample: Sample) -> Curve:
    """Correlation of the signs of orders over the lag in orders."""
    return _measured(ORDER_LAGS, lambda lag: trades.sign_memory(sample, round(lag)))


def signature(sample: Sample) -> Curve:
    """Variance a second of returns over the horizon in seconds, over that at 1 s."""
    horizons = SHORT_HORIZONS + HORIZONS
    return _measured(horizons, lambda h: prices.variance_growth(sample, h))


def response(sample: Sample) -> Curve:
    """Mean move of the mid in an order's direction over the lag in orders, in mean spreads."""
    try:
        spread = quotes.spread_mean(sample).value
    except DataError as error:
        return Curve(reason=str(error))
    if not spread > 0.0:
        return Curve(reason=f"the mean spread is {spread:g} ticks: it is no unit")
    return _scaled(_measured(ORDER_LAGS, lambda lag: trades.response(sample, round(lag))), spread)


def fano(sample: Sample) -> Curve:
    """Variance over mean of the count of messages over the window in seconds."""
    return _measured(WINDOWS, lambda window: messages.fano(sample, window))


def spread(sample: Sample) -> Curve:
    """Share of the time at each spread, ticks; the widest .5% are counted at the last."""
    ticks, seconds, _ = quotes.spreads(sample)
    if not seconds.sum() > 0.0:
        return Curve(reason=quotes.NEVER_QUOTED)
    whole, place = np.unique(np.rint(ticks), return_inverse=True)
    share = np.bincount(place, weights=seconds) / seconds.sum()
    last = min(int(np.searchsorted(np.cumsum(share), SHOWN_SHARE)), share.size - 1)
    return _plain(whole[: last + 1], np.append(share[:last], share[last:].sum()))


def depth(sample: Sample) -> Curve:
    """Mean quantity resting over the distance behind the best quote in ticks."""
    try:
        profile = quotes.depth_profile(sample)
    except DataError as error:
        return Curve(reason=str(error))
    return _plain(np.arange(profile.size, dtype=np.float64), profile)


def interarrival(sample: Sample) -> Curve:
    """Share of the gaps between messages longer than x seconds."""
    return _exceedance(messages.gaps(sample)[0], "gap between messages")


def cancel_age(sample: Sample) -> Curve:
    """Share of the cancelled orders that were older than x seconds."""
    return _exceedance(messages.ages(sample)[0], "cancel")


def trade_size(sample: Sample) -> Curve:
    """Share of the incoming orders that traded more than x units."""
    return _exceedance(trades.sizes(sample)[0], "trade")


def impact(pairs: ImpactSample) -> Curve:
    """Weighted mean impact over volume, of groups of like volume where there are many.

    The band is two standard errors, from the spread within the group.
    """
    x, y = np.asarray(pairs.volume, np.float64), np.asarray(pairs.impact, np.float64)
    w = np.ones_like(x) if pairs.weights is None else np.asarray(pairs.weights, np.float64)
    x, y, w = x[w > 0.0], y[w > 0.0], w[w > 0.0]
    group = np.unique(x, return_inverse=True)[1]
    if group.size and group.max() >= IMPACT_GROUPS:
        edges = np.quantile(x, np.linspace(0.0, 1.0, IMPACT_GROUPS + 1)[1:-1])
        group = np.unique(np.searchsorted(edges, x, side="right"), return_inverse=True)[1]
    total = np.bincount(group, weights=w)
    mean = np.bincount(group, weights=w * y) / total
    place = np.exp(np.bincount(group, weights=w * np.log(x)) / total)
    square = np.bincount(group, weights=(w * (y - mean[group])) ** 2)
    error = np.where(np.bincount(group) > 1, np.sqrt(square) / total, np.nan)
    return Curve(place, mean, mean - 2.0 * error, mean + 2.0 * error)


def impact_fit(pairs: ImpactSample, exponent: float) -> Curve:
    """The power law of a given exponent that fits the pairs best, between their volumes."""
    ends = np.asarray(pairs.volume, np.float64)
    x = np.geomspace(ends.min(), ends.max(), TAIL_POINTS)
    scale = power_law_scale(pairs.volume, pairs.impact, pairs.weights, exponent)
    return _plain(x, scale * x**exponent)


def _measured(places: Sequence[float], measure: Callable[[float], Estimate]) -> Curve:
    """The curve of a measure over those places at which it is determined."""
    rows: list[tuple[float, float, float, float]] = []
    reasons: list[str] = []
    for place in places:
        try:
            found = measure(place)
        except DataError as error:
            reasons.append(str(error))
            continue
        rows.append((float(place), found.value, _known(found.low), _known(found.high)))
    if not rows:
        return Curve(reason=reasons[0])
    x, y, low, high = (np.array(column) for column in zip(*rows, strict=True))
    return Curve(x, y, low, high)


def _known(end: float | None) -> float:
    return np.nan if end is None else end


def _plain(x: Floats, y: Floats) -> Curve:
    unknown = np.full(x.shape, np.nan)
    return Curve(x, y, unknown, unknown)


def _scaled(curve: Curve, unit: float) -> Curve:
    return Curve(curve.x, curve.y / unit, curve.low / unit, curve.high / unit, curve.reason)


def _exceedance(values: Floats, what: str) -> Curve:
    positive = values[values > 0.0]
    if positive.size < 2 or positive.min() == positive.max():
        return Curve(reason=f"{positive.size} of {values.size} {what}s to show, expected two apart")
    x = np.geomspace(positive.min(), positive.max(), TAIL_POINTS)
    ranked = np.sort(values)
    above = 1.0 - np.searchsorted(ranked, x, side="right") / values.size
    return _plain(x[above > 0.0], above[above > 0.0])
