"""PettingZoo's own tests, and the equalities that they do not look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pettingzoo.test import (
    api_test,
    parallel_api_test,
    parallel_seed_test,
    seed_test,
    state_test,
)
from pettingzoo.utils.conversions import aec_to_parallel

from configs.errors import ActionError, SimulatorError
from configs.execution import ExecutionConfig
from envs import execution_v1
from envs.batched import BatchedEnv
from envs.execution import BatchedExecution
from envs.execution.batched import action_bounds
from market import decode
from signals.execution import EXECUTION

AGENTS = [agent.name for agent in EXECUTION.agents]


def random_actions(rng: np.random.Generator, rows: int) -> NDArray[np.float32]:
    """Joint actions; a stop now and then, so that episodes end at different times."""
    actions = rng.random((rows, EXECUTION.action_width)).astype(np.float32)
    weights = [0.6, 0.15, 0.12, 0.12, 0.01]
    actions[:, decode.RISK_DECISION] = rng.choice(5, size=rows, p=weights)
    return actions


def as_dict(row: NDArray[np.float32]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for index, agent in enumerate(EXECUTION.agents):
        numbers = row[EXECUTION.action_slice(index)]
        out[agent.name] = int(numbers[0]) if agent.kind == "discrete" else numbers
    return out


def test_pettingzoo_parallel_api() -> None:
    parallel_api_test(execution_v1.parallel_env(seed=1), num_cycles=200)


def test_pettingzoo_parallel_seed() -> None:
    parallel_seed_test(execution_v1.parallel_env, num_cycles=50)


def test_pettingzoo_api() -> None:
    api_test(execution_v1.env(seed=1), num_cycles=500)


def test_pettingzoo_seed() -> None:
    seed_test(execution_v1.env, num_cycles=100)


def test_pettingzoo_state() -> None:
    turns, together = execution_v1.env(seed=1), execution_v1.parallel_env(seed=1)
    state_test(turns, together, num_cycles=20)
    turns.reset(seed=5)
    together.reset(seed=5)
    assert np.array_equal(turns.state(), together.state())
    assert together.state_space.contains(together.state())


def test_the_batched_form_fits_its_protocol() -> None:
    assert isinstance(BatchedExecution(num_envs=2), BatchedEnv)


@pytest.mark.parametrize("seed", [0, 7, 2**63])
def test_whole_episodes_repeat_to_the_bit(seed: int) -> None:
    """Seed 0 is a seed; the second episode of a seed repeats as well as the first."""
    first, second = (play_parallel(seed, episodes=2) for _ in range(2))
    assert len(first) == len(second) > 2
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)


def play_parallel(seed: int, episodes: int) -> list[NDArray[np.float32]]:
    env = execution_v1.parallel_env()
    rng = np.random.default_rng(seed)
    trace: list[NDArray[np.float32]] = []
    for episode in range(episodes):
        env.reset(seed=seed if episode == 0 else None)
        while env.agents:
            _, rewards, *_ = env.step(as_dict(random_actions(rng, 1)[0]))
            reward = np.float32(rewards["market_timing"])
            trace.append(np.append(env.state(), reward))
    return trace


def test_other_seeds_and_later_episodes_differ() -> None:
    states = []
    env = execution_v1.parallel_env()
    for seed in (0, 1):
        env.reset(seed=seed)
        states.append(env.state())
    env.reset()
    states.append(env.state())
    assert not np.array_equal(states[0], states[1])
    assert not np.array_equal(states[1], states[2])


def test_alone_equals_batched_in_any_order() -> None:
    seeds = np.array([11, 3, 2**40, 0, 99], np.uint64)
    order = np.array([4, 2, 0, 3, 1])
    rng = np.random.default_rng(5)
    actions = [random_actions(rng, len(seeds)) for _ in range(75)]
    batch, shuffled = BatchedExecution(num_envs=5), BatchedExecution(num_envs=5)
    batch.reset(seeds=seeds)
    shuffled.reset(seeds=seeds[order])
    alone = [BatchedExecution(num_envs=1) for _ in seeds]
    for single, seed in zip(alone, seeds, strict=True):
        single.reset(seeds=np.array([seed]))
    for action in actions:
        batch.step(action)
        shuffled.step(action[order])
        for row, single in enumerate(alone):
            single.step(action[row : row + 1])
            assert np.array_equal(single.states[0], batch.states[row])
            assert np.array_equal(single.rewards[0], batch.rewards[row])
        assert np.array_equal(shuffled.states, batch.states[order])
        assert np.array_equal(shuffled.terminations, batch.terminations[order])
    assert batch.terminations.all()
    assert np.array_equal(shuffled.episode_metrics, batch.episode_metrics[order])


def test_turns_equal_the_parallel_face() -> None:
    parallel, turns = execution_v1.parallel_env(), execution_v1.env()
    parallel.reset(seed=4)
    turns.reset(seed=4)
    rng = np.random.default_rng(4)
    while parallel.agents:
        action = as_dict(random_actions(rng, 1)[0])
        before = turns.state()
        assert np.array_equal(before, parallel.state())
        for agent in AGENTS:
            assert turns.agent_selection == agent
            assert np.array_equal(turns.state(), before)  # constant within a step
            turns.step(action[agent])
        _, rewards, terminations, _, _ = parallel.step(action)
        assert np.array_equal(turns.state(), parallel.state())
        assert turns.rewards == rewards
        assert turns.terminations == terminations


def test_observe_shows_what_was_chosen_before_and_no_more() -> None:
    env = execution_v1.env()
    env.reset(seed=2)
    action = as_dict(random_actions(np.random.default_rng(2), 1)[0])
    flags = slice(EXECUTION.chosen_flag(0), EXECUTION.chosen_flag(3) + 1)
    for turn, agent in enumerate(AGENTS):
        upstream = env.observe(agent)["upstream"]
        assert upstream[flags].tolist() == [1.0] * min(turn, 4) + [0.0] * (4 - turn)
        for earlier in range(4):
            shown = upstream[EXECUTION.upstream_slice(earlier)]
            if earlier >= turn:
                assert not shown.any()
            elif EXECUTION.agents[earlier].kind == "box":
                assert np.array_equal(shown, action[AGENTS[earlier]])
            else:
                assert int(shown.argmax()) == action[AGENTS[earlier]]
                assert shown.sum() == 1.0
        env.step(action[agent])


def test_the_spaces_have_the_specified_sizes() -> None:
    env = execution_v1.parallel_env()
    sizes = [env.observation_space(agent)["observation"].shape[0] for agent in AGENTS]
    assert sizes == [55, 57, 53, 55, 59]
    assert EXECUTION.upstream_width == 22
    assert [env.action_space(a).shape for a in AGENTS] == [(4,), (5,), (4,), (), (3,)]
    names = [column.name for column in EXECUTION.state_columns]
    assert len(EXECUTION.shared) == 47
    assert all(
        np.isfinite([c.low, c.high]).all() and c.low < c.high for c in EXECUTION.state_columns
    )
    for agent in range(len(AGENTS)):
        columns = [c.name for c in EXECUTION.observation_columns(agent)]
        assert len(set(columns)) == len(columns)
    assert len(names) == EXECUTION.state_width


def test_the_action_row_means_what_decode_reads() -> None:
    names = [
        component.name
        for agent in EXECUTION.agents
        for component in (agent.components if agent.kind == "box" else agent.components[:1])
    ]
    assert names[decode.DELAY : decode.VOLATILITY_ADJUSTMENT + 1] == [
        "delay", "urgency", "confidence", "volatility_adjustment",
    ]  # fmt: skip
    assert names[decode.FIRST_WEIGHT] == "smart"
    assert names[decode.SHARE : decode.STEALTH + 1] == ["share", "children", "spacing", "stealth"]
    assert names[decode.RISK_DECISION] == "APPROVE"
    assert names[decode.PREDICTED_QUALITY :] == [
        "predicted_quality", "urgency_correction", "cancel_threshold",
    ]  # fmt: skip
    assert EXECUTION.action_width == decode.ACTION_WIDTH


@pytest.mark.parametrize("extreme", ["random", "lowest", "highest", "alternating"])
def test_observations_stay_inside_their_space(extreme: str) -> None:
    env = execution_v1.parallel_env()
    rng = np.random.default_rng(8)
    low, high = action_bounds()
    for seed in range(6):
        observations, _ = env.reset(seed=seed)
        step = 0
        while env.agents:
            row = random_actions(rng, 1)[0]
            if extreme == "lowest":
                row = low.copy()
            elif extreme == "highest":
                row = high.copy()
                row[decode.RISK_DECISION] = step % 4
            elif extreme == "alternating":
                row = (low if step % 2 else high).copy()
                row[decode.RISK_DECISION] = 0
            observations, *_ = env.step(as_dict(row))
            step += 1
            for agent, observation in observations.items():
                assert env.observation_space(agent).contains(observation)
            assert env.state_space.contains(env.state())


def test_state_is_the_row_and_the_privileged_tail() -> None:
    batch = BatchedExecution(num_envs=3)
    batch.reset()
    assert np.array_equal(batch.states[:, : EXECUTION.row_width], batch.rows)
    privileged = [c.name for c in EXECUTION.state_columns if c.privileged]
    assert len(privileged) == EXECUTION.state_width - EXECUTION.row_width
    assert not any(c.privileged for c in EXECUTION.columns)


def test_a_state_restores_the_middle_of_an_episode_to_the_bit() -> None:
    rng = np.random.default_rng(3)
    actions = [random_actions(rng, 4) for _ in range(75)]
    original = BatchedExecution(num_envs=4, seed=3)
    original.reset()
    for action in actions[:30]:
        original.step(action)
    saved = original.state_dict()
    other = BatchedExecution(num_envs=4, seed=77)
    other.load_state(saved)
    for action in actions[30:]:
        original.step(action)
        other.step(action)
        assert np.array_equal(original.states, other.states)
        assert np.array_equal(original.rewards, other.rewards)
    for env in (original, other):
        env.reset(mask=np.ones(4, np.bool_))
    assert np.array_equal(original.states, other.states)


@pytest.mark.parametrize("turn", [0, 3, 5])
def test_turns_restore_the_middle_of_a_step_to_the_bit(turn: int) -> None:
    original, other = execution_v1.env(), execution_v1.env()
    original.reset(seed=9)
    other.reset(seed=1)
    rng = np.random.default_rng(9)
    flat = [
        a for row in (random_actions(rng, 1)[0] for _ in range(40)) for a in as_dict(row).items()
    ]
    start = 10 * len(AGENTS) + turn
    for _, action in flat[:start]:
        if original.agents:
            original.step(action if not original.terminations[original.agent_selection] else None)
    other.load_state(original.state_dict())
    for _, action in flat[start:]:
        if not original.agents:
            break
        agent = original.agent_selection
        assert other.agent_selection == agent
        for name, seen in original.observe(agent).items():
            assert np.array_equal(seen, other.observe(agent)[name])
        given = None if original.terminations[agent] else action
        original.step(given)
        other.step(given)
        assert other.rewards == original.rewards
        assert other._cumulative_rewards == original._cumulative_rewards
        assert np.array_equal(other.state(), original.state())
    with pytest.raises(SimulatorError, match="lacks turn"):
        other.load_state({k: v for k, v in original.state_dict().items() if k != "turn"})


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_beyond_64_bits_is_refused(seed: int) -> None:
    with pytest.raises(ActionError, match="whole number"):
        execution_v1.parallel_env(seed=seed)
    with pytest.raises(ActionError, match="whole number"):
        execution_v1.parallel_env().reset(seed=seed)


def test_a_foreign_state_is_refused_whole() -> None:
    small, large = BatchedExecution(num_envs=1), BatchedExecution(num_envs=2)
    small.reset()
    large.reset()
    before = large.states.copy()
    with pytest.raises(SimulatorError, match="expected"):
        large.load_state(small.state_dict())
    assert np.array_equal(large.states, before)
    with pytest.raises(SimulatorError, match="'simulator' is missing"):
        large.load_state({k: v for k, v in large.state_dict().items() if k != "simulator"})


@pytest.mark.parametrize(
    ("agent", "action", "message"),
    [
        ("market_timing", np.array([0.0, np.nan, 0.0, 0.0]), "market_timing.urgency is nan"),
        ("market_timing", np.array([0.0, 0.0, 0.0, 1.5]), "volatility_adjustment is 1.5"),
        ("market_timing", np.zeros(3), "shape"),
        ("liquidity_sourcing", "much", "liquidity_sourcing"),
        ("risk_control", 5, "expected an integer from 0 to 4"),
        ("risk_control", 0.5, "risk_control"),
        ("execution_monitor", np.array([np.inf, 0.0, 0.0]), "predicted_quality is inf"),
    ],
)
def test_actions_outside_their_space_are_refused(agent: str, action: Any, message: str) -> None:
    env = execution_v1.parallel_env()
    env.reset(seed=1)
    before = env.state()
    actions = as_dict(random_actions(np.random.default_rng(0), 1)[0]) | {agent: action}
    with pytest.raises(ActionError, match=message):
        env.step(actions)
    assert np.array_equal(env.state(), before)


def test_a_missing_or_unknown_agent_is_named() -> None:
    env = execution_v1.parallel_env()
    env.reset(seed=1)
    actions = as_dict(random_actions(np.random.default_rng(0), 1)[0])
    with pytest.raises(ActionError, match="lacks 'risk_control'"):
        env.step({k: v for k, v in actions.items() if k != "risk_control"})
    with pytest.raises(ActionError, match="did you mean 'risk_control'"):
        env.step(actions | {"risk_contrl": 0})


def test_turns_convert_to_parallel() -> None:
    env = aec_to_parallel(execution_v1.env(ExecutionConfig()))
    env.reset(seed=0)
    assert set(env.agents) == set(AGENTS)
