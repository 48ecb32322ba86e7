"""How a layer's agents read a row of columns and write a row of actions.

A layer's observation is kept as ONE flat row per environment: the columns that
all agents share, then each agent's own columns in agent order. An agent's own
observation is the shared part followed by its own part; `upstream` carries what
the agents before it chose in the same step. Environments, policies and the
cascade all cut the same rows by the same layout, so no index is written twice.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from configs.errors import SimulatorError


@dataclass(frozen=True)
class Column:
    """One column of an observation or state: its name, unit, range and source.

    `privileged` columns are for the critic in training alone: no actor, no
    export and no decision reads them.
    """

    name: str
    unit: str
    low: float
    high: float
    source: str
    privileged: bool = False


@dataclass(frozen=True)
class ActionComponent:
    """One component of an agent's action, in [0, 1] for boxes, and what it does to orders.

    `initial` is where an untrained policy starts: the component itself for boxes, a
    choice's relative weight for discrete agents. A `supervised` component is learnt
    by regression and carries no policy gradient.
    """

    name: str
    effect: str
    supervised: bool = False
    initial: float = 0.5


@dataclass(frozen=True)
class AgentLayout:
    """One agent: its own columns, its action kind and the components of its action.

    kind "box": `len(components)` numbers in [0, 1].
    kind "discrete": one number, the index of the chosen component.
    views: names of the shared columns that it observes; None for all of them.
    mask: of a discrete agent, the columns that are 1 where a choice is allowed, one for
        each component; empty where all always are. At least one choice must be.
    follows: whether it sees what the agents before it chose.
    """

    name: str
    own: tuple[Column, ...]
    kind: Literal["box", "discrete"]
    components: tuple[ActionComponent, ...]
    views: tuple[str, ...] | None = None
    mask: tuple[str, ...] = ()
    follows: bool = True

    @property
    def action_width(self) -> int:
        """Numbers this agent takes in a row of joint actions."""
        return len(self.components) if self.kind == "box" else 1

    @property
    def encoded_width(self) -> int:
        """Numbers this agent takes in `upstream` (one-hot where discrete) and of noise."""
        return len(self.components)


@dataclass(frozen=True)
class Window:
    """A run of a row's columns that holds the last `rows` bars of `columns` each, oldest first.

    One step later in the same episode it has moved on by one bar.
    """

    rows: int
    columns: int

    @property
    def width(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True)
class LayerLayout:
    """The agents of a layer in their order of acting, and the columns they share.

    windows: a row begins with these, one after the other; what is sampled is sent to
        learners bar by bar, and the windows are put together there.
    """

    layer: str
    shared: tuple[Column, ...]
    agents: tuple[AgentLayout, ...]
    privileged: tuple[Column, ...] = ()
    version: int = 0  # of the environment; rises whenever learning could change
    windows: tuple[Window, ...] = ()

    @property
    def env_id(self) -> str:
        """The environment that agents of this layout are trained in."""
        return f"{self.layer}_v{self.version}"

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns of a row: shared once, then each agent's own."""
        return self.shared + tuple(c for agent in self.agents for c in agent.own)

    @cached_property
    def state_columns(self) -> tuple[Column, ...]:
        """The columns of `state()`: the row, then the privileged ones."""
        return self.columns + self.privileged

    @property
    def row_width(self) -> int:
        return len(self.columns)

    @property
    def state_width(self) -> int:
        return len(self.state_columns)

    @property
    def action_width(self) -> int:
        return sum(agent.action_width for agent in self.agents)

    @property
    def noise_width(self) -> int:
        """Numbers of noise per joint decision: normal for boxes, Gumbel for discrete."""
        return sum(agent.encoded_width for agent in self.agents)

    @property
    def upstream_width(self) -> int:
        """The encoded choices of all agents but the last, then their 'chosen' flags."""
        before = self.agents[:-1]
        return sum(agent.encoded_width for agent in before) + len(before)

    def own_slice(self, agent: int) -> slice:
        """Where agent number `agent`'s own columns lie in a row."""
        start = len(self.shared) + sum(len(a.own) for a in self.agents[:agent])
        return slice(start, start + len(self.agents[agent].own))

    def observation_indices(self, agent: int) -> NDArray[np.int64]:
        """Columns of a row that make up the observation of agent number `agent`."""
        own = self.own_slice(agent)
        views = self.agents[agent].views
        seen = np.arange(len(self.shared))
        if views is not None:
            place = {column.name: index for index, column in enumerate(self.shared)}
            seen = np.array([place[name] for name in views], np.int64)
        return np.concatenate([seen, np.arange(own.start, own.stop)])

    def observation_columns(self, agent: int) -> tuple[Column, ...]:
        return tuple(self.columns[index] for index in self.observation_indices(agent))

    def mask_indices(self, agent: int) -> NDArray[np.int64]:
        """Columns of a row that say which choices agent number `agent` has; none for all."""
        place = {column.name: index for index, column in enumerate(self.columns)}
        return np.array([place[name] for name in self.agents[agent].mask], np.int64)

    def action_slice(self, agent: int) -> slice:
        """Where agent number `agent`'s numbers lie in a row of joint actions."""
        start = sum(a.action_width for a in self.agents[:agent])
        return slice(start, start + self.agents[agent].action_width)

    def noise_slice(self, agent: int) -> slice:
        """Where agent number `agent`'s numbers lie in a row of noise."""
        start = sum(a.encoded_width for a in self.agents[:agent])
        return slice(start, start + self.agents[agent].encoded_width)

    def upstream_slice(self, agent: int) -> slice:
        """Where the choice of agent number `agent` (not the last) lies in `upstream`."""
        return self.noise_slice(agent)

    def chosen_flag(self, agent: int) -> int:
        """Index in `upstream` of the flag that agent number `agent` has chosen."""
        return sum(a.encoded_width for a in self.agents[:-1]) + agent

    def table(self) -> dict[str, object]:
        """The layout as plain data, for manifests and docs."""

        def rows(columns: tuple[Column, ...]) -> list[dict[str, object]]:
            return [dict(name=c.name, unit=c.unit, low=c.low, high=c.high) for c in columns]

        return {
            "layer": self.layer,
            "shared": rows(self.shared),
            "agents": [
                {
                    "name": a.name,
                    "own": rows(a.own),
                    "kind": a.kind,
                    "components": [c.name for c in a.components],
                    **_restrictions(a),
                }
                for a in self.agents
            ],
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the table: an artefact trained on other columns has another."""
        text = json.dumps(self.table(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """By name where it is the constant LAYER of `signals.layer`, so that no message between
        processes carries 1,500 columns; else as any other object."""
        if getattr(sys.modules.get(_home(self.layer)), self.layer.upper(), None) is self:
            return _layout_of, (self.layer, self.digest)
        return super().__reduce_ex__(protocol)


def _home(layer: str) -> str:
    return f"signals.{layer}"


def _layout_of(layer: str, digest: str) -> LayerLayout:
    """The constant that was pickled by name.

    Raises:
        SimulatorError: another version's, with other columns.
    """
    found: LayerLayout = getattr(importlib.import_module(_home(layer)), layer.upper())
    if found.digest != digest:
        raise SimulatorError(
            f"layer '{layer}' was sent with columns {digest[:12]}, here they are "
            f"{found.digest[:12]}: expected the same version of this package in every process; "
            "install it on every machine"
        )
    return found


def _restrictions(agent: AgentLayout) -> dict[str, object]:
    """What an agent does not see or may not do, left out where there is nothing."""
    found: dict[str, object] = {}
    if agent.views is not None:
        found["views"] = list(agent.views)
    if agent.mask:
        found["mask"] = list(agent.mask)
    if not agent.follows:
        found["follows"] = False
    return found
