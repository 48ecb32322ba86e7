"""Synthetic bars: of the configured law, the same for the same seed, and real bars in form."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.bars import BarsConfig
from configs.errors import ConfigError
from configs.market import FlowConfig, GeneratorReference, RegimeConfig
from market.bars import Bars, load_bars
from market.synthetic import expected_moves, synthetic_bars, synthetic_series
from market.trade_bars import write_bars

COLUMNS = ("start", "open", "high", "low", "close", "volume")
TICK = 0.01
YEAR_MINUTES = 252 * 6.5 * 60
CALM_AND_WILD = GeneratorReference(
    regimes=(
        RegimeConfig(name="CALM", volatility=0.1, activity=0.5),
        RegimeConfig(name="WILD", volatility=0.4, activity=2.0),
    ),
    mean_regime_minutes=3000.0,
)


def one_regime(volatility: float = 0.3, drift: float = 0.0) -> GeneratorReference:
    return GeneratorReference(
        regimes=(RegimeConfig(name="ONE", volatility=volatility, drift=drift),)
    )


def moves(bars: Bars) -> np.ndarray:
    return np.log(bars.close / bars.open)


def test_bars_are_bars(tmp_path: Path) -> None:
    bars = synthetic_bars(GeneratorReference(), 500, 5.0, TICK, 3)
    assert len(bars) == 500
    assert np.all(bars.low <= np.minimum(bars.open, bars.close))
    assert np.all(bars.high >= np.maximum(bars.open, bars.close))
    assert np.all(bars.volume >= 1.0)
    assert np.all(np.diff(bars.start) == 300_000_000_000)
    assert np.array_equal(bars.open[1:], bars.close[:-1])
    for name in COLUMNS[1:-1]:
        ticks = getattr(bars, name) / TICK
        assert np.allclose(ticks, np.rint(ticks), rtol=0.0, atol=1e-6)
    for name in COLUMNS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(bars, name)[0] = 1
    path = tmp_path / "bars.csv"
    write_bars(bars, path)
    again = load_bars(BarsConfig(path=path, bar_minutes=5, tick=TICK))
    assert all(np.array_equal(getattr(again, name), getattr(bars, name)) for name in COLUMNS)


def test_a_longer_series_begins_with_the_shorter_one() -> None:
    long = synthetic_series(GeneratorReference(), 300, 30.0, TICK, 11)
    short = synthetic_series(GeneratorReference(), 77, 30.0, TICK, 11)
    for name in COLUMNS:
        assert np.array_equal(getattr(short.bars, name), getattr(long.bars, name)[:77])
    assert np.array_equal(short.regime, long.regime[:77])
    assert short.bars.fingerprint != long.bars.fingerprint


def test_seeds_differ_and_0_is_one() -> None:
    made = [synthetic_bars(GeneratorReference(), 400, 30.0, TICK, seed) for seed in (0, 1, 0)]
    assert made[0].fingerprint == made[2].fingerprint != made[1].fingerprint
    assert abs(np.corrcoef(moves(made[0]), moves(made[1]))[0, 1]) < 0.15


@pytest.mark.parametrize("minutes", [1.0, 30.0])
def test_volatility_is_what_was_asked_in_moves_and_in_ranges(minutes: float) -> None:
    """Parkinson's variance of the range meets that of the moves: extremes are not cut off."""
    bars = synthetic_bars(one_regime(), 20_000, minutes, 1e-4, 5)
    expected = 0.3**2 * minutes / YEAR_MINUTES
    assert np.mean(moves(bars) ** 2) == pytest.approx(expected, rel=0.06)
    ranges = np.log(bars.high / bars.low)
    assert np.mean(ranges**2) / (4.0 * np.log(2.0)) == pytest.approx(expected, rel=0.06)


def test_drift_is_what_was_asked() -> None:
    bars = synthetic_bars(one_regime(0.01, 0.5), 10_000, 30.0, 1e-4, 2)
    years = 10_000 * 30.0 / YEAR_MINUTES
    assert np.log(bars.close[-1] / bars.open[0]) / years == pytest.approx(0.5, abs=0.02)


def test_a_pulled_price_wanders_as_far_as_its_law_says() -> None:
    """Ornstein-Uhlenbeck: of variance sigma^2 years / 2; without a pull the way is what it was."""
    years, sigma = 0.5, 0.2
    told = GeneratorReference(
        regimes=(RegimeConfig(name="ONE", volatility=sigma),), pull_years=years
    )
    bars = synthetic_bars(told, 100_000, 30.0, 0.01, 3)
    logs = np.log(bars.close / told.price)
    # A path of some sixty times the years in which it forgets.
    assert logs.std() == pytest.approx(sigma * math.sqrt(years / 2.0), rel=0.15)
    free = synthetic_bars(told.model_copy(update={"pull_years": None}), 100_000, 30.0, 0.01, 3)
    assert np.log(free.close).std() > 2.0 * logs.std()


