"""The single environment's short way through a step: what it takes, hands back and copies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pettingzoo.test.render_test import collect_render_results

from configs.errors import ActionError, SimulatorError
from envs import execution_v1
from envs.execution import BatchedExecution
from envs.execution.kernel import pin_step_arrays, step_arrays
from tests.envs.test_execution_contract import AGENTS, as_dict, random_actions


def taken(env: Any, actions: dict[str, Any]) -> tuple[Any, ...]:
    """A step's answers as what `==` compares to the bit."""
    observations, *rest = env.step(actions)
    seen = {(a, k): v.tobytes() for a, o in observations.items() for k, v in o.items()}
    return (seen, *rest, env.state().tobytes())


def strided(numbers: Any) -> Any:
    wide = np.zeros((len(numbers), 2), np.float32)
    wide[:, 0] = numbers
    return wide[:, 0]


def read_only(numbers: Any) -> Any:
    numbers = numbers.copy()
    numbers.flags.writeable = False
    return numbers


def sub_class(numbers: Any) -> Any:
    class Named(np.ndarray):
        pass

    return numbers.view(Named)


@pytest.mark.parametrize(
    ("boxes", "choice"),
    [
        (np.float64, int),
        (list, np.int64),
        (tuple, np.int32),
        (strided, np.uint8),
        (read_only, np.array),
        (sub_class, int),
        (np.copy, np.int64),
    ],
)
def test_every_form_of_an_action_means_the_same(
    boxes: Callable[[Any], Any], choice: Callable[[int], Any]
) -> None:
    plain, other = execution_v1.parallel_env(seed=2), execution_v1.parallel_env(seed=2)
    plain.reset()
    other.reset()
    rng = np.random.default_rng(2)
    for _ in range(5):
        actions = as_dict(random_actions(rng, 1)[0])
        if actions["risk_control"] == 4:
            continue
        given = {k: choice(v) if isinstance(v, int) else boxes(v) for k, v in actions.items()}
        assert taken(plain, actions) == taken(other, given)


def test_the_batched_form_takes_the_same_step() -> None:
    env, batch = execution_v1.parallel_env(), BatchedExecution(num_envs=3)
    env.reset(seed=8)
    batch.reset(seeds=np.array([1, 8, 2], np.uint64))
    rng = np.random.default_rng(8)
    while env.agents:
        joint = random_actions(rng, 3)
        batch.step(joint)
        observations, rewards, ended, cut, infos = env.step(as_dict(joint[1]))
        layout = batch.layout
        for index, agent in enumerate(AGENTS):
            expected = batch.rows[1, layout.observation_indices(index)]
            assert np.array_equal(observations[agent]["observation"], expected)
            assert not observations[agent]["upstream"].any()
            assert rewards[agent] == batch.rewards[1, index]
            assert ended[agent] == batch.terminations[1]
            assert not cut[agent]
            assert infos[agent]["quality"] == batch.targets[1, 0]
        assert np.array_equal(env.state(), batch.states[1])
    metrics = dict(zip(batch.metric_names, batch.episode_metrics[1].tolist(), strict=True))
    assert all(info["episode"] == metrics for info in infos.values())


@pytest.mark.parametrize(
    ("agent", "action", "message"),
    [
        ("risk_control", True, "expected an integer"),
        ("risk_control", -1, "expected an integer"),
        ("risk_control", 2**70, "expected an integer"),
        ("risk_control", np.float32(1.0), "expected an integer"),
        ("risk_control", None, "expected an integer"),
        ("market_timing", np.full(4, -1e-6, np.float32), "delay is -"),
        ("market_timing", np.zeros((4, 1), np.float32), "shape"),
        ("market_timing", np.zeros(5, np.float32), "shape"),
        ("market_timing", np.float32(0.5), "shape"),
        ("execution_monitor", None, "execution_monitor"),
        ("execution_monitor", [0.1, "x", 0.2], "execution_monitor"),
        ("liquidity_sourcing", np.array([0, 0, 0, 0, 1.5]), "bats is 1.5"),
    ],
)
def test_what_is_refused_moves_nothing(agent: str, action: Any, message: str) -> None:
    env, untouched = execution_v1.parallel_env(seed=6), execution_v1.parallel_env(seed=6)
    env.reset()
    untouched.reset()
    good = as_dict(random_actions(np.random.default_rng(0), 1)[0])
    with pytest.raises(ActionError, match=message):
        env.step(good | {agent: action})
    assert taken(env, good) == taken(untouched, good)


