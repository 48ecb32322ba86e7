"""The actor of a group: agents of one shape, decided in one forward pass.

Their networks are one set of weights that all share, or one set each, stacked so
that one batched product serves all agents: hidden layers, a recurrent cell where
the configuration asks for memory, and one linear head for all factors of an agent.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.actors import ActorConfig
from configs.errors import TrainingError
from policies.actor import Acted, Actor, Evaluated
from policies.factors import FactorHead
from policies.inputs import Inputs
from policies.networks import activate_, activation_gain
from policies.stacked import Cell, GRUCell, LSTMCell, StackedLinear
from signals.team import GroupLayout

Sharing = Literal["shared", "per_agent"]


class GroupActor(Actor):
    """The actor of one group. Rows are [..., layout.row_width], about [-1, 1], and are clipped.

    sharing "shared": one network; with `config.identity` it reads the agent's number
    too. "per_agent": a network each, which learns from its own agent's rows alone.
    Initial weights depend on `seed` alone.
    """

    numbers: Tensor

    def __init__(
        self, layout: GroupLayout, config: ActorConfig, sharing: Sharing, seed: int = 0
    ) -> None:
        super().__init__()
        self.layout = layout
        self.config = config
        self.sharing = sharing
        self.agents = len(layout.agents)
        self.mask_width = layout.mask_width
        networks = 1 if sharing == "shared" else self.agents
        generator = torch.Generator().manual_seed(seed)
        numbered = config.identity and sharing == "shared"
        numbers = torch.eye(self.agents) if numbered else torch.zeros(self.agents, 0)
        self.register_buffer("numbers", numbers, persistent=False)  # [agents, agents or 0]
        alike = layout.observation_width if sharing == "shared" else layout.row_width
        moments = [column % alike for column in range(layout.row_width)]
        self.inputs = Inputs(moments, config.input_norm, config.input_clip)
        self.trunk = self._build_trunk(networks, generator)
        self.cell = self._build_cell(networks, generator)
        self.factors = FactorHead(layout, config, networks)
        top = config.hidden[-1] if self.cell is None else config.memory_width
        outputs = self.factors.outputs
        self.head = StackedLinear(networks, top, outputs, config.output_gain, generator)
        if self.cell is not None:
            self.memory_width = self.agents * config.memory_width * self.cell.parts

    def _build_trunk(self, networks: int, generator: torch.Generator) -> nn.ModuleList:
        """The hidden layers, from what an agent observes (and, with identity, its number)."""
        inputs, gain = self.layout.observation_width, activation_gain(self.config.activation)
        widths = (inputs + self.numbers.shape[-1], *self.config.hidden)
        return nn.ModuleList(
            StackedLinear(networks, rows, columns, gain, generator)
            for rows, columns in pairwise(widths)
        )

    def _build_cell(self, networks: int, generator: torch.Generator) -> Cell | None:
        inputs, width = self.config.hidden[-1], self.config.memory_width
        if self.config.memory == "gru":
            return GRUCell(networks, inputs, width, generator)
        if self.config.memory == "lstm":
            return LSTMCell(networks, inputs, width, generator)
        return None

    def act(
        self,
        rows: Tensor,
        noise: Tensor | None,
        masks: Tensor | None = None,
        memory: Tensor | None = None,
    ) -> Acted:
        self._check(masks, memory)
        values = self._hidden(rows)
        after = None
        if self.cell is not None:
            before = self._state(self.cell, rows.shape[0], values, memory)
            state = self.cell.step(self.cell.project(values), before)
            joined = self._collect(torch.cat(state, dim=-1), rows.shape[:1])
            values, after = state[0], joined.flatten(1).to(rows.dtype)
        outputs = self._outputs(values, rows)
        return Acted(*self.factors.decide(outputs, noise, masks), after)

    def evaluate(
        self,
        rows: Tensor,
        latent: Tensor,
        masks: Tensor | None = None,
        memory: Tensor | None = None,
        begins: Tensor | None = None,
    ) -> Evaluated:
        self._check(masks, memory, begins)
        values = self._hidden(rows)
        if self.cell is not None:
            values = self._remember(self.cell, values, rows, memory, begins)
        return self.factors.judge(self._outputs(values, rows), latent, masks)

    def _hidden(self, rows: Tensor) -> Tensor:
        """Rows [..., row_width] -> [networks, rows of each, units] of the last hidden layer."""
        values: Tensor = self.inputs(rows)
        if self.numbers.shape[-1]:
            observed = values.reshape(-1, self.agents, self.layout.observation_width)
            numbers = self.numbers.to(values).expand(observed.shape[0], -1, -1)
            values = torch.cat([observed, numbers], dim=-1).flatten(1)
        values = self._spread(values)
        for layer in self.trunk:
            values = activate_(layer(values), self.config.activation)
            if self.config.layer_norm:
                # No scale and offset: the next product has both.
                values = functional.layer_norm(values, values.shape[-1:])
        return values

    def _outputs(self, values: Tensor, rows: Tensor) -> Tensor:
        """[networks, rows, units] -> the head's [..., agents, outputs], in the rows' precision."""
        return self._collect(self.head(values), rows.shape[:-1]).to(rows.dtype)

    def _remember(
        self,
        cell: Cell,
        values: Tensor,
        rows: Tensor,
        memory: Tensor | None,
        begins: Tensor | None,
    ) -> Tensor:
        """The cell's outputs over L steps, gradients through all of them, in `values`' order."""
        if rows.dim() != 3:
            raise TrainingError(
                f"{type(self).__name__}: got rows of {rows.dim()} dimensions to evaluate, expected "
                "[L, B, row_width]: an actor with memory is judged on sequences"
            )
        steps, count = rows.shape[:2]
        state = self._state(cell, count, values, memory)
        kept = None if begins is None else self._kept(begins, values)
        outputs = []
        for step, projected in enumerate(cell.project(values).unflatten(1, (steps, -1)).unbind(1)):
            if kept is not None:
                state = tuple(part * kept[step] for part in state)
            state = cell.step(projected, state)
            outputs.append(state[0])
        return torch.cat(outputs, dim=1)

    def _state(
        self, cell: Cell, count: int, values: Tensor, memory: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The cell's state, parts [networks, rows, units], of memory [B, memory_width] or zeros."""
        if memory is None:
            memory = values.new_zeros(count, self.memory_width)
        return self._spread(memory).chunk(cell.parts, dim=-1)

    def _kept(self, begins: Tensor, values: Tensor) -> Tensor:
        """begins [L, B] -> factors [L, 1, rows of a network, 1], 0 where memory is cleared."""
        kept = (~begins).to(values.dtype)
        if self.sharing == "shared":
            kept = kept.repeat_interleave(self.agents, dim=1)
        return kept[:, None, :, None]

    def _spread(self, values: Tensor) -> Tensor:
        """[..., agents x width] -> [networks, rows of each network, width]."""
        width = values.shape[-1] // self.agents
        if self.sharing == "shared":
            return values.reshape(1, -1, width)
        return values.reshape(-1, self.agents, width).transpose(0, 1)

    def _collect(self, values: Tensor, lead: torch.Size) -> Tensor:
        """[networks, rows of each network, width] -> [*lead, agents, width]."""
        if self.sharing == "shared":
            return values.reshape(*lead, self.agents, -1)
        return values.transpose(0, 1).reshape(*lead, self.agents, -1)
