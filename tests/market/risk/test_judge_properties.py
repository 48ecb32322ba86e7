"""No sequence of orders, of any content, gets past a limit; nor of what networks say.

The limits are computed again here, in plain Python, from the account before each order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.execution import ExecutionConfig
from configs.market import VENUE_COUNT
from market.decode import ACTION_WIDTH, CHILD, DECISION, decode, execution_rules
from market.kernels import kernel
from market.orders.layout import ORDER, WORKED_KINDS
from market.risk.children import orders_of_children
from market.risk.gate import RiskGate
from market.risk.layout import DELAY, REDUCE_SIZE, var_scale
from market.state import EPISODE, LEVELS_SEEN, OWNED_FIELDS, PARENT
from tests.market.risk.accounts import CASH, DEVIATION, KIND_COUNT, LIFE_COUNT, PRICE, config

TIGHT: dict[str, Any] = {
    "position_units": 4_000,
    "position_share": 0.35,
    "gross_share": 0.7,
    "order_units": 2_000,
    "order_share": 0.25,
    "worked_share": 0.3,
    "participation": 0.2,
    "rate_orders": 4,
    "rate_seconds": 1.0,
    "rate_reserve": 2,
    "stale_seconds": 5.0,
    "mark_jump": 0.5,
}
VOLUME = 30_000.0
HUGE = [math.nan, math.inf, -math.inf, -1.0, 0.0, 0.5, 1e15, 1e18, 1e300, 5e-324]

anything = st.one_of(
    st.floats(0.0, 20_000.0), st.sampled_from(HUGE), st.floats(), st.floats(1.0, 50.0)
)
prices = st.one_of(st.floats(90.0, 110.0), st.sampled_from(HUGE), st.floats())
whole = st.one_of(st.integers(-1, 2), st.integers(-(2**63), 2**63 - 1))
ask = st.tuples(
    st.just("ask"),
    st.sampled_from([0.0, 0.0, 0.3, 2.0]),  # seconds later
    st.one_of(st.sampled_from([0, 0, 0, 1, 1]), whole),  # instrument
    st.one_of(st.sampled_from([1, -1]), whole),
    st.one_of(st.integers(0, KIND_COUNT - 1), whole),
    st.one_of(st.integers(0, LIFE_COUNT - 1), whole),
    anything,
    prices,
    prices,
    anything,
)
event = st.one_of(
    ask,
    ask,
    ask,
    st.tuples(st.just("fill"), st.integers(0, 1), st.floats(0.0, 1.0)),
    st.tuples(st.just("cancel"), st.integers(0, 1), st.floats(0.0, 1.0)),
    st.tuples(st.just("mark"), st.integers(0, 1), st.one_of(st.floats(80.0, 120.0), prices)),
    st.tuples(st.just("bar")),
    st.tuples(st.just("jump"), st.floats(0.0, 40.0)),
)


class World:
    """A gate, and an account of it that is kept apart."""

    def __init__(self, instruments: int) -> None:
        self.gate = RiskGate(config(**TIGHT), CASH, (1.0, 2.0)[:instruments], most=1)
        self.scale = var_scale(self.gate.config.var)
        self.count = instruments
        self.now = 0.0
        self.prices = np.full(instruments, PRICE)
        self.sent: list[tuple[float, bool]] = []  # when, and whether it lowered the risk
        self.breaches: list[str] = []  # limits that an order got past
        self.bar()
        self.gate.mark(self.now, self.prices)

    def bar(self) -> None:
        self.gate.begin_bar(np.full(self.count, VOLUME))
        c = np.full((self.count, self.count), 0.6)
        np.fill_diagonal(c, 1.0)
        self.gate.account["covariance"][0, : self.count, : self.count] = (
            c * (3.0 * DEVIATION) ** 2
        )  # value at risk binds too

    def play(self, told: tuple[Any, ...]) -> None:
        getattr(self, f"_{told[0]}")(*told[1:])

    def _bar(self) -> None:
        self.bar()

    def _jump(self, seconds: float) -> None:
        self.now += seconds

    def _mark(self, which: int, price: float) -> None:
        told = self.prices.copy()
        told[which % self.count] = price
        self.gate.mark(self.now, told)
        self.prices = self.gate.account["price"][0, : self.count].copy()

    def _open(self, which: int, share: float) -> list[tuple[int, int, int]]:
        account, one = self.gate.account[0], which % self.count
        buys, sells = int(account["open_buys"][one]), int(account["open_sells"][one])
        parts = [(one, 1, math.ceil(buys * share)), (one, -1, math.ceil(sells * share))]
        return [part for part in parts if part[2] > 0]

    def _fill(self, which: int, share: float) -> None:
        for one, side, units in self._open(which, share):
            self.gate.filled(one, side, units, float(self.prices[one]), 0.0)

    def _cancel(self, which: int, share: float) -> None:
        for part in self._open(which, share):
            self.gate.released(*part)

    def _ask(self, later: float, *fields: Any) -> None:
        self.now += later
        row = self.gate.orders[0]
        row["time"] = self.now
        names = ("instrument", "side", "kind", "life", "quantity", "price", "stop_price")
        for name, value in zip((*names, "displayed"), fields, strict=True):
            row[name] = value
        self.check(row.copy())

    def check(self, row: Any) -> None:
        """Send what lies in the gate's first order, and hold the verdict against the limits."""
        before = self.gate.account[0].copy()
        stopped = bool(self.gate.state["stopped"][0])
        self.gate.send(1)
        verdict = self.gate.verdicts[0].copy()
        after = self.gate.account[0]
        if verdict["action"] > REDUCE_SIZE:
            assert verdict["quantity"] == 0
            assert after.tobytes() == before.tobytes()
            return
        one, side, units = int(row["instrument"]), int(row["side"]), int(verdict["quantity"])
        assert 0 <= one < self.count and side in (1, -1)
        assert 1 <= units <= row["quantity"] < math.inf
        assert math.isfinite(verdict["price"]) and verdict["price"] > 0.0
        opened = "open_buys" if side > 0 else "open_sells"
        assert after[opened][one] == before[opened][one] + units
        worked = bool(WORKED_KINDS[int(row["kind"])])
        self._hold(before, one, side, units, bool(verdict["lowers"]), stopped, worked)

    def _use(self, account: Any, one: int, units: float) -> float:
        held = account["position"][: self.count].astype(float)
        held[one] = units
        w = held * account["price"][: self.count] * account["unit_value"][: self.count]
        w /= float(account["equity"])
        c = account["covariance"][: self.count, : self.count]
        return self.scale * math.sqrt(max(float(w @ c @ w), 0.0))

    def _hold(
        self, account: Any, one: int, side: int, units: int, lowers: bool, stopped: bool,
        worked: bool,
    ) -> None:  # fmt: skip
        limits = self.gate.config.limits
        self._keep("age of marks", self.now - account["mark_time"][one] <= limits.stale_seconds)
        opened = int(account["open_buys" if side > 0 else "open_sells"][one])
        start = int(account["position"][one]) + side * opened
        end = start + side * units
        equity = float(account["equity"])
        unit = float(account["price"][one] * account["unit_value"][one])
        if equity > 0.0:
            before, then = self._use(account, one, start), self._use(account, one, end)
            self._keep("whether it lowers risk", lowers == (then < before))
            self._keep("value at risk", then <= 1.0 + 1e-9 or then < before)
        self._hold_position(account, one, start, end, stopped, unit)
        if not lowers:
            used = account["traded"][one] + account["open_buys"][one] + account["open_sells"][one]
            most = limits.worked_share if worked else limits.order_share
            share = most * equity * (1 + 1e-12)
            self._keep("units of an order", units <= limits.order_units)
            self._keep("value of an order", units * unit <= share)
            self._keep("volume", used + units <= limits.participation * account["volume"][one])
        self.sent.append((self.now, lowers))
        recent = [low for time, low in self.sent if self.now - time < limits.rate_seconds]
        self._keep("rate and its reserve", len(recent) <= limits.rate_orders + limits.rate_reserve)
        self._keep("rate", lowers or len(recent) <= limits.rate_orders)

    def _keep(self, limit: str, held: Any) -> None:
        if not held:
            self.breaches.append(limit)

    def _hold_position(
        self, account: Any, one: int, start: int, end: int, stopped: bool, unit: float
    ) -> None:
        """Toward flat, or within what drawdown leaves of every limit of positions."""
        if abs(end) <= abs(start) and start * end >= 0:
            return
        limits, drawdown = self.gate.config.limits, float(account["drawdown"])
        allowed = 1.0 if drawdown < 0.1 else 0.5 if drawdown < 0.15 else 0.25
        if stopped or account["halted"] or drawdown >= 0.2:
            allowed = 0.0
        equity = float(account["equity"])
        others = 0.0
        for other in range(self.count):
            if other != one:
                held = int(account["position"][other])
                buys, sells = account["open_buys"][other], account["open_sells"][other]
                worst = max(abs(held + int(buys)), abs(held - int(sells)))
                others += worst * float(account["price"][other] * account["unit_value"][other])
        slack = 1 + 1e-12
        value, most = abs(end) * unit, allowed * equity * slack
        self._keep("units of a position", abs(end) <= allowed * limits.position_units)
        self._keep("value of a position", value <= limits.position_share * most)
        self._keep("gross value", end == 0 or value + others <= limits.gross_share * most)


