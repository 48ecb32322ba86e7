"""The study's settings, and the training that each layer and seed is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveInt

from configs.base import Config
from configs.loading import load_config
from configs.train import LayerTraining, load_train_config
from experiments.trainings import UNBOUNDED_MINUTES

_FILE = Path(__file__).parent / "learning.yaml"


class PartStudy(Config):
    """A layer on a market: what is laid over its training, held-out episodes, seeds from 0.

    wanted: of figures of the result (`results.LayerResult.figures`), what is asked of them.
    """

    layer: str
    presets: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    episodes: PositiveInt
    seeds: PositiveInt
    wanted: Mapping[str, str] = Field(default_factory=dict)


class LearningConfig(Config):
    """The study. evaluation_seed: of the episodes, which no training plays."""

    parts: Mapping[str, PartStudy]
    evaluation_seed: NonNegativeInt = Field(0, le=1_000_000)


def learning() -> LearningConfig:
    """The study's own file."""
    return load_config(LearningConfig, _FILE)


def training(study: LearningConfig, part: str, seed: int) -> LayerTraining:
    """One training: the layer's own settings with the study's."""
    told = study.parts[part]
    overrides = [
        f"mappo.stop.minutes={UNBOUNDED_MINUTES}",
        *told.overrides,
        f"evaluation.min_parents={told.episodes}",
        f"evaluation.max_parents={told.episodes}",
        f"evaluation.seed={study.evaluation_seed}",
    ]
    return load_train_config(told.layer, told.presets, (), overrides, seed)
