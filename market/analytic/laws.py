"""The laws of analytic markets: an episode's returns, drawn by (seed, episode) alone.

For every bar k of an episode: its return; what can be foreseen of it at the decision before it;
and the features that this decision sees, which are all that the future depends on (beside the
position), so that no policy of past returns can do better than the best one of the features.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.analytic import AlmgrenChrissLaw, AnalyticConfig, Ar1Law, IidLaw, RegimeLaw
from market.analytic.terms import BP, ar1_deviation
from market.kernels import inlined
from market.random import (
    PURPOSE_PATH,
    PURPOSE_REGIME,
    PURPOSE_START,
    normal,
    stream_key,
    uniform,
)

AR1, REGIME, ORACLE, RANDOM_WALK, ALMGREN_CHRISS = range(5)
KINDS = ("ar1", "regime", "oracle", "random_walk", "almgren_chriss")
CALM, WILD = 0, 1

LAW = np.dtype(
    [
        ("kind", np.int64),
        ("scale", np.float64),  # of a bar's return: its standard deviation, at least nearly
        ("phi", np.float64),
        ("sigma", np.float64),  # of an innovation
        ("deviation", np.float64),  # stationary, of an AR(1) price
        ("mean", np.float64, 2),  # of a bar's log return, by state
        ("spread", np.float64, 2),  # its standard deviation
        ("stay", np.float64, 2),  # probability that a state lasts another bar
    ]
)


class Path(NamedTuple):
    """One episode's chance, to be written.

    returns: float64 [bars], of the bar in which decision k is executed. foreseen: float64
    [bars], of it, at decision k. features: float64 [bars], what decision k sees: deviations over
    their stationary standard deviation; the filter's probability of calm; a normal number.
    """

    returns: NDArray[np.float64]
    foreseen: NDArray[np.float64]
    features: NDArray[np.float64]


def law_of(config: AnalyticConfig) -> Any:
    """LAW [1] of a market."""
    out = np.zeros(1, LAW)
    law = config.law
    out["kind"] = KINDS.index(config.name)
    if isinstance(law, Ar1Law):
        out["phi"], out["sigma"] = law.phi, law.sigma_bp / BP
        out["deviation"] = ar1_deviation(law)
        out["scale"] = out["sigma"]
    elif isinstance(law, RegimeLaw):
        _regimes(law, out)
    elif isinstance(law, IidLaw):
        out["sigma"] = out["scale"] = law.sigma_bp / BP
    elif isinstance(law, AlmgrenChrissLaw):
        bar = law.days / config.horizon_bars
        out["sigma"] = out["scale"] = law.volatility * math.sqrt(bar) / law.price
    return out


def _regimes(law: RegimeLaw, out: Any) -> None:
    bars = law.bars_per_year
    for state, given in ((CALM, law.calm), (WILD, law.wild)):
        variance = given.volatility**2 / bars
        out["mean"][0, state] = given.drift / bars - variance / 2.0
        out["spread"][0, state] = math.sqrt(variance)
        out["stay"][0, state] = 1.0 - 1.0 / given.mean_bars
    calm = stationary_calm(out[0])
    spreads = out["spread"][0]
    out["scale"] = math.sqrt(calm * spreads[CALM] ** 2 + (1.0 - calm) * spreads[WILD] ** 2)


@inlined
def stationary_calm(law: Any) -> float:
    """The share of bars that are calm in the long run."""
    leave_calm, leave_wild = 1.0 - law.stay[CALM], 1.0 - law.stay[WILD]
    return leave_wild / (leave_calm + leave_wild)


@inlined
def predicted_calm(calm: float, law: Any) -> float:
    """The probability that the next bar is calm, by that of the last one."""
    return calm * law.stay[CALM] + (1.0 - calm) * (1.0 - law.stay[WILD])


@inlined
def filtered_calm(predicted: float, log_return: float, law: Any) -> float:
    """Bayes: the probability that a bar was calm, once its return is known (Hamilton 1989)."""
    calm = (log_return - law.mean[CALM]) / law.spread[CALM]
    wild = (log_return - law.mean[WILD]) / law.spread[WILD]
    # The ratio of densities, wild over calm: bounded below where both underflow.
    odds = math.exp(0.5 * (calm * calm - wild * wild)) * law.spread[CALM] / law.spread[WILD]
    return predicted / (predicted + (1.0 - predicted) * odds)


@inlined
def expected_return(state: int, law: Any) -> float:
    """Of a bar in one state: a simple return."""
    return math.expm1(law.mean[state] + 0.5 * law.spread[state] ** 2)


@inlined
def _draw_ar1(path: np.uint64, start: np.uint64, law: Any, out: Any) -> None:
    deviation = law.deviation * normal(start, 0)
    for k in range(len(out.returns)):
        after = law.phi * deviation + law.sigma * normal(path, k)
        out.features[k] = deviation / law.deviation
        out.foreseen[k] = -(1.0 - law.phi) * deviation
        out.returns[k] = after - deviation
        deviation = after


@inlined
def _draw_regime(path: np.uint64, switch: np.uint64, law: Any, out: Any) -> None:
    calm = stationary_calm(law)
    state = CALM if uniform(switch, 0) < calm else WILD
    for k in range(len(out.returns)):
        if uniform(switch, k + 1) >= law.stay[state]:
            state = WILD if state == CALM else CALM
        value = law.mean[state] + law.spread[state] * normal(path, k)
        ahead = predicted_calm(calm, law)
        out.features[k] = calm
        foreseen = ahead * expected_return(CALM, law)
        out.foreseen[k] = foreseen + (1.0 - ahead) * expected_return(WILD, law)
        out.returns[k] = math.expm1(value)
        calm = filtered_calm(ahead, value, law)


@inlined
def _draw_iid(path: np.uint64, law: Any, out: Any) -> None:
    for k in range(len(out.returns)):
        value = law.sigma * normal(path, k + 1)
        out.returns[k] = value
        if law.kind == ORACLE:
            out.features[k] = normal(path, k + 2)
            out.foreseen[k] = value
        else:
            out.features[k] = normal(path, k)
            out.foreseen[k] = 0.0


@inlined
def draw_episode(seed: np.uint64, episode: int, law: Any, out: Any) -> None:
    """Write an episode's `Path`."""
    path = stream_key(seed, episode, PURPOSE_PATH)
    if law.kind == AR1:
        _draw_ar1(path, stream_key(seed, episode, PURPOSE_START), law, out)
    elif law.kind == REGIME:
        _draw_regime(path, stream_key(seed, episode, PURPOSE_REGIME), law, out)
    else:
        _draw_iid(path, law, out)


@inlined
def draw_start(seed: np.uint64, episode: int, law: Any) -> int:
    """The position at the begin, in limits: flat, or a full one to be liquidated, of any side."""
    if law.kind != ALMGREN_CHRISS:
        return 0
    return 1 if uniform(stream_key(seed, episode, PURPOSE_START), 0) < 0.5 else -1
