"""The analytic markets' environment: the contract, and the solver's policy in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test, state_test

from configs.analytic import AnalyticConfig
from configs.errors import ActionError, ConfigError, SimulatorError
from envs import analytic_v0
from envs.analytic import BatchedAnalytic, make_batched
from envs.analytic.kernel import METRICS, REWARD_TERMS
from envs.batched import BatchedEnv
from experiments.analytic.playing import play
from experiments.analytic.policies import TablePolicy, best, rules_of
from market.analytic.optimum import problem_of, solve, worth
from market.analytic.terms import BP
from market.targets import HOLD, INCREASE, REDUCE
from signals.analytic import FEATURES, analytic_layout

FINE = {"step": 0.15, "small_step": 0.05}
MARKETS: dict[str, dict[str, Any]] = {
    "ar1": {"horizon_bars": 24},
    "regime": {"law": {"kind": "regime"}, "horizon_bars": 24},
    "oracle": {"law": {"kind": "iid"}, "horizon_bars": 24},
    "random_walk": {"law": {"kind": "iid", "shown": "last"}, "horizon_bars": 24},
    "almgren_chriss": {"law": {"kind": "almgren_chriss"}, "horizon_bars": 20, "decision": FINE},
}
each_market = pytest.mark.parametrize("name", MARKETS)


def market(name: str) -> AnalyticConfig:
    return AnalyticConfig.model_validate(MARKETS[name])


def random_actions(rng: np.random.Generator, rows: int) -> NDArray[np.float32]:
    return rng.integers(0, 5, (rows, 4)).astype(np.float32)


def test_every_law_has_a_layout() -> None:
    assert {market(name).name for name in MARKETS} == set(FEATURES) == set(MARKETS)


@each_market
def test_pettingzoo(name: str) -> None:
    config = market(name)
    parallel_api_test(analytic_v0.parallel_env(config, seed=1), num_cycles=60)
    parallel_seed_test(lambda: analytic_v0.parallel_env(config), num_cycles=50)
    api_test(analytic_v0.env(config, seed=1), num_cycles=100)
    seed_test(lambda: analytic_v0.env(config), num_cycles=50)
    state_test(analytic_v0.env(config), analytic_v0.parallel_env(config), num_cycles=20)


@each_market
def test_observations_and_states_lie_in_their_spaces(name: str) -> None:
    env, rng = analytic_v0.parallel_env(market(name), seed=0), np.random.default_rng(0)
    seen, _ = env.reset(seed=0)
    while env.agents:
        for agent, observed in seen.items():
            assert env.observation_space(agent).contains(observed), agent
        assert env.state_space.contains(env.state())
        actions = dict(zip(env.agents, rng.integers(0, 5, 4).tolist(), strict=True))
        seen, *_ = env.step(actions)


@each_market
@pytest.mark.parametrize("seed", [0, 7, 2**63])
def test_whole_episodes_repeat_to_the_bit(name: str, seed: int) -> None:
    traces = []
    for _ in range(2):
        env, rng = BatchedAnalytic(market(name)), np.random.default_rng(1)
        env.reset(seeds=np.array([seed], np.uint64))
        trace = []
        for _ in range(2 * env.config.horizon_bars):
            env.step(random_actions(rng, 1))
            trace.append(np.concatenate([env.states[0], env.rewards[0]]))
            if env.terminations[0]:
                env.reset()
        traces.append(np.array(trace))
    assert np.array_equal(*traces)
    half = len(traces[0]) // 2
    assert not np.array_equal(traces[0][:half], traces[0][half:])  # the next episode is another


def test_alone_equals_batched_and_the_batch_is_the_protocols() -> None:
    config, rng = market("regime"), np.random.default_rng(5)
    seeds = np.array([11, 3, 2**40, 0], np.uint64)
    together = BatchedAnalytic(config, num_envs=4)
    assert isinstance(together, BatchedEnv)
    together.reset(seeds=seeds)
    alone = [BatchedAnalytic(config) for _ in seeds]
    for env, seed in zip(alone, seeds, strict=True):
        env.reset(seeds=np.array([seed]))
    for _ in range(config.horizon_bars):
        actions = random_actions(rng, 4)
        together.step(actions)
        for n, env in enumerate(alone):
            env.step(actions[n : n + 1])
            assert np.array_equal(env.states[0], together.states[n])
            assert np.array_equal(env.rewards[0], together.rewards[n])
    assert len(np.unique(together.clusters)) == 4
    for n, env in enumerate(alone):
        assert np.array_equal(env.episode_metrics[0], together.episode_metrics[n])


def test_a_saved_state_goes_on_to_the_bit() -> None:
    config, rng = market("ar1"), np.random.default_rng(2)
    env, other = (BatchedAnalytic(config, num_envs=3, seed=s) for s in (0, 9))
    env.reset()
    actions = [random_actions(rng, 3) for _ in range(20)]
    for joint in actions[:10]:
        env.step(joint)
    other.load_state(env.state_dict())
    for joint in actions[10:]:
        env.step(joint)
        other.step(joint)
        assert np.array_equal(env.states, other.states)
        assert np.array_equal(env.reward_terms, other.reward_terms)
    with pytest.raises(SimulatorError, match="number of episodes"):
        BatchedAnalytic(config, num_envs=2).load_state(env.state_dict())


def test_masks_are_shown_and_what_they_forbid_is_hold() -> None:
    config = market("ar1")
    env = BatchedAnalytic(config)
    env.reset(seeds=np.zeros(1, np.uint64))
    layout = analytic_layout("ar1")
    flags = layout.mask_indices(0)
    assert env.rows[0, flags].tolist() == [1, 1, 1, 0, 0]  # flat
    env.step(np.array([[INCREASE, REDUCE, HOLD, 0]], np.float32))
    assert env.arrays.units[0] == 0 and env.arrays.tallies["masked"][0] == 2
    while not env.terminations[0]:
        env.step(np.zeros((1, 4), np.float32))
        if env.arrays.bars[0] == config.horizon_bars - 1:
            assert env.rows[0, flags].tolist() == [0, 0, 1, 0, 0]  # the last bar goes flat
    assert env.arrays.units[0] == 0


@pytest.mark.parametrize("bad", [5.0, -1.0, 0.5, np.nan, np.inf])
def test_what_is_no_choice_is_refused_and_nothing_moves(bad: float) -> None:
    env = BatchedAnalytic(market("ar1"), num_envs=2)
    env.reset()
    before = env.state_dict()
    actions = np.zeros((2, 4), np.float32)
    actions[1, 2] = bad
    with pytest.raises(ActionError, match="regime_agent chose"):
        env.step(actions)
    after = env.state_dict()
    assert all(np.array_equal(before[k], after[k]) for k in before if k != "actions")


def test_plain_data_that_is_no_market_is_refused() -> None:
    with pytest.raises(ConfigError, match="horizon"):
        make_batched(1, config={"horizons": 3})


@each_market
def test_terms_add_up_to_the_reward_and_the_tally_to_the_episode(name: str) -> None:
    env, rng = BatchedAnalytic(market(name), num_envs=5), np.random.default_rng(3)
    env.reset()
    total, terms = np.zeros(5), np.zeros((5, len(REWARD_TERMS)))
    for _ in range(env.config.horizon_bars):
        env.step(random_actions(rng, 5))
        assert env.reward_terms.sum(axis=1) == pytest.approx(env.rewards[:, 0], abs=1e-4)
        total += env.rewards[:, 0]
        terms += env.reward_terms
    found = dict(zip(METRICS, env.episode_metrics.T, strict=True))
    assert found["utility_bp"] == pytest.approx(total, abs=1e-2)
    assert found["costs_bp"] == pytest.approx(-terms[:, REWARD_TERMS.index("costs")])
    assert (terms[:, REWARD_TERMS.index("risk")] <= 0).all()
    assert (found["costs_bp"] > 0).all()


@each_market
def test_the_best_policy_earns_its_value_here(name: str) -> None:
    """Same utility, same costs, same lattice: mean within four standard errors of the value, and
    what no one could foresee takes nothing from the mean."""
    config = market(name)
    solution = solve(problem_of(config))
    played = play(config, best(solution), 4096, seed=1)
    for metric in ("utility_bp", "steady_utility_bp"):
        values = played.of(metric)
        error = values.std() / len(values) ** 0.5
        assert abs(values.mean() - BP * solution.expected) <= 4.0 * error + 1e-6, metric
    assert played.mean("masked") == 0.0


@each_market
def test_simple_rules_earn_what_they_are_worth_and_less_than_the_best(name: str) -> None:
    config = market(name)
    problem = problem_of(config)
    most = solve(problem).expected
    for rule, policy in rules_of(problem).items():
        value = worth(problem, policy).expected
        values = play(config, TablePolicy(problem, policy), 4096, seed=2).of("steady_utility_bp")
        error = values.std() / len(values) ** 0.5
        assert abs(values.mean() - BP * value) <= 4.0 * error + 0.01 * abs(BP * value), rule
        assert value <= most + 1e-12, rule


def test_the_critic_alone_sees_the_path_to_come() -> None:
    """Privileged columns are the returns that the next bars bring, and no actor's."""
    env = BatchedAnalytic(market("ar1"))
    env.reset(seeds=np.zeros(1, np.uint64))
    layout = env.layout
    names = [column.name for column in layout.state_columns]
    move = env.states[0, names.index("move_1")]
    scale = env.arrays.law["scale"][0]
    assert move == pytest.approx(env.arrays.returns[0, 0] / scale, rel=1e-5)
    assert layout.row_width == len(layout.shared)
    assert all(column.privileged for column in layout.privileged)
