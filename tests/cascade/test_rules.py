"""The rules in the engine: whatever networks answer, no order passes a limit, by the log alone."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cascade.audit import read_log
from cascade.events import TICK, Event
from cascade.hot import hold_action
from cascade.planning import toward_flat
from cascade.risk import day_rules
from configs.cascade import AuditConfig, CascadeConfig
from configs.risk import LimitConfig, RiskConfig, VarConfig
from configs.strategic import StrategicConfig
from configs.tactical import RiskLimitConfig, TacticalConfig
from market.decode import EMERGENCY_STOP, RISK_DECISION
from market.view import twice_mid_of
from tests.cascade.test_engine import TWO, Run, bars

_NS = 1e9
_TICKS = 2.0  # of rounding in a price that was brought into the collar
LIMITS = LimitConfig(
    position_share=1.25, gross_share=1.25, worked_share=2.5, collar=0.0005, rate_orders=4,
    rate_seconds=20.0, rate_reserve=2,
)  # fmt: skip


def _config(limits: LimitConfig = LIMITS, **changed: Any) -> CascadeConfig:
    return CascadeConfig(audit=AuditConfig(sync=False), risk=RiskConfig(limits=limits, **changed))


def _usual_volume(run: Run) -> float:
    """Units of a usual bar, of which the account's limit is a share."""
    config = run.models.active["tactical"].config
    return float(run.session.account["limit"][0] / config.account.limit_participation)


class Adversary:
    """Answers whatever it likes within the spaces of actions."""

    def __init__(self, run: Run, seed: int, extremes: float) -> None:
        self._rng, self._extremes = np.random.default_rng(seed), extremes
        for layer in TWO:
            model = run.models.active[layer]
            model.ask = partial(self._answer, model, model.ask)

    def _answer(self, model: Any, ask: Callable[[], None]) -> None:
        ask()  # what it says of itself stays sound: a layer that is at fault does not trade
        for index, agent in enumerate(model.layout.agents):
            place = model.layout.action_slice(index)
            if agent.kind == "discrete":
                legal = np.flatnonzero(model.row[model.layout.mask_indices(index)] > 0.0)
                choices = legal if legal.size else np.arange(len(agent.components))
                model.actions[place] = self._rng.choice(choices)
            elif self._rng.random() < self._extremes:
                model.actions[place] = self._rng.integers(0, 2, len(agent.components))
            else:
                model.actions[place] = self._rng.random(len(agent.components))
        model.probabilities[:] = np.float32(0.2)  # of five choices each


