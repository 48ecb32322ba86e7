"""States of environments that others wrote: to the bit, or openly not at all."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from configs.errors import TrainingError
from envs.vector import VectorEnv, make_vector
from envs.vector_trial import random_actions
from tests.envs.teams import (
    Built,
    Elsewhere,
    Forgetful,
    Masked,
    Saving,
    Stateful,
    Turns,
    Unpicklable,
    births,
    plain,
    staggered,
)  # fmt: skip

SPREAD = "mpe2.simple_spread_v3:parallel_env"


def on(env: VectorEnv, steps: int) -> list[bytes]:
    rng = np.random.default_rng(steps)
    trace: list[bytes] = []
    for _ in range(steps):
        env.step(random_actions(env, rng))
        for name in ("rows", "states", "masks", "alive", "rewards", "terminations", "truncations"):
            trace.append(getattr(env, name).tobytes())
        env.reset(env.ended.copy())
        trace.append(env.rows.tobytes())
    return trace


def with_lambda() -> Any:
    env = plain()
    env.bonus = lambda: 1.0  # pickle refuses it, cloudpickle takes it
    return env


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (plain, {}),
    "staggered": (staggered, {}),
    "births": (births, {}),
    "masked": (Masked, {"place": "infos"}),
    "stateful": (Stateful, {}),
    "ezpickle": (Built, {}),
    "aec": (Turns, {}),
    "own state_dict": (Saving, {}),
    "spread": (SPREAD, {"N": 3, "max_cycles": 5}),
    "adversary": ("mpe2.simple_adversary_v3:parallel_env", {"max_cycles": 5}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("before", [0, 3, 7])
def test_a_state_restores_to_the_bit(case: str, before: int) -> None:
    kind, kwargs = CASES[case]
    env = make_vector(3, seed=4, env=kind, kwargs=kwargs)
    assert env.resumable, env.resume_problem
    env.reset()
    on(env, before)
    saved = pickle.loads(pickle.dumps(env.state_dict()))  # as a checkpoint holds it
    expected = on(env, 12)
    # Another process: instances that have played something else, or nothing.
    other = make_vector(3, seed=77, env=kind, kwargs=kwargs)
    other.load_state(saved)
    assert other.state_dict()["places"] == saved["places"]
    assert on(other, 12) == expected
    # The state is not used up, nor changed by what has been played from it.
    other.load_state(saved)
    assert on(other, 12) == expected


@pytest.mark.parametrize("kind", [plain, Built, SPREAD])
def test_saving_changes_nothing(kind: Any) -> None:
    env, other = (make_vector(2, seed=1, env=kind) for _ in range(2))
    for one in (env, other):
        one.reset()
        on(one, 3)
    env.state_dict()
    assert on(env, 9) == on(other, 9)


def test_lambdas_are_taken() -> None:
    env = make_vector(2, seed=0, env=with_lambda)
    assert env.resumable
    env.reset()
    saved = env.state_dict()
    expected = on(env, 4)
    env.load_state(saved)
    assert on(env, 4) == expected


def test_a_state_before_the_first_reset_restores() -> None:
    env, other = (make_vector(2, seed=seed, env=plain) for seed in (1, 2))
    other.load_state(env.state_dict())
    assert other.ended.all()
    env.reset()
    other.reset()
    assert on(env, 6) == on(other, 6)


def test_the_last_step_s_dead_are_forgotten_after_a_resume() -> None:
    env, other = (make_vector(1, seed=3, env=staggered) for _ in range(2))
    env.reset()
    for _ in range(2):
        env.step(random_actions(env, np.random.default_rng(0)))
    assert env.terminations.any()
    other.load_state(env.state_dict())
    for one in (env, other):
        one.step(random_actions(one, np.random.default_rng(1)))
        assert not one.terminations.any()
        assert not one.rows[0, :3].any()
    assert np.array_equal(env.rows, other.rows)


def test_ezpickle_alone_would_forget_the_episode() -> None:
    # What gymnasium's own pickling does, and why it is passed by.
    env = Built()
    env.reset(seed=1)
    env.step({"agent_0": 0})
    assert not hasattr(pickle.loads(pickle.dumps(env)), "clock")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Unpicklable, "cannot pickle 'generator' object"),
        (Elsewhere, "different numbers"),
        (Forgetful, "different numbers"),
    ],
)
def test_what_cannot_be_restored_is_found_out_at_once(
    kind: Callable[..., Any], reason: str
) -> None:
    env = make_vector(2, seed=0, env=kind)
    assert not env.resumable
    assert reason in env.resume_problem
    env.reset()
    on(env, 6)  # it trains all the same
    with pytest.raises(TrainingError, match=reason):
        env.state_dict()


def test_a_foreign_state_is_refused_whole() -> None:
    env, more, other = (
        make_vector(1, seed=0, env=plain),
        make_vector(2, seed=0, env=plain),
        make_vector(1, seed=0, env=staggered),
    )
    for one in (env, more, other):
        one.reset()
    before = env.rows.copy()
    for foreign in (more, other):
        with pytest.raises(TrainingError, match="restore into the same environment"):
            env.load_state(foreign.state_dict())
    with pytest.raises(TrainingError, match="'places' is missing"):
        env.load_state({k: v for k, v in env.state_dict().items() if k != "places"})
    with pytest.raises(TrainingError, match="environment row 0 cannot be restored"):
        env.load_state(env.state_dict() | {"environments": [b"damaged"]})
    assert np.array_equal(env.rows, before)
