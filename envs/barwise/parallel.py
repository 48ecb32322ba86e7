"""PettingZoo's ParallelEnv face of a layer above execution: the batched form at N = 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from configs.errors import ActionError, nearest
from envs.barwise.batched import BatchedBars
from envs.barwise.drawing import draw
from envs.barwise.scene import History
from envs.barwise.spaces import Observer, column_box, observation_space
from envs.drawing import RENDER_MODES, checked_render_mode, to_render
from envs.faces import checked_choice, checked_seed

_INTEGERS = frozenset((int, np.int64))  # what a choice is without a conversion
Observations = dict[str, dict[str, NDArray[Any]]]
StepResult = tuple[
    Observations,
    dict[str, float],
    dict[str, bool],
    dict[str, bool],
    dict[str, dict[str, Any]],
]


class BarsParallelEnv(ParallelEnv[str, dict[str, NDArray[Any]], Any]):
    """One episode, all agents at once; every agent's choice is a whole number.

    Args:
        batch: the layer's batched form with one environment.
        tick: price increment, currency; None for a market without bars, which has no pictures.
        render_mode: "rgb_array" for pictures by `render`; None keeps no history for them.

    Raises:
        ConfigError: there are no pictures in that mode.
    """

    def __init__(
        self, batch: BatchedBars, tick: float | None = None, render_mode: str | None = None
    ) -> None:
        layout = batch.layout
        self.batch = batch
        self.layout = layout
        self.metadata = {
            "name": layout.env_id,
            "render_modes": [] if tick is None else list(RENDER_MODES),
            "render_fps": 10,
            "is_parallelizable": True,
        }
        self.render_mode = checked_render_mode(render_mode)
        self._history = None if self.render_mode is None else History()
        self._tick = tick
        self.possible_agents = [agent.name for agent in layout.agents]
        self.agents: list[str] = []
        self.state_space = column_box(list(layout.state_columns), (layout.state_width,))
        count = range(len(layout.agents))
        self._observer = Observer(layout)
        self._observation_spaces = [observation_space(layout, index) for index in count]
        self._action_spaces = [spaces.Discrete(len(a.components)) for a in layout.agents]
        self._counts = [(a.name, len(a.components)) for a in layout.agents]
        self._joint = np.zeros((1, layout.action_width), np.float32)

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's matrix, state, mask and `upstream`; the same object each time."""
        return self._observation_spaces[self._number(agent)]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's choices; the same object each time."""
        return self._action_spaces[self._number(agent)]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, dict[str, Any]]]:
        """Begin an episode: number 0 of `seed`, else the next one. Options are ignored.

        Raises:
            ActionError: the seed is not an unsigned 64-bit number.
        """
        seeds = None if seed is None else np.array([checked_seed(seed)], np.uint64)
        self.batch.reset(seeds=seeds)
        self.agents = list(self.possible_agents)
        if self._history is not None:
            self._history.begin(self.batch)
        return self.observations(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> StepResult:
        """Take the joint action of all agents.

        Raises:
            ActionError: an agent is missing or unknown, or an action is not in its space;
                nothing has moved then.
        """
        if not self.agents:
            raise ActionError("step() after the episode's end; call reset() first")
        joint = self._joint[0]
        if len(actions) == len(self._counts):
            for index, (name, count) in enumerate(self._counts):
                choice: Any = actions.get(name)
                if type(choice) not in _INTEGERS or not 0 <= choice < count:
                    break
                joint[index] = choice
            else:
                return self.step_joint(self._joint)
        # The longer way converts what is given, or says what is wrong with it.
        return self.step_joint(self._checked(actions))

    def _checked(self, actions: dict[str, Any]) -> NDArray[np.float32]:
        """The joint row [1, agents] of `actions`; errors as of `step`."""
        for name in actions:
            self._number(name)
        joint = np.zeros((1, self.layout.action_width), np.float32)
        for index, name in enumerate(self.possible_agents):
            if name not in actions:
                raise ActionError(
                    f"joint action lacks '{name}': expected one action for each of "
                    f"{', '.join(self.possible_agents)}"
                )
            joint[0, index] = checked_choice(self.layout.agents[index], actions[name])
        return joint

    def step_joint(self, action: NDArray[np.float32]) -> StepResult:
        """`step` on a joint row [1, agents]."""
        self.batch.step(action)
        if self._history is not None:
            self._history.record(self.batch)
        names, batch = self.possible_agents, self.batch
        ended = bool(batch.terminations.item(0))
        terms = dict(zip(batch.reward_term_names, batch.reward_terms[0].tolist(), strict=True))
        infos: dict[str, dict[str, Any]] = {name: {"reward_terms": terms} for name in names}
        if ended:
            values = batch.episode_metrics[0].tolist()
            episode = dict(zip(batch.metric_names, values, strict=True))
            for info in infos.values():
                info["episode"] = episode
            self.agents = []
        reward = float(batch.rewards.item(0))
        return (
            self.observations(),
            dict.fromkeys(names, reward),
            dict.fromkeys(names, ended),
            dict.fromkeys(names, False),
            infos,
        )

    def observations(self) -> Observations:
        """What every agent sees now."""
        return self._observer.observe(self.batch.rows)

    def state(self) -> NDArray[np.float32]:
        """float32 [state width]: shared columns, own columns, privileged ones."""
        return self.batch.states[0].copy()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {"batch": self.batch.state_dict(), "running": bool(self.agents)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, to the bit."""
        self.batch.load_state(state["batch"])
        self.agents = list(self.possible_agents) if state["running"] else []
        if self._history is not None:
            self._history.begin(self.batch)

    def render(self) -> NDArray[np.uint8] | None:
        """The moment as uint8 [480, 800, 3]: bars, positions and equity since the begin.

        None, with a warning, where the environment was made without a `render_mode`; None
        where the market has no bars. After `load_state` positions and equity start at the
        restored bar.

        Raises:
            ActionError: no episode has begun yet.
        """
        if self._tick is None or (history := to_render(self._history)) is None:
            return None
        return draw(history.scene(self.batch, self._tick))

    def _number(self, agent: str) -> int:
        if agent not in self.possible_agents:
            raise ActionError(f"unknown agent '{agent}'; {nearest(agent, self.possible_agents)}")
        return self.possible_agents.index(agent)
