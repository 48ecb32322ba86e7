"""The arms of the study, and the training that each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveInt

from configs.base import Config
from configs.loading import load_config
from configs.train import LayerTraining, load_train_config
from experiments.trainings import UNBOUNDED_MINUTES

PLAIN = "plain"
SEEDS = 8
_FILE = Path(__file__).parent / "arms.yaml"

Overrides = tuple[str, ...]


class AblationConfig(Config):
    """The study.

    arms: overrides of a training configuration, by arm. layers: of all arms, by layer.
    episodes: on which all are played, by layer. evaluation_seed: of these.
    """

    arms: Mapping[str, Overrides]
    layers: Mapping[str, Overrides]
    episodes: Mapping[str, PositiveInt]
    evaluation_seed: NonNegativeInt = Field(0, le=1_000_000)


def ablation() -> AblationConfig:
    """The study's own file."""
    return load_config(AblationConfig, _FILE)


def training(study: AblationConfig, layer: str, arm: str, seed: int) -> LayerTraining:
    """One training: the layer's own settings, the study's, the arm's.

    The same seed draws the same episodes and first weights for all arms, as far as they share
    weights; which bars are played never depends on it.
    """
    overrides = [
        *study.layers[layer],
        *study.arms[arm],
        f"mappo.stop.minutes={UNBOUNDED_MINUTES}",
        f"evaluation.min_parents={study.episodes[layer]}",
        f"evaluation.max_parents={study.episodes[layer]}",
        f"evaluation.seed={study.evaluation_seed}",
    ]
    return load_train_config(layer, (), (), overrides, seed)