def test_a_batch_with_one_bad_number_moves_no_row() -> None:
    batch = BatchedExecution(num_envs=4, seed=1)
    batch.reset()
    before = batch.simulator.state_dict()
    actions = random_actions(np.random.default_rng(1), 4)
    actions[2, 5] = np.nan
    with pytest.raises(ActionError, match=r"liquidity_sourcing.arca is nan in environment 2"):
        batch.step(actions)
    after = batch.simulator.state_dict()
    assert all(np.array_equal(after[name], value) for name, value in before.items())
    with pytest.raises(ActionError, match="shape"):
        batch.step(actions[:3])


def test_what_was_handed_back_never_changes_and_shares_nothing() -> None:
    env, untouched = execution_v1.parallel_env(seed=6), execution_v1.parallel_env(seed=6)
    rng = np.random.default_rng(6)
    kept: list[tuple[Any, dict[tuple[str, str], bytes]]] = []
    current, _ = env.reset()
    untouched.reset()
    while env.agents:
        arrays = {(a, k): v for a, o in current.items() for k, v in o.items()}
        kept.append((arrays, {key: value.tobytes() for key, value in arrays.items()}))
        actions = as_dict(random_actions(rng, 1)[0])
        current, rewards, ended, cut, infos = env.step(actions)
        untouched.step(actions)
        assert len({id(info) for info in infos.values()}) == len(AGENTS)
        for answer in (rewards, ended, cut):
            answer.clear()  # a caller's own, whatever it does with them
    for arrays, expected in kept:
        assert {key: value.tobytes() for key, value in arrays.items()} == expected
    # Writing to one array reaches no other array, and not the environment.
    arrays, expected = kept[-1]
    for key, value in arrays.items():
        value[...] = -7.0
        expected[key] = value.tobytes()
        assert {k: v.tobytes() for k, v in arrays.items()} == expected
    assert np.array_equal(env.state(), untouched.state())
    env.reset()
    untouched.reset()
    again = as_dict(np.zeros(17, np.float32))
    assert taken(env, again) == taken(untouched, again)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("make", [execution_v1.parallel_env, BatchedExecution])
def test_a_copy_goes_its_own_way(duplicate: Callable[[Any], Any], make: Any) -> None:
    """The copy's kernels must not write into the arrays of the original."""
    env = make(seed=4)
    env.reset()
    rng = np.random.default_rng(4)
    if isinstance(env, BatchedExecution):
        steps = [random_actions(rng, 1) for _ in range(12)]
        seen: Callable[[Any], bytes] = lambda e: e.states.tobytes()  # noqa: E731
    else:
        steps = [as_dict(random_actions(rng, 1)[0]) for _ in range(12)]
        seen = lambda e: e.state().tobytes() + str(e.observations()).encode()  # noqa: E731
    env.step(steps[0])
    other = duplicate(env)
    before = seen(env)
    for action in steps[1:]:
        other.step(action)
    assert seen(env) == before
    for action in steps[1:]:
        env.step(action)
    assert seen(env) == seen(other)


def test_arrays_that_kernels_would_misread_are_not_pinned() -> None:
    simulator = BatchedExecution(num_envs=2).simulator
    arrays = step_arrays(simulator)
    wrong = arrays._replace(rewards=arrays.rewards.astype(np.float64))
    with pytest.raises(SimulatorError, match="expected"):
        pin_step_arrays(wrong)
    turned = arrays._replace(states=np.asfortranarray(arrays.states))
    with pytest.raises(SimulatorError, match="expected"):
        pin_step_arrays(turned)
    assert pin_step_arrays(arrays).address > 0


def test_pettingzoo_renders_in_turns() -> None:
    """Its own `render_test` asks for the mode "human"; this is the rest of it."""
    pytest.importorskip("matplotlib", reason="pictures need the `train` extra")
    env = execution_v1.env(seed=0, render_mode="rgb_array")
    for picture in collect_render_results(env):
        assert picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8
    env.close()
