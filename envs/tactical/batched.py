"""N tactical episodes."""

from __future__ import annotations

from typing import Any

from configs.loading import load_config
from configs.splits import Split
from configs.tactical import TacticalConfig
from envs.barwise.batched import BatchedBars
from envs.barwise.fast import fast_data
from envs.tactical.kernel import METRICS, begin_rows, pin_step_arrays, step_arrays, step_rows
from rewards.tactical import TERMS
from signals.tactical import TACTICAL

# What no step writes; the data set is not to travel with every state.
_CONSTANT = frozenset({"tactical", "ranges", "starts", "breakers", "decision", "rules", "weights"})


class BatchedTactical(BatchedBars):
    """See `envs.barwise.batched.BatchedBars`.

    Args:
        config: the environment; its defaults where None.
        num_envs: N.
        seed: row n plays the seed hash(seed, n), which does not depend on N.
        split: which part of the bars episodes are cut from.
    """

    def __init__(
        self,
        config: TacticalConfig | None = None,
        num_envs: int = 1,
        seed: int = 0,
        split: Split = "train",
    ) -> None:
        self.config = config or TacticalConfig()
        self.data = fast_data(self.config, split)
        arrays = step_arrays(
            self.config,
            self.data.tape,
            self.data.tactical.values,
            self.data.ranges,
            self.data.starts,
            num_envs,
        )
        pinned = pin_step_arrays(arrays)
        super().__init__(TACTICAL, METRICS, pinned, _CONSTANT, begin_rows, step_rows, TERMS, seed)

    @property
    def data_fingerprint(self) -> str:
        """What the bars come from: a hash of the file's, or of the generator's settings."""
        return self.data.fingerprint


def make_batched(
    num_envs: int,
    seed: int = 0,
    config: TacticalConfig | dict[str, Any] | None = None,
    split: Split = "train",
) -> BatchedTactical:
    """Make N tactical episodes; `config` may be plain data, as it travels to workers.

    Raises:
        ConfigError: plain data that is no `TacticalConfig`.
        DataError: the bars are none, or too few.
    """
    if isinstance(config, dict):
        config = load_config(TacticalConfig, config)
    return BatchedTactical(config, num_envs, seed, split)
