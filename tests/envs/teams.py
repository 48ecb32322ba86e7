"""Small ParallelEnvs of every kind that PettingZoo allows, and of some that it does not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.utils import EzPickle
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import AgentSelector

FOREVER = 1 << 30


class Life(NamedTuple):
    """Steps after which an agent is there, and in which it ends, and how it ends."""

    born: int = 0
    ends: int = FOREVER
    by: str = "terminated"  # or "truncated", or "both"


class Scripted(ParallelEnv[str, Any, Any]):
    """Agents with given spaces live given lives; all else is drawn from the seed.

    Observations are samples of their spaces, rewards standard normal plus the agent's
    number. `taken` holds the actions of all steps, `seeds` what every reset was given.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "scripted_v0"}

    def __init__(
        self,
        observation_spaces: Mapping[str, Any],
        action_spaces: Mapping[str, Any],
        lives: Mapping[str, Life] | None = None,
        horizon: int = 5,
    ) -> None:
        self.possible_agents = list(observation_spaces)
        self.agents: list[str] = []
        self.horizon = horizon
        self._observation_spaces = dict(observation_spaces)
        self._action_spaces = dict(action_spaces)
        self._lives = {agent: (lives or {}).get(agent, Life()) for agent in self.possible_agents}
        self.taken: list[dict[str, Any]] = []
        self.seeds: list[int | None] = []
        self.closed = False

    def observation_space(self, agent: str) -> Any:
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        return self._action_spaces[agent]

    def _observe(self, agent: str) -> Any:
        return self._observation_spaces[agent].sample()

    def _info(self, agent: str) -> dict[str, Any]:
        return {}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.seeds.append(seed)
        self.rng = np.random.default_rng(seed)
        for number, space in enumerate(self._observation_spaces.values()):
            space.seed(None if seed is None else seed % 2**31 + number)
        self.clock = 0
        self.taken = []
        self.agents = [agent for agent, life in self._lives.items() if life.born == 0]
        seen = {agent: self._observe(agent) for agent in self.agents}
        return seen, {agent: self._info(agent) for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        assert set(actions) == set(self.agents), (set(actions), self.agents)
        for agent, action in actions.items():
            assert self._action_spaces[agent].contains(action), (agent, action)
        self.taken.append(copy.deepcopy(actions))
        self.clock += 1
        acted = self.agents
        rewards = {
            agent: float(self.rng.normal()) + self.possible_agents.index(agent) for agent in acted
        }
        ending = {agent: self._lives[agent] for agent in acted}
        terminations = {
            a: life.ends == self.clock and life.by != "truncated" for a, life in ending.items()
        }
        truncations = {
            a: self.clock >= self.horizon or (life.ends == self.clock and life.by != "terminated")
            for a, life in ending.items()
        }
        seen = list(acted)
        self.agents = [a for a in acted if not terminations[a] and not truncations[a]]
        if self.clock < self.horizon:
            new = [agent for agent, life in self._lives.items() if life.born == self.clock]
            self.agents = self.agents + new
            seen += new
        observations = {agent: self._observe(agent) for agent in seen}
        infos = {agent: self._info(agent) for agent in seen}
        return observations, rewards, terminations, truncations, infos

    def close(self) -> None:
        self.closed = True


def plain(agents: int = 2, **options: Any) -> Scripted:
    """Agents "agent_0" ... that observe Box(3) and choose among four."""
    names = [f"agent_{number}" for number in range(agents)]
    return Scripted(
        {name: spaces.Box(-1.0, 1.0, (3,)) for name in names},
        {name: spaces.Discrete(4) for name in names},
        **options,
    )


def staggered() -> Scripted:
    """One agent terminates early, one is truncated later, two go on to the horizon."""
    lives = {"agent_0": Life(ends=2), "agent_2": Life(ends=3, by="truncated")}
    return plain(4, lives=lives, horizon=5)


def mixed_end() -> Scripted:
    """In the last step one terminates, one is truncated, and one both."""
    ends = ("terminated", "truncated", "both")
    lives = {f"agent_{number}": Life(ends=3, by=by) for number, by in enumerate(ends)}
    return plain(3, lives=lives, horizon=9)


def births() -> Scripted:
    """One agent comes after two steps, and the first one has gone before it goes."""
    return plain(2, lives={"agent_0": Life(ends=3), "agent_1": Life(born=2)}, horizon=6)


def uneven() -> Scripted:
    """A wolf and two sheep, of other spaces."""
    return Scripted(
        {
            "wolf": spaces.Box(-1.0, 1.0, (2, 3)),
            "sheep_0": spaces.Dict(
                position=spaces.Box(-9, 9, (2,), np.float64), phase=spaces.Discrete(3, start=1)
            ),
            "sheep_1": spaces.Dict(
                position=spaces.Box(-9, 9, (2,), np.float64), phase=spaces.Discrete(3, start=1)
            ),
        },
        {
            "wolf": spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64),
            "sheep_0": spaces.MultiDiscrete([2, 3], start=[5, 7]),
            "sheep_1": spaces.MultiDiscrete([2, 3], start=[5, 7]),
        },
    )


class Masked(Scripted):
    """Every agent may make the choice `clock % 4` and none other; masks in infos or not."""

    def __init__(
        self,
        place: str,
        mask: Callable[[int], Any] | None = None,
        lives: Mapping[str, Life] | None = None,
    ) -> None:
        seen: Any = spaces.Box(-1.0, 1.0, (3,))
        if place == "observation":
            seen = spaces.Dict(observation=seen, action_mask=spaces.MultiBinary(4))
        names = ("agent_0", "agent_1")
        super().__init__({n: seen for n in names}, {n: spaces.Discrete(4) for n in names}, lives)
        self.place = place
        self.mask = mask or (lambda clock: np.eye(4, dtype=np.int8)[clock % 4])

    def _observe(self, agent: str) -> Any:
        seen = super()._observe(agent)
        if self.place == "observation":
            seen["action_mask"] = self.mask(self.clock)
        return seen

    def _info(self, agent: str) -> dict[str, Any]:
        return {"action_mask": self.mask(self.clock)} if self.place == "infos" else {}


