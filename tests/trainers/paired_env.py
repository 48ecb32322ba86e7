"""A toy BatchedEnv of known costs: what evaluation must measure can be computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from signals.layout import ActionComponent, AgentLayout, Column, LayerLayout

LAYOUT = LayerLayout(
    layer="toy",
    shared=(Column("left", "1", 0.0, 1.0, "clock"), Column("hint", "1", -1.0, 1.0, "draw")),
    agents=(
        AgentLayout("buyer", (), "box", (ActionComponent("share", "cost"),)),
        AgentLayout(
            "guard", (), "discrete", (ActionComponent("GO", "on"), ActionComponent("STOP", "off"))
        ),
    ),
)


class PairedEnv:
    """Cost of an episode = path noise x side + the mean first action + 1 where the guard stops.

    Episodes last 3 to 6 steps, by their path. Row n's numbers follow from its
    seed alone; an ended row does not move, and its flags stay up.
    """

    layout: LayerLayout = LAYOUT
    metric_names: tuple[str, ...] = (
        "shortfall_bp",
        "filled_before_cross",
        "slippage_bp",
        "quality",
        "steps",
    )

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.rows = np.zeros((num_envs, LAYOUT.row_width), dtype=np.float32)
        self.states = self.rows
        self.rewards = np.zeros((num_envs, 2), dtype=np.float32)
        self.terminations = np.zeros(num_envs, dtype=np.bool_)
        self.truncations = np.zeros(num_envs, dtype=np.bool_)
        self.targets = np.zeros((num_envs, 0), dtype=np.float32)
        self.episode_metrics = np.full((num_envs, len(self.metric_names)), np.nan)
        self.spoilt_seed: int | None = None
        self.seen: list[NDArray[np.uint64]] = []
        self._cost = np.zeros(num_envs)
        self._noise = np.zeros(num_envs)
        self._clock = np.zeros(num_envs, dtype=np.int64)
        self._length = np.ones(num_envs, dtype=np.int64)

    def reset(
        self,
        mask: NDArray[np.bool_] | None = None,
        seeds: NDArray[np.uint64] | None = None,
    ) -> None:
        assert mask is None and seeds is not None
        self.seen.append(seeds.copy())
        self.seeds = seeds.copy()
        path, side = seeds // np.uint64(2), np.where(seeds % np.uint64(2) == 0, 1.0, -1.0)
        draws = np.array([np.random.default_rng(int(p)).normal() for p in path])
        self._noise = draws * side
        self._length = 3 + (path % np.uint64(4)).astype(np.int64)
        self._clock[:] = 0
        self._cost[:] = 0.0
        self.terminations[:] = False
        self.episode_metrics[:] = np.nan
        self._observe()

    @property
    def clusters(self) -> NDArray[np.int64]:
        return (self.seeds // np.uint64(2)).astype(np.int64)

    def _observe(self) -> None:
        self.rows[:, 0] = 1.0 - self._clock / self._length
        self.rows[:, 1] = np.clip(self._noise, -1.0, 1.0)

    def step(self, actions: NDArray[np.float32]) -> None:
        going = ~self.terminations
        self._cost[going] += (actions[:, 0] / self._length + actions[:, 1] / self._length)[going]
        self._clock[going] += 1
        ended = going & (self._clock == self._length)
        self.terminations |= ended
        cost = self._noise + self._cost
        if self.spoilt_seed is not None:
            cost = np.where(self.seeds == self.spoilt_seed, np.nan, cost)
        values = [cost, np.full(self.num_envs, 0.5), cost * 0, cost * 0 + 1, self._length]
        self.episode_metrics[ended] = np.stack(values, axis=1)[ended]
        self._observe()

    def state_dict(self) -> dict[str, Any]:
        return {"cost": self._cost.copy()}

    def load_state(self, state: dict[str, Any]) -> None:
        self._cost[:] = state["cost"]


class Constant:
    """An actor that always says the same, plus a little of the hint."""

    def __init__(self, share: float, hinted: float = 0.0) -> None:
        self._share = share
        self._hinted = hinted
        self.resets: list[int] = []

    def reset(self, num_envs: int) -> None:
        self.resets.append(num_envs)

    def act(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        share = np.clip(self._share + self._hinted * rows[:, 1], 0.0, 1.0)
        return np.stack([share, np.zeros(len(rows))], axis=1).astype(np.float32)
