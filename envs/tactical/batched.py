"""N tactical episodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from configs.loading import load_config
from configs.splits import Split
from configs.tactical import TacticalConfig
from envs.barwise.batched import BatchedBars
from envs.barwise.fast import FastData, fast_data
from envs.tactical.arrays import METRICS, pin_step_arrays, step_arrays
from envs.tactical.kernel import begin_rows, step_rows
from rewards.tactical import TERMS
from signals.tactical import TACTICAL

# What no step writes; the data set is not to travel with every state.
_CONSTANT = frozenset(
    {
        "tactical",
        "ranges",
        "expected",
        "starts",
        "breakers",
        "decision",
        "rules",
        "weights",
        "above",
    }
)


class BatchedTactical(BatchedBars):
    """See `envs.barwise.batched.BatchedBars`.

    Args:
        config: the environment; its defaults where None.
        num_envs: N.
        seed: row n plays the seed hash(seed, n), which does not depend on N.
        split: which part of the bars episodes are cut from; in "train" tilts stand for
            `TiltConfig.commitment_bars`, unless `judged`.
        above: what the configuration's strategic artefact says before each bar, float64
            [bars, ABOVE_WIDTH] (`envs.tactical.upstream`), NaN where it says nothing; episodes
            play where it does. `trainers.upstream` computes it; None where it is sampled.
        judged: what is played is to be told or heard, not learnt from: every bar is free.

    Raises:
        ConfigError: an artefact is configured and its table is not given, or the other way about.
        DataError: the bars are none, or too few, or the artefact says nothing of any episode's.
    """

    def __init__(
        self,
        config: TacticalConfig | None = None,
        num_envs: int = 1,
        seed: int = 0,
        split: Split = "train",
        above: NDArray[np.float64] | None = None,
        judged: bool = False,
    ) -> None:
        self.config = config or TacticalConfig()
        self.data = fast_data(self.config, split)
        _check_above(self.config, above)
        if above is not None:
            self.data = under_artefact(self.data, above, self.config.horizon_bars)
        arrays = step_arrays(
            self.config,
            self.data.tape,
            self.data.tactical.values,
            self.data.ranges,
            self.data.expected,
            self.data.starts,
            num_envs,
            above,
            training=split == "train" and not judged,
        )
        pinned = pin_step_arrays(arrays)
        super().__init__(TACTICAL, METRICS, pinned, _CONSTANT, begin_rows, step_rows, TERMS, seed)

    @property
    def data_fingerprint(self) -> str:
        """What the bars come from: a hash of the file's, or of the generator's settings."""
        return self.data.fingerprint


def _check_above(config: TacticalConfig, above: NDArray[np.float64] | None) -> None:
    told = config.upstream.strategic
    if config.upstream.loaded == (above is not None):
        return
    if above is not None:
        raise ConfigError(
            f"upstream.strategic={told} and a table of an artefact's decisions: expected the "
            "artefact's folder in the configuration; name it there, or leave the table out"
        )
    raise ConfigError(
        f"upstream.strategic={told}: expected what it decides, as a table by bar; make the "
        "environment by trainers.upstream:make_tactical, which loads the artefact, or give "
        "trainers.upstream:strategic_table of this configuration as `above`"
    )


def under_artefact(data: FastData, above: NDArray[np.float64], horizon: int) -> FastData:
    """The data with those starts alone whose episodes play bars that the artefact speaks of.

    Raises:
        DataError: there is none.
    """
    silent = np.concatenate([[0], np.cumsum(np.isnan(above).any(axis=1))])
    # From the close of bar s bars s + 1 to s + horizon are played.
    first = data.starts + 1
    starts = data.starts[silent[first + horizon] == silent[first]]
    if not starts.size:
        raise DataError(
            f"the split ({data.rows}) holds no run of {horizon} bars that the strategic artefact "
            "decides about, whose windows of longer bars must be whole: expected one at least; "
            "give more bars, or a larger share to the split"
        )
    return replace(data, starts=starts)


def make_batched(
    num_envs: int,
    seed: int = 0,
    config: TacticalConfig | dict[str, Any] | None = None,
    split: Split = "train",
    above: NDArray[np.float64] | None = None,
) -> BatchedTactical:
    """Make N tactical episodes; `config` may be plain data, as it travels to workers.

    Raises:
        ConfigError: plain data that is no `TacticalConfig`; or see `BatchedTactical`.
        DataError: see `BatchedTactical`.
    """
    if isinstance(config, dict):
        config = load_config(TacticalConfig, config)
    return BatchedTactical(config, num_envs, seed, split, above)
