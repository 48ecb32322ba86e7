"""Small markets that play synthetic bars, for tests."""

from __future__ import annotations

import numpy as np

from configs.barwise import BarwiseConfig
from configs.market import GeneratorReference
from market.bar_tape import BarTape, bar_tape
from market.barwise import Barwise, allocate_barwise, begin_episode
from market.synthetic import synthetic_bars

PAST = 46
MINUTES = 5
FIRST = 60


def small_config(**changes: object) -> BarwiseConfig:
    """Bars of five minutes in ten slices, the flow ten times thinned."""
    return BarwiseConfig.model_validate({"bar_minutes": MINUTES, "slices": 10} | changes)


def small_tape(count: int = 400, seed: int = 1) -> BarTape:
    """Bars of the built-in generator."""
    bars = synthetic_bars(GeneratorReference(), count, MINUTES, 0.01, seed)
    return bar_tape(bars, MINUTES, 0.01, PAST)


def begun(config: BarwiseConfig, tape: BarTape, seeds: list[int]) -> Barwise:
    """A market each seed, about to play bar FIRST."""
    world = allocate_barwise(config, tape, len(seeds))
    for n, seed in enumerate(seeds):
        begin_episode(world, n, np.uint64(seed), 0, FIRST)
    return world
