"""Encoders of windows: order matters, every number is read, rows are alone, seeds decide."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from configs.encoders import AveragesConfig, EncoderConfig, FlatConfig, RegimeConfig
from configs.errors import TrainingError
from policies.encoders import (
    AttentionPool,
    Encoder,
    RegimeEncoder,
    TransformerBlock,
    build_encoder,
)
from tests.policies.windowed import ATTENTION, ENCODERS, REGIME_ROWS, REGIMES

CASES = {config.kind: config for config in (*ENCODERS, ATTENTION)}


def encoder_of(config: EncoderConfig, seed: int = 0) -> Encoder:
    return build_encoder(config, REGIME_ROWS, REGIMES, torch.Generator().manual_seed(seed))


def bars_of(count: int = 5, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, REGIME_ROWS, len(REGIMES), generator=generator)


@pytest.mark.parametrize("kind", CASES)
def test_every_bar_and_column_is_read_and_their_order_matters(kind: str):
    encoder, bars = encoder_of(CASES[kind]), bars_of().requires_grad_()
    out = encoder(bars)
    assert out.shape == (5, encoder.width) and (out.abs() <= 1).all()
    (gradient,) = torch.autograd.grad(out[..., 0].sum(), bars)
    assert (gradient != 0).all()
    assert not torch.allclose(encoder(bars.flip(1)), out, atol=1e-3)
    whole = torch.cat([bars[:, 4:8], bars[:, :4], bars[:, 8:]], dim=1)  # whole patches exchanged
    assert not torch.allclose(encoder(whole), out, atol=1e-4)


@pytest.mark.parametrize("kind", CASES)
def test_a_row_is_encoded_alone_as_in_a_batch(kind: str):
    encoder, bars = encoder_of(CASES[kind]), bars_of(20)
    torch.testing.assert_close(encoder(bars[7:8]), encoder(bars)[7:8], rtol=0, atol=1e-6)
    other = bars.clone()
    other[:7] = 0.0
    torch.testing.assert_close(encoder(other)[7:], encoder(bars)[7:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", CASES)
def test_the_seed_makes_the_weights_and_the_global_generator_is_left_alone(kind: str):
    before = torch.get_rng_state()
    first, second, other = (encoder_of(CASES[kind], seed).state_dict() for seed in (4, 4, 5))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("kind", CASES)
def test_gradient_reaches_every_parameter(kind: str):
    encoder = encoder_of(CASES[kind])
    (encoder(bars_of()) ** 2).sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in encoder.parameters())


@pytest.mark.parametrize("kind", CASES)
def test_attention_is_a_distribution_over_steps(kind: str):
    shares = encoder_of(CASES[kind]).attention(bars_of())
    torch.testing.assert_close(shares.sum(1), torch.ones(5))
    assert (shares > 0).all() and shares.shape[1] > 1


def test_pooling_is_a_weighted_mean_by_the_query():
    pool = AttentionPool(3, torch.Generator().manual_seed(0))
    steps = torch.rand(2, 4, 3)
    scores = torch.tanh(steps @ pool.key.weight.T + pool.key.bias) @ pool.query
    expected = (torch.softmax(scores, 1).unsqueeze(-1) * steps).sum(1)
    torch.testing.assert_close(pool(steps), expected)


def test_a_block_is_pre_norm_attention_as_written_out():
    block = TransformerBlock(8, 2, 6, torch.Generator().manual_seed(0))
    tokens = torch.randn(3, 5, 8)
    normed = functional.layer_norm(tokens, (8,))
    query, key, value = (normed @ block.read.weight.T).split(8, dim=-1)
    heard = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = query[..., head] @ key[..., head].transpose(1, 2) / math.sqrt(4)
        heard.append(torch.softmax(scores, -1) @ value[..., head])
    after = tokens + torch.cat(heard, -1) @ block.write.weight.T
    hidden = torch.relu(functional.layer_norm(after, (8,)) @ block.hidden.weight.T)
    torch.testing.assert_close(block(tokens), after + hidden @ block.back.weight.T)


def test_the_head_learns_to_foretell_regimes_that_persist():
    """Posteriors that stay for a window: the head comes near their entropy, from far above."""
    config = RegimeConfig(patch=4, model=16, heads=2, feed_forward=16, width=4, coefficient=1.0)
    encoder = encoder_of(config.model_copy(update={"share": 1.0}))
    assert isinstance(encoder, RegimeEncoder)
    generator = torch.Generator().manual_seed(3)
    bars = bars_of(256)
    kind = torch.randint(4, (256,), generator=generator)
    bars[..., 1:] = (0.96 * functional.one_hot(kind, 4) + 0.01).unsqueeze(1)
    entropy = -(0.97 * math.log(0.97) + 0.03 * math.log(0.01))
    optimizer = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = encoder.losses(bars)["regime_loss"].mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1.0
    assert entropy - 1e-4 < losses[-1] < entropy + 0.1
    # The probabilities that agents read are the head's, of the whole window.
    chances = encoder(bars)[:, 4:8]
    assert (chances.argmax(1) == kind).float().mean() > 0.98
    torch.testing.assert_close(encoder(bars)[:, 8], chances.amax(1))
    torch.testing.assert_close(torch.softmax(encoder.regimes(bars), 1), chances)


def test_what_is_foretold_is_not_shown():
    """The newest bar moves the loss through its target alone: the logits do not change."""
    encoder = encoder_of(CASES["regime"])
    bars = bars_of().requires_grad_()
    encoder.losses(bars)["regime_loss"].sum().backward()
    assert bars.grad is not None
    assert (bars.grad[:, -1] == 0).all() and (bars.grad[:, :-1] != 0).any(-1).all()


def test_the_regimes_loss_is_left_out_or_of_a_share():
    bars = bars_of(16)
    off = encoder_of(CASES["regime"].model_copy(update={"coefficient": 0.0}))
    assert off.losses(bars) == {}
    some = encoder_of(CASES["regime"].model_copy(update={"share": 0.25}))
    whole = encoder_of(CASES["regime"])
    torch.testing.assert_close(
        some.losses(bars)["regime_loss"], whole.losses(bars)["regime_loss"][:4]
    )


def test_averages_are_means_of_the_newest_bars():
    bars = bars_of()
    encoder = encoder_of(AveragesConfig(spans=(1, 3, REGIME_ROWS)))
    newest, three, whole = encoder(bars).chunk(3, dim=1)
    torch.testing.assert_close(newest, bars[:, -1])
    torch.testing.assert_close(three, bars[:, -3:].mean(1))
    torch.testing.assert_close(whole, bars.mean(1))
    assert encoder.width == 3 * len(REGIMES)
    assert not list(encoder.parameters())
    shares = encoder.attention(bars)
    assert shares.shape == (len(bars), REGIME_ROWS)
    torch.testing.assert_close(shares.sum(1), torch.ones(len(bars)))
    assert (shares.diff(dim=1) >= 0).all()


def test_a_window_that_does_not_fit_is_refused():
    generator = torch.Generator()
    with pytest.raises(TrainingError, match=r"patch=4: expected a divisor of the window's 10 rows"):
        build_encoder(CASES["regime"], 10, REGIMES, generator)
    with pytest.raises(TrainingError, match=r"expected one named regime_bull.*choose kind att"):
        build_encoder(CASES["regime"], REGIME_ROWS, ("a", "b"), generator)
    with pytest.raises(TrainingError, match=rf"the window has {REGIME_ROWS} bars, expected no"):
        encoder_of(AveragesConfig(spans=(2, REGIME_ROWS + 1)))
    with pytest.raises(TrainingError, match="kind=flat encodes nothing"):
        build_encoder(FlatConfig(), REGIME_ROWS, REGIMES, generator)
