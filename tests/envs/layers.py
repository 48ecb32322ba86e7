"""The layers above execution at sizes for tests, and how joint actions of theirs are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.barwise import LayerConfig
from configs.loading import load_config
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from envs import strategic_v0, tactical_v1
from envs.barwise.batched import BatchedBars
from envs.strategic import make_batched as make_strategic
from envs.tactical import make_batched as make_tactical
from signals.layout import LayerLayout
from signals.strategic import DIRECTIONS, STRATEGIC
from signals.tactical import SHARES, STYLES, TACTICAL, TILTS

# Few bars, short episodes, a quiet market, and a regime model that is fitted in a moment.
SMALL = {
    "series": {"bars": 3000},
    "horizon_bars": 12,
    "market": {"flow": {"arrivals": {"messages_per_second": 4.0}}},
    "signals": {"regime": {"restarts": 1, "iterations": 20}},
}
CHOICES = 5


@dataclass(frozen=True)
class Layer:
    """One registered environment.

    Attributes:
        nothing: what a masked choice of each agent becomes.
    """

    layout: LayerLayout
    config: LayerConfig
    faces: Any
    make: Callable[..., BatchedBars]
    nothing: tuple[int, ...]

    @property
    def agents(self) -> list[str]:
        return [agent.name for agent in self.layout.agents]

    def parallel_env(self, **told: Any) -> Any:
        return self.faces.parallel_env(self.config, **told)

    def env(self, **told: Any) -> Any:
        return self.faces.env(self.config, **told)

    def batched(self, num: int, seed: int = 0, **changes: Any) -> BatchedBars:
        """N episodes; `changes` are fields of the configuration."""
        config = self.config.model_copy(update=changes)
        return self.make(num, seed, config)

    def dicts(self, row: NDArray[Any]) -> dict[str, int]:
        """A joint row as PettingZoo takes it."""
        return {name: int(choice) for name, choice in zip(self.agents, row, strict=True)}

    def random(self, rng: np.random.Generator, rows: int) -> NDArray[np.float32]:
        """Joint actions, allowed or not."""
        return rng.integers(0, CHOICES, (rows, len(self.agents))).astype(np.float32)

    def allowed(self, rows: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Bool [N, agents, choices] of rows of columns."""
        out = np.ones((len(rows), len(self.agents), CHOICES), np.bool_)
        for index, agent in enumerate(self.layout.agents):
            if agent.mask:
                out[:, index] = rows[:, self.layout.mask_indices(index)] == 1.0
        return out


LAYERS = {
    "strategic": Layer(
        STRATEGIC,
        load_config(StrategicConfig, SMALL),
        strategic_v0,
        make_strategic,
        (*(DIRECTIONS.index("HOLD"),) * 3, 0),
    ),
    "tactical": Layer(
        TACTICAL,
        load_config(TacticalConfig, SMALL),
        tactical_v1,
        make_tactical,
        (TILTS.index("HOLD"), SHARES.index("NONE"), STYLES.index("TWAP")),
    ),
}
