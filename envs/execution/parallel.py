"""PettingZoo's ParallelEnv face: the batched form at N = 1."""

from __future__ import annotations

from itertools import pairwise
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numba.core.errors import NumbaError
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from configs.errors import ActionError, nearest
from configs.execution import ExecutionConfig
from envs.drawing import RENDER_MODES, checked_render_mode, to_render
from envs.execution.batched import BatchedExecution
from envs.execution.drawing import draw
from envs.execution.kernel import (
    ENDED,
    OBSERVATION_WIDTHS,
    REFUSED,
    RUNNING,
    UPSTREAM_WIDTHS,
    observe_single,
    ready_single,
    step_single,
)
from envs.execution.scene import History
from envs.execution.spaces import (
    AGENTS,
    action_space,
    column_box,
    observation_space,
)
from envs.faces import checked_numbers, checked_seed, fresh_seed
from signals.execution import EXECUTION

ENV_ID = EXECUTION.env_id
_TIMING, _SOURCING, _FRAGMENTATION, _CONTROL, _MONITOR = AGENTS
_INTEGERS = frozenset((int, np.int64))  # what a discrete choice is without a conversion
# Not there, no float32 array, or no 64-bit integer.
_NOT_PLAIN = (KeyError, TypeError, ValueError, OverflowError, NumbaError)
_UNTRIED = (0.0, 0.0, REFUSED)
_EDGES = np.cumsum((0, *OBSERVATION_WIDTHS, *UPSTREAM_WIDTHS)).tolist()
# Cuts what the kernel wrote into the agents' observations and their `upstream`, in one call.
_cut = itemgetter(*(slice(start, stop) for start, stop in pairwise(_EDGES)))
_NOBODY_ENDED = dict.fromkeys(AGENTS, False)
_ALL_ENDED = dict.fromkeys(AGENTS, True)
# PettingZoo's five answers to a step, and the observations alone.
Observations = dict[str, dict[str, NDArray[Any]]]
StepResult = tuple[
    Observations,
    dict[str, float],
    dict[str, bool],
    dict[str, bool],
    dict[str, dict[str, Any]],
]


