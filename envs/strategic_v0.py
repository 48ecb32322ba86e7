"""`from envs import strategic_v0`: PettingZoo's two faces of the strategic environment."""

from __future__ import annotations

from configs.splits import Split
from configs.strategic import StrategicConfig
from envs.strategic.faces import StrategicAECEnv, StrategicParallelEnv

__all__ = ["env", "parallel_env"]


def parallel_env(
    config: StrategicConfig | None = None,
    seed: int | None = None,
    split: Split = "train",
    render_mode: str | None = None,
) -> StrategicParallelEnv:
    """The four agents act at once; `upstream` is zero and the joint action is taken whole."""
    return StrategicParallelEnv(config, seed, split, render_mode)


def env(
    config: StrategicConfig | None = None,
    seed: int | None = None,
    split: Split = "train",
    render_mode: str | None = None,
) -> StrategicAECEnv:
    """The four agents act in turn; `observe()` shows the coordinator what the others chose."""
    return StrategicAECEnv(config, seed, split, render_mode)
