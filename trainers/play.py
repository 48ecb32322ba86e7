"""Whole episodes of a team: the trained actors by their modes, and random actions beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.errors import TrainingError
from configs.team import PlayConfig
from signals.layout import AgentLayout, LayerLayout
from signals.noise import derive_seeds
from signals.team import GroupLayout, TeamLayout
from trainers.evaluate import Actor
from trainers.mappo.faces import face_of
from trainers.mappo.plan import TeamPlan
from trainers.mappo.sampler import Actors

_PLAY = 3  # the purpose that episodes of evaluation are seeded for; training has 1 and 2


@dataclass(frozen=True)
class Played:
    """Returns [episodes, agents], undiscounted, and lengths [episodes] of whole episodes.

    Entry i is the same episode (seed and number) whoever plays.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]

    @property
    def team_returns(self) -> NDArray[np.float64]:
        """The mean over agents of each episode's return: [episodes]."""
        mean: NDArray[np.float64] = self.returns.mean(axis=1)
        return mean


class ModePlayer:
    """Acts by the modes of a team's actors, their memories kept per environment."""

    def __init__(self, plan: TeamPlan, actors: Actors, num_envs: int) -> None:
        self._plan = plan
        self._actors = actors
        self._actions = np.zeros((num_envs, plan.layout.action_width), dtype=np.float32)
        self._memory: dict[str, Tensor] = {
            name: torch.zeros(num_envs, actor.memory_width)
            for name, actor in actors.items()
            if actor.memory_width
        }

    def __call__(
        self,
        rows: NDArray[np.float32],
        masks: NDArray[np.bool_],
        begins: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Joint actions for rows [N, row_width] under masks [N, mask_width].

        begins: [N], of episodes' first rows, before which memory is cleared.
        """
        for memory in self._memory.values():
            memory[torch.from_numpy(begins)] = 0.0
        seen, allowed = torch.from_numpy(rows), torch.from_numpy(masks)
        with torch.no_grad():
            for plan in self._plan.actors:
                acted = self._actors[plan.name].act(
                    seen[:, plan.rows],
                    None,
                    allowed[:, plan.masks] if plan.mask_width else None,
                    self._memory.get(plan.name),
                )
                self._actions[:, plan.actions] = acted.actions.numpy()
                if acted.memory is not None:
                    self._memory[plan.name] = acted.memory
        return self._actions


class RandomPlayer:
    """Acts uniformly: over allowed categories, over [0, 1], and standard normal where unbounded."""

    def __init__(self, layout: LayerLayout | TeamLayout, seed: int) -> None:
        self._layout = layout
        self._generator = np.random.default_rng(seed)

    def __call__(
        self,
        rows: NDArray[np.float32],
        masks: NDArray[np.bool_],
        begins: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Joint actions for rows [N, row_width] under masks [N, mask_width]."""
        del begins  # nothing is remembered
        layout, count = self._layout, len(rows)
        if isinstance(layout, LayerLayout):
            return np.concatenate([self._agent(agent, count) for agent in layout.agents], axis=1)
        parts = [
            self._group(group, masks[:, allowed].reshape(count, len(group.agents), -1))
            for group, allowed in zip(layout.groups, layout.mask_slices, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    def _agent(self, agent: AgentLayout, count: int) -> NDArray[np.float32]:
        if agent.kind == "box":
            return self._generator.random((count, agent.action_width), dtype=np.float32)
        chosen = self._generator.integers(0, len(agent.components), (count, 1))
        return chosen.astype(np.float32)

    def _group(self, group: GroupLayout, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        shape, flag, parts = masks.shape[:2], 0, []
        for factor in group.factors:
            if factor.kind == "bounded":
                parts.append(self._generator.random((*shape, factor.width)))
            elif factor.kind == "unbounded":
                parts.append(self._generator.standard_normal((*shape, factor.width)))
            else:
                weight = self._generator.random((*shape, factor.width))
                if group.masked:
                    weight = np.where(masks[..., flag : flag + factor.width], weight, -1.0)
                    flag += factor.width
                parts.append(weight.argmax(axis=-1)[..., None])
        joined = np.concatenate(parts, axis=-1).astype(np.float32)
        return joined.reshape(shape[0], -1)


class SchedulePlayer:
    """A baseline of a layer, which reads rows and knows by them when an episode begins."""

    def __init__(self, baseline: Actor) -> None:
        self._baseline = baseline

    def __call__(
        self,
        rows: NDArray[np.float32],
        masks: NDArray[np.bool_],
        begins: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Joint actions for rows [N, row_width]."""
        del masks, begins
        return self._baseline.act(rows)


Player = ModePlayer | RandomPlayer | SchedulePlayer


def play(
    make_env: Callable[[int, int], Any],
    make_player: Callable[[int], Player],
    plan: TeamPlan,
    config: PlayConfig,
) -> Played:
    """Play `config.episodes` whole episodes, every environment equally many or one more.

    make_env: (num_envs, seed) -> a `BatchedEnv` or a `TeamEnv`. make_player: num_envs ->
    who acts. Two players with one `config` play the same episodes.

    Raises:
        TrainingError: an episode was not over after `config.max_steps`.
    """
    count = min(config.num_envs, config.episodes)
    env, player = make_env(count, config.seed), make_player(count)
    face = face_of(env, plan)
    wanted = np.full(count, config.episodes // count)
    wanted[: config.episodes % count] += 1
    done = np.zeros(count, dtype=np.int64)
    running, steps = np.zeros((count, len(plan.agents))), np.zeros(count, dtype=np.int64)
    returns = np.zeros((count, int(wanted.max()), len(plan.agents)))
    lengths = np.zeros(returns.shape[:2], dtype=np.int64)
    begins = np.ones(count, dtype=np.bool_)
    try:
        env.reset(seeds=derive_seeds(config.seed, _PLAY, count=count))
        while (playing := done < wanted).any():
            env.step(player(env.rows, face.masks, begins))
            begins = np.zeros(count, dtype=np.bool_)
            running += env.rewards
            steps += 1
            if (steps[playing] > config.max_steps).any():
                raise TrainingError(
                    f"an episode of '{plan.name}' was not over after {config.max_steps} steps: "
                    "have the environment truncate it, or raise play.max_steps"
                )
            if (over := face.ended).any():
                (ended,) = np.nonzero(over & playing)
                returns[ended, done[ended]] = running[ended]
                lengths[ended, done[ended]] = steps[ended]
                done += over
                running[over], steps[over] = 0.0, 0
                begins = over.copy()
                env.reset(begins)
    finally:
        if hasattr(env, "close"):
            env.close()
    played = np.arange(returns.shape[1]) < wanted[:, None]
    return Played(returns[played], lengths[played])
