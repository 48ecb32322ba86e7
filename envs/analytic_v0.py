"""`from envs import analytic_v0`: PettingZoo's two faces of the analytic markets."""

from __future__ import annotations

from configs.analytic import AnalyticConfig
from envs.analytic.faces import AnalyticAECEnv, AnalyticParallelEnv

__all__ = ["env", "parallel_env"]


def parallel_env(
    config: AnalyticConfig | None = None, seed: int | None = None
) -> AnalyticParallelEnv:
    """The four agents act at once; `upstream` is zero and the joint action is taken whole."""
    return AnalyticParallelEnv(config, seed)


def env(config: AnalyticConfig | None = None, seed: int | None = None) -> AnalyticAECEnv:
    """The four agents act in turn; `observe()` shows the coordinator what the others chose."""
    return AnalyticAECEnv(config, seed)
