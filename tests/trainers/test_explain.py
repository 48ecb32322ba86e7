"""`grandmodel explain`: a run's columns by weight, its plot, and what it cannot explain."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from cascade.artefact import MANIFEST_FILE
from configs.errors import ArtefactError, TrainingError
from configs.execution import ExecutionConfig
from configs.tracking import URI_VARIABLE
from configs.train import LayerTraining, load_train_config
from policies.sequential import SequentialPolicy
from signals.execution import EXECUTION
from tests.policies.windowed import LAYOUT, NEAR, policy_of, rows_of
from tests.trainers.updates import one_thread  # noqa: F401  a fixture, used by its name
from tests.trainers.upstreams import execution_config, export_strategic, export_tactical
from trainers.explain import ExplainRequest, run_explain, weights_of
from trainers.explanation import (
    ATTENTION_FILE,
    DATA_FILE,
    PLOT_FILE,
    attention_table,
    explain,
    explanation,
    looked,
    write_explanation,
)
from trainers.mappo.checkpoint import CheckpointMeta, save_checkpoint
from trainers.mappo.plan import plan_training
from trainers.runs import UPSTREAM_FOLDER, new_run
from trainers.tracking import Run, connect

RISK = "risk_control"


def run_folder(
    path: Path, env: ExecutionConfig | None = None, tracked: str | None = None
) -> tuple[Path, LayerTraining]:
    """A run of the execution layer that was checkpointed before its first step."""
    told = [
        "mappo.policy.hidden=[8]",
        "mappo.policy.output_gain=1.0",
        f"tracking.uri=sqlite:///{path.parent / 'mlflow.db'}",
        f"tracking.artifact_location={path.parent / 'mlruns'}",
    ]
    config = load_train_config("execution", (), (), told, 3)
    if env is not None:
        config = config.model_copy(update={"env": env})
    folder = new_run(config, str(path))
    folder.begin(config, tracked)
    plan = plan_training(EXECUTION, config.mappo)
    (actor,) = plan.actors
    meta = CheckpointMeta(0, 0, 0.0, "x", EXECUTION.digest, [], "x", {})
    save_checkpoint(path, {}, plan, {actor.name: actor.build()}, meta, 1)
    return path, config


@pytest.fixture(autouse=True)
def _no_foreign_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("explain") / "run")[0]


def test_the_columns_of_an_agent_are_printed_and_drawn(run: Path) -> None:
    printed = io.StringIO()
    request = ExplainRequest(run, RISK, rows=12, top=3)
    path = run_explain(request, Console(file=printed, width=100))
    assert path == run / "report" / PLOT_FILE and path.read_bytes().startswith(b"\x89PNG")
    text = printed.getvalue()
    assert f"{RISK}: log-probability of its choice" in text and "12 decisions in mode" in text
    shown = [c.name for c in EXECUTION.columns if f" {c.name} " in text]
    assert len(shown) == 3
    assert "not tracked: the run's folder names no run" in text
    told = json.loads((run / "report" / DATA_FILE).read_text())
    (output,) = told["outputs"]
    assert output["agent"] == RISK and set(output["columns"]) == {c.name for c in EXECUTION.columns}
    assert told["encoders"] == [] and not (run / "report" / ATTENTION_FILE).exists()
    artefact = run / "artefact"
    artefact.mkdir(exist_ok=True)
    (artefact / MANIFEST_FILE).write_text("{}")
    moved = ExplainRequest(artefact, RISK, rows=12, top=3, output=run / "elsewhere.png")
    assert run_explain(moved, Console(file=io.StringIO())) == run / "elsewhere.png"


def test_a_column_that_alone_matters_comes_first() -> None:
    """A box agent's mean is made to follow one column."""
    policy = SequentialPolicy(EXECUTION, load_train_config("execution", (), (), (), 0).mappo.policy)
    wanted = [column.name for column in EXECUTION.columns].index("time_left")
    with torch.no_grad():
        row = policy.row_weight[wanted].clone()
        policy.row_weight.zero_()
        policy.row_weight[wanted] = row
    rows = torch.rand(20, EXECUTION.row_width).numpy()
    found = explain(policy, 0, rows)
    assert [one.output for one in found] == [c.name for c in EXECUTION.agents[0].components]
    for one in found:
        assert one.names[0] == "time_left" and (one.weight[1:] == 0).all()
        assert one.weight[0] > 0 and one.incomplete < 1e-6


