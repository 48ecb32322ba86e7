"""Our trainer among the contenders: equal settings, the shares of its time, and it learns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from experiments.bench.mappo_execution import Shares
from experiments.contenders import Sharing, Training
from experiments.ours_toy import OursToy, toy_settings
from experiments.stock_rllib import local_ray
from experiments.toy_team import AGENTS, CHOICES, COLUMNS

FAST = Training(env_steps=2048, learning_rate=3e-3)


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    threads = torch.get_num_threads()
    with local_ray():
        yield
    torch.set_num_threads(threads)


def test_an_iteration_is_the_contenders() -> None:
    training = Training()
    settings = toy_settings("shared", training)
    assert settings.iteration_env_steps == training.env_steps
    assert settings.epochs * settings.minibatches == training.gradient_steps == 16
    assert settings.policy.hidden == settings.critic.hidden == training.hidden == (64, 64)
    assert settings.runners == settings.learners == 0


@pytest.mark.parametrize(("sharing", "iterations"), [("shared", 12), ("separate", 20)])
def test_it_learns_the_rule_as_the_bare_loop_does(sharing: Sharing, iterations: int) -> None:
    ours = OursToy(sharing, FAST)
    try:
        for _ in range(iterations + 1):
            assert ours.iterate() == FAST.env_steps
        rewards = ours.algorithm.last.episodes.step_means()
        assert sum(rewards[f"reward/agent_{k}"] for k in range(AGENTS)) / AGENTS > 0.6
        weights = sum(
            value.numel()
            for plan in ours.algorithm.config.training_plan.actors
            for value in ours.algorithm.env_runner.module[plan.name].actor.parameters()
        )
        width = FAST.hidden[0]
        one = COLUMNS * width + width + width * width + width + width * CHOICES + CHOICES
        assert weights == one * (1 if sharing == "shared" else AGENTS)
    finally:
        ours.close()


def test_shares_of_the_time_are_parts_of_it() -> None:
    ours = OursToy("shared", FAST)
    try:
        ours.iterate()
        shares = Shares(ours)
        assert ours.sample() == FAST.env_steps
        sampled = dict(shares.seconds)
        assert sampled["environment"] > 0 and sampled["forward"] > 0 and sampled["learner"] == 0
        ours.iterate()
        assert all(shares.seconds[part] > sampled[part] for part in sampled)
    finally:
        ours.close()
