"""Tiny artefacts of the strategic and the tactical layer, exported without a training.

Their environments are small: few bars, short windows, a quiet market, so that a table of what
they say takes a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cascade.artefact import REGIME_MODEL_FILE, Manifest, TrainedOn
from configs.actors import ActorConfig
from configs.execution import ExecutionConfig
from configs.loading import load_config
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from envs.barwise.data import slow_data
from policies.sequential import SequentialPolicy
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL
from trainers.export import export_policy
from trainers.upstream.dates import trained_on

SPREAD = 0.5  # of weights
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
    "series": {"bars": 3_000, "seed": 1},
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


def export_strategic(folder: Path, **manifest: Any) -> Manifest:
    """An untrained strategic artefact, which says that it was trained on bars of seed 1."""
    config = load_config(StrategicConfig, STRATEGIC_ENV)
    model = slow_data(config, "train").model
    told = _fields(config, "strategic_v0") | manifest
    policy = _varied(SequentialPolicy(STRATEGIC, ActorConfig(hidden=(8,)), seed=5))
    return export_policy(
        policy, STRATEGIC, folder, told, companions={REGIME_MODEL_FILE: model.save}
    )


def export_tactical(folder: Path, **manifest: Any) -> Manifest:
    """An untrained tactical artefact, which says that it was trained on bars of seed 2."""
    told = _fields(load_config(TacticalConfig, TACTICAL_ENV), "tactical_v0") | manifest
    policy = _varied(SequentialPolicy(TACTICAL, ActorConfig(hidden=(8,)), seed=6))
    return export_policy(policy, TACTICAL, folder, told)


def _varied(policy: SequentialPolicy) -> SequentialPolicy:
    """With weights large enough that its choices differ from bar to bar."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * SPREAD)
    return policy


def _fields(config: StrategicConfig | TacticalConfig, env_id: str) -> Mapping[str, Any]:
    dates: TrainedOn | None = trained_on(config)
    return {
        "env_id": env_id,
        "market": config.market.name,
        "config": {"env": config.model_dump(mode="json")},
        "seed": 0,
        "commit": "none",
        "versions": {},
        "metrics": {},
        "trained_on": dates,
    }
