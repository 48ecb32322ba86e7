"""Trainings that studies make: settings held against what is kept, and one gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs.errors import TrainingError
from configs.train import LayerTraining
from trainers.layers import LAYERS
from trainers.mappo.checkpoint import latest_checkpoint
from trainers.progress import TrainingProgress
from trainers.train import TrainResult, train

UNBOUNDED_MINUTES = 10_000  # a budget of time would be another one on another machine


def check_kept(config: LayerTraining, kept: dict[str, Any], path: Path) -> None:
    """Raise TrainingError where a kept training was made by other settings than `config`."""
    if kept != config.model_dump(mode="json"):
        raise TrainingError(
            f"{path} holds a training by other settings (of the study's file, or of the "
            "layer's): remove it, or choose another --output"
        )


def trained(config: LayerTraining, title: str, path: Path) -> TrainResult:
    """Train in `path`, from where it stopped if it did.

    Raises:
        TrainingError: it failed.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    layer = LAYERS[config.layer]
    resume = latest_checkpoint(path) is not None
    told = {"config": config.env.model_dump(mode="json")}
    with TrainingProgress(layer.shown, title=title) as shown:
        found = train(
            config.mappo, layer.make, told, path, resume=resume, on_iteration=shown.update
        )
    if found.interrupted:
        raise KeyboardInterrupt
    return found
