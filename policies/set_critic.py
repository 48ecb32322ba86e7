"""A critic over a set of agents: shared columns once, own columns beside them, agents related.

Agents of one role are read by the same weights, and nothing else tells them apart, so that
exchanging two of them exchanges their values and leaves all others'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from configs.mappo import CriticConfig
from policies.critic import Critic
from policies.dropout import masked
from policies.encoders import TransformerBlock
from policies.networks import activate, activation_gain, linear, orthogonal
from policies.reader import RowReader


@dataclass(frozen=True)
class AgentColumns:
    """Where in a row the columns of all agents and those of each stand.

    own: of each agent. roles: of each agent a number from 0 on; those of one role have
    equally many columns of one meaning each.
    """

    shared: tuple[int, ...]
    own: tuple[tuple[int, ...], ...]
    roles: tuple[int, ...]

    def of_role(self, role: int) -> list[int]:
        """The agents of a role, in their order."""
        return [agent for agent, own in enumerate(self.roles) if own == role]

    def moments(self) -> list[int]:
        """Of each column of a row a number, the same for columns of one meaning."""
        first = [self.of_role(role)[0] for role in self.roles]
        like = {column: column for column in self.shared}
        for own, alike in zip(self.own, first, strict=True):
            like |= dict(zip(own, self.own[alike], strict=True))
        numbers = {column: number for number, column in enumerate(sorted(set(like.values())))}
        return [numbers[like[column]] for column in sorted(like)]


class SetCritic(Critic):
    """First layer: shared columns + own columns + role, per agent; then agents are related.

    What relates them is a block of attention (Vaswani et al., 2017) or the mean over all
    agents through a layer of its own; the further hidden layers and the head serve all.
    """

    order: Tensor

    def __init__(
        self,
        columns: AgentColumns,
        config: CriticConfig,
        seed: int = 0,
        reader: RowReader | None = None,
    ) -> None:
        super().__init__(columns.moments(), len(columns.roles), config, reader)
        generator = torch.Generator().manual_seed(seed)
        gain, hidden = activation_gain(config.activation), config.hidden
        width = len(columns.shared) if reader is None else reader.width
        self.shared = linear(width, hidden[0], gain, generator)
        self._register("shared_columns", columns.shared)
        self.role_count = len(set(columns.roles))
        readers = [columns.of_role(role) for role in range(self.role_count)]
        self.role = nn.Parameter(orthogonal(self.role_count, hidden[0], gain, generator))
        self.own = nn.ParameterList(
            nn.Parameter(orthogonal(len(columns.own[agents[0]]), hidden[0], gain, generator))
            for agents in readers
        )
        for role, agents in enumerate(readers):
            self._register(f"own_columns_{role}", [columns.own[agent] for agent in agents])
        # Agents stand role after role; `order` takes them back to their own.
        placed = [agent for agents in readers for agent in agents]
        self._register("order", [placed.index(agent) for agent in range(len(placed))])
        self.relation: nn.Module
        if config.relate == "attention":
            self.relation = TransformerBlock(hidden[0], config.heads, hidden[0], generator)
        else:
            self.relation = MeanOfAll(hidden[0], generator)
        self.layers = nn.ModuleList(linear(a, b, gain, generator) for a, b in pairwise(hidden))
        self.head = linear(hidden[-1], 1, 1.0, generator)

    def _register(self, name: str, places: Sequence[object]) -> None:
        self.register_buffer(name, torch.tensor(places, dtype=torch.long), persistent=False)

    def _begin(self, states: Tensor) -> Tensor:
        states = self.inputs(states)
        shared = self.shared(self._features(states[..., self.get_buffer("shared_columns")]))
        found = []
        for role, weight in enumerate(self.own):
            own = states[..., self.get_buffer(f"own_columns_{role}")]
            found.append(shared.unsqueeze(-2) + own @ weight + self.role[role])
        values = torch.cat(found, dim=-2).index_select(-2, self.order)
        values = activate(values, self.config.activation)
        related: Tensor = self.relation(values.flatten(0, -3))
        return related.view(values.shape)

    def _finish(self, values: Tensor, drop: Sequence[Tensor] = ()) -> Tensor:
        values = masked(values, drop, len(self.layers))
        for number, layer in enumerate(self.layers, start=1):
            values = activate(layer(values), self.config.activation)
            values = masked(values, drop, len(self.layers) - number)
        output: Tensor = self.head(values)
        return output.squeeze(-1)

    def _shaped(self, masks: list[Tensor]) -> list[Tensor]:
        return [mask.unsqueeze(-2) for mask in masks]


class MeanOfAll(nn.Module):
    """Values [N, agents, width] with a layer of their mean over agents added to each."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layer = linear(width, width, 1.0, generator)

    def forward(self, values: Tensor) -> Tensor:
        return values + torch.tanh(self.layer(values.mean(1, keepdim=True)))
