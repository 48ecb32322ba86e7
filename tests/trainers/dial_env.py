"""A batched environment whose best policy under a limit is known in closed form.

One agent turns a dial to one of five levels a in 0, .25, .. 1 and is paid 2 a; what it costs is
a^2. Free, it turns to 1 and costs 1. Where a step may cost .25 on average, E[a] <= sqrt(E[a^2])
= .5 (Jensen), so that the best it can be paid is 1, by always turning to .5: which beats the
levels beside it where the multiplier lies between 1.6 and 2.67.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from signals.layout import ActionComponent, AgentLayout, Column, LayerLayout

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
HORIZON = 4
LIMIT = 0.25  # of a step
BEST_FREE, BEST_LIMITED = 2.0, 1.0  # paid a step
BEST_MULTIPLIER = (1.6, 2.0 / 0.75)


def _columns(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, "1", 0.0, 1.0, "dial") for name in names)


LAYOUT = LayerLayout(
    layer="dial",
    shared=_columns("one"),
    agents=(
        AgentLayout(
            "dial",
            _columns("left"),
            "discrete",
            tuple(ActionComponent(f"level_{k}", "turns the dial") for k in range(len(LEVELS))),
        ),
    ),
)


class DialEnv:
    """N dials."""

    layout = LAYOUT
    metric_names = ("level",)

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.rows = np.ones((num_envs, LAYOUT.row_width), np.float32)
        self.states = np.ones((num_envs, LAYOUT.state_width), np.float32)
        self.rewards = np.zeros((num_envs, 1), np.float32)
        self.terminations = np.zeros(num_envs, np.bool_)
        self.truncations = np.zeros(num_envs, np.bool_)
        self.targets = np.zeros((num_envs, 0), np.float32)
        self.episode_metrics = np.zeros((num_envs, 1))
        self.clock = np.zeros(num_envs, np.int64)
        self.level = np.zeros(num_envs)

    @property
    def clusters(self) -> NDArray[np.int64]:
        return np.arange(self.num_envs)

    def reset(self, mask: Any = None, seeds: Any = None) -> None:
        which = slice(None) if mask is None else mask
        self.clock[which] = 0
        self.terminations[which] = False

    def step(self, actions: NDArray[np.float32]) -> None:
        self.level = np.array(LEVELS)[actions[:, 0].astype(np.int64)]
        self.rewards[:, 0] = 2.0 * self.level
        self.clock += 1
        self.terminations[:] = self.clock >= HORIZON
        self.episode_metrics[:, 0] = self.level

    def state_dict(self) -> dict[str, Any]:
        return {"clock": self.clock.copy(), "terminations": self.terminations.copy()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.clock[:] = state["clock"]
        self.terminations[:] = state["terminations"]


def make(num_envs: int, seed: int) -> DialEnv:
    del seed  # nothing is left to chance
    return DialEnv(num_envs)


def squared(env: DialEnv, actions: NDArray[np.float32], factor: float = 1.0) -> Any:
    """What the last step cost."""
    return factor * env.level**2


def unknown(env: DialEnv, actions: NDArray[np.float32]) -> Any:
    """A cost that nobody knows."""
    return np.full(env.num_envs, np.nan)


def single(env: DialEnv, actions: NDArray[np.float32]) -> float:
    """One cost for all."""
    return 1.0
