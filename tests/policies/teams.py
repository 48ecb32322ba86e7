"""Groups of every kind of action, and actors of them whose outputs are far from zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from configs.actors import ActorConfig
from policies.group import GroupActor, Sharing
from signals.team import Factor, GroupLayout

AGENTS = 3
COLUMNS = 4

FACTORS: dict[str, tuple[Factor, ...]] = {
    "categorical": (Factor("move", "categorical", 5),),
    "multi_categorical": (
        Factor("move", "categorical", 3),
        Factor("say", "categorical", 3),
        Factor("look", "categorical", 2),
    ),
    "bounded": (Factor("push", "bounded", 2),),
    "unbounded": (Factor("turn", "unbounded", 2),),
    "tuple": (
        Factor("push", "bounded", 2),
        Factor("move", "categorical", 4),
        Factor("pull", "bounded", 1),
        Factor("turn", "unbounded", 3),
        Factor("say", "categorical", 4),
    ),
}


def group_of(kind: str, masked: bool = False) -> GroupLayout:
    return GroupLayout(
        name="walkers",
        agents=tuple(f"walker_{k}" for k in range(AGENTS)),
        columns=tuple(f"column_{k}" for k in range(COLUMNS)),
        factors=FACTORS[kind],
        masked=masked,
    )


def actor_of(
    group: GroupLayout, sharing: Sharing = "shared", seed: int = 0, **changes: Any
) -> GroupActor:
    """An actor with every parameter moved away from its start, so that wrong wiring shows."""
    options = {"hidden": (16, 12), "memory_width": 7, "output_gain": 1.0} | changes
    actor = GroupActor(group, ActorConfig(**options), sharing, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return actor


def rows_of(group: GroupLayout, *lead: int, seed: int = 1) -> Tensor:
    """Random rows [*lead, row_width] in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*lead, group.row_width, generator=generator) * 2 - 1


def noise_of(actor: GroupActor, *lead: int, seed: int = 2) -> Tensor:
    """Noise [*lead, noise_width] of the law that each lane of the actor's group asks for."""
    group = actor.layout
    generator = torch.Generator().manual_seed(seed)
    lanes = []
    for factor in group.factors:
        shape = (*lead, len(group.agents), factor.width)
        uniform = torch.rand(shape, generator=generator).clamp(1e-6, 1 - 1e-6)
        if factor.kind == "categorical":
            lanes.append(-torch.log(-torch.log(uniform)))
        elif factor.kind == "bounded" and actor.config.bounded == "beta":
            lanes.append(uniform)
        else:
            lanes.append(torch.randn(shape, generator=generator))
    return torch.cat(lanes, dim=-1).flatten(-2)


def masks_of(group: GroupLayout, *lead: int, seed: int = 3) -> Tensor:
    """Random masks bool [*lead, mask_width] that leave each factor at least one category."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for factor in group.factors:
        if factor.kind != "categorical":
            continue
        shape = (*lead, len(group.agents), factor.width)
        allowed = torch.rand(shape, generator=generator) < 0.5
        spared = torch.randint(factor.width, shape[:-1], generator=generator)
        parts.append(allowed.scatter(-1, spared.unsqueeze(-1), True))
    return torch.cat(parts, dim=-1).flatten(-2)
