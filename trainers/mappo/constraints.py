"""Multipliers of constraints: one controller each, moved once an iteration by measured costs.

Rewards carry the penalty (`trainers.mappo.costs.Costs.penalised`), so that there is one critic,
one normalisation of values and the update is what it is without constraints. The price: the
critic's target moves with the multipliers, slowly where gains are small. By linearity the
penalised advantage is (A_r - sum_k m_k A_k) / (1 + sum_k m_k), the same as with a critic of each
cost where values are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from configs.constraints import ConstraintConfig
from trainers.mappo.rollout import EpisodeStats

PREFIX = "mappo.constraint"
COST, STEP_COST = "cost", "cost_per_step"


@dataclass
class Multiplier:
    """The controller of one constraint. See `configs.constraints`."""

    config: ConstraintConfig
    value: float = field(init=False)
    cost: float | None = field(init=False, default=None)  # last measured
    _integral: float = field(init=False)

    def __post_init__(self) -> None:
        self.value = self._integral = self.config.initial

    def move(self, cost: float) -> None:
        """Take in what an iteration cost, an episode or a step as the limit says."""
        told = self.config
        error = cost / told.limit - 1.0
        before = cost if self.cost is None else self.cost
        rise = max(0.0, (cost - before) / told.limit)
        self._integral = _within(self._integral + told.integral * error, told.cap)
        wanted = told.proportional * error + self._integral + told.derivative * rise
        self.value, self.cost = _within(wanted, told.cap), cost

    def figures(self) -> dict[str, float]:
        """By name; the cost once one was measured."""
        found = {"multiplier": self.value, "limit": self.config.limit}
        if self.cost is not None:
            found["cost"] = self.cost
        return {f"{PREFIX}.{self.config.name}.{key}": value for key, value in found.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "cost": self.cost, "integral": self._integral}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.value, self.cost = state["value"], state["cost"]
        self._integral = state["integral"]


class Multipliers:
    """Those of a training, in the order of its constraints."""

    def __init__(self, constraints: Sequence[ConstraintConfig]) -> None:
        self.each = [Multiplier(constraint) for constraint in constraints]

    @property
    def values(self) -> tuple[float, ...]:
        """What the next rollout is paid with."""
        return tuple(multiplier.value for multiplier in self.each)

    def move(self, stats: EpisodeStats) -> dict[str, float]:
        """Take in an iteration's costs; the figures of it.

        A limit of episodes waits where none has ended: its multiplier stays as it is.
        """
        episodes, steps = stats.episode_means(), stats.step_means()
        figures: dict[str, float] = {}
        for multiplier in self.each:
            told = multiplier.config
            means = episodes if told.over == "episode" else steps
            kind = COST if told.over == "episode" else STEP_COST
            if (cost := means.get(f"{kind}/{told.name}")) is not None:
                multiplier.move(cost)
            figures |= multiplier.figures()
        return figures

    def state_dict(self) -> dict[str, Any]:
        return {multiplier.config.name: multiplier.state_dict() for multiplier in self.each}

    def load_state(self, state: Mapping[str, Any]) -> None:
        for multiplier in self.each:
            multiplier.load_state(state[multiplier.config.name])


def _within(value: float, cap: float) -> float:
    return min(max(value, 0.0), cap)
