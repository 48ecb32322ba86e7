"""Strategic reward terms: sign, unit, one value by hand, and nothing for halting."""

from __future__ import annotations

import inspect
import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.loading import load_config
from configs.rewards import STRATEGIC_PROFILES, StrategicRewardConfig
from market.kernels import kernel
from rewards import shaping, strategic, tactical
from rewards.composition import composed
from rewards.strategic import (
    TERMS,
    drawdown_bp,
    drawdown_term,
    equity_term,
    reversion_term,
    sharpe_step,
    sharpe_term,
    turnover_term,
    weights_of,
)

ETA, FLOOR, LATE = 0.02, 1e-9, 1_000
RETURNS = st.floats(-300.0, 300.0)


def differential(mean: float, square: float, change: float, halted: bool = False) -> float:
    return float(sharpe_term(mean, square, change, LATE, ETA, FLOOR, 1.0, halted))


def test_equity_is_paid_in_bp_of_the_start() -> None:
    # 1,000,000 at the start; 1,020,000 becomes 1,020,500: 500 / 1,000,000.
    assert equity_term(1_020_000.0, 1_020_500.0, 1e6) == pytest.approx(5.0)
    assert equity_term(1_020_500.0, 1_020_000.0, 1e6) == pytest.approx(-5.0)
    assert equity_term(7.0, 7.0, 1e6) == 0.0


def test_equity_telescopes_to_the_result_of_the_episode() -> None:
    path = 1e6 + np.cumsum(np.random.default_rng(0).normal(0, 1e3, 50))
    total = sum(equity_term(a, b, path[0]) for a, b in itertools.pairwise(path))
    assert total == pytest.approx(1e4 * (path[-1] / path[0] - 1.0))


def test_drawdown_is_below_the_peak_in_bp_of_it() -> None:
    assert drawdown_bp(200.0, 199.0) == pytest.approx(50.0)
    assert drawdown_bp(200.0, 200.0) == drawdown_bp(200.0, 201.0) == 0.0


def test_only_a_new_depth_costs() -> None:
    # From 30 bp to 42 bp under water.
    assert drawdown_term(30.0, 42.0) == -12.0
    assert drawdown_term(42.0, 42.0) == 0.0
    equity = np.array([100.0, 99.0, 99.5, 98.5, 101.0, 100.0])
    deepest = np.maximum.accumulate(
        [drawdown_bp(p, e) for p, e in zip(np.maximum.accumulate(equity), equity, strict=True)]
    )
    paid = [drawdown_term(a, b) for a, b in itertools.pairwise(deepest)]
    assert paid == pytest.approx([-100.0, 0.0, -50.0, 0.0, 0.0])
    assert sum(paid) == pytest.approx(-150.0)  # the maximum drawdown of the path


def test_turnover_costs_in_bp() -> None:
    # A tenth of the equity at 2 bp for all of it.
    assert turnover_term(1e5, 1e6, 2.0) == pytest.approx(-0.2)
    assert turnover_term(0.0, 1e6, 2.0) == 0.0


def test_differential_sharpe_by_hand() -> None:
    """A = 1, B = 5 bp^2, R = 3: dA = 2, dB = 4, variance 4: (5 * 2 - 1 * 4 / 2) / 8."""
    assert differential(1.0, 5.0, 3.0) == pytest.approx(1.0)
    scaled = sharpe_term(1.0, 5.0, 3.0, LATE, ETA, FLOOR, 2.5, False)
    assert scaled == pytest.approx(2.5)
    # The floor of 16 bp^2 instead of the variance of 4: 8 / 64.
    assert sharpe_term(1.0, 5.0, 3.0, LATE, ETA, 16.0, 1.0, False) == pytest.approx(0.125)


def test_differential_sharpe_is_positive_above_the_average_and_negative_below() -> None:
    assert differential(1.0, 5.0, 1.5) > 0.0 > differential(1.0, 5.0, 0.5)
    # A large win is a risk, too: beyond B / A it counts less again.
    assert differential(1.0, 5.0, 5.0) > differential(1.0, 5.0, 9.0)


