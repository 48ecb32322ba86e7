"""Builds an `Update` over scripted teams, outside ray, with weights far from their start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from configs.actors import ActorConfig
from configs.mappo import CriticConfig, MappoConfig
from policies.actor import Actor
from policies.critic import CentralCritic
from signals.team import TeamLayout
from tests.trainers.team_envs import Life, ScriptedTeam
from trainers.mappo.plan import CRITIC, TeamPlan, plan_training
from trainers.mappo.rollout import Rollout
from trainers.mappo.sampler import Sampler
from trainers.mappo.update import Update, build_optimizer

ENVS, LENGTH, SEQUENCE = 4, 24, 8
SPREAD = 0.3  # of what is added to every weight


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """For modules that import it: on tensors this small a second thread only waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def settings_of(**changes: Any) -> MappoConfig:
    options = {
        "policy": ActorConfig(hidden=(8,), memory_width=5, output_gain=1.0),
        "critic": CriticConfig(hidden=(8,)),
        "num_envs": ENVS,
        "rollout_length": LENGTH,
        "sequence_length": SEQUENCE,
        "minibatches": 1,
        "epochs": 1,
        "learning_rate": 1e-3,
        "gamma": 0.9,
        "gae_lambda": 0.8,
    }
    return MappoConfig(**(options | changes))


@dataclass
class Bench:
    """Everything that an update needs, and the environment that it learns from."""

    plan: TeamPlan
    settings: MappoConfig
    env: ScriptedTeam
    sampler: Sampler
    actors: dict[str, Actor]
    critic: CentralCritic
    optimizers: dict[str, torch.optim.Optimizer]
    update: Update

    def sample(self, length: int = LENGTH) -> Rollout:
        rollout = self.sampler.sample(self.actors, length)
        for kept in (self.env.seen, self.env.led):  # what went before it goes
            del kept[:-length]
        return rollout

    def move(self, by: float, seed: int = 9) -> None:
        """The actors' weights, so that ratios are not 1."""
        for actor in self.actors.values():
            _move(actor, by, seed)

    def parameters(self) -> dict[str, Tensor]:
        modules = {CRITIC: self.critic, **self.actors}
        return {
            f"{name}.{key}": value.detach().clone()
            for name, module in modules.items()
            for key, value in module.named_parameters()
        }

    def gradients(self, rollout: Rollout) -> tuple[dict[str, Tensor], dict[str, float]]:
        """What one step of `Update` takes from every weight at learning rate 1, and its figures."""
        before = self.parameters()
        figures = self.update.run(rollout, progress=0.0, number=1)
        after = self.parameters()
        return {name: before[name] - after[name] for name in before}, figures


def bench(
    layout: TeamLayout,
    settings: MappoConfig,
    lives: dict[str, Life] | None = None,
    plain_steps: bool = False,
    kind: type[Update] = Update,
    averaged: Callable[[Tensor], Tensor] | None = None,
) -> Bench:
    """plain_steps: of gradient descent, so that a step is the gradient itself."""
    plan = plan_training(layout, settings)
    actors = {actor.name: actor.build() for actor in plan.actors}
    critic = plan.build_critic(settings)
    for seed, module in enumerate((*actors.values(), critic)):
        _move(module, SPREAD, seed)
    modules = {CRITIC: critic, **actors}
    optimizers: dict[str, torch.optim.Optimizer] = {}
    for name, module in modules.items():
        parameters = list(module.parameters())
        optimizers[name] = (
            torch.optim.SGD(parameters, lr=1.0)
            if plain_steps
            else build_optimizer(name, parameters, settings)
        )
    options = {} if averaged is None else {"averaged": averaged}
    update = kind(plan, settings, actors, critic, optimizers, **options)
    env = ScriptedTeam(layout, settings.num_envs, lives)
    sampler = Sampler(env, plan, 5, 0, 3, settings.sequence_length)
    return Bench(plan, settings, env, sampler, actors, critic, optimizers, update)


def _move(module: torch.nn.Module, by: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))
