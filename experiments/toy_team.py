"""The toy team that MAPPO's speed is measured on: five agents, Box(32), Discrete(5).

Each agent sees a vector that wanders by itself, x' = .9 x + sqrt(1 - .81) noise, and
earns 1 where its action names the largest of five fixed linear scores of what it saw:
1/5 at random, 1 at best. The rule is the same for all agents and for every seed. An
episode is cut after `length` steps; with `lives`, agent k dies for good after `lives[k]`
steps where that comes first.

There are two faces of one simulation: `make_batched`, N environments with arrays in
place, and `parallel_env`, a PettingZoo ParallelEnv over one of them.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from configs.errors import ActionError, ConfigError, SimulatorError
from signals.noise import derive_seeds, mix
from signals.team import Factor, GroupLayout, TeamLayout

AGENTS, COLUMNS, CHOICES = 5, 32, 5
LENGTH = 100
AGENT_NAMES = tuple(f"agent_{k}" for k in range(AGENTS))
LAYOUT = TeamLayout(
    "toy_team",
    (
        GroupLayout(
            "agents",
            AGENT_NAMES,
            tuple(f"x_{k}" for k in range(COLUMNS)),
            (Factor("choice", "categorical", CHOICES),),
        ),
    ),
)

_KEEP = 0.9  # of an observation, from step to step
_NOISE_ROWS = 1 << 12  # noise is looked up, so that a step costs little
_RULE_SEED = 20
_EPISODE_SHIFT = np.uint64(32)  # steps of two episodes never meet below 2^32 of them


def _tables() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Noise [rows, agents, columns], and the rule's scores of it [rows, agents, choices]."""
    rng = np.random.default_rng(_RULE_SEED)
    rule = rng.standard_normal((COLUMNS, CHOICES)) / math.sqrt(COLUMNS)
    noise = rng.standard_normal((_NOISE_ROWS, AGENTS, COLUMNS))
    return noise.astype(np.float32), (noise @ rule).astype(np.float32)


class ToyTeam:
    """N toy teams, stepped together. Row n depends on its seed and its actions alone.

    The attributes are those of a batched team environment: layout, num_envs, rows,
    states, masks, alive, rewards, terminations, truncations, ended, episode_metrics.
    """

    layout = LAYOUT
    metric_names = ("share_right",)

    def __init__(
        self, num_envs: int, seed: int = 0, length: int = LENGTH, lives: tuple[int, ...] = ()
    ) -> None:
        lives = tuple(lives)
        if lives and (len(lives) != AGENTS or min(lives) < 1):
            raise ConfigError(f"lives={lives}: expected {AGENTS} numbers of steps >= 1, or none")
        if length < 1:
            raise ConfigError(f"length={length}: expected >= 1 steps")
        self.num_envs, self.length = num_envs, length
        self._lives = np.array(lives or (length + 1,) * AGENTS, dtype=np.int64)
        self._noise, self._noise_scores = _tables()
        self._seeds = derive_seeds(seed, count=num_envs)
        self._episode = np.full(num_envs, -1, dtype=np.int64)
        self._steps = np.zeros(num_envs, dtype=np.int64)
        # Rows of the noise table for every step of the episodes, drawn at their reset.
        self._plan = np.zeros((num_envs, length + 1), dtype=np.int64)
        self._x = np.zeros((num_envs, AGENTS, COLUMNS), dtype=np.float32)
        # What the rule says of x. It wanders as x does, so no product is formed whose
        # rounding would depend on the number of rows.
        self._scores = np.zeros((num_envs, AGENTS, CHOICES), dtype=np.float32)
        self._right = np.zeros(num_envs)
        self._allocate()

    def _allocate(self) -> None:
        """What the face shows. Before the first reset every row waits for one."""
        count = self.num_envs
        self.rows = np.zeros((count, LAYOUT.row_width), dtype=np.float32)
        self.states = np.zeros((count, LAYOUT.state_width), dtype=np.float32)
        self.masks = np.ones((count, LAYOUT.mask_width), dtype=np.bool_)
        self.rewards = np.zeros((count, AGENTS), dtype=np.float32)
        self.alive, self.terminations, self.truncations = np.zeros((3, count, AGENTS), np.bool_)
        self.ended = np.ones(count, dtype=np.bool_)
        self.episode_metrics = np.zeros((count, len(self.metric_names)))

    def reset(
        self, mask: NDArray[np.bool_] | None = None, seeds: NDArray[np.uint64] | None = None
    ) -> None:
        """Begin episodes where `mask`: episode 0 of `seeds`, or each row's next one."""
        where = np.flatnonzero(np.ones(self.num_envs, np.bool_) if mask is None else mask)
        if seeds is None:
            self._episode[where] += 1
        else:
            self._seeds[where] = seeds[where]
            self._episode[where] = 0
        keys = mix(self._seeds[where] ^ (self._episode[where].astype(np.uint64) << _EPISODE_SHIFT))
        drawn = mix(keys[:, None] ^ np.arange(self.length + 1, dtype=np.uint64))
        self._plan[where] = (drawn % np.uint64(_NOISE_ROWS)).astype(np.int64)
        first = self._plan[where, 0]
        self._x[where], self._scores[where] = self._noise[first], self._noise_scores[first]
        self._steps[where], self._right[where] = 0, 0.0
        self.alive[where], self.ended[where] = True, False
        self.rewards[where] = 0.0
        self.terminations[where] = self.truncations[where] = False
        self.rows[where] = self._x[where].reshape(len(where), LAYOUT.row_width)

    def step(self, actions: NDArray[np.float32]) -> None:
        """Joint actions [N, AGENTS], indices; a row that has ended is left alone."""
        if self.ended.any():
            where: Any = np.flatnonzero(~self.ended)
        else:
            where = slice(None)  # views: no copies while all are under way
        acting = self.alive[where].copy()
        right = (self._scores[where].argmax(axis=2) == actions[where]) & acting
        self.rewards[where] = right
        self._right[where] += right.sum(axis=1) / AGENTS
        self._steps[where] += 1
        steps = self._steps[where]
        drawn = self._plan[where, :][np.arange(len(steps)), steps]
        self._wander(self._x, self._noise, where, drawn)
        self._wander(self._scores, self._noise_scores, where, drawn)
        self._end_lives(where, acting, steps)
        shown = self._x[where]
        if not acting.all():  # those that were dead before this step show nothing
            shown = np.where(acting[:, :, None], shown, np.float32(0.0))
        self.rows[where] = shown.reshape(len(steps), LAYOUT.row_width)

    @staticmethod
    def _wander(
        values: NDArray[np.float32], noise: NDArray[np.float32], where: Any, drawn: Any
    ) -> None:
        moved = noise[drawn]
        moved *= np.float32(math.sqrt(1.0 - _KEEP * _KEEP))
        moved += values[where] * np.float32(_KEEP)
        values[where] = moved

    def _end_lives(self, where: Any, acting: NDArray[np.bool_], steps: NDArray[np.int64]) -> None:
        dead = acting & (steps[:, None] >= self._lives)
        cut = acting & ~dead & (steps[:, None] >= self.length)
        self.terminations[where], self.truncations[where] = dead, cut
        left = acting & ~dead & ~cut
        self.alive[where] = left
        self.ended[where] = ended = ~left.any(axis=1)
        if ended.any():
            self.episode_metrics[where, 0] = self._right[where] / steps

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, and what the face shows."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, to the bit."""
        for name, array in self._arrays().items():
            if state[name].shape != array.shape:
                raise SimulatorError(
                    f"state of toy teams: '{name}' has shape {state[name].shape}, expected "
                    f"{array.shape}: load it with the num_envs and length it was saved with"
                )
            array[:] = state[name]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        tables = ("_noise", "_noise_scores", "_lives")
        return {
            name: value
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray) and name not in tables
        }


