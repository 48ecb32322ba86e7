"""The sequential actor: act and evaluate are one policy, and agents see only what they may."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Normal

from configs.actors import ActorConfig
from configs.errors import TrainingError
from configs.loading import load_config
from policies.actor import Actor
from policies.sequential import SequentialPolicy
from signals.noise import TeamNoise, derive_seeds, joint_noise
from signals.sequence import sequential_layout
from signals.team import TeamLayout
from tests.policies.teams import group_of, masks_of, rows_of
from tests.trainers.toy_env import toy_layout

LAYOUT = toy_layout(padding=3)
SCOUT, CHOOSER, FOLLOWER, MONITOR = range(4)


def policy_of(seed: int = 0, **changes: object) -> SequentialPolicy:
    """A policy whose outputs are far from zero, so that wrong wiring shows."""
    options = {"hidden": (16, 12), "output_gain": 1.0} | changes
    policy = SequentialPolicy(LAYOUT, ActorConfig(**options), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return policy


def batch(count: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    rows = torch.rand(count, LAYOUT.row_width, generator=generator) * 2 - 1
    noise = joint_noise(LAYOUT, derive_seeds(5, count=count), np.arange(count))
    return rows, torch.from_numpy(noise)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"state_dependent_sigma": True},
        {"activation": "relu"},
        {"hidden": (8,)},
        {"conditioned": False},
    ],
)
def test_act_and_evaluate_agree(changes: dict[str, object]):
    policy = policy_of(**changes)
    rows, noise = batch()
    for given in (noise, None):
        acted = policy.act(rows, given)
        evaluated = policy.evaluate(rows, acted.latent)
        torch.testing.assert_close(acted.log_prob, evaluated.log_prob, rtol=1e-5, atol=1e-5)
        prediction = acted.actions[:, LAYOUT.action_slice(MONITOR)][:, :1]
        torch.testing.assert_close(prediction, evaluated.supervised, rtol=1e-5, atol=1e-6)


def test_actions_are_in_their_spaces_and_latents_are_their_logits():
    rows, noise = batch()
    acted = policy_of().act(rows, noise)
    boxes = [0, 1, 3, 4, 5]
    assert ((acted.actions[:, boxes] > 0) & (acted.actions[:, boxes] < 1)).all()
    torch.testing.assert_close(acted.actions[:, boxes], torch.sigmoid(acted.latent[:, boxes]))
    assert set(acted.actions[:, 2].tolist()) == {0.0, 1.0, 2.0}
    assert acted.log_prob.shape == (50, 4)


def test_log_probabilities_and_entropies_are_those_of_the_distributions():
    policy = policy_of()
    rows, noise = batch(4)
    acted = policy.act(rows, noise)
    evaluated = policy.evaluate(rows, acted.latent)
    mode = policy.act(rows, None)
    low, high = np.log(policy.config.min_sigma), np.log(policy.config.max_sigma)
    sigma = torch.exp(low + (high - low) * torch.sigmoid(policy.raw_sigma))
    scout = Normal(mode.latent[:, :2], sigma[:2])  # the first agent: its mean needs no upstream
    expected = scout.log_prob(acted.latent[:, :2]).sum(1)
    torch.testing.assert_close(evaluated.log_prob[:, SCOUT], expected)
    torch.testing.assert_close(evaluated.entropy[:, SCOUT], scout.entropy().sum(1))
    # The monitor has two components; the supervised one carries no density.
    assert torch.allclose(evaluated.entropy[:, MONITOR], Normal(0.0, sigma[4]).entropy().expand(4))


def test_gumbel_argmax_samples_the_categorical():
    policy = policy_of()
    rows = batch(1)[0].expand(40_000, -1)
    noise = joint_noise(LAYOUT, derive_seeds(8, count=40_000), np.zeros(40_000, dtype=np.int64))
    noise[:, :2] = 0.0  # the scout decides the same in all rows
    acted = policy.act(rows, torch.from_numpy(noise))
    share = torch.bincount(acted.actions[:, 2].long(), minlength=3) / 40_000
    log_p = torch.stack(
        [
            policy.evaluate(rows[:1], acted.latent[:1].index_fill(1, torch.tensor([2]), k))
            .log_prob[0, CHOOSER]
            .detach()
            for k in (0.0, 1.0, 2.0)
        ]
    )
    torch.testing.assert_close(share, log_p.exp(), rtol=0, atol=0.01)
    entropy = Categorical(logits=log_p).entropy()
    found = policy.evaluate(rows[:1], acted.latent[:1]).entropy[0, CHOOSER]
    torch.testing.assert_close(found, entropy)


def test_an_agent_reads_its_own_columns_and_earlier_choices_alone():
    policy = policy_of()
    rows, noise = batch(6)
    latent = policy.act(rows, noise).latent
    base = policy.evaluate(rows, latent)
    for owner in range(4):
        changed = rows.clone()
        changed[:, LAYOUT.own_slice(owner)] += 0.5
        moved = (policy.evaluate(changed, latent).log_prob != base.log_prob).all(0)
        assert moved.tolist() == [k == owner for k in range(4)]
    for earlier in range(4):
        changed = latent.clone()
        columns = LAYOUT.action_slice(earlier)
        if earlier == CHOOSER:
            changed[:, columns] = (changed[:, columns] + 1) % 3
        else:
            changed[:, columns] += 0.7
        moved = (policy.evaluate(rows, changed).log_prob != base.log_prob).all(0)
        assert moved.tolist() == [k >= earlier for k in range(4)]


def test_later_agents_react_to_what_was_chosen_not_to_what_was_meant():
    policy = policy_of()
    rows, noise = batch(6)
    other = noise.clone()
    other[:, 0] += 2.0  # the scout's noise alone
    first, second = policy.act(rows, noise), policy.act(rows, other)
    follower = LAYOUT.action_slice(FOLLOWER)
    assert (first.actions[:, follower] != second.actions[:, follower]).all()


def test_agents_that_are_not_conditioned_decide_at_once():
    policy = policy_of(conditioned=False)
    rows, noise = batch(6)
    for agent in range(len(LAYOUT.agents)):
        other = noise.clone()
        other[:, LAYOUT.noise_slice(agent)] += 2.0
        moved = policy.act(rows, noise).actions != policy.act(rows, other).actions
        rest = torch.ones(LAYOUT.action_width, dtype=torch.bool)
        rest[LAYOUT.action_slice(agent)] = False
        assert not moved[:, rest].any()
    assert not policy.choice_mask.any()


def test_the_supervised_component_has_no_noise_and_no_policy_gradient():
    policy = policy_of()
    rows, noise = batch(6)
    other = noise.clone()
    other[:, LAYOUT.noise_slice(MONITOR).start] += 3.0
    torch.testing.assert_close(policy.act(rows, noise), policy.act(rows, other))
    latent = policy.act(rows, noise).latent.detach()
    policy.evaluate(rows, latent).log_prob.sum().backward()
    assert (policy.head_weight.grad[MONITOR, :, 0] == 0).all()
    assert (policy.head_weight.grad[MONITOR, :, 1] != 0).any()
    policy.zero_grad()
    policy.evaluate(rows, latent).supervised.sum().backward()
    assert (policy.head_weight.grad[MONITOR, :, 0] != 0).any()


def test_hidden_weights_stay_untouched_by_training():
    policy = policy_of()
    rows, noise = batch()
    latent = policy.act(rows, noise).latent.detach()
    policy.evaluate(rows, latent).log_prob.sum().backward()
    assert (policy.row_weight.grad[policy.row_mask == 0] == 0).all()
    assert (policy.choice_weight.grad[policy.choice_mask == 0] == 0).all()
    assert all(p.grad is not None for p in policy.parameters())


def test_a_row_decides_alone_as_in_a_batch():
    policy = policy_of()
    rows, noise = batch(20)
    together = policy.act(rows, noise)
    alone = policy.act(rows[7:8], noise[7:8])
    torch.testing.assert_close(alone.actions, together.actions[7:8])


def test_rows_are_clipped():
    policy = policy_of()
    rows, noise = batch(3)
    huge = rows.clone()
    huge[:, 0] = 1e9
    rows[:, 0] = policy.config.input_clip
    torch.testing.assert_close(policy.act(huge, noise), policy.act(rows, noise))


def test_the_seed_makes_the_weights_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    first, second = (SequentialPolicy(LAYOUT, ActorConfig(hidden=(8,)), 4) for _ in range(2))
    other = SequentialPolicy(LAYOUT, ActorConfig(hidden=(8,)), 5)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.row_weight, second.row_weight)
    assert not torch.equal(first.row_weight, other.row_weight)


def test_sigma_begins_where_the_config_says_and_stays_in_its_bounds():
    policy = SequentialPolicy(LAYOUT, ActorConfig(hidden=(8,), initial_sigma=0.5))
    rows, noise = batch(5)
    spread = policy.act(rows, noise).latent[:, 0] - policy.act(rows, None).latent[:, 0]
    torch.testing.assert_close(spread, 0.5 * noise[:, 0])
    with torch.no_grad():
        policy.raw_sigma.fill_(100.0)
    entropy = policy.evaluate(rows, policy.act(rows, noise).latent).entropy[0, FOLLOWER]
    torch.testing.assert_close(entropy, Normal(0.0, policy.config.max_sigma).entropy())


def test_a_policy_begins_where_its_layout_says():
    scout, chooser = LAYOUT.agents[:2]
    levels = tuple(replace(c, initial=i) for c, i in zip(scout.components, (0.2, 0.9), strict=True))
    chances = tuple(
        replace(c, initial=i) for c, i in zip(chooser.components, (1, 8, 1), strict=True)
    )
    agents = (
        replace(scout, components=levels),
        replace(chooser, components=chances),
        *LAYOUT.agents[2:],
    )
    config = ActorConfig(hidden=(8,), output_gain=1e-6)
    policy = SequentialPolicy(replace(LAYOUT, agents=agents), config)
    acted = policy.act(batch(4)[0], None)
    torch.testing.assert_close(
        acted.actions[:, :2], torch.tensor([[0.2, 0.9]]).expand(4, -1), rtol=0, atol=1e-4
    )
    torch.testing.assert_close(
        acted.log_prob[:, CHOOSER].exp(), torch.full((4,), 0.8), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("states", [1, 4])
def test_a_temperature_flattens_what_a_policy_begins_with(states: int):
    chooser = LAYOUT.agents[CHOOSER]
    chances = tuple(
        replace(c, initial=i) for c, i in zip(chooser.components, (1, 8, 1), strict=True)
    )
    agents = list(LAYOUT.agents)
    agents[CHOOSER] = replace(chooser, components=chances)
    layout = replace(LAYOUT, agents=tuple(agents))
    told = {"hidden": [8], "output_gain": 1e-6, "states": states}
    warm = f"initial_temperature.{chooser.name}=3"
    config = load_config(ActorConfig, told, overrides=[warm])
    chance = SequentialPolicy(layout, config).act(batch(4)[0], None).log_prob[:, CHOOSER].exp()
    # The cube root of 8 is 2.
    torch.testing.assert_close(chance, torch.full((4,), 0.5), rtol=0, atol=1e-3)


def test_a_temperature_of_nobody_that_chooses_is_refused():
    scout = LAYOUT.agents[0].name
    config = ActorConfig(hidden=(8,), initial_temperature={scout: 2.0})
    with pytest.raises(TrainingError, match=f"names {scout}: expected agents of layer"):
        SequentialPolicy(LAYOUT, config)


def test_it_is_an_actor_without_memory():
    policy = policy_of()
    assert isinstance(policy, Actor)
    rows, noise = batch(5)
    acted = policy.act(rows, noise)
    assert policy.memory_width == 0 and acted.memory is None
    with pytest.raises(TrainingError, match="memory of 3 numbers a row, expected 0"):
        policy.act(rows, noise, memory=torch.zeros(5, 3))
    with pytest.raises(TrainingError, match="memory of 3 numbers a row, expected 0"):
        policy.evaluate(rows, acted.latent, memory=torch.zeros(5, 3))
    with pytest.raises(TrainingError, match="got begins, expected None"):
        policy.evaluate(rows, acted.latent, begins=torch.zeros(5, dtype=torch.bool))
    with pytest.raises(TrainingError, match="masks of 2 flags a row, expected 3"):
        policy.act(rows, noise, torch.ones(5, 2, dtype=torch.bool))


@pytest.mark.parametrize("allowed", [(0, 2), (1,), (0, 1, 2)])
def test_the_chooser_never_takes_what_is_forbidden(allowed: tuple[int, ...]):
    policy = policy_of()
    rows, noise = batch(200)
    masks = torch.zeros(200, policy.mask_width, dtype=torch.bool)
    masks[:, allowed] = True
    free = policy.act(rows, noise)
    for given in (noise, None):
        acted = policy.act(rows, given, masks)
        assert set(acted.actions[:, 2].tolist()) <= set(allowed)
        evaluated = policy.evaluate(rows, acted.latent, masks)
        torch.testing.assert_close(evaluated.log_prob, acted.log_prob, rtol=1e-5, atol=1e-5)
        assert evaluated.entropy.isfinite().all()
        if len(allowed) == 1:
            assert (evaluated.entropy[:, CHOOSER] == 0).all()
    # Agents before the chooser are not concerned.
    masked = policy.act(rows, noise, masks)
    assert torch.equal(masked.latent[:, :2], free.latent[:, :2])
    assert (masked.latent[:, 2] != free.latent[:, 2]).any() == (len(allowed) < 3)


@pytest.mark.parametrize("kind", ["categorical", "bounded"])
def test_a_group_of_any_team_acts_in_sequence(kind: str):
    group = group_of(kind, masked=kind == "categorical")
    policy = SequentialPolicy(sequential_layout(group), ActorConfig(output_gain=1.0, hidden=(16,)))
    assert policy.mask_width == group.mask_width
    rows = rows_of(group, 50)
    noise = torch.from_numpy(
        TeamNoise(TeamLayout("team", (group,)))(derive_seeds(5, count=50), np.arange(50))
    )
    masks = masks_of(group, 50) if group.masked else None
    acted = policy.act(rows, noise, masks)
    assert acted.actions.shape == (50, group.action_width)
    evaluated = policy.evaluate(rows, acted.latent, masks)
    torch.testing.assert_close(evaluated.log_prob, acted.log_prob, rtol=1e-5, atol=1e-5)
    # What the first agent did moves the last one's odds.
    other = acted.latent.clone()
    other[:, 0] = 4 - other[:, 0] if kind == "categorical" else -other[:, 0]
    moved = policy.evaluate(rows, other, masks).log_prob[:, -1] != evaluated.log_prob[:, -1]
    assert moved.float().mean() > 0.6
