"""`grandmodel train package.module:function` as a shell sees it, on a tiny ParallelEnv."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.trainers.command_line import call
from tests.trainers.rays import local_ray
from trainers import recording
from trainers.tracking import connect

GUESS = "tests.trainers.team_envs:guess"
Train = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    with local_ray(1):
        yield


@pytest.fixture
def train(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Train:
    """`grandmodel train` on a budget of fractions of a second; figures go to `tmp_path`."""
    monkeypatch.setenv("COLUMNS", "150")
    small = {
        "mappo.num_envs": 4,
        "mappo.rollout_length": 8,
        "mappo.epochs": 2,
        "mappo.stop": "{iterations: 3, env_steps: null}",
        "mappo.checkpoint_every": 1,
        "play.episodes": 6,
        "play.num_envs": 4,
        "play.bootstrap_samples": 100,
        "tracking.uri": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "tracking.artifact_location": str(tmp_path / "mlruns"),
    }

    def run(env: str, *words: object, **changes: object) -> tuple[int, str, str]:
        settings = small | changes
        sets = [w for key, value in settings.items() for w in ("--set", f"{key}={value}")]
        return call(monkeypatch, capfd, "train", env, *sets, *words)

    return run


def history(folder: Path) -> list[dict[str, Any]]:
    """The recorded curve, without what depends on the clock."""
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    clock = ("seconds", "minutes", "steps_per_s", "rss", "memory")
    return [
        {key: value for key, value in row.items() if not any(word in key for word in clock)}
        for row in rows
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("one_ray")
def test_a_training_says_shows_and_keeps_what_it_did(train: Train, tmp_path: Path):
    folder = tmp_path / "run"
    words = ("--output", folder, "--seed", 7, "--set", "kwargs.length=4")
    code, out, err = train(GUESS, *words)
    assert code == 0, err
    shown = out.split("difference")[0]
    assert "left, right" in shown and "shared" in shown and "categorical 2" in shown
    assert "the critic reads: observations (4 numbers)" in out
    assert "return per agent" in out and "95% interval" in out
    assert "over 6 whole episodes on the same seeds" in out
    assert f"run:        {folder}" in out and "96 steps in" in out
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["kwargs"] == {"length": 4} and config["mappo"]["seed"] == config["seed"] == 7
    assert json.loads((folder / "run.json").read_text())["finished"] is True
    rows = history(folder)
    assert [row["iteration"] for row in rows] == [1, 2, 3]
    result = json.loads((folder / "report" / "result.json").read_text())
    assert set(result["agents"]) == {"left", "right"}
    means = result["agents"].values()
    assert result["trained"]["mean"] == pytest.approx(sum(means) / 2)
    assert 0.0 <= result["random"]["mean"] <= 4.0 and result["trained"]["n"] == 6
    gain = result["trained"]["mean"] - result["random"]["mean"]
    assert result["gain"]["mean_difference"] == pytest.approx(gain)
    assert (folder / "report" / "curves.png").stat().st_size > 1000
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}", 10.0)
    (experiment,) = (e for e in client.search_experiments() if e.name != "Default")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.tags["env"] == GUESS
    assert run.data.params["mappo.num_envs"] == "4"
    assert run.data.metrics["play/trained"] == pytest.approx(result["trained"]["mean"])
    assert run.data.metrics["play/agent/left"] == pytest.approx(result["agents"]["left"])
    assert run.data.metrics["return/left"] == pytest.approx(rows[-1]["return/left"])
    again, _, refused = train(GUESS, *words)
    assert again == 2 and "holds a run already: add --resume" in refused


@pytest.mark.slow
@pytest.mark.usefixtures("one_ray")
def test_an_interrupted_training_resumes_to_the_same_curve(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, half = tmp_path / "whole", tmp_path / "half"
    memory = {"mappo.policy.memory": "gru", "mappo.sequence_length": 4}
    assert train(GUESS, "--output", whole, **memory)[0] == 0
    figures = recording.iteration_figures

    def stop_at_two(report: Any) -> Any:
        if report.iteration == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return figures(report)

    monkeypatch.setattr(recording, "iteration_figures", stop_at_two)
    code, out, err = train(GUESS, "--output", half, **memory)
    assert code == 130, err
    assert f"stopped after iteration 2; go on with: grandmodel train {GUESS} --resume" in out
    assert not json.loads((half / "run.json").read_text())["finished"]
    monkeypatch.setattr(recording, "iteration_figures", figures)
    code, out, err = train(GUESS, "--resume", "--output", half, **memory)
    assert code == 0, err
    assert history(half) == history(whole)
    results = [json.loads((f / "report" / "result.json").read_text()) for f in (whole, half)]
    assert results[0] == results[1]
    code, _, err = train(GUESS, "--resume", "--output", half, **{"kwargs.length": 9})
    assert code == 2 and "resume it with the same environment, or begin a new run" in err


@pytest.mark.slow
@pytest.mark.usefixtures("one_ray")
def test_groups_come_from_a_file(train: Train, tmp_path: Path):
    file = tmp_path / "groups.yaml"
    file.write_text(
        "mappo:\n"
        "  critic: {identity: true}\n"
        "  groups:\n"
        "    first: {agents: [right], sharing: per_agent}\n"
        "    last: {agents: [lef*], sharing: sequential}\n"
    )
    code, out, err = train(GUESS, "--config", file, "--output", tmp_path / "run")
    assert code == 0, err
    (first,) = (line for line in out.splitlines() if "per_agent" in line)
    assert "first" in first and "right" in first
    (last,) = (line for line in out.splitlines() if "sequential" in line)
    assert "last" in last and "left" in last
    last_row = history(tmp_path / "run")[-1]
    assert {"entropy/first", "entropy/last", "grad_norm_first", "kl/last"} <= set(last_row)


@pytest.mark.slow
@pytest.mark.usefixtures("one_ray")
def test_agents_of_any_name_can_be_tracked(train: Train, tmp_path: Path):
    names = "[агент (1), 'right#2']"
    groups = "{'both (at once)': {agents: ['*']}}"
    changes = {"kwargs.named": names, "mappo.groups": groups}
    code, _, err = train(GUESS, "--output", tmp_path / "run", **changes)
    assert code == 0, err
    assert "return/right#2" in history(tmp_path / "run")[-1]
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}", 10.0)
    (experiment,) = (e for e in client.search_experiments() if e.name != "Default")
    (run,) = client.search_runs([experiment.experiment_id])
    assert len([key for key in run.data.metrics if key.startswith("play/agent/")]) == 2


WRONG = {
    "module": ("no_such.env:make", (), "there is no module 'no_such'; name an importable module"),
    "submodule": ("tests.trainers.nope:make", (), "there is no module 'tests.trainers.nope'"),
    "function": (
        "tests.trainers.team_envs:gues",
        (),
        "module 'tests.trainers.team_envs' has no such function; did you mean 'guess'?",
    ),
    "raises": ("tests.trainers.team_envs:broken", (), "raised RuntimeError: no toy today"),
    "no agents": ("tests.trainers.team_envs:anonymous", (), "Anonymous has no 'possible_agents'"),
    "kwargs": (GUESS, ("--set", "kwargs.lenght=3"), "calling it with (lenght=3) raised TypeError"),
    "key": (GUESS, ("--set", "mappo.grups={}"), "unknown key 'grups' under 'mappo'"),
    "no such agents": (
        GUESS,
        ("--set", "mappo.groups={a: {agents: ['walker_*']}}"),
        "groups.a: 'walker_*' matches no agent of the environment",
    ),
    "left out": (
        GUESS,
        ("--set", "mappo.groups={a: {agents: [left]}}"),
        "agents in no group: right",
    ),
    "state": (GUESS, ("--set", "mappo.critic.input=state"), "has no state()"),
    "sequences": (
        GUESS,
        ("--set", "mappo.policy.memory=gru", "--set", "mappo.sequence_length=5"),
        "expected a multiple, so that a rollout is whole sequences",
    ),
    "gpus": (GUESS, ("--set", "mappo.gpus_per_learner=64"), "expected 64 GPUs, found"),
    "nothing to resume": (GUESS, ("--resume",), "holds no run"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_message(case: str, train: Train, tmp_path: Path):
    env, words, message = WRONG[case]
    folder = tmp_path / "run"
    code, _, err = train(env, "--output", folder, *words)
    assert code == 2
    (line,) = (line for line in err.splitlines() if line.strip())
    assert line.startswith("error: ") and message in line
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("one_ray")
def test_an_environment_that_fails_in_training_is_named(train: Train, tmp_path: Path):
    code, _, err = train(GUESS, "--output", tmp_path / "run", **{"kwargs.fail_at": 4})
    assert code == 2
    assert "the environment raised RuntimeError: the toy is broken" in err
    assert "in step 4 of the episode that reset(seed=" in err


@pytest.mark.parametrize("word", ["nosuch", "my_env.make", "environment"])
def test_a_word_that_is_neither_layer_nor_environment_is_told_of_both(
    word: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    code, _, err = call(monkeypatch, capfd, "train", word)
    assert code == 2
    assert word in err and "execution" in err and "package.module:function" in err
