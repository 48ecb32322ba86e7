"""What the rules make of an order, one rule at a time."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from configs.errors import RequestError
from configs.risk import RiskConfig
from market.decode import APPROVE as DECODED_APPROVE
from market.decode import EMERGENCY_STOP as DECODED_STOP
from market.orders import layout as orders
from market.risk import layout as risk
from market.risk.layout import REASON_NAMES, VERDICTS, reason_names, risk_limits, var_scale
from market.risk.ledger import BOUND, HALTED, QUIET, STOPPED_NOW
from tests.market.risk.accounts import CASH, DEVIATION, PRICE, VOLUME, config, gate, judged, sent
from tests.market.risk.accounts import order as asked

# Units of which use is 1, by hand: the 95% limit binds by a hair (1.64485 / .02 > 2.32635 / .0283).
FULL = 0.02 / (NormalDist().inv_cdf(0.95) * DEVIATION) * CASH / PRICE
SCALE = max(NormalDist().inv_cdf(0.95) / 0.02, NormalDist().inv_cdf(0.99) / 0.0283)


def said(verdict: Any) -> tuple[str, str]:
    return VERDICTS[verdict["action"]], REASON_NAMES[verdict["reason"]]


def test_the_tables_agree() -> None:
    """The risk agent's choices and the rules' verdicts are the same, in the same order."""
    assert (DECODED_APPROVE, DECODED_STOP) == (risk.APPROVE, risk.EMERGENCY_STOP)
    assert REASON_NAMES.index("VAR") == risk.VAR and REASON_NAMES.index("RATE") == risk.RATE
    assert orders.KIND_NAMES.index("ICEBERG") == orders.ICEBERG
    assert reason_names(1 << risk.VAR | 1 << risk.RATE) == ("RATE", "VAR")


def test_use_is_the_definitions() -> None:
    assert var_scale(RiskConfig().var) == pytest.approx(SCALE)
    verdict = judged(gate(), asked(1, 5_000))
    exposure = 5_000 * PRICE / CASH
    assert verdict["use_after"] == pytest.approx(SCALE * exposure * DEVIATION)
    assert verdict["use_before"] == 0.0
    # A short is as risky as a long, and what is open on the side counts.
    assert judged(gate(), asked(-1, 5_000))["use_after"] == verdict["use_after"]
    made = gate()
    made.account["open_buys"][0, 0] = 5_000
    assert judged(made, asked(1, 1))["use_before"] == verdict["use_after"]
    assert judged(made, asked(-1, 1))["use_before"] == 0.0


LADDER = [
    (0.5, "APPROVE", "NONE", 1.0),
    (0.999, "APPROVE", "NONE", 1.0),
    (1.1, "REDUCE_SIZE", "VAR", None),
    (1.3, "DELAY", "VAR", 0.0),
    (2.0, "CANCEL", "VAR", 0.0),
    (2.6, "EMERGENCY_STOP", "VAR", 0.0),
]


@pytest.mark.parametrize(("use", "action", "reason", "share"), LADDER)
@pytest.mark.parametrize("side", [1, -1])
def test_the_ladder_of_use(
    use: float, action: str, reason: str, share: float | None, side: int
) -> None:
    units = math.floor(use * CASH / PRICE / (SCALE * DEVIATION))
    verdict = judged(gate(), asked(side, units))
    assert said(verdict) == (action, reason)
    assert verdict["use_after"] == pytest.approx(use if share is not None else 1.0, rel=1e-3)
    if share is None:  # reduced to the very last unit
        most = CASH / PRICE / (SCALE * DEVIATION)
        assert verdict["quantity"] == math.floor(most)
    else:
        assert verdict["quantity"] == share * units


def test_an_order_that_lowers_risk_passes_at_any_use() -> None:
    position = 40_000  # use above 3
    for told in (config(), config(order_units=10, participation=1e-9, order_share=1e-6)):
        made = gate(told, position)
        verdict = judged(made, asked(-1, position))
        assert said(verdict) == ("APPROVE", "LOWERS_RISK")
        assert verdict["quantity"] == position and verdict["lowers"] == 1
        assert said(judged(made, asked(1, 1)))[0] == "CANCEL"
    made = gate(config(), position)
    assert made.state["stopped"][0] == 1  # the watch at the mark has seen the use
    verdict = judged(made, asked(-1, 2 * position - 1))
    # Through zero is new risk on the other side: the stop leaves none.
    assert said(verdict) == ("REDUCE_SIZE", "STOPPED") and verdict["quantity"] == position
    made.let_go()
    made.account["position"] = 5_000
    verdict = judged(made, asked(-1, 9_999))
    assert said(verdict) == ("APPROVE", "LOWERS_RISK")


def test_a_reduction_by_what_is_in_flight_is_none() -> None:
    """Sells in flight that already flatten: another sell is a short."""
    made = gate(config(), 5_000)
    assert sent(made, asked(-1, 5_000))["lowers"] == 1
    assert judged(made, asked(-1, 5_000))["lowers"] == 0
    made.released(0, orders.SELL, 5_000)
    assert judged(made, asked(-1, 5_000))["lowers"] == 1


def test_a_hedge_lowers_the_risk_of_a_book_of_two() -> None:
    from market.risk.gate import RiskGate

    made = RiskGate(config(position_share=0.9), CASH, (1.0, 50.0))
    made.begin_bar([VOLUME, VOLUME])
    c = np.array([[1.0, 0.9], [0.9, 1.0]]) * DEVIATION**2
    made.account["covariance"][0, :2, :2] = c
    made.account["position"][0, 0] = 9_000
    made.account["cash"] = CASH - 9_000 * PRICE
    made.mark(0.0, np.array([PRICE, PRICE]))
    w = np.array([0.9, 0.0])
    before = SCALE * math.sqrt(w @ c @ w)
    verdict = judged(made, asked(-1, 100, instrument=1))  # half of equity
    w = np.array([0.9, -0.5])
    assert verdict["use_before"] == pytest.approx(before)
    assert verdict["use_after"] == pytest.approx(SCALE * math.sqrt(w @ c @ w))
    assert said(verdict) == ("REDUCE_SIZE", "GROSS") or said(verdict)[0] == "APPROVE"
    assert verdict["lowers"] == 1
    # The other way it adds: cut to the root of the quadratic.
    verdict = judged(made, asked(1, 80, instrument=1))
    assert said(verdict) == ("REDUCE_SIZE", "VAR")
    most = max(
        units
        for units in range(81)
        if SCALE * math.sqrt(np.array([0.9, units * 5e-3]) @ c @ np.array([0.9, units * 5e-3])) <= 1
    )
    assert verdict["quantity"] == most


CAPS: list[tuple[str, dict[str, Any], int]] = [
    ("ORDER_SIZE", {"order_units": 700}, 700),
    ("ORDER_NOTIONAL", {"order_share": 0.05}, 500),
    # A parent's own limit is no limit of an order that is sent at once.
    ("ORDER_NOTIONAL", {"order_share": 0.05, "worked_share": 20.0}, 500),
    ("PARTICIPATION", {"participation": 3e-5}, 300),
    ("POSITION", {"position_units": 600}, 600),
    ("POSITION", {"position_share": 0.04}, 400),
    ("GROSS", {"gross_share": 0.02}, 200),
]


@pytest.mark.parametrize("kind", [orders.TWAP, orders.VWAP, orders.IS])
def test_an_order_that_is_worked_has_a_limit_of_its_own(kind: int) -> None:
    made = gate(config(order_share=0.05, worked_share=0.08))
    order = asked(1, 1_000)
    order["kind"] = kind
    verdict = sent(made, order)
    assert said(verdict) == ("REDUCE_SIZE", "ORDER_NOTIONAL")
    assert verdict["quantity"] == 800


@pytest.mark.parametrize(("reason", "limit", "most"), CAPS)
def test_hard_limits_cut_to_the_limit_and_then_refuse(
    reason: str, limit: dict[str, Any], most: int
) -> None:
    made = gate(config(**limit))
    verdict = sent(made, asked(1, 1_000))
    assert said(verdict) == ("REDUCE_SIZE", reason)
    assert verdict["quantity"] == most and reason in reason_names(verdict["reasons"])
    if reason in ("ORDER_SIZE", "ORDER_NOTIONAL"):
        return
    assert said(judged(made, asked(1, 1)))[1] == reason
    made.filled(0, 1, most, PRICE, 0.0)
    assert said(judged(made, asked(1, 1))) == ("CANCEL", reason)
    if reason == "PARTICIPATION":
        made.begin_bar([VOLUME])
        made.account["covariance"][0, 0, 0] = DEVIATION**2
        assert said(judged(made, asked(1, 1))) == ("APPROVE", "NONE")


DRAWDOWNS = [(0.099, 1.0), (0.101, 0.5), (0.151, 0.25), (0.201, 0.0)]


@pytest.mark.parametrize(("drawdown", "allowed"), DRAWDOWNS)
def test_drawdown_leaves_less_of_the_limit(drawdown: float, allowed: float) -> None:
    made = gate(config(position_units=1_000))
    made.account["cash"] = CASH * (1.0 - drawdown)
    found = made.mark(1.0, np.array([PRICE]))
    assert found == {1.0: QUIET, 0.0: HALTED}.get(allowed, BOUND)
    verdict = judged(made, asked(1, 2_000, time=1.0))
    assert verdict["quantity"] == 1_000 * allowed
    if allowed < 1.0:
        assert REASON_NAMES[verdict["reason"]] == "DRAWDOWN"
    made.account["position"] = 1_000
    assert made.excess(0) == -1_000 * (1.0 - allowed)
    assert judged(made, asked(-1, 1_000, time=1.0))["quantity"] == 1_000


def test_halting_is_for_good_and_a_stop_until_a_person_lets_go() -> None:
    made = gate()
    made.account["cash"] = CASH * 0.75
    assert made.mark(1.0, np.array([PRICE])) == HALTED
    made.account["cash"] = CASH * 2
    assert made.mark(2.0, np.array([PRICE])) == HALTED
    assert said(judged(made, asked(1, 1, time=2.0))) == ("CANCEL", "DRAWDOWN")
    made = gate()
    assert said(sent(made, asked(1, 40_000))) == ("EMERGENCY_STOP", "VAR")
    assert said(sent(made, asked(1, 1))) == ("CANCEL", "STOPPED")
    assert made.mark(1.0, np.array([PRICE])) == STOPPED_NOW
    made.let_go()
    assert said(sent(made, asked(1, 1, time=1.0))) == ("APPROVE", "NONE")


def test_what_rests_when_a_breaker_binds_is_told() -> None:
    """600 held and 400 open under 1,000; a halved limit leaves none of the buys."""
    made = gate(config(position_units=1_000), 600)
    assert sent(made, asked(1, 400))["quantity"] == 400
    assert sent(made, asked(-1, 900))["quantity"] == 900
    assert (made.open_excess(0, 1), made.open_excess(0, -1)) == (0, 0)
    made.account["cash"] -= 0.11 * CASH
    assert made.mark(1.0, np.array([PRICE])) == BOUND
    assert (made.open_excess(0, 1), made.open_excess(0, -1), made.excess(0)) == (400, 0, -100)
    made.account["cash"] -= 0.10 * CASH
    assert made.mark(2.0, np.array([PRICE])) == HALTED
    assert (made.open_excess(0, 1), made.open_excess(0, -1), made.excess(0)) == (400, 300, -600)


def test_the_rate_of_orders() -> None:
    told = config(rate_orders=3, rate_seconds=1.0, rate_reserve=2)
    made = gate(told, 5_000)
    for time in (0.0, 0.4, 0.8):
        assert said(sent(made, asked(1, 1, time=time)))[0] == "APPROVE"
    assert said(sent(made, asked(1, 1, time=0.999))) == ("DELAY", "RATE")
    for time in (0.9, 0.95):  # the reserve of those that lower the risk
        assert said(sent(made, asked(-1, 1, time=time)))[0] == "APPROVE"
    assert said(sent(made, asked(-1, 1, time=0.99))) == ("DELAY", "RATE")
    assert said(sent(made, asked(-1, 1, time=1.0)))[0] == "APPROVE"
    assert said(sent(made, asked(1, 1, time=1.0))) == ("DELAY", "RATE")
    assert said(sent(made, asked(1, 1, time=1.95)))[0] == "APPROVE"


def test_the_collar() -> None:
    made = gate(config(collar=0.05), 100)
    for price in (94.9, 105.1, 1e-3, 1e9):
        assert said(judged(made, asked(1, 1, price=price))) == ("CANCEL", "COLLAR")
        # What lowers the risk is brought into the collar.
        verdict = judged(made, asked(-1, 1, price=price))
        assert verdict["quantity"] == 1 and verdict["price"] == pytest.approx(
            min(max(price, 95.0), 105.0)
        )
    for price in (95.1, 104.9):
        verdict = judged(made, asked(1, 1, price=price))
        assert said(verdict)[0] == "APPROVE" and verdict["price"] == price
    # What has no price of its own may trade as far as the collar; a stop's is about the stop.
    assert judged(made, asked(1, 1, kind=orders.MARKET))["price"] == pytest.approx(105.0)
    stop = asked(-1, 1, kind=orders.STOP, stop_price=80.0)
    assert judged(made, stop)["price"] == pytest.approx(76.0)
    far = asked(1, 1, kind=orders.STOP_LIMIT, stop_price=130.0, price=131.0)
    assert said(judged(made, far))[0] == "APPROVE"
    assert said(judged(made, asked(1, 1, kind=orders.STOP_LIMIT, stop_price=80.0))) == (
        "CANCEL",
        "COLLAR",
    )


NAN, INF = math.nan, math.inf
MALFORMED: list[tuple[dict[str, Any], str]] = [
    *(({"side": side}, "MALFORMED") for side in (0, 2, -(1 << 63))),
    *(({"instrument": one}, "MALFORMED") for one in (-1, 1, 1 << 62)),
    *(({"kind": kind}, "MALFORMED") for kind in (-1, len(orders.KINDS))),
    *(({"life": life}, "MALFORMED") for life in (-1, len(orders.LIVES))),
    *(({"quantity": q}, "BAD_QUANTITY") for q in (NAN, INF, -INF, -5.0, 0.0, 0.99)),
    *(({"kind": orders.ICEBERG, "displayed": q}, "BAD_QUANTITY") for q in (NAN, 0.0, 101.0)),
    *(({"price": price}, "BAD_PRICE") for price in (NAN, INF, -1.0, 0.0, 1e300)),
    *(({"kind": orders.STOP, "stop_price": p}, "BAD_PRICE") for p in (NAN, INF, 0.0)),
    *(({"time": time}, "CLOCK") for time in (NAN, INF, -INF, -1.0)),
    *(({"life": orders.GTD, "expires": time}, "EXPIRED") for time in (NAN, -1.0, 0.0)),
]


@pytest.mark.parametrize(("fields", "reason"), MALFORMED)
@pytest.mark.parametrize("side", [1, -1])
def test_what_is_no_order_is_refused_even_where_it_lowers_risk(
    fields: dict[str, Any], reason: str, side: int
) -> None:
    verdict = judged(gate(config(), 1_000), asked(**{"side": side, **fields}))
    assert said(verdict) == ("CANCEL", reason)
    assert verdict["quantity"] == 0


DAMAGE = [
    *(("price", value, "BAD_DATA") for value in (NAN, INF, 0.0, -1.0)),
    *(("covariance", value, "BAD_DATA") for value in (NAN, INF, 0.0, -1.0)),
    *(("volume", value, "BAD_DATA") for value in (NAN, INF, -1.0)),
    *(("equity", value, "BAD_DATA") for value in (NAN, INF)),
    ("drawdown", NAN, "BAD_DATA"),
    ("mark_time", -61.0, "STALE_DATA"),
    ("mark_time", NAN, "STALE_DATA"),
]


@pytest.mark.parametrize(("field", "value", "reason"), DAMAGE)
@pytest.mark.parametrize("side", [1, -1])
def test_never_an_order_on_bad_data(field: str, value: float, reason: str, side: int) -> None:
    made = gate(config(), 1_000)
    made.account[field] = value
    assert said(judged(made, asked(side, 100))) == ("CANCEL", reason)


def test_an_account_without_equity_may_only_close() -> None:
    made = gate(config(), 1_000)
    made.account["cash"] = -2 * CASH
    assert made.mark(1.0, np.array([PRICE])) == STOPPED_NOW
    assert said(judged(made, asked(1, 1, time=1.0)))[0] == "CANCEL"
    assert judged(made, asked(-1, 1_000, time=1.0))["quantity"] == 1_000
    assert judged(made, asked(-1, 3_000, time=1.0))["quantity"] == 1_000


def test_bad_marks_are_not_taken() -> None:
    made = gate()
    for time, price in ((1.0, NAN), (1.0, 0.0), (1.0, INF), (NAN, 90.0), (-1.0, 90.0)):
        made.mark(time, np.array([price]))
        assert made.account["price"][0, 0] == PRICE and made.account["time"][0] == 0.0


def test_a_single_bad_tick_is_not_believed() -> None:
    """Ten times the price for one mark would raise the peak, and halt the account after it."""
    made = gate(config(), 5_000)
    for time, price in ((1.0, 1_000.0), (2.0, 100.5), (3.0, 10.0), (4.0, 99.0)):
        assert made.mark(time, np.array([price])) == QUIET
    account = made.account[0]
    assert account["price"][0] == 99.0 and account["peak"] < 1.01 * CASH
    # A move that stays is believed at the second mark.
    made.mark(5.0, np.array([80.0]))
    assert made.account["price"][0, 0] == 99.0
    assert made.mark(6.0, np.array([81.0])) == QUIET
    assert made.account["price"][0, 0] == 81.0 and made.account["mark_time"][0, 0] == 6.0
    # Two that disagree with each other are two bad ticks.
    for time, price in ((7.0, 500.0), (8.0, 5.0)):
        made.mark(time, np.array([price]))
        assert made.account["price"][0, 0] == 81.0


def test_fills_move_the_account() -> None:
    made = gate()
    assert sent(made, asked(1, 300))["quantity"] == 300
    made.filled(0, orders.BUY, 200, 101.0, 0.6)
    account = made.account[0]
    assert (account["position"][0], account["open_buys"][0], account["traded"][0]) == (
        200,
        100,
        200,
    )
    assert account["cash"] == pytest.approx(CASH - 200 * 101.0 - 0.6)
    made.released(0, orders.BUY, 100)
    made.mark(1.0, np.array([110.0]))
    account = made.account[0]
    assert account["equity"] == pytest.approx(CASH + 200 * 9.0 - 0.6)
    assert account["open_buys"][0] == 0


def test_a_restart_goes_on_where_it_was() -> None:
    told = config(rate_orders=2, rate_seconds=10.0)
    made, again = gate(told), gate(told)
    sent(made, asked(1, 10))
    sent(made, asked(1, 10, time=1.0))
    made.filled(0, orders.BUY, 5, PRICE, 0.0)
    again.load_state(made.state_dict())
    for gate_ in (made, again):
        assert said(sent(gate_, asked(1, 10, time=2.0))) == ("DELAY", "RATE")
    assert np.array_equal(made.account, again.account) and np.array_equal(made.state, again.state)


def test_limits_cannot_be_written_and_misuse_is_said() -> None:
    made = gate()
    with pytest.raises(ValueError, match="read-only"):
        made.limits["order_units"] = 1e9
    with pytest.raises(RequestError, match="65 orders at once, expected 0 to 64"):
        made.send(65)
    with pytest.raises(RequestError, match="side 0"):
        made.filled(0, 0, 1, PRICE, 0.0)
    with pytest.raises(RequestError, match="at nan"):
        made.filled(0, 1, 1, NAN, 0.0)
    with pytest.raises(RequestError, match="prices are float32"):
        made.mark(1.0, np.zeros(1, np.float32))
    with pytest.raises(RequestError, match="volumes have shape"):
        made.begin_bar([1.0, 2.0])
    for name in risk.LIMITS.names or ():
        assert np.isfinite(float(risk_limits(RiskConfig())[name][0]))
        assert float(risk_limits(RiskConfig())[name][0]) >= 0.0
