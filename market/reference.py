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

from market.kernels import kernel
from market.random import PURPOSE_PATH, PURPOSE_REGIME, normal, stream_key, uniform

CANDIDATES = 16


@kernel
def regime_path(
    seed: np.uint64,
    episode: int,
    volatility: NDArray[np.float64],
    drift: NDArray[np.float64],
    switch: float,
    out: NDArray[np.float64],
) -> int:
    """Log price relative to its start at each step mark, [steps + 1], into `out`.

    Args:
        volatility: of the log price over one step, [regimes].
        drift: of the log price over one step, [regimes].
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
        mean = drift[regime] - 0.5 * volatility[regime] ** 2
        out[step + 1] = out[step] + mean + volatility[regime] * shock
        draw = uniform(regime_key, step + 1)
        if draw < switch and regimes > 1:
            regime = (regime + 1 + int(draw / switch * (regimes - 1))) % regimes
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
    key: np.uint64, number: int, open_: float, close: float, sigma: float, out: NDArray[np.float64]
) -> None:
    """A Brownian bridge from open to close with deviation `sigma` over the whole bar."""
    steps = len(out) - 1
    scale = sigma / math.sqrt(steps)
    out[0] = 0.0
    for step in range(steps):
        out[step + 1] = out[step] + scale * normal(key, number * steps + step)
    last = out[steps]
    for step in range(steps + 1):
        share = step / steps
        out[step] = open_ + out[step] - share * last + share * (close - open_)


@kernel
def bar_bridge(
    key: np.uint64,
    open_: float,
    high: float,
    low: float,
    close: float,
    out: NDArray[np.float64],
    scratch: NDArray[np.float64],
) -> None:
    """A path through one bar, [steps + 1] into `out`; `scratch` has the same shape.

    It starts at the open, ends at the close, and its extremes are the bar's high
    and low; both lie on it from three steps on.
    """
    steps = len(out) - 1
    # The range of a Brownian bridge over its deviation has mean sqrt(pi / 2).
    sigma = max(high - low, 1e-9) / math.sqrt(0.5 * math.pi)
    best = math.inf
    for number in range(CANDIDATES):
        _candidate(key, number, open_, close, sigma, scratch)
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
