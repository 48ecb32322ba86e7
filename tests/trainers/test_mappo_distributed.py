"""RLlib's own runners and learners, and the known optimum: minutes, so marked slow."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from configs.actors import ActorConfig
from configs.errors import TrainingError
from configs.mappo import CriticConfig, MappoConfig, StopConfig
from policies.sequential import SequentialPolicy
from tests.trainers.rays import local_ray
from tests.trainers.test_train import MAKE, run, same, tiny
from tests.trainers.toy_env import ToyEnv, toy_layout
from trainers.mappo.config import MAPPOConfig
from trainers.mappo.plan import POLICY, TeamPlan, plan_training
from trainers.mappo.sampler import Sampler

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(2):
        yield


def test_two_learners_hold_identical_weights():
    config = tiny(3, learners=2)
    algorithm = MAPPOConfig().mappo(config).batched_env(MAKE).build_algo()
    try:
        for _ in range(3):
            algorithm.train()
        states = [
            found.get()
            for found in algorithm.learner_group.foreach_learner(
                lambda learner: learner.get_state(components="rl_module")["rl_module"]
            )
        ]
        assert len(states) == 2
        for module in ("critic", "policy"):
            for name, value in states[0][module].items():
                np.testing.assert_array_equal(value, states[1][module][name], err_msg=name)
        start = SequentialPolicy(toy_layout(), config.policy, config.seed)
        trained = algorithm.actors()[POLICY]
        assert not torch.equal(start.row_weight, trained.row_weight)
    finally:
        algorithm.stop()


def test_a_remote_runner_trains_as_the_local_one_would(tmp_path: Path):
    remote, reports = run(tiny(3, runners=1), tmp_path / "a")
    again, repeated = run(tiny(3, runners=1), tmp_path / "b")
    assert [r.losses for r in reports] == [r.losses for r in repeated]
    assert same(remote, again)
    more, _ = run(tiny(5, runners=1), tmp_path / "a", resume=True)
    whole, _ = run(tiny(5, runners=1), tmp_path / "c")
    assert same(more, whole)


def test_a_fault_in_a_remote_runner_is_told_in_the_driver(tmp_path: Path):
    with pytest.raises(TrainingError, match=r"agent 'follower' is nan in environment row 1"):
        run(tiny(3, runners=1), tmp_path, kwargs={"spoil_at": 30})


def test_an_iteration_without_samples_is_an_error():
    config = MAPPOConfig().mappo(tiny(3, runners=1)).batched_env(MAKE)
    config.fault_tolerance(restart_failed_env_runners=False, ignore_env_runner_failures=True)
    algorithm = config.build_algo()
    try:
        algorithm.train()
        for actor in algorithm.env_runner_group._worker_manager.actors().values():
            ray.kill(actor)
        with pytest.raises(TrainingError, match="sampled nothing"):
            algorithm.train()
    finally:
        algorithm.stop()


def test_a_restarted_runner_samples_anew():
    config = MAPPOConfig().mappo(tiny(9, runners=1)).batched_env(MAKE)
    config.fault_tolerance(restart_failed_env_runners=True, ignore_env_runner_failures=True)
    algorithm = config.build_algo()
    try:
        algorithm.train()
        begun = algorithm.env_runner_group.foreach_env_runner(
            lambda runner: runner.simulator_state()["begun"], local_env_runner=False
        )
        assert begun == [0]
        for actor in algorithm.env_runner_group._worker_manager.actors().values():
            ray.kill(actor, no_restart=False)
        for _ in range(60):  # some may go by without a sample until it is back
            with contextlib.suppress(TrainingError):
                algorithm.train()
                break
            time.sleep(0.5)
        begun = algorithm.env_runner_group.foreach_env_runner(
            lambda runner: runner.simulator_state()["begun"], local_env_runner=False
        )
        assert len(begun) == 1 and begun[0] >= 1
    finally:
        algorithm.stop()


def _plan() -> TeamPlan:
    return plan_training(toy_layout(), MappoConfig())


def _score(policy: SequentialPolicy | None, steps: int = 200) -> float:
    """Mean reward per step of the policy's mode; of uniform random actions for None."""
    env = ToyEnv(256, 10_000)
    if policy is not None:
        rollout = Sampler(env, _plan(), 77).sample({POLICY: policy}, steps, explore=False)
        return float(rollout.rewards.mean())
    generator = np.random.default_rng(0)
    env.reset()
    total = 0.0
    for _ in range(steps):
        actions = generator.random((256, env.layout.action_width), dtype=np.float32)
        actions[:, 2] = generator.integers(0, 3, 256)
        env.step(actions)
        total += float(env.rewards.mean())
        env.reset(env.terminations | env.truncations)
    return total / steps


def test_mappo_reaches_the_known_optimum(tmp_path: Path):
    """The optimum is 0: >= 90% of the way there from random, and each agent does its part."""
    config = MappoConfig(
        policy=ActorConfig(hidden=(64, 64)),
        critic=CriticConfig(hidden=(64, 64)),
        stop=StopConfig(env_steps=300_000),
        gamma=0.9,
        learning_rate=1e-3,
        learning_rate_decay="linear",
        epochs=4,
        stagger=8,
        seed=1,
    )
    result, _ = run(config, tmp_path)
    random, trained = _score(None), _score(result.policy)
    share = 1.0 - trained / random
    assert share >= 0.97, f"random {random:.4f}, trained {trained:.4f}, optimum 0"
    rollout = Sampler(ToyEnv(256, 10_000), _plan(), 77).sample(result.actors, 100, explore=False)
    terms = rollout.stats.step_means()
    # Without its upstream the follower can do no better than .17, the monitor than .16.
    assert terms["term/follower"] > -0.03
    assert terms["term/monitor"] > -0.03
    assert rollout.stats.episode_means()["error"] < 0.06  # the supervised component
