"""N episodes of an analytic market."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.analytic import AnalyticConfig
from configs.loading import load_config
from envs.analytic.kernel import (
    METRICS,
    REWARD_TERMS,
    begin_rows,
    pin_step_arrays,
    step_arrays,
    step_rows,
)
from envs.barwise.batched import BatchedBars
from signals.analytic import analytic_layout
from signals.noise import mix

_CONSTANT = frozenset({"law", "terms_of_trade", "decision", "rules"})  # what no step writes


class BatchedAnalytic(BatchedBars):
    """See `envs.barwise.batched.BatchedBars`.

    Args:
        config: the market; its defaults where None.
        num_envs: N.
        seed: row n plays the seed hash(seed, n), which does not depend on N.
    """

    def __init__(
        self, config: AnalyticConfig | None = None, num_envs: int = 1, seed: int = 0
    ) -> None:
        self.config = config or AnalyticConfig()
        pinned = pin_step_arrays(step_arrays(self.config, num_envs))
        layout = analytic_layout(self.config.name)
        super().__init__(
            layout, METRICS, pinned, _CONSTANT, begin_rows, step_rows, REWARD_TERMS, seed
        )

    @property
    def clusters(self) -> NDArray[np.int64]:
        """See `BatchedEnv.clusters`: an episode's chance is that of its seed and number."""
        arrays = self.arrays
        return mix(arrays.seeds ^ mix(arrays.episodes.astype(np.uint64))).view(np.int64)

    def _state(self) -> dict[str, Any]:
        """Every array that the next step depends on, by name."""
        found = {
            name: value
            for name, value in self.arrays._asdict().items()
            if name not in self._constant
        }
        return found | {"truncations": self.truncations, "seeded": self._seeded}


def make_batched(
    num_envs: int, seed: int = 0, config: AnalyticConfig | dict[str, Any] | None = None
) -> BatchedAnalytic:
    """Make N analytic episodes; `config` may be plain data, as it travels to workers.

    Raises:
        ConfigError: plain data that is no `AnalyticConfig`.
    """
    if isinstance(config, dict):
        config = load_config(AnalyticConfig, config)
    return BatchedAnalytic(config, num_envs, seed)
