"""Reference paths: the price that order flow leans toward, exogenous to every agent.

Built-in: a regime-switching geometric Brownian path. From bars: a bridge inside a
bar, pinned at its open, high, low and close.

The bridge draws several Brownian bridges from open to close and keeps the one
whose high and low come nearest to the bar's (a rejection step of approximate
Bayesian computation), then stretches what lies above and below the pinned ends so
that high and low are met exactly. Which extreme comes first, and when, thus
follows the law of the bridge given the bar, and says nothing of the close before
it is reached.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.kernels import inlined, kernel
from market.random import PURPOSE_PATH, PURPOSE_REGIME, normal, stream_key, uniform
from market.state import Market

CANDIDATES = 16


@inlined
def next_regime(regime: int, regimes: int, switch: float, draw: float) -> int:
    """The regime after one step: another one with probability `switch`, all alike.

    Args:
        draw: uniform in (0, 1).
    """
    if draw < switch and regimes > 1:
        return (regime + 1 + int(draw / switch * (regimes - 1))) % regimes
    return regime


@kernel
def regime_path(
    seed: np.uint64,
    episode: int,
    volatility: NDArray[np.float64],
    drift: NDArray[np.float64],
    busyness: NDArray[np.float64],
    switch: float,
    activity: NDArray[np.float64],
    deviation: NDArray[np.float64],
    out: NDArray[np.float64],
) -> int:
    """Log price relative to its start at each step mark, [steps + 1], into `out`.

    Args:
        volatility: of the log price over one step, [regimes].
        drift: of the log price over one step, [regimes].
        busyness: message rate over the usual one, [regimes].
        activity: [steps], scales the variance of each step; on return times the regime's busyness.
        deviation: [steps], receives that of the log price over each step.
        switch: probability of leaving a regime in one step, to each other one alike.

    Returns the regime at the start.
    """
    path_key = stream_key(seed, episode, PURPOSE_PATH)
    regime_key = stream_key(seed, episode, PURPOSE_REGIME)
    regimes = len(volatility)
    regime = int(uniform(regime_key, 0) * regimes)
    first = regime
    out[0] = 0.0
    for step in range(len(out) - 1):
        shock = normal(path_key, step)
        sigma = volatility[regime] * math.sqrt(activity[step])
        out[step + 1] = out[step] + drift[regime] - 0.5 * sigma * sigma + sigma * shock
        deviation[step] = sigma
        activity[step] *= busyness[regime]
        regime = next_regime(regime, regimes, switch, uniform(regime_key, step + 1))
    return first


@kernel
def _stretch(path: NDArray[np.float64], edge: float, extreme: float, target: float) -> None:
    """Scale what lies beyond `edge` on the side of `extreme` so that it reaches `target`."""
    reach = extreme - edge
    if reach == 0.0:
        return
    scale = (target - edge) / reach
    for index in range(len(path)):
        if path[index] == extreme:
            path[index] = target
        elif (path[index] - edge) * reach > 0.0:
            path[index] = edge + (path[index] - edge) * scale


@kernel
def _candidate(
    key: np.uint64,
    number: int,
    open_: float,
    close: float,
    sigma: float,
    activity: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """A Brownian bridge from open to close with deviation `sigma` over the whole bar.

    Its clock is the activity: busy steps move more.
    """
    steps = len(out) - 1
    whole = np.sum(activity)
    scale = sigma / math.sqrt(whole)
    out[0] = 0.0
    for step in range(steps):
        noise = normal(key, number * steps + step)
        out[step + 1] = out[step] + scale * math.sqrt(activity[step]) * noise
    last = out[steps]
    passed = 0.0
    for step in range(steps + 1):
        share = passed / whole
        out[step] = open_ + out[step] - share * last + share * (close - open_)
        if step < steps:
            passed += activity[step]


@kernel
def bar_deviation(open_: float, high: float, low: float, close: float) -> float:
    """Deviation of the log or plain price over one bar (Garman and Klass, 1980).

    A bridge of this deviation has the variance of the path that made the bar at every
    scale, whether the bar trended or came back: "On the estimation of security price
    volatilities from historical data", Journal of Business 53.
    """
    span, change = high - low, close - open_
    return math.sqrt(0.5 * span * span - (2.0 * math.log(2.0) - 1.0) * change * change)


@kernel
def pinned_bridge(
    key: np.uint64,
    open_: float,
    high: float,
    low: float,
    close: float,
    sigma: float,
    activity: NDArray[np.float64],
    out: NDArray[np.float64],
    scratch: NDArray[np.float64],
) -> None:
    """A path through one bar, [steps + 1] into `out`; `scratch` has the same shape.

    `sigma` is its deviation over the bar but for the pins, `activity` [steps] the pace of
    its clock.

    It starts at the open, ends at the close, and its extremes are the bar's high
    and low; both lie on it from three steps on.
    """
    steps = len(out) - 1
    sigma = max(sigma, 1e-9)
    best = math.inf
    for number in range(CANDIDATES):
        _candidate(key, number, open_, close, sigma, activity, scratch)
        distance = abs(np.max(scratch) - high) + abs(np.min(scratch) - low)
        if distance < best:
            best = distance
            out[:] = scratch
    out[0], out[steps] = open_, close  # not to rounding alone: an end must not count as beyond
    top, bottom = max(open_, close), min(open_, close)
    if high == top:
        _fold(out, top, 1.0)
    if low == bottom:
        _fold(out, bottom, -1.0)
    inner = out[1:steps]
    if steps > 1 and high > top and np.max(inner) <= top:
        inner[np.argmax(inner)] = high
    if steps > 1 and low < bottom and np.min(inner) >= bottom:
        inner[np.argmin(inner)] = low
    _stretch(out, top, np.max(out), high)
    _stretch(out, bottom, np.min(out), low)
    for index in range(steps + 1):
        out[index] = min(max(out[index], low), high)


@kernel
def _fold(path: NDArray[np.float64], edge: float, sign: float) -> None:
    """Mirror what lies beyond an edge that the bar never passed, rather than flatten it there."""
    for index in range(len(path)):
        if (path[index] - edge) * sign > 0.0:
            path[index] = 2.0 * edge - path[index]


@kernel
def window_of_bar(path: NDArray[np.float64], start: int, out: NDArray[Any]) -> None:
    """Copy the part of a bar's path that an episode lives in."""
    for index in range(len(out)):
        out[index] = path[start + index]


