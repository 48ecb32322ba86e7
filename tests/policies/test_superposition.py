"""The superposed head: plain with one state, of unit norm, and its states interfere."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from policies.sequential import SequentialPolicy
from policies.superposition import SuperpositionLayer
from tests.policies.windowed import gumbel_of, policy_of, rows_of

CHOICES, WIDTH, INPUTS, ROWS = (5, 3), 5, 7, 11


def layer_of(states: int, moved: float = 1.0) -> SuperpositionLayer:
    generator = torch.Generator().manual_seed(0)
    bias = torch.randn(2, 1, WIDTH, generator=generator)
    layer = SuperpositionLayer(INPUTS, CHOICES, states, bias, 1.0, generator)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(moved * torch.randn(parameter.shape, generator=generator))
    return layer


def read(seed: int = 1) -> tuple[Tensor, Tensor]:
    """(hidden, plain logits) of two agents."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, ROWS, INPUTS, generator=generator)
    return hidden, 3.0 * torch.randn(2, ROWS, WIDTH, generator=generator)


def without_phases(layer: SuperpositionLayer) -> SuperpositionLayer:
    with torch.no_grad():
        layer.gates.weight[..., layer.states :] = 0.0
        layer.gates.bias[..., layer.states :] = 0.0
    return layer


def chances(layer: SuperpositionLayer, hidden: Tensor, plain: Tensor) -> Tensor:
    logits = layer(hidden, plain).masked_fill(~layer.real.squeeze(2), -math.inf)
    return torch.softmax(logits, -1)


def test_one_state_without_a_phase_is_the_plain_head_bit_by_bit():
    layer = without_phases(layer_of(1))
    hidden, plain = read()
    plain.requires_grad_()
    logits = layer(hidden, plain)
    assert torch.equal(logits, plain)
    (gradient,) = torch.autograd.grad(logits[..., 2].sum(), plain)
    assert torch.equal(gradient, torch.zeros(2, ROWS, WIDTH).index_fill(2, torch.tensor(2), 1.0))


def test_the_phase_of_a_lone_state_means_nothing():
    hidden, plain = read()
    torch.testing.assert_close(chances(layer_of(1), hidden, plain), chances_of(plain))


def chances_of(plain: Tensor) -> Tensor:
    wide = plain.clone()
    wide[1, :, CHOICES[1] :] = -math.inf
    return torch.softmax(wide, -1)


@pytest.mark.parametrize("states", [1, 2, 8])
def test_the_state_has_norm_one_and_its_squares_are_the_chances(states: int):
    layer, given = layer_of(states), read()
    real, imaginary = layer.state(*given)
    squares = real**2 + imaginary**2
    torch.testing.assert_close(squares.sum(-1), torch.ones(2, ROWS))
    torch.testing.assert_close(squares, chances(layer, *given), rtol=1e-4, atol=1e-6)
    assert (squares[1, :, CHOICES[1] :] == 0).all()


def test_chances_are_those_of_the_formula_in_complex_numbers():
    layer = layer_of(3)
    hidden, plain = (part.double() for part in read())
    layer = layer.double()
    others = hidden @ layer.others.weight + layer.others.bias
    gates = hidden @ layer.gates.weight + layer.gates.bias
    for network, count in enumerate(CHOICES):
        states = torch.stack([plain[network], *others[network].split(WIDTH, -1)])[..., :count]
        amplitude = torch.softmax(gates[network, :, :3], -1).sqrt()
        turned = torch.polar(amplitude, gates[network, :, 3:])
        psi = (turned.T.unsqueeze(-1) * torch.softmax(states, -1).sqrt()).sum(0)
        square = psi.abs() ** 2
        expected = square / square.sum(-1, keepdim=True)
        found = chances(layer, hidden, plain)[network, :, :count]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_states_in_opposite_phase_cancel_what_they_share():
    """Two states of equal amplitude: all on choice 0, and half on each of 0 and 1."""
    layer = layer_of(2, moved=0.0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.others.bias[..., 2:WIDTH] = -60.0  # half on 0, half on 1
    plain = torch.full((2, 1, WIDTH), -60.0)
    plain[..., 0] = 0.0
    hidden = torch.zeros(2, 1, INPUTS)
    together = chances(layer, hidden, plain)[0, 0]
    with torch.no_grad():
        layer.gates.bias[..., 3] = math.pi
    opposed = chances(layer, hidden, plain)[0, 0]
    root = math.sqrt(0.5)
    for found, first in ((together, 1.0 + root), (opposed, 1.0 - root)):
        expected = first**2 / (first**2 + root**2)
        torch.testing.assert_close(found[0], torch.tensor(expected), rtol=1e-5, atol=0)
    mixture = 0.75  # what the same states give without interference
    assert together[0] > mixture > opposed[0]


def test_a_network_alone_gives_what_it_gives_beside_others():
    layer = layer_of(4)
    hidden, plain = read()
    whole = layer(hidden, plain)
    for k in range(2):
        alone = layer(hidden[k : k + 1], plain[k : k + 1], k)
        torch.testing.assert_close(alone, whole[k : k + 1])


def test_total_cancellation_stays_finite():
    layer = layer_of(2, moved=0.0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.gates.bias[..., 3] = math.pi
    plain = torch.zeros(2, 1, WIDTH, requires_grad=True)
    logits = layer(torch.zeros(2, 1, INPUTS), plain)
    logits.sum().backward()
    assert logits.isfinite().all() and plain.grad is not None and plain.grad.isfinite().all()


def test_a_policy_of_superposed_heads_is_one_policy_and_all_of_it_learns():
    policy = policy_of(states=4)
    rows, noise = rows_of(30), gumbel_of(30)
    for given in (noise, None):
        acted = policy.act(rows, given)
        evaluated = policy.evaluate(rows, acted.latent)
        torch.testing.assert_close(acted.log_prob, evaluated.log_prob, rtol=1e-4, atol=1e-5)
    evaluated.log_prob.sum().backward()
    superposed = policy.superposition
    assert superposed is not None
    assert all((p.grad != 0).any() for p in superposed.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in superposed.parameters())


def test_a_superposed_policy_begins_where_the_plain_one_does():
    def start(states: int) -> SequentialPolicy:
        plain = policy_of()
        config = plain.config.model_copy(update={"states": states, "output_gain": 1e-6})
        return SequentialPolicy(plain.layout, config)

    rows = rows_of(5)
    for policy in (start(1), start(8)):
        chance = policy.act(rows, None).log_prob.exp()
        torch.testing.assert_close(chance, torch.full((5, 3), 1 / 3), rtol=0, atol=1e-3)
