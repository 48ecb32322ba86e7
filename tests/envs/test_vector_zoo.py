"""Environments of PettingZoo and mpe2 through whole episodes: equal to stepping them alone."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from envs.vector import make_vector
from envs.vector_trial import random_actions

# environment, its arguments, and its groups: agents, observation width, factors
ZOO: dict[str, tuple[str, dict[str, Any], dict[str, tuple[int, int, list[tuple[str, int]]]]]] = {
    "spread": (
        "mpe2.simple_spread_v3:parallel_env",
        {"N": 3, "max_cycles": 25},
        {"agent": (3, 18, [("categorical", 5)])},
    ),
    "adversary": (
        "mpe2.simple_adversary_v3:parallel_env",
        {},
        {"adversary": (1, 8, [("categorical", 5)]), "agent": (2, 10, [("categorical", 5)])},
    ),
    "reference": (
        "mpe2.simple_reference_v3:parallel_env",
        {},
        {"agent": (2, 21, [("categorical", 50)])},
    ),
    "speaker_listener": (
        "mpe2.simple_speaker_listener_v4:parallel_env",
        {},
        {"speaker": (1, 3, [("categorical", 3)]), "listener": (1, 11, [("categorical", 5)])},
    ),
    "continuous": (
        "mpe2.simple_speaker_listener_v4:parallel_env",
        {"continuous_actions": True},
        {"speaker": (1, 3, [("bounded", 3)]), "listener": (1, 11, [("bounded", 5)])},
    ),
    "aec": (
        "mpe2.simple_tag_v3:env",
        {},
        {"adversary": (3, 16, [("categorical", 5)]), "agent": (1, 14, [("categorical", 5)])},
    ),
    "rock_paper_scissors": (
        "pettingzoo.classic.rps_v2:parallel_env",
        {"max_cycles": 10},
        {"player": (2, 4, [("categorical", 3)])},
    ),
}


@pytest.mark.parametrize("name", ZOO)
def test_an_episode_of_every_row(name: str) -> None:
    target, kwargs, groups = ZOO[name]
    env = make_vector(3, seed=2, env=target, kwargs=kwargs)
    assert env.resumable, env.resume_problem
    assert {
        group.name: (
            len(group.agents),
            group.observation_width,
            [(factor.kind, factor.width) for factor in group.factors],
        )
        for group in env.layout.groups
    } == groups
    env.reset()
    rng = np.random.default_rng(0)
    steps = 0
    while not env.ended.all():
        env.step(random_actions(env, rng))
        steps += 1
        assert steps <= 100
    assert env.truncations.all()
    assert not env.terminations.any()
    env.close()


@pytest.mark.parametrize("name", [name for name in ZOO if name != "aec"])
def test_it_shows_what_the_environment_gives(name: str) -> None:
    target, kwargs, _ = ZOO[name]
    module, function = target.split(":")
    env = make_vector(2, seed=2, env=target, kwargs=kwargs)
    alone = getattr(importlib.import_module(module), function)(**kwargs)
    env.reset()
    seen, _ = alone.reset(seed=env._rows[1].seed)
    rng = np.random.default_rng(1)
    while not env.ended.any():
        assert np.array_equal(env.rows[1], _joined(env, alone, seen))
        if env.layout.state_width:
            assert np.array_equal(env.states[1], alone.state())
        actions = random_actions(env, rng)
        env.step(actions)
        seen, rewards, _, truncations, _ = alone.step(_given(env, alone, actions[1]))
        assert env.rewards[1].tolist() == [
            np.float32(rewards[agent]) for agent in env.layout.agent_names
        ]
        assert env.truncations[1].tolist() == [truncations[a] for a in env.layout.agent_names]
        assert env.ended[1] == (not alone.agents)
    assert np.array_equal(env.rows[1], _joined(env, alone, seen))


def _joined(env: Any, alone: Any, seen: dict[str, Any]) -> Any:
    parts = []
    for agent in env.layout.agent_names:
        space = alone.observation_space(agent)
        one_hot = getattr(space, "n", None)
        parts.append(seen[agent] if one_hot is None else np.eye(one_hot)[seen[agent]])
    return np.concatenate(parts).astype(np.float32)


def _given(env: Any, alone: Any, row: Any) -> dict[str, Any]:
    actions: dict[str, Any] = {}
    at = 0
    for group in env.layout.groups:
        for agent in group.agents:
            part = row[at : at + group.agent_action_width]
            at += group.agent_action_width
            discrete = group.factors[0].kind == "categorical"
            actions[agent] = int(part[0]) if discrete else part  # these boxes are unit boxes
    return actions


KNIGHTS = "pettingzoo.butterfly.knights_archers_zombies_v11:parallel_env"


def test_knights_and_archers_die_one_by_one() -> None:
    env = make_vector(3, seed=0, env=KNIGHTS, kwargs={"max_cycles": 900})
    env.reset()
    rng = np.random.default_rng(0)
    counts: set[int] = set()
    while not env.ended.all():
        env.step(random_actions(env, rng))
        counts |= set(env.alive.sum(axis=1).tolist())
    assert {0, 3, 4} <= counts
    assert env.terminations.any()
    env.close()


def test_surfaces_that_were_made_on_the_way_are_restored() -> None:
    # Every zombie and arrow brings its own picture.
    env, other = (
        make_vector(2, seed=seed, env=KNIGHTS, kwargs={"max_cycles": 900}) for seed in (0, 1)
    )
    assert env.resumable, env.resume_problem
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(60):
        env.step(random_actions(env, rng))
    other.load_state(env.state_dict())
    for _ in range(60):
        actions = random_actions(env, rng)
        for one in (env, other):
            one.step(actions)
        assert np.array_equal(env.rows, other.rows)
        assert np.array_equal(env.rewards, other.rewards)
        assert np.array_equal(env.alive, other.alive)
