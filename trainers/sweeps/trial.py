"""One trial of a sweep: a training on the trial's budget, scored on validation episodes.

Trainings run one after the other in the worker's own process, which starts Ray and compiles
kernels once for all of them: a process of its own for each would spend more time on that than
a short trial trains. What a crash would take along is one trial, which the study puts back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray

from configs.errors import ConfigError, TrainingError
from configs.sweep import GoalConfig, SweepConfig
from configs.train import LayerTraining
from trainers import held_out
from trainers.evaluate import Match
from trainers.layers import LAYERS
from trainers.provenance import Commit, commit
from trainers.recording import RunRecorder, tracked
from trainers.runs import RunFolder
from trainers.sweeps.space import overrides_of, with_params
from trainers.sweeps.work import Task
from trainers.torch_actor import TorchActor
from trainers.tracking import PARENT_TAG, Run
from trainers.train import IterationReport, TrainResult, train
from trainers.walk_forward.folds import of_fold, split_place

TRACKED = "tracking_run"
MINUTES = "minutes"
STEPS = "env_steps"
_POLICY = "policy"
_LAGS = "pruned"


@dataclass
class LayerTrials:
    """Trains and scores the trials of one sweep over a layer.

    Attributes:
        sweep: what is searched.
        base: file of the configuration that trials are laid over.
        env: its environment with a folder for every artefact of a layer above.
        folder: where trials leave their runs.
        name, parent: of the sweep, and its run in the tracking store, if there is one.
    """

    sweep: SweepConfig
    base: Path
    env: Any
    folder: Path
    name: str
    parent: str | None
    made: Commit = field(default_factory=commit)

    def __call__(self, task: Task) -> Sequence[float | None] | None:
        """The goals' figures; None for a trial that was ended early.

        Raises:
            GrandmodelError: the parameters do not go together, or the training failed.
            KeyboardInterrupt: after Ctrl-C or SIGTERM.
        """
        config, env = self._config(task)
        run = RunFolder(self.folder / f"rung-{task.rung}" / f"trial-{task.number:04d}", [])
        tags = {
            "layer": config.layer,
            "market": config.env.market.name,
            "sweep": self.name,
            "trial": str(task.number),
            "rung": str(task.rung),
            **({} if self.parent is None else {PARENT_TAG: self.parent}),
        }
        with tracked(config, run, self.made, tags) as tracking:
            run.path.mkdir(parents=True, exist_ok=True)
            run.begin(config, tracking.run_id if tracking else None)
            if tracking is not None:
                task.note(TRACKED, tracking.run_id)
            result, values = self._measured(config, env, run, task, tracking)
            run.finish()
            if tracking is not None:
                tracking.tag("trial_state", _LAGS if values is None else "scored")
                figures = zip(self.sweep.goals, values or (), strict=False)
                tracking.log({f"score/{g.name}": v for g, v in figures}, result.iterations)
        return values

    def _measured(
        self, config: LayerTraining, env: Any, run: RunFolder, task: Task, tracking: Run | None
    ) -> tuple[TrainResult, list[float | None] | None]:
        """The last training and the goals, means over folds where there are any.

        Of several trainings the first one's curves are tracked; all are kept in the run's folder.
        """
        curve, found = Curve(self.sweep), []
        minutes, steps = 0.0, 0
        parts = fold_settings(config, env, self.sweep.score.folds)
        for number, part in enumerate(parts):
            alone = len(parts) == 1
            place = run if alone else RunFolder(run.path / f"fold-{number}", [])
            place.path.mkdir(parents=True, exist_ok=True)
            recorder = RunRecorder(place, tracking if number == 0 else None)
            share = (number / len(parts), 1.0 / len(parts))
            result = self._trained(part, place, task, recorder, curve, share)
            if result.interrupted:
                raise KeyboardInterrupt
            minutes, steps = minutes + result.minutes, steps + result.env_steps
            task.note(MINUTES, minutes)
            task.note(STEPS, steps)
            if result.ended == _LAGS:
                return result, None
            # What is judged is the environment that all trials share, whatever reward they try.
            shared = config.model_copy(update={"env": self.env})
            judged = fold_settings(shared, self.env, self.sweep.score.folds)[number]
            found.append(self._scored(judged, result))
        return result, [float(np.mean(values)) for values in zip(*found, strict=True)]

    def _config(self, task: Task) -> tuple[LayerTraining, Any]:
        """The trial's configuration, and its environment."""
        minutes = "null" if self.sweep.minutes is None else str(self.sweep.minutes)
        budget = (
            f"mappo.stop.env_steps={task.env_steps}",
            f"mappo.stop.minutes={minutes}",
            "mappo.stop.iterations=null",
            "mappo.stop.patience=null",  # as of the clock, the score would be another budget's
        )
        told = [*overrides_of(task.params), *budget]
        config = with_params(self.sweep.layer, self.base, told)
        # Where artefacts decide, the settings name them as they were given, `env` by folders.
        changed: dict[str, Any] = {"reward": config.env.reward}
        if hasattr(config.env, "augmentation"):
            changed["augmentation"] = config.env.augmentation
        return config, self.env.model_copy(update=changed)

    def _trained(
        self,
        config: LayerTraining,
        run: RunFolder,
        task: Task,
        recorder: RunRecorder,
        curve: Curve,
        share: tuple[float, float],
    ) -> TrainResult:
        """share: of the trial's work that is done before this training, and that it is."""

        def on_iteration(report: IterationReport) -> str | None:
            recorder.keep(report)
            done, part = share
            for step, value in curve.due(replace(report, progress=done + part * report.progress)):
                # With the whole budget spent there is nothing left to save.
                if task.report(step, value) and step < self.sweep.pruning.reports:
                    return _LAGS
            return None

        told = {"config": config.env.model_dump(mode="json")}
        make = LAYERS[config.layer].make
        try:
            return train(config.mappo, make, told, run.path, on_iteration=on_iteration)
        except ray.exceptions.RayError as error:
            raise TrainingError(f"the training failed ({type(error).__name__}: {error})") from error

    def _scored(self, config: LayerTraining, result: TrainResult) -> list[float]:
        """The goals on validation episodes of the environment of `config`."""
        score = self.sweep.score
        told = held_out.validation(config.evaluation, score.episodes, score.batch_size)
        actor = TorchActor(result.policy)
        match = held_out.play(config, config.env, {_POLICY: actor}, told, "validation")
        return [_figure(match, goal) for goal in self.sweep.goals]


