"""What studies promise, on pure functions: plans, resumes, pruning, failures, rungs, workers."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.study import Study
from optuna.trial import TrialState

from configs.errors import ConfigError, TrainingError
from tests.trainers.sweeps.studies import RATE, SETTINGS, bowl, sweep_config, worker
from trainers.sweeps import report as reports
from trainers.sweeps.report import as_dict, begun_as
from trainers.sweeps.study import cut_short, masked, open_storage
from trainers.sweeps.work import Task, Worker


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture
def memory() -> InMemoryStorage:
    """A storage of this process alone, for what needs no second one."""
    return InMemoryStorage()


def run(found: Worker) -> Study:
    found.begin()
    found.run()
    return found.studies[0]


def numbers(study: Study, *states: TrialState) -> list[int]:
    return [trial.number for trial in study.get_trials(states=states)]


def test_a_study_makes_the_trials_asked_for_and_finds_the_bowl(memory: InMemoryStorage) -> None:
    study = run(worker(memory, sweep_config(trials=24)))
    assert numbers(study, TrialState.COMPLETE) == list(range(24))
    best = reports.best_trials(study)[0]
    assert abs(math.log10(best.params[RATE]) + 2.0) < 0.3
    assert best.value == min(study.trials, key=lambda t: t.value).value


@pytest.mark.parametrize(("trials", "few"), [(9, True), (10, False)])
def test_importance_says_of_how_few_trials_it_is(
    memory: InMemoryStorage, trials: int, few: bool
) -> None:
    sweep = sweep_config(trials=trials)
    study = run(worker(memory, sweep))
    caption = str(reports.tables(sweep, [study])[-1].caption)
    assert caption.startswith(f"scored trials: {trials}, parameters: 1")
    assert ("too few to tell them apart" in caption) == few


def test_the_same_seed_suggests_the_same_and_another_does_not() -> None:
    drawn = []
    for seed in (0, 0, 1):
        study = run(worker(InMemoryStorage(), sweep_config(seed=seed)))
        drawn.append([trial.params[RATE] for trial in study.trials])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == len(drawn[0])


def test_a_resumed_study_goes_on_as_if_it_had_not_stopped(
    memory: InMemoryStorage,
) -> None:
    whole = run(worker(InMemoryStorage(), sweep_config(trials=8)))
    run(worker(memory, sweep_config(trials=5)))
    parts = run(worker(memory, sweep_config(trials=8)))  # a new process would draw the same
    assert [t.params for t in parts.trials] == [t.params for t in whole.trials]
    assert [t.values for t in parts.trials] == [t.values for t in whole.trials]


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_trial_without_its_metric_has_failed(
    memory: InMemoryStorage, value: float | None
) -> None:
    def measure(task: Task) -> Sequence[float | None]:
        return [value] if task.number == 2 else bowl(task)

    study = run(worker(memory, sweep_config(trials=4), measure))
    assert numbers(study, TrialState.FAIL) == [2]
    assert study.trials[2].values is None
    assert "expected a finite number" in study.trials[2].user_attrs["reason"]
    assert reports.counts(study) == {"scored": 3, "failed": 1}
    assert "shortfall_bp is " in reports.failures([study])[0]


def test_parameters_that_do_not_go_together_fail_their_trial_alone(memory: InMemoryStorage) -> None:
    def measure(task: Task) -> Sequence[float | None]:
        if task.number == 1:
            raise ConfigError("minibatches=3: expected a divisor")
        return bowl(task)

    study = run(worker(memory, sweep_config(trials=4), measure))
    assert numbers(study, TrialState.FAIL) == [1]
    assert numbers(study, TrialState.COMPLETE) == [0, 2, 3]


def test_a_sweep_that_only_fails_ends_early_with_the_reason(memory: InMemoryStorage) -> None:
    def measure(task: Task) -> Sequence[float | None]:
        raise TrainingError("the disk is full")

    found = worker(memory, sweep_config(trials=50), measure)
    found.begin()
    with pytest.raises(TrainingError, match=r"first 3 trials have all failed.*the disk is full"):
        found.run()


def test_a_bug_is_no_failed_trial(memory: InMemoryStorage) -> None:
    def measure(task: Task) -> Sequence[float | None]:
        raise KeyError("a bug")

    found = worker(memory, sweep_config(), measure)
    found.begin()
    with pytest.raises(KeyError, match="a bug"):
        found.run()


def test_a_trial_that_lags_is_pruned(memory: InMemoryStorage) -> None:
    seen: dict[int, int] = {}

    def measure(task: Task) -> Sequence[float | None] | None:
        for step in range(1, 6):
            seen[task.number] = step
            # From the fifth on, trials are bad from the start.
            if task.report(step, 10.0 if task.number > 4 else 1.0 / step):
                return None
        return bowl(task)

    pruning = {"enabled": True, "startup_trials": 3, "warmup_reports": 2}
    study = run(worker(memory, sweep_config(trials=8, pruning=pruning), measure))
    assert numbers(study, TrialState.PRUNED) == [5, 6, 7]
    assert all(seen[number] == 2 for number in (5, 6, 7))  # not before they are warm
    assert numbers(study, TrialState.COMPLETE) == [0, 1, 2, 3, 4]


def test_an_interrupted_trial_is_put_back_with_its_parameters(memory: InMemoryStorage) -> None:
    def measure(task: Task) -> Sequence[float | None]:
        if task.number == 3:
            raise KeyboardInterrupt
        return bowl(task)

    first = worker(memory, sweep_config(), measure)
    first.begin()
    with pytest.raises(KeyboardInterrupt):
        first.run()
    cut = first.studies[0].trials[3]
    assert numbers(first.studies[0], TrialState.COMPLETE) == [0, 1, 2]
    study = run(worker(memory, sweep_config()))
    again = study.trials[8]
    assert again.params == cut.params and again.state == TrialState.COMPLETE
    assert numbers(study, TrialState.COMPLETE) == [0, 1, 2, 4, 5, 6, 7, 8]
    assert cut_short(study) == {3}
    assert reports.counts(study) == {"scored": 8, "cut short": 1}


def command(url: str, log: Path, seconds: float, **more: Any) -> list[str]:
    sweep = sweep_config(**more).model_dump(mode="json")
    told = {"url": url, "sweep": sweep, "seconds": seconds, "log": str(log)}
    return [sys.executable, "-m", "tests.trainers.sweeps.studies", json.dumps(told)]


def until(condition: Any, seconds: float = 90.0) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def begun(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.is_file() else 0


@pytest.mark.slow
def test_a_killed_process_loses_no_finished_trial(url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = subprocess.Popen(command(url, log, 0.5))
    until(lambda: begun(log) == 3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    study = worker(url, sweep_config()).studies[0]
    done = {t.number: (t.params, t.values) for t in study.get_trials(states=(TrialState.COMPLETE,))}
    (running,) = study.get_trials(states=(TrialState.RUNNING,))
    assert sorted(done) == [0, 1] and running.number == 2
    study = run(worker(url, sweep_config()))
    assert {n: (study.trials[n].params, study.trials[n].values) for n in done} == done
    assert study.trials[2].state == TrialState.FAIL
    assert study.trials[8].params == running.params
    assert reports.counts(study) == {"scored": 8, "cut short": 1}


def test_what_dies_again_and_again_is_given_up(memory: InMemoryStorage) -> None:
    def measure(task: Task) -> Sequence[float | None]:
        if task.number == 0 or task.number >= 8:
            raise KeyboardInterrupt
        return bowl(task)

    stops = 0
    for _ in range(4):
        found = worker(memory, sweep_config(storage={"retries": 2}), measure)
        found.begin()
        try:
            found.run()
        except KeyboardInterrupt:
            stops += 1
    assert stops == 3
    assert reports.counts(found.studies[0]) == {"scored": 7, "cut short": 2, "failed": 1}


def test_other_settings_do_not_join_a_study(memory: InMemoryStorage) -> None:
    sweep = sweep_config()
    worker(memory, sweep)
    other = {**SETTINGS, "training": {"seed": 1}}
    with pytest.raises(TrainingError, match=r"other settings than these, in training\.seed"):
        Worker(memory, "study", sweep, other, bowl)


GOALS = [
    {"metric": "return_bp", "direction": "maximize"},
    {"metric": "worst_drawdown_bp", "direction": "minimize"},
]


def test_budgets_grow_and_the_front_goes_on(memory: InMemoryStorage) -> None:
    steps: list[tuple[int, int]] = []

    def measure(task: Task) -> Sequence[float | None]:
        steps.append((task.rung, task.env_steps))
        size = math.log10(task.params[RATE])  # in [-4, -1]; above -2 both goals get worse
        return [size if size < -2 else -4 - size, (size + 4) ** 2]

    sweep = sweep_config(goals=GOALS, trials=9, rungs={"count": 3, "factor": 3})
    found = worker(memory, sweep, measure)
    found.begin()
    found.run()
    assert steps == [(0, 100)] * 9 + [(1, 300)] * 3 + [(2, 900)]
    first = {t.number: t.params for t in found.studies[0].trials}
    assert all(t.params == first[t.user_attrs["planned"]] for t in found.studies[1].trials)
    for rung, study in enumerate(found.studies):
        for trial in study.trials:
            assert first[begun_as(found.studies[: rung + 1], trial)] == trial.params
    told = as_dict(sweep, found.studies)
    (last,) = [row for row in told["trials"] if row["rung"] == 2]
    assert told["best"] == [last["trial"]] and first[last["trial"]] == last["params"]
    good = [p for p in first.values() if p[RATE] <= 1e-2]
    assert len(good) >= 3
    assert all(t.params[RATE] <= 1e-2 for t in found.studies[1].trials)


def test_what_two_workers_take_or_plan_at_once_counts_once(memory: InMemoryStorage) -> None:
    measured: list[tuple[int, float]] = []

    def measure(task: Task) -> Sequence[float | None]:
        measured.append((task.rung, task.params[RATE]))
        return [task.params[RATE], task.params[RATE]]

    sweep = sweep_config(goals=GOALS, trials=9, rungs={"count": 3, "factor": 3})
    found = worker(memory, sweep, measure)
    found.begin()
    for place in range(9):  # planned beside another, that had not yet seen it
        found.studies[0].enqueue_trial({}, user_attrs={"planned": place})
    found.run()
    for rung in (1, 2):
        for trial in found.studies[rung].get_trials():
            planned = {"planned": trial.user_attrs["planned"]}
            found.studies[rung].enqueue_trial(trial.params, user_attrs=planned)
    again = worker(memory, sweep, measure)
    again.begin()
    again.run()
    for rung, study in enumerate(again.studies):
        again._one(rung, study)  # another took the last between a look and a grasp
    assert len(measured) == len(set(measured)) == 13
    assert [len(study.trials) for study in again.studies] == [19, 7, 3]
    told = as_dict(sweep, again.studies)
    assert told["counts"] == [{"scored": 9}, {"scored": 3}, {"scored": 1}]
    assert [row["rung"] for row in told["trials"]] == [0] * 9 + [1] * 3 + [2]
    assert reports.chosen_from(again.studies[0], "sqlite://").trials == 9
    # Resumed for more, only what is missing is planned.
    more = worker(memory, sweep_config(goals=GOALS, trials=10, rungs=sweep.rungs.model_dump()))
    more.begin()
    waiting = numbers(more.studies[0], TrialState.WAITING)
    assert [more.studies[0].trials[n].user_attrs["planned"] for n in waiting] == [9]


def test_reports_do_not_prune_where_there_are_several_goals(memory: InMemoryStorage) -> None:
    def measure(task: Task) -> Sequence[float | None]:
        assert not task.report(1, 100.0 * task.number)
        return [1.0, float(task.number)]

    sweep = sweep_config(goals=GOALS, trials=6, pruning={"enabled": True, "startup_trials": 0})
    assert numbers(run(worker(memory, sweep, measure)), TrialState.PRUNED) == []


@pytest.mark.slow
def test_two_workers_share_one_study(postgres: str, tmp_path: Path) -> None:
    logs = [tmp_path / "a", tmp_path / "b"]
    sweep = sweep_config(trials=12)
    worker(postgres, sweep).begin()
    processes = [subprocess.Popen(command(postgres, log, 0.3, trials=12)) for log in logs]
    assert [process.wait(120) for process in processes] == [0, 0]
    first, second = ([int(n) for n in log.read_text().splitlines()] for log in logs)
    assert first and second
    assert sorted(first + second) == list(range(12))  # each once, and none beyond the plan
    study = worker(postgres, sweep).studies[0]
    assert reports.counts(study) == {"scored": 12}


@pytest.mark.slow
def test_a_worker_that_dies_leaves_its_trial_to_the_other(postgres: str, tmp_path: Path) -> None:
    logs = [tmp_path / "a", tmp_path / "b"]
    sweep = sweep_config(trials=6)
    worker(postgres, sweep).begin()
    victim = subprocess.Popen(command(postgres, logs[0], 60, trials=6))
    until(lambda: begun(logs[0]) == 1)
    other = subprocess.Popen(command(postgres, logs[1], 0.1, trials=6))
    until(lambda: begun(logs[1]) == 5)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    assert other.wait(120) == 0
    study = worker(postgres, sweep).studies[0]
    assert reports.counts(study) == {"scored": 6, "cut short": 1}


def test_a_storage_that_is_none_is_one_message(tmp_path: Path) -> None:
    storage = sweep_config().storage
    with pytest.raises(ConfigError, match="expected the address of a database"):
        open_storage("nonsense", storage)
    closed = "postgresql+psycopg://me:secret@127.0.0.1:1/none"
    with pytest.raises(TrainingError, match="cannot be opened") as refused:
        open_storage(closed, storage)
    assert "secret" not in str(refused.value)
    assert masked(closed) == "postgresql+psycopg://me:***@127.0.0.1:1/none"