class Accountant:
    """Keeps the account by the log alone, and says what passed a limit."""

    def __init__(self, limits: LimitConfig, most: int, volume: float, tick: float) -> None:
        self.limits, self.most, self.volume, self.tick = limits, most, volume, tick
        self.position, self.side, self.traded, self.mid, self.base = 0, 0, 0, 0.0, 0.0
        self.open: dict[int, int] = {}
        self.times: deque[float] = deque()
        self.forced, self.complete, self.crossings = -1, False, 0
        self.problems: list[str] = []
        self.orders = 0

    def take(self, record: Any) -> None:
        if record.event == Event.NEW_5MIN_BAR:
            self.traded = 0
        elif record.event == Event.TRADE_QUALIFIED:
            self.side = 1 if record.told()["signed"] > 0 else -1
        elif record.event == Event.NEW_TICK:
            tick = np.frombuffer(record.payload, TICK, 1)[0]
            depth = np.ascontiguousarray(tick["depth"])
            self.mid = 0.5 * twice_mid_of(depth, float(tick["episode"]["last_mid"]))
            self.base = float(tick["episode"]["base"])
        elif record.event == Event.EXECUTE_TRADE:
            self.complete = bool(record.array()["complete"][0])
        elif record.event == Event.STEP_REPORTED:
            self.forced = record.told()["forced"]
            if self.forced >= 0 and not self.complete:
                self._say(f"order {self.forced} crosses, and the rules said no")
        elif record.event == Event.ORDER_SUBMITTED:
            for order in record.array():
                self._sent(order, record.clock / _NS)
        elif record.event == Event.ORDER_FILLED:
            for fill in record.array():
                self._filled(fill)
        elif record.event in (Event.ORDER_CANCELLED, Event.ORDER_REJECTED):
            for ended in record.array():
                self._left(int(ended["id"]), int(ended["quantity"]))

    def _sent(self, order: Any, time: float) -> None:
        units, child, self.orders = int(order["child"]["quantity"]), order["child"], self.orders + 1
        opened, number = sum(self.open.values()), int(order["id"])
        self.open[number] = units
        start, end = (self.position + self.side * more for more in (opened, opened + units))
        if number == self.forced:
            self.crossings += 1
            return  # what it comes to is checked fill by fill
        if self.side * end > self.most:
            self._say(f"order {number} may take the position to {end}, limit {self.most}")
        if abs(end) >= abs(start):
            if units > self.limits.order_units:
                self._say(f"order {number} has {units} units")
            if self.traded + opened + units > self.limits.participation * self.volume:
                self._say(f"order {number} takes too much of the volume")
        mark, price = self.base + self.mid, self.base + int(child["price"])
        if self.side * (price - mark) > self.limits.collar * mark + _TICKS:
            self._say(f"order {number} at {price:g}, marked at {mark:g}")
        self.times.append(time)
        while self.times[0] <= time - self.limits.rate_seconds:
            self.times.popleft()
        if len(self.times) > self.limits.rate_orders + self.limits.rate_reserve:
            self._say(f"{len(self.times)} orders in {self.limits.rate_seconds:g} s")

    def _filled(self, fill: Any) -> None:
        units, before = int(fill["quantity"]), abs(self.position)
        self._left(int(fill["id"]), units)
        mark, price = self.base + self.mid, self.base + int(fill["price"])
        if int(fill["id"]) == self.forced and (
            self.side * (price - mark) > self.limits.collar * mark + _TICKS
        ):
            self._say(f"order {self.forced} crosses at {price:g}, marked at {mark:g}")
        self.position += self.side * units
        self.traded += units
        if abs(self.position) > max(self.most, before):
            self._say(f"the position is {self.position}, limit {self.most}")

    def _left(self, number: int, units: int) -> None:
        self.open[number] -= units
        if self.open[number] < 0:
            self._say(f"order {number} ends more than once")

    def _say(self, text: str) -> None:
        self.problems.append(text)


def _audited(run: Run, limits: LimitConfig, most: int) -> Accountant:
    tick = run.models.active["tactical"].config.market.tick
    book = Accountant(limits, most, _usual_volume(run), tick)
    for record in read_log(run.log):
        book.take(record)
    return book


@pytest.mark.slow
@settings(
    max_examples=10, deadline=None, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(
    seed=st.integers(0, 2**32 - 1),
    extremes=st.sampled_from([0.0, 0.5, 1.0]),
    share=st.sampled_from([0.02, 0.2, 1.0]),
    order=st.sampled_from([0.05, 1.0]),
)
def test_no_answers_get_an_order_past_a_limit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, extremes: float, share: float, order: float
) -> None:
    """However adversarial the networks: by an account kept from the log alone."""
    folder = tmp_path_factory.mktemp("rules")
    limit = int(Run(folder / "probe").session.account["limit"][0])
    most, units = max(int(share * limit), 1), max(int(order * share * limit), 1)
    limits = LIMITS.model_copy(update={"position_units": most, "order_units": units})
    run = Run(folder, config=_config(limits))
    Adversary(run, seed, extremes)
    run.session.run(80)
    # No replay: it would ask the artefacts' own networks.
    run.engine.end()
    run.sink.close()
    book = _audited(run, limits, most)
    assert not book.problems
    assert book.orders > 0
    assert run.engine.guard is not None
    gate = run.engine.guard.gate
    opened = sum(book.open.values())
    assert opened == gate.account["open_buys"][0, 0] + gate.account["open_sells"][0, 0]
    assert book.position == gate.account["position"][0, 0]


def test_the_accountant_finds_what_passes_a_limit(tmp_path: Path) -> None:
    """Or the property above would show nothing."""
    run = Run(tmp_path, config=_config())
    run.session.run(60)
    run.ended()
    limits = LIMITS.model_copy(update={"order_units": 1, "rate_orders": 1, "rate_reserve": 0})
    found = _audited(run, limits, 1).problems
    for text in ("units", "orders in", "the position is", "may take the position"):
        assert any(text in problem for problem in found)


