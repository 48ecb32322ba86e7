"""Measures of returns against empyrical-reloaded, by hand, and their intervals."""

from __future__ import annotations

import math

import empyrical
import numpy as np
import pytest

from configs.errors import DataError
from trainers.evaluation import metrics
from trainers.evaluation.intervals import block_length, intervals, resampled

PERIODS = 252


@pytest.fixture(params=[0, 1, 2])
def returns(request: pytest.FixtureRequest) -> np.ndarray:
    """Days of fat-tailed, skewed returns, some of them without a trade."""
    generator = np.random.default_rng(request.param)
    drawn = generator.standard_t(4, 700) * 0.01 + (request.param - 1) * 0.0005
    drawn[::17] = 0.0
    return np.asarray(drawn)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("total_return", empyrical.cum_returns_final),
        ("annual_return", empyrical.annual_return),
        ("volatility", empyrical.annual_volatility),
        ("max_drawdown", empyrical.max_drawdown),
        ("sharpe", empyrical.sharpe_ratio),
        ("sortino", empyrical.sortino_ratio),
        ("calmar", empyrical.calmar_ratio),
        ("profit_factor", empyrical.omega_ratio),
    ],
)
def test_measures_are_those_of_empyrical(name: str, theirs, returns: np.ndarray) -> None:
    ours = float(metrics.measured(returns, PERIODS)[name])
    assert ours == pytest.approx(float(theirs(returns)), rel=1e-9)


def test_drawdowns_are_those_of_empyrical(returns: np.ndarray) -> None:
    equity = empyrical.cum_returns(returns, starting_value=1.0)
    theirs = equity / np.maximum.accumulate(np.append(1.0, equity))[1:] - 1.0
    np.testing.assert_allclose(metrics.drawdowns(returns), theirs, atol=1e-12)
    rolling = empyrical.roll_sharpe_ratio(returns, 60)
    np.testing.assert_allclose(
        metrics.rolling_sharpe(returns, 60)[59:], rolling[: len(returns) - 59], rtol=1e-9
    )


def test_the_hit_rate_is_the_batting_average_of_days_that_moved(returns: np.ndarray) -> None:
    moved = returns[returns != 0.0]
    theirs = empyrical.batting_average(moved, np.zeros_like(moved))["batting average"]
    assert float(metrics.hit_rate(returns)) == pytest.approx(float(theirs))


def test_by_hand() -> None:
    found = metrics.metrics_of([0.1, -0.05, 0.0, 0.02, -0.01], periods=5)
    assert found.periods == 5
    assert found.hit_rate == pytest.approx(0.5)
    assert found.profit_factor == pytest.approx(0.12 / 0.06)
    assert found.payoff_ratio == pytest.approx(0.06 / 0.03)
    assert found.total_return == pytest.approx(1.1 * 0.95 * 1.02 * 0.99 - 1.0)
    assert found.max_drawdown == pytest.approx(-0.05)
    assert float(metrics.turnover([0.1, -0.3])) == pytest.approx(0.2)
    assert float(metrics.exposure([1.0, -1.0, 0.0])) == pytest.approx(2.0 / 3.0)
    assert float(metrics.total_costs([1.0, 2.5])) == pytest.approx(3.5)


def test_equity_and_returns_are_each_others_inverse(returns: np.ndarray) -> None:
    equity = metrics.equity_of(returns)
    np.testing.assert_allclose(metrics.returns_of(1e6 * equity), returns, atol=1e-12)


def test_what_has_no_value_is_nan_and_none_in_json() -> None:
    idle = metrics.metrics_of(np.zeros(30))
    assert math.isnan(idle.sharpe)
    assert math.isnan(idle.hit_rate)
    assert idle.as_dict()["calmar"] is None
    assert idle.as_dict()["total_return"] == 0.0
    assert math.isnan(metrics.metrics_of(np.full(30, 0.001)).sharpe)  # no spread, no ratio


def test_columns_are_measured_apart(returns: np.ndarray) -> None:
    both = metrics.measured(np.column_stack([returns, -returns]))
    for name, value in both.items():
        assert value.shape == (2,)
        assert value[0] == pytest.approx(float(metrics.measured(returns)[name]), nan_ok=True)


def test_bad_series_are_refused_with_the_place() -> None:
    with pytest.raises(DataError, match=r"at \(3,\) are nan"):
        metrics.metrics_of([0.1, 0.2, 0.1, math.nan])
    with pytest.raises(DataError, match="2 periods or more"):
        metrics.metrics_of([0.1])


def test_blocks_are_longer_where_time_matters() -> None:
    generator = np.random.default_rng(5)
    noise = generator.standard_normal(2_000)
    slow = np.convolve(noise, 0.9 ** np.arange(60), mode="same")
    assert block_length(noise) < 10 < block_length(slow)
    assert block_length(np.zeros(100)) == 1


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 100 series of a known Sharpe ratio, the 90% interval holds it in 80 or more."""
    held, true = 0, 1.0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        series = generator.normal(true / math.sqrt(PERIODS) * 0.01, 0.01, 500)
        found = intervals(series, PERIODS, confidence=0.9, samples=200, seed=seed)["sharpe"]
        assert found.low <= found.value <= found.high
        held += found.low <= true <= found.high
    assert 80 <= held <= 98


def test_the_same_seed_draws_the_same_samples(returns: np.ndarray) -> None:
    np.testing.assert_array_equal(resampled(returns, 5, 3), resampled(returns, 5, 3))
    assert (resampled(returns, 5, 3) != resampled(returns, 5, 4)).any()
