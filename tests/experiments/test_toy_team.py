"""The toy team's two faces are one environment, and the batched one keeps its contract."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pettingzoo", reason="the environments need the `train` extra")

from pettingzoo.test import parallel_api_test, parallel_seed_test

from configs.errors import ActionError, ConfigError, SimulatorError
from experiments.toy_team import (
    AGENT_NAMES,
    AGENTS,
    CHOICES,
    COLUMNS,
    LAYOUT,
    ToyTeam,
    make_batched,
    parallel_env,
)

STAGGERED = (3, 12, 7, 50, 12)  # the fourth lives to the end


@pytest.mark.parametrize("lives", [(), STAGGERED])
def test_it_keeps_the_rules_of_pettingzoo(lives: tuple[int, ...]) -> None:
    parallel_api_test(parallel_env(length=20, lives=lives), num_cycles=100)
    parallel_seed_test(lambda: parallel_env(length=20, lives=lives), num_cycles=50)


@pytest.mark.parametrize("lives", [(), STAGGERED])
def test_both_faces_give_the_same_trajectories(lives: tuple[int, ...]) -> None:
    """Over two episodes and a bit, in a batch whose other rows are at other phases."""
    length, count, row = 20, 6, 4
    seeds = np.arange(100, 100 + count, dtype=np.uint64)
    batch, single = make_batched(count, length=length, lives=lives), parallel_env(length, lives)
    batch.reset(seeds=seeds)
    rng = np.random.default_rng(1)
    for _ in range(7):  # the others run ahead
        batch.step(rng.integers(0, CHOICES, (count, AGENTS)).astype(np.float32))
    mask = np.arange(count) == row
    batch.reset(mask, seeds)
    observations, _ = single.reset(seed=int(seeds[row]))
    ends = 0
    for _ in range(45):
        seen = batch.rows[row].reshape(AGENTS, COLUMNS)
        for agent, x in zip(AGENT_NAMES, seen, strict=True):
            if agent in single.agents:
                np.testing.assert_array_equal(observations[agent], x)
        joint = rng.integers(0, CHOICES, (count, AGENTS))
        acting = list(single.agents)
        observations, rewards, ended, cut, _ = single.step(
            {agent: joint[row, AGENT_NAMES.index(agent)] for agent in acting}
        )
        batch.step(joint.astype(np.float32))
        for k, agent in enumerate(AGENT_NAMES):
            if agent in acting:
                assert rewards[agent] == batch.rewards[row, k]
                assert ended[agent] == batch.terminations[row, k]
                assert cut[agent] == batch.truncations[row, k]
                x = batch.rows[row].reshape(AGENTS, COLUMNS)[k]
                np.testing.assert_array_equal(observations[agent], x)
            else:
                assert batch.rewards[row, k] == 0.0
                assert not batch.terminations[row, k] and not batch.truncations[row, k]
        assert batch.ended[row] == (not single.agents)
        if batch.ended.any():
            batch.reset(batch.ended.copy())
        if not single.agents:
            ends += 1
            observations, _ = single.reset()
    assert ends == 2


def test_the_rule_is_worth_one_and_chance_a_fifth() -> None:
    env = make_batched(64, seed=3, length=50)
    env.reset()
    rng = np.random.default_rng(0)
    knowing, guessing = [], []
    for step in range(50):
        best = env._scores.argmax(axis=2).astype(np.float32)
        env.step(best if step % 2 else rng.integers(0, CHOICES, best.shape).astype(np.float32))
        (knowing if step % 2 else guessing).append(env.rewards.mean())
    assert np.mean(knowing) == 1.0
    assert np.mean(guessing) == pytest.approx(1 / CHOICES, abs=0.02)
    assert env.ended.all()
    assert env.episode_metrics[:, 0].mean() == pytest.approx(0.6, abs=0.02)


def test_the_scores_are_a_linear_function_of_what_is_seen() -> None:
    """Least squares on half of the rows explains the other half."""
    env = make_batched(400, seed=1)
    env.reset()
    for _ in range(30):
        env.step(np.zeros((400, AGENTS), np.float32))
    seen, scores = env.rows.reshape(-1, COLUMNS), env._scores.reshape(-1, CHOICES)
    half = len(seen) // 2
    rule = np.linalg.lstsq(seen[:half], scores[:half], rcond=None)[0]
    np.testing.assert_allclose(seen[half:] @ rule, scores[half:], atol=1e-4)
    assert seen.std() == pytest.approx(1.0, abs=0.02)


def test_the_dead_show_their_last_row_once_and_ended_rows_stand_still() -> None:
    env = make_batched(2, seed=5, length=20, lives=(3, 9, 9, 9, 9))
    env.reset()
    actions = np.zeros((2, AGENTS), np.float32)
    for step in range(1, 10):
        env.step(actions)
        first = env.rows.reshape(2, AGENTS, COLUMNS)[:, 0]
        assert env.alive[:, 0].all() == (step < 3)
        assert env.terminations[:, 0].any() == (step == 3)
        assert bool(first.any()) == (step <= 3)
    assert env.ended.all() and not env.truncations.any()
    rows, metrics = env.rows.copy(), env.episode_metrics.copy()
    env.step(actions)
    np.testing.assert_array_equal(env.rows, rows)
    np.testing.assert_array_equal(env.episode_metrics, metrics)


def test_a_state_goes_on_to_the_bit() -> None:
    def run(env: ToyTeam, steps: int) -> list[np.ndarray]:
        out = []
        for step in range(steps):
            env.step(np.full((3, AGENTS), step % CHOICES, np.float32))
            out.append(np.concatenate([env.rows, env.rewards], axis=1))
            if env.ended.any():
                env.reset(env.ended.copy())
        return out

    env = make_batched(3, seed=2, length=10, lives=(4, 6, 20, 20, 20))
    env.reset()
    run(env, 7)
    state = env.state_dict()
    expected = run(env, 25)
    other = make_batched(3, seed=9, length=10, lives=(4, 6, 20, 20, 20))
    other.load_state(state)
    np.testing.assert_array_equal(run(other, 25), expected)
    with pytest.raises(SimulatorError, match="num_envs"):
        make_batched(2, length=10).load_state(state)


def test_misuse_is_told() -> None:
    with pytest.raises(ConfigError, match=r"lives=\(3, 4\)"):
        make_batched(1, lives=(3, 4))
    with pytest.raises(ConfigError, match="length=0"):
        parallel_env(length=0)
    env = parallel_env()
    env.reset(seed=0)
    with pytest.raises(ActionError, match="agent_0"):
        env.step({"agent_0": 1})


def test_the_layout_says_what_the_arrays_are() -> None:
    env = make_batched(3)
    assert env.rows.shape == (3, LAYOUT.row_width) == (3, AGENTS * COLUMNS)
    assert env.states.shape == (3, 0) and env.masks.shape == (3, 0)
    assert LAYOUT.action_width == AGENTS and LAYOUT.noise_width == AGENTS * CHOICES
    assert LAYOUT.agent_names == AGENT_NAMES
