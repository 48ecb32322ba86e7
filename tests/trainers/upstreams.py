"""Tiny artefacts of the strategic and the tactical layer, built by hand without a training.

Their environments are small: few bars, short windows, a quiet market, so that a table of what
they say takes a second.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cascade.artefact import REGIME_MODEL_FILE, TrainedOn
from configs.execution import ExecutionConfig
from configs.loading import load_config
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from envs.barwise.data import slow_data
from signals.layout import LayerLayout
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL
from tests.cascade.artefacts import write_artefact
from trainers.upstream.dates import trained_on

SPREAD = 4.0  # of logits, so that choices differ from bar to bar
BARS = 9_000  # of five minutes
SIGNALS = {
    "mmd": {"recent": 20, "reference": 60},
    "scaling": {"zscore_window": 60, "zscore_least": 20},
    "mlmi": {"neighbours": 10},
    "regime": {"restarts": 1, "iterations": 5, "return_bars": 10, "volatility_bars": 10},
}
QUIET = {"flow": {"arrivals": {"messages_per_second": 0.5}}}
STRATEGIC_ENV = {
    "horizon_bars": 12,
    "slices": 3,
    "series": {"bars": 3_000, "seed": 1, "purge_bars": 12, "embargo_bars": 0},
    "signals": SIGNALS,
    "market": QUIET,
}
TACTICAL_ENV = {
    "horizon_bars": 12,
    "slices": 3,
    "series": {"bars": BARS, "seed": 2},
    "signals": SIGNALS,
    "market": QUIET,
}
EXECUTION_ENV = {
    "parent": {"horizon_steps": 5},
    "upstream": {"series": {"bars": BARS, "seed": 3}},
    "market": QUIET,
}


def tactical_config(strategic: Path, **changed: Any) -> TacticalConfig:
    """A run of the tactical layer, on bars of its own, under an artefact."""
    upstream = {"upstream": {"strategic": str(strategic)}}
    return load_config(TacticalConfig, TACTICAL_ENV, {"series": {"seed": 4}}, upstream, changed)


def execution_config(strategic: Path, tactical: Path, **changed: Any) -> ExecutionConfig:
    """A run of the execution layer under both artefacts."""
    upstream = {"upstream": {"strategic": str(strategic), "tactical": str(tactical)}}
    return load_config(ExecutionConfig, EXECUTION_ENV, upstream, changed)


def export_strategic(folder: Path, **manifest: Any) -> Path:
    """A strategic artefact with random weights, which says that it was trained on seed 1."""
    config = load_config(StrategicConfig, STRATEGIC_ENV)
    folder.mkdir(parents=True)
    model = folder / REGIME_MODEL_FILE
    slow_data(config, "train").model.save(model)
    files = {model.name: hashlib.sha256(model.read_bytes()).hexdigest()}
    return _write(folder, STRATEGIC, config, files=files, **manifest)


def export_tactical(folder: Path, **manifest: Any) -> Path:
    """A tactical artefact with random weights, which says that it was trained on seed 2."""
    return _write(folder, TACTICAL, load_config(TacticalConfig, TACTICAL_ENV), **manifest)


def _write(
    folder: Path, layout: LayerLayout, config: StrategicConfig | TacticalConfig, **manifest: Any
) -> Path:
    dates: TrainedOn | None = trained_on(config)
    assert dates is not None
    told = {
        "config": {"env": config.model_dump(mode="json")},
        "trained_on": dates.model_dump(mode="json"),
        **manifest,
    }
    return write_artefact(folder, layout, random_model(layout), **told)


def random_model(layout: LayerLayout, seed: int = 7) -> bytes:
    """Every agent's choice by a linear map of the row and its mask, as an ONNX graph."""
    rng = np.random.default_rng(seed)
    nodes, weights, actions, probabilities = [], [], [], []

    def constant(name: str, value: Any) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    far = constant("far", np.array(1e6, np.float32))
    one = constant("one", np.array(1.0, np.float32))
    for k, agent in enumerate(layout.agents):
        shape = (layout.row_width, len(agent.components))
        scale = rng.normal(0.0, SPREAD, shape) / np.sqrt(layout.row_width)
        map_ = constant(f"weight{k}", scale.astype(np.float32))
        nodes.append(helper.make_node("MatMul", ["rows", map_], [f"free{k}"]))
        logits = f"free{k}"
        if agent.mask:
            places = constant(f"places{k}", layout.mask_indices(k))
            nodes += [
                helper.make_node("Gather", ["rows", places], [f"may{k}"], axis=1),
                helper.make_node("Sub", [f"may{k}", one], [f"not{k}"]),
                helper.make_node("Mul", [f"not{k}", far], [f"bar{k}"]),
                helper.make_node("Add", [logits, f"bar{k}"], [f"logits{k}"]),
            ]
            logits = f"logits{k}"
        nodes += [
            helper.make_node("Softmax", [logits], [f"p{k}"], axis=1),
            helper.make_node("ArgMax", [logits], [f"index{k}"], axis=1, keepdims=1),
            helper.make_node("Cast", [f"index{k}"], [f"choice{k}"], to=TensorProto.FLOAT),
        ]
        actions.append(f"choice{k}")
        probabilities.append(f"p{k}")
    nodes.append(helper.make_node("Concat", actions, ["actions"], axis=1))
    nodes.append(helper.make_node("Concat", probabilities, ["probabilities"], axis=1))
    widths = {"rows": layout.row_width, "actions": layout.action_width}
    widths["probabilities"] = layout.noise_width
    tensors = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in widths.items()
    }
    graph = helper.make_graph(
        nodes, "random", [tensors.pop("rows")], list(tensors.values()), weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
