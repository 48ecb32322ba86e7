"""Impact exponents of orders made to order, and the table's verdicts and ranges."""

from __future__ import annotations

import numpy as np
import pytest

from configs.errors import ConfigError, DataError
from configs.facts import FactsConfig, Target, TargetsConfig
from configs.loading import load_config
from market.facts import Fact, ImpactSample, curves, facts, impact_facts, power_law_exponent
from market.facts.table import IMPACT_FACT, MEASURES
from tests.market.recordings import quoted


def test_an_exact_power_law() -> None:
    volume = np.geomspace(1e-3, 0.1, 9)
    for exponent in (-0.7, 0.25, 0.5, 1.0):
        found = power_law_exponent(volume, 3.0 * volume**exponent)
        assert found.value == pytest.approx(exponent, abs=1e-3)
        assert found.low == pytest.approx(exponent, abs=1e-3)


def test_noisy_orders_are_fitted_without_bias() -> None:
    """Noise as large as the largest impact: a quarter of the impacts are below zero."""
    rng = np.random.default_rng(15)
    volume = np.repeat(np.geomspace(1e-3, 0.1, 8), 5_000)
    impact = 2.0 * np.sqrt(volume) + rng.normal(0.0, 0.5, volume.size)
    found = power_law_exponent(volume, impact, config=FactsConfig(bootstrap_samples=200))
    assert (impact < 0.0).mean() > 0.2
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.15
    (fact,) = impact_facts({"fixed_horizon": ImpactSample(volume, impact)})
    assert fact.name == "impact_exponent_fixed_horizon" and fact.met is True
    curve = curves.impact(ImpactSample(volume, impact))
    assert curve.x == pytest.approx(np.geomspace(1e-3, 0.1, 8))
    assert ((curve.low < 2 * np.sqrt(curve.x)) & (2 * np.sqrt(curve.x) < curve.high)).sum() >= 6


def test_weights_say_whom_to_believe() -> None:
    volume = np.geomspace(1e-3, 0.1, 12)
    impact = np.sqrt(volume)
    impact[-1] = 1.0
    weights = np.ones(12)
    assert power_law_exponent(volume, impact, weights).value > 1.0
    weights[-1] = 0.0
    assert power_law_exponent(volume, impact, weights).value == pytest.approx(0.5, abs=1e-3)


def test_clusters_that_share_their_noise_widen_the_interval() -> None:
    rng = np.random.default_rng(16)
    labels = np.repeat(np.arange(60), 40)
    volume = np.tile(np.geomspace(1e-3, 0.1, 40), 60)
    impact = volume ** (0.5 + rng.normal(0.0, 0.05, 60)[labels])
    alone = power_law_exponent(volume, impact)
    together = power_law_exponent(volume, impact, clusters=labels)
    assert together.value == alone.value
    # The mean of the clusters' exponents is what an interval can know.
    width = together.high - together.low
    assert width == pytest.approx(2 * 1.96 * 0.05 / np.sqrt(60), rel=0.25)
    assert width > 1.5 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("volume", "impact", "message"),
    [
        ([1.0, 2.0], [1.0], "expected one-dimensional arrays of equal length"),
        ([1.0, np.nan], [1.0, 1.0], r"volume\[1\] is nan"),
        ([1.0, 2.0], [1.0, np.inf], r"impact\[1\] is inf"),
        ([0.0, 2.0], [1.0, 1.0], "expected volumes above zero"),
        ([2.0, 2.0], [1.0, 1.0], "two distinct volumes"),
        ([1.0, 2.0], [-1.0, -2.0], "no power law"),
    ],
)
def test_impact_that_cannot_be_fitted(volume: list, impact: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        power_law_exponent(volume, impact)
    pairs = ImpactSample(np.array(volume), np.array(impact))
    (fact,) = impact_facts({"x": pairs})
    assert fact.value is None and fact.reason and fact.met is False


# The table and its ranges


def test_every_fact_has_a_range_and_every_range_a_fact() -> None:
    named = [measure.name for measure in MEASURES] + [IMPACT_FACT]
    assert sorted(named) == sorted(TargetsConfig.model_fields)
    assert all(field.description for field in TargetsConfig.model_fields.values())
    assert all(measure.meaning and measure.unit and measure.source for measure in MEASURES)


def fact(value: float, low: float, high: float, target: Target) -> Fact:
    return Fact("name", "meaning", "1", "source", target, "", value, low, high)


@pytest.mark.parametrize(
    ("value", "low", "high", "met", "settled"),
    [
        (0.5, 0.45, 0.55, True, True),
        (0.5, 0.30, 0.70, True, False),
        (0.7, 0.65, 0.75, False, True),
        (0.7, 0.55, 0.75, False, False),
        (0.4, 0.40, 0.60, True, True),
    ],
)
def test_verdicts(value: float, low: float, high: float, met: bool, settled: bool) -> None:
    judged = fact(value, low, high, Target(low=0.4, high=0.6))
    assert (judged.met, judged.settled) == (met, settled)
    told = fact(value, low, high, Target())
    assert (told.met, told.settled) == (None, None)


def test_a_range_is_set_like_any_setting() -> None:
    config = load_config(FactsConfig, overrides=["targets.spread_mean.low=1"])
    assert config.targets.spread_mean == Target(low=1.0)
    assert next(f for f in facts(quoted(np.full(61, 100.0)), config) if f.name == "spread_mean").met
    with pytest.raises(ConfigError, match="spread_mean"):
        load_config(FactsConfig, overrides=["targets.spread_men.low=1"])
    with pytest.raises(ConfigError, match="above high"):
        load_config(FactsConfig, {"targets": {"spread_mean": {"low": 3, "high": 1}}})
