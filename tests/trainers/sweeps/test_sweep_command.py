"""`grandmodel sweep` as a user runs it: real trainings, killed in the middle and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from configs.loading import load_config
from configs.sweep import SweepConfig
from configs.tracking import URI_VARIABLE
from configs.train import load_train_config
from tests.trainers import command_line
from trainers.sweeps.folder import SweepFolder

TINY = [
    "--sweep",
    "env_steps=64",
    "--sweep",
    "score.episodes=8",
    "--sweep",
    "score.batch_size=8",
    "--sweep",
    "startup_trials=2",
    "--sweep",
    "pruning.reports=2",
    "--set",
    "mappo.num_envs=8",
    "--set",
    "mappo.rollout_length=4",
    "--set",
    "mappo.stagger=0",
]
WAIT_S = 800.0


def begin(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trainers.cli", "sweep", "execution", "--output", str(folder)]
    environment = {**os.environ, URI_VARIABLE: f"sqlite:///{folder.parent / 'mlflow.db'}"}
    return subprocess.Popen(
        [*command, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def scored(folder: Path) -> dict[int, Any]:
    """Finished trials by number: parameters and values."""
    from trainers.sweeps.study import open_storage

    place = SweepFolder(folder)
    storage = open_storage(place.storage, load_config(SweepConfig, place.sweep).storage)
    (study,) = storage.get_all_studies()
    trials = storage.get_all_trials(study._study_id)
    return {t.number: (t.params, t.values) for t in trials if t.values is not None}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_is_killed_and_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    place = f"tracking.artifact_location={tmp_path / 'mlruns'}"
    first = begin(folder, "--trials", "5", "--set", place, *TINY)
    lines: list[str] = []
    assert first.stdout is not None
    for line in first.stdout:
        lines.append(line)
        if line.startswith("trial 1 of"):
            break
    assert lines[-1].startswith("trial 1 of"), "".join(lines)
    time.sleep(0.5)  # into the third
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    before = scored(folder)
    assert {0, 1} <= set(before)

    second = begin(folder, "--resume", "--trials", "5")
    told, _ = second.communicate(timeout=WAIT_S)
    assert second.returncode == 0, told
    after = scored(folder)
    assert {number: after[number] for number in before} == before
    assert f"next:       grandmodel train execution --config {folder / 'best.yaml'}" in told

    result = json.loads((folder / "sweep.json").read_text())
    assert result["counts"][0]["scored"] == len(after)
    done = sum(result["counts"][0].get(state, 0) for state in ("scored", "pruned", "failed"))
    assert done == 5
    number = result["best"][0]
    assert after[number][1] == min(values for _, values in after.values())

    best = load_train_config("execution", [], [folder / "best.yaml"], [], None)
    drawn = after[number][0]
    assert best.mappo.learning_rate == drawn["mappo.learning_rate"]
    assert json.dumps(list(best.mappo.policy.hidden)) == drawn["mappo.policy.hidden"]
    plain = load_train_config("execution", [], [], [], None)
    assert best.mappo.stop == plain.mappo.stop  # the layer's budget, not the trial's

    _check_tracked(tmp_path, len(after))


def _check_tracked(root: Path, trials: int) -> None:
    """One run of the sweep, and those of its trials below it."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'grandmodel'")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    (parent,) = parents
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    finished = [run for run in children if "score/shortfall_bp" in run.data.metrics]
    assert len(finished) == trials
    assert parent.data.metrics["best/shortfall_bp"] == min(
        run.data.metrics["score/shortfall_bp"] for run in finished
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["execution", "--sweep", "score.split=test"], "score.split=test in --sweep"),
        (["execution", "--sweep", "space.mappo.gama.low=1"], "mappo"),
        (["exekution"], "did you mean 'execution'"),
        (["execution", "--set", "mappo.stop.env_steps=9"], "expected --sweep env_steps=N"),
        (["execution", "--space", "nowhere.yaml"], "nowhere.yaml"),
        (["execution", "--storage", "nonsense", "--resume"], "no unfinished sweep"),
        (["execution", "--resume", "--output", "nowhere"], "nowhere holds no sweep"),
        (["execution", "--resume", "--preset", "smoke"], "--resume goes on with the settings"),
    ],
)
def test_a_users_mistake_is_one_message(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = command_line.call(monkeypatch, capfd, "sweep", *words)
    assert code == 2 and err.startswith("error: ") and said in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_train_on_one_study_in_a_server(postgres: str, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    place = f"tracking.artifact_location={tmp_path / 'mlruns'}"
    words = ["--trials", "3", "--workers", "2", "--storage", postgres, "--set", place, *TINY]
    told, _ = (process := begin(folder, *words)).communicate(timeout=WAIT_S)
    assert process.returncode == 0, told
    result = json.loads((folder / "sweep.json").read_text())
    assert sorted(trial["number"] for trial in result["trials"]) == [0, 1, 2]
    assert {trial["state"] for trial in result["trials"]} <= {"scored", "pruned"}
    assert not (folder / "study.db").exists()
    assert "failed" not in (folder / "worker-1.log").read_text()
    _check_tracked(tmp_path, result["counts"][0]["scored"])
