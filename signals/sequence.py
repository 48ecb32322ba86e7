"""A group of any team as a layer: its agents choose one after the other, knowing what was chosen.

The sequential actor (`policies.sequential`) reads layers. A group whose agents make
one choice each has the same rows, actions and noise as the layer made here, so
that the actor takes the group's place without a change of columns.
"""

from __future__ import annotations

import math

from configs.errors import ConfigError
from signals.layout import ActionComponent, AgentLayout, Column, LayerLayout
from signals.team import Factor, GroupLayout


def sequential_layout(group: GroupLayout) -> LayerLayout:
    """The layer whose agents are `group`'s, each with its own columns and nothing shared.

    A row, a row of actions, of noise and of masks of the group is one of the layer.

    Raises:
        ConfigError: an agent of the group has several factors or an unbounded one.
    """
    factor = _only_factor(group)
    own = tuple(
        Column(name, "as observed", -math.inf, math.inf, f"observation of group '{group.name}'")
        for name in group.columns
    )
    # Even chances, as any equal weights give; for a box the middle of its range.
    components = tuple(
        ActionComponent(f"{factor.name}_{k}", "the environment's own", initial=0.5)
        for k in range(factor.width)
    )
    return LayerLayout(
        layer=group.name,
        shared=(),
        agents=tuple(
            AgentLayout(
                name=agent,
                own=own,
                kind="discrete" if factor.kind == "categorical" else "box",
                components=components,
            )
            for agent in group.agents
        ),
    )


def _only_factor(group: GroupLayout) -> Factor:
    found = ", ".join(f"{f.name} ({f.kind}, {f.width})" for f in group.factors) or "none"
    if len(group.factors) != 1 or group.factors[0].kind == "unbounded":
        raise ConfigError(
            f"group '{group.name}' with sharing 'sequential': its agents choose {found}; expected "
            "one factor, categorical or bounded: take sharing 'shared' or 'per_agent', or give "
            "the environment one bounded or categorical action per agent"
        )
    return group.factors[0]
