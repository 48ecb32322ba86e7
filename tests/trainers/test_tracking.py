"""Tracking in a real MLflow store on sqlite, and the rule of promotion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cascade.registry import resolve
from configs.errors import ArtefactError, TrackingError
from configs.tracking import URI_VARIABLE, TrackingConfig
from trainers.objective import RETURN
from trainers.statistics import PairedResult
from trainers.tracking import (
    Promotion,
    Run,
    connect,
    flatten,
    promotion,
    tracking_uri,
)

FIRST = promotion(None, None)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrackingConfig:
    """One store for the module: creating its tables takes seconds."""
    folder = tmp_path_factory.mktemp("tracking")
    return TrackingConfig(
        uri=f"sqlite:///{folder / 'mlflow.db'}", artifact_location=str(folder / "artifacts")
    )


@pytest.fixture(autouse=True)
def _no_foreign_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)


def start(config: TrackingConfig, **changed: Any) -> Run:
    fields: dict[str, Any] = {"name": "test", "params": {}, "tags": {}, **changed}
    return Run(config, **fields)


def artefact(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "policy.onnx").write_text(text)
    return folder


def result(low: float, high: float) -> PairedResult:
    middle = (low + high) / 2
    return PairedResult(1.0, 2.0, middle, low, high, (high - low) / 2, 0.5, 10, 5)


def test_a_run_holds_params_tags_curves_and_files(config: TrackingConfig, tmp_path: Path) -> None:
    params = {"env": {"lot": 1, "venues": [1, 2]}, "empty": {}, "long": "x" * 10_000}
    with start(config, params=params, tags={"seed": "0", "commit": "abc"}) as run:
        for step in range(5):
            run.log({"return": float(step), "nothing": None, "nan": float("nan")}, step)
        run.log_folder(artefact(tmp_path / "report", "table"), "report")
        run.log_text("a: 1", "config.yaml")
    client = connect(config.uri, config.connect_seconds)
    stored = client.get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.params["env.lot"] == "1" and stored.data.params["env.venues"] == "[1, 2]"
    assert stored.data.tags["commit"] == "abc"
    history = client.get_metric_history(run.run_id, "return")
    assert [(m.step, m.value) for m in history] == [(s, float(s)) for s in range(5)]
    assert set(stored.data.metrics) == {"return"}
    assert {f.path for f in client.list_artifacts(run.run_id)} == {"report", "config.yaml"}


def test_a_run_goes_on_after_an_interruption(config: TrackingConfig) -> None:
    with pytest.raises(KeyboardInterrupt), start(config, params={"a": 1}) as run:
        run.log({"return": 1.0}, 0)
        raise KeyboardInterrupt
    client = connect(config.uri, config.connect_seconds)
    assert client.get_run(run.run_id).info.status == "KILLED"
    with start(config, params={"a": 2, "b": 3}, resume=run.run_id) as again:
        again.log({"return": 2.0}, 1)
    assert (again.run_id, again.resumed) == (run.run_id, True)
    stored = client.get_run(run.run_id)
    assert stored.info.status == "FINISHED" and stored.data.params == {"a": "1", "b": "3"}
    assert [m.value for m in client.get_metric_history(run.run_id, "return")] == [1.0, 2.0]


def test_a_run_that_is_cut_off_at_its_start_has_its_tags(
    config: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial's run without its parent's tag would be a stray in the list of runs."""

    def killed(self: Run, *told: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "_log_params", killed)
    with pytest.raises(KeyboardInterrupt):
        start(config, name="cut off", tags={"mlflow.parentRunId": "above"})
    client = connect(tracking_uri(config), config.connect_seconds)
    experiment = client.get_experiment_by_name(config.experiment)
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'cut off'")
    assert found.data.tags["mlflow.parentRunId"] == "above"


def test_an_unknown_run_to_resume_is_begun_anew(config: TrackingConfig) -> None:
    with start(config, resume="0" * 32) as run:
        assert not run.resumed and run.run_id != "0" * 32


def test_an_error_fails_the_run_and_is_not_hidden(config: TrackingConfig) -> None:
    with pytest.raises(ValueError, match="mine"), start(config) as run:
        raise ValueError("mine")
    client = connect(config.uri, config.connect_seconds)
    assert client.get_run(run.run_id).info.status == "FAILED"


