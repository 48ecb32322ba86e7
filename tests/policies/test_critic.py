"""The centralized critic and the normalisation of its targets."""

from __future__ import annotations

import torch

from configs.mappo import CriticConfig
from policies.critic import CentralCritic, ValueNorm


def test_value_norm_is_the_identity_before_any_update():
    norm = ValueNorm(2, beta=0.9)
    values = torch.tensor([[3.0, -5.0]])
    assert torch.equal(norm.normalize(values), values)
    assert torch.equal(norm.denormalize(values), values)


def test_value_norm_is_debiased_from_its_first_update():
    norm = ValueNorm(1, beta=0.99)
    batch = torch.tensor([1.0, 3.0, 5.0])
    norm.update(batch.mean()[None], batch.var(correction=0)[None])
    mean, deviation = norm.moments()
    torch.testing.assert_close(mean, torch.tensor([3.0]))
    torch.testing.assert_close(deviation, batch.std(correction=0)[None])


def test_value_norm_follows_a_change_of_scale_and_inverts():
    norm = ValueNorm(1, beta=0.5)
    for level in (1.0, 100.0):
        for _ in range(40):
            norm.update(torch.tensor([level]), torch.tensor([4.0]))
    mean, deviation = norm.moments()
    torch.testing.assert_close(mean, torch.tensor([100.0]))
    torch.testing.assert_close(deviation, torch.tensor([2.0]), rtol=1e-3, atol=0)
    values = torch.tensor([[7.0], [120.0]])
    torch.testing.assert_close(norm.denormalize(norm.normalize(values)), values)


def test_several_steps_at_once_equal_steps_one_by_one():
    once, singly = ValueNorm(1, beta=0.9), ValueNorm(1, beta=0.9)
    moments = torch.tensor([2.0]), torch.tensor([1.0])
    once.update(*moments, batches=3)
    for _ in range(3):
        singly.update(*moments)
    torch.testing.assert_close(once.state_dict(), singly.state_dict())


def test_the_statistics_are_saved_and_not_trained():
    critic = CentralCritic(5, 3, CriticConfig(hidden=(8,)))
    assert not any("norm" in name for name, _ in critic.named_parameters())
    assert {"norm.mean", "norm.variance", "norm.weight"} <= set(critic.state_dict())


def test_values_come_back_in_the_scale_of_rewards():
    critic = CentralCritic(5, 3, CriticConfig(hidden=(8,)))
    states = torch.rand(4, 5)
    ones = torch.ones(3)
    critic.norm.update(50.0 * ones, 4.0 * ones)
    torch.testing.assert_close(critic.values(states), critic(states) * 2.0 + 50.0)
    plain = CentralCritic(5, 3, CriticConfig(hidden=(8,), value_norm=False))
    torch.testing.assert_close(plain.values(states), plain(states))
