"""One full training of the study, judged on held-out episodes; and the baselines on the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import TrainingError
from configs.execution import ExecutionConfig
from configs.train import LayerTraining
from experiments import studies
from experiments.learning.proposals import Judged
from experiments.learning.settings import (
    SEED_ABOVE,
    LearningConfig,
    above_folder,
    seed_folder,
    training,
)
from experiments.trainings import check_kept, trained
from trainers.evaluate import Actor, Match
from trainers.export import export_policy
from trainers.layers import LAYERS
from trainers.session import torch_threads
from trainers.torch_actor import TorchActor
from trainers.volume_baselines import volume_baselines

_POLICY = "policy"
_PLAYED_ON = ("env", "evaluation")  # of a training's settings: what baselines depend on


@dataclass(frozen=True)
class Played:
    """What somebody came to on the study's episodes.

    Attributes:
        metrics: by name, of every episode.
        clusters: of every episode, equal where chance was shared.
        violations: share of proposals that the rules would not let pass; None of other layers.
    """

    metrics: dict[str, list[float]]
    clusters: list[int]
    violations: float | None = None


@dataclass(frozen=True)
class SeedResult:
    """One training: its seed, what it took, what it came to, its settings."""

    layer: str
    seed: int
    env_steps: int
    minutes: float
    played: Played
    config: dict[str, Any]
    made: dict[str, Any]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SeedResult:
        """What `asdict` gave."""
        return cls(**{**data, "played": Played(**data["played"])})


@dataclass(frozen=True)
class Baselines:
    """All baselines of a layer by name, on the same episodes."""

    layer: str
    played: dict[str, Played]
    config: dict[str, Any]
    made: dict[str, Any]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Baselines:
        """What `asdict` gave."""
        played = {name: Played(**each) for name, each in data["played"].items()}
        return cls(**{**data, "played": played})


def seed_result(study: LearningConfig, part: str, seed: int, output: Path) -> SeedResult:
    """The result of one training: as it is kept under `output`, or trained for.

    A training that stopped is gone on with.

    Raises:
        TrainingError: its folder holds a training by other settings, or training failed.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    if (kept := kept_result(study, part, seed, output)) is not None:
        return kept
    config, path = training(study, part, seed, output), seed_folder(output, part, seed)
    result = trained(config, f"{part}, seed {seed}", path)
    actor: Actor = TorchActor(result.policy)
    judged = None
    if isinstance(config.env, ExecutionConfig):
        actor = judged = Judged(actor, config.env)
    (played,) = _played(config, {_POLICY: actor}).values()
    found = SeedResult(
        layer=config.layer,
        seed=seed,
        env_steps=result.env_steps,
        minutes=result.minutes,
        played=Played(played.metrics, played.clusters, judged.share if judged else None),
        config=config.model_dump(mode="json"),
        made=studies.made(),
    )
    studies.keep(path, asdict(found))
    return found


def kept_result(study: LearningConfig, part: str, seed: int, output: Path) -> SeedResult | None:
    """The result of a finished training; None where there is none.

    Raises:
        TrainingError: its folder holds a training by other settings.
    """
    path = seed_folder(output, part, seed)
    kept = studies.kept(path, SeedResult.from_dict, f"remove {path} to train anew")
    if kept is not None:
        check_kept(training(study, part, seed, output), kept.config, path)
    return kept


def prepare(study: LearningConfig, part: str, output: Path) -> None:
    """Train and export the layer above that a part plays under, where it has one.

    Raises:
        TrainingError, KeyboardInterrupt: see `seed_result`.
    """
    above = study.parts[part].under
    if above is None:
        return
    # Asked for though the artefact may lie there: one of other settings is refused.
    found, folder = seed_result(study, above, SEED_ABOVE, output), above_folder(output, above)
    if folder.is_dir():
        return
    config, path = training(study, above, SEED_ABOVE, output), folder.parent
    layer = LAYERS[config.layer]
    # A training that is done is loaded from its last checkpoint.
    result = trained(config, f"{above}, seed {SEED_ABOVE}", path)
    fields = {
        "env_id": layer.layout.env_id,
        "market": config.env.market.name,
        "config": found.config,
        "seed": SEED_ABOVE,
        "commit": found.made["commit"],
        "versions": found.made["versions"],
        "metrics": {name: float(np.mean(each)) for name, each in found.played.metrics.items()},
        "trained_on": layer.trained_on(config.env),
    }
    beside = layer.companions(layer.probe(config))
    export_policy(result.policy, layer.layout, folder, fields, companions=beside)


def baselines(study: LearningConfig, part: str, output: Path) -> Baselines:
    """Every baseline on the study's episodes, as kept under `output` or played.

    Raises:
        TrainingError: those of other settings, or others than there are now, are kept there.
    """
    config, path = training(study, part, 0, output), output / part / "baselines"
    told = {name: config.model_dump(mode="json")[name] for name in _PLAYED_ON}
    actors: dict[str, Actor] = dict(LAYERS[config.layer].baselines(config.env, config.evaluation))
    if isinstance(config.env, ExecutionConfig):
        actors |= volume_baselines(config.env, config.evaluation.passive_slice_steps)
    kept = studies.kept(path, Baselines.from_dict, f"remove {path} to play them anew")
    if kept is not None:
        if kept.played.keys() != actors.keys():
            raise TrainingError(
                f"{path} holds {', '.join(kept.played)}, expected {', '.join(actors)}: remove "
                "it to play them anew"
            )
        if {name: kept.config.get(name) for name in told} != told:
            raise TrainingError(
                f"{path} holds baselines on other episodes (of the study's file, or of the "
                "layer's): remove it, or choose another --output"
            )
        return kept
    found = Baselines(config.layer, _played(config, actors), told, studies.made())
    studies.keep(path, asdict(found))
    return found


def _played(config: LayerTraining, actors: Mapping[str, Actor]) -> dict[str, Played]:
    """Everybody on the study's episodes, by their modes."""
    layer, told = LAYERS[config.layer], config.evaluation

    def make(count: int) -> Any:
        return layer.judging_env(count, told.seed, config.env)

    match = Match(make, actors, told, layer.objective)
    with torch_threads(config.mappo.torch_threads):
        while match.parents < told.min_parents:
            match.play_batch()
    clusters = match.clusters.tolist()
    return {
        name: Played({m: match.metric(name, m).tolist() for m in match.env.metric_names}, clusters)
        for name in actors
    }
