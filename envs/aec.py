"""PettingZoo's AECEnv face of a layer: its agents act in turn, the market moves after the last."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import AECEnv
from pettingzoo.utils import AgentSelector

from configs.errors import ActionError, SimulatorError
from envs.faces import UPSTREAM, checked_numbers, encode_choice

# PettingZoo's own books of whose turn brought what.
_TURN_FIELDS = ("rewards", "_cumulative_rewards", "terminations", "truncations", "infos")


class LayerAECEnv(AECEnv[str, dict[str, NDArray[Any]], Any]):
    """Strict turns over the same episode as the parallel face; recorded joint actions give the
    same trajectory to the bit.

    Args:
        parallel: that face: it has a `layout`, `step_joint` and `observations`, too.
    """

    def __init__(self, parallel: Any) -> None:
        super().__init__()
        self._parallel = parallel
        self._layout = parallel.layout
        self.metadata = dict(parallel.metadata)
        self.possible_agents = list(parallel.possible_agents)
        self.agents: list[str] = []
        self.render_mode = parallel.render_mode
        self.state_space = parallel.state_space
        self._action = np.zeros((1, self._layout.action_width), np.float32)
        self._upstream = np.zeros(self._layout.upstream_width, np.float32)
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
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.possible_agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.possible_agents, 0.0)
        self.terminations = dict.fromkeys(self.possible_agents, False)
        self.truncations = dict.fromkeys(self.possible_agents, False)
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.possible_agents}
        self._upstream[:] = 0.0
        self._selector = AgentSelector(self.possible_agents)
        self.agent_selection = self._selector.next()
        self._skip_agent_selection = None

    def observe(self, agent: str) -> dict[str, NDArray[Any]]:
        """The agent's columns, and in `upstream` what has been chosen in this step so far."""
        seen = dict(self._observations[agent])
        if UPSTREAM in seen:
            seen[UPSTREAM] = self._upstream.copy()
        return seen

    def step(self, action: Any) -> None:
        """The choice of `agent_selection`; after the last the market moves.

        Raises:
            ActionError: the action is not in the agent's space; nothing has moved then.
        """
        if not self.agents:
            raise ActionError("step() after the episode's end; call reset() first")
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        index = self.possible_agents.index(agent)
        layout = self._layout.agents[index]
        numbers = checked_numbers(layout, action)
        if layout.kind == "box" and not self.action_space(agent).contains(numbers):
            raise ActionError(f"{agent}: got {numbers.tolist()}, expected numbers in [0, 1]")
        self._action[0, self._layout.action_slice(index)] = numbers
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        if index < len(self.possible_agents) - 1:
            self._upstream[self._layout.upstream_slice(index)] = encode_choice(layout, numbers)
            self._upstream[self._layout.chosen_flag(index)] = 1.0
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
        self._selector = AgentSelector(self.possible_agents)
        while self._selector.next() != state["turn"]:
            continue
        self.agent_selection = state["turn"]
        self._skip_agent_selection = state["skipped"]
