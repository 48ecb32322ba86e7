"""From a collapsed decision to an order: the definition's numbers, and every way to none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from configs.orders import OrdersConfig
from market.orders import layout
from market.orders.choice import (
    ACTIONS,
    BY_URGENCY,
    OUTCOME_NAMES,
    PLAN,
    SITUATION,
    order_rules,
    plan_one,
)
from market.orders.layout import KIND_NAMES, LIVES, ORDER
from market.state import SMART
from signals.superposition import BUY, DIRECTIONS, HOLD, SELL

RULES = order_rules(OrdersConfig())
BASE: dict[str, Any] = {
    "time": 5.0, "action": BUY, "confidence": 0.8, "mu": 1e-4, "sigma": 0.01,
    "annual_volatility": 0.15, "bid": 99.99, "ask": 100.01, "price": 100.0, "unit_value": 1.0,
    "equity": 1e6, "volume": 1e9, "kind": BY_URGENCY, "life": -1,
}  # fmt: skip


def planned(**fields: Any) -> tuple[str, Any, Any]:
    """(outcome, PLAN record, ORDER record) of the base situation with other fields."""
    situation, plan, order = np.zeros(1, SITUATION), np.zeros(1, PLAN), np.zeros(1, ORDER)
    for name, value in (BASE | fields).items():
        situation[name] = value
    outcome = plan_one(situation, RULES, plan, order)
    assert outcome == plan["outcome"][0]
    return OUTCOME_NAMES[outcome], plan[0], order[0]


def test_the_directions_are_those_of_a_superposition() -> None:
    assert len(DIRECTIONS) == ACTIONS
    assert planned(action=HOLD)[0] == "HOLD"
    assert planned(action=BUY)[2]["side"] == 1
    assert planned(action=SELL, mu=-1e-4)[2]["side"] == -1


VOLATILITIES = [(0.31, 1.5), (0.30, 1.2), (0.21, 1.2), (0.20, 1.0), (0.08, 1.0), (0.079, 0.8)]
SPREADS = [(20.1, 0.7), (19.9, 0.9), (10.1, 0.9), (9.9, 1.0), (0.0, 1.0)]
ENTANGLEMENTS = [(0.71, 1.3), (0.70, 1.1), (0.51, 1.1), (0.50, 1.0), (0.0, 1.0)]


@pytest.mark.parametrize("volatility", VOLATILITIES)
@pytest.mark.parametrize("spread", SPREADS)
def test_urgency_is_the_definitions(
    volatility: tuple[float, float], spread: tuple[float, float]
) -> None:
    half = 100.0 * spread[0] / 2e4
    for entanglement, factor in ENTANGLEMENTS:
        for confidence in (0.5, 0.65, 1.0):
            sure = (3 * confidence - 1) / 2
            wanted = (0.2 + 0.7 * sure) * volatility[1] * spread[1] * factor
            outcome, plan, order = planned(
                confidence=confidence, annual_volatility=volatility[0], bid=100.0 - half,
                ask=100.0 + half, entanglement=entanglement,
            )  # fmt: skip
            assert outcome == "ORDERED"
            assert plan["urgency"] == pytest.approx(wanted, rel=1e-12)
            kinds = ((0.8, "MARKET"), (0.6, "LIMIT"), (0.4, "TWAP"), (-1.0, "VWAP"))
            kind = next(name for above, name in kinds if plan["urgency"] > above)
            assert KIND_NAMES[order["kind"]] == kind


def test_no_order_when_hardly_surer_than_chance() -> None:
    """c' < .125 is a confidence below .41667."""
    assert planned(confidence=0.41)[0] == "UNSURE"
    assert planned(confidence=0.42)[0] == "ORDERED"
    assert planned(confidence=1 / 3)[0] == "UNSURE"


def test_sizes_come_from_kelly() -> None:
    """mu / (2 sigma^2) of equity without impact, cut to whole units, within cap and room."""
    _, plan, order = planned(mu=2e-5, volume=1e18)
    assert plan["target"] == pytest.approx(0.1, rel=1e-4)
    assert order["quantity"] == math.floor(plan["change"] * 1e6 / 100.0)
    _, plan, order = planned(mu=1.0, volume=1e18, unit_value=20.0)
    assert plan["target"] == pytest.approx(0.2) and order["quantity"] == 100
    _, plan, order = planned(mu=1.0, volume=5_000.0)
    assert order["quantity"] == pytest.approx(500, abs=1)  # a tenth of the volume
    _, plan, order = planned(mu=2e-5, held=600, volume=1e18)
    assert plan["change"] == pytest.approx(0.04, rel=1e-3)


