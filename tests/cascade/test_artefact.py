"""Every way in which an artefact can be missing, damaged or foreign is one clear error."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade.artefact import MANIFEST_FILE, POLICY_FILE, load_artefact
from cascade.policy import OnnxPolicy
from configs.errors import ArtefactError, RequestError
from signals.layout import LayerLayout
from tests.cascade.artefacts import SMALL, column, small_model, write_artefact


def test_a_whole_artefact_loads_and_decides(tmp_path: Path) -> None:
    artefact = load_artefact(write_artefact(tmp_path / "a"), SMALL)
    rows = np.random.default_rng(0).uniform(-1, 1, (7, SMALL.row_width)).astype(np.float32)
    decision = OnnxPolicy(artefact).decide(rows)
    weight = np.linspace(-1.0, 1.0, SMALL.row_width * 3, dtype=np.float32).reshape(-1, 3)
    out = rows @ weight
    np.testing.assert_allclose(decision.actions[:, 0], 1 / (1 + np.exp(-out[:, 0])), atol=1e-6)
    np.testing.assert_array_equal(decision.actions[:, 1], out[:, 1:].argmax(axis=1))
    np.testing.assert_allclose(decision.probabilities.sum(axis=1), 1.0, atol=1e-6)


FACTS = {"sha256": "0" * 64, "inputs": {"rows": 4}, "outputs": {"actions": 2, "probabilities": 2}}


def second_format(folder: Path, **changed: Any) -> Path:
    """An artefact of format 2: the policy, and a second graph that only its name tells from it."""
    model = small_model()
    facts = {**FACTS, "sha256": hashlib.sha256(model).hexdigest()} | changed
    graphs = {"policy": facts, "sampling": facts}
    write_artefact(folder, model=model, format_version=2, graphs=graphs)
    (folder / "sampling.onnx").write_bytes(model)
    return folder


def test_the_second_format_loads_and_decides(tmp_path: Path) -> None:
    artefact = load_artefact(second_format(tmp_path / "a"), SMALL)
    assert set(artefact.others) == {"sampling"}
    rows = np.zeros((3, SMALL.row_width), np.float32)
    first = OnnxPolicy(load_artefact(write_artefact(tmp_path / "b"), SMALL))
    assert np.array_equal(OnnxPolicy(artefact).decide(rows).actions, first.decide(rows).actions)


def test_the_first_format_says_what_it_lacks(tmp_path: Path) -> None:
    policy = OnnxPolicy(load_artefact(write_artefact(tmp_path / "a"), SMALL))
    rows = np.zeros((1, SMALL.row_width), np.float32)
    with pytest.raises(ArtefactError, match="no graph 'sampling', only policy; export it again"):
        policy.sample(rows, np.zeros((1, SMALL.noise_width), np.float32))


def test_a_further_graph_is_verified_as_the_policy_is(tmp_path: Path) -> None:
    folder = second_format(tmp_path / "a")
    rows, noise = np.zeros((1, SMALL.row_width)), np.zeros((1, SMALL.noise_width))
    with pytest.raises(ArtefactError, match=r"sampling.onnx has by its manifest inputs"):
        OnnxPolicy(load_artefact(folder, SMALL)).sample(rows, noise)
    (folder / "sampling.onnx").write_bytes(b"0")
    with pytest.raises(ArtefactError, match=r"sampling.onnx is damaged"):
        load_artefact(folder, SMALL)
    (folder / "sampling.onnx").unlink()
    with pytest.raises(ArtefactError, match=r"sampling.onnx is missing"):
        load_artefact(folder, SMALL)


def test_a_manifest_that_misstates_its_graph_is_refused(tmp_path: Path) -> None:
    folder = second_format(tmp_path / "a", outputs={"actions": 3})
    with pytest.raises(ArtefactError, match=r"policy.onnx has by its manifest .*'actions': 3"):
        OnnxPolicy(load_artefact(folder, SMALL))


@pytest.mark.parametrize("missing", [MANIFEST_FILE, POLICY_FILE])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    folder = write_artefact(tmp_path / "a")
    (folder / missing).unlink()
    with pytest.raises(ArtefactError, match=f"{missing} is missing"):
        load_artefact(folder, SMALL)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no artefact at .*nowhere"):
        load_artefact(tmp_path / "nowhere", SMALL)


@pytest.mark.parametrize("kept", [0, 1, 100])
def test_a_truncated_policy_is_refused(tmp_path: Path, kept: int) -> None:
    folder = write_artefact(tmp_path / "a")
    (folder / POLICY_FILE).write_bytes(small_model()[:kept])
    with pytest.raises(ArtefactError, match=r"is damaged|is empty"):
        load_artefact(folder, SMALL)


def test_one_flipped_bit_is_refused(tmp_path: Path) -> None:
    folder = write_artefact(tmp_path / "a")
    model = bytearray(small_model())
    model[len(model) // 2] ^= 1
    (folder / POLICY_FILE).write_bytes(model)
    with pytest.raises(ArtefactError, match="SHA-256"):
        load_artefact(folder, SMALL)


def test_a_file_that_is_no_model_is_refused_though_its_hash_fits(tmp_path: Path) -> None:
    artefact = load_artefact(write_artefact(tmp_path / "a", model=os.urandom(64)), SMALL)
    with pytest.raises(ArtefactError, match="not a model that ONNX Runtime loads"):
        OnnxPolicy(artefact)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe\x00", b"[" * 100_000, b'{"format_version": 1}']
)
def test_a_bad_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = write_artefact(tmp_path / "a")
    (folder / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(ArtefactError, match=MANIFEST_FILE):
        load_artefact(folder, SMALL)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"format_version": 3}, "format version 3, this version reads 1 and 2"),
        ({"format_version": 2}, "graphs none in format 2"),
        ({"graphs": {"policy": FACTS}}, "graphs policy in format 1"),
        ({"format_version": 2, "graphs": {"policy": FACTS}}, "of SHA-256 onnx_sha256"),
        ({"format_version": 2, "graphs": {"other": FACTS}}, "graphs.other"),
        ({"layer": "other"}, "of layer 'other', expected layer 'toy'"),
        ({"env_id": "toy_v9"}, "trained in toy_v9, expected toy_v0"),
        ({"seed": "x"}, "seed"),
        ({"surprise": 1}, "surprise"),
        ({"metrics": {"shortfall_bp": float("nan")}}, "shortfall_bp"),
        ({"columns": {"layer": "toy"}}, "was altered"),
    ],
)
def test_a_foreign_manifest_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    folder = write_artefact(tmp_path / "a", **changed)
    with pytest.raises(ArtefactError, match=said):
        load_artefact(folder, SMALL)


def _renamed() -> LayerLayout:
    return dataclasses.replace(SMALL, shared=(SMALL.shared[0], column("imbalance")))


def _longer() -> LayerLayout:
    guard = dataclasses.replace(SMALL.agents[1], own=(column("risk"), column("margin")))
    return dataclasses.replace(SMALL, agents=(SMALL.agents[0], guard))


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (_renamed(), "shared column 'name=imbalance .*expected shared column 'name=depth"),
        (_longer(), "own column of guard 'name=margin .* is unknown here"),
    ],
)
def test_other_columns_are_refused_and_the_first_is_named(
    tmp_path: Path, layout: LayerLayout, said: str
) -> None:
    folder = write_artefact(tmp_path / "a", layout=layout)
    with pytest.raises(ArtefactError, match=said):
        load_artefact(folder, SMALL)


def test_a_column_missing_from_the_artefact_is_named(tmp_path: Path) -> None:
    folder = write_artefact(tmp_path / "a")
    with pytest.raises(ArtefactError, match=r"own column of guard 'name=margin .*is missing"):
        load_artefact(folder, _longer())


def test_a_graph_of_other_widths_is_refused(tmp_path: Path) -> None:
    folder = write_artefact(tmp_path / "a", layout=_longer())
    artefact = load_artefact(folder, _longer())
    with pytest.raises(ArtefactError, match="inputs and outputs"):
        OnnxPolicy(artefact)


def test_rows_must_be_finite_and_of_the_layouts_width(tmp_path: Path) -> None:
    policy = OnnxPolicy(load_artefact(write_artefact(tmp_path / "a"), SMALL))
    rows = np.zeros((2, SMALL.row_width), dtype=np.float32)
    with pytest.raises(RequestError, match=r"shape \(2, 3\)"):
        policy.decide(rows[:, :-1])
    rows[1, 1] = np.inf
    with pytest.raises(RequestError, match="column 'depth' of row 1 is inf"):
        policy.decide(rows)


def test_a_policy_that_answers_nan_is_refused(tmp_path: Path) -> None:
    folder = write_artefact(tmp_path / "a", model=small_model(bias=float("nan")))
    policy = OnnxPolicy(load_artefact(folder, SMALL))
    with pytest.raises(ArtefactError, match="non-finite"):
        policy.decide(np.zeros((1, SMALL.row_width), dtype=np.float32))


def test_the_manifest_survives_a_round_trip(tmp_path: Path) -> None:
    folder = write_artefact(tmp_path / "a", beats_baseline=False)
    manifest = load_artefact(folder, SMALL).manifest
    assert manifest.beats_baseline is False
    assert json.loads((folder / MANIFEST_FILE).read_text()) == manifest.model_dump(mode="json")
