"""`grandmodel evaluate` on an artefact of the strategic layer: what is played, said and written."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import optuna
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cascade.artefact import MANIFEST_FILE, read_manifest
from cascade.registry import mirror
from configs.chosen import ChosenFrom
from configs.errors import ArtefactError, ConfigError, TrackingError
from configs.tracking import URI_VARIABLE, TrackingConfig
from envs.strategic import BatchedStrategic
from tests.trainers.upstreams import export_strategic, export_tactical
from trainers.bar_baselines import strategic_baselines, tactical_baselines
from trainers.cli import app
from trainers.evaluation.bars import play_bars, tiles
from trainers.evaluation.commands import (
    DATA_FILE,
    PAGE_FILE,
    SERIES_FILE,
    Evaluated,
    EvaluateRequest,
    run_evaluate,
)
from trainers.evaluation.subject import POLICY, find_subject
from trainers.evaluation.trials import trials_behind, trials_of
from trainers.runs import RunFolder
from trainers.sweeps.report import chosen_from
from trainers.tracking import Run, connect

EPISODES = 20


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_strategic(tmp_path_factory.mktemp("evaluate") / "strategic")


@pytest.fixture(scope="module")
def done(artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    return _evaluated(artefact, tmp_path_factory.mktemp("report"))


def _evaluated(artefact: Path, folder: Path, **asked: object) -> Evaluated:
    told = {"place": str(artefact), "episodes": EPISODES, "output": folder, **asked}
    return run_evaluate(EvaluateRequest(**told), Console(file=io.StringIO()), as_json=False)  # type: ignore[arg-type]


def test_episodes_follow_one_another_and_never_overlap() -> None:
    starts = np.array([3, 4, 5, 9, 15, 16, 17, 30])
    assert tiles(starts, 6).tolist() == [3, 9, 15, 30]
    assert tiles(np.arange(100), 7).tolist() == list(range(0, 100, 7))


def test_the_backtest_is_what_the_environment_itself_counts(artefact: Path, tmp_path: Path) -> None:
    """Chained returns of an episode's bars are its return; bars lie in the test split, once."""
    subject = find_subject(
        str(artefact), layer=None, models="none", tracking_uri="sqlite:///none.db", cache=tmp_path
    )
    made: list[BatchedStrategic] = []

    def make(num: int) -> BatchedStrategic:
        made.append(BatchedStrategic(subject.env, num, 0, "test"))  # type: ignore[arg-type]
        return made[-1]

    actor = strategic_baselines()["momentum"]
    bars = play_bars(make, {"momentum": actor, POLICY: actor}, episodes=6)
    track = bars.tracks["momentum"]
    metrics = dict(zip(made[-1].metric_names, made[-1].episode_metrics.T, strict=True))
    chained = np.multiply.reduceat(1.0 + track.returns, np.arange(0, len(bars.number), 12)) - 1.0
    np.testing.assert_allclose(1e4 * chained, metrics["return_bp"], atol=1e-6)
    np.testing.assert_allclose(track.traded.reshape(6, 12).mean(axis=1), metrics["turnover"])
    np.testing.assert_allclose(
        np.abs(track.positions).reshape(6, 12).mean(axis=1), metrics["exposure"]
    )
    rows = made[-1].data.rows
    assert rows.first <= bars.number.min() and bars.number.max() < rows.after
    assert (np.diff(bars.number) > 0).all()
    # The same actor under another name met the same flow, to the bit.
    np.testing.assert_array_equal(track.returns, bars.tracks[POLICY].returns)


def test_the_verdict_is_the_first_line_of_the_page(done: Evaluated) -> None:
    page = (done.folder / PAGE_FILE).read_text()
    body = page[page.index("</h1>") + len("</h1>") :].strip()
    first = re.match(r"<p class=\"(pass|fail)\">(.*?)</p>", body)
    assert first is not None
    assert first[2].startswith(("NO EVIDENCE", "EVIDENCE"))
    assert "better than the best baseline" in first[2]
    assert "probability" in first[2]


def test_the_page_stands_alone_and_holds_every_plot(done: Evaluated) -> None:
    page = (done.folder / PAGE_FILE).read_text()
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert "<script" not in page
    titles = re.findall(r"<h3>(.*?)</h3><svg", page)
    for wanted in ("Equity", "Drawdown", "Rolling", "cost", "Decisions on the price", "agents"):
        assert any(wanted in title for title in titles), wanted
    assert "Calibration" in titles
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_data_say_what_the_page_says(done: Evaluated) -> None:
    data = json.loads((done.folder / DATA_FILE).read_text())
    found = done.found
    assert data["verdict"] == found.verdict
    assert set(data["mean_gain"]) == {POLICY, *strategic_baselines()}
    assert {group["by"] for group in data["groups"]} == {"year", "volatility", "regime"}
    for measure in data["measures"][POLICY].values():
        if measure["low"] is not None:
            assert measure["low"] <= measure["high"]
    with np.load(done.folder / SERIES_FILE) as series:
        np.testing.assert_array_equal(series[f"gain.{POLICY}"], found.gains[POLICY])
    assert found.best != POLICY
    assert data["better"]["probability"] == pytest.approx(data["better"]["psr"])
    # The validation split lies between, wider than any window.
    assert not any(note.startswith("EMBARGO") for note in data["notes"])


def test_the_same_seed_says_the_same_and_trials_lower_it(
    artefact: Path, done: Evaluated, tmp_path: Path
) -> None:
    again = _evaluated(artefact, tmp_path, trials=40)
    np.testing.assert_array_equal(again.found.gains[POLICY], done.found.gains[POLICY])
    assert again.found.measures == done.found.measures or np.isnan(
        done.found.measures["flat"]["sharpe"].value
    )
    assert again.found.better.probability < done.found.better.probability
    assert "40 trials" in again.found.verdict