@given(st.integers(1, 2), st.lists(event, min_size=1, max_size=40))
@settings(max_examples=300)
def test_no_sequence_gets_past_a_limit(instruments: int, events: list[tuple[Any, ...]]) -> None:
    world = World(instruments)
    for told in events:
        world.play(told)
    assert not world.breaches


def test_the_sequences_do_pass_orders_of_every_sort() -> None:
    """The property above is not held by refusing everything."""
    rng = np.random.default_rng(0)
    world = World(2)
    actions, lowered = np.zeros(5, int), 0
    for _ in range(4_000):
        which, side = int(rng.integers(2)), int(rng.choice([1, -1]))
        size = float(np.ceil(10.0 ** rng.uniform(0, 4.3)))
        world.play(("ask", float(rng.exponential(0.3)), which, side, 1, 0, size, PRICE, 0.0, 0.0))
        verdict = world.gate.verdicts[0]
        actions[verdict["action"]] += 1
        lowered += int(verdict["lowers"] and verdict["action"] <= REDUCE_SIZE)
        if rng.random() < 0.5:
            world.play(("fill", which, float(rng.random())))
            world.play(("cancel", which, float(rng.random())))
        world.play(("mark", which, PRICE * math.exp(0.002 * rng.normal())))
        if rng.random() < 0.02:
            world.play(("bar",))
    assert not world.breaches
    assert actions[:4].min() > 20 and lowered > 20 and actions[DELAY] > 20


