"""Any PettingZoo environment behind the `TeamEnv` protocol: N instances, stepped in turn.

    make_vector(64, seed=1, env="mpe2.simple_spread_v3:parallel_env", kwargs={"N": 3})

The instances stay what they are, one Python object per row, stepped in this process. What
this face adds to a step lies within 15 us for three agents, which a test holds it to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ActionError, TrainingError
from envs.vector_groups import Member
from envs.vector_make import Maker
from envs.vector_row import Row, TeamArrays
from envs.vector_team import Team, read_team
from envs.vector_trial import resume_problem
from signals.noise import derive_seeds, mix
from signals.team import GroupLayout, TeamLayout

_RESETS = np.uint64(0x5EED)  # keeps the seeds of episodes apart from other uses of `mix`
_SEED_SHIFT = np.uint64(33)  # 31 bits are left: what every generator takes as a seed
_LARGEST = float(np.finfo(np.float32).max)
_NOT_BEGUN = -1


class VectorEnv:
    """See `envs.team.TeamEnv`. A row that has not begun, or has ended, waits for its reset.

    Args:
        team: what `read_team` found out about the environment.
        make: makes one instance.
        num_envs: N.
        seed: row n plays the seed hash(seed, n), which does not depend on N.

    Attributes:
        resumable: whether a restored state goes on to the bit; `make_vector` tries it.
        resume_problem: why it does not; "" where it does.
    """

    metric_names: tuple[str, ...] = ()

    def __init__(self, team: Team, make: Callable[[], Any], num_envs: int, seed: int) -> None:
        self.layout: TeamLayout = team.layout
        self.num_envs = num_envs
        self.resumable = True
        self.resume_problem = ""
        self._tried = False
        arrays = TeamArrays.of(team.layout, num_envs)
        self._arrays = arrays
        self.rows, self.states, self.masks = arrays.rows, arrays.states, arrays.masks
        self.alive, self.ended, self.rewards = arrays.alive, arrays.ended, arrays.rewards
        self.terminations, self.truncations = arrays.terminations, arrays.truncations
        self.episode_metrics = np.zeros((num_envs, 0))
        self._rows = [Row(make(), n, team.layout, team.members, arrays) for n in range(num_envs)]
        self._actions = _Actions(team.layout, team.members)
        self._starts = _factor_starts(team.layout)
        self._seeds = derive_seeds(seed, count=num_envs)
        self._episodes = np.full(num_envs, _NOT_BEGUN, np.int64)

    def reset(
        self,
        mask: NDArray[np.bool_] | None = None,
        seeds: NDArray[np.uint64] | None = None,
    ) -> None:
        """See `TeamEnv.reset`.

        Raises:
            TrainingError: the environment raises, or gives what no ParallelEnv may give.
        """
        indices = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        if seeds is None:
            self._episodes[indices] += 1
        else:
            self._seeds[indices] = seeds[indices]
            self._episodes[indices] = 0
        episodes = self._episodes[indices].astype(np.uint64)
        keys = mix(mix(self._seeds[indices]) ^ mix(episodes) ^ _RESETS) >> _SEED_SHIFT
        for index, key in zip(indices.tolist(), keys.tolist(), strict=True):
            self._rows[index].reset(key)
        self._check()

    def step(self, actions: NDArray[np.float32]) -> None:
        """See `TeamEnv.step`.

        Raises:
            ActionError: a number that an agent acts by is outside its range.
            TrainingError: the environment raises, or gives what no ParallelEnv may give.
        """
        decoded = self._actions.decoded(actions, self.alive)
        for row, ended in zip(self._rows, self.ended.tolist(), strict=True):
            if not ended:
                row.step(decoded)
        self._check()

    def _check(self) -> None:
        """Stop at the first number that is not finite, and where an agent may do nothing."""
        for values, named in (
            (self.rows, self._column),
            (self.rewards, self._reward),
            (self.states, self._state),
        ):
            if not np.isfinite(values).all():
                row, column = np.argwhere(~np.isfinite(values))[0].tolist()
                agent, what = named(column)
                raise self._rows[row].fault(
                    f"{what} is {values[row, column]}: expected a finite number", agent
                )
        if self._starts.size:
            allowed = np.logical_or.reduceat(self.masks, self._starts, axis=1)
            if not allowed.all():
                row, factor = np.argwhere(~allowed)[0].tolist()
                raise self._stuck(row, factor)

    def _column(self, column: int) -> tuple[str, str]:
        for group, cut in zip(self.layout.groups, self.layout.row_slices, strict=True):
            if column < cut.stop:
                agent, own = divmod(column - cut.start, group.observation_width)
                return group.agents[agent], f"observation '{group.columns[own]}'"
        raise IndexError(column)

    def _reward(self, column: int) -> tuple[str, str]:
        return self.layout.agent_names[column], "reward"

    def _state(self, column: int) -> tuple[None, str]:
        return None, f"number {column} of state()"

    def _stuck(self, row: int, number: int) -> TrainingError:
        """Categorical factor `number`, among those of masked agents, has no choice left."""
        for group in self.layout.groups:
            names = [factor.name for factor in _categorical(group)]
            if number < len(names) * len(group.agents):
                agent, own = divmod(number, len(names))
                return self._rows[row].fault(
                    f"its action mask forbids every choice of '{names[own]}': an agent in "
                    "'agents' needs one allowed choice at least",
                    group.agents[agent],
                )
            number -= len(names) * len(group.agents)
        raise IndexError(number)

    def judge(self, problem: str) -> None:
        """Note what a trial of another instance found: why it does not resume, or ""."""
        self.resumable, self.resume_problem = not problem, problem
        self._tried = True

    def state_dict(self) -> dict[str, Any]:
        """See `TeamEnv.state_dict`.

        Raises:
            TrainingError: the environment cannot be saved to the bit.
        """
        if not self.resumable:
            raise TrainingError(
                f"environment '{self.layout.name}' cannot be saved to the bit: "
                f"{self.resume_problem}; give it state_dict() and load_state(state), or begin "
                "its episodes anew after a resume"
            )
        environments = [row.save() for row in self._rows]
        if self._tried:
            for row, saved in zip(self._rows, environments, strict=True):
                row.refresh(saved)
        return {
            "layout": self.layout.digest,
            "arrays": {name: array.copy() for name, array in self._arrays._asdict().items()},
            "seeds": self._seeds.copy(),
            "episodes": self._episodes.copy(),
            "places": [(row.steps, row.seed) for row in self._rows],
            "environments": environments,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """See `TeamEnv.load_state`.

        Raises:
            TrainingError: the state is of another team or number of environments.
        """
        wanted = ("layout", "arrays", "seeds", "episodes", "places", "environments")
        if missing := [name for name in wanted if name not in state]:
            raise TrainingError(
                f"environment state: '{missing[0]}' is missing; give what state_dict() returned"
            )
        given = (state["layout"], len(state["places"]))
        if given != (own := (self.layout.digest, self.num_envs)):
            raise TrainingError(
                f"environment state: it is of {given[1]} environments with the layout "
                f"{given[0][:12]}, expected {own[1]} with {own[0][:12]}; restore into the same "
                "environment, groups and number"
            )
        restored = [
            row.restore(saved) for row, saved in zip(self._rows, state["environments"], strict=True)
        ]
        for name, array in self._arrays._asdict().items():
            array[...] = state["arrays"][name]
        self._seeds[:] = state["seeds"]
        self._episodes[:] = state["episodes"]
        for row, env, (steps, seed) in zip(self._rows, restored, state["places"], strict=True):
            row.resume(env, steps, seed)

    def close(self) -> None:
        """Close all instances, as far as they can be closed."""
        for row in self._rows:
            row.close()


class _Actions:
    """Joint actions of a team: which numbers are valid, and what they mean to each agent."""

    def __init__(self, layout: TeamLayout, members: Sequence[Member]) -> None:
        self._width = layout.action_width
        self._names: list[tuple[str, str]] = []  # agent and factor of each number
        self._decoders: list[tuple[slice, Callable[[NDArray[np.float32]], list[Any]]]] = []
        owners: list[int] = []
        ranges: list[tuple[float, float]] = []
        for index, member in enumerate(members):
            first = len(owners)
            for factor in member.acting.factors:
                bounds = {
                    "categorical": (0.0, factor.width - 1.0),
                    "bounded": (0.0, 1.0),
                    "unbounded": (-_LARGEST, _LARGEST),
                }[factor.kind]
                ranges += [bounds] * factor.action_width
                owners += [index] * factor.action_width
                self._names += [(member.name, factor.name)] * factor.action_width
            self._decoders.append((slice(first, len(owners)), member.acting.decode))
        self._owners = np.array(owners)
        self._low, self._high = np.array(ranges, np.float32).T
        kinds = [
            factor.kind
            for member in members
            for factor in member.acting.factors
            for _ in range(factor.action_width)
        ]
        self._whole = np.flatnonzero([kind == "categorical" for kind in kinds])

    def decoded(self, actions: NDArray[np.float32], alive: NDArray[np.bool_]) -> list[list[Any]]:
        """Per agent, its N actions in its own space.

        Raises:
            ActionError: a number of an agent that is alive is outside its range.
        """
        if actions.ndim != 2 or actions.shape != (expected := (len(alive), self._width)):
            raise ActionError(f"joint actions have shape {actions.shape}, expected {expected}")
        valid = (actions >= self._low) & (actions <= self._high)
        if self._whole.size:
            choices = actions[:, self._whole]
            valid[:, self._whole] &= choices == np.rint(choices)
        if not valid.all():
            wrong = ~valid & alive[:, self._owners]
            if wrong.any():
                raise self._refusal(actions, *np.argwhere(wrong)[0].tolist())
            actions = np.where(valid, actions, self._low)  # of agents that do not act
        return [decode(actions[:, cut]) for cut, decode in self._decoders]

    def _refusal(self, actions: NDArray[np.float32], row: int, column: int) -> ActionError:
        agent, factor = self._names[column]
        kind = "an index" if column in self._whole else "a number"
        return ActionError(
            f"{agent}.{factor} is {actions[row, column]} in environment {row}: expected {kind} "
            f"from {self._low[column]:g} to {self._high[column]:g}"
        )


def _categorical(group: GroupLayout) -> list[Any]:
    """The factors of one agent of the group that have flags in a row of masks."""
    if not group.masked:
        return []
    return [factor for factor in group.factors if factor.kind == "categorical"]


def _factor_starts(layout: TeamLayout) -> NDArray[np.int64]:
    """Where the flags of each masked categorical factor begin in a row of masks."""
    widths = [
        factor.width
        for group in layout.groups
        for _ in group.agents
        for factor in _categorical(group)
    ]
    return np.cumsum([0, *widths], dtype=np.int64)[:-1] if widths else np.empty(0, np.int64)


def make_vector(
    num_envs: int,
    seed: int,
    env: str | Callable[..., Any],
    groups: Mapping[str, Sequence[str]] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    with_state: bool = True,
) -> VectorEnv:
    """Make N instances of a PettingZoo environment.

    One more is made first, to find out what agents there are and whether it resumes, and
    is closed again.

    Args:
        env: a function that gives a ParallelEnv, or an AECEnv that is parallelizable; or
            its "package.module:function".
        groups: the agents of each group, by name or glob pattern; by default agents that
            observe and act alike form one.
        kwargs: what the function is called with.
        with_state: False leaves the environment's `state()` alone, which may cost more than
            a critic over joint observations gains by it.

    Raises:
        TrainingError: there is no such function, or what it gives is no environment that
            can be trained in.
        ConfigError: the groups do not fit the agents.
    """
    make = Maker(env, kwargs or {})
    first = make()
    team = read_team(first, make.label, groups, with_state)
    trial = VectorEnv(team, lambda: first, 1, seed)
    problem = resume_problem(trial)
    trial.close()
    vector = VectorEnv(team, make, num_envs, seed)
    vector.judge(problem)
    return vector
