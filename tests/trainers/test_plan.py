"""What can be trained how: one error for each impossible combination, and the fluent section."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
import torch

from configs.actors import ActorConfig
from configs.errors import ConfigError, GrandmodelError, TrainingError
from configs.mappo import CriticConfig, GroupConfig, MappoConfig
from policies.group import GroupActor
from policies.sequential import SequentialPolicy
from signals.team import TeamLayout
from tests.trainers.team_envs import team_layout
from tests.trainers.toy_env import toy_layout
from trainers.mappo import config as module
from trainers.mappo.config import VECTOR, MAPPOConfig
from trainers.mappo.plan import POLICY, plan_training

GUESS = "tests.trainers.team_envs:guess"
LAYER = "tests.trainers.toy_env:make"
WALKERS = team_layout({"walkers": ("categorical", 3)})
TUPLES = team_layout({"walkers": ("tuple", 3)})
PUSHERS = team_layout({"pushers": ("bounded", 2)})


def named(name: str) -> TeamLayout:
    return team_layout({name: ("categorical", 2)})


def told(name: str = "walkers", agents: str = "walkers_*", **changes: Any) -> dict[str, Any]:
    return {"groups": {name: GroupConfig(agents=(agents,), **changes)}}


SEQUENTIAL: dict[str, Any] = {"sharing": "sequential"}
IMPOSSIBLE = {
    # on layers
    "layer groups": (toy_layout(), told(), r"mappo.groups names walkers: .*'toy'.* leave .* out"),
    "layer per agent": (toy_layout(), {"sharing": "per_agent"}, r"sharing=per_agent.*'toy'.*leave"),
    "layer memory": (toy_layout(), {"policy": ActorConfig(memory="gru")}, r"memory=gru \(expected"),
    "layer beta": (toy_layout(), {"policy": ActorConfig(bounded="beta")}, r"bounded=beta \(exp"),
    "layer identity": (toy_layout(), {"policy": ActorConfig(identity=True)}, r"identity=true"),
    "layer norm": (toy_layout(), {"policy": ActorConfig(layer_norm=True)}, r"layer_norm=true"),
    "layer critic": (
        toy_layout(),
        {"critic": CriticConfig(input="both")},
        r"critic.input=both.*expected state or auto",
    ),
    # on sequential groups
    "memory": (WALKERS, SEQUENTIAL | {"policy": ActorConfig(memory="lstm")}, r"'walkers'.*lstm"),
    "beta": (PUSHERS, SEQUENTIAL | {"policy": ActorConfig(bounded="beta")}, r"bounded=beta"),
    "identity": (WALKERS, SEQUENTIAL | {"policy": ActorConfig(identity=True)}, r"identity=true"),
    "layer_norm": (WALKERS, SEQUENTIAL | {"policy": ActorConfig(layer_norm=True)}, r"layer_norm"),
    "factors": (TUPLES, SEQUENTIAL, r"choose push \(bounded, 1\), .* expected one factor"),
    "group": (
        WALKERS,
        told(sharing="sequential", policy=ActorConfig(memory="gru", layer_norm=True)),
        r"memory=gru \(expected none\) and layer_norm=true \(expected false\)",
    ),
    # of the critic
    "no state": (WALKERS, {"critic": CriticConfig(input="state")}, r"input=state: .* no state\(\)"),
    "not both": (WALKERS, {"critic": CriticConfig(input="both")}, r"expected observations or auto"),
    # of names
    "critic": (named("critic"), {}, r"group named 'critic': the critic has that name; choose"),
    "slash": (named("red/blue"), {}, r"group named 'red/blue'.*under another name"),
    "colon": (named("red:blue"), {}, r"group named 'red:blue'"),
    "star": (named("red*"), {}, r"group named 'red\*'"),
    "empty": (named(""), {}, r"group named ''"),
    "space": (named("red "), {}, r"group named 'red '"),
    "dot": (named("red."), {}, r"group named 'red.'"),
    "RLlib's": (named("__env__"), {}, r"group named '__env__'"),
    "unknown": (WALKERS, told("walker"), r"groups.walker.*no such group; did you mean 'walkers'"),
    "others": (
        team_layout({"walkers": ("categorical", 2), "talkers": ("categorical", 1)}),
        told(agents="*"),
        r"groups.walkers.agents=\['\*'\]: .* has walkers_0, walkers_1 in that group",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_an_impossible_plan_is_explained(case: str):
    layout, changes, message = IMPOSSIBLE[case]
    with pytest.raises(GrandmodelError, match=message):
        plan_training(layout, MappoConfig(**changes))


@pytest.mark.parametrize("name", ["red.blue", "keys", "policy", "a b", "агент"])
def test_what_names_a_group_in_rllib(name: str):
    assert plan_training(named(name), MappoConfig()).actors[0].name == name


def test_unbounded_numbers_cannot_be_chosen_in_order():
    group = TUPLES.groups[0]
    only = TeamLayout(
        "t", (type(group)(group.name, group.agents, group.columns, group.factors[2:]),)
    )
    with pytest.raises(ConfigError, match=r"turn \(unbounded, 2\); expected one factor, categ"):
        plan_training(only, MappoConfig(sharing="sequential"))


def test_a_layer_and_a_team_are_cut_into_modules():
    plan = plan_training(toy_layout(), MappoConfig())
    assert [actor.name for actor in plan.actors] == [POLICY]
    assert isinstance(plan.actors[0].build(), SequentialPolicy)
    layout = team_layout({"walkers": ("tuple", 3), "talkers": ("categorical", 2)}, 4, ("talkers",))
    config = MappoConfig(
        sharing="per_agent",
        seed=5,
        groups={"talkers": GroupConfig(agents=("talkers_?",), sharing="sequential")},
    )
    plan = plan_training(layout, config)
    walkers, talkers = plan.actors
    built = walkers.build(), talkers.build()
    assert isinstance(built[0], GroupActor) and built[0].sharing == "per_agent"
    assert isinstance(built[1], SequentialPolicy)
    for name in ("agents", "rows", "actions", "noise", "masks"):
        assert getattr(walkers, name).stop == getattr(talkers, name).start
    assert (walkers.action_width, talkers.action_width) == (3 * 4, 2)
    assert (walkers.mask_width, talkers.mask_width) == (0, 8)
    assert (walkers.seed, talkers.seed) == (5, 6)
    assert plan.critic_input == "state" and plan.state_width == 4
    assert plan_training(WALKERS, MappoConfig()).critic_input == "observations"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 6, "learners": 4}, r"num_envs=6 with learners=4.*divide"),
        (
            {"num_envs": 5, "rollout_length": 3, "minibatches": 2},
            r"minibatches=2.*divisor of the 15",
        ),
        ({"sharing": "alone"}, r"sharing.*'shared', 'per_agent' or 'sequential'"),
        ({"polcy": {}}, r"unknown key.*polcy.*did you mean 'policy'"),
        ({"groups": {"a": {"agents": []}}}, r"groups.a.agents"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        MAPPOConfig().mappo(**changes)


def ready(**changes: Any) -> MAPPOConfig:
    options = {"num_envs": 4, "rollout_length": 12, "minibatches": 1} | changes
    return MAPPOConfig().mappo(**options).parallel_env(GUESS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sequence_length": 5},
            r"rollout_length=12 with sequence_length=5 .* expected a multiple",
        ),
        ({"sequence_length": 12, "minibatches": 3}, r"minibatches=3 .* divisor of the 4 sequences"),
        ({"sequence_length": 24}, r"expected a multiple"),
    ],
)
def test_a_memory_needs_whole_sequences(changes: dict[str, Any], message: str):
    with pytest.raises(TrainingError, match=message):
        ready(policy={"memory": "gru"}, **changes).validate()
    ready(**changes).validate()  # without a memory there are none
    ready(policy={"memory": "gru"}, sequence_length=4, minibatches=3).validate()


@pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there is a GPU here")
@pytest.mark.parametrize("learners", [0, 1])
def test_a_gpu_that_is_not_there_is_told_before_ray_waits(
    learners: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(TrainingError, match=r"gpus_per_learner=1 .* expected 1 GPUs, found 0; set"):
        ready(gpus_per_learner=1, learners=learners).validate()


def test_gpus_of_a_cluster_are_asked_of_it(monkeypatch: pytest.MonkeyPatch):
    config = ready(gpus_per_learner=0.5, learners=2)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    config.validate()  # not joined yet: no one knows
    monkeypatch.setattr(module.ray, "is_initialized", lambda: True)
    for count, enough in ((0.0, False), (0.5, False), (1.0, True)):
        resources = {"CPU": 4.0, "GPU": count} if count else {"CPU": 4.0}
        monkeypatch.setattr(module.ray, "cluster_resources", lambda found=resources: found)
        if enough:
            config.validate()
        else:
            with pytest.raises(TrainingError, match=f"expected 1 GPUs, found {count:g}"):
                config.validate()


def test_what_rllibs_setters_change_behind_the_settings_is_refused():
    for setter, changes in (
        ("training", {"lr": 0.5}),
        ("training", {"minibatch_size": 7}),
        ("env_runners", {"num_envs_per_env_runner": 8}),
        ("learners", {"num_learners": 2}),
    ):
        config = ready()
        getattr(config, setter)(**changes)
        ((name, value),) = changes.items()
        with pytest.raises(TrainingError, match=rf"{name}={re.escape(str(value))} was set by RLl"):
            config.validate()
    ready().fault_tolerance(restart_failed_env_runners=False).validate()


def test_without_an_environment_nothing_is_trained():
    with pytest.raises(TrainingError, match=r"call parallel_env\(...\) or batched_env"):
        MAPPOConfig().validate()


SETTINGS: dict[str, Any] = {
    "num_envs": 4,
    "rollout_length": 12,
    "critic": {"input": "observations"},
    "groups": {
        "second": {"agents": ["right"], "sharing": "per_agent"},
        "first": {"agents": ["left"], "policy": {"hidden": [8], "memory": "gru"}},
    },
}


def arranged(config: MAPPOConfig) -> tuple[Any, ...]:
    """All that a training is built from."""
    names = ("num_envs_per_env_runner", "rollout_fragment_length", "minibatch_size", "num_learners")
    return (
        config.plan,
        config.settings,
        config.env_config,
        config.observation_space,
        sorted(config.policies),
        *(getattr(config, name) for name in names),
    )


def test_settings_and_environment_come_in_either_order():
    first = MAPPOConfig().mappo(**SETTINGS).parallel_env(GUESS, length=3)
    second = MAPPOConfig().parallel_env(GUESS, length=3).mappo(**SETTINGS)
    assert arranged(first) == arranged(second)
    assert [actor.name for actor in second.training_plan.actors] == ["second", "first"]
    assert second.training_plan.agents == ("right", "left")
    options = second.env_config["stages"][0]
    assert options["kwargs"] == {"length": 3} and options["with_state"] is False
    assert second.env_config["make"] == VECTOR
    third = MAPPOConfig().mappo(num_envs=4).parallel_env(GUESS, length=3)
    third.mappo(rollout_length=12).mappo(
        critic=CriticConfig(input="observations"), groups=SETTINGS["groups"]
    )
    assert arranged(third) == arranged(first)


def test_new_groups_take_the_place_of_the_old():
    config = MAPPOConfig().mappo(**SETTINGS).parallel_env(GUESS)
    config.mappo(groups={"all": GroupConfig(agents=("*",), sharing="sequential")})
    assert [actor.name for actor in config.training_plan.actors] == ["all"]
    assert config.training_plan.agents == ("left", "right")
    assert list(config.policies) == ["all"]
    config.mappo(groups={})
    assert len(config.training_plan.actors) == 1
    assert config.settings.critic.input == "observations"  # what was not said stays
    config.mappo(critic={"hidden": [8]})
    assert config.settings.critic == CriticConfig(input="observations", hidden=(8,))
    with pytest.raises(ConfigError, match=r"groups.a: 'walker_\*' matches no agent"):
        config.mappo(groups={"a": {"agents": ["walker_*"]}})


def test_settings_follow_an_environment_of_layers_too():
    config = MAPPOConfig().parallel_env(GUESS).batched_env(LAYER, {"padding": 2})
    config.mappo(num_envs=16)
    assert config.training_plan.name == "toy"
    assert config.env_config["kwargs"] == {"padding": 2}
    assert config.num_envs_per_env_runner == 16


def test_a_copy_is_its_own():
    config = MAPPOConfig().mappo(**SETTINGS).parallel_env(GUESS, length=3)
    copied = config.copy()
    assert arranged(copied) == arranged(config)
    copied.mappo(groups={}, num_envs=8)
    assert len(copied.training_plan.actors) == 1 and len(config.training_plan.actors) == 2
    assert (copied.settings.num_envs, config.settings.num_envs) == (8, 4)
    config.freeze()
    with pytest.raises(AttributeError, match="frozen"):
        config.mappo(num_envs=2)
    thawed = config.copy(copy_frozen=False)
    assert thawed.mappo(num_envs=2).settings.num_envs == 2
    again = MAPPOConfig.from_dict(config.to_dict())
    assert arranged(again) == arranged(config)


def test_nothing_of_this_needs_ray():
    ready(policy={"memory": "lstm"}, sequence_length=4).validate()
    assert "RAY_ADDRESS" in os.environ or not module.ray.is_initialized()
