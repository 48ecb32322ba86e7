"""The centralized critic over `state()`, and the normalisation of its targets."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from configs.mappo import CriticConfig
from policies.networks import activate, activation_gain, orthogonal


class ValueNorm(nn.Module):
    """Debiased running mean and variance of returns, per agent.

    Yu et al. (2022), suggestion 1: the critic learns normalised targets, and its
    outputs are taken back to the reward's scale where advantages are formed.
    The statistics are buffers: they are saved with the weights and never trained.
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor

    def __init__(self, width: int, beta: float, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.beta = beta
        self.epsilon = epsilon
        # Single precision: RLlib's state dicts carry no doubles, and a resume must be exact.
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("weight", torch.zeros(width))

    def moments(self) -> tuple[Tensor, Tensor]:
        """(mean, standard deviation), each float32 [width]; (0, 1) before any update."""
        return self.mean, self.variance.clamp(min=self.epsilon).sqrt()

    @torch.no_grad()
    def update(
        self,
        batch_mean: Tensor,
        batch_variance: Tensor,
        batches: int = 1,
        known: Tensor | None = None,
    ) -> None:
        """Move the statistics by the mean and variance [width] of one iteration's returns.

        `batches` is how many exponential steps of `beta` the batch counts for. `known`,
        bool [width], leaves alone those of agents that had no returns; None is all.
        Weighted, debiased updates of mean and variance after West (1979), which
        subtract no two large numbers.
        """
        keep = self.beta ** (batches if known is None else batches * known.double())
        weight = keep * self.weight.double() + (1.0 - keep)
        share = (1.0 - keep) / weight.clamp(min=torch.finfo(weight.dtype).tiny)
        delta = batch_mean.double() - self.mean
        variance = (1.0 - share) * (self.variance + share * delta * delta)
        self.variance.copy_(variance + share * batch_variance.double())
        self.mean.add_(share * delta)
        self.weight.copy_(weight)

    def normalize(self, values: Tensor) -> Tensor:
        mean, deviation = self.moments()
        return (values - mean) / deviation

    def denormalize(self, values: Tensor) -> Tensor:
        mean, deviation = self.moments()
        return values * deviation + mean


class CentralCritic(nn.Module):
    """Values of all agents from one row: [..., state_width] -> [..., agents], normalised.

    With `config.identity` each agent's number is a further input and one head gives its
    value; the row's own part of the first layer is computed once for all.
    """

    def __init__(self, state_width: int, agents: int, config: CriticConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        widths = (state_width, *config.hidden)
        gain = activation_gain(config.activation)
        layers = []
        for rows, columns in pairwise(widths):
            layers.append(_linear(rows, columns, gain, generator))
        self.layers = nn.ModuleList(layers)
        self.head = _linear(widths[-1], 1 if config.identity else agents, 1.0, generator)
        if config.identity:
            self.identity = nn.Parameter(orthogonal(agents, widths[1], gain, generator))
        self.norm = ValueNorm(agents, config.value_norm_beta)

    def forward(self, states: Tensor) -> Tensor:
        values = states.clamp(-self.config.input_clip, self.config.input_clip)
        for number, layer in enumerate(self.layers):
            values = layer(values)
            if number == 0 and self.config.identity:
                values = values.unsqueeze(-2) + self.identity
            values = activate(values, self.config.activation)
        output: Tensor = self.head(values)
        return output.squeeze(-1) if self.config.identity else output

    def values(self, states: Tensor) -> Tensor:
        """Values [..., agents] in the reward's own scale."""
        output = self(states)
        return self.norm.denormalize(output) if self.config.value_norm else output


def _linear(rows: int, columns: int, gain: float, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(rows, columns)
    with torch.no_grad():
        layer.weight.copy_(orthogonal(columns, rows, gain, generator))
        layer.bias.zero_()
    return layer