def test_changes_too_small_or_the_other_way_are_no_orders() -> None:
    assert planned(mu=1.9e-7, volume=1e18)[0] == "TOO_SMALL"  # f = .00095
    assert planned(mu=2.2e-7, volume=1e18)[0] == "ORDERED"
    assert planned(mu=1e-4, price=3e5, bid=0, ask=0, unit_value=1.0)[0] == "TOO_SMALL"  # no unit
    assert planned(mu=-1e-4)[0] == "OTHER_WAY"
    assert planned(mu=2e-5, held=2_000)[0] == "OTHER_WAY"  # more is held than is best
    assert planned(action=SELL, mu=2e-5, held=2_000)[0] == "ORDERED"


LIVED = {
    "MARKET": "IOC", "LIMIT": "DAY", "TWAP": "DAY", "VWAP": "DAY", "IS": "DAY", "STOP": "GTC",
    "STOP_LIMIT": "GTC", "ICEBERG": "DAY",
}  # fmt: skip


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_every_kind_on_request(kind: str) -> None:
    for action, mu, quote in ((BUY, 1e-4, 99.99), (SELL, -1e-4, 100.01)):
        outcome, _, order = planned(
            action=action, mu=mu, kind=KIND_NAMES.index(kind), stop_price=101.5
        )
        assert outcome == "ORDERED" and order["venue"] == SMART and order["time"] == 5.0
        assert KIND_NAMES[order["kind"]] == kind and LIVES[order["life"]] == LIVED[kind]
        told = layout.KINDS[order["kind"]]
        stop = 101.5 if told.needs_stop else 0.0
        assert order["stop_price"] == stop
        assert order["price"] == (0.0 if not told.needs_price else stop or quote)
        tip = math.ceil(order["quantity"] * 0.1) if kind == "ICEBERG" else 0
        assert order["displayed"] == tip


@pytest.mark.parametrize("life", LIVES)
def test_every_life_on_request(life: str) -> None:
    _, _, order = planned(life=LIVES.index(life), expires=99.0)
    assert LIVES[order["life"]] == life
    assert order["expires"] == (99.0 if life == "GTD" else 0.0)


def test_a_limit_order_needs_a_quote() -> None:
    kind = layout.LIMIT
    assert planned(kind=kind, bid=0.0)[0] == "NO_PRICE"
    assert planned(kind=kind, ask=0.0)[0] == "ORDERED"


NAN, INF = math.nan, math.inf
BAD = [
    *({name: value} for name in ("mu", "sigma", "price", "volume") for value in (NAN, INF)),
    {"equity": NAN}, {"equity": INF},
    *({name: 0.0} for name in ("price", "equity", "volume", "unit_value")),
    {"sigma": -0.1}, {"confidence": NAN}, {"confidence": 1.1}, {"entanglement": NAN},
    {"annual_volatility": -1.0}, {"bid": NAN}, {"bid": 101.0}, {"action": -1}, {"action": 3},
    {"kind": 8}, {"kind": -2}, {"time": NAN}, {"equity": -5.0},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_never_an_order_on_bad_data(bad: dict[str, Any]) -> None:
    assert planned(**bad)[0] == "BAD_DATA"


wild = st.one_of(st.floats(), st.floats(0.0, 1.0), st.sampled_from([0.0, 1e-300, 1e300, 100.0]))


@given(st.lists(wild, min_size=12, max_size=12), st.integers(0, 2), st.integers(-(2**62), 2**62))
@settings(max_examples=300)
def test_whatever_goes_in_an_order_is_sound(values: list[float], action: int, held: int) -> None:
    names = ("confidence", "entanglement", "mu", "sigma", "annual_volatility", "bid", "ask",
             "price", "unit_value", "equity", "volume", "time")  # fmt: skip
    told = dict(zip(names, values, strict=True))
    outcome, plan, order = planned(**told, action=action, held=held)
    if outcome == "ORDERED":
        assert 1.0 <= order["quantity"] < INF
        assert abs(plan["change"]) >= 0.001
        assert order["side"] == (1 if action == BUY else -1)
        room = 0.1 * told["volume"]
        assert order["quantity"] <= room * (1 + 1e-9)


def test_configurations_that_make_no_sense_are_refused() -> None:
    for told in (
        {"urgency": {"market_above": 0.5}},
        {"urgency": {"volatility_low": 0.25}},
        {"lives": {"stop": "GTD"}},
        {"sizing": {"fraction": 0.0}},
        {"sizing": {"cap": 1.5}},
    ):
        with pytest.raises(ValidationError):
            OrdersConfig.model_validate(told)
