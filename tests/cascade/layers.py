"""Artefacts of all three layers with random linear networks, built by hand: no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cascade.artefact import REGIME_MODEL_FILE
from cascade.models import LAYERS, load_model
from configs.barwise import SeriesConfig, TacticalSeriesConfig
from configs.execution import ExecutionConfig
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from signals.expected_return import RETURN_MAP_FILE, ReturnMap
from signals.layout import LayerLayout
from signals.regime import FEATURES, STATES, RegimeModel
from tests.cascade.artefacts import write_artefact

CONFIGS: dict[str, Any] = {
    "strategic": StrategicConfig(series=SeriesConfig(bars=6000)),
    "tactical": TacticalConfig(series=TacticalSeriesConfig(bars=6000)),
    "execution": ExecutionConfig(),
}
_OPSETS = [helper.make_opsetid("", 20)]
_SCALE = 0.5  # of weights: choices change from row to row


def linear_model(layout: LayerLayout, seed: int) -> bytes:
    """rows @ weight + bias: a sigmoid for each box component, the likeliest of each choice."""
    rng = np.random.default_rng(seed)
    width = layout.noise_width
    weight = rng.normal(0.0, _SCALE / np.sqrt(layout.row_width), (layout.row_width, width))
    bias = rng.normal(0.0, _SCALE, width)
    nodes = [
        helper.make_node("MatMul", ["rows", "weight"], ["linear"]),
        helper.make_node("Add", ["linear", "bias"], ["out"]),
        helper.make_node("Split", ["out", "sizes"], [a.name for a in layout.agents], axis=1),
    ]
    actions, probabilities = [], []
    for agent in layout.agents:
        name = agent.name
        if agent.kind == "box":
            nodes.append(helper.make_node("Sigmoid", [name], [f"{name}_action"]))
        else:
            nodes += [
                helper.make_node("Softmax", [name], [f"{name}_p"], axis=1),
                helper.make_node("ArgMax", [name], [f"{name}_at"], axis=1, keepdims=1),
                helper.make_node("Cast", [f"{name}_at"], [f"{name}_action"], to=TensorProto.FLOAT),
            ]
            probabilities.append(f"{name}_p")
        actions.append(f"{name}_action")
    nodes += [
        helper.make_node("Concat", actions, ["actions"], axis=1),
        helper.make_node("Concat", probabilities, ["probabilities"], axis=1),
    ]
    discrete = sum(len(a.components) for a in layout.agents if a.kind == "discrete")
    if layout.layer == "execution":
        # EMERGENCY_STOP and CANCEL are left to tests that ask for them.
        bias[layout.noise_slice(3)] = (2.0, 1.0, 0.0, -2.0, -9.0)
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", layout.row_width])],
        [
            helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["n", layout.action_width]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", discrete]),
        ],
        [
            numpy_helper.from_array(weight.astype(np.float32), "weight"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
            numpy_helper.from_array(
                np.array([a.encoded_width for a in layout.agents], np.int64), "sizes"
            ),
        ],
    )
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def regime_model() -> RegimeModel:
    """Four states that lie apart in every feature."""
    count = len(FEATURES)
    stay, leave = 0.94, 0.02
    return RegimeModel(
        start=(1.0 / STATES,) * STATES,
        transition=tuple(
            tuple(stay if i == j else leave for j in range(STATES)) for i in range(STATES)
        ),
        mean=tuple(tuple(0.5 * (i - 1.5) for _ in range(count)) for i in range(STATES)),
        covariance=tuple(
            tuple(tuple(1.0 if i == j else 0.0 for j in range(count)) for i in range(count))
            for _ in range(STATES)
        ),
        bar_minutes=30,
        return_bars=1,
        volatility_bars=30,
        floor=1e-6,
        alarm=0.6,
        log_likelihood=0.0,
    )


def layer_artefact(folder: Path, layer: str, seed: int, returns: ReturnMap | None = None) -> Path:
    """An artefact of a layer that decides by a random linear network."""
    layout, _ = LAYERS[layer]
    changed: dict[str, Any] = {"config": {"env": CONFIGS[layer].model_dump(mode="json")}}
    folder.mkdir(parents=True, exist_ok=True)
    beside: dict[str, Any] = {}
    if layer == "strategic":
        beside[REGIME_MODEL_FILE] = regime_model().save
    if returns is not None:
        beside[RETURN_MAP_FILE] = returns.save
    for name, write in beside.items():
        write(folder / name)
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        changed.setdefault("files", {})[name] = digest
    return write_artefact(folder, layout, linear_model(layout, seed), **changed)


def loaded(folder: Path, *layers: str, seed: int = 1) -> dict[str, Any]:
    """Models of the named layers, by layer."""
    return {
        layer: load_model(layer, layer_artefact(folder / layer, layer, seed)) for layer in layers
    }
