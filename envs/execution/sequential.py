"""PettingZoo's AECEnv face: the five agents act in turn, the market moves after the fifth."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import AECEnv
from pettingzoo.utils import AgentSelector

from configs.errors import ActionError, SimulatorError
from configs.execution import ExecutionConfig
from envs.execution.parallel import ENV_ID, RENDER_MODES, ExecutionParallelEnv
from envs.execution.spaces import AGENTS, checked_action, encode_choice
from signals.execution import EXECUTION

# PettingZoo's own books of whose turn brought what.
_TURN_FIELDS = ("rewards", "_cumulative_rewards", "terminations", "truncations", "infos")


class ExecutionAECEnv(AECEnv[str, dict[str, NDArray[Any]], Any]):
    """Strict turns over the same episode as `ExecutionParallelEnv`; recorded joint actions
    give the same trajectory to the bit.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": ENV_ID,
        "render_modes": list(RENDER_MODES),
        "render_fps": 10,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        config: ExecutionConfig | None = None,
        seed: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__()
        self._parallel = ExecutionParallelEnv(config, seed, render_mode)
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.render_mode = self._parallel.render_mode
        self.state_space = self._parallel.state_space
        self._action = np.zeros((1, EXECUTION.action_width), np.float32)
        self._upstream = np.zeros(EXECUTION.upstream_width, np.float32)
        self._observations: dict[str, dict[str, NDArray[Any]]] = {}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """As in the parallel face."""
        return self._parallel.observation_space(agent)

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """As in the parallel face."""
        return self._parallel.action_space(agent)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin an episode: number 0 of `seed`, else the next one. Options are ignored."""
        self._observations, _ = self._parallel.reset(seed=seed)
        self.agents = list(AGENTS)
        self.rewards = dict.fromkeys(AGENTS, 0.0)
        self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)
        self.terminations = dict.fromkeys(AGENTS, False)
        self.truncations = dict.fromkeys(AGENTS, False)
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in AGENTS}
        self._upstream[:] = 0.0
        self._selector = AgentSelector(list(AGENTS))
        self.agent_selection = self._selector.next()
        self._skip_agent_selection = None

    def observe(self, agent: str) -> dict[str, NDArray[Any]]:
        """The agent's columns, and in `upstream` what has been chosen in this step so far."""
        return {
            "observation": self._observations[agent]["observation"],
            "upstream": self._upstream.copy(),
        }

    def step(self, action: Any) -> None:
        """The choice of `agent_selection`; after the fifth the market moves.

        Raises:
            ActionError: the action is not in the agent's space; nothing has moved then.
        """
        if not self.agents:
            raise ActionError("step() after the episode's end; call reset() first")
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        index = AGENTS.index(agent)
        layout = EXECUTION.agents[index]
        space = self.action_space(agent)
        numbers = checked_action(layout, action, space)
        if layout.kind == "box" and not space.contains(numbers):
            raise ActionError(f"{agent}: got {numbers.tolist()}, expected numbers in [0, 1]")
        self._action[0, EXECUTION.action_slice(index)] = numbers
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        if index < len(AGENTS) - 1:
            self._upstream[EXECUTION.upstream_slice(index)] = encode_choice(layout, numbers)
            self._upstream[EXECUTION.chosen_flag(index)] = 1.0
        else:
            self._move()
        self.agent_selection = self._selector.next()
        self._accumulate_rewards()

    def _move(self) -> None:
        observations, rewards, terminations, truncations, infos = self._parallel.step_joint(
            self._action
        )
        self._observations = observations
        self.rewards = rewards
        self.terminations = terminations
        self.truncations = truncations
        self.infos = infos
        self._upstream[:] = 0.0

    def render(self) -> NDArray[np.uint8] | None:
        """As in the parallel face; constant within a step."""
        return self._parallel.render()

    def close(self) -> None:
        """As in the parallel face, which holds nothing open."""
        self._parallel.close()

    def state(self) -> NDArray[np.float32]:
        """As in the parallel face; constant within a step."""
        return self._parallel.state()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next turn depends on, the choices of this step included."""
        return {
            "parallel": self._parallel.state_dict(),
            "action": self._action.copy(),
            "upstream": self._upstream.copy(),
            "agents": list(self.agents),
            "turn": self.agent_selection,
            "skipped": self._skip_agent_selection,
            **{name: dict(getattr(self, name)) for name in _TURN_FIELDS},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, in the middle of a step too, to the bit.

        Raises:
            SimulatorError: the state is incomplete or of another configuration.
        """
        wanted = ("parallel", "action", "upstream", "agents", "turn", "skipped", *_TURN_FIELDS)
        missing = [name for name in wanted if name not in state]
        if missing:
            raise SimulatorError(
                f"environment state lacks {', '.join(missing)}; give what state_dict() returned"
            )
        self._parallel.load_state(state["parallel"])
        self._observations = self._parallel.observations()
        self._action[...] = state["action"]
        self._upstream[...] = state["upstream"]
        self.agents = list(state["agents"])
        for name in _TURN_FIELDS:
            setattr(self, name, dict(state[name]))
        self._selector = AgentSelector(list(AGENTS))
        while self._selector.next() != state["turn"]:
            continue
        self.agent_selection = state["turn"]
        self._skip_agent_selection = state["skipped"]
