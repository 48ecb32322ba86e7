"""Everything one training run needs: environment, trainer, evaluation, tracking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt

from configs.base import Config
from configs.evaluation import EvaluationConfig
from configs.execution import ExecutionConfig
from configs.loading import load_config, shipped
from configs.mappo import MappoConfig
from configs.tracking import TrackingConfig

# RLlib seeds numpy's 32 bits with this plus a worker's number.
MAX_SEED = (1 << 31) - 1


class TrainConfig(Config):
    """One training run of one layer.

    `seed` is the seed of the whole run: the trainer's own is set from it.
    `env.market.name` names the market in the registry and among the champions in `models`.
    """

    layer: Literal["execution"] = "execution"
    env: ExecutionConfig = ExecutionConfig()
    mappo: MappoConfig = MappoConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    seed: NonNegativeInt = Field(default=0, le=MAX_SEED)
    output: str = Field(default="runs", min_length=1)
    models: str = Field(default="models", min_length=1)

    @property
    def run_family(self) -> str:
        """What the names of all runs of the layer begin with."""
        return self.layer

    @property
    def run_stem(self) -> str:
        """What the names of its runs in this market begin with."""
        return f"{self.layer}-{self.env.market.name}"


def load_train_config(
    layer: str,
    presets: Sequence[str],
    files: Sequence[Path],
    overrides: Sequence[str],
    seed: int | None,
    base: Path | None = None,
) -> TrainConfig:
    """The layer's own file, then presets, then files, then overrides, then the seed.

    `base` takes the place of the layer's file: the configuration of a run to resume.

    Raises:
        ConfigError: see `configs.loading.load_config`.
    """
    sources: list[Path | Mapping[str, Any]] = [base or shipped("layers", layer)]
    sources += [shipped("presets", name) for name in presets]
    sources += list(files)
    if seed is not None:
        overrides = [*overrides, f"seed={seed}"]
    config = load_config(TrainConfig, *sources, overrides=overrides)
    return config.model_copy(
        update={"mappo": config.mappo.model_copy(update={"seed": config.seed})}
    )
