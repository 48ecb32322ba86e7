"""Building blocks that actors and critics share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from configs.actors import Activation

_RELU_GAIN = math.sqrt(2.0)
_TANH_GAIN = 5.0 / 3.0


def activation_gain(activation: Activation) -> float:
    """The orthogonal gain that keeps the scale of activations (He et al., 2015)."""
    return _TANH_GAIN if activation == "tanh" else _RELU_GAIN


def activate(values: Tensor, activation: Activation) -> Tensor:
    return torch.tanh(values) if activation == "tanh" else torch.relu(values)


def activate_(values: Tensor, activation: Activation) -> Tensor:
    """`activate` in place: for the fresh output of a product, which no gradient reads again."""
    return values.tanh_() if activation == "tanh" else values.relu_()


def orthogonal(rows: int, columns: int, gain: float, generator: torch.Generator) -> Tensor:
    """A [rows, columns] matrix with orthogonal rows or columns, times `gain`."""
    weight = torch.empty(rows, columns)
    nn.init.orthogonal_(weight, gain=gain, generator=generator)
    return weight


def linear(inputs: int, outputs: int, gain: float, generator: torch.Generator) -> nn.Linear:
    """A layer of orthogonal weights and zero biases; torch's own generator is left alone."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(orthogonal(outputs, inputs, gain, generator))
        layer.bias.zero_()
    return layer
