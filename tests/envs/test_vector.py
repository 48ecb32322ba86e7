"""The batched face of any environment: lives of agents, seeds, masks, actions and arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.errors import ActionError
from envs.team import TeamEnv
from envs.vector import VectorEnv, make_vector
from envs.vector_trial import random_actions
from tests.envs.teams import (
    Life,
    Lingering,
    Masked,
    Stateful,
    Turns,
    births,
    mixed_end,
    plain,
    staggered,
    uneven,
)  # fmt: skip

EVERY_KIND: tuple[Callable[..., Any], ...] = (plain, staggered, mixed_end, births, uneven, Turns)


def underlying(env: VectorEnv, row: int = 0) -> Any:
    return env._rows[row].env


def played(env: VectorEnv, steps: int, seed: int = 0) -> list[dict[str, NDArray[Any]]]:
    """The arrays after the reset and every step; the next episode begins where one ends."""
    rng = np.random.default_rng(seed)
    env.reset()
    trace = [copied(env)]
    for _ in range(steps):
        env.step(random_actions(env, rng))
        trace.append(copied(env))
        if env.ended.any():
            env.reset(env.ended.copy())
            trace.append(copied(env))
    return trace


def copied(env: VectorEnv) -> dict[str, NDArray[Any]]:
    names = (
        "rows", "states", "masks", "alive", "rewards", "terminations", "truncations", "ended",
    )  # fmt: skip
    return {name: getattr(env, name).copy() for name in names}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_it_keeps_the_protocol(kind: Callable[..., Any]) -> None:
    env = make_vector(3, seed=1, env=kind)
    assert isinstance(env, TeamEnv)
    agents, layout = len(env.layout.agent_names), env.layout
    assert env.ended.all()
    for shot in played(env, steps=20):
        shapes = {name: (array.dtype.name, array.shape) for name, array in shot.items()}
        assert shapes == {
            "rows": ("float32", (3, layout.row_width)),
            "states": ("float32", (3, layout.state_width)),
            "masks": ("bool", (3, layout.mask_width)),
            "alive": ("bool", (3, agents)),
            "rewards": ("float32", (3, agents)),
            "terminations": ("bool", (3, agents)),
            "truncations": ("bool", (3, agents)),
            "ended": ("bool", (3,)),
        }
        assert np.array_equal(shot["ended"], ~shot["alive"].any(axis=1))
        over = shot["terminations"] | shot["truncations"]
        assert not (shot["terminations"] & shot["truncations"]).any()
        assert not (over & shot["alive"]).any()
    assert env.episode_metrics.shape == (3, len(env.metric_names)) == (3, 0)
    env.close()


def lives(env: VectorEnv, steps: int) -> list[tuple[str, str, str]]:
    """Per step who is alive, who terminated and who was truncated, as numbers of agents."""

    def named(flags: NDArray[np.bool_]) -> str:
        return "".join(str(index) for index in np.flatnonzero(flags[0]))

    env.reset()
    found = [(named(env.alive), "", "")]
    for _ in range(steps):
        env.step(random_actions(env, np.random.default_rng(0)))
        found.append(tuple(map(named, (env.alive, env.terminations, env.truncations))))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            staggered,
            [("0123", "", ""), ("0123", "", ""), ("123", "0", ""), ("13", "", "2"),
             ("13", "", ""), ("", "", "13")],
        ),
        (mixed_end, [("012", "", ""), ("012", "", ""), ("012", "", ""), ("", "02", "1")]),
        (
            births,
            [("0", "", ""), ("0", "", ""), ("01", "", ""), ("1", "0", ""), ("1", "", ""),
             ("1", "", ""), ("", "", "1")],
        ),
        (Turns, [("01", "", "")] * 4 + [("", "", "01")]),
    ],
)  # fmt: skip
def test_agents_come_and_go(kind: Callable[..., Any], expected: list[Any]) -> None:
    env = make_vector(1, seed=3, env=kind)
    assert lives(env, len(expected) - 1) == expected
    assert env.ended.all()


def test_the_dead_leave_their_last_observation_for_one_step_and_then_zeros() -> None:
    env = make_vector(2, seed=3, env=staggered)
    env.reset()
    width = env.layout.groups[0].observation_width
    for step in range(1, 6):
        seen: list[dict[str, Any]] = []
        for row in range(2):
            _record(underlying(env, row), seen)
        env.step(random_actions(env, np.random.default_rng(step)))
        for row, observations in enumerate(seen):
            parts = env.rows[row].reshape(-1, width)
            for number, part in enumerate(parts):
                given = observations.get(f"agent_{number}")
                expected = np.zeros(width) if given is None else given
                assert np.array_equal(part, np.asarray(expected, np.float32)), (step, number)
        gone = env.terminations | env.truncations
        assert (env.rewards[~env.alive & ~gone] == 0.0).all()
        assert (env.rewards[gone] != 0.0).all()


def _record(env: Any, into: list[dict[str, Any]]) -> None:
    """Let the next step of `env` put its observations into the list."""
    step = type(env).step

    def recording(actions: Any) -> Any:
        result = step(env, actions)
        into.append(result[0])
        return result

    env.step = recording


def test_a_row_that_has_ended_is_left_alone_until_its_reset() -> None:
    env = make_vector(2, seed=3, env=plain, kwargs={"horizon": 2})
    env.reset()
    rng = np.random.default_rng(0)
    env.step(random_actions(env, rng))
    env.reset(np.array([True, False]))
    env.step(random_actions(env, rng))
    assert env.ended.tolist() == [False, True]
    before = {name: array[1].copy() for name, array in copied(env).items()}
    env.step(np.full((2, 2), 1.0, np.float32))
    for name, array in copied(env).items():
        assert np.array_equal(array[1], before[name]), name
    assert len(underlying(env, 1).taken) == 2
    env.reset(np.array([False, True]))
    assert env.alive.tolist() == [[False, False], [True, True]]
    assert not env.rewards[1].any()
    assert not env.truncations[1].any()


def test_an_agent_that_stays_listed_after_its_end_is_dead_and_still_asked() -> None:
    env = make_vector(1, seed=0, env=Lingering)
    assert lives(env, 4) == [
        ("012", "", ""), ("012", "", ""), ("12", "0", ""), ("1", "", "2"), ("", "", "1"),
    ]  # fmt: skip
    assert env.ended.all()


@pytest.mark.parametrize("kind", [*EVERY_KIND, Stateful])
def test_alone_equals_batched(kind: Callable[..., Any]) -> None:
    seeds = np.array([11, 3, 2**63, 0], np.uint64)
    batch = make_vector(4, seed=1, env=kind)
    alone = [make_vector(1, seed=9, env=kind) for _ in seeds]
    batch.reset(seeds=seeds)
    for env, seed in zip(alone, seeds, strict=True):
        env.reset(seeds=np.array([seed]))
    rng = np.random.default_rng(5)
    for _ in range(15):
        actions = random_actions(batch, rng)
        batch.step(actions)
        for row, env in enumerate(alone):
            env.step(actions[row : row + 1])
            for name, array in copied(env).items():
                assert np.array_equal(array[0], getattr(batch, name)[row]), name
        if batch.ended.any():
            for env, ended in zip(alone, batch.ended, strict=True):
                env.reset(np.array([ended]))
            batch.reset(batch.ended.copy())


def test_the_same_seed_gives_the_same_run_and_another_one_does_not() -> None:
    runs = [played(make_vector(2, seed=seed, env=staggered), 12) for seed in (4, 4, 5)]
    for first, second in zip(runs[0], runs[1], strict=True):
        for name in first:
            assert np.array_equal(first[name], second[name])
    assert not np.array_equal(runs[0][0]["rows"], runs[2][0]["rows"])


def test_every_episode_of_every_row_has_a_seed_of_its_own_of_31_bits() -> None:
    env = make_vector(8, seed=0, env=plain)
    for _ in range(4):
        env.reset()
    seeds = [seed for row in range(8) for seed in underlying(env, row).seeds]
    assert len(set(seeds)) == len(seeds) == 32
    assert all(0 <= seed < 2**31 for seed in seeds)
    # Row n's do not depend on how many there are, and a given seed begins at episode 0.
    fewer = make_vector(2, seed=0, env=plain)
    fewer.reset()
    fewer.reset(np.array([False, True]), seeds=np.array([7, 7], np.uint64))
    fewer.reset(np.array([True, False]), seeds=np.array([7, 7], np.uint64))
    first, second = (underlying(fewer, row).seeds for row in range(2))
    assert [first[0], second[0]] == [underlying(env, row).seeds[0] for row in range(2)]
    assert first[1] == second[1]
    fresh = make_vector(1, seed=5, env=plain)
    fresh.reset(seeds=np.array([7], np.uint64))
    assert underlying(fresh).seeds == [first[1]]


@pytest.mark.parametrize("place", ["observation", "infos"])
def test_masks_are_read_wherever_they_are(place: str) -> None:
    env = make_vector(2, seed=0, env=Masked, kwargs={"place": place})
    assert env.layout.groups[0].masked
    assert env.layout.mask_width == 8
    assert env.layout.row_width == 6
    env.reset()
    rng = np.random.default_rng(0)
    for clock in range(5):
        assert np.array_equal(env.masks, np.tile(np.eye(4, dtype=bool)[clock % 4], (2, 2)))
        actions = random_actions(env, rng)
        assert (actions == clock % 4).all()
        env.step(actions)
    assert env.ended.all()
    assert env.masks.all()


@pytest.mark.parametrize("place", ["observation", "infos"])
def test_masks_of_those_that_come_later(place: str) -> None:
    kwargs = {"place": place, "lives": {"agent_1": Life(born=2)}}
    env = make_vector(1, seed=0, env=Masked, kwargs=kwargs)
    assert [group.agents for group in env.layout.groups] == [("agent_0", "agent_1")]
    env.reset()
    rng = np.random.default_rng(0)
    for born in (False, False, True):
        assert env.alive[0, 1] == born
        assert env.masks[0, 4:].sum() == (1 if born else 4)
        env.step(random_actions(env, rng))
    env.reset()
    assert env.masks[0, 4:].all()


def test_a_state_is_used_where_there_is_one() -> None:
    env = make_vector(2, seed=0, env=Stateful)
    assert env.layout.state_width == 5
    env.reset()
    env.step(random_actions(env, np.random.default_rng(0)))
    assert env.states.tolist() == [[1.0] * 5] * 2
    assert make_vector(1, seed=0, env=Stateful, with_state=False).layout.state_width == 0
    assert make_vector(1, seed=0, env=plain).layout.state_width == 0


def test_actions_reach_the_agents_in_their_own_spaces() -> None:
    env = make_vector(2, seed=0, env=uneven)
    env.reset()
    actions = np.array([[0.25, 0.5, 0, 2, 1, 0], [1, 0, 1, 1, 0, 1]], np.float32)
    env.step(actions)
    taken = [underlying(env, row).taken[0] for row in range(2)]
    assert [t["wolf"].tolist() for t in taken] == [[-1.0, 5.0], [2.0, 0.0]]
    assert [t["sheep_0"].tolist() for t in taken] == [[5, 9], [6, 8]]
    assert [t["sheep_1"].tolist() for t in taken] == [[6, 7], [5, 8]]


@pytest.mark.parametrize(
    ("column", "number", "message"),
    [
        (0, np.nan, r"wolf.action is nan in environment 1: expected a number from 0 to 1"),
        (1, 1.5, r"wolf.action is 1.5"),
        (3, 3.0, r"sheep_0.action\[1\] is 3.0 in environment 1: expected an index from 0 to 2"),
        (5, 0.5, r"sheep_1.action\[1\] is 0.5"),
    ],
)
def test_actions_outside_their_range_are_refused(column: int, number: float, message: str) -> None:
    env = make_vector(2, seed=0, env=uneven)
    env.reset()
    actions = np.zeros((2, 6), np.float32)
    actions[1, column] = number
    with pytest.raises(ActionError, match=message):
        env.step(actions)
    assert not underlying(env, 0).taken
    with pytest.raises(ActionError, match=r"shape \(2, 5\), expected \(2, 6\)"):
        env.step(actions[:, :5])


@pytest.mark.parametrize("kind", [staggered, Lingering])
@pytest.mark.filterwarnings("error")
def test_what_stands_for_the_dead_is_not_read(kind: Callable[..., Any]) -> None:
    env = make_vector(1, seed=3, env=kind)
    env.reset()
    for _ in range(3):
        env.step(np.where(env.alive, np.float32(1.0), np.float32(np.nan)))
    assert not env.alive.all()
    env.step(np.where(env.alive, np.float32(1.0), np.float32(np.nan)))


def test_every_instance_is_closed() -> None:
    env = make_vector(3, seed=0, env=plain)
    instances = [underlying(env, row) for row in range(3)]
    assert not any(instance.closed for instance in instances)
    env.close()
    assert all(instance.closed for instance in instances)
