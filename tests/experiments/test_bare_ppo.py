"""The bare loop is a fair opponent: it learns, and its advantages are those of the project."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.bare_ppo import BarePPO
from experiments.contenders import Sharing, Training
from experiments.toy_team import AGENTS, CHOICES, make_batched
from policies.gae import generalized_advantages

FAST = Training(env_steps=2048, learning_rate=3e-3)


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("sharing", "iterations"), [("shared", 12), ("separate", 20)])
def test_it_learns_the_rule(sharing: Sharing, iterations: int) -> None:
    bare = BarePPO(sharing, FAST)
    bare.iterate()
    assert bare.reward == pytest.approx(1 / CHOICES, abs=0.03)
    for _ in range(iterations):
        bare.iterate()
    assert bare.reward > 0.6


def test_the_same_seed_learns_the_same() -> None:
    def weights() -> torch.Tensor:
        bare = BarePPO("shared", FAST)
        bare.iterate()
        return torch.cat([value.flatten() for value in bare.critic.parameters()])

    assert torch.equal(weights(), weights())


@pytest.mark.parametrize(("length", "lives"), [(30, ()), (30, (15,) * AGENTS)])
def test_its_advantages_are_those_of_the_project(length: int, lives: tuple[int, ...]) -> None:
    """Over episodes that are cut, and over episodes in which all die, within the rollout."""
    training = Training(env_steps=16 * 40)
    bare = BarePPO("shared", training, num_envs=16)
    bare.env, replayed = (make_batched(16, 1, length=length, lives=lives) for _ in range(2))
    bare.env.reset()
    replayed.reset()
    batch = bare._batch(*bare._rollout())
    seen, after, rewards, died, cut = [], [], [], [], []
    for choices in batch.choices:
        seen.append(torch.tensor(replayed.rows))
        replayed.step(choices.float().numpy())
        after.append(torch.tensor(replayed.rows))
        rewards.append(torch.tensor(replayed.rewards))
        died.append(torch.tensor(replayed.terminations.any(axis=1)))
        cut.append(torch.tensor(replayed.truncations.any(axis=1)))
        if replayed.ended.any():
            replayed.reset(replayed.ended.copy())
    assert torch.stack(died).any() == bool(lives) != torch.stack(cut).any()
    with torch.no_grad():
        values, next_values = bare.critic(torch.stack(seen)), bare.critic(torch.stack(after))
    expected = generalized_advantages(
        torch.stack(rewards),
        values,
        next_values,
        torch.stack(died),
        torch.stack(cut),
        training.gamma,
        training.gae_lambda,
    )
    np.testing.assert_allclose(batch.advantages, expected, atol=1e-5)
    np.testing.assert_allclose(batch.returns, expected + values, atol=1e-5)
