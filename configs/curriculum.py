"""A curriculum: stages of an environment, and the scores that move a training between them."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, PositiveInt, model_validator

from configs.base import Config


class StageConfig(Config):
    """One stage: its name and what is laid over the environment's keyword arguments.

    target: the return (mean over agents) that scores 1, where no baseline gives it.
    """

    name: str = Field(min_length=1)
    kwargs: dict[str, Any] = Field(default_factory=dict)
    target: float | None = None


class CurriculumConfig(Config):
    """When a training moves on to a harder stage and when it falls back.

    A score is (R - R_random) / (R_best - R_random), returns of `episodes` whole episodes
    on the same seeds: of the policy's modes, of random actions, and of the best baseline
    (or the stage's target). The mean of the last `window` scores in a stage moves it on
    from `advance`, back below `fall_back`. Scored every `evaluate_every` iterations.
    """

    stages: tuple[StageConfig, ...] = Field(min_length=1)
    evaluate_every: PositiveInt = 5
    episodes: PositiveInt = 256
    window: PositiveInt = 10
    advance: float = 0.8
    fall_back: float = 0.5

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.fall_back >= self.advance:
            raise ValueError(
                f"fall_back={self.fall_back}: expected less than advance={self.advance}"
            )
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages {', '.join(names)}: expected different names")
        return self
