"""Uncertainty through a fixed bank of masks: spread above 0, closed forms, the same every time."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from configs.actors import ActorConfig, DropoutConfig
from configs.errors import TrainingError
from policies.dropout import (
    MaskBank,
    categorical_uncertainty,
    gaussian_uncertainty,
)
from policies.sequential import SequentialPolicy
from signals.layout import LayerLayout
from tests.policies.windowed import LAYOUT, gumbel_of, policy_of, rows_of
from tests.trainers.toy_env import toy_layout

DROPOUT = DropoutConfig(rate=0.25, samples=400)


def test_masks_keep_their_share_and_the_mean():
    bank = MaskBank([(3, 50), (3, 20)], DropoutConfig(rate=0.25, samples=1_000, layers=2))
    for mask in bank.all():
        assert mask.unique().tolist() == pytest.approx([0.0, 4 / 3])
        error = math.sqrt(0.25 * 0.75 / mask.numel()) * 4 / 3
        assert abs(mask.mean().item() - 1.0) < 5 * error


def test_the_bank_follows_from_its_seed_and_is_not_saved():
    first, second, other = (
        MaskBank([(4,)], DropoutConfig(rate=0.5, samples=64, seed=seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first.all()[0], second.all()[0])
    assert not torch.equal(first.all()[0], other.all()[0])
    assert not first.state_dict()
    taken = first.of_rows(100)[0]
    assert torch.equal(taken[:64], first.all()[0]) and torch.equal(taken[64:], taken[:36])


def test_two_sure_samples_that_disagree_share_all_of_the_entropy():
    never = torch.finfo(torch.float32).min
    sure = torch.tensor([[[0.0, never], [never, 0.0]]])  # [rows, choices, samples]
    mean, spread, entropy, information = categorical_uncertainty(sure)
    torch.testing.assert_close(mean, torch.tensor([[0.5, 0.5]]))
    torch.testing.assert_close(spread, torch.tensor([[0.5, 0.5]]))
    torch.testing.assert_close(entropy, torch.tensor([math.log(2.0)]))
    torch.testing.assert_close(information, entropy)


def test_samples_that_agree_share_none_of_it():
    logits = torch.randn(6, 4)
    _, spread, entropy, information = categorical_uncertainty(
        logits.unsqueeze(-1).expand(-1, -1, 50)
    )
    assert (spread < 1e-6).all() and (information < 1e-6).all()
    torch.testing.assert_close(entropy, Categorical(logits=logits).entropy())


def test_gaussian_uncertainty_is_that_of_the_total_variance():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(1, 2, 4_000, generator=generator) * torch.tensor([[0.5], [2.0]])
    log_sigma = torch.full((1, 2, 4_000), math.log(0.3))
    mean, spread, entropy, information = gaussian_uncertainty(means, log_sigma)
    total = (0.3**2 + means.var(-1, correction=0)).sqrt()
    torch.testing.assert_close(entropy, Normal(0.0, total).entropy().sum(-1))
    torch.testing.assert_close(information, torch.log(total / 0.3).sum(-1))
    actions = torch.sigmoid(means)
    torch.testing.assert_close(mean, actions.mean(-1))
    torch.testing.assert_close(spread, actions.std(-1, correction=0))


def test_the_spread_is_above_zero_and_the_mean_near_the_mode():
    policy = policy_of(dropout=DROPOUT)
    rows = rows_of(12)
    found = policy.uncertainty(rows)
    assert found.mean.shape == found.spread.shape == (12, 9)
    assert found.entropy.shape == found.information.shape == (12, 3)
    assert (found.spread > 1e-3).all()
    assert (found.information > 0).all() and (found.information < found.entropy).all()
    torch.testing.assert_close(found.mean.unflatten(1, (3, 3)).sum(-1), torch.ones(12, 3))
    assert (found.entropy <= math.log(3.0) + 1e-6).all()


@pytest.mark.parametrize("layers", [1, 2, 9])
def test_uncertainty_is_the_spread_of_single_forwards_with_each_mask(layers: int):
    """Against the slow way: one forward of the whole network for each mask."""
    policy = policy_of(dropout=DropoutConfig(rate=0.25, samples=20, layers=layers), states=3)
    assert policy.bank is not None and len(policy.bank.all()) == min(layers, 2)
    rows = rows_of(4)
    chosen = policy.act(rows, None).latent
    seen = policy.table.encode(chosen) @ (policy.choice_weight * policy.choice_mask)
    first = policy._from_row(rows) + seen.unflatten(1, (3, -1))
    singles = []
    for sample in range(20):
        drop = [mask[sample].expand(4, -1, -1) for mask in policy.bank.all()]
        logits = policy._outputs(first, drop).unflatten(1, (3, -1))
        singles.append(torch.softmax(logits, -1).flatten(1))
    found = policy.uncertainty(rows)
    samples = torch.stack(singles)
    torch.testing.assert_close(found.mean, samples.mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.spread, samples.std(0, correction=0), rtol=1e-3, atol=1e-6)


def test_it_is_the_same_each_time_alone_and_in_a_batch_and_leaves_acting_alone():
    policy, plain = policy_of(dropout=DROPOUT), policy_of()
    rows = rows_of(9)
    first, again = policy.uncertainty(rows), policy.uncertainty(rows)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for whole, alone in zip(first, policy.uncertainty(rows[4:5]), strict=True):
        torch.testing.assert_close(whole[4:5], alone, rtol=1e-4, atol=1e-6)
    noise = gumbel_of(9)
    torch.testing.assert_close(policy.act(rows, noise).actions, plain.act(rows, noise).actions)


def test_forbidden_choices_have_no_chance_in_any_sample():
    policy = SequentialPolicy(
        toy_layout(), ActorConfig(hidden=(8, 8), output_gain=1.0, dropout=DROPOUT)
    )
    rows = torch.rand(5, policy.layout.row_width)
    masks = torch.tensor([[True, False, True]]).expand(5, -1)
    found = policy.uncertainty(rows, masks)
    chooser = policy.layout.noise_slice(1)
    assert (found.mean[:, chooser][:, 1] == 0).all() and (found.spread[:, chooser][:, 1] == 0).all()
    assert (found.spread[:, : chooser.start] > 0).all()  # of a box agent's actions


@pytest.mark.parametrize("layout", [LAYOUT, toy_layout()], ids=["choices", "boxes"])
def test_the_divergence_is_that_of_torch(layout: LayerLayout):
    config = ActorConfig(hidden=(8, 8), output_gain=1.0, dropout=DropoutConfig(rate=0.5, samples=9))
    policy = SequentialPolicy(layout, config)
    assert policy.bank is not None
    rows = torch.rand(9, layout.row_width)
    latent = policy.act(rows, None).latent
    seen = policy.table.encode(latent) @ (policy.choice_weight * policy.choice_mask)
    first = policy._from_row(rows) + seen.unflatten(1, (policy.agents, -1))
    without, under = policy._outputs(first), policy._outputs(first, policy.bank.of_rows(9))
    expected = torch.zeros(9)
    for _, columns in policy.table.discrete_columns:
        laws = (Categorical(logits=part[:, columns]) for part in (without, under))
        expected += kl_divergence(*laws)
    if policy.table.gaussians:
        sigma = policy._log_sigma(policy.raw_sigma).exp()
        means = (part[:, policy.table.mean_index] for part in (without, under))
        expected += kl_divergence(*(Normal(mean, sigma) for mean in means)).sum(1)
    auxiliary = policy.evaluate(rows, latent).auxiliary
    assert auxiliary is not None and (expected > 1e-4).all()
    torch.testing.assert_close(auxiliary["dropout_loss"], expected / policy.agents)


def test_training_by_the_divergence_narrows_the_spread():
    policy = policy_of(dropout=DropoutConfig(rate=0.25, samples=64, coefficient=1.0))
    rows = rows_of(64)
    latent = policy.act(rows, gumbel_of(64)).latent
    before = policy.uncertainty(rows).spread.mean().item()
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        auxiliary = policy.evaluate(rows, latent).auxiliary
        assert auxiliary is not None
        loss = auxiliary["dropout_loss"].mean()
        loss.backward()
        optimizer.step()
    assert policy.uncertainty(rows).spread.mean().item() < 0.7 * before


def test_without_dropout_there_is_no_uncertainty():
    with pytest.raises(TrainingError, match=r"without dropout: train it with policy.dropout.rate"):
        policy_of().uncertainty(rows_of(1))
