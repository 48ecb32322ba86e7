"""Which stage a training is in, by the scores of its evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from configs.curriculum import CurriculumConfig
from configs.errors import TrainingError

Move = Literal["advance", "fall back", "stay"]


@dataclass
class Curriculum:
    """The stage and its latest scores; both are part of a checkpoint.

    stage: counted from 0. scores: of evaluations in this stage, the latest last, at most
    `config.window` of them.
    """

    config: CurriculumConfig
    stage: int = 0
    scores: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.config.stages[self.stage].name

    def record(self, score: float) -> Move:
        """Take one evaluation's score and move where the latest ones say so.

        A move forgets the scores: they were earned in another stage.
        """
        self.scores = [*self.scores, score][-self.config.window :]
        if len(self.scores) < self.config.window:
            return "stay"
        mean = sum(self.scores) / len(self.scores)
        if mean >= self.config.advance and self.stage + 1 < len(self.config.stages):
            return self._move(1)
        if mean < self.config.fall_back and self.stage > 0:
            return self._move(-1)
        return "stay"

    def _move(self, by: int) -> Move:
        self.stage += by
        self.scores = []
        return "advance" if by > 0 else "fall back"

    def state_dict(self) -> dict[str, Any]:
        """The stage, by number and name, and its scores."""
        return {"stage": self.stage, "name": self.name, "scores": list(self.scores)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            TrainingError: it is of another curriculum.
        """
        names = [stage.name for stage in self.config.stages]
        stage = int(state["stage"])
        if stage >= len(names) or names[stage] != state["name"]:
            raise TrainingError(
                f"checkpoint in stage {stage} '{state['name']}' of its curriculum, this run's "
                f"stages are {', '.join(names)}: resume with the curriculum it was begun with"
            )
        self.stage, self.scores = stage, [float(score) for score in state["scores"]]


def stage_kwargs(kwargs: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`kwargs` with `over` laid upon it, mappings merged key by key."""
    merged = dict(kwargs)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = stage_kwargs(below, value)
        else:
            merged[key] = value
    return merged
