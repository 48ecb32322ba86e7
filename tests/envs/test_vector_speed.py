"""What the batched face costs beside the environments in it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.vector import make_vector

LIMIT_US = 15.0  # a step of one environment of three agents; mpe2's simple_spread takes 300
ROWS, STEPS, ATTEMPTS = 64, 200, 5


class Instant:
    """Gives the same answer at once, so that what a step costs is the face alone."""

    def __init__(self) -> None:
        self.possible_agents = self.agents = [f"agent_{number}" for number in range(3)]
        self._box, self._choice = spaces.Box(-np.inf, np.inf, (18,)), spaces.Discrete(5)
        flags = dict.fromkeys(self.agents, False)
        seen = {agent: np.ones(18, np.float32) for agent in self.agents}
        infos: dict[str, Any] = {agent: {} for agent in self.agents}
        self._answer = (seen, dict.fromkeys(self.agents, -1.5), flags, flags, infos)
        self._state = np.ones(54, np.float32)

    def observation_space(self, agent: str) -> Any:
        return self._box

    def action_space(self, agent: str) -> Any:
        return self._choice

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        return self._answer[0], self._answer[-1]

    def step(self, actions: dict[str, Any]) -> Any:
        return self._answer

    def state(self) -> Any:
        return self._state


def test_a_step_costs_little_beside_the_environment() -> None:
    env = make_vector(ROWS, seed=0, env=Instant)
    env.reset()
    actions = np.ones((ROWS, env.layout.action_width), np.float32)
    best = float("inf")
    for _ in range(ATTEMPTS):
        begin = time.process_time()
        for _ in range(STEPS):
            env.step(actions)
        best = min(best, (time.process_time() - begin) / (STEPS * ROWS) * 1e6)
    assert best < LIMIT_US
