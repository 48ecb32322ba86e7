"""Every fit of the calibration against a market whose parameters are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import DataError
from configs.execution import ExecutionConfig
from configs.market import RegimeConfig
from market.bars import Bars, BarsReport
from market.calibrate.arrivals import (
    ArrivalLaw,
    count_dispersion,
    dispersion_curve,
    fit_arrivals,
)
from market.calibrate.bars import calibrate_bars, figures_of, tick_of
from market.calibrate.messages import calibrate_messages
from market.calibrate.orders import (
    SIGN_LAGS,
    fit_lives,
    fit_placement,
    fit_signs,
    fit_sizes,
    sign_memory,
)
from market.record import record_market
from market.state import length_table, offset_table, size_table
from tests.market.message_files import Row, messages

MEMORIES = ExecutionConfig().market.flow.arrivals.activity_seconds


def market_with(**arrivals: Any) -> ExecutionConfig:
    """The default market in one regime, its arrivals changed."""
    config = ExecutionConfig()
    market = config.market
    one = (RegimeConfig(name="ONE", volatility=0.2),)
    reference = market.reference.model_copy(update={"regimes": one})
    flow = market.flow.model_copy(
        update={"arrivals": market.flow.arrivals.model_copy(update=arrivals)}
    )
    market = market.model_copy(update={"reference": reference, "flow": flow})
    return config.model_copy(update={"market": market})


def test_counts_of_a_regular_and_of_a_poisson_stream() -> None:
    regular = np.arange(0.05, 1000.0, 0.1)
    assert count_dispersion(regular, 1000.0, 1.0) == pytest.approx(0.0, abs=1e-9)
    times = np.sort(np.random.default_rng(0).uniform(0.0, 4000.0, 40_000))
    assert count_dispersion(times, 4000.0, 1.0) == pytest.approx(1.0, abs=0.05)
    assert np.isnan(count_dispersion(times, 4000.0, 3000.0))


def test_the_closed_form_of_the_dispersion_is_the_simulators() -> None:
    """Hawkes alone, and the activity alone, whose variance is known by hand."""
    config = market_with(activity_dispersion=0.0)
    counts = [record_market(config, 3600.0, seed).message_time for seed in range(8)]
    law = ArrivalLaw(0.85, 0.003, 3.0, 0.0)
    for window in (1.0, 10.0, 60.0):
        known = dispersion_curve(law, 25.0, np.array([window]), MEMORIES)[0]
        seen = np.mean([count_dispersion(times, 3600.0, window) for times in counts])
        assert seen == pytest.approx(known, rel=0.15)
    alone = dispersion_curve(ArrivalLaw(0.0, 0.003, 3.0, 0.7), 25.0, np.array([0.1]), MEMORIES)[0]
    assert alone == pytest.approx(1.0 + 25.0 * 0.1 * np.expm1(0.49), rel=0.01)


def test_branching_is_recovered_and_the_curve_met() -> None:
    for branching in (0.6, 0.9):
        config = market_with(branching=branching, activity_dispersion=0.0)
        recording = record_market(config, 4 * 3600.0, 7)
        fit = fit_arrivals(recording.message_time, recording.seconds)
        # Where the activity is still, its dispersion must not stand in for excitation.
        assert fit.law.dispersion < 0.2
        assert fit.law.branching == pytest.approx(branching, abs=0.12)
        assert fit.misfit < 0.15


def test_dispersion_of_the_activity_is_recovered_from_ten_hours() -> None:
    recording = record_market(market_with(), 10 * 3600.0, 1)
    fit = fit_arrivals(recording.message_time, recording.seconds)
    assert fit.law.dispersion == pytest.approx(0.7, abs=0.25)
    assert fit.law.branching == pytest.approx(0.85, abs=0.1)
    assert fit.misfit < 0.1


def test_too_few_messages_are_refused() -> None:
    with pytest.raises(DataError, match="10 messages: expected at least"):
        fit_arrivals(np.arange(10.0), 10.0)


def test_sizes_are_recovered_from_the_simulators_table() -> None:
    rng = np.random.default_rng(1)
    law = fit_sizes(rng.choice(size_table(150.0, 0.8), 20_000).astype(np.float64))
    assert law.mean == pytest.approx(150.0, rel=0.03)
    assert law.dispersion == pytest.approx(0.8, rel=0.03)


def signs_of(at_work: int, exponent: float, orders: int, seed: int) -> np.ndarray[Any, Any]:
    """Signs of the simulator's metaorders, drawn in Python."""
    rng = np.random.default_rng(seed)
    lengths = length_table(exponent, 500)
    left, sign = rng.choice(lengths, at_work), rng.choice([-1.0, 1.0], at_work)
    out = np.zeros(orders)
    for index, turn in enumerate(rng.integers(at_work, size=orders)):
        out[index] = sign[turn]
        left[turn] -= 1
        if left[turn] <= 0:
            left[turn], sign[turn] = rng.choice(lengths), rng.choice([-1.0, 1.0])
    return out