def test_the_command_refuses_the_training_split_and_writes_nothing(
    artefact: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArtefactError, match="has not seen"):
        _evaluated(artefact, tmp_path / "seen", split="train")
    assert not (tmp_path / "seen").exists()
    help_ = CliRunner().invoke(app, ["evaluate", "--help"])
    assert help_.exit_code == 0
    assert "never saw" in help_.output


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"place": "nowhere"}, ArtefactError, "expected the folder of a finished run"),
        ({"place": "champion"}, ConfigError, "add --layer"),
        ({"layer": "tactical"}, ConfigError, "is of layer 'strategic'"),
        ({"trials": 3, "storage": "sqlite:///x.db"}, ConfigError, "one of the two"),
        ({"study": "best"}, ConfigError, "add --storage"),
        ({"storage": "sqlite:///x.db"}, TrackingError, "no such file"),
    ],
)
def test_bad_requests_are_told(
    artefact: Path, tmp_path: Path, asked: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _evaluated(artefact, tmp_path / "none", **asked)


def test_trials_are_counted_in_the_study_itself(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=storage, study_name="one")

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise RuntimeError
        return trial.suggest_float("x", 0.0, 1.0)

    study.optimize(objective, n_trials=5, catch=(RuntimeError,))
    study.enqueue_trial({"x": 0.5})  # waits: not tried yet
    assert trials_of(storage, None) == trials_of(storage, "one") == 5
    with pytest.raises(ConfigError, match="--study two"):
        trials_of(storage, "two")
    optuna.create_study(storage=storage, study_name="empty")
    with pytest.raises(ConfigError, match="name one with --study"):
        trials_of(storage, None)
    with pytest.raises(ConfigError, match="no trial yet"):
        trials_of(storage, "empty")


def test_trials_are_taken_from_what_the_settings_were_chosen_from(tmp_path: Path) -> None:
    """As many as there are in a study that has gone on, or were in one that is gone."""
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=storage, study_name="one")
    study.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=3)
    chosen = chosen_from(study, storage)
    assert chosen == ChosenFrom(study="one", storage=storage, trials=3)
    study.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=2)
    count, how = trials_behind(chosen)
    assert count == 5 and "counted in study 'one'" in how
    (tmp_path / "study.db").unlink()
    count, how = trials_behind(chosen)
    assert count == 3 and "as the settings say" in how
    assert not (tmp_path / "study.db").exists()  # looking for it does not make it
    secret = chosen_from(study, "postgresql+psycopg://me:secret@127.0.0.1/x")
    assert "secret" not in secret.storage and "127.0.0.1" in secret.storage

    artefact = export_strategic(tmp_path / "artefact", metrics={"ensemble/candidates": 4.0})
    manifest = json.loads((artefact / MANIFEST_FILE).read_text())
    manifest["config"]["chosen_from"] = chosen.model_dump()
    (artefact / MANIFEST_FILE).write_text(json.dumps(manifest))
    found = _evaluated(artefact, tmp_path / "report").found
    assert found.better.trials == 6 and any("best of 4 candidates" in n for n in found.notes)
    given = _evaluated(artefact, tmp_path / "given", trials=2).found
    assert given.better.trials == 2


@pytest.mark.slow
def test_the_tactical_layer_is_backtested_beside_the_strategic_one_alone(tmp_path: Path) -> None:
    artefact = export_tactical(tmp_path / "tactical")
    found = _evaluated(artefact, tmp_path / "report").found
    assert set(found.gains) == {POLICY, *tactical_baselines()}
    assert found.gains[POLICY].any()
    assert not found.gains["flat"].any()
    assert not any("never traded" in note for note in found.notes)
    assert "Calibration" in (tmp_path / "report" / PAGE_FILE).read_text()


def test_a_champion_is_found_by_its_layer(artefact: Path, tmp_path: Path) -> None:
    mirror(artefact, tmp_path / "models", "strategic", "builtin")
    subject = find_subject(
        "champion",
        layer="strategic",
        models=str(tmp_path / "models"),
        tracking_uri="sqlite:///none.db",
        cache=tmp_path,
    )
    assert subject.policy.manifest.onnx_sha256 == read_manifest(artefact).onnx_sha256
    assert subject.run is None


@pytest.mark.slow
def test_the_run_that_trained_it_holds_the_report(
    artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv(URI_VARIABLE, uri)
    store = TrackingConfig(uri=uri, artifact_location=str(tmp_path / "artifacts"))
    with Run(store, name="training", params={}, tags={}) as training:
        pass
    folder = tmp_path / "run"
    shutil.copytree(artefact, folder / "artefact")
    RunFolder(folder, [], tracking_run=training.run_id).finish()
    done = _evaluated(folder, None)  # type: ignore[arg-type]
    assert done.folder == folder / "evaluation"
    assert done.tracked == f"tracked: {uri}, run {training.run_id}"
    client = connect(uri, 5.0)
    kept = {Path(file.path).name for file in client.list_artifacts(training.run_id, "evaluation")}
    assert {PAGE_FILE, DATA_FILE, SERIES_FILE} <= kept
    run = client.get_run(training.run_id)
    assert run.data.tags["evaluation.verdict"] == done.found.verdict
    assert run.data.metrics["backtest/probability"] == done.found.better.probability
    # A store that is gone does not take the report away, and says so.
    monkeypatch.setenv(URI_VARIABLE, "http://127.0.0.1:9")
    again = _evaluated(folder, tmp_path / "again")
    assert again.tracked.startswith("not tracked: ")
    assert (tmp_path / "again" / PAGE_FILE).is_file()