class ExecutionParallelEnv(ParallelEnv[str, dict[str, NDArray[Any]], Any]):
    """One parent order, five agents at once.

    Args:
        config: the environment; its defaults where None.
        seed: of the first episode where `reset` is given none; drawn where None.
        render_mode: "rgb_array" for pictures by `render`; None keeps no history for them.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": ENV_ID,
        "render_modes": list(RENDER_MODES),
        "render_fps": 10,
        "is_parallelizable": True,
    }

    layout = EXECUTION

    def __init__(
        self,
        config: ExecutionConfig | None = None,
        seed: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.render_mode = checked_render_mode(render_mode)
        self._history = None if self.render_mode is None else History()
        self.batch = BatchedExecution(
            config, 1, fresh_seed() if seed is None else checked_seed(seed)
        )
        self.state_space = column_box(EXECUTION.state_columns)
        self._observation_spaces = [observation_space(index) for index in range(len(AGENTS))]
        self._action_spaces = [action_space(index) for index in range(len(AGENTS))]
        ready_single()
        self._connect()

    def _connect(self) -> None:
        """What a step needs at hand: where the arrays lie, and what copies the observations."""
        pinned = self.batch.pinned
        self._address = pinned.address
        self._copy = pinned.arguments.observations.copy

    def __getstate__(self) -> dict[str, Any]:
        """Without what is bound to the arrays of this very environment."""
        bound = ("_address", "_copy")
        return {name: value for name, value in self.__dict__.items() if name not in bound}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        ready_single()
        self._connect()

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's columns and `upstream`; the same object each time."""
        return self._observation_spaces[_number(agent)]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """A unit box, or five choices for `risk_control`; the same object each time."""
        return self._action_spaces[_number(agent)]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, dict[str, Any]]]:
        """Begin an episode: number 0 of `seed`, else the next one. Options are ignored.

        Raises:
            ActionError: the seed is not an unsigned 64-bit number.
        """
        seeds = None if seed is None else np.array([checked_seed(seed)], np.uint64)
        self.batch.reset(seeds=seeds)
        self.agents = list(AGENTS)
        if self._history is not None:
            self._history.begin(self.batch)
        return self.observations(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> StepResult:
        """Take the joint action of all five agents.

        Raises:
            ActionError: an agent is missing or unknown, or an action is not in its space;
                nothing has moved then.
        """
        if not self.agents:
            raise ActionError("step() after the episode's end; call reset() first")
        try:
            decision = actions[_CONTROL]
            plain = len(actions) == len(AGENTS) and type(decision) in _INTEGERS
            reward, quality, outcome = (
                step_single(
                    self._address,
                    actions[_TIMING],
                    actions[_SOURCING],
                    actions[_FRAGMENTATION],
                    decision,
                    actions[_MONITOR],
                )
                if plain
                else _UNTRIED
            )
        except _NOT_PLAIN:
            reward, quality, outcome = _UNTRIED
        if outcome == REFUSED:
            # The longer way converts what is given, or says what is wrong with it.
            return self._step_checked(actions)
        return self._result(reward, quality, outcome)

    def _step_checked(self, actions: dict[str, Any]) -> StepResult:
        """`step` that converts what it can, and names what is wrong with the rest."""
        for name in actions:
            _number(name)
        joint = np.zeros((1, EXECUTION.action_width), np.float32)
        for index, name in enumerate(AGENTS):
            if name not in actions:
                raise ActionError(
                    f"joint action lacks '{name}': expected one action for each of "
                    f"{', '.join(AGENTS)}"
                )
            numbers = checked_numbers(EXECUTION.agents[index], actions[name])
            joint[0, EXECUTION.action_slice(index)] = numbers
        return self.step_joint(joint)

    def step_joint(self, action: NDArray[np.float32]) -> StepResult:
        """`step` on a joint row [1, action width]."""
        self.batch.step(action)
        observe_single(self._address)
        outcome = ENDED if self.batch.terminations[0] else RUNNING
        return self._result(
            float(self.batch.rewards[0, 0]), float(self.batch.targets[0, 0]), outcome
        )

    def _result(self, reward: float, quality: float, outcome: int) -> StepResult:
        """What PettingZoo hands back after a step; the agents share one reward."""
        infos: dict[str, dict[str, Any]] = {
            _TIMING: {"quality": quality},
            _SOURCING: {"quality": quality},
            _FRAGMENTATION: {"quality": quality},
            _CONTROL: {"quality": quality},
            _MONITOR: {"quality": quality},
        }
        ended = outcome == ENDED
        if ended:
            self._end(infos)
        if self._history is not None:
            self._history.record(self.batch)
        return (
            self._observations(),
            {
                _TIMING: reward,
                _SOURCING: reward,
                _FRAGMENTATION: reward,
                _CONTROL: reward,
                _MONITOR: reward,
            },
            (_ALL_ENDED if ended else _NOBODY_ENDED).copy(),
            _NOBODY_ENDED.copy(),
            infos,
        )

    def _end(self, infos: dict[str, dict[str, Any]]) -> None:
        """The episode is over: its metrics go to every agent, and nobody is left to act."""
        names, values = self.batch.metric_names, self.batch.episode_metrics[0].tolist()
        episode = dict(zip(names, values, strict=True))
        for info in infos.values():
            info["episode"] = episode
        self.agents = []

    def observations(self) -> Observations:
        """What every agent sees now."""
        observe_single(self._address)
        return self._observations()

    def _observations(self) -> Observations:
        """Parts of a fresh copy of what the kernel wrote last: no later step changes them."""
        # One copy, cut in ten: ten copies would take three times as long.
        (
            timing, sourcing, fragmentation, control, monitor,
            to_timing, to_sourcing, to_fragmentation, to_control, to_monitor,
        ) = _cut(self._copy())  # fmt: skip
        return {
            _TIMING: {"observation": timing, "upstream": to_timing},
            _SOURCING: {"observation": sourcing, "upstream": to_sourcing},
            _FRAGMENTATION: {"observation": fragmentation, "upstream": to_fragmentation},
            _CONTROL: {"observation": control, "upstream": to_control},
            _MONITOR: {"observation": monitor, "upstream": to_monitor},
        }

    def render(self) -> NDArray[np.uint8] | None:
        """The moment as uint8 [480, 800, 3]: the book, the schedule, and the mid with the fills.

        None, with a warning, where the environment was made without a `render_mode`.
        After `load_state` the picture starts at the restored step.

        Raises:
            ActionError: no episode has begun yet.
        """
        history = to_render(self._history)
        return None if history is None else draw(history.scene(self.batch))

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
        if self._history is not None:
            self._history.begin(self.batch)


def _number(agent: str) -> int:
    if agent not in AGENTS:
        raise ActionError(f"unknown agent '{agent}'; {nearest(agent, AGENTS)}")
    return AGENTS.index(agent)
