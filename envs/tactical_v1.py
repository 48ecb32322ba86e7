"""`from envs import tactical_v1`: PettingZoo's two faces of the tactical environment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.splits import Split
from configs.tactical import TacticalConfig
from envs.tactical.faces import TacticalAECEnv, TacticalParallelEnv

__all__ = ["env", "parallel_env"]


def parallel_env(
    config: TacticalConfig | None = None,
    seed: int | None = None,
    split: Split = "train",
    above: NDArray[np.float64] | None = None,
    render_mode: str | None = None,
) -> TacticalParallelEnv:
    """The three agents act at once; `upstream` is zero and the joint action is taken whole."""
    return TacticalParallelEnv(config, seed, split, above, render_mode)


def env(
    config: TacticalConfig | None = None,
    seed: int | None = None,
    split: Split = "train",
    above: NDArray[np.float64] | None = None,
    render_mode: str | None = None,
) -> TacticalAECEnv:
    """The three agents act in turn; `observe()` shows each what those before it chose."""
    return TacticalAECEnv(config, seed, split, above, render_mode)
