"""One training of the study: trained, played on the study's episodes, and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.train import LayerTraining
from experiments import studies
from experiments.ablation.settings import AblationConfig, training
from experiments.trainings import check_kept, trained
from trainers.evaluate import Match
from trainers.layers import LAYERS
from trainers.session import torch_threads
from trainers.torch_actor import TorchActor
from trainers.train import TrainResult

_POLICY = "policy"


@dataclass(frozen=True)
class SeedResult:
    """What one training came to.

    values: the layer's objective of every episode, the same episodes for all arms and seeds.
    config: of the training, as plain data.
    """

    layer: str
    arm: str
    seed: int
    env_steps: int
    minutes: float
    values: tuple[float, ...]
    config: dict[str, Any]
    made: dict[str, Any]

    @property
    def mean(self) -> float:
        """Of the objective over episodes."""
        return float(np.mean(self.values))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SeedResult:
        """What `asdict` gave."""
        return cls(**{**data, "values": tuple(data["values"])})


def seed_result(study: AblationConfig, layer: str, arm: str, seed: int, path: Path) -> SeedResult:
    """The result of one training: as it is kept in `path`, or trained for, from where it stopped.

    Raises:
        TrainingError: `path` holds a training by other settings, or training failed.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    config = training(study, layer, arm, seed)
    kept = kept_result(path)
    if kept is not None:
        check_kept(config, kept.config, path)
        return kept
    result = trained(config, f"{layer}, {arm}, seed {seed}", path)
    found = SeedResult(
        layer=layer,
        arm=arm,
        seed=seed,
        env_steps=result.env_steps,
        minutes=result.minutes,
        values=_played(config, result),
        config=config.model_dump(mode="json"),
        made=studies.made(),
    )
    studies.keep(path, asdict(found))
    return found


def kept_result(path: Path) -> SeedResult | None:
    """The finished result in a seed's folder; None where there is none.

    Raises:
        TrainingError: the file cannot be read.
    """
    return studies.kept(path, SeedResult.from_dict, f"remove {path} to train anew")


def _played(config: LayerTraining, result: TrainResult) -> tuple[float, ...]:
    """The layer's objective of every episode of the study, by the policy's mode."""
    layer, told = LAYERS[config.layer], config.evaluation

    def make(count: int) -> Any:
        return layer.judging_env(count, config.seed, config.env)

    match = Match(make, {_POLICY: TorchActor(result.policy)}, told, layer.objective)
    with torch_threads(config.mappo.torch_threads):
        while match.parents < told.min_parents:
            match.play_batch()
    return tuple(match.objectives(_POLICY).tolist())
