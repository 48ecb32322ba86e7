"""Who acts by which network: a layout and a configuration, cut into modules and slices."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from configs.actors import ActorConfig
from configs.errors import TrainingError, nearest
from configs.mappo import CriticInput, MappoConfig, Sharing
from policies.actor import Actor
from policies.critic import Critic
from policies.group import GroupActor
from policies.reader import RowReader
from policies.sequential import SequentialPolicy
from signals.layout import LayerLayout, Window
from signals.noise import JointNoise, TeamNoise
from signals.sequence import sequential_layout
from signals.team import GroupLayout, TeamLayout
from trainers.mappo.critics import make_critic
from trainers.mappo.windows import packed_width
from trainers.registry import load

POLICY = "policy"  # the one actor of a layer
CRITIC = "critic"
# RLlib's own rule for modules' ids, and the beginning of keys that it keeps beside them.
_NO_ID = re.compile(r'^$|^__|[<>:"/\\|?*]|[ .]$')

Noise = Callable[[NDArray[np.uint64], NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True)
class ActorPlan:
    """One module: the agents it acts for, where they lie, and how it is built.

    agents: where its agents lie among all; rows, actions, noise, masks: where theirs
    lie in the flat rows of the team. seed: of its weights.
    """

    name: str
    layout: LayerLayout | GroupLayout
    sharing: Sharing
    config: ActorConfig
    seed: int
    agents: slice
    rows: slice
    actions: slice
    noise: slice
    masks: slice

    def build(self) -> Actor:
        """The network, with the weights that `seed` gives.

        Raises:
            RegistryError, TrainingError: the configured network is not there, or is no actor.
        """
        if self.config.network is not None:
            return self._build_registered(self.config.network)
        if isinstance(self.layout, LayerLayout):
            return SequentialPolicy(self.layout, self.config, self.seed)
        if self.sharing == "sequential":
            return SequentialPolicy(sequential_layout(self.layout), self.config, self.seed)
        return GroupActor(self.layout, self.config, self.sharing, self.seed)

    def _build_registered(self, name: str) -> Actor:
        actor = load("policies", name)(self.layout, self.config, self.sharing, self.seed)
        if not isinstance(actor, Actor):
            raise TrainingError(
                f"policy.network={name}: got a {type(actor).__name__}, expected a policies.actor."
                f"Actor for group '{self.name}'"
            )
        return actor

    @property
    def agent_count(self) -> int:
        return _width(self.agents)

    @property
    def row_width(self) -> int:
        return _width(self.rows)

    @property
    def action_width(self) -> int:
        return _width(self.actions)

    @property
    def mask_width(self) -> int:
        return _width(self.masks)


@dataclass(frozen=True)
class TeamPlan:
    """All modules of a training, and what its critic reads.

    agents: every agent's name, in the order of rewards. columns, state_columns: names
    of the numbers in a row of observations and in what the critic reads.
    """

    name: str
    layout: LayerLayout | TeamLayout
    agents: tuple[str, ...]
    actors: tuple[ActorPlan, ...]
    critic_input: CriticInput
    columns: tuple[str, ...]
    state_columns: tuple[str, ...]

    def __getstate__(self) -> dict[str, Any]:
        """Without the names of a layer's columns, which its layout knows."""
        state = dict(self.__dict__)
        if isinstance(self.layout, LayerLayout):
            del state["columns"], state["state_columns"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        layout = state["layout"]
        if isinstance(layout, LayerLayout):
            state = state | _column_names(layout)
        self.__dict__.update(state)

    @property
    def row_width(self) -> int:
        return self.layout.row_width

    @property
    def windows(self) -> tuple[Window, ...]:
        """What rows and states begin with and is sent bar by bar."""
        return self.layout.windows if isinstance(self.layout, LayerLayout) else ()

    @property
    def packed_width(self) -> int:
        """Columns of rows and states that `windows` take."""
        return packed_width(self.windows)

    @property
    def state_width(self) -> int:
        """Numbers that the critic reads."""
        return len(self.state_columns)

    @property
    def environment_state_columns(self) -> tuple[str, ...]:
        """Names of the numbers in the environment's own state."""
        if isinstance(self.layout, LayerLayout):
            return self.state_columns
        return tuple(f"state.{k}" for k in range(self.layout.state_width))

    @property
    def has_memory(self) -> bool:
        return any(actor.config.memory != "none" for actor in self.actors)

    def noise(self) -> Noise:
        """The noise of joint decisions, one row of the actors' lanes per environment."""
        if isinstance(self.layout, LayerLayout):
            return JointNoise(self.layout)
        beta = tuple(
            actor.name
            for actor in self.actors
            if actor.sharing != "sequential" and actor.config.bounded == "beta"
        )
        return TeamNoise(self.layout, uniform=beta)

    def build_critic(self, config: MappoConfig) -> Critic:
        """The critic, with the weights that the seed of `config` gives.

        Raises:
            TrainingError: what the critic's settings ask for is not there.
        """
        return make_critic(self.layout, self.critic_input, self.state_width, config)

    def critic_rows(self, env: Any, present: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        """What the critic reads of `env` now: float32 [N, state_width].

        present: bool [N, A], the agents that the row is about; None is all. An array of
        the environment's own, or a new one.
        """
        if self.critic_input == "state":
            states: NDArray[np.float32] = env.states
            return states
        flags = np.ones((env.num_envs, len(self.agents)), np.float32)
        if present is not None:
            flags[:] = present
        parts = [env.states] if self.critic_input == "both" else []
        return np.concatenate([*parts, env.rows, flags], axis=1)


def _width(part: slice) -> int:
    return int(part.stop - part.start)


def plan_training(layout: LayerLayout | TeamLayout, config: MappoConfig) -> TeamPlan:
    """The modules that `config` asks for on `layout`.

    Raises:
        TrainingError: the two do not go together; the message says why and what would.
    """
    if isinstance(layout, LayerLayout):
        plan = _plan_layer(layout, config)
    else:
        plan = _plan_team(layout, config)
    plan.build_critic(config)  # for its errors, which here have a place
    return plan


def _plan_layer(layout: LayerLayout, config: MappoConfig) -> TeamPlan:
    if config.groups:
        raise TrainingError(
            f"mappo.groups names {', '.join(config.groups)}: the agents of layer "
            f"'{layout.layer}' act in order by one policy; leave mappo.groups out"
        )
    if config.sharing == "per_agent":
        raise TrainingError(
            f"mappo.sharing=per_agent: the agents of layer '{layout.layer}' act in order, each by "
            "a network of its own; leave mappo.sharing out"
        )
    if config.critic.input not in ("auto", "state"):
        raise TrainingError(
            f"mappo.critic.input={config.critic.input}: the critic of layer '{layout.layer}' reads "
            "its state, which holds all observations; expected state or auto"
        )
    if wrong := _not_sequential(config.policy):
        raise TrainingError(
            f"mappo.policy with {wrong}: the agents of layer '{layout.layer}' act in order by "
            "feed-forward networks of their own, which have none of this; change these"
        )
    for part, norm in (("policy", config.policy.input_norm), ("critic", config.critic.input_norm)):
        if norm != "none":
            raise TrainingError(
                f"mappo.{part}.input_norm={norm}: the columns of layer '{layout.layer}' are scaled "
                "as its column table says; expected none"
            )
    RowReader(layout, config.policy.encoders, torch.Generator())  # likewise
    actor = ActorPlan(
        name=POLICY,
        layout=layout,
        sharing="sequential",
        config=config.policy,
        seed=config.seed,
        agents=slice(0, len(layout.agents)),
        rows=slice(0, layout.row_width),
        actions=slice(0, layout.action_width),
        noise=slice(0, layout.noise_width),
        masks=slice(0, 0),
    )
    return TeamPlan(
        name=layout.layer,
        layout=layout,
        agents=tuple(agent.name for agent in layout.agents),
        actors=(actor,),
        critic_input="state",
        **_column_names(layout),
    )


def _column_names(layout: LayerLayout) -> dict[str, tuple[str, ...]]:
    return {
        "columns": tuple(column.name for column in layout.columns),
        "state_columns": tuple(column.name for column in layout.state_columns),
    }


def _plan_team(layout: TeamLayout, config: MappoConfig) -> TeamPlan:
    _check_groups(layout, config)
    actors = tuple(_plan_group(layout, config, k) for k in range(len(layout.groups)))
    kind = _critic_input(layout, config.critic.input)
    columns = tuple(
        f"{agent}.{column}"
        for group in layout.groups
        for agent in group.agents
        for column in group.columns
    )
    state = tuple(f"state.{k}" for k in range(layout.state_width))
    seen = columns + tuple(f"{agent}.alive" for agent in layout.agent_names)
    read = {"state": state, "observations": seen, "both": state + seen}
    return TeamPlan(
        name=layout.name,
        layout=layout,
        agents=layout.agent_names,
        actors=actors,
        critic_input=kind,
        columns=columns,
        state_columns=read[kind],
    )


def _check_groups(layout: TeamLayout, config: MappoConfig) -> None:
    """Refuse settings of groups that the environment does not have or has with other agents."""
    groups = {group.name: group.agents for group in layout.groups}
    for name, group in config.groups.items():
        if name not in groups:
            raise TrainingError(
                f"mappo.groups.{name}: '{layout.name}' has no such group; {nearest(name, groups)}"
            )
        own = {agent for pattern in group.agents for agent in _matched(pattern, layout.agent_names)}
        if own != set(groups[name]):
            raise TrainingError(
                f"mappo.groups.{name}.agents={list(group.agents)}: '{layout.name}' has "
                f"{', '.join(groups[name])} in that group; expected these"
            )


def _matched(pattern: str, agents: Sequence[str]) -> Sequence[str]:
    if pattern in agents:  # a name with brackets is no pattern
        return [pattern]
    return [agent for agent in agents if fnmatchcase(agent, pattern)]


def _plan_group(layout: TeamLayout, config: MappoConfig, k: int) -> ActorPlan:
    group = layout.groups[k]
    _check_name(group.name)
    own = config.groups.get(group.name)
    sharing = own.sharing if own is not None and own.sharing is not None else config.sharing
    policy = own.policy if own is not None and own.policy is not None else config.policy
    if sharing == "sequential":
        _check_sequential(group, policy)
    elif policy.network is None and (wrong := _sequential_alone(policy)):
        raise TrainingError(
            f"group '{group.name}' with sharing={sharing} and {wrong}: actors that decide in "
            "sequence alone have this; leave it out or choose sharing=sequential"
        )
    return ActorPlan(
        name=group.name,
        layout=group,
        sharing=sharing,
        config=policy,
        seed=config.seed + k,  # groups of one shape begin with weights of their own
        agents=layout.agent_slices[k],
        rows=layout.row_slices[k],
        actions=layout.action_slices[k],
        noise=layout.noise_slices[k],
        masks=layout.mask_slices[k],
    )


def _check_name(name: str) -> None:
    """Refuse what cannot be a module's id."""
    if name == CRITIC:
        raise TrainingError(f"a group named '{CRITIC}': the critic has that name; choose another")
    if _NO_ID.search(name):
        raise TrainingError(
            f"a group named '{name}': it names a module of RLlib, which takes no empty name, none "
            'that begins with "__" or ends with a dot or space, and none of <>:"/\\|?* in it; name '
            "its agents in mappo.groups under another name"
        )


def _check_sequential(group: GroupLayout, config: ActorConfig) -> None:
    if wrong := _not_sequential(config):
        raise TrainingError(
            f"group '{group.name}' with sharing=sequential and {wrong}: its agents act in order "
            "by feed-forward networks of their own, which have none of this; change these or "
            "choose sharing=shared or per_agent"
        )
    sequential_layout(group)


def _not_sequential(config: ActorConfig) -> str:
    """What of `config` a sequential policy does not have; "" where nothing."""
    wrong = []
    if config.memory != "none":
        wrong.append(f"memory={config.memory} (expected none)")
    if config.bounded != "squashed":
        wrong.append(f"bounded={config.bounded} (expected squashed)")
    if config.identity:
        wrong.append("identity=true (expected false)")
    if config.layer_norm:
        wrong.append("layer_norm=true (expected false)")
    return " and ".join(wrong)


def _sequential_alone(config: ActorConfig) -> str:
    """What of `config` only a sequential policy has; "" where nothing."""
    found = []
    if config.encoders:
        found.append("encoders (expected none)")
    if not config.conditioned:
        found.append("conditioned=false (expected true; leave sharing=sequential out instead)")
    if config.states > 1:
        found.append(f"states={config.states} (expected 1)")
    if config.initial_temperature:
        found.append("initial_temperature (expected none)")
    if config.communication.rounds:
        found.append(f"communication.rounds={config.communication.rounds} (expected 0)")
    if config.dropout.rate:
        found.append(f"dropout.rate={config.dropout.rate:g} (expected 0)")
    return " and ".join(found)


def _critic_input(layout: TeamLayout, asked: CriticInput) -> CriticInput:
    if asked == "auto":
        return "state" if layout.state_width else "observations"
    if asked != "observations" and not layout.state_width:
        raise TrainingError(
            f"mappo.critic.input={asked}: '{layout.name}' has no state(); "
            "expected observations or auto"
        )
    return asked