class Stateful(Scripted):
    """`plain` with a state of `width` numbers, which may change with the clock."""

    def __init__(self, width: Callable[[int], int] = lambda clock: 5) -> None:
        like = plain(2)
        super().__init__(like._observation_spaces, like._action_spaces)
        self.width = width

    def state(self) -> Any:
        return np.full((1, self.width(self.clock)), float(self.clock))


class Lingering(Scripted):
    """Agents that are gone stay in `agents`, flagged, and must be given actions."""

    def __init__(self) -> None:
        like = plain(3)
        lives = {"agent_0": Life(ends=2), "agent_2": Life(ends=3, by="truncated")}
        super().__init__(like._observation_spaces, like._action_spaces, lives, horizon=4)

    def step(self, actions: dict[str, Any]) -> Any:
        seen, rewards, terminations, truncations, infos = super().step(actions)
        for agent in self.possible_agents:
            life = self._lives[agent]
            if life.ends <= self.clock:
                terminations[agent] = life.by == "terminated"
                truncations[agent] = not terminations[agent]
        self.agents = list(self.possible_agents)
        return seen, rewards, terminations, truncations, infos


class Built(Scripted, EzPickle):
    """An EzPickle environment: pickled by gymnasium it forgets where its episode stands."""

    def __init__(self) -> None:
        EzPickle.__init__(self)
        like = plain(1)
        super().__init__(like._observation_spaces, like._action_spaces)


class Broken(Scripted):
    """`plain`, whose results of step `when` (0: of the reset) go through `damage`."""

    def __init__(self, damage: Callable[[Any], Any], when: int = 2) -> None:
        like = plain(2)
        super().__init__(like._observation_spaces, like._action_spaces)
        self.damage, self.when = damage, when

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        result = super().reset(seed, options)
        # The first two resets are those of the trial.
        return self.damage(result) if self.when == 0 and len(self.seeds) > 2 else result

    def step(self, actions: dict[str, Any]) -> Any:
        result = super().step(actions)
        return self.damage(result) if self.clock == self.when else result


class Unpicklable(Scripted):
    """Its rewards come from a generator, which nothing can save."""

    def __init__(self) -> None:
        like = plain(1)
        super().__init__(like._observation_spaces, like._action_spaces)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        result = super().reset(seed, options)
        self.numbers = (float(number) for number in range(100))
        return result

    def step(self, actions: dict[str, Any]) -> Any:
        seen, _, *rest = super().step(actions)
        return seen, {"agent_0": next(self.numbers)}, *rest


class Elsewhere(Scripted):
    """Its rewards come from a generator that all instances share, outside of them."""

    shared: ClassVar[np.random.Generator] = np.random.default_rng(0)

    def __init__(self) -> None:
        like = plain(1)
        super().__init__(like._observation_spaces, like._action_spaces)

    def step(self, actions: dict[str, Any]) -> Any:
        seen, _, *rest = super().step(actions)
        return seen, {"agent_0": float(Elsewhere.shared.normal())}, *rest


class Forgetful(Scripted):
    """Can be pickled, and leaves its generator out of the pickle."""

    def __init__(self) -> None:
        like = plain(1)
        super().__init__(like._observation_spaces, like._action_spaces)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"rng": np.random.default_rng(0)}


class Saving(Unpicklable):
    """Cannot be pickled, and saves itself: its generator is made anew from a count."""

    def state_dict(self) -> dict[str, Any]:
        space = self._observation_spaces["agent_0"]
        return {
            "clock": self.clock,
            "agents": self.agents,
            "taken": self.taken,
            "rng": self.rng,
            "space": space.np_random,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.clock, self.agents = state["clock"], state["agents"]
        self.taken, self.rng = state["taken"], state["rng"]
        self._observation_spaces["agent_0"]._np_random = state["space"]
        self.numbers = (float(number) for number in range(self.clock, 100))


class Turns(AECEnv[str, Any, Any]):
    """Two agents in turn; the world counts up after the second. `last_first` dies at 2."""

    metadata: ClassVar[dict[str, Any]] = {"name": "turns_v0", "is_parallelizable": True}

    def __init__(self, parallelizable: bool = True) -> None:
        super().__init__()
        self.metadata = self.metadata | {"is_parallelizable": parallelizable}
        self.possible_agents = ["first", "second"]
        self.render_mode = None

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(0.0, 100.0, (1,))

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(3)

    def observe(self, agent: str) -> Any:
        return np.array([self.clock], np.float32)

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.agents = list(self.possible_agents)
        self.clock = 0
        for name, value in (("terminations", False), ("truncations", False)):
            setattr(self, name, dict.fromkeys(self.agents, value))
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.infos: dict[str, Any] = {agent: {} for agent in self.agents}
        self._selector = AgentSelector(self.agents)
        self.agent_selection = self._selector.reset()

    def step(self, action: Any) -> None:
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self._clear_rewards()
        if self._selector.is_last():
            self.clock += 1
            self.rewards = {agent: float(self.clock) for agent in self.agents}
            self.truncations = dict.fromkeys(self.agents, self.clock >= 4)
        self.agent_selection = self._selector.next()
