"""PettingZoo's faces of the analytic markets."""

from __future__ import annotations

from configs.analytic import AnalyticConfig
from envs.aec import LayerAECEnv
from envs.analytic.batched import BatchedAnalytic
from envs.barwise.parallel import BarsParallelEnv
from envs.faces import checked_seed, fresh_seed


class AnalyticParallelEnv(BarsParallelEnv):
    """One position, four agents at once.

    Args:
        config: the market; its defaults where None.
        seed: of the first episode where `reset` is given none; drawn where None.
    """

    def __init__(self, config: AnalyticConfig | None = None, seed: int | None = None) -> None:
        told = fresh_seed() if seed is None else checked_seed(seed)
        super().__init__(BatchedAnalytic(config, 1, told))


class AnalyticAECEnv(LayerAECEnv):
    """Strict turns over the same episode as `AnalyticParallelEnv`."""

    def __init__(self, config: AnalyticConfig | None = None, seed: int | None = None) -> None:
        super().__init__(AnalyticParallelEnv(config, seed))