@given(st.floats(-3.0, 3.0), st.floats(0.5, 20.0), st.floats(-10.0, 10.0))
def test_differential_sharpe_is_the_derivative_of_the_ratio(
    mean: float, variance: float, change: float
) -> None:
    square = mean * mean + variance

    def ratio(eta: float) -> float:
        a = sharpe_step(mean, change, eta)
        b = sharpe_step(square, change * change, eta)
        return float(a / math.sqrt(b - a * a))

    step = 1e-6
    slope = (ratio(step) - ratio(-step)) / (2.0 * step)
    assert differential(mean, square, change) == pytest.approx(slope, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("eta", "first"), [(0.02, 50), (1.0, 1), (0.3, 4)])
def test_differential_sharpe_waits_for_its_averages(eta: float, first: int) -> None:
    paid = [sharpe_term(1.0, 5.0, 3.0, bars, eta, FLOOR, 1.0, False) for bars in range(first + 1)]
    assert paid[:first] == [0.0] * first
    assert paid[first] > 0.0


def test_averages_are_exponential() -> None:
    assert sharpe_step(0.0, 4.0, 0.25) == 1.0
    assert sharpe_step(1.0, 4.0, 0.25) == 1.75


def test_a_flat_account_from_the_start_is_paid_nothing() -> None:
    assert differential(0.0, 0.0, 0.0) == 0.0


@given(RETURNS, st.floats(0.0, 1e4))
def test_halting_pays_no_more_than_being_flat_by_choice(mean: float, variance: float) -> None:
    square = mean * mean + variance
    flat = differential(mean, square, 0.0)
    halted = differential(mean, square, 0.0, halted=True)
    assert halted <= 0.0
    assert halted <= flat
    # The other terms of an account that neither holds nor trades.
    rest = (
        equity_term(9e5, 9e5, 1e6),
        drawdown_term(1_000.0, 1_000.0),
        turnover_term(0.0, 1e6, 1.0),
        reversion_term(0.0, 3.0, 2.0, mean),
    )
    assert rest == (0.0, 0.0, 0.0, 0.0)


def test_a_losing_account_would_be_paid_for_standing_still() -> None:
    """What the rule for halted accounts is there for."""
    assert differential(-2.0, 8.0, 0.0) > 0.0
    assert differential(-2.0, 8.0, 0.0, halted=True) == 0.0
    assert differential(2.0, 8.0, 0.0, halted=True) == differential(2.0, 8.0, 0.0) < 0.0


def test_reversion_pays_what_a_contrarian_earned() -> None:
    # Short .4 of the equity, 1 sigma of 2 above the mean, the price falls 25 bp: half of 10 bp.
    assert reversion_term(-0.4, 1.0, 2.0, -25.0) == pytest.approx(5.0)
    assert reversion_term(0.4, -1.0, 2.0, 25.0) == pytest.approx(5.0)
    # The price runs on: the same is lost.
    assert reversion_term(-0.4, 1.0, 2.0, 25.0) == pytest.approx(-5.0)
    # From `full` on, all of it and no more.
    assert reversion_term(-0.4, 2.0, 2.0, -25.0) == pytest.approx(10.0)
    assert reversion_term(-0.4, 9.0, 2.0, -25.0) == pytest.approx(10.0)


@given(st.floats(-1.0, 1.0), st.floats(-5.0, 5.0), RETURNS)
def test_reversion_pays_no_follower_and_no_stance(
    held: float, deviation: float, move: float
) -> None:
    paid = reversion_term(held, deviation, 2.0, move)
    assert abs(paid) <= abs(held * move)
    if held * deviation >= 0.0:
        assert paid == 0.0
    assert reversion_term(held, deviation, 2.0, 0.0) == 0.0
    assert reversion_term(held, deviation, 2.0, -move) == -paid


@pytest.mark.parametrize("module", [strategic, tactical, shaping])
def test_terms_are_told_of_accounts_alone(module: object) -> None:
    """Neither of an action's number, nor of a halt's being chosen, nor of any clock."""
    told = {
        parameter
        for name, term in vars(module).items()
        if name.endswith("_term")
        for parameter in inspect.signature(term.py_func).parameters
    }
    assert told
    forbidden = ("action", "choice", "agent", "second", "latency", "clock", "wall")
    assert [name for name in told if any(word in name for word in forbidden)] == []


