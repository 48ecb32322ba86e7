"""What no check of names and widths shows: networks that load and cannot be run here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from cascade.models import Models, load_model
from configs.errors import ArtefactError
from tests.cascade.layers import layer_artefact

TWO = ("tactical", "execution")


def _one_row_alone(model: Any) -> None:
    """A batch of one, fixed."""
    for told in [*model.graph.input, *model.graph.output]:
        dimension = told.type.tensor_type.shape.dim[0]
        dimension.ClearField("dim_param")
        dimension.dim_value = 1


def _doubles(model: Any) -> None:
    """Answers of another type."""
    for told in model.graph.output:
        name = f"{told.name}_single"
        for node in model.graph.node:
            for index, output in enumerate(node.output):
                if output == told.name:
                    node.output[index] = name
        cast = helper.make_node("Cast", [name], [told.name], to=TensorProto.DOUBLE)
        model.graph.node.append(cast)
        told.type.tensor_type.elem_type = TensorProto.DOUBLE


def _altered(folder: Path, layer: str, alter: Callable[[Any], None]) -> Path:
    """An artefact whose network is another, its manifest true of it."""
    layer_artefact(folder, layer, 1)
    file, manifest = folder / "policy.onnx", folder / "manifest.json"
    model = onnx.load(file)
    alter(model)
    onnx.save(model, file)
    told = json.loads(manifest.read_text())
    told["onnx_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    if "policy" in told.get("graphs", {}):
        told["graphs"]["policy"]["sha256"] = told["onnx_sha256"]
    manifest.write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    ("layer", "alter"),
    [("tactical", _one_row_alone), ("tactical", _doubles), ("execution", _doubles)],
)
def test_a_network_that_cannot_be_run_is_refused(
    tmp_path: Path, layer: str, alter: Callable[[Any], None]
) -> None:
    with pytest.raises(ArtefactError, match="its network fails on its first rows"):
        load_model(layer, _altered(tmp_path / layer, layer, alter))


def test_one_that_is_staged_leaves_the_one_before_it_at_work(tmp_path: Path) -> None:
    models = Models(
        {layer: load_model(layer, layer_artefact(tmp_path / layer, layer, 1)) for layer in TWO}
    )
    before = models.active["tactical"]
    models.stage("tactical", _altered(tmp_path / "other", "tactical", _one_row_alone))
    found = None
    while found is None:
        found = models.ready()
    models.close()
    assert found[0] == "tactical" and isinstance(found[1], ArtefactError)
    assert models.active["tactical"] is before
