"""Policies of the analytic markets: the best one, simple rules, and trained actors."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from configs.analytic import AlmgrenChrissLaw, Ar1Law, IidLaw, RegimeLaw
from market.analytic.closed import kelly_exposure
from market.analytic.laws import law_of, stationary_calm
from market.analytic.optimum import Problem, Solution, steady_policy
from policies.actor import Actor
from signals.analytic import FEATURES, analytic_layout

Policy = NDArray[np.int16]
Rows = NDArray[np.float32]


class Decides(Protocol):
    """Joint actions float32 [N, 4] for rows float32 [N, row_width]."""

    def act(self, rows: Rows) -> Rows: ...


class TablePolicy:
    """A policy of backward induction, read off the rows of the environment.

    Between points of the grid the nearest one decides.
    """

    def __init__(self, problem: Problem, policy: Policy) -> None:
        self._problem, self._policy = problem, policy
        layout = analytic_layout(problem.config.name)
        place = {column.name: index for index, column in enumerate(layout.shared)}
        own = FEATURES[problem.config.name]
        self._feature = place[own[0].name] if own else None
        self._position, self._left = place["position"], place["bars_left"]
        self._between = (problem.points[1:] + problem.points[:-1]) / 2.0

    def act(self, rows: Rows) -> Rows:
        config, lattice = self._problem.config, self._problem.lattice
        bars = config.horizon_bars
        bar = np.minimum(bars - np.rint(rows[:, self._left] * bars).astype(np.int64), bars - 1)
        place = np.rint(rows[:, self._position] * lattice.limit).astype(np.int64) + lattice.limit
        point = np.zeros(len(rows), np.int64)
        if self._feature is not None:
            point = np.searchsorted(self._between, rows[:, self._feature])
        target = self._policy[bar, point, place].astype(np.int64)
        # The last bar goes flat whatever is chosen; only HOLD is allowed then.
        target = np.where(bar == bars - 1, place, target)
        slot = (lattice.successors[place] == target[:, None]).argmax(axis=1)
        return lattice.choices[place, slot]


class GreedyPolicy:
    """A trained actor by its modes."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def act(self, rows: Rows) -> Rows:
        with torch.no_grad():
            return np.asarray(self._actor.act(torch.from_numpy(rows), None).actions.numpy())


def rules_of(problem: Problem) -> dict[str, Policy]:
    """Simple rules to compare with, by name, under the same choices and charges."""
    law, positions = problem.config.law, problem.lattice.positions
    shape = (len(problem.points), len(positions))
    if isinstance(law, Ar1Law):
        held = -problem.points[:, None] / law.full_at
        myopic = (held + law.cost * positions[None, :]) / (1.0 + law.cost)
        wanted = {"myopic": myopic, "cost_blind": np.broadcast_to(held, shape)}
    elif isinstance(law, RegimeLaw):
        ahead = problem.state[:, :1]
        own = kelly_exposure(law, ahead) / law.leverage
        mean = kelly_exposure(law, np.array(stationary_calm(law_of(problem.config)[0])))
        wanted = {
            "kelly_of_filter": np.broadcast_to(own, shape),
            "constant_kelly": np.full(shape, float(mean) / law.leverage),
        }
    elif isinstance(law, IidLaw):
        sign = np.sign(problem.points)[:, None]
        wanted = {"by_sign": np.broadcast_to(sign, shape), "flat": np.zeros(shape)}
    else:
        return {"twap": twap(problem)}
    return {name: steady_policy(problem, np.clip(w, -1.0, 1.0)) for name, w in wanted.items()}


def twap(problem: Problem) -> Policy:
    """What is held goes down by equal parts over the bars that are left."""
    if not isinstance(problem.config.law, AlmgrenChrissLaw):
        raise TypeError(f"{problem.config.name} liquidates nothing")
    bars, positions = problem.config.horizon_bars, problem.lattice.positions
    out = np.empty((bars, len(problem.points), len(positions)), np.int16)
    for bar in range(bars):
        left = bars - bar
        out[bar] = problem.lattice.toward(positions[None, :] * (left - 1) / left)
    out[-1] = problem.lattice.flat
    return out


def best(solution: Solution) -> TablePolicy:
    """The best policy."""
    return TablePolicy(solution.problem, solution.policy)
