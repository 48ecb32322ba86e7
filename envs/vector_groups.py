"""Which agents of an environment act alike, and the layout of the team they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from configs.errors import ConfigError, nearest
from envs.vector_actions import Acting
from envs.vector_spaces import Observed
from signals.team import GroupLayout

MaskPlace = Literal["nowhere", "observation", "infos"]


@dataclass(frozen=True)
class Member:
    """One agent: how the environment calls it, what it observes and how it acts.

    mask_in: where the environment gives its action mask.
    """

    key: Any
    observed: Observed
    acting: Acting
    mask_in: MaskPlace

    @property
    def name(self) -> str:
        return str(self.key)

    @property
    def shape(self) -> tuple[Any, ...]:
        """Equal for agents that one network can play."""
        return self.observed.columns, self.acting.factors, self.mask_in != "nowhere"


def grouped(
    members: Sequence[Member], groups: Mapping[str, Sequence[str]] | None
) -> tuple[GroupLayout, ...]:
    """The groups as told, or one for all agents of equal shape.

    Args:
        members: all agents, in the environment's order.
        groups: names or glob patterns of each group's agents, in their order of acting.

    Raises:
        ConfigError: an agent is in no group or in two, a pattern matches none, or the agents
            of a group differ.
    """
    told = _alike(members) if groups is None else _told(members, groups)
    return tuple(_layout(name, own) for name, own in told.items())


def _layout(name: str, members: Sequence[Member]) -> GroupLayout:
    first = members[0]
    for other in members[1:]:
        if other.shape != first.shape:
            raise ConfigError(
                f"groups.{name}: agents '{first.name}' and '{other.name}' differ: "
                f"{_difference(first, other)}; put them into different groups"
            )
    return GroupLayout(
        name=name,
        agents=tuple(member.name for member in members),
        columns=first.observed.columns,
        factors=first.acting.factors,
        masked=first.mask_in != "nowhere",
    )


def _difference(first: Member, other: Member) -> str:
    """What makes two agents unlike, in words."""
    mine, its = first.observed.columns, other.observed.columns
    if len(mine) != len(its):
        return f"they observe {len(mine)} and {len(its)} numbers"
    for one, two in zip(mine, its, strict=True):
        if one != two:
            return f"one observes '{one}' where the other observes '{two}'"
    if first.acting.factors != other.acting.factors:
        return f"they act by {_factors(first)} and by {_factors(other)}"
    masked, free = (first, other) if first.mask_in != "nowhere" else (other, first)
    return f"'{masked.name}' has an action mask and '{free.name}' has none"


def _factors(member: Member) -> str:
    return ", ".join(f"{f.name} ({f.kind}, {f.width})" for f in member.acting.factors)


def _told(
    members: Sequence[Member], groups: Mapping[str, Sequence[str]]
) -> dict[str, list[Member]]:
    by_name = {member.name: member for member in members}
    home: dict[str, str] = {}
    told: dict[str, list[Member]] = {}
    for group, patterns in groups.items():
        if isinstance(patterns, str):
            raise ConfigError(f"groups.{group} is '{patterns}', expected a list of agents")
        told[group] = []
        for pattern in patterns:
            for name in _matches(group, pattern, by_name):
                if home.setdefault(name, group) != group:
                    raise ConfigError(
                        f"agent '{name}' is in the groups '{home[name]}' and '{group}': name it "
                        "in one of them"
                    )
                if by_name[name] not in told[group]:
                    told[group].append(by_name[name])
        if not told[group]:
            raise ConfigError(f"groups.{group} is empty: name its agents, or leave it out")
    left = [name for name in by_name if name not in home]
    if left:
        raise ConfigError(
            f"agents in no group: {', '.join(left)}; every possible agent of the environment "
            f"belongs to one (groups: {', '.join(groups) or 'none'})"
        )
    return told


def _matches(group: str, pattern: str, names: Mapping[str, Member]) -> list[str]:
    if pattern in names:  # a name with brackets is no pattern
        return [pattern]
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise ConfigError(
            f"groups.{group}: '{pattern}' matches no agent of the environment; "
            f"{nearest(pattern, names)}"
        )
    return found


def _alike(members: Sequence[Member]) -> dict[str, list[Member]]:
    shapes: dict[tuple[Any, ...], list[Member]] = {}
    for member in members:
        shapes.setdefault(member.shape, []).append(member)
    stems = [_stem(own) for own in shapes.values()]
    names = [
        stem if stem and stems.count(stem) == 1 else f"group_{index}"
        for index, stem in enumerate(stems)
    ]
    return dict(zip(names, shapes.values(), strict=True))


def _stem(members: Sequence[Member]) -> str:
    """What the names of all these agents share before their number; "" where nothing."""
    stems = {member.name.rstrip("0123456789").rstrip("_-. ") for member in members}
    return stems.pop() if len(stems) == 1 else ""