def fold_settings(config: LayerTraining, env: Any, folds: int) -> list[LayerTraining]:
    """The trainings that a trial is made of: of `config` in `env`, or of each fold of it.

    Raises:
        ConfigError: there are no folds, since no bars, or fewer than are asked for.
    """
    whole = config.model_copy(update={"env": env})
    if not folds:
        return [whole]
    place = split_place(config)
    here: Any = config
    for key in place.split("."):
        here = getattr(here, key)
    if folds > here.walk_forward.count:
        raise ConfigError(
            f"score.folds={folds} of the sweep: expected at most {place}.walk_forward's "
            f"{here.walk_forward.count}"
        )
    return [of_fold(whole, place, number) for number in range(folds)]


class Curve:
    """The first goal's metric over a training, a mean at equal shares of the budget."""

    def __init__(self, sweep: SweepConfig) -> None:
        self._metric = sweep.goals[0].metric
        self._reports = sweep.pruning.reports
        self._sum, self._episodes, self._next = 0.0, 0, 1

    def due(self, report: IterationReport) -> list[tuple[int, float]]:
        """What is to be reported after this iteration: (number of the report, mean), if any.

        A share of the budget in which no episode ended is not reported.
        """
        value = report.metrics.get(self._metric)
        if value is not None and report.episodes:
            self._sum += value * report.episodes
            self._episodes += report.episodes
        passed = int(report.progress * self._reports + 1e-9)
        if passed < self._next:
            return []
        self._next = passed + 1
        if not self._episodes:
            return []
        mean = self._sum / self._episodes
        self._sum, self._episodes = 0.0, 0
        return [(passed, mean)]


def check_goals(goals: Sequence[GoalConfig], metrics: Sequence[str]) -> None:
    """Refuse a goal that the environment does not measure.

    Raises:
        ConfigError: there is one.
    """
    for goal in goals:
        if goal.metric not in metrics:
            raise ConfigError(
                f"goals of the sweep: the environment measures no '{goal.metric}', expected one "
                f"of {', '.join(metrics)}"
            )


def _figure(match: Match, goal: GoalConfig) -> float:
    values = match.metric(_POLICY, goal.metric)
    return float(values.mean() if goal.statistic == "mean" else values.std(ddof=1))
