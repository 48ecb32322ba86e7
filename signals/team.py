"""How any team of agents reads rows and writes actions: groups of agents of one shape.

A team's observation is ONE flat row per environment: group after group, inside a
group agent after agent, each agent's columns together. Joint actions, action masks
and noise are laid out the same way, so that whoever steps, samples or learns cuts
the same rows by the same layout.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

FactorKind = Literal["categorical", "bounded", "unbounded"]


@dataclass(frozen=True)
class Factor:
    """One factor of an agent's action.

    kind "categorical": one number of a row of actions, an index below `width`.
    kind "bounded": `width` numbers in [0, 1]; whoever knows the bounds scales them.
    kind "unbounded": `width` numbers, as they are.
    """

    name: str
    kind: FactorKind
    width: int

    @property
    def action_width(self) -> int:
        """Numbers that this factor takes in a row of actions."""
        return 1 if self.kind == "categorical" else self.width


@dataclass(frozen=True)
class GroupLayout:
    """Agents that observe and act alike, in their order of acting.

    columns: names of the numbers that one agent observes. masked: some categorical
    choices may be forbidden; then every category has a flag in a row of masks, in
    the order of agents, factors and categories.
    """

    name: str
    agents: tuple[str, ...]
    columns: tuple[str, ...]
    factors: tuple[Factor, ...]
    masked: bool = False

    @property
    def observation_width(self) -> int:
        """Numbers that one agent observes."""
        return len(self.columns)

    @property
    def agent_action_width(self) -> int:
        """Numbers that one agent takes in a row of actions."""
        return sum(factor.action_width for factor in self.factors)

    @property
    def agent_encoded_width(self) -> int:
        """Numbers that one agent takes of noise: one a category, one a number."""
        return sum(factor.width for factor in self.factors)

    @property
    def agent_mask_width(self) -> int:
        """Flags that one agent takes in a row of masks; 0 where nothing is ever forbidden."""
        if not self.masked:
            return 0
        return sum(factor.width for factor in self.factors if factor.kind == "categorical")

    @property
    def row_width(self) -> int:
        return len(self.agents) * self.observation_width

    @property
    def action_width(self) -> int:
        return len(self.agents) * self.agent_action_width

    @property
    def noise_width(self) -> int:
        return len(self.agents) * self.agent_encoded_width

    @property
    def mask_width(self) -> int:
        return len(self.agents) * self.agent_mask_width


@dataclass(frozen=True)
class TeamLayout:
    """All groups of an environment, and the width of its `state()` (0 where it has none)."""

    name: str
    groups: tuple[GroupLayout, ...]
    state_width: int = 0

    @cached_property
    def agent_names(self) -> tuple[str, ...]:
        """Every agent, group after group: the columns of rewards and flags."""
        return tuple(agent for group in self.groups for agent in group.agents)

    @property
    def row_width(self) -> int:
        return sum(group.row_width for group in self.groups)

    @property
    def action_width(self) -> int:
        return sum(group.action_width for group in self.groups)

    @property
    def noise_width(self) -> int:
        return sum(group.noise_width for group in self.groups)

    @property
    def mask_width(self) -> int:
        return sum(group.mask_width for group in self.groups)

    @cached_property
    def agent_slices(self) -> tuple[slice, ...]:
        """Where each group's agents lie among all."""
        return slices([len(group.agents) for group in self.groups])

    @cached_property
    def row_slices(self) -> tuple[slice, ...]:
        """Where each group's observations lie in a row."""
        return slices([group.row_width for group in self.groups])

    @cached_property
    def action_slices(self) -> tuple[slice, ...]:
        """Where each group's numbers lie in a row of joint actions."""
        return slices([group.action_width for group in self.groups])

    @cached_property
    def noise_slices(self) -> tuple[slice, ...]:
        """Where each group's numbers lie in a row of noise."""
        return slices([group.noise_width for group in self.groups])

    @cached_property
    def mask_slices(self) -> tuple[slice, ...]:
        """Where each group's flags lie in a row of masks."""
        return slices([group.mask_width for group in self.groups])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the layout: another team has another."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def slices(widths: Sequence[int]) -> tuple[slice, ...]:
    """Slices of these widths, one behind the other."""
    ends = tuple(accumulate(widths))
    return tuple(slice(end - width, end) for end, width in zip(ends, widths, strict=True))
