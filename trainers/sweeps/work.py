"""What a worker does with a study: take a trial, have it measured, tell; rung after rung."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from configs.errors import GrandmodelError, TrainingError
from configs.sweep import SweepConfig
from trainers.sweeps.rungs import promoted
from trainers.sweeps.space import suggest
from trainers.sweeps.study import (
    PLANNED,
    REASON,
    SURPLUS,
    bury,
    cut_short,
    is_surplus,
    join_study,
    own,
    plan,
    planned,
    put_back,
)

_WAIT_S = 1.0
_ALL_FAIL = 3  # trials, none of which came to anything, after which the others would not either


@dataclass(frozen=True)
class Task:
    """One trial to measure.

    number: in its study. rung: of successive budgets, from 0. env_steps: to train for.
    report: called with (number of the report, figure of the first goal so far); says whether
    the trial should end now. note: keeps a fact with the trial, such as its tracked run.
    """

    number: int
    rung: int
    env_steps: int
    params: Mapping[str, Any]
    report: Callable[[int, float], bool]
    note: Callable[[str, Any], None]


# The goals' figures in order, a missing one None; or None for a trial that was ended early.
Measure = Callable[[Task], Sequence[float | None] | None]
OnTrial = Callable[[Study, FrozenTrial], None]


class _Surplus(Exception):
    """A trial was taken that no plan asks for."""


class Worker:
    """Works on all rungs of a sweep, alone or beside others."""

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        sweep: SweepConfig,
        settings: Mapping[str, Any],
        measure: Measure,
        on_trial: OnTrial | None = None,
    ) -> None:
        self.sweep = sweep
        self.measure = measure
        self._on_trial = on_trial
        self.studies = [
            join_study(storage, name, sweep, rung, settings) for rung in range(len(sweep.budgets))
        ]

    def begin(self) -> None:
        """Plan the trials of the smallest budget, and put back what has died."""
        for study in self.studies:
            bury(study, self.sweep.storage)
        plan(self.studies[0], self.sweep.trials)

    def run(self) -> None:
        """Take trials until none is left to take, and no other worker holds one.

        Raises:
            KeyboardInterrupt: after Ctrl-C or SIGTERM, the running trial put back.
            TrainingError: every trial fails.
        """
        for rung, study in enumerate(self.studies):
            if rung:
                self._promote(rung)
            while self._left(study):
                if study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                    self._one(rung, study)
                    self._check_hope(study)
                else:
                    time.sleep(_WAIT_S)
                    bury(study, self.sweep.storage)

    def _left(self, study: Study) -> bool:
        states = (TrialState.WAITING, TrialState.RUNNING)
        return bool(study.get_trials(deepcopy=False, states=states))

    def _promote(self, rung: int) -> None:
        """Leave the best of the rung below waiting on this one, unless that has been done."""
        study = self.studies[rung]
        known = planned(study)
        for trial in promoted(self.studies[rung - 1], self.sweep.rungs.factor):
            if trial.number not in known:
                study.enqueue_trial(dict(trial.params), user_attrs={PLANNED: trial.number})

    def _one(self, rung: int, study: Study) -> None:
        taken: list[optuna.Trial] = []

        def objective(trial: optuna.Trial) -> tuple[float, ...]:
            taken.append(trial)
            if is_surplus(study, trial):
                raise _Surplus
            own(trial)
            return self._measured(rung, trial)

        try:
            study.optimize(objective, n_trials=1, catch=(GrandmodelError, RuntimeError, _Surplus))
        except KeyboardInterrupt:
            if taken:
                self._interrupted(study, taken[0].number)
            raise
        if taken and self._on_trial is not None:
            trial = _frozen(study, taken[0].number)
            if SURPLUS not in trial.user_attrs:
                self._on_trial(study, trial)

    def _interrupted(self, study: Study, number: int) -> None:
        trial = _frozen(study, number)
        if trial.state == TrialState.FAIL:
            put_back(study, trial, self.sweep.storage.retries)

    def _measured(self, rung: int, trial: optuna.Trial) -> tuple[float, ...]:
        params = suggest(trial, self.sweep.space)
        task = Task(
            number=trial.number,
            rung=rung,
            env_steps=self.sweep.budgets[rung],
            params=params,
            report=lambda step, value: self._reported(trial, step, value),
            note=trial.set_user_attr,
        )
        try:
            values = self.measure(task)
            if values is None:
                raise optuna.TrialPruned("lags behind")
            return _checked(self.sweep, values)
        except (GrandmodelError, RuntimeError) as error:
            trial.set_user_attr(REASON, str(error))
            raise

    def _reported(self, trial: optuna.Trial, step: int, value: float) -> bool:
        if len(self.sweep.goals) > 1 or not math.isfinite(value):
            return False
        trial.report(value, step)
        return bool(trial.should_prune())

    def _check_hope(self, study: Study) -> None:
        """Stop a sweep none of whose trials comes to anything."""
        gone = cut_short(study)
        done = [t for t in study.get_trials(deepcopy=False) if t.number not in gone]
        failed = [t for t in done if t.state == TrialState.FAIL and REASON in t.user_attrs]
        good = [t for t in done if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        if len(failed) >= _ALL_FAIL and not good:
            raise TrainingError(
                f"the first {len(failed)} trials have all failed, the last with: "
                f"{failed[-1].user_attrs[REASON]}"
            )


def _checked(sweep: SweepConfig, values: Sequence[float | None]) -> tuple[float, ...]:
    """The goals' figures, each of which must have been measured."""
    out = []
    for goal, value in zip(sweep.goals, values, strict=True):
        if value is None or not math.isfinite(value):
            got = "missing" if value is None else str(value)
            raise TrainingError(
                f"the trial's {goal.name} is {got}, expected a finite number: it has failed"
            )
        out.append(float(value))
    return tuple(out)


def _frozen(study: Study, number: int) -> FrozenTrial:
    return next(t for t in study.get_trials(deepcopy=False) if t.number == number)