def _crossing(folder: Path, collar: float) -> tuple[Run, Accountant]:
    """A run whose execution agents wait, so that every parent is left to the crossing."""
    limits = LIMITS.model_copy(update={"collar": collar})
    run = Run(folder, config=_config(limits))
    execution = run.models.active["execution"]

    def wait() -> None:
        execution.actions[:] = hold_action()

    execution.ask = wait
    run.session.run(400)
    run.engine.end()
    run.sink.close()
    most = int(run.session.account["limit"][0])
    return run, _audited(run, limits, most)


def test_what_crosses_at_the_horizon_stays_within_the_collar(tmp_path: Path) -> None:
    near, narrow = _crossing(tmp_path / "narrow", 2e-4)
    wide, usual = _crossing(tmp_path / "wide", 0.05)
    assert narrow.crossings > 0 and usual.crossings > 0
    assert not narrow.problems and not usual.problems
    given_up = [told["abandoned"] for told in near.told(Event.TRADE_CLOSED)]
    assert max(given_up) > 0  # and recorded as cancelled, or the account would not be even
    assert near.session.tally["units_cancelled"] > 0
    assert max(told["abandoned"] for told in wide.told(Event.TRADE_CLOSED)) == 0


def test_a_networks_stop_crosses_nothing_that_the_rules_refuse(tmp_path: Path) -> None:
    """A person has stopped; the parent would take the position through flat and beyond."""
    run = Run(tmp_path, config=_config())
    run.to_a_parent()
    session, engine = run.session, run.engine
    held = -3 * session.plan.signed // 4
    assert engine.guard is not None
    engine.guard.gate.account["position"][0, 0] = held
    session.market.simulator.market.parents["reduces_risk"] = 1
    execution = run.models.active["execution"]

    def stop() -> None:
        execution.actions[:] = hold_action()
        execution.actions[RISK_DECISION] = EMERGENCY_STOP

    execution.ask = stop
    engine.stop("a person's")
    session.step()
    assert session.market.done
    assert not engine.completes
    assert session.market.worked()["quantity"] == 0


def test_a_day_is_the_artefacts_unless_a_person_sets_one() -> None:
    tactical = TacticalConfig(risk=RiskLimitConfig(day_bars=276))
    assert day_rules(RiskConfig(), tactical, 5.0).var.day_bars == 276
    told = RiskConfig(var=VarConfig(day_bars=90))
    assert day_rules(told, tactical, 5.0).var.day_bars == 90
    assert day_rules(RiskConfig(), StrategicConfig(), 30.0).var.day_bars == 13


def test_the_log_tells_the_day_that_value_at_risk_is_of(tmp_path: Path) -> None:
    run = Run(tmp_path)
    days = run.models.active["tactical"].config.risk.day_bars
    run.ended()
    begun = run.told(Event.SESSION_BEGUN)[0]["config"]
    assert begun["risk"]["var"]["day_bars"] == days


@pytest.mark.parametrize(
    ("position", "signed", "reduces"),
    [(10, -4, True), (-10, 10, True), (10, -11, False), (10, 1, False), (0, 5, False)],
)
def test_an_order_through_flat_does_not_reduce_risk(
    position: int, signed: int, reduces: bool
) -> None:
    assert toward_flat(position, signed) is reduces


def test_children_that_come_too_fast_are_refused_and_recorded(tmp_path: Path) -> None:
    slow = LIMITS.model_copy(update={"rate_orders": 1, "rate_seconds": 100.0})
    run = Run(tmp_path, config=_config(slow))
    run.session.run(60)
    run.ended()
    refused = [record for record in read_log(run.log) if record.event == Event.RULES_REFUSED]
    assert refused
    assert (refused[0].array()["allowed"] < refused[0].array()["order"]["child"]["quantity"]).all()


