"""PettingZoo's faces of the tactical environment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.splits import Split
from configs.tactical import TacticalConfig
from envs.aec import LayerAECEnv
from envs.barwise.parallel import BarsParallelEnv
from envs.faces import checked_seed, fresh_seed
from envs.tactical.batched import BatchedTactical


class TacticalParallelEnv(BarsParallelEnv):
    """One account, three agents at once.

    Args:
        config: the environment; its defaults where None.
        seed: of the first episode where `reset` is given none; drawn where None.
        split: which part of the bars episodes are cut from; in "train" tilts stand for
            `TiltConfig.commitment_bars`.
        above: see `BatchedTactical`.
        render_mode: "rgb_array" for pictures by `render`.
    """

    def __init__(
        self,
        config: TacticalConfig | None = None,
        seed: int | None = None,
        split: Split = "train",
        above: NDArray[np.float64] | None = None,
        render_mode: str | None = None,
    ) -> None:
        told = fresh_seed() if seed is None else checked_seed(seed)
        batch = BatchedTactical(config, 1, told, split, above)
        super().__init__(batch, batch.data.tape.tick, render_mode)


class TacticalAECEnv(LayerAECEnv):
    """Strict turns over the same episode as `TacticalParallelEnv`."""

    def __init__(
        self,
        config: TacticalConfig | None = None,
        seed: int | None = None,
        split: Split = "train",
        above: NDArray[np.float64] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(TacticalParallelEnv(config, seed, split, above, render_mode))
