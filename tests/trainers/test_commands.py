"""The whole train command on a tiny budget: train, compare, export, register, decide."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cascade.artefact import load_artefact
from cascade.commands import DecideRequest, run_decide
from configs.tracking import URI_VARIABLE
from configs.train import TrainConfig
from signals.execution import EXECUTION
from tests.trainers.rays import local_ray
from trainers.commands import train_layer
from trainers.runs import RunFolder, load_run, new_run, resumed_run
from trainers.tracking import connect

ROOT = Path(__file__).resolve().parents[2]
NAME = "grandmodel-execution_v1-builtin"

pytestmark = pytest.mark.slow


def tiny(tmp_path: Path, iterations: int, **changed: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "env": {"parent": {"horizon_steps": 5}},
            "mappo": {
                "policy": {"hidden": [16]},
                "critic": {"hidden": [16]},
                "num_envs": 8,
                "rollout_length": 8,
                "epochs": 1,
                "minibatches": 2,
                "stop": {"iterations": iterations},
            },
            "evaluation": {
                "min_parents": 16,
                "max_parents": 32,
                "batch_size": 16,
                "bootstrap_samples": 100,
                "parity_rows": 32,
                "calibration_parents": 16,
            },
            "tracking": {
                "uri": f"sqlite:///{tmp_path / 'mlflow.db'}",
                "artifact_location": str(tmp_path / "mlruns"),
            },
            "output": str(tmp_path / "runs"),
            "models": str(tmp_path / "models"),
            **changed,
        }
    )


def play(config: TrainConfig, folder: RunFolder, resume: bool = False) -> str:
    text = io.StringIO()
    train_layer(config, folder, resume=resume, console=Console(file=text, width=100))
    return text.getvalue()


@pytest.fixture(autouse=True, scope="module")
def _one_ray() -> Iterator[None]:
    """Ray once for the module: a training uses one that already runs."""
    with local_ray(1):
        yield


@pytest.fixture(autouse=True)
def _no_foreign_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)


def test_a_training_leaves_a_run_a_champion_and_a_decision(tmp_path: Path) -> None:
    config = tiny(tmp_path, iterations=2)
    folder = new_run(config, None)
    said = play(config, folder)
    for name in ("policy <-", "twap", "twap_passive", "almgren_chriss", "almgren_chriss_passive"):
        assert name in said
    assert "best baseline" in said and "peak memory" in said and "grandmodel decide" in said

    manifest = load_artefact(folder.artefact, EXECUTION).manifest
    report = json.loads((folder.report / "evaluation.json").read_text())
    assert manifest.beats_baseline is report["beats_baseline"]
    assert manifest.metrics["shortfall_bp"] == report["policies"]["policy"]["cost"]["mean"]
    assert manifest.metrics["calibration/quality/error"] >= 0.0 and "calibration of quality" in said
    assert manifest.market == "builtin" and manifest.config["seed"] == 0

    client = connect(config.tracking.uri, 5.0)
    run = client.get_run(str(folder.tracking_run))
    assert run.info.status == "FINISHED"
    assert run.data.params["mappo.num_envs"] == "8"
    assert run.data.tags["verdict"] == report["verdict"]
    assert len(client.get_metric_history(run.info.run_id, "policy_loss")) == 2
    stored = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert stored == {"artefact", "checkpoint", "config.yaml", "report"}
    champion = client.get_model_version_by_alias(NAME, "champion")
    assert champion.run_id == run.info.run_id
    assert champion.tags["beats_baseline"] == str(report["beats_baseline"]).lower()

    text = io.StringIO()
    run_decide(
        DecideRequest("execution", config.models, tracking_uri=config.tracking.uri),
        Console(file=text),
        as_json=True,
    )
    assert set(json.loads(text.getvalue())["agents"]) == {a.name for a in EXECUTION.agents}


def test_the_next_version_challenges_the_champion_run_again(tmp_path: Path) -> None:
    config = tiny(tmp_path, iterations=1)
    play(config, new_run(config, None))
    folder = new_run(config, None)
    said = play(config, folder)  # the same seed: the same policy, which cannot be cheaper
    assert f"registered: {NAME} v2 as challenger (not shown to be cheaper" in said
    assert "champion" in json.loads((folder.report / "evaluation.json").read_text())["paired"]
    client = connect(config.tracking.uri, 5.0)
    assert str(client.get_model_version_by_alias(NAME, "champion").version) == "1"
    mirrored = load_artefact(tmp_path / "models" / "execution" / "champion", EXECUTION).manifest
    assert mirrored.onnx_sha256 == load_artefact(folder.artefact, EXECUTION).manifest.onnx_sha256


def test_a_longer_budget_goes_on_in_the_same_run(tmp_path: Path) -> None:
    first = tiny(tmp_path, iterations=1)
    folder = new_run(first, str(tmp_path / "mine"))
    play(first, folder)
    longer = tiny(tmp_path, iterations=3)
    again = resumed_run(longer, str(tmp_path / "mine"))
    play(longer, again, resume=True)
    assert again.tracking_run == folder.tracking_run
    assert [row["iteration"] for row in again.history] == [1.0, 2.0, 3.0]
    client = connect(longer.tracking.uri, 5.0)
    history = client.get_metric_history(str(again.tracking_run), "policy_loss")
    assert sorted(m.step for m in history) == [1, 2, 3]


def test_without_tracking_the_mirror_keeps_the_champion(tmp_path: Path) -> None:
    config = tiny(tmp_path, iterations=1, tracking={"enabled": False})
    assert "champion: the first of its name" in play(config, new_run(config, None))
    assert "challenger: not shown to be cheaper" in play(config, new_run(config, None))
    assert not (tmp_path / "mlflow.db").exists()


def test_a_champion_that_only_the_mirror_has_is_challenged_too(tmp_path: Path) -> None:
    """Trained without tracking, then with it: then its own registered artefact is lost."""
    alone = tiny(tmp_path, iterations=1, tracking={"enabled": False})
    play(alone, new_run(alone, None))
    link = tmp_path / "models" / "execution" / "builtin" / "champion"
    first = link.resolve()
    config = tiny(tmp_path, iterations=1)
    said = play(config, new_run(config, None))
    assert "champion to beat: vlocal" in said
    assert f"registered: {NAME} v1 as challenger (not shown to be cheaper" in said
    elsewhere = tiny(tmp_path, iterations=1, env={"parent": {"horizon_steps": 6}})
    said = play(elsewhere, new_run(elsewhere, None))
    assert "v2 as challenger (champion vlocal was trained in another environment" in said
    assert "env.parent.horizon_steps=6 (its 5)" in said
    assert link.resolve() == first

    connect(config.tracking.uri, 5.0).set_registered_model_alias(NAME, "champion", "1")
    shutil.rmtree(tmp_path / "mlruns")
    shutil.rmtree(tmp_path / "models")
    said = play(config, new_run(config, None))
    assert "champion v1 can no longer be run" in said.partition("registered")[0]
    assert f"registered: {NAME} v3 as champion (champion v1 can no longer be run" in said


def test_ctrl_c_leaves_a_checkpoint_that_resumes(tmp_path: Path) -> None:
    """A process of its own is interrupted in training, and goes on to its end."""
    (tmp_path / "tiny.yaml").write_text(
        json.dumps(tiny(tmp_path, iterations=1_000_000).model_dump(mode="json"))
    )
    command = [sys.executable, "-m", "trainers.cli", "train", "execution", "--output", "run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(
            [*command, "--config", "tiny.yaml"], cwd=tmp_path, env=environment, stderr=err,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 200
        history = tmp_path / "run" / "history.jsonl"
        while not history.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, (tmp_path / "err").read_text()
    assert "--resume --output run" in out
    assert "Traceback" not in (tmp_path / "err").read_text()
    stopped = resumed_run(tiny(tmp_path, 1), str(tmp_path / "run"))
    done = len(stopped.history)
    assert done >= 1 and not stopped.finished

    config, folder = load_run(
        "execution", [], [], [f"mappo.stop.iterations={done + 2}"], None,
        output=str(tmp_path / "run"), resume=True,
    )  # fmt: skip
    assert config.mappo.num_envs == 8  # the run's own settings, not the layer's
    play(config, folder, resume=True)
    assert [row["iteration"] for row in folder.history] == [float(i + 1) for i in range(done + 2)]
    assert load_artefact(folder.artefact, EXECUTION)
