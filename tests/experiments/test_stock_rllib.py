"""Stock RLlib is measured on equal terms: as many steps, as many updates, as many rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from ray.rllib.core.columns import Columns

from experiments.contenders import Sharing, Training
from experiments.stock_rllib import Stock, TeamAsMultiAgentEnv, local_ray
from experiments.toy_team import AGENT_NAMES, AGENTS, CHOICES, parallel_env


def test_a_team_ends_for_all_once_nobody_is_left() -> None:
    lives = (2, 4, 4, 4, 4)
    for length, told in ((4, "terminations"), (5, "terminations"), (3, "truncations")):
        env = TeamAsMultiAgentEnv(parallel_env(length, lives))
        env.reset(seed=0)
        for step in range(1, min(length, 4) + 1):
            actions = dict.fromkeys(env.agents, 0)
            _, rewards, terminations, truncations, _ = env.step(actions)
            assert set(rewards) == set(actions)
            last = step == min(length, 4)
            assert terminations["__all__"] == (last and told == "terminations")
            assert truncations["__all__"] == (last and told == "truncations")
            assert terminations.get("agent_0", False) == (step == 2)
        assert env.agents == []


def test_its_spaces_are_those_of_the_team() -> None:
    env = TeamAsMultiAgentEnv(parallel_env())
    assert env.possible_agents == list(AGENT_NAMES)
    assert env.action_space["agent_3"].n == CHOICES
    observations, infos = env.reset(seed=1)
    assert env.observation_space.contains(observations) and set(infos) == set(AGENT_NAMES)


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    threads = torch.get_num_threads()
    with local_ray():
        yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize("sharing", ["shared", "separate"])
@pytest.mark.parametrize("num_envs", [8, 32])
def test_updates_are_equal_to_ours(sharing: Sharing, num_envs: int) -> None:
    training = Training()
    stock = Stock(num_envs, sharing, training)
    learner = stock.algorithm.learner_group._learner
    compute, rows = learner.compute_gradients, []

    def counted(losses: dict[str, Any], **kwargs: Any) -> Any:
        rows.append(None)
        return compute(losses, **kwargs)

    learner.compute_gradients = counted
    masks: dict[str, int] = dict.fromkeys(learner.module.keys(), 0)
    loss_of = learner.compute_loss_for_module

    def with_rows(**kwargs: Any) -> Any:
        masks[kwargs["module_id"]] += int(kwargs["batch"][Columns.LOSS_MASK].sum())
        return loss_of(**kwargs)

    learner.compute_loss_for_module = with_rows
    try:
        assert stock.iterate() == stock.sample() == training.env_steps
    finally:
        stock.close()
    assert len(rows) == training.gradient_steps
    expected = training.env_steps * training.epochs * AGENTS / len(masks)
    for module, seen in masks.items():
        assert seen == pytest.approx(expected, rel=0.01), module
