"""What an environment tells of itself before it is played: its agents, spaces and state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from configs.errors import TrainingError
from envs.vector_actions import Acting, acting
from envs.vector_groups import MaskPlace, Member, grouped
from envs.vector_spaces import ACTION_MASK, Unfit, masks_itself, observed
from signals.team import TeamLayout

_SEED = 0  # of the one episode that is begun to see masks and state


@dataclass(frozen=True)
class Team:
    """The layout, and its agents in the layout's order."""

    layout: TeamLayout
    members: tuple[Member, ...]


def read_team(
    env: Any, label: str, groups: Mapping[str, Sequence[str]] | None, with_state: bool
) -> Team:
    """Read the spaces of all possible agents, begin an episode, and look.

    Raises:
        TrainingError: an agent cannot be trained, or the environment cannot be reset.
        ConfigError: the groups do not fit the agents.
    """
    keys = list(env.possible_agents)
    if not keys or len(set(map(str, keys))) != len(keys):
        raise TrainingError(
            f"environment '{label}': possible_agents is {keys}: expected agents of different names"
        )
    try:
        infos = env.reset(seed=_SEED)[1]
        infos = {key: info or {} for key, info in infos.items()}
    except Exception as error:
        raise TrainingError(
            f"environment '{label}': reset(seed={_SEED}) raised {type(error).__name__}: {error}; "
            "expected it to give (observations, infos)"
        ) from error
    acts = {key: _acts(env, label, key) for key in keys}
    # An agent that is not born yet has a mask where its like has one.
    masked = [acts[key].factors for key in keys if ACTION_MASK in infos.get(key, {})]
    members: list[Member] = []
    for key in keys:
        given = ACTION_MASK in infos[key] if key in infos else acts[key].factors in masked
        members.append(_member(env, label, key, acts[key], given))
    layouts = grouped(members, groups)
    by_name = {member.name: member for member in members}
    layout = TeamLayout(_name(env, label), layouts, _state_width(env, label) if with_state else 0)
    return Team(layout, tuple(by_name[name] for name in layout.agent_names))


def _acts(env: Any, label: str, key: Any) -> Acting:
    try:
        return acting(_space(env.action_space, key))
    except Unfit as error:
        raise TrainingError(f"environment '{label}', agent '{key}': {error}") from error


def _member(env: Any, label: str, key: Any, acts: Acting, in_infos: bool) -> Member:
    place: MaskPlace = "infos" if in_infos else "nowhere"
    try:
        space = _space(env.observation_space, key)
        if masks_itself(space):
            place = "observation"
        seen = observed(space)
        if place != "nowhere" and acts.choices.width == 0:
            raise Unfit(f"it has an '{ACTION_MASK}' and no choice that one could forbid")
    except Unfit as error:
        raise TrainingError(f"environment '{label}', agent '{key}': {error}") from error
    return Member(key, seen, acts, place)


def _space(of: Callable[[Any], Any], key: Any) -> Any:
    try:
        return of(key)
    except Exception as error:
        raise Unfit(f"{of.__name__}() raised {type(error).__name__}: {error}") from error


def _name(env: Any, label: str) -> str:
    """The environment's own name, else that of the function that makes it."""
    name = (getattr(env, "metadata", None) or {}).get("name")
    return name if isinstance(name, str) and name else label


def _state_width(env: Any, label: str) -> int:
    """Numbers that `state()` gives; 0 where it is not implemented."""
    if not callable(getattr(getattr(env, "unwrapped", env), "state", None)):
        return 0  # some keep data of their own under that name
    try:
        state = env.state()
    except (NotImplementedError, AttributeError):
        return 0
    except Exception as error:
        raise TrainingError(
            f"environment '{label}': state() raised {type(error).__name__}: {error}; mend it, or "
            "train without the environment's state"
        ) from error
    flat = np.asarray(state).ravel()
    if flat.dtype.kind not in "biuf":
        raise TrainingError(
            f"environment '{label}': state() gave {type(state).__name__}: expected an array of "
            "numbers; or train without the environment's state"
        )
    return flat.size
