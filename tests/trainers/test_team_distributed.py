"""Teams on RLlib's runners and learners: several agree to the bit, one is as bare torch is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from configs.actors import ActorConfig
from configs.mappo import CriticConfig, MappoConfig, StopConfig
from tests.trainers.rays import local_ray
from trainers.mappo.algorithm import MAPPO
from trainers.mappo.config import VECTOR, MAPPOConfig, vector_options
from trainers.mappo.plan import CRITIC
from trainers.mappo.rollout import Rollout
from trainers.mappo.sampler import Sampler, make_environment
from trainers.mappo.update import Update, build_optimizer

pytestmark = pytest.mark.slow

TOY = "experiments.toy_team:make_batched"
GUESS = "tests.trainers.team_envs:guess"
LIVES = {"length": 10, "lives": [3, 9, 99, 5, 7]}


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(2):
        yield


def tiny(**changes: Any) -> MappoConfig:
    options = {
        "policy": ActorConfig(hidden=(8,), memory_width=4),
        "critic": CriticConfig(hidden=(8,)),
        "num_envs": 8,
        "rollout_length": 16,
        "sequence_length": 8,
        "minibatches": 2,
        "epochs": 2,
        "learning_rate": 3e-3,
        "stop": StopConfig(iterations=9),
        "seed": 3,
    }
    return MappoConfig(**(options | changes))


def trained(algorithm: MAPPO, iterations: int) -> list[dict[str, Any]]:
    """Weights by module of every learner."""
    try:
        for _ in range(iterations):
            algorithm.train()
        names = [actor.name for actor in algorithm.plan.actors]
        if not algorithm.config.num_learners:
            learner = algorithm.learner_group._learner
            return [learner.get_state(components="rl_module")["rl_module"]]
        found = algorithm.learner_group.foreach_learner(
            lambda learner: learner.get_state(components="rl_module")["rl_module"]
        )
        states = [each.get() for each in found]
        assert set(states[0]) == {CRITIC, *names}
        return states
    finally:
        algorithm.stop()


@pytest.mark.parametrize(
    "changes",
    [
        {"sharing": "per_agent"},
        {"sharing": "per_agent", "policy": ActorConfig(hidden=(8,), memory="gru", memory_width=4)},
        {"sharing": "sequential", "target_kl": 0.001},
        {"reward": "team", "critic": CriticConfig(hidden=(8,), identity=True)},
        {
            "policy": ActorConfig(hidden=(8,), input_norm="running"),
            "critic": CriticConfig(hidden=(8,), input_norm="running"),
        },
    ],
    ids=["separate", "memory", "sequential", "identity", "norm"],
)
def test_two_learners_hold_identical_weights(changes: dict[str, Any]):
    """Agents die at different times, so that the learners' shards hold unequal lives."""
    config = MAPPOConfig().mappo(tiny(learners=2, **changes)).batched_env(TOY, LIVES)
    start = {actor.name: actor.build().state_dict() for actor in config.training_plan.actors}
    first, second = trained(config.build_algo(), 3)
    moved = False
    for module, weights in first.items():
        assert len(weights) > 0
        for name, value in weights.items():
            np.testing.assert_array_equal(value, second[module][name], err_msg=name)
            if module != CRITIC:
                begun = start[module][name.removeprefix("actor.")].numpy()
                moved |= not np.array_equal(begun, value)
    assert moved and np.isfinite(np.concatenate([v.ravel() for v in first[CRITIC].values()])).all()


def bare(settings: MappoConfig, worker: int, iterations: int) -> dict[str, dict[str, Any]]:
    """The same training without ray: sample, update, again."""
    options = vector_options(GUESS, {}, settings)
    plan = MAPPOConfig().mappo(settings).parallel_env(GUESS).training_plan
    actors = {actor.name: actor.build() for actor in plan.actors}
    critic = plan.build_critic(settings)
    modules: dict[str, torch.nn.Module] = {CRITIC: critic, **actors}
    optimizers = {
        name: build_optimizer(name, list(module.parameters()), settings)
        for name, module in modules.items()
    }
    update = Update(plan, settings, actors, critic, optimizers)
    env = make_environment(VECTOR, settings.num_envs, settings.seed, options)
    sampler = Sampler(env, plan, settings.seed, worker, settings.stagger, settings.sequence_length)
    for number in range(1, iterations + 1):
        rollout: Rollout = sampler.sample(actors, settings.rollout_length)
        update.run(rollout, 0.0, number)
    return {name: module.state_dict() for name, module in modules.items()}


@pytest.mark.parametrize("runners", [0, 1], ids=["in the driver", "remote"])
def test_a_runner_and_a_learner_do_what_bare_torch_does(runners: int):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        memory = ActorConfig(hidden=(8,), memory="lstm", memory_width=4)
        settings = tiny(policy=memory, runners=runners, stagger=3)
        algorithm = MAPPOConfig().mappo(settings).parallel_env(GUESS).build_algo()
        (found,) = trained(algorithm, 3)
        expected = bare(settings, runners, 3)  # the driver's runner is 0, the first remote one 1
    finally:
        torch.set_num_threads(before)
    assert set(found) == set(expected)
    for module, weights in found.items():
        for name, value in weights.items():
            own = name.removeprefix("actor.").removeprefix("critic.")
            np.testing.assert_array_equal(value, expected[module][own].numpy(), err_msg=name)
