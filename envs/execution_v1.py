"""`from envs import execution_v1`: PettingZoo's two faces of the execution environment."""

from __future__ import annotations

from configs.execution import ExecutionConfig
from envs.execution.parallel import ExecutionParallelEnv
from envs.execution.sequential import ExecutionAECEnv

__all__ = ["env", "parallel_env"]


def parallel_env(
    config: ExecutionConfig | None = None,
    seed: int | None = None,
    render_mode: str | None = None,
) -> ExecutionParallelEnv:
    """The five agents act at once; `upstream` is zero and the joint action is taken whole."""
    return ExecutionParallelEnv(config, seed, render_mode)


def env(
    config: ExecutionConfig | None = None,
    seed: int | None = None,
    render_mode: str | None = None,
) -> ExecutionAECEnv:
    """The five agents act in turn; `observe()` shows each what those before it chose."""
    return ExecutionAECEnv(config, seed, render_mode)
