"""PettingZoo's AECEnv face: the five agents act in turn, the market moves after the fifth."""

from __future__ import annotations

from configs.execution import ExecutionConfig
from envs.aec import LayerAECEnv
from envs.execution.parallel import ExecutionParallelEnv


class ExecutionAECEnv(LayerAECEnv):
    """Strict turns over the same episode as `ExecutionParallelEnv`."""

    def __init__(
        self,
        config: ExecutionConfig | None = None,
        seed: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(ExecutionParallelEnv(config, seed, render_mode))
