"""Messages reach whom they may, through the memory slot too, and nobody else."""

from __future__ import annotations

import pytest
import torch

from configs.actors import ActorConfig, CommunicationConfig
from policies.communication import Messages
from policies.sequential import SequentialPolicy
from tests.policies.windowed import LAYOUT, gumbel_of, places, policy_of, rows_of

AGENTS, WIDTH = 4, 6


def messages_of(**changes: object) -> Messages:
    config = CommunicationConfig(**({"rounds": 2, "width": 5} | changes))
    generator = torch.Generator().manual_seed(0)
    messages = Messages(AGENTS, WIDTH, config, generator)
    with torch.no_grad():
        for parameter in messages.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return messages


def features_of(count: int = 9) -> torch.Tensor:
    return torch.randn(count, AGENTS, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("memory", [True, False])
def test_masked_messages_do_not_leak(memory: bool):
    messages, features = messages_of(memory=memory), features_of()
    base = messages(features)
    for speaker in range(AGENTS):
        changed = features.clone()
        changed[:, speaker] += 1.0
        moved = (messages(changed) != base).flatten(2).any(-1).all(0)
        assert moved.tolist() == [hearer >= speaker for hearer in range(AGENTS)]


def test_all_hear_all_where_the_config_says_so():
    messages, features = messages_of(hears="all", rounds=1), features_of()
    base = messages(features)
    for speaker in range(AGENTS):
        changed = features.clone()
        changed[:, speaker] += 1.0
        assert (messages(changed) != base).any(-1).all()


def test_who_hears_nobody_and_has_no_memory_stays_as_it_was():
    messages, features = messages_of(memory=False), features_of()
    heard = messages(features)
    assert torch.equal(heard[:, 0], features[:, 0])
    assert (heard[:, 1:] != features[:, 1:]).any(-1).all()


def test_one_round_is_masked_attention_as_written_out():
    messages = messages_of(rounds=1)
    features = features_of(1)
    query, key, value = (torch.tanh(features[0]) @ messages.reads[0].weight.T).chunk(3, -1)
    bias = messages.reads[0].bias.chunk(3)
    query, key, value = (part + b for part, b in zip((query, key, value), bias, strict=True))
    heard = messages(features)[0] - features[0]
    for k in range(AGENTS):
        scores = torch.cat([query[k] @ key[:k].T / 5**0.5, torch.zeros(1)])
        said = torch.softmax(scores, 0)[:-1] @ value[:k]
        scores = torch.cat([key[: k + 1] @ messages.slot[0] / 5**0.5, torch.zeros(1)])
        kept = torch.softmax(scores, 0)[:-1] @ value[: k + 1]
        torch.testing.assert_close(heard[k], torch.cat([said, kept]) @ messages.writes[0])


def test_rows_are_alone_and_every_parameter_learns():
    messages, features = messages_of(), features_of()
    torch.testing.assert_close(messages(features[3:4]), messages(features)[3:4])
    (messages(features) ** 2).sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in messages.parameters())


@pytest.mark.parametrize("hears", ["earlier", "all"])
def test_a_policy_that_speaks_is_one_policy_and_says_nothing_of_its_choices(hears: str):
    policy = policy_of(communication=CommunicationConfig(rounds=1, hears=hears))
    rows, noise = rows_of(30), gumbel_of(30)
    acted = policy.act(rows, noise)
    evaluated = policy.evaluate(rows, acted.latent)
    torch.testing.assert_close(acted.log_prob, evaluated.log_prob, rtol=1e-4, atol=1e-5)
    other = acted.latent.clone()
    other[:, :2] = 2.0 - other[:, :2]  # what the first two chose; they do not follow each other
    moved = policy.evaluate(rows, other)
    torch.testing.assert_close(moved.entropy[:, :2], evaluated.entropy[:, :2])
    # `far` now learns what `near` alone sees, and the other way about where all hear all.
    changed = rows.clone()
    changed[:, places("price@0")] += 0.5
    heard = (policy.evaluate(changed, acted.latent).entropy != evaluated.entropy).any(0)
    assert heard.tolist() == [True, True, True]
    changed = rows.clone()
    changed[:, places("regime.level@3")] += 0.5
    heard = (policy.evaluate(changed, acted.latent).entropy != evaluated.entropy).any(0)
    assert heard.tolist() == [hears == "all", True, True]


def test_it_is_off_by_default():
    assert SequentialPolicy(LAYOUT, ActorConfig(hidden=(8,))).messages is None
