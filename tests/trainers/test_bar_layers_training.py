"""The layers above execution trained on a tiny budget: run, table, artefact, resume, decide."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cascade.artefact import load_artefact
from cascade.commands import DecideRequest, run_decide
from configs.errors import ArtefactError, ConfigError, RegistryError
from configs.tracking import URI_VARIABLE
from configs.train import TRAININGS, LayerTraining
from signals.expected_return import RETURN_MAP_FILE
from signals.regime import RegimeModel
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL
from tests.trainers.rays import local_ray
from tests.trainers.test_commands import play
from trainers.layers import REGIME_MODEL_FILE
from trainers.runs import load_run, new_run, resumed_run
from trainers.tracking import connect

NAME = "grandmodel-strategic_v0-builtin"
BASELINES = ("buy_and_hold", "flat", "momentum", "mean_reversion")

pytestmark = pytest.mark.slow


STRATEGIC_ENV = {
    "horizon_bars": 8,
    "slices": 3,
    "series": {"bars": 9_000, "embargo_bars": 0},
    "signals": {"regime": {"restarts": 1, "iterations": 20}},
}
TACTICAL_ENV = {"horizon_bars": 8, "slices": 3, "series": {"bars": 9_000}}


def tiny(
    tmp_path: Path, iterations: int, layer: str = "strategic", **changed: Any
) -> LayerTraining:
    return TRAININGS[layer].model_validate(
        {
            "env": {"strategic": STRATEGIC_ENV, "tactical": TACTICAL_ENV}[layer],
            "mappo": {
                "policy": {"hidden": [8]},
                "critic": {"hidden": [8]},
                "num_envs": 4,
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
                "reference": [{"strategic": "buy_and_hold", "tactical": "twap"}[layer]],
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


@pytest.fixture(autouse=True, scope="module")
def _one_ray() -> Iterator[None]:
    with local_ray(1):
        yield


@pytest.fixture(autouse=True)
def _no_foreign_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)


def test_a_training_leaves_a_run_a_champion_and_its_regime_model(tmp_path: Path) -> None:
    config = tiny(tmp_path, iterations=2)
    folder = new_run(config, None)
    said = play(config, folder)
    for name in ("policy <-", *BASELINES, "turnover", "exposure", "drawdown", "costs"):
        assert name in said
    assert "best baseline" in said and "peak memory" in said and "next: " in said

    artefact = load_artefact(folder.artefact, STRATEGIC)
    manifest = artefact.manifest
    report = json.loads((folder.report / "evaluation.json").read_text())
    assert manifest.env_id == "strategic_v0" and manifest.layer == "strategic"
    assert manifest.metrics["return_bp"] == report["policies"]["policy"]["return"]["mean"]
    assert set(report["paired"]) == set(BASELINES)
    best = max(BASELINES, key=lambda name: report["policies"][name]["return"]["mean"])
    assert report["best_baseline"] == best
    assert report["policies"]["flat"]["metrics"]["costs_bp"] == 0.0
    assert report["policies"]["momentum"]["metrics"]["costs_bp"] > 0.0
    assert (folder.report / "return.png").is_file()
    # What it states is held against what happens, whatever two iterations have taught it.
    told = json.loads((folder.report / "calibration.json").read_text())
    assert told["episodes"] == 16 and "calibration of" in said
    fitted = {found["what"]: found["temperature"] for found in told["confidences"]}
    assert manifest.temperatures == fitted and len(fitted) + len(told["missing"]) == 1
    explained = json.loads((folder.report / "explanation.json").read_text())
    assert len(explained["outputs"]) == 4 and len(explained["encoders"]) == 0
    # What computes the posteriors in the policy's rows, and what its scores have been worth,
    # lie beside it and cannot be swapped.
    assert set(manifest.files) == {REGIME_MODEL_FILE, RETURN_MAP_FILE}
    beside = folder.artefact / REGIME_MODEL_FILE
    assert RegimeModel.load(beside).bar_minutes == 30

    client = connect(config.tracking.uri, 5.0)
    run = client.get_run(str(folder.tracking_run))
    assert run.info.status == "FINISHED" and run.data.params["env.horizon_bars"] == "8"
    for curve in ("return_bp", "reward_equity", "term/turnover", "policy_loss"):
        assert len(client.get_metric_history(run.info.run_id, curve)) == 2, curve
    assert client.get_model_version_by_alias(NAME, "champion").run_id == run.info.run_id
    mirrored = tmp_path / "models" / "strategic" / "builtin" / "champion"
    assert (mirrored / REGIME_MODEL_FILE).read_bytes() == beside.read_bytes()

    for layer, models in (("strategic", config.models), ("execution", str(folder.artefact))):
        with pytest.raises(RegistryError, match="works for the layer execution only"):
            run_decide(
                DecideRequest(layer, models, tracking_uri=config.tracking.uri),
                Console(file=io.StringIO()),
                as_json=False,
            )
    beside.write_text(beside.read_text() + " ")
    with pytest.raises(ArtefactError, match=r"regime_model\.json is damaged or was replaced"):
        load_artefact(folder.artefact, STRATEGIC)


def test_the_tactical_layer_is_judged_against_its_styles(tmp_path: Path) -> None:
    config = tiny(tmp_path, 2, "tactical", tracking={"enabled": False})
    folder = new_run(config, None)
    said = play(config, folder)
    for name in ("policy <-", "twap", "market_at_open", "flat", "best baseline"):
        assert name in said
    manifest = load_artefact(folder.artefact, TACTICAL).manifest
    assert manifest.env_id == "tactical_v1" and set(manifest.files) == {RETURN_MAP_FILE}
    report = json.loads((folder.report / "evaluation.json").read_text())
    costs = {name: told["metrics"]["costs_bp"] for name, told in report["policies"].items()}
    assert costs["flat"] == 0.0 and costs["market_at_open"] > 0.0 and costs["twap"] > 0.0
    with pytest.raises(RegistryError, match="works for the layer execution only, got 'tactical'"):
        run_decide(
            DecideRequest("execution", str(folder.artefact), tracking_uri="sqlite:///none.db"),
            Console(file=io.StringIO()),
            as_json=False,
        )


def test_a_resumed_run_ends_as_one_that_was_not_stopped(tmp_path: Path) -> None:
    quiet = {"tracking": {"enabled": False}}
    whole = new_run(tiny(tmp_path, 3, **quiet), str(tmp_path / "whole"))
    play(tiny(tmp_path, 3, models=str(tmp_path / "a"), **quiet), whole)
    first = tiny(tmp_path, 1, models=str(tmp_path / "b"), **quiet)
    play(first, new_run(first, str(tmp_path / "parts")))
    longer = tiny(tmp_path, 3, models=str(tmp_path / "b"), **quiet)
    again = resumed_run(longer, str(tmp_path / "parts"))
    said = play(longer, again, resume=True)
    assert "challenger: not shown to be better" in said or "champion: better" in said
    found, wanted = (load_artefact(run.artefact, STRATEGIC).manifest for run in (again, whole))
    assert found.onnx_sha256 == wanted.onnx_sha256 and found.files == wanted.files
    with pytest.raises(ConfigError, match=r"layer=strategic in .*parts/config\.yaml:\d+: expected"):
        load_run("execution", [], [], [], None, output=str(tmp_path / "parts"), resume=True)
