"""Building blocks that actors and critics share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from configs.mappo import Activation

_RELU_GAIN = math.sqrt(2.0)
_TANH_GAIN = 5.0 / 3.0


def activation_gain(activation: Activation) -> float:
    """The orthogonal gain that keeps the scale of activations (He et al., 2015)."""
    return _TANH_GAIN if activation == "tanh" else _RELU_GAIN


def activate(values: Tensor, activation: Activation) -> Tensor:
    return torch.tanh(values) if activation == "tanh" else torch.relu(values)


def orthogonal(rows: int, columns: int, gain: float, generator: torch.Generator) -> Tensor:
    """A [rows, columns] matrix with orthogonal rows or columns, times `gain`."""
    weight = torch.empty(rows, columns)
    nn.init.orthogonal_(weight, gain=gain, generator=generator)
    return weight
