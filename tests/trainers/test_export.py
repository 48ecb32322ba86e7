"""Export: one file, equal to torch, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from cascade.artefact import MANIFEST_FILE, POLICY, POLICY_FILE, graph_file, load_artefact
from cascade.graphs import ACTIONS, PROBABILITIES, ROWS, SAMPLING
from cascade.policy import OnnxPolicy
from configs.actors import ActorConfig
from configs.errors import ArtefactError, RequestError
from policies.sequential import SequentialPolicy
from signals.layout import ActionComponent, AgentLayout, Column, LayerLayout
from signals.noise import joint_noise
from trainers import export
from trainers.export import export_policy, measure_parity
from trainers.graphs import OPSET, TracedPolicy
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


def test_the_artefact_is_three_files_with_the_weights_inside(artefact: Path) -> None:
    graphs = {POLICY_FILE, graph_file(SAMPLING)}
    assert {path.name for path in artefact.iterdir()} == {*graphs, MANIFEST_FILE}
    for name in graphs:
        model = onnx.load(str(artefact / name))
        onnx.checker.check_model(model)
        assert [entry.version for entry in model.opset_import if entry.domain == ""] == [OPSET]
    assert list(artefact.parent.iterdir()) == [artefact]  # no temporary folder is left


def test_the_artefact_says_nothing_of_where_it_was_made(artefact: Path) -> None:
    for name in (POLICY_FILE, graph_file(SAMPLING)):
        content = (artefact / name).read_bytes()
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


def test_samples_are_those_of_torch_for_the_same_noise(artefact: Path) -> None:
    onnx_policy = OnnxPolicy(load_artefact(artefact, LAYOUT))
    count = 400
    rows = np.random.default_rng(4).uniform(-1, 1, (count, LAYOUT.row_width)).astype(np.float32)
    noise = joint_noise(LAYOUT, np.arange(count, dtype=np.uint64), np.zeros(count, np.int64))
    with torch.no_grad():
        expected = trained().act(torch.from_numpy(rows), torch.from_numpy(noise)).actions.numpy()
    sampled = onnx_policy.sample(rows, noise)
    np.testing.assert_allclose(sampled, expected, atol=export.PARITY_TOLERANCE)
    assert (np.abs(sampled - onnx_policy.act(rows)) > 0.01).any(axis=1).mean() > 0.9
    alone = np.concatenate([onnx_policy.sample(rows[i : i + 1], noise[i : i + 1]) for i in (0, 7)])
    np.testing.assert_allclose(alone, sampled[[0, 7]], atol=export.BATCH_TOLERANCE)
    # No noise is the mode, bit by bit.
    np.testing.assert_array_equal(
        onnx_policy.sample(rows, np.zeros_like(noise)), onnx_policy.act(rows)
    )
    with pytest.raises(RequestError, match=r"noise has shape \(400, 8\), expected .*\[400, 9\]"):
        onnx_policy.sample(rows, noise[:, :-1])


def test_a_bound_graph_decides_what_the_policy_decides(artefact: Path) -> None:
    onnx_policy = OnnxPolicy(load_artefact(artefact, LAYOUT))
    rows = np.random.default_rng(5).uniform(-1, 1, (6, LAYOUT.row_width)).astype(np.float32)
    bound = onnx_policy.bound(count=2)
    for pair in rows.reshape(3, 2, -1):
        bound.inputs[ROWS][:] = pair
        bound.run()
        decided = onnx_policy.decide(pair)
        np.testing.assert_array_equal(bound.outputs[ACTIONS], decided.actions)
        np.testing.assert_array_equal(bound.outputs[PROBABILITIES], decided.probabilities)


def test_a_policy_without_dropout_has_no_doubts(artefact: Path) -> None:
    onnx_policy = OnnxPolicy(load_artefact(artefact, LAYOUT))
    assert not onnx_policy.doubts
    with pytest.raises(ArtefactError, match=r"no graph 'uncertainty'.*dropout.rate"):
        onnx_policy.doubt(np.zeros((1, LAYOUT.row_width), np.float32))


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
    TracedPolicy(policy).outputs(torch.zeros(2, LAYOUT.row_width))
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
    other = {name: (artefact / graph_file(name)).read_bytes() for name in (POLICY, SAMPLING)}
    monkeypatch.setattr(export, "to_onnx", lambda traced: other)
    with pytest.raises(ArtefactError, match="decision in mode from torch's differs"):
        export_policy(trained(5), LAYOUT, tmp_path / "artefact", FIELDS)
    assert list(tmp_path.iterdir()) == []


def test_rows_without_a_clear_choice_are_left_out_and_counted(artefact: Path) -> None:
    """Where two choices are equally likely, either argmax is right."""
    onnx_policy = OnnxPolicy(load_artefact(artefact, LAYOUT))
    traced = TracedPolicy(trained())
    rows = np.random.default_rng(3).uniform(-1, 1, (50, LAYOUT.row_width)).astype(np.float32)
    assert measure_parity(traced, onnx_policy, rows).near_ties == 0
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
