"""A rollout as arrays: what a batched runner collects and a learner trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trainers.mappo.windows import PackedWindows

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

_ENV_AXIS = {
    "states": 1,
    "rewards": 1,
    "alive": 1,
    "begins": 1,
    "terminations": 1,
    "truncations": 1,
    "last_states": 0,
}


@dataclass
class EpisodeStats:
    """Sums over the episodes that ended inside a rollout, and over its steps.

    Kept as sums so that rollouts of several runners add up.
    """

    episodes: int = 0
    steps: int = 0
    episode_sums: dict[str, float] = field(default_factory=dict)
    step_sums: dict[str, float] = field(default_factory=dict)

    def add(self, other: EpisodeStats) -> None:
        self.episodes += other.episodes
        self.steps += other.steps
        for name, value in other.episode_sums.items():
            self.episode_sums[name] = self.episode_sums.get(name, 0.0) + value
        for name, value in other.step_sums.items():
            self.step_sums[name] = self.step_sums.get(name, 0.0) + value

    def episode_means(self) -> dict[str, float]:
        """Mean per finished episode; empty where none finished."""
        if self.episodes == 0:
            return {}
        return {name: value / self.episodes for name, value in self.episode_sums.items()}

    def step_means(self) -> dict[str, float]:
        """Mean per environment step."""
        if self.steps == 0:
            return {}
        return {name: value / self.steps for name, value in self.step_sums.items()}


@dataclass(frozen=True)
class Decisions:
    """What one actor read and chose: T steps of N environments, its own A agents; float32.

    rows [T, N, row_width], masks [T, N, mask_width] (bool): before the decision.
    latent [T, N, action_width], log_prob [T, N, A]: of the decision.
    memory [C, N, memory_width]: before the first step of each of C equal sequences.
    targets [T, N, K]: of the supervised components, NaN where the environment knows none.
    """

    rows: FloatArray
    masks: BoolArray
    latent: FloatArray
    log_prob: FloatArray
    memory: FloatArray
    targets: FloatArray

    def __getitem__(self, envs: slice) -> Decisions:
        return Decisions(**{f.name: getattr(self, f.name)[:, envs] for f in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Decisions]) -> Decisions:
        return cls(
            **{
                f.name: np.concatenate([getattr(part, f.name) for part in parts], axis=1)
                for f in fields(cls)
            }
        )


@dataclass(frozen=True)
class Rollout:
    """T steps of N environments, A agents; float32 unless said otherwise.

    decisions: by actor.
    states [T, N, state_width]: what the critic reads, before the decision.
    windows: what the rows of `decisions` and the states begin with, where the layout has
        windows; those rows then hold the columns after them alone.
    rewards [T, N, A]. alive: bool [T, N, A], the agent acted.
    begins: bool [T, N], the step is an episode's first.
    terminations, truncations: bool [T, N, A], the agent's life ended in the step.
    last_states [N, state_width]: after the last step, before its reset if it ended.
    cut_index: int64 [M, 2], (t, n) of each step in which an agent was truncated;
        cut_states [M, state_width]: what the critic reads right after it, the truncated
        agents taken as alive, whose value stands for what would have followed to them.
    """

    decisions: dict[str, Decisions]
    states: FloatArray
    rewards: FloatArray
    alive: BoolArray
    begins: BoolArray
    terminations: BoolArray
    truncations: BoolArray
    last_states: FloatArray
    cut_index: NDArray[np.int64]
    cut_states: FloatArray
    stats: EpisodeStats
    weights_seq_no: int = 0
    windows: PackedWindows | None = None

    @property
    def length(self) -> int:
        """T."""
        return int(self.rewards.shape[0])

    @property
    def num_envs(self) -> int:
        """N."""
        return int(self.rewards.shape[1])

    def env_steps(self) -> int:
        return self.length * self.num_envs

    def agent_steps(self) -> int:
        """Decisions of agents that were alive."""
        return int(self.alive.sum())

    def __len__(self) -> int:
        return self.env_steps()

    def __getitem__(self, envs: slice) -> Rollout:
        """The rollout of the environments in `envs`, a slice of N."""
        start, stop, step = envs.indices(self.num_envs)
        if step != 1:
            raise ValueError(f"step={step} of a rollout's slice: expected 1")
        part = slice(start, stop)
        parts = {
            name: getattr(self, name)[(slice(None),) * axis + (part,)]
            for name, axis in _ENV_AXIS.items()
        }
        inside = (self.cut_index[:, 1] >= start) & (self.cut_index[:, 1] < stop)
        return replace(
            self,
            **parts,
            decisions={name: found[part] for name, found in self.decisions.items()},
            cut_index=self.cut_index[inside] - np.array([0, start]),
            cut_states=self.cut_states[inside],
            windows=None if self.windows is None else self.windows[part],
        )

    def split(self, parts: int) -> list[Rollout]:
        """`parts` equal rollouts over the environments; N must divide by them."""
        size, rest = divmod(self.num_envs, parts)
        if rest:
            raise ValueError(f"{self.num_envs} environments do not divide into {parts} parts")
        return [self[k * size : (k + 1) * size] for k in range(parts)]

    @classmethod
    def concatenate(cls, rollouts: Sequence[Self]) -> Self:
        """One rollout of all environments; the rollouts must be equally long."""
        if len(rollouts) == 1:
            return rollouts[0]
        stats = EpisodeStats()
        cuts, offset = [], 0
        for rollout in rollouts:
            stats.add(rollout.stats)
            cuts.append(rollout.cut_index + np.array([0, offset]))
            offset += rollout.num_envs
        packed = [r.windows for r in rollouts if r.windows is not None]
        joined = {
            name: np.concatenate([getattr(r, name) for r in rollouts], axis=axis)
            for name, axis in _ENV_AXIS.items()
        }
        return cls(
            **joined,
            decisions={
                name: Decisions.concatenate([r.decisions[name] for r in rollouts])
                for name in rollouts[0].decisions
            },
            cut_index=np.concatenate(cuts),
            cut_states=np.concatenate([r.cut_states for r in rollouts]),
            stats=stats,
            weights_seq_no=min(r.weights_seq_no for r in rollouts),
            windows=PackedWindows.concatenate(packed) if packed else None,
        )


@dataclass(frozen=True)
class RolloutFailure:
    """What a remote runner returns in place of a rollout: an error that a user can mend.

    An exception would end the actor, and RLlib would go on with no data and no error.
    """

    message: str

    def __len__(self) -> int:
        return 0

    def env_steps(self) -> int:
        return 0

    def agent_steps(self) -> int:
        return 0


# The answer of a runner that was built anew in place of a lost one, and was not noticed to be.
OUTDATED = RolloutFailure("this runner has not the weights to sample with")
