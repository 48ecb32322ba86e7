"""Everything one training run needs: environment, trainer, evaluation, tracking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, overload

from pydantic import Field, NonNegativeInt, model_validator

from configs.base import Config
from configs.chosen import ChosenFrom
from configs.errors import ConfigError
from configs.evaluation import EvaluationConfig
from configs.execution import ExecutionConfig
from configs.loading import load_config, preset_files, shipped
from configs.mappo import MappoConfig
from configs.strategic import StrategicConfig, StudyColumnsConfig
from configs.tactical import TacticalConfig
from configs.tracking import TrackingConfig
from configs.yaml_text import read_document

# RLlib seeds numpy's 32 bits with this plus a worker's number.
MAX_SEED = (1 << 31) - 1

Environment = ExecutionConfig | StrategicConfig | TacticalConfig


class LayerTraining(Config):
    """One training run of one layer; each layer has a class below, which narrows `env`.

    `seed` is the seed of the whole run: the trainer's own is set from it.
    `env.market.name` names the market in the registry and among the champions in `models`.
    `chosen_from` is written by a sweep into its best settings, and read by `grandmodel evaluate`.
    """

    layer: str
    env: Environment
    mappo: MappoConfig = MappoConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    seed: NonNegativeInt = Field(default=0, le=MAX_SEED)
    output: str = Field(default="runs", min_length=1)
    models: str = Field(default="models", min_length=1)
    chosen_from: ChosenFrom | None = None

    @property
    def run_family(self) -> str:
        """What the names of all runs of the layer begin with."""
        return self.layer

    @property
    def run_stem(self) -> str:
        """What the names of its runs in this market begin with."""
        return f"{self.layer}-{self.env.market.name}"


class TrainConfig(LayerTraining):
    """Of the execution layer."""

    layer: Literal["execution"] = "execution"
    env: ExecutionConfig = ExecutionConfig()


class StrategicTraining(LayerTraining):
    """Of the strategic layer."""

    layer: Literal["strategic"] = "strategic"
    env: StrategicConfig = StrategicConfig()

    @model_validator(mode="after")
    def _sees_what_agents_see(self) -> Self:
        if self.env.study != StudyColumnsConfig():
            raise ValueError(
                "env.study is set, expected its defaults: agents of other columns, one of which "
                "may show the future, are for studies alone (python -m experiments.analytic)"
            )
        return self


class TacticalTraining(LayerTraining):
    """Of the tactical layer."""

    layer: Literal["tactical"] = "tactical"
    env: TacticalConfig = TacticalConfig()


TRAININGS: Mapping[str, type[LayerTraining]] = {
    "strategic": StrategicTraining,
    "tactical": TacticalTraining,
    "execution": TrainConfig,
}


@overload
def load_train_config(
    layer: Literal["execution"],
    presets: Sequence[str],
    files: Sequence[Path],
    overrides: Sequence[str],
    seed: int | None,
    base: Path | None = None,
) -> TrainConfig: ...


@overload
def load_train_config(
    layer: str,
    presets: Sequence[str],
    files: Sequence[Path],
    overrides: Sequence[str],
    seed: int | None,
    base: Path | None = None,
) -> LayerTraining: ...


def load_train_config(
    layer: str,
    presets: Sequence[str],
    files: Sequence[Path],
    overrides: Sequence[str],
    seed: int | None,
    base: Path | None = None,
) -> LayerTraining:
    """The layer's own file, then presets, then files, then overrides, then the seed.

    `base` takes the place of the layer's file: the configuration of a run to resume.

    Raises:
        ConfigError: see `configs.loading.load_config`; there is no such layer; or a file
            is of another one.
    """
    sources = [base or shipped("layers", layer)]
    for name in presets:
        sources += preset_files(name, layer)
    sources += files
    if seed is not None:
        overrides = [*overrides, f"seed={seed}"]
    config = load_training(layer, *sources, overrides=overrides)
    return config.model_copy(
        update={"mappo": config.mappo.model_copy(update={"seed": config.seed})}
    )


def load_training(layer: str, *sources: Path, overrides: Sequence[str] = ()) -> LayerTraining:
    """The files merged in order as a training of `layer`.

    Raises:
        ConfigError: see `configs.loading.load_config`; or a file is of another layer, whose
            keys this one does not have.
    """
    for source in sources:
        document = read_document(source)
        told: Any = document.tree.get("layer", layer)
        if told != layer:
            raise ConfigError(
                f"layer={told} in {document.place(('layer',))}: expected '{layer}', the layer "
                f"to train; its settings are of another environment (grandmodel train {told})"
            )
    return load_config(TRAININGS[layer], *sources, overrides=overrides)
