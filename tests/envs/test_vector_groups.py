"""Which agents form a group: by default, as told, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from configs.errors import ConfigError, TrainingError
from envs.vector import make_vector
from signals.team import TeamLayout
from tests.envs.teams import Scripted, plain, uneven

BOX, CHOICE = spaces.Box(-1.0, 1.0, (3,)), spaces.Discrete(4)


def team(names: str) -> Scripted:
    return Scripted(dict.fromkeys(names.split(), BOX), dict.fromkeys(names.split(), CHOICE))


def layout(env: Any, groups: Any = None) -> TeamLayout:
    return make_vector(1, seed=0, env=env, groups=groups).layout


def shown(found: TeamLayout) -> dict[str, tuple[str, ...]]:
    return {group.name: group.agents for group in found.groups}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("agent_0 agent_1", {"agent": ("agent_0", "agent_1")}),
        ("red-1 red-2 red-10", {"red": ("red-1", "red-2", "red-10")}),
        ("speaker", {"speaker": ("speaker",)}),
        ("alice bob", {"group_0": ("alice", "bob")}),
        ("0 1", {"group_0": ("0", "1")}),
    ],
)
def test_agents_alike_form_a_group_of_their_common_name(
    names: str, expected: dict[str, tuple[str, ...]]
) -> None:
    assert shown(layout(lambda: team(names))) == expected


def test_unlike_agents_form_groups_in_the_order_of_their_first() -> None:
    found = layout(uneven)
    assert shown(found) == {"wolf": ("wolf",), "sheep": ("sheep_0", "sheep_1")}
    assert found.name == "scripted_v0"
    assert (found.row_width, found.action_width, found.mask_width) == (6 + 2 * 5, 2 + 2 * 2, 0)


def test_unlike_agents_of_one_name_get_numbered_groups() -> None:
    def env() -> Scripted:
        return Scripted(
            {"agent_0": BOX, "agent_1": spaces.Box(0, 1, (5,))},
            dict.fromkeys(("agent_0", "agent_1"), CHOICE),
        )

    assert shown(layout(env)) == {"group_0": ("agent_0",), "group_1": ("agent_1",)}


def test_groups_as_told_keep_the_order_they_are_told_in() -> None:
    groups = {"second": ["agent_3", "agent_[12]"], "first": ["agent_0"]}
    found = make_vector(2, seed=0, env=plain, kwargs={"agents": 4}, groups=groups)
    assert shown(found.layout) == {
        "second": ("agent_3", "agent_1", "agent_2"),
        "first": ("agent_0",),
    }
    found.reset()
    found.step(np.array([[3, 1, 2, 0], [3, 1, 2, 0]], np.float32))
    assert found._rows[1].env.taken == [{f"agent_{number}": number for number in range(4)}]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": ["wolf"]}, "agents in no group: sheep_0, sheep_1"),
        ({"a": ["wolf", "sheep_0"], "b": ["sheep_*"]}, "'sheep_0' is in the groups 'a' and 'b'"),
        ({"a": ["*"], "b": ["shep_0"]}, "did you mean 'sheep_0'"),
        ({"a": ["*"], "b": []}, "groups.b is empty"),
        ({"a": "wolf"}, "expected a list"),
        ({"a": ["*"]}, "'wolf' and 'sheep_0' differ: they observe 6 and 5 numbers"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        layout(uneven, groups)


def two(seen: Any, acts: Any) -> Scripted:
    return Scripted({"a": BOX, "b": seen}, {"a": CHOICE, "b": acts})


@pytest.mark.parametrize(
    ("seen", "acts", "message"),
    [
        (BOX, spaces.Discrete(5), r"action \(categorical, 4\) and by action \(categorical, 5\)"),
        (spaces.Dict(x=BOX), CHOICE, r"'observation\[0\]' where the other observes 'x\[0\]'"),
        (
            spaces.Dict(observation=BOX, action_mask=spaces.MultiBinary(4)),
            CHOICE,
            "'b' has an action mask and 'a' has none",
        ),
    ],
)
def test_what_makes_agents_unlike_is_said(seen: Any, acts: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        layout(lambda: two(seen, acts), {"all": ["a", "b"]})


@pytest.mark.parametrize(
    ("seen", "acts", "message"),
    [
        (spaces.Text(4), CHOICE, "agent 'b': observation is a Text space"),
        (BOX, spaces.Text(4), "agent 'b': action is a Text space"),
        (
            spaces.Dict(observation=BOX, action_mask=spaces.MultiBinary(1)),
            spaces.Box(0, 1, (1,)),
            "agent 'b': it has an 'action_mask' and no choice",
        ),
    ],
)
def test_an_agent_that_cannot_be_trained_is_named(seen: Any, acts: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        layout(lambda: two(seen, acts))


def test_an_agent_without_a_space_is_named() -> None:
    def env() -> Scripted:
        made = team("agent_0 agent_1")
        del made._action_spaces["agent_1"]
        return made

    with pytest.raises(TrainingError, match=r"'agent_1': action_space\(\) raised KeyError"):
        layout(env)


def test_agents_may_be_named_by_numbers() -> None:
    def numbered() -> Any:
        return Scripted({7: BOX, 8: BOX}, {7: CHOICE, 8: CHOICE})  # type: ignore[dict-item]

    env = make_vector(1, seed=0, env=numbered, groups={"late": ["8"], "early": ["7"]})
    assert env.layout.agent_names == ("8", "7")
    env.reset()
    env.step(np.array([[1, 3]], np.float32))
    assert env._rows[0].env.taken == [{7: 3, 8: 1}]