@pytest.mark.parametrize(("at_work", "exponent"), [(1, 1.7), (3, 1.5)])
def test_metaorders_are_recovered_from_signs(at_work: int, exponent: float) -> None:
    law = fit_signs(signs_of(at_work, exponent, 60_000, 0))
    assert law.at_work == at_work
    assert law.exponent == pytest.approx(exponent, abs=0.15)
    np.testing.assert_allclose(law.measured, sign_memory(at_work, exponent), atol=0.03)
    assert len(law.fitted) == len(SIGN_LAGS)


def test_two_populations_are_recovered_from_ages() -> None:
    rng = np.random.default_rng(2)
    ages = np.concatenate([rng.exponential(1.5, 7000), rng.exponential(18.0, 3000)])
    law = fit_lives(ages)
    assert law.patient_share == pytest.approx(0.3, abs=0.03)
    assert law.fast_seconds == pytest.approx(1.5, rel=0.1)
    assert law.patience == pytest.approx(12.0, rel=0.1)
    assert fit_lives(np.full(200, 3.0)).patience == 1.0


@pytest.mark.parametrize(("exponent", "scale", "limit"), [(1.2, 1.6, 40), (2.0, 10.0, 200)])
def test_placement_is_recovered_from_the_simulators_table(
    exponent: float, scale: float, limit: int
) -> None:
    rng = np.random.default_rng(3)
    law = fit_placement(rng.choice(offset_table(exponent, scale, limit), 20_000).astype(float))
    assert law.exponent == pytest.approx(exponent, rel=0.15)
    assert law.scale == pytest.approx(scale, rel=0.2)


def synthetic_rows(count: int, seed: int = 0) -> list[Row]:
    """Adds and deletes round a market of 9,990 / 10,010 or a little inside, and executions.

    Of every ten turns nine add an order that is deleted later, one trades.
    """
    rng = np.random.default_rng(seed)
    rows: list[Row] = [(1.0, 1, 1, 10**6, 9990, 1), (1.0, 1, 2, 10**6, 10010, -1)]
    clock = 1.0
    for number in range(count):
        clock += float(rng.exponential(0.2))
        side = 1 if rng.random() < 0.5 else -1
        if number % 10 == 0:
            rows.append(
                (
                    clock,
                    4,
                    1 if side > 0 else 2,
                    int(rng.integers(80, 121)),
                    10000 - 10 * side,
                    side,
                )
            )
            continue
        size, price = int(rng.lognormal(4.0, 0.5)) + 1, 10000 - side * (8 + int(rng.integers(12)))
        life = float(rng.exponential(2.0 if rng.random() < 0.75 else 20.0))
        rows.append((clock, 1, 10 + number, size, price, side))
        rows.append((clock + life, 3, 10 + number, size, price, side))
    return sorted(rows, key=lambda row: row[0])