@kernel
def refine(market: Market, n: int, key: np.uint64) -> None:
    """Fill the knots of episode `n`: a walk that ends at the path's start, then the path."""
    walk_back(market, n, key)
    fill_knots(market, n, key)


@kernel
def walk_back(market: Market, n: int, key: np.uint64) -> None:
    """Fill the knots of the warm-up: a book round a still price is far too deep."""
    flow, episode = market.flow[0], market.episodes[n]
    knots, path = market.knots[n], market.path[n]
    count, begun = flow.knots_per_step, flow.warmup_steps * flow.knots_per_step
    sigma = math.sqrt(episode.variance_slow / count)
    knots[begun] = path[0]
    for index in range(begun - 1, -1, -1):
        knots[index] = knots[index + 1] + sigma * normal(key, index)


@kernel
def fill_knots(market: Market, n: int, key: np.uint64) -> None:
    """Fill the knots after the warm-up: between two marks a Brownian bridge of the deviation."""
    flow, episode = market.flow[0], market.episodes[n]
    knots, path = market.knots[n], market.path[n]
    count, begun = flow.knots_per_step, flow.warmup_steps * flow.knots_per_step
    knots[begun] = path[0]
    for step in range(len(path) - 1):
        first = begun + step * count
        sigma = market.deviation[n, step] / math.sqrt(count)
        for index in range(1, count + 1):
            left = count - index + 1
            # The bridge from where it stands to the mark, one knot on.
            toward = (path[step + 1] - knots[first + index - 1]) / left
            noise = sigma * math.sqrt((left - 1) / left) * normal(key, first + index)
            value = knots[first + index - 1] + toward + noise
            knots[first + index] = min(max(value, episode.lowest), episode.highest)
