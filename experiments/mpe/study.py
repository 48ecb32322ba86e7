"""One training of the study: trained, played, measured, and kept in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from configs.errors import TrainingError
from configs.loading import load_config
from configs.team import TeamConfig
from experiments import studies
from experiments.mpe.pace import Pace, PaceMeter
from trainers.mappo.checkpoint import latest_checkpoint
from trainers.mappo.config import VECTOR, MAPPOConfig, vector_options
from trainers.progress import TrainingProgress
from trainers.recording import RunRecorder
from trainers.runs import CONFIG_FILE, RUN_FILE, RunFolder, new_run, resumed_run
from trainers.team_commands import TeamResult, compare
from trainers.train import IterationReport, TrainResult, train

_SHOWN = (("return", "return", "{:.2f}"),)
_DIGITS = 4  # of the curve's numbers: the file is kept with the code


@dataclass(frozen=True)
class SeedResult:
    """What one training showed.

    played: whole episodes after it, see `TeamResult`. curve: (frames, mean return per
    agent of the episodes that ended), by iteration, as they were sampled in training.
    made: the commit, the machine and the versions that it was made with.
    """

    task: str
    seed: int
    frames: int
    minutes: float
    greedy: float
    random: float
    pace: Pace
    played: dict[str, Any]
    curve: list[tuple[int, float]]
    config: dict[str, Any]
    made: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        return {**asdict(self), "pace": {**asdict(self.pace), "ratio": self.pace.ratio}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SeedResult:
        """What `as_dict` gave."""
        pace = Pace(data["pace"]["training"], data["pace"]["raw"])
        curve = [(int(frames), float(mean)) for frames, mean in data["curve"]]
        return cls(**{**data, "pace": pace, "curve": curve})


def seed_result(task: str, config: TeamConfig, path: Path, force: bool = False) -> SeedResult:
    """The result of one seed: as it is kept in `path`, or trained for, from where it stopped.

    force: forget what is there and train anew.

    Raises:
        TrainingError: `path` holds a training by other settings, or training failed.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    if force:
        _forget(path)
    kept = kept_result(path)
    if kept is not None:
        _check_same(TeamConfig.model_validate(kept.config), config, path)
        return kept
    folder = _folder(config, path)
    result = _train(task, config, folder)
    if result.interrupted:
        raise KeyboardInterrupt
    found = _result(task, config, folder, result)
    studies.keep(path, found.as_dict())
    folder.finish()
    return found


def kept_result(path: Path) -> SeedResult | None:
    """The finished result in a seed's folder; None where there is none.

    Raises:
        TrainingError: the file cannot be read.
    """
    return studies.kept(path, SeedResult.from_dict, "add --force to train anew")


def _forget(path: Path) -> None:
    """Remove a run of ours, and nothing else."""
    if (path / RUN_FILE).is_file():
        shutil.rmtree(path)
    elif path.exists():
        raise TrainingError(
            f"{path} is no run of this study ({RUN_FILE} is missing): move it away, or choose "
            "another --output"
        )


def _check_same(begun: TeamConfig, config: TeamConfig, path: Path) -> None:
    if begun != config:
        raise TrainingError(
            f"{path} holds a training by other settings (of the study's files, --frames or "
            "--episodes): add --force to train anew, or choose another --output"
        )


def _folder(config: TeamConfig, path: Path) -> RunFolder:
    """The run in `path` to go on with, or a new one."""
    if latest_checkpoint(path) is None:
        folder = new_run(config, str(path))
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.begin(config, None)
        return folder
    _check_same(load_config(TeamConfig, path / CONFIG_FILE), config, path)
    return resumed_run(config, str(path))


def _train(task: str, config: TeamConfig, folder: RunFolder) -> TrainResult:
    meter = PaceMeter(config)
    recorder = RunRecorder(folder)

    def on_iteration(report: IterationReport) -> None:
        pace = meter.figures(report.iteration)  # first: what follows is not training
        recorder.keep(report, pace)
        shown.update(report)
        meter.go_on()

    try:
        with TrainingProgress(_SHOWN, title=f"{task}, seed {config.seed}") as shown:
            return train(
                config.mappo,
                VECTOR,
                vector_options(config.env, config.kwargs, config.mappo),
                folder.path,
                resume=latest_checkpoint(folder.path) is not None,
                on_iteration=on_iteration,
            )
    finally:
        meter.close()


def _result(task: str, config: TeamConfig, folder: RunFolder, result: TrainResult) -> SeedResult:
    played = _play(config, result)
    return SeedResult(
        task=task,
        seed=config.seed,
        frames=result.env_steps,
        minutes=result.minutes,
        greedy=played.trained.mean,
        random=played.random.mean,
        pace=Pace.of(folder.history),
        played=asdict(played),
        curve=_curve(folder.history),
        config=config.model_dump(mode="json"),
        made=studies.made(),
    )


def _play(config: TeamConfig, result: TrainResult) -> TeamResult:
    built = MAPPOConfig().mappo(config.mappo).parallel_env(config.env, **config.kwargs)
    return compare(config, built.training_plan, result.actors)


def _curve(history: Sequence[Mapping[str, float]]) -> list[tuple[int, float]]:
    return [
        (int(row["env_steps"]), round(row["return"], _DIGITS)) for row in history if "return" in row
    ]
