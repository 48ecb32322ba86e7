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

    parts: tensors [networks, rows, width] that its state is made of; the first is its output.
    """

    parts: int

    def __init__(
        self, networks: int, inputs: int, width: int, gates: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.width = width
        outputs = gates * width
        self.reads = StackedLinear(networks, inputs, outputs, _CELL_GAIN, generator, gates)
        recalls = StackedLinear(networks, width, outputs, _CELL_GAIN, generator, gates)
        self.recall_weight = nn.Parameter(recalls.weight.detach())

    def project(self, values: Tensor) -> Tensor:
        """[networks, rows, inputs] -> what `step` takes, [networks, rows, gates x width]."""
        projected: Tensor = self.reads(values)
        return projected

    @abstractmethod
    def step(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The state after the one given."""


class GRUCell(Cell):
    """Cho et al. (2014), the reset gate behind the product as in torch's and cuDNN's cells.

    Of the products with the state only the last gate's has a bias of its own: before
    the other two gates it would add to what `reads` adds.
    """

    parts = 1

    def __init__(self, networks: int, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__(networks, inputs, width, 3, generator)
        self.recall_bias = nn.Parameter(torch.zeros(networks, 1, width))

    def step(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (output,) = state
        widths = [2 * self.width, self.width]
        read_gates, read_new = projected.split(widths, dim=-1)
        recalled_gates, recalled_new = torch.bmm(output, self.recall_weight).split(widths, dim=-1)
        reset, keep = torch.sigmoid(read_gates + recalled_gates).chunk(2, dim=-1)
        new = torch.tanh(torch.addcmul(read_new, reset, recalled_new + self.recall_bias))
        return (torch.addcmul(new, keep, output - new),)


class LSTMCell(Cell):
    """Hochreiter and Schmidhuber (1997) with forget gates, open at first (bias 1).

    The state is the output, then the inner cell. The bias follows Jozefowicz, Zaremba
    and Sutskever, "An Empirical Exploration of Recurrent Network Architectures" (2015).
    """

    parts = 2

    def __init__(self, networks: int, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__(networks, inputs, width, 4, generator)
        with torch.no_grad():
            self.reads.bias[..., width : 2 * width] = 1.0

    def step(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        output, inner = state
        gates = torch.baddbmm(projected, output, self.recall_weight)
        gates, new = gates.split([3 * self.width, self.width], dim=-1)
        enter, forget, leave = torch.sigmoid(gates).chunk(3, dim=-1)
        inner = torch.addcmul(forget * inner, enter, torch.tanh(new))
        return leave * torch.tanh(inner), inner