def test_messages_give_rates_shares_sizes_and_price(tmp_path: Path) -> None:
    rows = synthetic_rows(6000)
    found = calibrate_messages(messages(tmp_path, rows))
    seconds = rows[-1][0] - rows[0][0]
    rate = found.value("market.flow.arrivals.messages_per_second")
    assert rate == pytest.approx(len(rows) / seconds, rel=0.01)
    assert found.value("market.flow.market_share") == pytest.approx(600 / 11_402, abs=0.002)
    assert found.value("market.flow.limit_share") == pytest.approx(5402 / 11_402, abs=0.002)
    shares = [found.value(f"market.flow.{kind}_share") for kind in ("limit", "market", "cancel")]
    assert sum(shares) == pytest.approx(1.0, abs=1e-9)
    assert found.value("market.flow.mean_size") == pytest.approx(100.0, rel=0.02)
    assert found.value("market.flow.patient_share") == pytest.approx(0.25, abs=0.04)
    assert found.value("market.flow.patience") == pytest.approx(10.0, rel=0.2)
    assert found.value("market.reference.price") == pytest.approx(100.0, rel=1e-3)
    kept = {finding.key for finding in found.findings if finding.value is None}
    assert "market.flow.impact" in kept and "market.flow.mean_size" not in kept


def bars_of(closes: np.ndarray[Any, Any], volume: np.ndarray[Any, Any], minutes: int) -> Bars:
    """Bars without gaps round these closes."""
    report = BarsReport(len(closes), len(closes), {}, 0, 0, 0, None)
    start = np.arange(len(closes), dtype=np.int64) * minutes * 60 * 1_000_000_000
    opens = np.append(closes[:1], closes[:-1])
    high, low = np.maximum(opens, closes), np.minimum(opens, closes)
    return Bars(start, opens, high, low, closes, volume, "made", "0", report)


def test_bars_give_volatility_by_regime_tick_and_activity() -> None:
    rng = np.random.default_rng(4)
    days, a_day = 400, 48
    levels = np.array([0.002, 0.004, 0.006, 0.010])  # of one bar's log return
    regime = np.repeat(rng.integers(4, size=days // 5), 5)
    sigma = np.repeat(levels[regime], a_day)
    moves = sigma * rng.standard_normal(days * a_day)
    closes = np.round(1000.0 * np.exp(np.cumsum(moves - 0.5 * sigma**2)) / 0.25) * 0.25
    volume = np.exp(0.4 * rng.standard_normal(len(closes))) * 100.0 * np.repeat(regime + 1.0, a_day)
    bars = bars_of(closes, volume, 30)
    assert tick_of(bars) == 0.25
    seen = figures_of(bars, 30, 4)
    counts = np.bincount(regime, minlength=4) / len(regime)
    assert counts == pytest.approx(0.25, abs=0.1)  # the quantile split assumes as much
    np.testing.assert_allclose(seen.volatility, levels * np.sqrt(365.25 * a_day), rtol=0.25)
    assert (np.diff(seen.activity) > 0).all()
    assert 2.0 < seen.regime_days < 10.0
    assert seen.volume_dispersion == pytest.approx(0.4, rel=0.1)
    found = calibrate_bars(bars, 30)
    regimes = found.value("market.reference.regimes")
    default = ExecutionConfig().market.reference
    assert [r["name"] for r in regimes] == [r.name for r in default.regimes]  # type: ignore[union-attr]
    kept = {finding.key for finding in found.findings if finding.value is None}
    assert "market.flow.arrivals.messages_per_second" in kept


def test_bars_that_tell_nothing_are_refused() -> None:
    flat = bars_of(np.full(2000, 100.0), np.ones(2000), 30)
    with pytest.raises(DataError, match="share no step"):
        tick_of(flat)
    short = bars_of(100.0 + np.arange(96) % 5, np.ones(96), 30)
    with pytest.raises(DataError, match="full days: expected at least"):
        figures_of(short, 30, 4)
    still = bars_of(100.0 + np.arange(4000) % 5, np.zeros(4000), 30)
    with pytest.raises(DataError, match="no bar has volume"):
        figures_of(still, 30, 4)
