"""PettingZoo's ParallelEnv face: the batched form at N = 1."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from configs.errors import ActionError, nearest
from configs.execution import ExecutionConfig
from envs.execution.batched import BatchedExecution
from envs.execution.spaces import (
    AGENTS,
    action_space,
    checked_action,
    column_box,
    observation_space,
)
from signals.execution import EXECUTION

ENV_ID = "execution_v0"
_SEEDS = 1 << 64
_INDICES = tuple(EXECUTION.observation_indices(i) for i in range(len(AGENTS)))


def fresh_seed() -> int:
    """A seed from the system, for an environment that was given none."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def checked_seed(seed: int) -> int:
    """The seed, if the generator can take it.

    Raises:
        ActionError: it is not a whole number from 0 to 2**64 - 1.
    """
    if not 0 <= seed < _SEEDS:
        raise ActionError(f"seed is {seed}, expected a whole number from 0 to 2**64 - 1")
    return seed


class ExecutionParallelEnv(ParallelEnv[str, dict[str, NDArray[Any]], Any]):
    """One parent order, five agents at once.

    Args:
        config: the environment; its defaults where None.
        seed: of the first episode where `reset` is given none; drawn where None.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": ENV_ID,
        "render_modes": [],
        "is_parallelizable": True,
    }

    def __init__(self, config: ExecutionConfig | None = None, seed: int | None = None) -> None:
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.render_mode = None
        self.batch = BatchedExecution(
            config, 1, fresh_seed() if seed is None else checked_seed(seed)
        )
        self.state_space = column_box(EXECUTION.state_columns)
        self._observation_spaces = [observation_space(index) for index in range(len(AGENTS))]
        self._action_spaces = [action_space(index) for index in range(len(AGENTS))]
        self._action = np.zeros((1, EXECUTION.action_width), np.float32)

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's columns and `upstream`; the same object each time."""
        return self._observation_spaces[_number(agent)]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """A unit box, or five choices for `risk_control`; the same object each time."""
        return self._action_spaces[_number(agent)]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, dict[str, NDArray[Any]]], dict[str, dict[str, Any]]]:
        """Begin an episode: number 0 of `seed`, else the next one. Options are ignored.

        Raises:
            ActionError: the seed is not an unsigned 64-bit number.
        """
        seeds = None if seed is None else np.array([checked_seed(seed)], np.uint64)
        self.batch.reset(seeds=seeds)
        self.agents = list(AGENTS)
        return self.observations(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        """Take the joint action of all five agents.

        Raises:
            ActionError: an agent is missing or unknown, or an action is not in its space.
        """
        if not self.agents:
            raise ActionError("step() after the episode's end; call reset() first")
        for name in actions:
            _number(name)
        for index, name in enumerate(AGENTS):
            if name not in actions:
                raise ActionError(
                    f"joint action lacks '{name}': expected one action for each of "
                    f"{', '.join(AGENTS)}"
                )
            numbers = checked_action(
                EXECUTION.agents[index], actions[name], self.action_space(name)
            )
            self._action[0, EXECUTION.action_slice(index)] = numbers
        return self.step_joint(self._action)

    def step_joint(self, action: NDArray[np.float32]) -> Any:
        """`step` on a joint row [1, action width]."""
        self.batch.step(action)
        ended = bool(self.batch.terminations[0])
        rewards = {a: float(r) for a, r in zip(AGENTS, self.batch.rewards[0], strict=True)}
        info = self._info(ended)
        result = (
            self.observations(),
            rewards,
            dict.fromkeys(AGENTS, ended),
            dict.fromkeys(AGENTS, False),
            {agent: dict(info) for agent in AGENTS},
        )
        if ended:
            self.agents = []
        return result

    def _info(self, ended: bool) -> dict[str, Any]:
        """The realised quality of the step, and the episode's metrics once it has ended."""
        info: dict[str, Any] = {"quality": float(self.batch.targets[0, 0])}
        if ended:
            names, values = self.batch.metric_names, self.batch.episode_metrics[0]
            info["episode"] = {n: float(v) for n, v in zip(names, values, strict=True)}
        return info

    def observations(self) -> dict[str, dict[str, NDArray[Any]]]:
        """What every agent sees now."""
        row = self.batch.rows[0]
        return {
            agent: {
                "observation": row[_INDICES[index]],
                "upstream": np.zeros(EXECUTION.upstream_width, np.float32),
            }
            for index, agent in enumerate(AGENTS)
        }

    def state(self) -> NDArray[np.float32]:
        """float32 [state width]: shared columns, own columns, privileged ones."""
        return self.batch.states[0].copy()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {"batch": self.batch.state_dict(), "running": bool(self.agents)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, to the bit."""
        self.batch.load_state(state["batch"])
        self.agents = list(AGENTS) if state["running"] else []


def _number(agent: str) -> int:
    if agent not in AGENTS:
        raise ActionError(f"unknown agent '{agent}'; {nearest(agent, AGENTS)}")
    return AGENTS.index(agent)
