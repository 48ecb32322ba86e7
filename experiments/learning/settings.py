"""The study's settings, and the training that each layer and seed is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from configs.base import Config
from configs.loading import load_config
from configs.train import LayerTraining, load_train_config
from experiments.trainings import UNBOUNDED_MINUTES
from trainers.runs import ARTEFACT_FOLDER

EVIDENCE = "told_as_evidence"  # of the figures: the share of trainings whose lead is called so
SEED_ABOVE = 0  # of the trainings of the layer above, the one that is played under

_FILE = Path(__file__).parent / "learning.yaml"


class PartStudy(Config):
    """A layer on a market: what is laid over its training, held-out episodes, seeds from 0.

    under: a part of the strategic layer, whose seed 0 is the layer above; sampled where None.
    wanted: of figures of the result (`results.LayerResult.figures`), what is asked of them.
    """

    layer: str
    presets: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    under: str | None = None
    episodes: PositiveInt
    seeds: PositiveInt
    wanted: Mapping[str, str] = Field(default_factory=dict)


class LearningConfig(Config):
    """The study. evaluation_seed: of the episodes, which no training plays."""

    parts: Mapping[str, PartStudy]
    evaluation_seed: NonNegativeInt = Field(0, le=1_000_000)

    @model_validator(mode="after")
    def _above_are_strategic(self) -> Self:
        strategic = [name for name, part in self.parts.items() if part.layer == "strategic"]
        for name, part in self.parts.items():
            if part.under is not None and part.under not in strategic:
                raise ValueError(
                    f"parts.{name}.under is {part.under}, expected a part of the strategic "
                    f"layer ({', '.join(strategic) or 'there is none'}); name one, or leave it out"
                )
        return self


def learning() -> LearningConfig:
    """The study's own file."""
    return load_config(LearningConfig, _FILE)


def seed_folder(output: Path, part: str, seed: int) -> Path:
    """Where a training and its result lie."""
    return output / part / f"seed-{seed}"


def above_folder(output: Path, part: str) -> Path:
    """Where the artefact lies that trainings under `part` play under."""
    return seed_folder(output, part, SEED_ABOVE) / ARTEFACT_FOLDER


def training(study: LearningConfig, part: str, seed: int, output: Path) -> LayerTraining:
    """One training: the layer's own settings with the study's.

    Args:
        output: of the study, where the artefact of a layer above lies.
    """
    told = study.parts[part]
    above = []
    if told.under is not None:
        above = [f"env.upstream.strategic={above_folder(output, told.under)}"]
    overrides = [
        f"mappo.stop.minutes={UNBOUNDED_MINUTES}",
        *told.overrides,
        *above,
        f"evaluation.min_parents={told.episodes}",
        f"evaluation.max_parents={told.episodes}",
        f"evaluation.seed={study.evaluation_seed}",
    ]
    return load_train_config(told.layer, told.presets, (), overrides, seed)
