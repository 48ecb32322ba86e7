"""The solver against closed forms, and against policies that are worth less."""

from __future__ import annotations

import numpy as np
import pytest

from configs.analytic import AlmgrenChrissLaw, AnalyticConfig, Ar1Law, IidLaw, RegimeLaw
from configs.errors import ConfigError
from configs.strategic import DecisionConfig
from market.analytic.closed import (
    almgren_chriss_cost,
    almgren_chriss_holdings,
    kelly_exposure,
    kelly_growth,
    tracking_rates,
    tracking_value,
)
from market.analytic.lattice import free_lattice
from market.analytic.optimum import Solution, problem_of, solve, steady_policy, worth

FINE = DecisionConfig(step=0.15, small_step=0.05)


def holdings(solution: Solution) -> list[int]:
    """Units held along a policy that no chance moves, from the begin."""
    place, out = solution.problem.first_position, []
    for bar in solution.policy:
        out.append(place - solution.problem.lattice.flat)
        place = int(bar[0, place])
    return [*out, place - solution.problem.lattice.flat]


def test_the_yardsticks_figures() -> None:
    rates = tracking_rates(0.98, 20.0)
    assert rates.myopic / rates.best == pytest.approx(0.82, abs=0.006)
    assert rates.blind / rates.best == pytest.approx(0.23, abs=0.006)
    law = AlmgrenChrissLaw()
    best = almgren_chriss_cost(law, almgren_chriss_holdings(law, 5))
    evenly = almgren_chriss_cost(law, law.shares * np.linspace(1.0, 0.0, 6))
    assert best == pytest.approx(1.275e6, abs=1e3)
    assert evenly == pytest.approx(1.746e6, abs=1e3)


@pytest.mark.parametrize("bars", [5, 20])
def test_almgren_chriss_to_lattice_error(bars: int) -> None:
    """Any change allowed: the sinh schedule to a unit, and its cost to the second order."""
    law = AlmgrenChrissLaw()
    config = AnalyticConfig(law=law, horizon_bars=bars, limit_units=200)
    solution = solve(problem_of(config, free_lattice(200)))
    wanted = almgren_chriss_holdings(law, bars)
    assert np.abs(np.array(holdings(solution)) / 200 - wanted / law.shares).max() <= 1.0 / 200
    cost = -solution.expected * law.shares * law.price
    best = almgren_chriss_cost(law, wanted)
    assert best <= cost <= best * (1.0 + 5e-4)


def test_without_risk_aversion_the_best_is_twap() -> None:
    config = AnalyticConfig(law=AlmgrenChrissLaw(risk_aversion=0.0), horizon_bars=20, decision=FINE)
    assert holdings(solve(problem_of(config))) == list(range(60, -1, -3))


def test_almgren_chriss_under_the_agents_own_choices() -> None:
    law = AlmgrenChrissLaw()
    config = AnalyticConfig(law=law, horizon_bars=20, decision=FINE)
    solution = solve(problem_of(config))
    evenly = almgren_chriss_cost(law, law.shares * np.linspace(1.0, 0.0, 21))
    best = almgren_chriss_cost(law, almgren_chriss_holdings(law, 20))
    cost = -solution.expected * law.shares * law.price
    assert best < cost < best + 0.02 * (evenly - best)


def test_ar1_with_quadratic_cost_is_riccati() -> None:
    """Any change allowed and limits out of reach: the value function, to lattice error."""
    law = Ar1Law(full_at=4.0, fill_share=1.0)
    config = AnalyticConfig(law=law, horizon_bars=20, limit_units=100)
    problem = problem_of(config, free_lattice(100))
    solution = solve(problem)
    risk = 2.0 * float(-(problem.last[1, -1] + 0.0)) / law.cost  # last: cost x rho / 2, x = 1
    f_unit = 1.0 / law.full_at  # a standard deviation of the price, in positions
    exact = tracking_value(law.phi, law.cost, (1.0 - law.phi**2) * f_unit**2, 20)
    foreseen = -problem.points * f_unit
    wanted = risk * exact(problem.lattice.positions[None, :], foreseen[:, None])
    inner = np.abs(problem.points) <= 2.0
    near = np.abs(problem.lattice.positions) <= 0.5
    error = np.abs(solution.value - wanted)[np.ix_(inner, near)]
    assert error.max() < 2e-3 * np.abs(wanted[np.ix_(inner, near)]).max()


