"""The best policy of an analytic market by backward induction over (feature, position, bar).

The problem is the environment's own: its lattice of positions under the agents' joint choices,
its charges, its utility, the forced end. A bar's expected utility is bilinear,
sum_c state[g, c] x paid[c, position, successor], for feature g and what is paid in case c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.analytic import AnalyticConfig
from configs.errors import ConfigError
from market.analytic.lattice import NONE, Lattice, lattice_of
from market.analytic.laws import (
    ALMGREN_CHRISS,
    AR1,
    CALM,
    ORACLE,
    REGIME,
    WILD,
    filtered_calm,
    law_of,
    predicted_calm,
    stationary_calm,
)
from market.analytic.terms import bar_utility, terms_of
from market.kernels import kernel

Floats = NDArray[np.float64]

# Grids reach so many standard deviations, and log odds this far: beyond lies less than 1e-6.
_REACH, _SPACING = 5.0, 0.05
_ODDS_REACH, _ODDS_SPACING = 9.0, 0.05
_NODES = 31  # of Gauss-Hermite quadrature, over a bar's return in one state


@dataclass(frozen=True)
class Problem:
    """A market as backward induction takes it; G features, P positions, S successors, C cases.

    Attributes:
        points: [G], the feature's grid, rising.
        start: [G], probabilities of the first feature.
        transition: [G, G], from row to column, a bar.
        state: [G, C]. paid: [C, P, S]. last: [C, P], of the last bar, which ends flat.
    """

    config: AnalyticConfig
    lattice: Lattice
    points: Floats
    start: Floats
    transition: Floats
    state: Floats
    paid: Floats
    last: Floats

    @property
    def first_position(self) -> int:
        """The index of the position at the begin (of a long one, where sides are drawn)."""
        flat = self.lattice.flat
        return 2 * flat if self.config.law.kind == "almgren_chriss" else flat


@dataclass(frozen=True)
class Solution:
    """A policy and what it is worth.

    Attributes:
        policy: int16 [bars, G, P], the position's next index.
        value: [G, P], expected utility of a whole episode, share of a full position's value.
    """

    problem: Problem
    policy: NDArray[np.int16]
    value: Floats

    @property
    def expected(self) -> float:
        """The expected utility of an episode from its begin."""
        problem = self.problem
        return float(problem.start @ self.value[:, problem.first_position])


@kernel
def _utilities(positions: Any, successors: Any, gain: float, terms: Any, out: Any) -> None:
    """Utility of every move of `successors` over a bar that returns `gain`."""
    for before in range(len(positions)):
        for slot in range(successors.shape[1]):
            after = successors[before, slot]
            if after != NONE:
                out[before, slot] = bar_utility(positions[before], positions[after], gain, terms[0])


@kernel
def _best(utility: Any, ahead: Any, successors: Any, value: Any, policy: Any) -> None:
    """One step back: the best successor of every feature and position; the first of equals."""
    for g in range(utility.shape[0]):
        for before in range(utility.shape[1]):
            best, found = -np.inf, 0
            for slot in range(successors.shape[1]):
                after = successors[before, slot]
                if after == NONE:
                    break
                total = utility[g, before, slot] + ahead[g, after]
                if total > best:
                    best, found = total, after
            value[g, before] = best
            policy[g, before] = found


@kernel
def _regime_transition(points: Any, nodes: Any, weights: Any, law: Any, out: Any) -> None:
    """Where the filter goes; shares of neighbours are linear in the posterior, so that it stays
    the martingale that Bayes' rule makes it."""
    for g in range(len(points)):
        ahead = predicted_calm(points[g], law[0])
        for state in (CALM, WILD):
            chance = ahead if state == CALM else 1.0 - ahead
            for k in range(len(nodes)):
                value = law[0].mean[state] + law[0].spread[state] * nodes[k]
                after = filtered_calm(ahead, value, law[0])
                right = min(max(int(np.searchsorted(points, after)), 1), len(points) - 1)
                width = points[right] - points[right - 1]
                share = min(max((after - points[right - 1]) / width, 0.0), 1.0)
                out[g, right] += chance * weights[k] * share
                out[g, right - 1] += chance * weights[k] * (1.0 - share)


def _moves(lattice: Lattice, terms: Any, gain: float, to_flat: bool = False) -> Floats:
    """[P, S] utilities of all moves; [P] of the move to flat."""
    positions, successors = lattice.positions, lattice.successors
    if to_flat:
        successors = np.full((len(positions), 1), lattice.flat)
    out = np.zeros(successors.shape)
    _utilities(positions, successors, gain, terms, out)
    return out[:, 0] if to_flat else out


def _linear(lattice: Lattice, terms: Any) -> tuple[Floats, Floats]:
    """`paid` and `last` of utility that is linear in the return: its share, and the rest."""
    found = []
    for to_flat in (False, True):
        rest = _moves(lattice, terms, 0.0, to_flat)
        found.append(np.stack([_moves(lattice, terms, 1.0, to_flat) - rest, rest]))
    return found[0], found[1]


def _quadrature() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return nodes, weights / weights.sum()