@kernel
def _decode(
    action: Any, parents: Any, episodes: Any, depth: Any, owned: Any, rules: Any,
    children: Any, cancels: Any, decision: Any,
) -> None:  # fmt: skip
    decode(action, parents[0], episodes[0], depth, owned, rules[0], children, cancels, decision[0])


@pytest.fixture(scope="module")
def moment() -> tuple[Any, ...]:
    """PARENT, EPISODE, depth, owned and rules of a parent of a million units at 100."""
    told = ExecutionConfig()
    parent, episode = np.zeros(1, PARENT), np.zeros(1, EPISODE)
    middle = told.market.book.ladder_levels // 2
    for name, value in {
        "side": 1, "quantity": 10**6, "remaining": 10**6, "horizon": 2, "step": 1,
        "arrival": middle,
    }.items():  # fmt: skip
        parent[name] = value
    episode["base"] = PRICE / told.market.tick - middle
    episode["step_volume"], episode["variance_slow"] = 1e4, 4.0
    depth = np.zeros((VENUE_COUNT, 2, LEVELS_SEEN, 2), np.int32)
    for level in range(LEVELS_SEEN):
        depth[:, 0, level] = middle - 1 - level, 500
        depth[:, 1, level] = middle + 1 + level, 500
    owned = np.zeros((told.child.max_resting, OWNED_FIELDS), np.int32)
    return parent, episode, depth, owned, execution_rules(told)


components = st.one_of(st.floats(0.0, 1.0), st.sampled_from([*HUGE, 1.0, 4.0]), st.floats(width=32))


@given(
    st.lists(
        st.tuples(st.lists(components, min_size=ACTION_WIDTH, max_size=ACTION_WIDTH),
                  st.sampled_from([1, -1]), st.floats(0.0, 1.0), st.floats(0.0, 3.0)),
        min_size=1, max_size=12,
    )
)  # fmt: skip
@settings(max_examples=100)
def test_nothing_that_networks_say_gets_past_a_limit(
    moment: tuple[Any, ...], steps: list[tuple[list[float], int, float, float]]
) -> None:
    """Joint actions of any numbers, through `decode`, to orders, to the rules."""
    parent, episode, depth, owned, rules = moment
    world = World(1)
    children, decision = np.zeros(20, CHILD), np.zeros(1, DECISION)
    cancels, asked = np.zeros(len(owned), np.int8), np.zeros(20, ORDER)
    tick = ExecutionConfig().market.tick
    for action, side, filled, later in steps:
        world.now += later
        parent["side"] = side
        world.gate.mark(world.now, world.prices)
        with np.errstate(all="ignore"):
            said = np.array(action, np.float32)
        _decode(said, parent, episode, depth, owned, rules, children, cancels, decision)
        count = int(decision["children"][0])
        count = orders_of_children(children, count, parent, episode, tick, world.now, 0, asked)
        for index in range(count):
            world.gate.orders[0] = asked[index]
            world.check(asked[index])
        world.play(("fill", 0, filled))
    assert not world.breaches