def test_without_cost_the_best_is_myopic() -> None:
    law = Ar1Law(cost=0.0, fill_share=1.0)
    problem = problem_of(AnalyticConfig(law=law, horizon_bars=6, limit_units=40), free_lattice(40))
    solution = solve(problem)
    wanted = np.clip(-problem.points / law.full_at, -1.0, 1.0)
    held = problem.lattice.positions[solution.policy[:-1].astype(int)]
    assert np.abs(held - wanted[None, :, None]).max() <= 0.5 / 40 + 1e-9


def test_regimes_without_cost_are_kelly_of_the_filter() -> None:
    law = RegimeLaw(half_spread_bp=0.0, fill_share=1.0)
    problem = problem_of(AnalyticConfig(law=law, horizon_bars=6, limit_units=60), free_lattice(60))
    solution = solve(problem)
    ahead = problem.state[:, 0]
    wanted = kelly_exposure(law, ahead) / law.leverage
    held = problem.lattice.positions[solution.policy[:-1].astype(int)]
    # A daily log return is not quite continuous time.
    assert np.abs(held - wanted[None, :, None]).max() <= 0.03


def test_the_regime_market_is_that_of_the_yardsticks() -> None:
    """Constant Kelly .036, the filter .335, the oracle .369 of growth a year."""
    law = RegimeLaw()
    calm = law.calm.mean_bars / (law.calm.mean_bars + law.wild.mean_bars)
    share = float(kelly_exposure(law, np.array(calm)))
    assert kelly_growth(law, share, calm) == pytest.approx(0.036, abs=0.01)
    oracle = sum(
        w * kelly_growth(law, float(kelly_exposure(law, np.array(c))), c)
        for w, c in ((calm, 1.0), (1.0 - calm, 0.0))
    )
    assert oracle == pytest.approx(0.369, abs=0.01)
    solution = solve(problem_of(AnalyticConfig(law=law, horizon_bars=252)))
    assert 0.28 < solution.expected < 0.369


def test_the_filter_is_a_martingale_on_the_grid() -> None:
    problem = problem_of(AnalyticConfig(law=RegimeLaw(), horizon_bars=5))
    assert problem.transition.sum(axis=1) == pytest.approx(1.0)
    inner = slice(60, -60)
    ahead = problem.state[:, 0]
    assert (problem.transition @ problem.points)[inner] == pytest.approx(ahead[inner], abs=1e-4)


def test_on_a_random_walk_the_best_is_not_to_trade() -> None:
    law = IidLaw(shown="last")
    solution = solve(problem_of(AnalyticConfig(law=law, horizon_bars=20)))
    flat = solution.problem.lattice.flat
    assert solution.expected == 0.0
    assert (solution.policy[:, :, flat] == flat).all()


def test_an_oracle_pays_more_the_cheaper_it_trades() -> None:
    free, dear = (
        solve(problem_of(AnalyticConfig(law=IidLaw(half_spread_bp=cost), horizon_bars=20)))
        for cost in (0.0, 2.0)
    )
    assert free.expected > dear.expected > 0.0
    # Without cost the mean gain of a step from flat is E|z| sigma x 8 units of 60, at least.
    least = 18 * np.sqrt(2.0 / np.pi) * 20e-4 * 8 / 60
    assert least * 0.9 < free.expected


@pytest.mark.parametrize(
    "law", [Ar1Law(), RegimeLaw(), IidLaw(), AlmgrenChrissLaw()], ids=lambda law: law.kind
)
def test_no_policy_is_worth_more_and_the_best_is_worth_its_value(law: object) -> None:
    config = AnalyticConfig.model_validate(
        {"law": law, "horizon_bars": 12, "limit_units": 12, "decision": FINE}
    )
    problem = problem_of(config)
    best = solve(problem)
    again = worth(problem, best.policy)
    assert again.value == pytest.approx(best.value, abs=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(5):
        wanted = rng.uniform(-1.0, 1.0, best.value.shape)
        other = worth(problem, steady_policy(problem, wanted))
        assert (other.value <= best.value + 1e-12).all()


def test_a_policy_beyond_reach_is_refused() -> None:
    problem = problem_of(AnalyticConfig(horizon_bars=3))
    policy = np.zeros((3, len(problem.points), len(problem.lattice.positions)), np.int16)
    with pytest.raises(ConfigError, match="one of the lattice's successors"):
        worth(problem, policy)
