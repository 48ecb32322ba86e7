"""What the update trains on: values, advantages and targets of a rollout, as units to draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.mappo import MappoConfig
from policies.actor import Actor
from policies.critic import Critic
from policies.gae import generalized_advantages
from trainers.mappo.plan import CRITIC, ActorPlan, TeamPlan
from trainers.mappo.rollout import Rollout
from trainers.mappo.windows import WindowTables

Rows = dict[str, Tensor]

MEMORY = "memory"  # the one array of a unit without a time axis
STATES, ROWS = "states", "rows"  # what windows stand in front of
_ADVANTAGE_EPSILON = 1e-8
_SPREAD_STATES = 16  # a rollout's last ones, on each of which every mask of the bank is tried


@dataclass(frozen=True)
class Batch:
    """One iteration's rows by module, unit first, and how many units there are.

    A unit is what a minibatch draws: a step of an environment (arrays [U, ...]), or
    where some actor has a memory a sequence of L steps (arrays [U, L, ...]). Every
    module sees the same units in the same order.
    """

    rows: dict[str, Rows]
    units: int
    sequences: bool
    places: Tensor | None = None  # of windows' newest bars, by unit
    tables: WindowTables | None = None

    def draw(self, name: str, index: Tensor, in_time: bool) -> Rows:
        """The units `index` [B] of one module: [L, B, ...] where `in_time`, else [B x L, ...]."""
        found = {key: value[index] for key, value in self.rows[name].items()}
        if self.tables is not None and self.places is not None:
            for key in found.keys() & {STATES, ROWS}:
                found[key] = self.tables.whole(found[key], self.places[index])
        if not self.sequences:
            return found
        return {
            key: value if key == MEMORY else _turn(value, in_time) for key, value in found.items()
        }


def _turn(value: Tensor, in_time: bool) -> Tensor:
    return value.transpose(0, 1) if in_time else value.flatten(0, 1)


class Batches:
    """Makes batches of rollouts. averaged: the mean of a tensor over all learners."""

    def __init__(
        self,
        plan: TeamPlan,
        settings: MappoConfig,
        actors: Mapping[str, Actor],
        critic: Critic,
        averaged: Callable[[Tensor], Tensor],
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._critic = critic
        self._averaged = averaged
        self._remembering = [name for name, actor in actors.items() if actor.memory_width]
        self._device = next(critic.parameters()).device

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        if not (array.flags.c_contiguous and array.flags.writeable):
            array = array.copy()  # what another process shares with us may not be written to
        return torch.from_numpy(array).to(self._device)

    @torch.no_grad()
    def prepare(self, rollout: Rollout) -> tuple[Batch, dict[str, float]]:
        """Values, advantages and normalised targets; rows by module."""
        settings, critic = self._settings, self._critic
        alive = None if rollout.alive.all() else self._tensor(rollout.alive)
        states = self._tensor(rollout.states)
        windows = rollout.windows
        tables = None if windows is None else WindowTables(windows, self._device)
        places = None if windows is None else self._tensor(windows.places)
        values, advantages = self.advantages(rollout, states, alive, tables, places)
        returns = advantages + values
        found = {"explained_variance": _explained_variance(values, returns, alive)}
        if critic.bank is not None:
            last = self._tensor(rollout.last_states)[:_SPREAD_STATES]
            found["value_spread"] = critic.spread(last).mean().item()
        if settings.critic.value_norm:
            mean, variance, known = self._moments(returns, alive)
            batches = settings.epochs * settings.minibatches
            critic.norm.update(mean, variance, batches, known)
            returns = critic.norm.normalize(returns)
        rows = {CRITIC: {STATES: states, "returns": returns}}
        if alive is not None:
            rows[CRITIC]["alive"] = alive
        for actor in self._plan.actors:
            rows[actor.name] = self._actor_rows(actor, rollout, advantages, alive)
        return self._batch(rows, rollout, tables, places), found

    def _values(self, states: Tensor, tables: WindowTables | None, places: Tensor | None) -> Tensor:
        """[T, N, A]; step by step where windows are to be put together, for their size."""
        if tables is None or places is None:
            return self._critic.values(states)
        steps = zip(states, places, strict=True)
        return torch.stack([self._critic.values(tables.whole(*step)) for step in steps])

    def _batch(
        self,
        rows: dict[str, Rows],
        rollout: Rollout,
        tables: WindowTables | None,
        places: Tensor | None,
    ) -> Batch:
        """Arrays [T, N, ...] of all modules as units."""
        sequences = self._plan.has_memory
        length = self._settings.sequence_length if sequences else 1

        def unit(value: Tensor) -> Tensor:
            return _sequences(value, length) if sequences else value.flatten(0, 1)

        units = {
            name: {key: unit(value) for key, value in part.items()} for name, part in rows.items()
        }
        for name in self._remembering:
            memory = self._tensor(rollout.decisions[name].memory)
            units[name][MEMORY] = memory.flatten(0, 1)
        drawn = None if places is None else unit(places)
        return Batch(units, rollout.env_steps() // length, sequences, drawn, tables)

    def advantages(
        self,
        rollout: Rollout,
        states: Tensor,
        alive: Tensor | None,
        tables: WindowTables | None = None,
        places: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(values, advantages), each [T, N, A], in the reward's scale."""
        settings, critic = self._settings, self._critic
        rewards = self._tensor(rollout.rewards)
        if settings.reward == "team":
            rewards = _team_reward(rewards, alive)
        values = self._values(states, tables, places)
        next_values = torch.cat(
            [values[1:], critic.values(self._tensor(rollout.last_states))[None]]
        )
        if len(rollout.cut_index):
            t, n = self._tensor(rollout.cut_index).unbind(1)
            cut = self._tensor(rollout.truncations)[t, n]  # the others go on to the next step
            cut_values = critic.values(self._tensor(rollout.cut_states))
            next_values[t, n] = torch.where(cut, cut_values, next_values[t, n])
        advantages = generalized_advantages(
            rewards,
            values,
            next_values,
            self._tensor(rollout.terminations),
            self._tensor(rollout.truncations),
            settings.gamma,
            settings.gae_lambda,
        )
        return values, advantages

    def _actor_rows(
        self, actor: ActorPlan, rollout: Rollout, advantages: Tensor, alive: Tensor | None
    ) -> Rows:
        decisions = rollout.decisions[actor.name]
        own = advantages[..., actor.agents]
        mine = None if alive is None else alive[..., actor.agents]
        rows = {
            name: self._tensor(getattr(decisions, name))
            for name in (ROWS, "latent", "log_prob", "targets")
        }
        rows["advantages"] = self._normalized(own, mine)
        if mine is not None:
            rows["alive"] = mine
        if actor.mask_width:
            rows["masks"] = self._tensor(decisions.masks)
        if actor.name in self._remembering:
            rows["begins"] = self._tensor(rollout.begins)
        return rows

    def _normalized(self, advantages: Tensor, alive: Tensor | None) -> Tensor:
        kind = self._settings.normalize_advantages
        if kind == "none":
            return advantages
        mean, variance, _ = self._moments(advantages, alive, pooled=kind == "group")
        deviation = variance.sqrt() + _ADVANTAGE_EPSILON
        return (advantages - mean.float()) / deviation.float()

    def _moments(
        self, values: Tensor, alive: Tensor | None, pooled: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and variance over steps and environments (pooled: and agents), and learners.

        values, alive: [T, N, A]. Returns float64 [A] each, or [1] pooled; 0 and 1 for
        an agent that never acted. The third, bool, says which did.
        """
        wide = values.double().flatten(0, 1)
        weight = torch.ones_like(wide) if alive is None else alive.flatten(0, 1).double()
        sums = torch.stack([weight, wide * weight, wide * wide * weight]).sum(1)
        if pooled:
            sums = sums.sum(1, keepdim=True)
        count, first, second = self._averaged(sums)
        known = count > 0
        count = count.clamp(min=torch.finfo(count.dtype).tiny)
        mean = first / count
        variance = (second / count - mean * mean).clamp(min=0.0)
        return mean, torch.where(known, variance, 1.0), known


def _sequences(values: Tensor, length: int) -> Tensor:
    """[T, N, ...] -> [T / length x N, length, ...]."""
    split: Tensor = values.unflatten(0, (-1, length))
    return split.transpose(1, 2).flatten(0, 1)


def _team_reward(rewards: Tensor, alive: Tensor | None) -> Tensor:
    """The mean over the agents that acted, for each of them: [T, N, A]."""
    if alive is None:
        return rewards.mean(-1, keepdim=True).expand_as(rewards)
    acted = alive.sum(-1, keepdim=True).clamp(min=1)
    mean: Tensor = (rewards * alive).sum(-1, keepdim=True) / acted
    return mean.expand_as(rewards)


def _explained_variance(values: Tensor, returns: Tensor, alive: Tensor | None) -> float:
    """1 - Var(returns - values) / Var(returns), over all agents; 0 for constant returns."""
    if alive is not None:
        values, returns = values[alive], returns[alive]
    variance = returns.var(correction=0).item()
    if variance == 0.0:
        return 0.0
    return 1.0 - (returns - values).var(correction=0).item() / variance
