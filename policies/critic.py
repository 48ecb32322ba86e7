"""Centralized critics over `state()`, and the normalisation of their targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from configs.errors import TrainingError
from configs.mappo import CriticConfig
from policies.dropout import MaskBank, masked
from policies.inputs import Inputs, moved
from policies.networks import activate, activation_gain, linear, orthogonal
from policies.reader import RowReader


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
        Exponential weights, debiased.
        """
        keep = self.beta ** (batches if known is None else batches * known.double())
        weight = keep * self.weight.double() + (1.0 - keep)
        share = (1.0 - keep) / weight.clamp(min=torch.finfo(weight.dtype).tiny)
        before = self.mean.double(), self.variance.double()
        mean, variance = moved(*before, batch_mean.double(), batch_variance.double(), share)
        self.mean.copy_(mean)
        self.variance.copy_(variance)
        self.weight.copy_(weight)

    def normalize(self, values: Tensor) -> Tensor:
        mean, deviation = self.moments()
        return (values - mean) / deviation

    def denormalize(self, values: Tensor) -> Tensor:
        mean, deviation = self.moments()
        return values * deviation + mean


class Critic(nn.Module, ABC):
    """Values of all agents from one row: [..., state_width] -> [..., agents], normalised.

    moments: see `Inputs`. reader: encodes the windows that rows begin with, rows then being
    [N, state_width]; None where nothing is encoded.
    """

    def __init__(
        self,
        moments: Sequence[int],
        agents: int,
        config: CriticConfig,
        reader: RowReader | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.inputs = Inputs(moments, config.input_norm, config.input_clip)
        self.reader = reader
        self.norm = ValueNorm(agents, config.value_norm_beta)
        self.bank: MaskBank | None = None
        if config.dropout.rate:
            self.bank = MaskBank([(width,) for width in config.hidden], config.dropout)

    @abstractmethod
    def _begin(self, states: Tensor) -> Tensor:
        """What the first layer gives, activated: [..., (agents,) hidden]."""

    @abstractmethod
    def _finish(self, values: Tensor, drop: Sequence[Tensor] = ()) -> Tensor:
        """The rest of the network: [..., agents]. drop: factors of each layer's units."""

    def forward(self, states: Tensor) -> Tensor:
        return self._finish(self._begin(states))

    def trained(self, states: Tensor) -> Tensor:
        """What the loss is taken of: with dropout under a mask, another for each row."""
        if self.bank is None:
            return self._finish(self._begin(states))
        return self._finish(self._begin(states), self._shaped(self.bank.of_rows(len(states))))

    def values(self, states: Tensor) -> Tensor:
        """Values [..., agents] in the reward's own scale."""
        output: Tensor = self(states)
        return self.norm.denormalize(output) if self.config.value_norm else output

    def spread(self, states: Tensor) -> Tensor:
        """Standard deviation [N, agents] of the value over the bank's masks, in the reward's scale.

        states: [N, state_width], read once whatever the number of samples.

        Raises:
            TrainingError: this critic has no dropout.
        """
        if self.bank is None:
            raise TrainingError(
                "the spread of a critic without dropout: train it with critic.dropout.rate above 0"
            )
        began = self._begin(states).unsqueeze(0)
        drop = self._shaped([mask.unsqueeze(1) for mask in self.bank.all()])
        found = self._finish(began, drop).std(0, correction=0)
        return found * self.norm.moments()[1] if self.config.value_norm else found

    def _shaped(self, masks: list[Tensor]) -> list[Tensor]:
        """Masks [..., hidden] as they multiply what `_begin` gives."""
        return masks

    def _features(self, columns: Tensor) -> Tensor:
        if self.reader is None:
            return columns
        features: Tensor = self.reader(columns)
        return features


class CentralCritic(Critic):
    """One network over all columns.

    With `config.identity` each agent's number is a further input and one head gives its
    value; the row's own part of the first layer is computed once for all.
    """

    def __init__(
        self,
        state_width: int,
        agents: int,
        config: CriticConfig,
        seed: int = 0,
        reader: RowReader | None = None,
    ) -> None:
        super().__init__(range(state_width), agents, config, reader)
        generator = torch.Generator().manual_seed(seed)
        widths = (state_width if reader is None else reader.width, *config.hidden)
        gain = activation_gain(config.activation)
        self.layers = nn.ModuleList(
            linear(rows, columns, gain, generator) for rows, columns in pairwise(widths)
        )
        self.head = linear(widths[-1], 1 if config.identity else agents, 1.0, generator)
        if config.identity:
            self.identity = nn.Parameter(orthogonal(agents, widths[1], gain, generator))

    def _begin(self, states: Tensor) -> Tensor:
        values = self.layers[0](self._features(self.inputs(states)))
        if self.config.identity:
            values = values.unsqueeze(-2) + self.identity
        first: Tensor = activate(values, self.config.activation)
        return first

    def _finish(self, values: Tensor, drop: Sequence[Tensor] = ()) -> Tensor:
        values = masked(values, drop, len(self.layers) - 1)
        for number, layer in enumerate(self.layers[1:], start=1):
            values = activate(layer(values), self.config.activation)
            values = masked(values, drop, len(self.layers) - 1 - number)
        output: Tensor = self.head(values)
        return output.squeeze(-1) if self.config.identity else output

    def _shaped(self, masks: list[Tensor]) -> list[Tensor]:
        return [mask.unsqueeze(-2) for mask in masks] if self.config.identity else masks