def make_batched(num_envs: int, seed: int = 0, **kwargs: Any) -> ToyTeam:
    """The batched face; kwargs are `length` and `lives`."""
    return ToyTeam(num_envs, seed, **kwargs)


class ToyTeamParallel(ParallelEnv):
    """The same as PettingZoo knows it: dictionaries by agent, of those that live."""

    metadata: dict[str, Any] = {"name": "toy_team_v0", "render_modes": []}  # noqa: RUF012
    render_mode = None

    def __init__(self, length: int = LENGTH, lives: tuple[int, ...] = ()) -> None:
        self.batch = ToyTeam(1, 0, length, lives)
        self.possible_agents = list(AGENT_NAMES)
        self.agents: list[str] = []
        observed = gym.spaces.Box(-np.inf, np.inf, (COLUMNS,), np.float32)
        self.observation_spaces = dict.fromkeys(AGENT_NAMES, observed)
        self.action_spaces = dict.fromkeys(AGENT_NAMES, gym.spaces.Discrete(CHOICES))

    def observation_space(self, agent: str) -> gym.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.Space:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Episode 0 of `seed`, or the next episode; there are no options."""
        self.batch.reset(seeds=None if seed is None else np.array([seed], np.uint64))
        self.agents = list(AGENT_NAMES)
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """(observations, rewards, terminations, truncations, infos) of those that acted."""
        if set(actions) != set(self.agents):
            raise ActionError(
                f"toy team: actions of {sorted(actions)}, expected those of the living agents "
                f"{self.agents}; call reset where there are none"
            )
        batch = self.batch
        batch.step(np.array([[actions.get(agent, 0) for agent in AGENT_NAMES]], np.float32))
        observations = self._observations()
        columns = (batch.rewards, batch.terminations, batch.truncations)
        found = (dict(zip(AGENT_NAMES, values.tolist(), strict=True)) for (values,) in columns)
        rewards, ended, cut = ({agent: part[agent] for agent in self.agents} for part in found)
        infos: dict[str, Any] = {agent: {} for agent in self.agents}
        self.agents = [agent for agent in self.agents if not (ended[agent] or cut[agent])]
        return observations, rewards, ended, cut, infos

    def _observations(self) -> dict[str, Any]:
        row = self.batch.rows.reshape(AGENTS, COLUMNS).copy()
        return {a: x for a, x in zip(AGENT_NAMES, row, strict=True) if a in self.agents}


def parallel_env(length: int = LENGTH, lives: tuple[int, ...] = ()) -> ToyTeamParallel:
    """The PettingZoo face."""
    return ToyTeamParallel(length, lives)
