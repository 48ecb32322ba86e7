"""A rollout as arrays: what a batched runner collects and a learner trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

_ENV_AXIS = {
    "rows": 1,
    "states": 1,
    "latent": 1,
    "log_prob": 1,
    "rewards": 1,
    "targets": 1,
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
class Rollout:
    """T steps of N environments, A agents; float32 unless said otherwise.

    rows [T, N, row_width], states [T, N, state_width]: before the decision.
    latent [T, N, action_width], log_prob [T, N, A]: of the decision.
    rewards [T, N, A]; targets [T, N, K] of the supervised components, NaN where
        the environment knows none.
    terminations, truncations: bool [T, N].
    last_states [N, state_width]: after the last step, before its reset if it ended.
    cut_index: int64 [M, 2], (t, n) of each truncation; cut_states [M, state_width]:
        the state it was cut in, whose value stands for what would have followed.
    """

    rows: FloatArray
    states: FloatArray
    latent: FloatArray
    log_prob: FloatArray
    rewards: FloatArray
    targets: FloatArray
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    last_states: FloatArray
    cut_index: NDArray[np.int64]
    cut_states: FloatArray
    stats: EpisodeStats
    weights_seq_no: int = 0

    @property
    def length(self) -> int:
        """T."""
        return int(self.rows.shape[0])

    @property
    def num_envs(self) -> int:
        """N."""
        return int(self.rows.shape[1])

    def env_steps(self) -> int:
        return self.length * self.num_envs

    def agent_steps(self) -> int:
        return self.env_steps() * int(self.rewards.shape[2])

    def __len__(self) -> int:
        return self.env_steps()

    def __getitem__(self, envs: slice) -> Rollout:
        """The rollout of the environments in `envs`, a slice of N."""
        start, stop, step = envs.indices(self.num_envs)
        if step != 1:
            raise ValueError(f"step={step} of a rollout's slice: expected 1")
        parts = {
            name: getattr(self, name)[(slice(None),) * axis + (slice(start, stop),)]
            for name, axis in _ENV_AXIS.items()
        }
        inside = (self.cut_index[:, 1] >= start) & (self.cut_index[:, 1] < stop)
        return replace(
            self,
            **parts,
            cut_index=self.cut_index[inside] - np.array([0, start]),
            cut_states=self.cut_states[inside],
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
        joined = {
            name: np.concatenate([getattr(r, name) for r in rollouts], axis=axis)
            for name, axis in _ENV_AXIS.items()
        }
        return cls(
            **joined,
            cut_index=np.concatenate(cuts),
            cut_states=np.concatenate([r.cut_states for r in rollouts]),
            stats=stats,
            weights_seq_no=min(r.weights_seq_no for r in rollouts),
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
