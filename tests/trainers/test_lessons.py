"""What is learnt, and what cannot be: seconds of training each, outside ray."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from configs.actors import ActorConfig
from configs.mappo import CriticConfig, MappoConfig
from configs.team import PlayConfig
from tests.trainers.lessons import Aim, Both, Early, Forbidden, Last, Lesson, Recall, Roles
from tests.trainers.updates import one_thread  # noqa: F401  a fixture
from trainers.mappo.plan import CRITIC, plan_training
from trainers.mappo.sampler import Sampler
from trainers.mappo.update import Update, build_optimizer
from trainers.play import ModePlayer, play

pytestmark = pytest.mark.slow


def learnt(
    lesson: type[Lesson], iterations: int, policy: dict[str, Any] | None = None, **changes: Any
) -> np.ndarray:
    """Each agent's mean return of its modes, after `iterations` of 32 x 24 steps."""
    options: dict[str, Any] = {
        "policy": ActorConfig(hidden=(32,), memory_width=16, **(policy or {})),
        "critic": CriticConfig(hidden=(32,)),
        "num_envs": 32,
        "rollout_length": 24,
        "sequence_length": 6,
        "minibatches": 2,
        "epochs": 5,
        "learning_rate": 3e-3,
        "learning_rate_decay": "linear",
        "seed": 1,
    }
    settings = MappoConfig(**(options | changes))
    env = lesson(settings.num_envs, settings.seed)
    plan = plan_training(env.layout, settings)
    actors = {actor.name: actor.build() for actor in plan.actors}
    critic = plan.build_critic(settings)
    modules: dict[str, torch.nn.Module] = {CRITIC: critic, **actors}
    optimizers = {
        name: build_optimizer(name, list(module.parameters()), settings)
        for name, module in modules.items()
    }
    update = Update(plan, settings, actors, critic, optimizers)
    sampler = Sampler(env, plan, settings.seed, 0, 0, settings.sequence_length)
    for number in range(iterations):
        update.run(sampler.sample(actors, settings.rollout_length), number / iterations, number)
    played = play(
        lesson,
        lambda count: ModePlayer(plan, actors, count),
        plan,
        PlayConfig(episodes=512, num_envs=64, seed=99, max_steps=lesson.horizon),
    )
    return played.returns.mean(axis=0)


@pytest.mark.parametrize("sharing", ["shared", "per_agent"])
@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_a_memory_recalls_a_cue(memory: str, sharing: str):
    found = learnt(Recall, 60, {"memory": memory}, sharing=sharing)
    assert (found > 0.95).all(), found


def test_without_a_memory_a_cue_is_forgotten():
    found = learnt(Recall, 60)
    assert (abs(found - 0.25) < 0.1).all(), found  # chance


@pytest.mark.parametrize("sharing", ["shared", "sequential"])
def test_what_is_forbidden_is_never_chosen_and_the_best_of_the_rest_is(sharing: str):
    found = learnt(Forbidden, 80, sharing=sharing)
    assert (found > 0.95 * Forbidden.horizon).all(), found


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("lesson", [Last, Early])
def test_an_end_is_worth_nothing_more(lesson: type[Lesson], identity: bool):
    """In the last step, where nothing is lost by it, choice 1 pays .1 more: 1.1 in all."""
    critic = CriticConfig(hidden=(32,), identity=identity)
    found = learnt(lesson, 60, critic=critic, gamma=0.9)  # so that a leak would be felt by then
    assert (np.array([0.99, 9.9]) < found).all() and (found < [1.11, 11.1]).all(), found


@pytest.mark.parametrize(
    ("sharing", "policy"),
    [
        ("shared", {"bounded": "beta"}),
        ("per_agent", {"bounded": "squashed"}),
        ("shared", {"bounded": "squashed", "state_dependent_sigma": True}),
        ("sequential", {}),
    ],
)
def test_numbers_are_aimed(sharing: str, policy: dict[str, Any]):
    found = learnt(Aim, 120, policy, sharing=sharing, gamma=0.0)
    missed = -found / Aim.horizon / 2  # the mean squared miss of a number; .041 in the middle
    assert (missed < 0.002).all(), missed


def test_two_choices_are_made_at_once():
    found = learnt(Both, 100, gamma=0.0)
    assert (found > 0.97 * Both.horizon).all(), found


@pytest.mark.parametrize(
    ("sharing", "identity", "solves"),
    [
        ("shared", False, False),
        ("shared", True, True),
        ("per_agent", False, True),
        ("sequential", False, True),
    ],
)
def test_roles_need_weights_or_numbers_of_their_own(sharing: str, identity: bool, solves: bool):
    found = learnt(Roles, 30, {"identity": identity}, sharing=sharing)
    if solves:
        assert found == pytest.approx([4.0, 4.0])
    else:  # whoever is served, the other is not
        assert sorted(found) == pytest.approx([0.0, 4.0])
