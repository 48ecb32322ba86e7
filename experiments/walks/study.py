"""What is walked, and what a walk came to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from configs.base import Config
from configs.errors import TrainingError
from configs.loading import dump_yaml, load_config
from configs.train import LayerTraining, load_train_config
from experiments import studies
from experiments.trainings import UNBOUNDED_MINUTES
from trainers.report import replace
from trainers.walk_forward.commands import WalkFolder, WalkRequest, run_walk_forward
from trainers.walk_forward.results import WalkForwardResult

_FILE = Path(__file__).parent / "walks.yaml"
_MADE_FILE = "made.json"  # in a walk's folder: the commit and the machine that it was begun with
_SEED = 0


class PartWalk(Config):
    """A layer's walk: what is laid over its training, and what is asked of the figures.

    wanted: of the measures of the policy's out-of-sample returns, by name.
    """

    layer: str
    presets: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    wanted: Mapping[str, str] = Field(default_factory=dict)

    @property
    def told(self) -> tuple[str, ...]:
        """All overrides: how long a training is does not hang on the machine."""
        return (f"mappo.stop.minutes={UNBOUNDED_MINUTES}", *self.overrides)

    def config(self) -> LayerTraining:
        """The layer's training as the walk begins with it."""
        return load_train_config(self.layer, self.presets, (), self.told, _SEED)


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
        made: with what it was begun.
    """

    part: str
    found: WalkForwardResult
    wanted: Mapping[str, str]
    config: dict[str, Any]
    made: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        return {
            "part": self.part,
            **self.found.as_dict(),
            "lower_is_better": self.found.objective.lower_is_better,
            "wanted": dict(self.wanted),
            "config": self.config,
            "made": self.made,
        }


def walked(part: str, told: PartWalk, output: Path, console: Console) -> WalkReport:
    """A part's walk in a folder under `output`: begun, or gone on with.

    Raises:
        TrainingError: a walk by other settings lies there, or a training failed.
        GrandmodelError: whatever else stops a walk, such as data that are not there.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the fold's run checkpointed.
    """
    folder, config = WalkFolder(output / part), told.config()
    begun = folder.path / _MADE_FILE
    if (folder.path / WalkFolder.file).exists():
        if folder.base.read_text(encoding="utf-8") != dump_yaml(config):
            raise TrainingError(
                f"{folder.path} holds a walk by other settings (of the study's file, or of the "
                "layer's): remove it, or choose another --output"
            )
        made = _made(begun)
        request = WalkRequest(told.layer, output=str(folder.path), resume=True)
    else:
        made = studies.made()
        replace(begun, (json.dumps(made, indent=2) + "\n").encode())
        request = WalkRequest(
            told.layer, told.presets, (), told.told, _SEED, output=str(folder.path)
        )
    found = run_walk_forward(request, console)
    return WalkReport(part, found, told.wanted, config.model_dump(mode="json"), made)


def _made(file: Path) -> dict[str, Any]:
    """What a walk was begun with.

    Raises:
        TrainingError: the file is missing or damaged.
    """
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(
            f"{file} cannot be read ({type(error).__name__}: {error}): expected the commit and the "
            f"machine that the walk was begun with; remove {file.parent} to walk anew"
        ) from error
