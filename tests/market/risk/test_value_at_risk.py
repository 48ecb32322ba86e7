"""Value at risk and expected shortfall: closed forms, known values, brute force; backtests."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from configs.errors import DataError
from configs.risk import VarConfig
from market.risk.backtests import christoffersen, exceptions, kupiec
from market.risk.covariance import LEAST_HISTORY, Covariance
from market.risk.value_at_risk import (
    covariance_of,
    historical_shortfall,
    historical_var,
    parametric_shortfall,
    parametric_var,
)


def test_one_asset_by_hand() -> None:
    """1% a day, all of equity: 1.645% at 95%, 2.326% at 99%, times sqrt(10) over ten days."""
    assert parametric_var([1.0], [[1e-4]], 0.95) == pytest.approx(0.01644854, rel=1e-6)
    assert parametric_var([-1.0], [[1e-4]], 0.99) == pytest.approx(0.02326348, rel=1e-6)
    ten = parametric_var([1.0], [[1e-4]], 0.99, 10.0)
    assert ten == pytest.approx(0.02326348 * math.sqrt(10.0), rel=1e-6)
    assert parametric_shortfall([1.0], [[1e-4]], 0.95) == pytest.approx(0.02062713, rel=1e-6)


def test_two_assets_by_hand() -> None:
    """w' D R D w = .6^2 .02^2 + .4^2 .03^2 + 2 .6 .4 .5 .02 .03, and with the second short."""
    spread, correlation = [0.02, 0.03], [[1.0, 0.5], [0.5, 1.0]]
    c = covariance_of(spread, correlation)
    for sign in (1.0, -1.0):
        variance = 0.36 * 4e-4 + 0.16 * 9e-4 + sign * 2 * 0.6 * 0.4 * 0.5 * 6e-4
        wanted = NormalDist().inv_cdf(0.99) * math.sqrt(variance)
        assert parametric_var([0.6, sign * 0.4], c, 0.99) == pytest.approx(wanted, rel=1e-12)


def test_historical_is_the_order_statistic() -> None:
    """Of losses 1 .. 100 the 95% quantile is 95, and the mean of the worst five 98."""
    returns = -np.random.default_rng(0).permutation(np.arange(1.0, 101.0))[:, None] / 1e4
    assert historical_var([1.0], returns, 0.95) == pytest.approx(95e-4)
    assert historical_shortfall([1.0], returns, 0.95) == pytest.approx(98e-4)
    assert historical_var([1.0], returns, 0.99, 4.0) == pytest.approx(2 * 99e-4)
    assert historical_shortfall([1.0], returns, 0.99) == pytest.approx(100e-4)
    # All gains are no loss; of a short they are.
    assert historical_var([-1.0], returns, 0.95) == 0.0
    # 97.5% of 100 is no whole number: the 98th, and the tail of 2.5 is 99, 100 and half of 98.
    assert historical_var([1.0], returns, 0.975) == pytest.approx(98e-4)
    wanted = (99 + 100 + 0.5 * 98) / 2.5 * 1e-4
    assert historical_shortfall([1.0], returns, 0.975) == pytest.approx(wanted)


@given(st.integers(0, 2**32 - 1), st.integers(20, 300), st.sampled_from([0.9, 0.95]))
def test_historical_against_its_definitions(seed: int, count: int, level: float) -> None:
    """VaR is the least x with F(x) >= level; ES minimises x + E[(L - x)+] / (1 - level)."""
    rng = np.random.default_rng(seed)
    returns, weights = rng.standard_t(4, (count, 3)) * 0.01, rng.normal(size=3)
    losses = np.sort(-returns @ weights)
    least = next(x for x in losses if np.mean(losses <= x) >= level - 1e-12)
    assert historical_var(weights, returns, level) == pytest.approx(max(least, 0.0))
    rockafellar = min(x + np.maximum(losses - x, 0.0).mean() / (1.0 - level) for x in losses)
    found = historical_shortfall(weights, returns, level)
    assert found == pytest.approx(max(rockafellar, 0.0), abs=1e-12)
    assert found >= historical_var(weights, returns, level) - 1e-15


