"""Checkpoints of layers that nothing was trained for."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from configs.train import LayerTraining
from market.kernels import kernel_digest
from trainers.layers import LAYERS
from trainers.mappo.checkpoint import CheckpointMeta


def unfinished(path: Path, config: LayerTraining, kernels: str | None = None) -> None:
    """A checkpoint of the layer's, as if a training had been killed after its first iteration."""
    folder = path / "checkpoints" / "iteration-000001"
    folder.mkdir(parents=True)
    layer = LAYERS[config.layer]
    plan = layer.plan(config.mappo)
    meta = CheckpointMeta(
        iteration=1,
        env_steps=1,
        minutes=0.0,
        make=layer.make,
        layout=plan.layout.digest,
        state_columns=list(plan.state_columns),
        kernels=kernels or kernel_digest(),
        config=config.mappo.model_dump(mode="json"),
    )
    (folder / "meta.json").write_text(json.dumps(asdict(meta)))
