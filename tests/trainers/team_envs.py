"""Teams written out by hand: their lives, masks and states are known step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from signals.noise import mix
from signals.team import Factor, GroupLayout, TeamLayout

COLUMNS = 3
_UNIT = 2.0**64

FACTORS: dict[str, tuple[Factor, ...]] = {
    "categorical": (Factor("move", "categorical", 4),),
    "multi": (Factor("move", "categorical", 3), Factor("say", "categorical", 2)),
    "bounded": (Factor("push", "bounded", 2),),
    "tuple": (
        Factor("push", "bounded", 1),
        Factor("move", "categorical", 3),
        Factor("turn", "unbounded", 2),
    ),
}


class Life:
    """When an agent is there: from step `born` of an episode to its end in step `ends`.

    cut: it is truncated there, else it terminates.
    """

    def __init__(self, born: int = 0, ends: int = 1 << 20, cut: bool = False) -> None:
        self.born, self.ends, self.cut = born, ends, cut


def team_layout(
    groups: Mapping[str, tuple[str, int]],
    state_width: int = 0,
    masked: Sequence[str] = (),
) -> TeamLayout:
    """Groups by name: the kind of their factors and how many agents they have."""
    return TeamLayout(
        "scripted",
        tuple(
            GroupLayout(
                name,
                tuple(f"{name}_{k}" for k in range(count)),
                tuple(f"x_{k}" for k in range(COLUMNS)),
                FACTORS[kind],
                masked=name in masked,
            )
            for name, (kind, count) in groups.items()
        ),
        state_width,
    )


class Seen(NamedTuple):
    """What a `ScriptedTeam` showed of all rows at one moment; see `envs.team.TeamEnv`."""

    rows: NDArray[np.float32]
    states: NDArray[np.float32]
    alive: NDArray[np.bool_]
    rewards: NDArray[np.float32]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]


class ScriptedTeam:
    """A `TeamEnv` whose agents live as told; numbers follow from (row, episode, step) alone.

    lives: by agent; all live to `horizon`, where those left are cut. Row n's episodes are
    n steps shorter, at least 2, so that rows do not end together. `seen` and `led` keep
    what was shown, in copies that no recorder had its hands on.
    """

    metric_names: tuple[str, ...] = ()

    def __init__(
        self,
        layout: TeamLayout,
        num_envs: int,
        lives: Mapping[str, Life] | None = None,
        horizon: int = 7,
    ) -> None:
        agents = len(layout.agent_names)
        self.layout, self.num_envs = layout, num_envs
        told = [(lives or {}).get(agent, Life()) for agent in layout.agent_names]
        self._born = np.array([life.born for life in told])
        self._ends = np.array([life.ends for life in told])
        self._cut = np.array([life.cut for life in told])
        self._horizon = np.maximum(2, horizon - np.arange(num_envs))
        self._episode = np.full(num_envs, -1)
        self._clock = np.zeros(num_envs, np.int64)
        self.rows = np.zeros((num_envs, layout.row_width), np.float32)
        self.states = np.zeros((num_envs, layout.state_width), np.float32)
        self.masks = np.ones((num_envs, layout.mask_width), np.bool_)
        self.rewards = np.zeros((num_envs, agents), np.float32)
        self.alive, self.terminations, self.truncations = np.zeros((3, num_envs, agents), np.bool_)
        self.ended = np.ones(num_envs, np.bool_)
        self.episode_metrics = np.zeros((num_envs, 0))
        self.seen: list[Seen] = []  # before each step
        self.led: list[Seen] = []  # right after it

    def _show(self) -> Seen:
        names = ("rows", "states", "alive", "rewards", "terminations", "truncations")
        return Seen(*(getattr(self, name).copy() for name in names))

    def _draw(self, purpose: int, width: int) -> NDArray[np.float64]:
        """Uniform in [-1, 1): [N, width]."""
        key = np.arange(self.num_envs, dtype=np.uint64)
        for part in (self._episode, self._clock, np.full_like(self._clock, purpose)):
            key = mix(key ^ mix(part.astype(np.uint64)))
        lanes = mix(key[:, None] ^ np.arange(width, dtype=np.uint64))
        return 2.0 * (lanes.astype(np.float64) / _UNIT) - 1.0

    def reset(self, mask: Any = None, seeds: Any = None) -> None:
        where = np.ones(self.num_envs, np.bool_) if mask is None else mask
        self._episode[where] += 1
        self._clock[where] = 0
        self.rewards[where] = 0.0
        self.terminations[where] = self.truncations[where] = False
        self.alive[where] = self._born == 0
        self.ended[where] = False
        self._observe(where, self.alive)

    def _observe(self, where: NDArray[np.bool_], seen: NDArray[np.bool_]) -> None:
        layout = self.layout
        rows = self._draw(1, layout.row_width).reshape(self.num_envs, -1, COLUMNS)
        shown = np.where(seen[:, :, None], rows, 0.0).reshape(self.num_envs, -1)
        self.rows[where] = shown[where]
        self.states[where] = self._draw(2, layout.state_width)[where]
        if layout.mask_width:
            self.masks[where] = self._allowed()[where]

    def _allowed(self) -> NDArray[np.bool_]:
        """About half of the choices, the first of each factor always; all of the dead."""
        parts = []
        for group, agents in zip(self.layout.groups, self.layout.agent_slices, strict=True):
            if not group.masked:
                continue
            flags = self._draw(3, group.mask_width) > 0.0
            flags = flags.reshape(self.num_envs, len(group.agents), -1)
            at = 0
            for factor in group.factors:
                if factor.kind == "categorical":
                    flags[:, :, at] = True
                    at += factor.width
            flags |= ~self.alive[:, agents, None]
            parts.append(flags.reshape(self.num_envs, -1))
        return np.concatenate(parts, axis=1)

    def step(self, actions: NDArray[np.float32]) -> None:
        self.seen.append(self._show())
        acted = self.alive.copy()
        self._clock += 1
        clock = self._clock[:, None]
        noise = self._draw(4, acted.shape[1])
        self.rewards[:] = np.where(acted, noise + np.arange(acted.shape[1]), 0.0)
        over = clock >= self._horizon[:, None]
        dies = acted & (clock == self._ends)
        self.terminations[:] = dies & ~self._cut
        self.truncations[:] = acted & ~self.terminations & (over | (dies & self._cut))
        gone = self.terminations | self.truncations
        born = (clock == self._born) & ~over
        self.alive[:] = (acted & ~gone) | born
        self.ended[:] = ~self.alive.any(axis=1)
        self._observe(np.ones(self.num_envs, np.bool_), self.alive | gone)
        self.led.append(self._show())

    def state_dict(self) -> dict[str, Any]:
        return {"episode": self._episode.copy(), "clock": self._clock.copy()}

    def load_state(self, state: dict[str, Any]) -> None:
        self._episode[:], self._clock[:] = state["episode"], state["clock"]

    def close(self) -> None:
        """Nothing is held."""


class Guess(ParallelEnv[str, Any, Any]):
    """Two agents see a number each and earn 1 by its sign: the smallest ParallelEnv.

    fail_at: the step of an episode in which it raises. named: names of the agents.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "guess_v0"}

    def __init__(
        self, length: int = 5, fail_at: int = -1, named: Sequence[str] = ("left", "right")
    ) -> None:
        self.possible_agents = list(named)
        self.agents: list[str] = []
        self._length, self._fail_at = length, fail_at

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(-1.0, 1.0, (1,))

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(2)

    def _see(self) -> dict[str, Any]:
        self.seen = {
            agent: self.rng.uniform(-1.0, 1.0, 1).astype(np.float32) for agent in self.agents
        }
        return self.seen

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.rng = np.random.default_rng(seed)
        self.clock = 0
        self.agents = list(self.possible_agents)
        return self._see(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        self.clock += 1
        if self.clock == self._fail_at:
            raise RuntimeError("the toy is broken")
        agents = self.agents
        rewards = {a: float((self.seen[a][0] > 0) == (actions[a] == 1)) for a in agents}
        over = self.clock >= self._length
        seen = self._see()
        self.agents = [] if over else agents
        flags = dict.fromkeys(agents, False)
        return seen, rewards, flags, dict.fromkeys(agents, over), {a: {} for a in agents}


def guess(**kwargs: Any) -> Guess:
    return Guess(**kwargs)


def broken(**kwargs: Any) -> Guess:
    raise RuntimeError("no toy today")


class Anonymous:
    """What lacks the one attribute without which no network can be built."""

    agents: tuple[str, ...] = ()


def anonymous() -> Anonymous:
    return Anonymous()
