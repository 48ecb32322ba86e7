"""The laws of the analytic markets, their lattice, and what a bar pays."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from configs.analytic import AlmgrenChrissLaw, AnalyticConfig, Ar1Law, IidLaw, RegimeLaw
from configs.strategic import DecisionConfig
from market.account import ACCOUNT, open_account, settle
from market.analytic.lattice import NONE, decision_rules, lattice_of, next_units
from market.analytic.laws import Path, draw_episode, draw_start, law_of
from market.analytic.terms import BP, bar_utility, charge, exposure, risk_charge, terms_of
from market.kernels import kernel
from market.targets import BUY, HOLD, INCREASE, REDUCE, SELL
from market.working import WORKED

EQUAL, ASIDE = 3, 4


@kernel
def _settled(limit: int, mark: float, worked: object, closes: object, equity: object) -> None:
    account = np.zeros(1, ACCOUNT)
    open_account(account[0], limit, 1.0, mark)
    for k in range(len(worked)):
        settle(account[0], worked[k], closes[k])
        equity[k] = account[0].equity


def draw(config: AnalyticConfig, seed: int, episode: int = 0) -> Path:
    bars = config.horizon_bars
    path = Path(np.zeros(bars), np.zeros(bars), np.zeros(bars))
    draw_episode(np.uint64(seed), episode, law_of(config)[0], path)
    return path


def test_ar1_is_as_predictable_as_the_yardsticks_say() -> None:
    """R^2 of one step is (1 - phi)/2, and the foreseen part is foreseen without bias."""
    config = AnalyticConfig(law=Ar1Law(phi=0.9), horizon_bars=10_000)
    paths = [draw(config, seed) for seed in range(20)]
    returns = np.concatenate([p.returns for p in paths])
    foreseen = np.concatenate([p.foreseen for p in paths])
    assert 1.0 - np.var(returns - foreseen) / np.var(returns) == pytest.approx(0.05, abs=0.005)
    slope = (returns @ foreseen) / (foreseen @ foreseen)
    assert slope == pytest.approx(1.0, abs=0.05)
    features = np.concatenate([p.features for p in paths])
    assert features.std() == pytest.approx(1.0, abs=0.05)


def test_the_filter_is_calibrated_and_sees_no_later_bar() -> None:
    config = AnalyticConfig(law=RegimeLaw(), horizon_bars=5_000)
    paths = [draw(config, seed) for seed in range(40)]
    returns = np.concatenate([p.returns for p in paths])
    foreseen = np.concatenate([p.foreseen for p in paths])
    calm = np.concatenate([p.features for p in paths])
    # Volatility by what the filter said before the bar: a calibrated mixture.
    law = law_of(config)[0]
    for low, high in ((0.0, 0.2), (0.4, 0.6), (0.8, 1.0)):
        inside = (calm >= low) & (calm <= high)
        ahead = calm[inside] * law["stay"][0] + (1 - calm[inside]) * (1 - law["stay"][1])
        told = ahead * law["spread"][0] ** 2 + (1 - ahead) * law["spread"][1] ** 2
        assert np.var(returns[inside]) == pytest.approx(told.mean(), rel=0.05)
    assert abs((returns - foreseen).mean()) < 4.0 * returns.std() / len(returns) ** 0.5
    # A shorter episode of the same seed is the beginning of the longer one.
    short = draw(config.model_copy(update={"horizon_bars": 100}), 3)
    for name in Path._fields:
        assert np.array_equal(getattr(short, name), getattr(paths[3], name)[:100])


def test_the_oracle_sees_the_bar_after_and_the_random_walk_the_bar_before() -> None:
    oracle = AnalyticConfig(law=IidLaw(sigma_bp=10))
    path = draw(oracle, 0)
    assert np.allclose(path.features[:-1], path.returns[1:] / 1e-3)
    walk = draw(AnalyticConfig(law=IidLaw(sigma_bp=10, shown="last")), 0)
    assert np.array_equal(walk.returns, path.returns)  # what is shown moves nothing
    assert np.allclose(walk.features[1:], walk.returns[:-1] / 1e-3)
    assert not walk.foreseen.any()


def test_seeds_and_episodes_differ_and_zero_is_a_seed() -> None:
    config = AnalyticConfig()
    first = draw(config, 0)
    assert np.array_equal(first.returns, draw(config, 0).returns)
    assert not np.array_equal(first.returns, draw(config, 1).returns)
    assert not np.array_equal(first.returns, draw(config, 0, episode=1).returns)


def test_liquidations_are_of_both_sides() -> None:
    law = law_of(AnalyticConfig(law=AlmgrenChrissLaw()))[0]
    sides = [draw_start(np.uint64(seed), 0, law) for seed in range(100)]
    assert set(sides) == {-1, 1} and abs(sum(sides)) < 40
    assert draw_start(np.uint64(0), 0, law_of(AnalyticConfig())[0]) == 0


@pytest.mark.parametrize(
    ("choices", "units", "after"),
    [
        ((BUY, BUY, BUY, EQUAL), 0, 6),
        ((BUY, BUY, BUY, 0), 0, 8),
        ((BUY, SELL, HOLD, EQUAL), 0, 0),
        ((BUY, SELL, HOLD, 0), 0, 2),
        ((REDUCE, REDUCE, REDUCE, EQUAL), -60, -57),
        ((INCREASE, HOLD, HOLD, EQUAL), 10, 11),
        ((BUY, BUY, BUY, ASIDE), 10, 10),
        ((BUY, BUY, BUY, EQUAL), 58, 60),
        ((REDUCE, REDUCE, REDUCE, EQUAL), 1, 0),
    ],
)
def test_joint_choices_move_whole_units(choices: tuple[int, ...], units: int, after: int) -> None:
    config = AnalyticConfig()
    joint = np.array(choices, np.float32)
    assert next_units(joint, units, 60, decision_rules(config)[0], 1.0) == after


@pytest.mark.parametrize("limit", [60, 30, 7])
def test_the_lattice_holds_what_its_choices_do(limit: int) -> None:
    config = AnalyticConfig(limit_units=limit)
    lattice, rules = lattice_of(config), decision_rules(config)[0]
    for index, places in enumerate(lattice.successors):
        units = index - limit
        there = places[places != NONE]
        assert index in there and (np.diff(there) > 0).all()
        for slot, place in enumerate(there):
            choices = lattice.choices[index, slot]
            assert next_units(choices, units, limit, rules, 1.0) == place - limit
            if units == 0:
                assert not np.isin(choices[:3], (REDUCE, INCREASE)).any()
    assert lattice.successors.max() == 2 * limit


def test_toward_takes_the_nearest_reachable() -> None:
    lattice = lattice_of(AnalyticConfig())
    size = 2 * lattice.limit + 1
    assert np.array_equal(lattice.toward(lattice.positions), np.arange(size))
    far = lattice.toward(np.ones((2, size)))
    assert far.shape == (2, size)
    assert far[0, lattice.flat] - lattice.flat == 8 and far[1, -1] == size - 1


def test_a_bar_pays_as_almgren_and_chriss_do() -> None:
    """One bar of the paper's base case, in dollars, both sides alike."""
    law = AlmgrenChrissLaw()
    config = AnalyticConfig(law=law, horizon_bars=5)
    terms, notional = terms_of(config)[0], law.shares * law.price
    sold, held = 0.4 * law.shares, 0.6 * law.shares
    cost = 0.0625 * sold + 2.5e-6 * sold**2 + 2.5e-7 * sold * held
    risk = 1e-6 * 0.95**2 * held**2
    assert notional * charge(1.0, 0.6, terms) == pytest.approx(cost)
    assert notional * risk_charge(exposure(1.0, 0.6, terms), terms) == pytest.approx(risk)
    assert notional * bar_utility(1.0, 0.6, 0.05, terms) == pytest.approx(-cost - risk)
    assert bar_utility(-1.0, -0.6, 0.05, terms) == bar_utility(1.0, 0.6, 0.05, terms)