def test_a_drawdown_halts_and_flattens_in_the_middle_of_a_parent(tmp_path: Path) -> None:
    """Breakers so near that the first fills trip them."""
    config = _config()
    near = config.risk.drawdown.model_copy(
        update={"halve_drawdown": 1e-7, "quarter_drawdown": 2e-7, "halt_drawdown": 3e-7}
    )
    config = config.model_copy(update={"risk": config.risk.model_copy(update={"drawdown": near})})
    run = Run(tmp_path, config=config)
    taken = run.session.run(200)
    assert taken < 200  # nothing more was traded until the bars ended
    assert run.session.market.done
    assert run.session.account["position"][0] == 0
    run.ended()
    breaches = run.told(Event.RISK_BREACH)
    assert breaches[-1]["watch"] == "HALTED"
    assert breaches[-1]["drawdown"] > 0.0
    # What went out against the breaker's coming was taken back, and nothing more was bought.
    parents = [told for told in run.told(Event.TRADE_QUALIFIED)]
    assert [told["reduces_risk"] for told in parents[1:]] == [True] * (len(parents) - 1)
    assert len(parents) >= 2
    rejected = run.told(Event.TRADE_REJECTED)
    assert {told["reason"] for told in rejected} <= {"DRAWDOWN"}


def test_a_loss_halves_the_limit_and_the_excess_is_traded(tmp_path: Path) -> None:
    run = Run(tmp_path, config=_config())
    run.to_a_parent()
    account, limit = run.session.account, int(run.session.account["limit"][0])
    account["position"] = limit
    # A fifth of the way between halving and quartering.
    price = (
        float(run.session.bars.close[run.session.bar])
        / run.models.active["tactical"].config.market.tick
    )
    account["cash"] = 0.89 * float(account["initial"][0]) - limit * price
    number = run.session.bar
    bar = run.session.bar_at(number)
    plan = run.engine.on_bar(bar, bar.start, account, number + 1)
    assert run.engine.guard is not None
    allowed = limit + plan.signed
    assert plan.reduces_risk
    assert allowed <= limit // 2
    run.ended()
    assert run.told(Event.RISK_BREACH)[-1]["watch"] == "BOUND"


def test_value_at_risk_stops_until_a_person_lets_go(tmp_path: Path) -> None:
    tight = VarConfig(var95_limit=1e-4, var99_limit=1.5e-4)
    run = Run(tmp_path, config=_config(var=tight))
    engine = run.engine
    while engine.guard is None or not engine.guard.stopped:
        assert run.session.bar + 1 < len(bars())
        run.session.play_bar(10_000)
    for _ in range(10):
        run.session.play_bar(10_000)
    assert run.session.account["position"][0] == 0
    assert engine.guard.stopped
    engine.let_go("the desk has looked at it")
    assert not engine.guard.stopped
    run.ended()
    assert run.told(Event.EMERGENCY_STOP)[0]["by"] == "risk"
    assert run.events()[Event.STOP_LIFTED] == 1


def test_an_operators_stop_goes_flat_and_holds_until_let_go(tmp_path: Path) -> None:
    run = Run(tmp_path, config=_config())
    run.session.run(40)
    engine, session = run.engine, run.session
    while not session.market.done:
        run.step()
    engine.stop("drill")
    for _ in range(3):
        session.play_bar(10_000)
    trades = session.trades
    for _ in range(20):
        session.play_bar(10_000)
    assert session.account["position"][0] == 0
    assert session.trades == trades
    engine.let_go("drill over")
    for _ in range(60):
        session.play_bar(10_000)
    assert session.trades > trades
    run.ended()
    assert [told["by"] for told in run.told(Event.EMERGENCY_STOP)] == ["operator"]


def test_what_could_not_be_recorded_is_not_open(tmp_path: Path) -> None:
    """A step whose record fails leaves the rules' account as it was."""
    full = [False]

    def write(file: int, content: bytes) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(file, content)

    run = Run(tmp_path, config=_config(), write=write)
    run.to_a_parent()
    run.step()
    assert run.engine.guard is not None
    gate = run.engine.guard.gate
    view = run.session.seen()
    before = gate.account.copy(), gate.state.copy()
    full[0] = True
    assert not run.engine.on_step(*view)
    assert gate.account.tobytes() == before[0].tobytes()
    assert gate.state.tobytes() == before[1].tobytes()
    full[0] = False
    run.session.run(40)
    run.ended()
