"""The arrays that a sampler writes a rollout into, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from policies.actor import Actor
from trainers.mappo.faces import Face
from trainers.mappo.plan import TeamPlan
from trainers.mappo.rollout import Decisions, EpisodeStats, Rollout
from trainers.mappo.windows import WindowPacker


class Record:
    """The arrays of a rollout while it is sampled."""

    def __init__(
        self,
        plan: TeamPlan,
        env: Any,
        actors: Mapping[str, Actor],
        length: int,
        sequence_length: int,
    ) -> None:
        count, agents = env.num_envs, len(plan.agents)

        def floats(width: int, steps: int = length) -> NDArray[np.float32]:
            return np.empty((steps, count, width), dtype=np.float32)

        def flags(width: int) -> NDArray[np.bool_]:
            return np.empty((length, count, width), dtype=np.bool_)

        self._plan = plan
        self._env = env
        self._packed = plan.packed_width
        self._packer = WindowPacker(plan.windows, length, count) if plan.windows else None
        self._sequence_length = sequence_length
        self._decisions = {
            actor.name: Decisions(
                rows=floats(actor.row_width - self._packed),
                masks=flags(actor.mask_width),
                latent=floats(actor.action_width),
                log_prob=floats(actor.agent_count),
                memory=floats(actors[actor.name].memory_width, -(-length // sequence_length)),
                targets=floats(actors[actor.name].supervised),
            )
            for actor in plan.actors
        }
        self.states = floats(plan.state_width - self._packed)
        self.rewards = floats(agents)
        self._alive, self._terminations, self._truncations = (flags(agents) for _ in range(3))
        self._begins = np.empty((length, count), dtype=np.bool_)
        self._cut_index = [np.empty((0, 2), dtype=np.int64)]
        self._cut_states = [np.empty((0, plan.state_width), dtype=np.float32)]

    def before(
        self, t: int, face: Face, begins: NDArray[np.bool_], memory: Mapping[str, Tensor]
    ) -> None:
        """What is seen before the decision of step `t`."""
        self.states[t] = self._plan.critic_rows(self._env, face.alive)[:, self._packed :]
        if self._packer is not None:
            self._packer.add(t, self._env.rows, begins)
        self._alive[t] = face.alive
        self._begins[t] = begins
        for actor in self._plan.actors:
            into = self._decisions[actor.name]
            into.rows[t] = self._env.rows[:, actor.rows][:, self._packed :]
            into.masks[t] = face.masks[:, actor.masks]
            if t % self._sequence_length == 0 and actor.name in memory:
                into.memory[t // self._sequence_length] = memory[actor.name].numpy()

    def decided(self, name: str, t: int, latent: Tensor, log_prob: Tensor) -> None:
        """What the actor `name` chose in step `t`."""
        into = self._decisions[name]
        into.latent[t], into.log_prob[t] = latent.numpy(), log_prob.numpy()

    def after(self, t: int, face: Face, rewards: NDArray[np.float32]) -> None:
        """What step `t` led to, before any reset."""
        self.rewards[t] = rewards
        self._terminations[t], self._truncations[t] = face.terminations, face.truncations
        for actor in self._plan.actors:
            into = self._decisions[actor.name].targets
            if into.shape[-1]:
                into[t] = self._env.targets
        truncated = face.truncations & ~face.terminations
        cut = np.flatnonzero(truncated.any(axis=1))
        last = t == len(self.rewards) - 1
        if cut.size:
            states = self._plan.critic_rows(self._env, face.alive | truncated)
            self._cut_index.append(np.stack([np.full_like(cut, t), cut], axis=1))
            self._cut_states.append(states[cut])
        if last:
            self._last_states = self._plan.critic_rows(self._env, face.alive).copy()

    def rollout(self, stats: EpisodeStats) -> Rollout:
        """What was recorded."""
        return Rollout(
            decisions=self._decisions,
            states=self.states,
            rewards=self.rewards,
            alive=self._alive,
            begins=self._begins,
            terminations=self._terminations,
            truncations=self._truncations,
            last_states=self._last_states,
            cut_index=np.concatenate(self._cut_index),
            cut_states=np.concatenate(self._cut_states),
            stats=stats,
            windows=None if self._packer is None else self._packer.packed(),
        )