@pytest.mark.parametrize("regime_minutes", [20.0, 2000.0])
def test_beside_what_is_expected_of_its_regime_a_close_moves_by_chance_alone(
    regime_minutes: float,
) -> None:
    """Of mean 0 after every regime, on either side of the first price, however long they last."""
    told = GeneratorReference(
        regimes=(
            RegimeConfig(name="UP", volatility=0.02, drift=2.0),
            RegimeConfig(name="DOWN", volatility=0.03, drift=-2.5),
            RegimeConfig(name="FLAT", volatility=0.01),
        ),
        mean_regime_minutes=regime_minutes,
        pull_years=0.002,
    )
    made = synthetic_series(told, 60_000, 30.0, 1e-4, 5)
    close = made.bars.close
    expected = expected_moves(made, told, 30.0)
    assert expected[0] == 0.0
    moved = np.diff(close) / close[:-1]
    left = moved - expected[1:] / close[:-1]
    high, before = close[:-1] > told.price, made.regime[:-1]
    for regime in range(3):
        for side in (high, ~high):
            rows = (before == regime) & side
            error = left[rows].std() / math.sqrt(rows.sum())
            assert rows.sum() > 300
            assert abs(left[rows].mean()) < 4.0 * error
    # And it is something: the longer a regime lasts, the more of a move was to be expected.
    explained = 1.0 - left.var() / moved.var()
    assert explained > (0.2 if regime_minutes > 1000.0 else 0.01)


def test_regimes_have_their_volatility_and_their_volume() -> None:
    made = synthetic_series(CALM_AND_WILD, 20_000, 30.0, 1e-4, 7)
    # Bars that lie whole inside one regime, but for those that switch twice.
    same = np.append(False, made.regime[1:] == made.regime[:-1])
    usual = FlowConfig().arrivals.messages_per_second * FlowConfig().market_share
    usual *= FlowConfig().mean_size * 1800.0
    for index, regime in enumerate(CALM_AND_WILD.regimes):
        rows = same & (made.regime == index)
        assert rows.mean() > 0.3
        variance = np.mean(moves(made.bars)[rows] ** 2)
        assert variance == pytest.approx(regime.volatility**2 * 30.0 / YEAR_MINUTES, rel=0.1)
        assert made.bars.volume[rows].mean() == pytest.approx(usual * regime.activity, rel=0.05)
    switches = np.mean(np.diff(made.regime) != 0)
    assert switches == pytest.approx(30.0 / 3000.0, rel=0.2)


def test_volume_follows_the_range_within_a_regime() -> None:
    bars = synthetic_bars(one_regime(), 5_000, 5.0, 1e-4, 1)
    ranges = np.log(np.log(bars.high / bars.low))
    assert np.corrcoef(np.log(bars.volume), ranges)[0, 1] > 0.5
    still = FlowConfig.model_validate({"arrivals": {"activity_dispersion": 0.0}})
    even = synthetic_bars(one_regime(), 5_000, 5.0, 1e-4, 1, still)
    ranges = np.log(np.log(even.high / even.low))
    assert abs(np.corrcoef(np.log(even.volume), ranges)[0, 1]) < 0.06


def test_moves_say_nothing_of_the_next_one() -> None:
    change = moves(synthetic_bars(one_regime(), 20_000, 1.0, 1e-4, 9))
    assert abs(np.corrcoef(change[1:], change[:-1])[0, 1]) < 0.025
    # Log activity of covariance c over a minute, variance v, gives sizes a correlation of
    # (2 / pi) (exp(c / 4) - 1) / (exp(v / 4) - 2 / pi).
    arrivals = FlowConfig().arrivals
    v = arrivals.activity_dispersion**2
    c = v * np.mean(np.exp(-60.0 / np.array(arrivals.activity_seconds)))
    expected = 2.0 / np.pi * np.expm1(c / 4.0) / (np.exp(v / 4.0) - 2.0 / np.pi)
    size = np.abs(change)
    assert np.corrcoef(size[1:], size[:-1])[0, 1] == pytest.approx(expected, abs=0.03)
    assert expected > 0.06


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 0}, r"count=0: expected one bar or more"),
        ({"bar_minutes": 0.0}, r"bar_minutes=0: expected a finite number above zero"),
        ({"bar_minutes": float("nan")}, r"bar_minutes=nan"),
        ({"tick": -0.5}, r"tick=-0\.5: expected"),
        ({"seed": -1}, r"seed=-1: expected 0 to"),
        ({"tick": 1000.0}, r"price=100 with tick=1000: .* expected one tick or more"),
        ({"bar_minutes": 1e9}, r"end after 2262"),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    arguments = {"count": 10, "bar_minutes": 30.0, "tick": TICK, "seed": 0, **changes}
    with pytest.raises(ConfigError, match=message):
        synthetic_bars(GeneratorReference(), **arguments)
