"""Episodes of combinatorial folds: inside the fold's parts, and never across what is held out."""

from __future__ import annotations

import numpy as np
import pytest

from configs.barwise import LayerConfig
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from envs.barwise.data import slow_data
from envs.barwise.fast import fast_data
from market.splits import split_ranges


def told(kind: type[LayerConfig], fold: int) -> LayerConfig:
    """A layer on few bars, of which two of four blocks are held out."""
    walk = {"kind": "combinatorial", "folds": 4, "test_blocks": 2}
    series = {"bars": 12_000, "purge_bars": 96, "embargo_bars": 300, "fold": fold}
    return kind.model_validate({"series": {**series, "walk_forward": walk}})


@pytest.mark.parametrize(
    ("kind", "data"), [(StrategicConfig, slow_data), (TacticalConfig, fast_data)]
)
def test_episodes_lie_inside_the_parts(kind: type[LayerConfig], data: object) -> None:
    config = told(kind, 4)  # blocks 1 and 3 are held out: training lies on both sides
    assert callable(data)
    starts = {split: data(config, split).starts for split in ("train", "validation")}
    blocks = {split: set(starts[split] // 2_400) for split in starts}
    assert blocks == {"train": {0, 2}, "validation": {1, 3}}
    for split, others in (("train", "validation"), ("validation", "train")):
        for first in starts[split]:
            played = np.arange(first, first + config.horizon_bars + 1)
            assert set(played // 2_400) == {first // 2_400}
        assert not set(starts[split]) & set(starts[others])
    apart = np.abs(starts["train"][:, None] - starts["validation"][None, :]).min()
    assert apart > config.horizon_bars + config.splits.purge_bars


def test_regimes_are_fitted_on_training_bars_alone() -> None:
    config = told(StrategicConfig, 0)  # blocks 0 and 1 are held out
    parts = split_ranges("train", 12_000, np.arange(12_000, dtype=np.int64), config.splits)
    assert [(part.first, part.after) for part in parts] == [(5_196, 9_504)]
    other = told(StrategicConfig, 5)  # blocks 2 and 3
    assert slow_data(config, "validation").model != slow_data(other, "validation").model
    assert slow_data(config, "train").model == slow_data(config, "validation").model
