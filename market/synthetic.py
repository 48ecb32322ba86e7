"""Bars of any length from the built-in regime-switching generator.

The law is that of `market.sources.GeneratorSource`, at the scale of bars: a geometric
Brownian path whose volatility, drift and message rate follow a regime, with an activity
(the exponential of a sum of Ornstein-Uhlenbeck processes) that scales variance and volume
alike, so that busy bars have wide ranges. A bar is walked in sub-steps; the extremes between
two marks are drawn from their law given both (Brownian bridge; Karatzas and Shreve, "Brownian
Motion and Stochastic Calculus", 1991, section 4.3.C), so that ranges are not too narrow,
however long a sub-step.

Sessions: there are none. Bars follow each other without a gap, each opens where the last one
closed, and all seconds are trading seconds of `trading_seconds_per_year`. The clock on the
stamps thus tells nothing of the path.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.market import FlowConfig, GeneratorReference
from market.bars import Bars, BarsReport
from market.kernels import inlined, kernel
from market.random import (
    PURPOSE_ACTIVITY,
    PURPOSE_BARS,
    PURPOSE_FLOW,
    PURPOSE_PATH,
    PURPOSE_REGIME,
    PURPOSE_SERIES,
    hash64,
    normal,
    stream_key,
    uniform,
)
from market.reference import next_regime

SOURCE = "built-in generator"
FIRST_STAMP = 946_857_600_000_000_000  # Monday 2000-01-03, 00:00 UTC, ns since 1970
SUBSTEP_SECONDS = 60.0  # of trading time, at most
LEAST_SUBSTEPS = 10  # of one bar
VOLUME_NOISE = 0.25  # sigma of a bar's log volume, given how busy the bar is
_MINUTE = 60.0
_NS_PER_SECOND = 1_000_000_000
_COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class SyntheticSeries:
    """Bars and what made them.

    Attributes:
        bars: n bars.
        regime: int64 [n], the regime at the close of each bar, an index into
            `GeneratorReference.regimes`: for critics and tests, since no market shows it.
    """

    bars: Bars
    regime: NDArray[np.int64]


def synthetic_bars(
    reference: GeneratorReference,
    count: int,
    bar_minutes: float,
    tick: float,
    seed: int,
    flow: FlowConfig | None = None,
) -> Bars:
    """The bars of `synthetic_series`."""
    return synthetic_series(reference, count, bar_minutes, tick, seed, flow).bars


def synthetic_series(
    reference: GeneratorReference,
    count: int,
    bar_minutes: float,
    tick: float,
    seed: int,
    flow: FlowConfig | None = None,
) -> SyntheticSeries:
    """`count` bars of `bar_minutes`: a function of the arguments alone.

    More bars of the same arguments begin with the same bars.

    Args:
        reference: regimes, how long they last, and the first price.
        count: n, bars.
        bar_minutes: length of a bar.
        tick: currency; prices are whole multiples of it.
        seed: of every draw, 0 to 2^64 - 1.
        flow: how activity wanders and how much is traded; the default flow where None.

    Raises:
        ConfigError: an argument is out of its range, or the price falls below one tick.
    """
    _check(count, bar_minutes, tick, seed)
    flow = flow or FlowConfig()
    seconds = _MINUTE * bar_minutes
    parts, substep = _substeps(bar_minutes)
    per_part = substep / reference.trading_seconds_per_year
    columns, regime = np.empty((len(_COLUMNS), count)), np.empty(count, np.int64)
    _walk(
        np.uint64(hash64(np.uint64(seed), PURPOSE_SERIES)),
        parts,
        np.array([r.volatility for r in reference.regimes]) * math.sqrt(per_part),
        np.array([r.drift for r in reference.regimes]) * per_part,
        0.0 if reference.pull_years is None else per_part / reference.pull_years,
        np.array([r.activity for r in reference.regimes]),
        _switch(reference, substep),
        np.exp(-substep / np.array(flow.arrivals.activity_seconds)),
        flow.arrivals.activity_dispersion,
        flow.arrivals.messages_per_second * flow.market_share * flow.mean_size * substep,
        columns,
        regime,
    )
    prices = np.rint(np.exp(columns[:-1]) * (reference.price / tick)) * tick
    if not (np.isfinite(prices).all() and prices.min() >= tick):
        raise ConfigError(
            f"reference.price={reference.price:g} with tick={tick:g}: after {count} bars of "
            f"{bar_minutes:g} min the path leaves what prices can hold, expected one tick or "
            "more; raise the price, take fewer bars or a milder drift and volatility"
        )
    volume = np.maximum(np.rint(columns[-1]), 1.0)
    length = round(seconds * _NS_PER_SECOND)
    start = FIRST_STAMP + np.arange(count, dtype=np.int64) * length
    bars = bars_of_columns(start, (*prices, volume), SOURCE)
    return SyntheticSeries(bars, _frozen(regime))


def expected_moves(
    series: SyntheticSeries, reference: GeneratorReference, bar_minutes: float
) -> NDArray[np.float64]:
    """What each close is expected to stand above the one before it, currency: float64 [n].

    Given the regime at the close before, which no market shows: for what training pays, and for
    tests. 0 of the first bar. What a bar moves beside it is chance, of mean 0 whatever is known
    at the close before.

    Args:
        series: as `synthetic_series` made it of `reference` and `bar_minutes`.
    """
    parts, substep = _substeps(bar_minutes)
    per_part = substep / reference.trading_seconds_per_year
    drift, regimes = np.array([r.drift for r in reference.regimes]), len(reference.regimes)
    switch = _switch(reference, substep) * regimes / (regimes - 1) if regimes > 1 else 0.0
    pull = 0.0 if reference.pull_years is None else per_part / reference.pull_years
    steps = np.arange(parts)
    # What a sub-step's drift comes to by the close; how much the regime still tells of it.
    left, told = (1.0 - pull) ** (parts - 1 - steps), (1.0 - switch) ** steps
    mean = drift.mean()
    trend = per_part * (mean * left.sum() + (drift - mean) * (left * told).sum())
    before = series.bars.close[:-1]
    log_move = trend[series.regime[:-1]]
    log_move -= (1.0 - (1.0 - pull) ** parts) * np.log(before / reference.price)
    moves = np.zeros(len(series.regime))
    moves[1:] = before * np.expm1(log_move)
    return moves


def _substeps(bar_minutes: float) -> tuple[int, float]:
    """Into how many sub-steps a bar is walked, and their seconds."""
    seconds = _MINUTE * bar_minutes
    parts = max(LEAST_SUBSTEPS, math.ceil(seconds / SUBSTEP_SECONDS))
    return parts, seconds / parts


def _switch(reference: GeneratorReference, seconds: float) -> float:
    """Probability of leaving a regime within `seconds`."""
    return -math.expm1(-seconds / (_MINUTE * reference.mean_regime_minutes))


def _check(count: int, bar_minutes: float, tick: float, seed: int) -> None:
    if count < 1:
        raise ConfigError(f"count={count}: expected one bar or more")
    for name, value in (("bar_minutes", bar_minutes), ("tick", tick)):
        if not (math.isfinite(value) and value > 0.0):
            raise ConfigError(f"{name}={value:g}: expected a finite number above zero")
    if not 0 <= seed < 1 << 64:
        raise ConfigError(f"seed={seed}: expected 0 to 2^64 - 1")
    last = FIRST_STAMP + count * bar_minutes * _MINUTE * _NS_PER_SECOND
    if last > np.iinfo(np.int64).max:
        raise ConfigError(
            f"count={count} bars of {bar_minutes:g} min end after 2262, where stamps in ns do: "
            "expected fewer or shorter bars"
        )


def bars_of_columns(
    start: NDArray[np.int64], columns: tuple[NDArray[np.float64], ...], source: str
) -> Bars:
    """Bars that no file holds; their fingerprint is the SHA-256 of their own columns.

    Args:
        start: int64 [n], ns since 1970 UTC; made read-only.
        columns: open, high, low, close and volume, [n] each; copied.
    """
    digest = hashlib.sha256(start.tobytes())
    for column in columns:
        digest.update(column.tobytes())
    report = BarsReport(len(start), len(start), {}, 0, 0, 0, None)
    open_, high, low, close, volume = (_frozen(column.copy()) for column in columns)
    fingerprint = digest.hexdigest()
    return Bars(_frozen(start), open_, high, low, close, volume, source, fingerprint, report)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


@inlined
def _begin_moods(key: np.uint64, moods: NDArray[np.float64]) -> None:
    """Stationary, of variance 1 each; the draws of `_wander` follow."""
    for process in range(len(moods)):
        moods[process] = normal(key, process)


@inlined
def _wander(
    key: np.uint64,
    step: int,
    kept: NDArray[np.float64],
    dispersion: float,
    moods: NDArray[np.float64],
) -> float:
    """Activity at `step`, of mean 1; lets the processes behind it move on to the next one."""
    count = len(moods)
    total = 0.0
    for process in range(count):
        total += moods[process]
        fresh = math.sqrt(1.0 - kept[process] * kept[process])
        noise = normal(key, count * (step + 1) + process)
        moods[process] = kept[process] * moods[process] + fresh * noise
    return math.exp(dispersion / math.sqrt(count) * total - 0.5 * dispersion * dispersion)


@inlined
def _overshoot(change: float, variance: float, draw: float) -> float:
    """By how much a bridge of `variance` that ends `change` from its start tops its start.

    P(maximum > m) = exp(-2 m (m - change) / variance) for m at or above both ends.
    """
    return 0.5 * (change + math.sqrt(change * change - 2.0 * variance * math.log(draw)))


@kernel
def _walk(
    seed: np.uint64,
    parts: int,
    volatility: NDArray[np.float64],
    drift: NDArray[np.float64],
    pull: float,
    busyness: NDArray[np.float64],
    switch: float,
    kept: NDArray[np.float64],
    dispersion: float,
    volume: float,
    columns: NDArray[np.float64],
    at_close: NDArray[np.int64],
) -> None:
    """Walk all bars, `parts` sub-steps each.

    Args:
        volatility, drift: of the log price over one sub-step, [regimes].
        pull: share of the log price's way that it loses in one sub-step.
        busyness: [regimes], message rate over the usual one.
        switch: probability of leaving a regime in one sub-step.
        kept: [processes], what each process of the activity keeps over one sub-step.
        volume: usual units traded in one sub-step.
        columns: [5, n], receives the log price over the first one at open, high, low and
            close, and the volume.
        at_close: [n], receives regimes.
    """
    path_key, regime_key = stream_key(seed, 0, PURPOSE_PATH), stream_key(seed, 0, PURPOSE_REGIME)
    mood_key, extreme_key = stream_key(seed, 0, PURPOSE_ACTIVITY), stream_key(seed, 0, PURPOSE_BARS)
    volume_key = stream_key(seed, 0, PURPOSE_FLOW)
    moods = np.empty(len(kept))
    _begin_moods(mood_key, moods)
    regime = int(uniform(regime_key, 0) * len(volatility))
    price, step = 0.0, 0
    for bar in range(len(at_close)):
        top = bottom = columns[0, bar] = price
        traded = 0.0
        for _ in range(parts):
            activity = _wander(mood_key, step, kept, dispersion, moods)
            sigma = volatility[regime] * math.sqrt(activity)
            variance = sigma * sigma
            trend = drift[regime] - pull * price - 0.5 * variance
            change = trend + sigma * normal(path_key, step)
            rise = _overshoot(change, variance, uniform(extreme_key, 2 * step))
            fall = _overshoot(-change, variance, uniform(extreme_key, 2 * step + 1))
            top, bottom = max(top, price + rise), min(bottom, price - fall)
            price += change
            traded += volume * activity * busyness[regime]
            step += 1
            draw = uniform(regime_key, step)
            regime = next_regime(regime, len(volatility), switch, draw)
        columns[1, bar], columns[2, bar], columns[3, bar] = top, bottom, price
        noise = VOLUME_NOISE * normal(volume_key, bar)
        columns[4, bar] = traded * math.exp(noise - 0.5 * VOLUME_NOISE * VOLUME_NOISE)
        at_close[bar] = regime
