"""PettingZoo's faces of the strategic environment."""

from __future__ import annotations

from configs.splits import Split
from configs.strategic import StrategicConfig
from envs.aec import LayerAECEnv
from envs.barwise.parallel import BarsParallelEnv
from envs.faces import checked_seed, fresh_seed
from envs.strategic.batched import BatchedStrategic


class StrategicParallelEnv(BarsParallelEnv):
    """One account, four agents at once.

    Args:
        config: the environment; its defaults where None.
        seed: of the first episode where `reset` is given none; drawn where None.
        split: which part of the bars episodes are cut from.
        render_mode: "rgb_array" for pictures by `render`.
    """

    def __init__(
        self,
        config: StrategicConfig | None = None,
        seed: int | None = None,
        split: Split = "train",
        render_mode: str | None = None,
    ) -> None:
        told = fresh_seed() if seed is None else checked_seed(seed)
        batch = BatchedStrategic(config, 1, told, split)
        super().__init__(batch, batch.data.tape.tick, render_mode)


class StrategicAECEnv(LayerAECEnv):
    """Strict turns over the same episode as `StrategicParallelEnv`."""

    def __init__(
        self,
        config: StrategicConfig | None = None,
        seed: int | None = None,
        split: Split = "train",
        render_mode: str | None = None,
    ) -> None:
        super().__init__(StrategicParallelEnv(config, seed, split, render_mode))