def test_log_utility_is_that_of_the_account() -> None:
    terms = terms_of(AnalyticConfig(law=RegimeLaw(half_spread_bp=10)))[0]
    growth = 1.0 + 3.0 * (0.5 * (0.2 + 0.3) * -0.04 - 0.1 * 10 / BP)
    assert bar_utility(0.2, 0.3, -0.04, terms) == pytest.approx(np.log(growth))


def test_the_venue_settles_as_accounts_do() -> None:
    """Equity of `market.account` under the venue's fills changes by gain less charge, to the
    cent: an order fills evenly over the bar, at the mean of its opening and closing price."""
    config = AnalyticConfig(law=Ar1Law(half_spread_bp=1.0))
    terms, path = terms_of(config)[0], draw(config, 4)
    limit, mark = config.limit_units, 100_000.0
    rng = np.random.default_rng(0)
    units = np.concatenate([[0], rng.integers(-limit, limit + 1, config.horizon_bars)])
    marks = mark * (1.0 + np.concatenate([[0.0], np.cumsum(path.returns)]))
    worked = np.zeros(config.horizon_bars, WORKED)
    moved = np.diff(units)
    worked["side"], worked["quantity"] = np.where(moved < 0, -1, 1), np.abs(moved)
    fills: NDArray[np.float64] = marks[:-1] + (1.0 - terms["fill_share"]) * np.diff(marks)
    worked["reference_value"] = worked["quantity"] * fills
    shares = units / limit
    charges = [charge(a, b, terms) for a, b in pairwise(shares)]
    worked["slippage"] = np.array(charges) * limit * mark
    equity = np.zeros(config.horizon_bars)
    _settled(limit, mark, worked, marks[1:], equity)
    gains = [
        exposure(a, b, terms) * r - c
        for a, b, r, c in zip(shares[:-1], shares[1:], path.returns, charges, strict=True)
    ]
    assert equity / (limit * mark) - 1.0 == pytest.approx(np.cumsum(gains), abs=1e-12)


def test_configurations_that_pay_for_round_trips_are_refused() -> None:
    with pytest.raises(ValidationError, match="round trips pay"):
        AnalyticConfig(law=AlmgrenChrissLaw(permanent=1e-4), horizon_bars=5)


def test_a_step_that_no_lattice_holds_is_rounded_to_it() -> None:
    config = AnalyticConfig(limit_units=10, decision=DecisionConfig(step=0.13, small_step=0.02))
    lattice = lattice_of(config)
    reached = lattice.successors[lattice.successors != NONE]
    assert reached.min() == 0 and reached.max() == 20