def test_historical_of_a_normal_sample_is_parametric() -> None:
    c = covariance_of([0.01, 0.02], [[1.0, -0.3], [-0.3, 1.0]])
    returns = np.random.default_rng(1).multivariate_normal([0, 0], c, 400_000)
    for level in (0.95, 0.99):
        for historical, parametric in (
            (historical_var, parametric_var),
            (historical_shortfall, parametric_shortfall),
        ):
            wanted = parametric([0.7, 0.5], c, level)
            assert historical([0.7, 0.5], returns, level) == pytest.approx(wanted, rel=0.01)


BAD = {
    "shapes": (lambda: parametric_var([1.0, 1.0], [[1.0]], 0.95), r"shape \(2,\) and the cov"),
    "nan": (lambda: parametric_var([math.nan], [[1.0]], 0.95), "not finite"),
    "level": (lambda: parametric_var([1.0], [[1.0]], 0.5), "level is 0.5"),
    "horizon": (lambda: parametric_var([1.0], [[1.0]], 0.95, 0.0), "horizon is 0.0"),
    "few": (
        lambda: historical_var([1.0], np.zeros((99, 1)), 0.99),
        "99 past returns",
    ),
    "flat": (lambda: historical_var([1.0], np.zeros(200), 0.99), r"\[n\] and \[T, n\]"),
    "no bool": (lambda: kupiec([0, 1], 0.99), "expected bool"),
    "one day": (lambda: christoffersen(np.array([True]), 0.99), "of 2 days or more"),
    "lengths": (lambda: exceptions([1.0], [1.0, 2.0]), "of one length"),
    "inf": (lambda: exceptions([math.inf], [1.0]), "not finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(DataError, match=message):
        call()


def hits(count: int, days: int) -> np.ndarray:
    return np.arange(days) < count


def test_kupiec_known_values() -> None:
    """Jorion, "Value at Risk": J.P. Morgan in 1998, 20 exceptions of 252 at 95%: 3.91; and the
    non-rejection region of 99% over 255 days, under 7 exceptions."""
    found = kupiec(hits(20, 252), 0.95)
    assert found.statistic == pytest.approx(3.91, abs=0.005)
    assert (found.exceptions, found.days) == (20, 252)
    critical = stats.chi2.ppf(0.95, 1)
    assert kupiec(hits(6, 255), 0.99).statistic < critical < kupiec(hits(7, 255), 0.99).statistic
    assert kupiec(hits(0, 255), 0.99).statistic == pytest.approx(-2 * 255 * math.log(0.99))
    assert kupiec(hits(5, 100), 0.95).statistic == 0.0
    assert kupiec(hits(5, 100), 0.95).p_value == 1.0


def test_christoffersen_known_value() -> None:
    """Of those 20 exceptions 6 followed one, 14 did not: Jorion's 9.53, clustered."""
    flags = chain(218, 14, 14, 6)
    independence, both = christoffersen(flags, 0.95)
    assert independence.statistic == pytest.approx(9.53, abs=0.005)
    assert independence.p_value == pytest.approx(stats.chi2.sf(independence.statistic, 1))
    assert both.p_value == pytest.approx(stats.chi2.sf(both.statistic, 2))
    assert both.statistic == pytest.approx(independence.statistic + kupiec(flags, 0.95).statistic)


def chain(calm: int, into: int, out: int, stay: int) -> np.ndarray:
    """A series of days with these numbers of transitions, 00, 01, 10 and 11; into == out."""
    assert into == out
    days = [False] * (calm + 1)
    days += [True] * (stay + 1) + [False]
    for _ in range(into - 1):
        days += [True, False]
    return np.array(days)


def test_backtests_hold_their_size() -> None:
    """Of true claims 5% are rejected at 5%, of clustered ones nearly all."""
    rng = np.random.default_rng(2)
    true = [rng.random(1000) < 0.05 for _ in range(400)]
    rejected = np.mean([kupiec(flags, 0.95).p_value < 0.05 for flags in true])
    assert rejected == pytest.approx(0.05, abs=0.03)
    rejected = np.mean([christoffersen(flags, 0.95)[0].p_value < 0.05 for flags in true])
    assert rejected == pytest.approx(0.05, abs=0.04)
    clustered = [np.repeat(rng.random(250) < 0.05, 4) for _ in range(20)]
    assert all(christoffersen(flags, 0.95)[1].p_value < 0.01 for flags in clustered)


def returns(bars: int, seed: int = 3) -> np.ndarray:
    c = covariance_of([0.001, 0.002], [[1.0, 0.4], [0.4, 1.0]])
    return np.random.default_rng(seed).multivariate_normal([0, 0], c, bars)


def kept(config: VarConfig, rows: np.ndarray) -> Covariance:
    out = Covariance(config, rows.shape[1])
    for row in rows:
        out.add(row)
    return out


def test_sample_covariance_is_numpys() -> None:
    config = VarConfig.model_validate({"covariance": {"kind": "sample", "bars": 60}})
    rows = returns(150)
    wanted = np.cov(rows[-60:].T) * config.day_bars
    assert kept(config, rows).of_a_day() == pytest.approx(wanted, rel=1e-9)


def test_weighted_covariance_is_its_sum() -> None:
    config = VarConfig.model_validate({"covariance": {"kind": "ewma", "decay": 0.9}})
    rows = returns(200)
    weights = 0.1 * 0.9 ** np.arange(199, -1, -1)
    wanted = (rows * weights[:, None]).T @ rows / weights.sum() * config.day_bars
    assert kept(config, rows).of_a_day() == pytest.approx(wanted, rel=1e-6)


def test_the_prior_the_floor_and_the_larger_of_both_methods() -> None:
    config = VarConfig()
    few = kept(config, returns(config.least_bars - 1)).of_a_day()
    assert few == pytest.approx(np.eye(2) * config.prior_volatility**2 / 252)
    still = kept(config, np.zeros((50, 2))).of_a_day()
    assert np.diag(still) == pytest.approx(config.volatility_floor**2 / 252)
    rows = returns(400)
    rows[::20] *= 8.0  # fat tails: the quantiles say more than the deviation of late bars
    larger = config.model_copy(update={"method": "larger"})
    spread = np.sqrt(np.diag(kept(larger, rows).of_a_day()) / config.day_bars)
    for one in range(2):
        unit = np.eye(2)[one]
        for level in (0.95, 0.99):
            assert spread[one] * NormalDist().inv_cdf(level) >= 0.999999 * max(
                historical_var(unit, rows, level), historical_var(-unit, rows, level)
            )
    assert (spread**2 * config.day_bars > np.diag(kept(config, rows).of_a_day())).all()
    few = kept(larger, rows[: LEAST_HISTORY - 1]).of_a_day()
    assert np.array_equal(few, kept(config, rows[: LEAST_HISTORY - 1]).of_a_day())


def test_it_knows_the_past_alone_and_can_be_resumed() -> None:
    config, rows = VarConfig(), returns(90)
    whole, first = Covariance(config, 2), kept(config, rows[:40])
    again = Covariance(config, 2)
    again.load_state(first.state_dict())
    for row in rows[:40]:
        whole.add(row)
    assert np.array_equal(whole.of_a_day(), first.of_a_day())
    for row in rows[40:]:
        whole.add(row)
        again.add(row)
    assert np.array_equal(whole.of_a_day(), again.of_a_day())


@pytest.mark.parametrize("row", [[math.nan, 0.0], [0.0], [math.inf, 0.0]])
def test_returns_that_are_none_are_not_taken(row: list[float]) -> None:
    made = kept(VarConfig(), returns(30))
    before = made.of_a_day()
    with pytest.raises(DataError, match="returns of bar 30"):
        made.add(row)
    assert np.array_equal(made.of_a_day(), before)
