"""Which columns a critic reads as whose, and the critic that the settings ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from configs.errors import TrainingError
from configs.mappo import CriticInput, MappoConfig
from policies.critic import CentralCritic, Critic
from policies.reader import RowReader
from policies.set_critic import AgentColumns, SetCritic
from signals.layout import AgentLayout, LayerLayout
from signals.team import TeamLayout


def make_critic(
    layout: LayerLayout | TeamLayout, read: CriticInput, width: int, config: MappoConfig
) -> Critic:
    """The critic of `config.critic` on rows of `width` numbers, seeded by `config.seed`.

    Raises:
        TrainingError: it is to read what the layout does not have.
    """
    critic, seed = config.critic, config.seed
    if critic.kind == "set":
        columns = agent_columns(layout, read)
        return SetCritic(columns, critic, seed, _reader(layout, config, columns.shared))
    agents = layout.agents if isinstance(layout, LayerLayout) else layout.agent_names
    reader = _reader(layout, config, range(width))
    return CentralCritic(width, len(agents), critic, seed, reader)


def _reader(
    layout: LayerLayout | TeamLayout, config: MappoConfig, columns: Sequence[int]
) -> RowReader | None:
    """Of the state's `columns`, which begin with the windows; None without encoders."""
    encoders = config.critic.encoders
    if not encoders:
        return None
    if not isinstance(layout, LayerLayout):
        raise TrainingError(
            f"mappo.critic.encoders: team '{layout.name}' has no windows of bars; leave it out"
        )
    whole = LayerLayout(
        layer=f"{layout.layer}'s critic",
        shared=tuple(layout.state_columns[place] for place in columns),
        agents=(AgentLayout("critic", (), "box", ()),),
        windows=layout.windows,
    )
    return RowReader(whole, encoders, torch.Generator().manual_seed(config.seed))


def agent_columns(layout: LayerLayout | TeamLayout, read: CriticInput) -> AgentColumns:
    """What the critic's row says of all agents and of each, and which agents are alike.

    Raises:
        TrainingError: the row does not say it.
    """
    if isinstance(layout, LayerLayout):
        return _columns_of_layer(layout)
    return _columns_of_team(layout, read)


def _columns_of_layer(layout: LayerLayout) -> AgentColumns:
    """Agents that differ in nothing but their names are of one role."""
    kinds = [replace(agent, name="") for agent in layout.agents]
    roles = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    own = [layout.own_slice(k) for k in range(len(kinds))]
    private = range(layout.row_width, layout.state_width)
    return AgentColumns(
        shared=(*range(len(layout.shared)), *private),
        own=tuple(tuple(range(part.start, part.stop)) for part in own),
        roles=tuple(roles[kind] for kind in kinds),
    )


def _columns_of_team(layout: TeamLayout, read: CriticInput) -> AgentColumns:
    """Agents of a group are of one role; each one's own are its observation and its flag."""
    if read == "state":
        raise TrainingError(
            f"mappo.critic.kind=set with input=state: the state of '{layout.name}' does not say "
            "whose its columns are; set mappo.critic.input to observations or both, or kind to flat"
        )
    shared = layout.state_width if read == "both" else 0
    own: list[tuple[int, ...]] = []
    roles: list[int] = []
    at, flags = shared, shared + layout.row_width
    for role, group in enumerate(layout.groups):
        for _ in group.agents:
            end = at + group.observation_width
            own.append((*range(at, end), flags + len(own)))
            roles.append(role)
            at = end
    return AgentColumns(tuple(range(shared)), tuple(own), tuple(roles))
