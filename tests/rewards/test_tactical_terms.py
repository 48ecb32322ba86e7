"""Tactical reward terms: sign, unit and one value by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.loading import load_config
from configs.rewards import TacticalRewardConfig
from rewards.tactical import (
    TERMS,
    benchmark_term,
    chance_term,
    entry_term,
    equity_term,
    limit_term,
    weights_of,
)


def test_equity_is_paid_in_bp_of_the_start() -> None:
    # 250 of 1,000,000.
    assert equity_term(1.1e6, 1.1e6 + 250.0, 1e6) == pytest.approx(2.5)
    assert equity_term(1.1e6, 1.1e6 - 250.0, 1e6) == pytest.approx(-2.5)


def test_a_better_price_than_the_average_is_paid() -> None:
    # 200 units at .05 better: 10 of 100,000 is 1 bp.
    assert entry_term(200.0, 99.95, 100.0, 1e5) == pytest.approx(1.0)
    assert entry_term(-200.0, 100.05, 100.0, 1e5) == pytest.approx(1.0)
    assert entry_term(200.0, 100.05, 100.0, 1e5) == pytest.approx(-1.0)
    assert entry_term(-200.0, 99.95, 100.0, 1e5) == pytest.approx(-1.0)


def test_no_fill_and_no_average_pay_nothing() -> None:
    assert entry_term(0.0, math.nan, 100.0, 1e5) == 0.0
    assert entry_term(200.0, 99.0, math.nan, 1e5) == 0.0


@given(st.floats(1.0, 1e4), st.floats(-2.0, 2.0))
def test_a_round_trip_at_one_price_earns_no_quality(quantity: float, off: float) -> None:
    """What was bought well was sold badly: churning in a bar is worth nothing."""
    price, vwap = 100.0 + off, 100.0
    both = entry_term(quantity, price, vwap, 1e6) + entry_term(-quantity, price, vwap, 1e6)
    assert both == pytest.approx(0.0, abs=1e-12)


def test_only_what_goes_over_the_limit_costs() -> None:
    assert limit_term(0.0, 10.0) == limit_term(1.0, 10.0) == 0.0
    # 1.25 times the limit, at 10 bp for twice the limit.
    assert limit_term(1.25, 10.0) == pytest.approx(-2.5)
    assert limit_term(2.0, 10.0) == pytest.approx(-10.0)


def test_what_the_target_gained_is_taken_off() -> None:
    # 100 of 1,000,000 lost, 1 bp.
    assert benchmark_term(-100.0, 1e6) == pytest.approx(1.0)
    assert benchmark_term(100.0, 1e6) == pytest.approx(-1.0)
    # Who held it without costs comes to nothing.
    both = equity_term(1e6, 1e6 - 100.0, 1e6) + benchmark_term(-100.0, 1e6)
    assert both == pytest.approx(0.0)


def test_what_chance_paid_is_taken_off() -> None:
    # 100 units of a move of 5 where 3 were to be expected: 200 of 1,000,000.
    assert chance_term(100.0, 5.0, 3.0, 1e6) == pytest.approx(-2.0)
    assert chance_term(-100.0, 5.0, 3.0, 1e6) == pytest.approx(2.0)
    # What is left of having held them is what was to be expected.
    both = equity_term(1e6, 1e6 + 500.0, 1e6) + chance_term(100.0, 5.0, 3.0, 1e6)
    assert both == pytest.approx(3.0)


def test_weights_are_in_the_order_of_the_terms() -> None:
    config = load_config(
        TacticalRewardConfig,
        {"equity": 2.0, "entry": 0.5, "limit": 3.0, "benchmark": 0.25, "chance": 0.75},
    )
    assert dict(zip(TERMS, weights_of(config), strict=True)) == {
        "equity": 2.0,
        "entry": 0.5,
        "limit": 3.0,
        "benchmark": 0.5,  # a share of the equity's
        "chance": 0.75,
    }


@pytest.mark.parametrize(
    ("given_values", "message"),
    [
        ({"equity": 0.0, "entry": 0.0, "limit": 0.0}, "equity, entry and limit are all 0"),
        ({"entry": -0.5}, "entry"),
        ({"benchmark": 1.5}, "benchmark"),
        ({"chance": 1.5}, "chance"),
        ({"vwap": 1.0}, "unknown|known"),
    ],
)
def test_bad_settings_are_refused(given_values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(TacticalRewardConfig, given_values)
