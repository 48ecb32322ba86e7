"""Checkpoints of layers that nothing was trained for."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.mappo import MappoConfig
from configs.train import LayerTraining
from market.kernels import kernel_digest
from trainers.layers import LAYERS
from trainers.mappo.checkpoint import CheckpointMeta


def write_meta(path: Path, mappo: MappoConfig, **fields: Any) -> None:
    """What a checkpoint of a first iteration says of itself, of nothing that is known here."""
    folder = path / "checkpoints" / "iteration-000001"
    folder.mkdir(parents=True)
    told = {"minutes": 0.0, "make": "nothing", "layout": "", "state_columns": [], "kernels": ""}
    config = mappo.model_dump(mode="json")
    meta = CheckpointMeta(iteration=1, env_steps=1, config=config, **{**told, **fields})
    (folder / "meta.json").write_text(json.dumps(asdict(meta)))


def unfinished(path: Path, config: LayerTraining, kernels: str | None = None) -> None:
    """A checkpoint of the layer's, as if a training had been killed after its first iteration."""
    layer = LAYERS[config.layer]
    plan = layer.plan(config.mappo)
    write_meta(
        path,
        config.mappo,
        make=layer.make,
        layout=plan.layout.digest,
        state_columns=list(plan.state_columns),
        kernels=kernels or kernel_digest(),
    )