def _logarithmic(lattice: Lattice, terms: Any, law: Any) -> tuple[Floats, Floats]:
    """`paid` and `last` of log utility, by the state that the bar is in."""
    nodes, weights = _quadrature()
    paid, last = [], []
    for state in (CALM, WILD):
        gains = np.expm1(law["mean"][0, state] + law["spread"][0, state] * nodes)
        pairs = list(zip(gains.tolist(), weights, strict=True))
        paid.append(sum(w * _moves(lattice, terms, g) for g, w in pairs))
        last.append(sum(w * _moves(lattice, terms, g, True) for g, w in pairs))
    return np.stack(paid), np.stack(last)


def _normal_weights(points: Floats, mean: Any, deviation: float) -> Floats:
    """Normal probabilities of equally spaced points; [..., G] for means [..., 1].

    Exact to rounding for smooth functions where the spacing is below half a deviation: the
    trapezoid rule of a Gaussian.
    """
    density = np.exp(-0.5 * ((points - mean) / deviation) ** 2)
    return density / density.sum(axis=-1, keepdims=True)


def problem_of(config: AnalyticConfig, lattice: Lattice | None = None) -> Problem:
    """The problem of a market; on its own lattice where none is given."""
    lattice = lattice or lattice_of(config)
    law, terms = law_of(config), terms_of(config)
    kind = int(law["kind"][0])
    if kind == REGIME:
        return _regime_problem(config, lattice, law, terms)
    paid, last = _linear(lattice, terms)
    if kind == ALMGREN_CHRISS:
        one = np.ones((1, 1))
        return Problem(
            config, lattice, np.zeros(1), one[0], one, np.array([[0.0, 1.0]]), paid, last
        )
    points = np.arange(-_REACH, _REACH + _SPACING / 2.0, _SPACING)
    ones = np.ones(len(points))
    start = _normal_weights(points, 0.0, 1.0)
    if kind == AR1:
        phi = float(law["phi"][0])
        foreseen = -(1.0 - phi) * law["deviation"][0] * points
        deviation = (1.0 - phi * phi) ** 0.5
        transition = _normal_weights(points, phi * points[:, None], deviation)
        state = np.stack([foreseen, ones], axis=1)
        return Problem(config, lattice, points, start, transition, state, paid, last)
    # What an independent return pays is counted where it is shown: to the position after.
    after = np.where(lattice.successors == NONE, lattice.flat, lattice.successors)
    paid[0] = lattice.positions[after]
    last[0] = 0.0
    shown = law["sigma"][0] * points if kind == ORACLE else 0.0 * points
    transition = np.tile(start, (len(points), 1))
    return Problem(
        config, lattice, points, start, transition, np.stack([shown, ones], axis=1), paid, last
    )


def _regime_problem(config: AnalyticConfig, lattice: Lattice, law: Any, terms: Any) -> Problem:
    odds = np.arange(-_ODDS_REACH, _ODDS_REACH + _ODDS_SPACING / 2.0, _ODDS_SPACING)
    points = 1.0 / (1.0 + np.exp(-odds))
    transition = np.zeros((len(points), len(points)))
    _regime_transition(points, *_quadrature(), law, transition)
    first = stationary_calm(law[0])
    right = int(np.clip(np.searchsorted(points, first), 1, len(points) - 1))
    start = np.zeros(len(points))
    start[right] = (first - points[right - 1]) / (points[right] - points[right - 1])
    start[right - 1] = 1.0 - start[right]
    ahead = np.array([predicted_calm(point, law[0]) for point in points])
    state = np.stack([ahead, 1.0 - ahead], axis=1)
    paid, last = _logarithmic(lattice, terms, law)
    return Problem(config, lattice, points, start, transition, state, paid, last)


def solve(problem: Problem) -> Solution:
    """The best policy."""
    bars = problem.config.horizon_bars
    value = problem.state @ problem.last
    utility = np.einsum("gc,cps->gps", problem.state, problem.paid)
    policy = np.full((bars, *value.shape), problem.lattice.flat, np.int16)
    for bar in range(bars - 2, -1, -1):
        ahead = problem.transition @ value
        value = np.empty_like(value)
        _best(utility, ahead, problem.lattice.successors, value, policy[bar])
    return Solution(problem, policy, value)


def worth(problem: Problem, policy: NDArray[np.int16]) -> Solution:
    """What a given policy is worth: int16 [bars, G, P], next indices.

    Raises:
        ConfigError: no joint choice leads where the policy goes.
    """
    value = problem.state @ problem.last
    places = np.arange(value.shape[1])
    features = np.arange(value.shape[0])[:, None]
    for bar in range(problem.config.horizon_bars - 2, -1, -1):
        target = policy[bar].astype(np.int64)
        reached = problem.lattice.successors[None] == target[..., None]
        if not reached.any(axis=-1).all():
            g, place = (int(i) for i in np.argwhere(~reached.any(axis=-1))[0])
            raise ConfigError(
                f"policy goes from position {place} to {target[g, place]} at bar {bar}: expected "
                "one of the lattice's successors; build it with Lattice.toward"
            )
        slot = reached.argmax(axis=-1)
        paid = np.einsum("gc,cgp->gp", problem.state, problem.paid[:, places, slot])
        value = paid + (problem.transition @ value)[features, target]
    return Solution(problem, policy, value)


def steady_policy(problem: Problem, wanted: Floats) -> NDArray[np.int16]:
    """The policy that goes as near as it can to wanted positions [G, P], the end apart."""
    bars = problem.config.horizon_bars
    policy = np.broadcast_to(problem.lattice.toward(wanted).astype(np.int16), (bars, *wanted.shape))
    out = policy.copy()
    out[-1] = problem.lattice.flat
    return out
