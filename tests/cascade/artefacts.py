"""A small layout, and an artefact of it built by hand: the cascade's tests need no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cascade.artefact import MANIFEST_FILE, POLICY_FILE
from signals.layout import ActionComponent, AgentLayout, Column, LayerLayout


def column(name: str) -> Column:
    return Column(name, "1", -1.0, 1.0, "test")


SMALL = LayerLayout(
    layer="toy",
    shared=(column("spread"), column("depth")),
    agents=(
        AgentLayout("sizer", (column("left"),), "box", (ActionComponent("share", "size"),)),
        AgentLayout(
            "guard",
            (column("risk"),),
            "discrete",
            (ActionComponent("GO", "on"), ActionComponent("STOP", "off")),
        ),
    ),
)


def small_model(bias: float = 0.0) -> bytes:
    """rows @ W -> [action of sizer, logit of GO, logit of STOP] as an ONNX graph."""
    weight = np.linspace(-1.0, 1.0, SMALL.row_width * 3, dtype=np.float32).reshape(-1, 3)
    nodes = [
        helper.make_node("MatMul", ["rows", "weight"], ["linear"]),
        helper.make_node("Add", ["linear", "bias"], ["out"]),
        helper.make_node("Split", ["out", "sizes"], ["box", "logits"], axis=1),
        helper.make_node("Sigmoid", ["box"], ["share"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["index"], axis=1, keepdims=1),
        helper.make_node("Cast", ["index"], ["choice"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["share", "choice"], ["actions"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", SMALL.row_width])],
        [
            helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["n", SMALL.action_width]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2]),
        ],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.full(3, bias, dtype=np.float32), "bias"),
            numpy_helper.from_array(np.array([1, 2], dtype=np.int64), "sizes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def manifest_fields(layout: LayerLayout, model: bytes) -> dict[str, Any]:
    return {
        "format_version": 1,
        "layer": layout.layer,
        "env_id": layout.env_id,
        "market": "test",
        "columns": layout.table(),
        "digest": layout.digest,
        "config": {"lot": 1},
        "seed": 0,
        "commit": "none",
        "versions": {"torch": "0"},
        "metrics": {"shortfall_bp": 1.5},
        "parity": {
            "rows": 1,
            "near_ties": 0,
            "max_abs_difference": 0.0,
            "max_abs_batch_difference": 0.0,
        },
        "onnx_sha256": hashlib.sha256(model).hexdigest(),
        "created": "2026-01-01T00:00:00+00:00",
        "beats_baseline": None,
    }


def write_artefact(
    folder: Path, layout: LayerLayout = SMALL, model: bytes | None = None, **changed: Any
) -> Path:
    """A whole artefact at `folder`, with fields of its manifest `changed`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = small_model() if model is None else model
    (folder / POLICY_FILE).write_bytes(content)
    fields = {**manifest_fields(layout, content), **changed}
    (folder / MANIFEST_FILE).write_text(json.dumps(fields))
    return folder