def test_metrics_survive_a_store_that_fails_for_a_while(
    config: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start(config.model_copy(update={"flush_seconds": 1e-9})) as run:
        working = run._client.log_batch

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise OSError("disk full")

        monkeypatch.setattr(run._client, "log_batch", refuse)
        run.log({"return": 1.0}, 0)
        with pytest.raises(TrackingError, match=r"could not log metrics.*disk full"):
            run.flush()
        monkeypatch.setattr(run._client, "log_batch", working)
    client = connect(config.uri, config.connect_seconds)
    assert client.get_run(run.run_id).data.metrics == {"return": 1.0}


def test_versions_are_registered_under_their_alias(config: TrackingConfig, tmp_path: Path) -> None:
    name = "grandmodel-toy_v0-test"
    with start(config) as run:
        assert run.champion(name) is None
        first = run.register(artefact(tmp_path / "a", "one"), name, FIRST, {"seed": "0"})
        assert run.champion(name) == first
    with start(config) as run:
        decided = promotion(first.version, result(-0.1, 0.2))
        second = run.register(artefact(tmp_path / "b", "two"), name, decided, {})
        champion = run.champion(name)
        assert champion == first and second.version != first.version
        fetched = run.fetch(champion, tmp_path / "fetched")
        assert (fetched / "policy.onnx").read_text() == "one"
        third = run.register(
            artefact(tmp_path / "c", "three"),
            name,
            promotion(first.version, result(-0.3, -0.1)),
            {},
        )
        assert run.champion(name) == third
    client = connect(config.uri, config.connect_seconds)
    challenger = client.get_model_version_by_alias(name, "challenger")
    assert str(challenger.version) == second.version
    assert "not shown to be cheaper" in challenger.tags["promotion"]


def test_the_rule_of_promotion() -> None:
    assert promotion(None, None) == Promotion("champion", "the first of its name")
    unproven = promotion(None, None, beats_baseline=False)
    assert unproven.alias == "champion"
    assert unproven.reason == "the first of its name, not shown to beat its best baseline"
    assert promotion("3", result(-0.3, -0.1)).alias == "champion"
    assert promotion("3", result(-0.3, 0.1)).alias == "challenger"
    assert promotion("3", result(0.1, 0.3)).alias == "challenger"
    assert promotion("3", None).alias == "challenger"
    unusable = promotion("3", None, unusable="other columns")
    assert unusable.alias == "champion" and "other columns" in unusable.reason
    elsewhere = promotion("3", result(-0.3, -0.1), other_environment="env.step_seconds=2")
    assert elsewhere.alias == "challenger" and "env.step_seconds=2" in elsewhere.reason


def test_the_rule_of_promotion_where_more_is_better() -> None:
    earns = promotion("3", result(0.1, 0.3), objective=RETURN)
    assert earns.alias == "champion" and earns.reason.startswith("better: ")
    less = promotion("3", result(-0.3, -0.1), objective=RETURN)
    assert less.alias == "challenger" and less.reason.startswith("not shown to be better: ")


@pytest.mark.slow
def test_the_registry_is_read_by_a_process_of_its_own(
    config: TrackingConfig, tmp_path: Path
) -> None:
    with start(config) as run:
        run.register(artefact(tmp_path / "a", "one"), "grandmodel-far_v0-test", FIRST, {})
    folder = resolve(
        "models:/grandmodel-far_v0-test@champion",
        "far",
        tracking_uri=config.uri,
        cache=tmp_path / "cache",
    )
    assert (folder / "policy.onnx").read_text() == "one"
    with pytest.raises(ArtefactError, match="not in the registry"):
        resolve("models:/nobody@champion", "far", tracking_uri=config.uri, cache=tmp_path / "x")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:9", "could not reach it"),
        ("http://127.0.0.1:notaport", "could not reach it"),
        ("./runs", "no longer takes"),
        ("file:///tmp/runs", "no longer takes"),
        ("nonsense://store", "could not open it"),
        ("sqlite:////dev/null/x/mlflow.db", "could not open it"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_clear_error(uri: str, said: str) -> None:
    with pytest.raises(TrackingError, match=said) as raised:
        connect(uri, 2.0)
    assert "tracking.uri" in str(raised.value)


def test_a_database_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(TrackingError, match="not a database"):
        connect(f"sqlite:///{tmp_path / 'mlflow.db'}", 2.0)


def test_the_environment_variable_wins(
    config: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_uri(config) == config.uri
    monkeypatch.setenv(URI_VARIABLE, "http://elsewhere:5000")
    assert tracking_uri(config) == "http://elsewhere:5000"


def test_flattening_names_every_leaf() -> None:
    nested = {"a": {"b": 1, "c": {"d": None}}, "e": {}}
    assert flatten(nested) == {"a.b": "1", "a.c.d": "None", "e": "{}"}
