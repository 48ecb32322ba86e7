"""Layers and cells with `networks` sets of weights side by side: one product serves all.

Values are [networks, rows, units]. One network reads all agents' rows; as many
networks as agents read one agent's rows each, in one batched product.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from policies.networks import orthogonal

_CELL_GAIN = 1.0  # of gates, which squash what they read


class StackedLinear(nn.Module):
    """[networks, rows, inputs] -> [networks, rows, outputs], orthogonal weights, zero biases.

    blocks: outputs are this many blocks side by side, each orthogonal in itself.
    """

    def __init__(
        self,
        networks: int,
        inputs: int,
        outputs: int,
        gain: float,
        generator: torch.Generator,
        blocks: int = 1,
    ) -> None:
        super().__init__()
        width = outputs // blocks
        weights = [
            torch.cat([orthogonal(inputs, width, gain, generator) for _ in range(blocks)], dim=1)
            for _ in range(networks)
        ]
        self.weight = nn.Parameter(torch.stack(weights))
        self.bias = nn.Parameter(torch.zeros(networks, 1, outputs))

    def forward(self, values: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, values, self.weight)


class Cell(nn.Module):
    """A recurrent cell: `project` what a step reads (all steps at once), then `step` by step.

    memory_width: numbers of its state per agent.
    """

    memory_width: int

    def __init__(
        self, networks: int, inputs: int, width: int, gates: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.width = width
        outputs = gates * width
        self.reads = StackedLinear(networks, inputs, outputs, _CELL_GAIN, generator, gates)
        self.recalls = StackedLinear(networks, width, outputs, _CELL_GAIN, generator, gates)

    def project(self, values: Tensor) -> Tensor:
        """[networks, rows, inputs] -> what `step` takes, [networks, rows, gates x width]."""
        projected: Tensor = self.reads(values)
        return projected

    @abstractmethod
    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(output [networks, rows, width], next state [networks, rows, memory_width])."""


class GRUCell(Cell):
    """Cho et al. (2014), the reset gate behind the product as in torch's and cuDNN's cells."""

    def __init__(self, networks: int, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__(networks, inputs, width, 3, generator)
        self.memory_width = width

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        both = 2 * self.width
        recalled = self.recalls(state)
        gates = torch.sigmoid(projected[..., :both] + recalled[..., :both])
        reset, keep = gates.chunk(2, dim=-1)
        new = torch.tanh(torch.addcmul(projected[..., both:], reset, recalled[..., both:]))
        output = new + keep * (state - new)
        return output, output


class LSTMCell(Cell):
    """Hochreiter and Schmidhuber (1997) with forget gates, open at first (bias 1).

    The state is the output, then the inner cell. The bias follows Jozefowicz, Zaremba
    and Sutskever, "An Empirical Exploration of Recurrent Network Architectures" (2015).
    """

    def __init__(self, networks: int, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__(networks, inputs, width, 4, generator)
        self.memory_width = 2 * width
        with torch.no_grad():
            self.reads.bias[..., width : 2 * width] = 1.0

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        output, inner = state.chunk(2, dim=-1)
        gates = projected + self.recalls(output)
        sigmoids = torch.sigmoid(gates[..., : 3 * self.width])
        enter, forget, leave = sigmoids.chunk(3, dim=-1)
        inner = forget * inner + enter * torch.tanh(gates[..., 3 * self.width :])
        output = leave * torch.tanh(inner)
        return output, torch.cat([output, inner], dim=-1)
