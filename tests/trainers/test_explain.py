"""`grandmodel explain`: a run's columns by weight, its plot, and what it cannot explain."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from cascade.artefact import MANIFEST_FILE
from configs.errors import ArtefactError, TrainingError
from configs.execution import ExecutionConfig
from configs.train import LayerTraining, load_train_config
from policies.sequential import SequentialPolicy
from signals.execution import EXECUTION
from tests.trainers.updates import one_thread  # noqa: F401  a fixture, used by its name
from tests.trainers.upstreams import execution_config, export_strategic, export_tactical
from trainers.explain import PLOT_FILE, ExplainRequest, explain, run_explain, weights_of
from trainers.mappo.checkpoint import CheckpointMeta, save_checkpoint
from trainers.mappo.plan import plan_training
from trainers.runs import UPSTREAM_FOLDER, new_run

RISK = "risk_control"


def run_folder(path: Path, env: ExecutionConfig | None = None) -> tuple[Path, LayerTraining]:
    """A run of the execution layer that was checkpointed before its first step."""
    told = ["mappo.policy.hidden=[8]", "mappo.policy.output_gain=1.0"]
    config = load_train_config("execution", (), (), told, 3)
    if env is not None:
        config = config.model_copy(update={"env": env})
    folder = new_run(config, str(path))
    folder.begin(config, None)
    plan = plan_training(EXECUTION, config.mappo)
    (actor,) = plan.actors
    meta = CheckpointMeta(0, 0, 0.0, "x", EXECUTION.digest, [], "x", {})
    save_checkpoint(path, {}, plan, {actor.name: actor.build()}, meta, 1)
    return path, config


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
