"""Export: one file, equal to torch, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from cascade.artefact import MANIFEST_FILE, POLICY_FILE, load_artefact
from cascade.policy import OnnxPolicy
from configs.actors import ActorConfig
from configs.errors import ArtefactError
from policies.sequential import SequentialPolicy
from signals.layout import ActionComponent, AgentLayout, Column, LayerLayout
from trainers import export
from trainers.export import ModePolicy, export_policy, measure_parity
from trainers.torch_actor import RecordingActor, TorchActor


def columns(prefix: str, count: int) -> tuple[Column, ...]:
    return tuple(Column(f"{prefix}_{i}", "1", -1.0, 1.0, "test") for i in range(count))


def components(*names: str) -> tuple[ActionComponent, ...]:
    return tuple(ActionComponent(name, "test", name == "guess") for name in names)


LAYOUT = LayerLayout(
    layer="toy",
    shared=columns("shared", 6),
    agents=(
        AgentLayout("sizer", columns("s", 2), "box", components("a", "b")),
        AgentLayout("guard", columns("g", 1), "discrete", components("X", "Y", "Z")),
        AgentLayout("router", columns("r", 3), "discrete", components("L", "R")),
        AgentLayout("monitor", columns("m", 2), "box", components("guess", "trim")),
    ),
)
FIELDS: dict[str, Any] = {
    "env_id": "toy_v0",
    "market": "test",
    "config": {"lr": 1e-3},
    "seed": 0,
    "commit": "none",
    "versions": {"torch": torch.__version__},
    "metrics": {"shortfall_bp": 2.0},
    "beats_baseline": False,
}


def trained(seed: int = 0) -> SequentialPolicy:
    """A policy far from its near-uniform initialisation, so that choices are clear."""
    return SequentialPolicy(LAYOUT, ActorConfig(hidden=(16, 16), output_gain=3.0), seed=seed)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "artefact"
    rows = np.random.default_rng(0).uniform(-1, 1, (40, LAYOUT.row_width)).astype(np.float32)
    manifest = export_policy(trained(), LAYOUT, folder, FIELDS, rows)
    assert manifest.parity.rows == export.RANDOM_ROWS + 40
    return folder


def test_the_artefact_is_two_files_with_the_weights_inside(artefact: Path) -> None:
    assert {path.name for path in artefact.iterdir()} == {POLICY_FILE, MANIFEST_FILE}
    model = onnx.load(str(artefact / POLICY_FILE))
    onnx.checker.check_model(model)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [export.OPSET]
    assert list(artefact.parent.iterdir()) == [artefact]  # no temporary folder is left


def test_the_artefact_says_nothing_of_where_it_was_made(artefact: Path) -> None:
    content = (artefact / POLICY_FILE).read_bytes()
    assert str(Path(export.__file__).parent.parent).encode() not in content
    assert b"site-packages" not in content


def test_the_exported_policy_equals_torch_for_any_batch(artefact: Path) -> None:
    onnx_policy = OnnxPolicy(load_artefact(artefact, LAYOUT))
    rows = np.random.default_rng(1).uniform(-1, 1, (33, LAYOUT.row_width)).astype(np.float32)
    actions = TorchActor(trained()).act(rows)
    np.testing.assert_allclose(onnx_policy.act(rows), actions, atol=export.PARITY_TOLERANCE)
    for row in range(5):
        alone = onnx_policy.act(rows[row : row + 1])
        np.testing.assert_allclose(alone[0], actions[row], atol=export.PARITY_TOLERANCE)


def test_probabilities_are_each_discrete_agents_own(artefact: Path) -> None:
    rows = np.random.default_rng(2).uniform(-1, 1, (20, LAYOUT.row_width)).astype(np.float32)
    decision = OnnxPolicy(load_artefact(artefact, LAYOUT)).decide(rows)
    acted = trained().act(torch.from_numpy(rows), None)
    for k, columns_of in ((1, slice(0, 3)), (2, slice(3, 5))):
        p = decision.probabilities[:, columns_of]
        np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-6)
        chosen = decision.actions[:, LAYOUT.action_slice(k)].ravel().astype(int)
        np.testing.assert_array_equal(chosen, p.argmax(axis=1))
        log_prob = acted.log_prob[:, k].detach().numpy()
        np.testing.assert_allclose(np.log(p.max(axis=1)), log_prob, atol=1e-5)


def test_exporting_leaves_the_trained_policy_as_it_was() -> None:
    policy = trained()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    mode = ModePolicy(policy)
    mode(torch.zeros(2, LAYOUT.row_width))
    assert policy.training and type(policy) is SequentialPolicy
    for name, value in policy.state_dict().items():
        assert torch.equal(value, before[name])


def test_an_existing_artefact_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "artefact"
    export_policy(trained(0), LAYOUT, folder, FIELDS)
    first = (folder / POLICY_FILE).read_bytes()
    export_policy(trained(1), LAYOUT, folder, {**FIELDS, "seed": 1})
    assert (folder / POLICY_FILE).read_bytes() != first
    assert json.loads((folder / MANIFEST_FILE).read_text())["seed"] == 1
    assert list(tmp_path.iterdir()) == [folder]


def test_a_graph_that_differs_from_torch_is_never_written(
    tmp_path: Path, artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = (artefact / POLICY_FILE).read_bytes()
    monkeypatch.setattr(export, "to_onnx", lambda mode, width: other)
    with pytest.raises(ArtefactError, match="differs from torch"):
        export_policy(trained(5), LAYOUT, tmp_path / "artefact", FIELDS)
    assert list(tmp_path.iterdir()) == []


def test_rows_without_a_clear_choice_are_left_out_and_counted(artefact: Path) -> None:
    """Where two choices are equally likely, either argmax is right."""
    onnx_policy = OnnxPolicy(load_artefact(artefact, LAYOUT))
    mode = ModePolicy(trained())
    rows = np.random.default_rng(3).uniform(-1, 1, (50, LAYOUT.row_width)).astype(np.float32)
    assert measure_parity(mode, onnx_policy, rows).near_ties == 0
    probabilities = np.array([[0.4, 0.4, 0.2, 0.9, 0.1], [0.5, 0.3, 0.2, 0.9, 0.1]], np.float32)
    assert export._near_ties(LAYOUT, probabilities).tolist() == [True, False]


def test_the_recorder_keeps_copies_of_the_first_rows() -> None:
    actor = RecordingActor(TorchActor(trained()), limit=5)
    rows = np.ones((3, LAYOUT.row_width), dtype=np.float32)
    actor.reset(3)
    first = actor.act(rows)
    rows *= 0.5
    actor.act(rows)
    assert actor.rows.shape == (5, LAYOUT.row_width)
    np.testing.assert_array_equal(actor.rows[:, 0], [1, 1, 1, 0.5, 0.5])
    assert first.shape == (3, LAYOUT.action_width) and first.dtype == np.float32