@pytest.mark.slow  # a fresh store takes its migrations
def test_what_is_drawn_is_added_to_the_run_in_the_store(tmp_path: Path) -> None:
    _, config = run_folder(tmp_path / "before")
    with Run(config.tracking, name="explained", params={}, tags={}) as tracked:
        pass
    place, _ = run_folder(tmp_path / "run", tracked=tracked.run_id)
    request = ExplainRequest(place, RISK, rows=4, top=2, steps=8)
    printed = io.StringIO()
    run_explain(request, Console(file=printed, width=100))
    assert f"tracked: {config.tracking.uri}, run {tracked.run_id}" in printed.getvalue()
    client = connect(config.tracking.uri, 5.0)
    kept = {found.path for found in client.list_artifacts(tracked.run_id, "report")}
    assert kept == {f"report/{PLOT_FILE}", f"report/{DATA_FILE}"}
    assert client.get_run(tracked.run_id).info.status == "FINISHED"
    for other, reason in (("0" * 32, "could not add to run"), (tracked.run_id, "is not there")):
        place, _ = run_folder(tmp_path / other[:4], tracked=other)
        if other == tracked.run_id:
            (tmp_path / "mlflow.db").rename(tmp_path / "gone.db")
        printed = io.StringIO()
        assert run_explain(replace(request, place=place), Console(file=printed)).is_file()
        last = printed.getvalue().splitlines()[-1]
        assert last.startswith("not tracked: the tracking store") and reason in last
    assert not (tmp_path / "mlflow.db").exists()


def test_where_encoders_look_is_told_of_those_that_an_agent_reads(tmp_path: Path) -> None:
    policy, rows = policy_of(), rows_of(6).numpy()
    assert len(looked(policy, rows)) == 3
    found = explanation(policy, [NEAR], rows, steps=8)
    (one,) = found.encoders
    assert one.columns == ("price", "trend") and one.agents == ("near", "both")
    assert one.shares.shape == (6, LAYOUT.windows[0].rows)
    assert one.shares.sum(1) == pytest.approx(np.ones(6))
    written = write_explanation(found, 3, tmp_path)
    assert [path.name for path in written] == [PLOT_FILE, ATTENTION_FILE, DATA_FILE]
    assert (tmp_path / ATTENTION_FILE).read_bytes().startswith(b"\x89PNG")
    (told,) = json.loads((tmp_path / DATA_FILE).read_text())["encoders"]
    assert told["share_by_bar_oldest_first"] == pytest.approx(one.shares.mean(0).tolist())
    printed = io.StringIO()
    Console(file=printed, width=100).print(attention_table(one, 2))
    newest = one.shares.mean(0).argmax()
    assert f" {one.shares.shape[1] - 1 - newest} " in printed.getvalue()


def test_the_weights_are_those_of_the_checkpoint(run: Path) -> None:
    policy = weights_of(run)
    config = load_train_config("execution", (), (), ["mappo.policy.hidden=[8]"], 3).mappo.policy
    assert policy.config.hidden == config.hidden and not policy.training


def test_what_has_no_weights_is_one_error(run: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO())
    with pytest.raises(TrainingError, match="no run with checkpoints there"):
        run_explain(ExplainRequest(tmp_path), console)
    with pytest.raises(TrainingError, match=f"--agent riks: expected one of .*{RISK}"):
        run_explain(ExplainRequest(run, "riks"), console)


def test_a_run_under_artefacts_is_explained_under_those_that_it_keeps(tmp_path: Path) -> None:
    gone = Path("models:/gone@champion")
    run, _ = run_folder(tmp_path / "run", execution_config(gone, gone))
    request = ExplainRequest(run, RISK, rows=4, top=2, output=tmp_path / "plot.png")
    with pytest.raises(ArtefactError, match=r"env\.upstream\.strategic=models:/gone@champion"):
        run_explain(request, Console(file=io.StringIO()))
    export_strategic(run / UPSTREAM_FOLDER / "strategic")
    export_tactical(run / UPSTREAM_FOLDER / "tactical")
    assert run_explain(request, Console(file=io.StringIO())) == tmp_path / "plot.png"