def test_each_profile_leans_to_its_own_term() -> None:
    assert set(STRATEGIC_PROFILES) == {"conservative", "aggressive", "balanced", "contrarian"}
    weights = {
        name: dict(zip(TERMS, weights_of(StrategicRewardConfig(profile=name)), strict=True))
        for name in STRATEGIC_PROFILES
    }
    assert weights["aggressive"] == dict.fromkeys(TERMS, 0.0) | {"equity": 1.0}
    for name, term in (
        ("conservative", "drawdown"),
        ("balanced", "sharpe"),
        ("contrarian", "reversion"),
    ):
        assert weights[name][term] == max(w[term] for w in weights.values()) > 0.0
        assert weights[name][term] >= max(weights[name].values())
        assert weights[name]["equity"] > 0.0  # costs are in it


def test_a_weight_that_is_given_takes_the_place_of_the_profiles() -> None:
    config = load_config(
        StrategicRewardConfig, {"profile": "balanced", "sharpe": 0.0, "reversion": 0.3}
    )
    profile = STRATEGIC_PROFILES["balanced"]
    assert weights_of(config).tolist() == [
        profile["equity"],
        profile["drawdown"],
        profile["turnover"],
        0.0,
        0.3,
    ]
    assert weights_of(StrategicRewardConfig()).tolist() == [profile[t] for t in TERMS]
    again = load_config(StrategicRewardConfig, config.model_dump(mode="json"))
    assert np.array_equal(weights_of(again), weights_of(config))


@pytest.mark.parametrize(
    ("given_values", "message"),
    [
        ({"profile": "bold"}, "profile"),
        ({"sharp": 1.0}, "did you mean"),
        ({"drawdown": -1.0}, "drawdown"),
        ({"eta": 0.0}, "eta"),
        ({"profile": "aggressive", "equity": 0.0}, "all weights are 0, expected one above it"),
    ],
)
def test_bad_settings_are_refused(given_values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(StrategicRewardConfig, given_values)


def test_terms_compose_by_weights_and_are_kept() -> None:
    weights, terms = np.array([1.0, 0.5, 0.0]), np.array([3.0, -4.0, 100.0])
    parts = np.full(3, np.nan)
    assert composed(weights, terms, parts) == 1.0
    assert parts.tolist() == [3.0, -2.0, 0.0]


@kernel
def _paid(
    weights: np.ndarray, state: np.ndarray, held: np.ndarray, moves: np.ndarray, out: np.ndarray
) -> None:
    terms = np.zeros(5)
    equity = peak = 1.0
    for bar in range(len(moves)):
        after = equity + held[bar] * moves[bar] / 1e4
        result = equity_term(equity, after, 1.0)
        peak, deepest = max(peak, after), max(state[2], drawdown_bp(max(peak, after), after))
        terms[0] = result
        terms[1] = drawdown_term(state[2], deepest)
        terms[2] = turnover_term(abs(held[bar]), 1.0, 1.0)
        terms[3] = sharpe_term(state[0], state[1], result, bar, 0.02, 1.0, 2.0, False)
        terms[4] = reversion_term(held[bar], -1.0, 2.0, moves[bar])
        composed(weights, terms, out[bar])
        state[0] = sharpe_step(state[0], result, 0.02)
        state[1] = sharpe_step(state[1], result * result, 0.02)
        state[2] = deepest
        equity = after


@given(st.integers(0, 2**32))
def test_terms_work_inside_a_kernel(seed: int) -> None:
    """As an environment composes them: finite, and the equity's part is the result."""
    rng = np.random.default_rng(seed)
    held, moves = rng.uniform(-1, 1, 200), rng.normal(0, 20, 200)
    assume(abs(np.sum(held * moves)) > 1e-3)
    out, state = np.full((200, 5), np.nan), np.zeros(3)
    weights = weights_of(StrategicRewardConfig(reversion=1.0))
    _paid(weights, state, held, moves, out)
    assert np.isfinite(out).all()
    assert out[:, 0].sum() == pytest.approx(weights[0] * np.sum(held * moves))
    assert out[:, 1].sum() == pytest.approx(-weights[1] * state[2])
    assert np.all(out[:50, 3] == 0.0)
    assert np.any(out[50:, 3] != 0.0)
