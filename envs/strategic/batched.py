"""N strategic episodes."""

from __future__ import annotations

from typing import Any

from configs.loading import load_config
from configs.splits import Split
from configs.strategic import StrategicConfig
from envs.barwise.batched import BatchedBars
from envs.barwise.data import SlowData, slow_data
from envs.strategic.kernel import METRICS, begin_rows, pin_step_arrays, step_arrays, step_rows
from rewards.strategic import TERMS
from signals.strategic import strategic_layout

# What no step writes; the data set is not to travel with every state.
_CONSTANT = frozenset(
    {"strategic", "regimes", "starts", "breakers", "decision", "rules", "weights"}
)


class BatchedStrategic(BatchedBars):
    """See `envs.barwise.batched.BatchedBars`.

    Args:
        config: the environment; its defaults where None.
        num_envs: N.
        seed: row n plays the seed hash(seed, n), which does not depend on N.
        split: which part of the bars episodes are cut from.
        data: the bars and their tables; those of the configuration where None.
    """

    def __init__(
        self,
        config: StrategicConfig | None = None,
        num_envs: int = 1,
        seed: int = 0,
        split: Split = "train",
        data: SlowData | None = None,
    ) -> None:
        self.config = config or StrategicConfig()
        self.data = data or slow_data(self.config, split)
        arrays = step_arrays(
            self.config,
            self.data.tape,
            self.data.strategic.values,
            self.data.regimes.values,
            self.data.starts,
            num_envs,
        )
        pinned = pin_step_arrays(arrays)
        layout = strategic_layout(self.config.study)
        super().__init__(layout, METRICS, pinned, _CONSTANT, begin_rows, step_rows, TERMS, seed)

    @property
    def data_fingerprint(self) -> str:
        """What the bars come from: a hash of the file's, or of the generator's settings."""
        return self.data.fingerprint


def make_batched(
    num_envs: int,
    seed: int = 0,
    config: StrategicConfig | dict[str, Any] | None = None,
    split: Split = "train",
) -> BatchedStrategic:
    """Make N strategic episodes; `config` may be plain data, as it travels to workers.

    Raises:
        ConfigError: plain data that is no `StrategicConfig`.
        DataError: the bars are none, or too few.
    """
    if isinstance(config, dict):
        config = load_config(StrategicConfig, config)
    return BatchedStrategic(config, num_envs, seed, split)
