"""What is walked, and what a walk came to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator
from rich.console import Console

from configs.base import Config
from configs.errors import TrainingError
from configs.loading import dump_yaml, load_config
from configs.train import LayerTraining, load_train_config
from experiments.trainings import UNBOUNDED_MINUTES
from trainers.evaluation.metrics import MEASURES
from trainers.layers import LAYERS
from trainers.walk_forward.commands import WalkFolder, WalkRequest, run_walk_forward
from trainers.walk_forward.folds import judged_names, kept_result
from trainers.walk_forward.results import RESULT_FILE

_FILE = Path(__file__).parent / "walks.yaml"
_SEED = 0


class PartWalk(Config):
    """A layer's walk: what is laid over its training, and what is asked of the figures.

    wanted: of the measures of the policy's out-of-sample returns, by name.
    """

    layer: str
    presets: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    wanted: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _asks_of_what_is_measured(self) -> Self:
        for name in self.wanted:
            if name not in MEASURES:
                raise ValueError(
                    f"wanted names {name}, expected one of {', '.join(MEASURES)}; leave it out, or "
                    "ask of one of these"
                )
        return self

    def told(self, data: str | None) -> tuple[str, ...]:
        """All overrides. How long a training is does not hang on the machine."""
        file = () if data is None else (f"env.market.reference.bars.path={data}",)
        return (f"mappo.stop.minutes={UNBOUNDED_MINUTES}", *self.overrides, *file)


class WalksConfig(Config):
    """The study."""

    parts: Mapping[str, PartWalk]


def walks() -> WalksConfig:
    """The study's own file."""
    return load_config(WalksConfig, _FILE)


@dataclass(frozen=True)
class WalkReport:
    """One finished walk.

    Attributes:
        folder: where it lies.
        found: `WalkForwardResult.as_dict`.
        wanted: of the policy's measures, by name.
        config: of its trainings, as plain data.
    """

    part: str
    folder: Path
    found: Mapping[str, Any]
    wanted: Mapping[str, str]
    config: LayerTraining

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        return {
            "part": self.part,
            **self.found,
            "lower_is_better": LAYERS[self.config.layer].objective.lower_is_better,
            "wanted": dict(self.wanted),
            "config": self.config.model_dump(mode="json"),
        }


def walked(
    part: str, told: PartWalk, output: Path, console: Console, data: str | None = None
) -> WalkReport:
    """A part's walk in a folder under `output`: begun, gone on with, or finished and read.

    Args:
        data: the file of bars, where it is not the presets'.

    Raises:
        TrainingError: a walk by other settings lies there, a damaged one, or a training failed.
        GrandmodelError: whatever else stops a walk, such as data that are not there.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the fold's run checkpointed.
    """
    overrides, path = told.told(data), output / part
    config = load_train_config(told.layer, told.presets, (), overrides, _SEED)
    if not (path / WalkFolder.file).exists():
        request = WalkRequest(told.layer, told.presets, (), overrides, _SEED, output=str(path))
        run_walk_forward(request, console)
    else:
        folder = WalkFolder.read(path)
        if _settings(folder) != dump_yaml(config):
            raise TrainingError(
                f"{path} holds a walk by other settings (of the study's file, of the layer's, or "
                "on other data): remove it, or choose another --output"
            )
        whole = folder.finished and (path / RESULT_FILE).exists()
        if not whole or _beside_others(folder, config):
            run_walk_forward(WalkRequest(told.layer, output=str(path), resume=True), console)
    return WalkReport(part, path, _result(path / RESULT_FILE), told.wanted, config)


def _beside_others(folder: WalkFolder, config: LayerTraining) -> bool:
    """Whether a fold was judged beside other rules than there are now."""
    found = (kept_result(path) for path in folder.path.glob("fold-*"))
    names = judged_names(config)
    return any(set(fold.objectives) != names for fold in found if fold is not None)


def _result(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not {"folds", "total"} <= set(found):
            raise ValueError("no folds, or no total")
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{file} is no result of a walk ({error}), expected one JSON object with folds and "
            "total: remove it; the same command makes it anew of the folds that are kept"
        ) from error
    return found


def _settings(folder: WalkFolder) -> str:
    try:
        return folder.base.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{folder.base} cannot be read ({error}), expected the settings that the walk was "
            f"begun with: remove {folder.path} to walk anew"
        ) from error
