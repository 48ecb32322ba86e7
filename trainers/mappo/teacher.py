"""A rule that shows the actors of a layer what to choose, at first."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.errors import TrainingError, nearest
from configs.mappo import TeacherConfig
from signals.layout import LayerLayout
from trainers.bar_baselines import baselines_of
from trainers.mappo.plan import TeamPlan


class Rule(Protocol):
    """What a teacher is made of: choices by what stands in a row alone."""

    def act(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N, row width] to [N, action width]."""
        ...


class Teacher:
    """What a rule would choose in place of the actors, and how much that counts by now."""

    def __init__(self, rule: Rule, config: TeacherConfig) -> None:
        self._rule = rule
        self._config = config

    def weight(self, progress: float) -> float:
        """Of minus the log-probability of its choices; progress: share of the budget used."""
        return self._config.coefficient * max(0.0, 1.0 - progress / self._config.until)

    def choices(self, rows: Tensor) -> Tensor:
        """Rows [N, row width] to choices [N, agents], as the policy's latents are."""
        return torch.from_numpy(self._rule.act(rows.cpu().numpy())).to(rows.device)


def build_teacher(plan: TeamPlan, config: TeacherConfig) -> Teacher:
    """The teacher that `config` names for the agents of `plan`.

    Raises:
        TrainingError: there is no such rule, or none for these agents.
    """
    rules = baselines_of(plan.name) if isinstance(plan.layout, LayerLayout) else {}
    if not rules:
        raise TrainingError(
            f"mappo.teacher.rule={config.rule}: '{plan.name}' has no rules to learn from; expected "
            "the strategic or the tactical layer; leave mappo.teacher out"
        )
    if config.rule not in rules:
        raise TrainingError(
            f"mappo.teacher.rule={config.rule}: layer '{plan.name}' has no such baseline; "
            f"{nearest(config.rule, rules)}"
        )
    return Teacher(rules[config.rule], config)
