"""Where reference paths come from: the built-in generator, or real bars."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.execution import ExecutionConfig
from configs.market import BarReference, GeneratorReference
from configs.splits import Split
from market.arrivals import draw_activity
from market.kernels import kernel
from market.random import PURPOSE_ACTIVITY, PURPOSE_BARS, PURPOSE_PATH, normal, stream_key, uniform
from market.reference import bar_deviation, pinned_bridge, regime_path, window_of_bar
from market.splits import split_range

_MINUTE = 60.0
_NANOSECONDS_PER_DAY = 86_400_000_000_000
EDGE_LEVELS = 64  # ladder levels at either end that the path itself never reaches
_ACTIVITY_NOISE = 0.25  # sigma of the log message rate around its past profile
_ACTIVITY_RANGE = (0.25, 4.0)


class PathSource(Protocol):
    """Fills path, base, sigma, rate and the volatility known at the start of new episodes."""

    fingerprint: str

    def prepare(self, market: Any, rows: NDArray[np.int64], path_seeds: NDArray[np.uint64]) -> None:
        """Write what the episodes in `rows` need before their books open."""
        ...


@kernel
def place_on_ladder(path: Any, episode: Any, ladder: int, first: float) -> None:
    """Turn a path in ticks into ladder ticks around the middle, kept off the edges."""
    base = np.floor(first) - ladder // 2
    episode.base = base
    for index in range(len(path)):
        inside = max(path[index] - base, EDGE_LEVELS)
        path[index] = min(inside, ladder - 1.0 - EDGE_LEVELS)


@kernel
def _generate(
    paths: Any,
    activities: Any,
    deviations: Any,
    episodes: Any,
    flow: Any,
    rows: Any,
    path_seeds: Any,
    start: float,
    volatility: Any,
    drift: Any,
    switch: float,
    rate: float,
    prior_sigma: float,
    busyness: Any,
    memories: Any,
    dispersion: float,
) -> None:
    for n in rows:
        path, activity, deviation = paths[n], activities[n], deviations[n]
        episode, ladder = episodes[n], flow[0].ladder
        key = stream_key(path_seeds[n], episode.episode, PURPOSE_ACTIVITY)
        draw_activity(key, flow[0].step_seconds, memories, dispersion, activity)
        regime = regime_path(
            path_seeds[n],
            episode.episode,
            volatility,
            drift,
            busyness,
            switch,
            activity,
            deviation,
            path,
        )
        for index in range(len(path)):
            path[index] = start * np.exp(path[index])
        for step in range(len(deviation)):
            deviation[step] *= start
        place_on_ladder(path, episode, ladder, start)
        episode.sigma = volatility[regime] * start
        episode.lowest, episode.highest = EDGE_LEVELS, ladder - 1.0 - EDGE_LEVELS
        episode.cluster = np.int64(path_seeds[n])
        episode.variance_slow = prior_sigma * prior_sigma
        episode.rate = rate


class GeneratorSource:
    """The built-in regime-switching market."""

    def __init__(self, config: ExecutionConfig, reference: GeneratorReference) -> None:
        per_step = config.step_seconds / reference.trading_seconds_per_year
        self._start = reference.price / config.market.tick
        self._volatility = np.array([r.volatility for r in reference.regimes]) * np.sqrt(per_step)
        self._drift = np.array([r.drift for r in reference.regimes]) * per_step
        self._switch = 1.0 - np.exp(
            -config.step_seconds / (_MINUTE * reference.mean_regime_minutes)
        )
        arrivals = config.market.flow.arrivals
        self._rate = arrivals.messages_per_second
        self._busyness = np.array([r.activity for r in reference.regimes])
        self._memories = np.array(arrivals.activity_seconds)
        self._dispersion = arrivals.activity_dispersion
        self.prior_sigma = float(np.sqrt(np.mean(self._volatility**2)) * self._start)
        self.fingerprint = "built-in generator"

    def prepare(self, market: Any, rows: NDArray[np.int64], path_seeds: NDArray[np.uint64]) -> None:
        """See `PathSource.prepare`."""
        # Array by array: a kernel takes apart whatever it is given, and this one needs five.
        _generate(
            market.path,
            market.activity,
            market.deviation,
            market.episodes,
            market.flow,
            rows,
            path_seeds,
            self._start,
            self._volatility,
            self._drift,
            self._switch,
            self._rate,
            self.prior_sigma,
            self._busyness,
            self._memories,
            self._dispersion,
        )


@kernel
def _bridge(
    market: Any,
    rows: Any,
    path_seeds: Any,
    ohlc: Any,
    first_bar: int,
    last_bar: int,
    activity: Any,
    sigma: Any,
    day: Any,
    steps_per_bar: int,
    rate: float,
    memories: Any,
    dispersion: float,
) -> None:
    whole = np.empty(steps_per_bar + 1)
    busy = np.empty(steps_per_bar)
    scratch = np.empty(steps_per_bar + 1)
    for n in rows:
        episode = market.episodes[n]
        path = market.path[n]
        draw = stream_key(path_seeds[n], episode.episode, PURPOSE_BARS)
        bar = first_bar + int(uniform(draw, 0) * (last_bar - first_bar))
        key = stream_key(path_seeds[n], episode.episode, PURPOSE_PATH)
        moods = stream_key(path_seeds[n], episode.episode, PURPOSE_ACTIVITY)
        draw_activity(moods, market.flow[0].step_seconds, memories, dispersion, busy)
        open_, high, low, close = ohlc[bar, 0], ohlc[bar, 1], ohlc[bar, 2], ohlc[bar, 3]
        inside = bar_deviation(open_, high, low, close)
        pinned_bridge(key, open_, high, low, close, inside, busy, whole, scratch)
        start = int(uniform(draw, 1) * (steps_per_bar - len(path) + 2))
        window_of_bar(whole, start, path)
        window_of_bar(busy, start, market.activity[n])
        for step in range(len(path) - 1):
            market.deviation[n, step] = sigma[bar] * np.sqrt(market.activity[n, step])
        place_on_ladder(path, episode, market.flow[0].ladder, path[0])
        episode.lowest = ohlc[bar, 2] - episode.base
        episode.highest = ohlc[bar, 1] - episode.base
        episode.sigma = sigma[bar]
        episode.cluster = day[bar]
        episode.variance_slow = sigma[bar] ** 2
        noise = np.exp(_ACTIVITY_NOISE * normal(draw, 1))
        episode.rate = rate * activity[bar] * noise


class BarSource:
    """Windows inside the real bars of one split.

    Message rates and the volatility known at the start come from bars before the
    one that is played, so that neither tells what the bar has yet to do.
    """

    def __init__(self, config: ExecutionConfig, reference: BarReference, split: Split) -> None:
        # pandas is read in only where bars are: a decision on the built-in market needs none.
        from market.bars import load_bars

        bars = load_bars(reference.bars)
        self.fingerprint = bars.fingerprint
        self._steps = self._steps_per_bar(config, reference)
        past = reference.activity_bars
        part = split_range(split, len(bars), bars.start, reference, warmup=past, source=bars.source)
        self._range = (part.first, part.after)
        tick = config.market.tick
        self._ohlc = np.stack([bars.open, bars.high, bars.low, bars.close], axis=1) / tick
        self._activity = trailing_activity(bars.volume, past)
        self._sigma = trailing_sigma(self._ohlc, past) / np.sqrt(self._steps)
        self._day = bars.start // _NANOSECONDS_PER_DAY
        arrivals = config.market.flow.arrivals
        self._rate = arrivals.messages_per_second
        self._memories = np.array(arrivals.activity_seconds)
        self._dispersion = arrivals.activity_dispersion

    @staticmethod
    def _steps_per_bar(config: ExecutionConfig, reference: BarReference) -> int:
        seconds = reference.bars.bar_minutes * _MINUTE
        steps = int(seconds / config.step_seconds)
        if config.parent.horizon_steps > steps:
            raise ConfigError(
                f"parent.horizon_steps={config.parent.horizon_steps}: an episode lives inside one "
                f"bar of {reference.bars.bar_minutes} min, expected at most {steps} steps of "
                f"{config.step_seconds:g} s; shorten the horizon or the step"
            )
        return steps

    def prepare(self, market: Any, rows: NDArray[np.int64], path_seeds: NDArray[np.uint64]) -> None:
        """See `PathSource.prepare`."""
        first, last = self._range
        _bridge(
            market,
            rows,
            path_seeds,
            self._ohlc,
            first,
            last,
            self._activity,
            self._sigma,
            self._day,
            self._steps,
            self._rate,
            self._memories,
            self._dispersion,
        )


def _trailing_mean(values: NDArray[np.float64], past: int) -> NDArray[np.float64]:
    """Mean of the `past` values before each one; of fewer where fewer exist, 0 of none."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    after = np.arange(len(values))
    first = np.maximum(after - past, 0)
    return np.asarray((sums[after] - sums[first]) / np.maximum(after - first, 1))


def trailing_activity(volume: NDArray[np.float64], past: int) -> NDArray[np.float64]:
    """The level of volume before each bar, over its mean in all the past."""
    usual = _trailing_mean(volume, len(volume))
    return np.clip(_trailing_mean(volume, past) / np.maximum(usual, 1e-9), *_ACTIVITY_RANGE)


def trailing_sigma(ohlc: NDArray[np.float64], past: int) -> NDArray[np.float64]:
    """Deviation of a bar from its range over past bars (Parkinson, 1980), in ticks."""
    high, low = ohlc[:, 1], ohlc[:, 2]
    variance = _trailing_mean((high - low) ** 2 / (4.0 * np.log(2.0)), past)
    return np.sqrt(np.maximum(variance, 1.0))


def path_source(config: ExecutionConfig, split: Split) -> PathSource:
    """The source that a configuration asks for."""
    reference = config.market.reference
    if isinstance(reference, BarReference):
        return BarSource(config, reference, split)
    return GeneratorSource(config, reference)
