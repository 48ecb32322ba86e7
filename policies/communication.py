"""Messages between agents of a layer: masked attention, and a memory slot that all write.

What agents say is made of their rows alone, never of what they chose: a message of an agent
that acts later tells nothing of its decision.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from configs.actors import CommunicationConfig
from policies.networks import linear, orthogonal

_MESSAGE_GAIN = 0.1  # of what is added to an agent's own reading: little at first


class Messages(nn.Module):
    """Features [N, agents, width] -> the same with what each agent heard added, round by round.

    An agent's attention is over those that it hears and over silence, whose message is
    nothing, so that whoever hears nobody stays as it is. The memory slot gathers, by a query
    of its own, what the hearer and those that it hears wrote: nobody reads through it what
    the mask keeps from it. (Das et al., "TarMAC: Targeted Multi-Agent Communication", 2019.)
    """

    hears: Tensor

    def __init__(
        self, agents: int, width: int, config: CommunicationConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        size = config.width
        parts = 2 if config.memory else 1
        self.reads = nn.ModuleList(
            linear(width, 3 * size, 1.0, generator) for _ in range(config.rounds)
        )
        # Without biases: silence says nothing at all.
        self.writes = nn.ParameterList(
            nn.Parameter(orthogonal(parts * size, width, _MESSAGE_GAIN, generator))
            for _ in range(config.rounds)
        )
        if config.memory:
            self.slot = nn.Parameter(orthogonal(config.rounds, size, 1.0, generator))
        before = torch.ones(agents, agents, dtype=torch.bool).tril(-1)
        hears = before if config.hears == "earlier" else before | before.T
        self.register_buffer("hears", hears, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        for number, (read, write) in enumerate(zip(self.reads, self.writes, strict=True)):
            query, key, value = read(torch.tanh(features)).chunk(3, dim=-1)
            heard = [_attend(query @ key.transpose(1, 2), self.hears, value)]
            if self.config.memory:
                scores = (key @ self.slot[number]).unsqueeze(1)
                own = torch.eye(len(self.hears), dtype=torch.bool, device=features.device)
                heard.append(_attend(scores, self.hears | own, value))
            features = features + torch.cat(heard, dim=-1) @ write
        return features


def _attend(scores: Tensor, hears: Tensor, values: Tensor) -> Tensor:
    """[N, A or 1, A] scores of values [N, A, d] -> [N, A, d]; silence has score 0 and value 0."""
    scores = (scores / math.sqrt(values.shape[-1])).masked_fill(~hears, -math.inf)
    silence = scores.new_zeros(*scores.shape[:-1], 1)
    weights = torch.softmax(torch.cat([scores, silence], dim=-1), dim=-1)
    return weights[..., :-1] @ values
