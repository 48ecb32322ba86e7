"""The engine on paper: cadences, faults one by one, and replay of what came of each."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade.audit import AuditLog, Write, read_log
from cascade.deadlines import ANSWERED, FAILED, LATE, LiveCaller, SystemClock
from cascade.engine import Engine
from cascade.events import DECIDED, HELD, REFUSED, REPEATED, Event
from cascade.models import LAYERS, Models, load_model
from cascade.replay import Replayed, replay
from cascade.session import PaperSession, begin_clock
from configs.cascade import CascadeConfig, DeadlineConfig, FreshnessConfig
from configs.errors import ArtefactError
from configs.market import GeneratorReference
from experiments.soak import SteeredClock
from market.bars import Bars
from market.synthetic import synthetic_bars
from market.view import EMPTY_PRICE
from signals.bars.streams import Bar
from tests.cascade.layers import CONFIGS, layer_artefact, loaded

ROOT = Path(__file__).resolve().parents[2]
MINUTES = 5.0
TWO = ("tactical", "execution")


@cache
def bars(count: int = 700) -> Bars:
    config = CONFIGS["tactical"]
    return synthetic_bars(
        GeneratorReference(), count, MINUTES, config.market.tick, 1, config.market.flow
    )


class Run:
    """A session with its log, and what it takes to break it."""

    def __init__(
        self,
        folder: Path,
        *layers: str,
        write: Write = os.write,
        config: CascadeConfig | None = None,
        count: int = 700,
    ) -> None:
        self.log, self.clock = folder / "log", SteeredClock()
        told = config or CascadeConfig()
        self.models = Models(loaded(folder, *(layers or TWO)))
        self.sink = AuditLog(self.log, told.audit, write)
        caller = LiveCaller(told.deadline, self.clock)
        self.engine = Engine(self.models, told, self.sink, caller, begin_clock(bars(count)))
        self.session = PaperSession(self.engine, bars(count), seed=7)

    @property
    def execution(self) -> Any:
        return self.models.active["execution"]

    def to_a_parent(self) -> None:
        """Go on to the begin of a parent order, without a step of it."""
        session = self.session
        while session.bar + 1 < len(session.bars):
            now = session.bar
            bar = session.bar_at(now)
            plan = self.engine.on_bar(bar, bar.start, session.account, now + 1)
            session.bar, session.plan = now + 1, plan
            if plan.signed:
                session.market.begin(session.bar, plan.signed, plan.reduces_risk)
                return
        raise AssertionError("no parent order came")

    def step(self) -> int:
        """One step of the parent; how it was decided, or -1 where nothing was recorded."""
        before = self.engine.steps
        self.session.step()
        return int(self.engine.hot.acted["source"][0]) if self.engine.steps > before else -1

    def ended(self) -> Replayed:
        """End the session, check that every order is accounted for, and replay the log."""
        tally = self.session.tally
        for what in ("orders", "units"):
            ends = ("filled", "cancelled", "rejected", "open")
            assert tally[f"{what}_sent"] == sum(tally[f"{what}_{how}"] for how in ends)
        self.engine.end()
        self.sink.close()
        found = replay(self.log)
        assert found.difference is None, str(found.difference)
        return found

    def events(self) -> Counter[Event]:
        return Counter(record.event for record in read_log(self.log))

    def told(self, event: Event) -> list[dict[str, Any]]:
        return [record.told() for record in read_log(self.log) if record.event == event]


def test_a_session_trades_accounts_for_every_order_and_replays(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.session.run(150) == 150
    found = run.ended()
    assert found.steps == 150
    events, tally = run.events(), run.session.tally
    assert events[Event.NEW_TICK] == events[Event.EXECUTE_TRADE] == 150
    assert tally["orders_sent"] > 50
    assert tally["units_filled"] > 0
    filled = sum(
        int(record.array()["quantity"].sum())
        for record in read_log(run.log)
        if record.event == Event.ORDER_FILLED
    )
    assert filled == tally["units_filled"]
    assert not run.engine.degraded


@pytest.mark.slow
def test_three_layers_each_at_its_own_cadence(tmp_path: Path) -> None:
    run = Run(tmp_path, "strategic", "tactical", "execution", count=6000)
    run.session.run(200)
    assert run.ended().steps == 200
    events = run.events()
    assert events[Event.STRATEGIC_DECISION] >= 1
    assert events[Event.TACTICAL_DECISION] > events[Event.STRATEGIC_DECISION]
    assert events[Event.NEW_5MIN_BAR] // 6 in (
        events[Event.NEW_30MIN_BAR],
        events[Event.NEW_30MIN_BAR] + 1,
    )


def test_a_log_that_was_altered_differs_where_it_was(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.session.run(20)
    run.ended()
    other = layer_artefact(tmp_path / "other", "execution", seed=99)
    recorded = run.execution.folder
    recorded.rename(tmp_path / "gone")
    with pytest.raises(ArtefactError, match="the log was made by"):
        replay(run.log, {"execution": [other]})
    (tmp_path / "gone").rename(recorded)
    copy = AuditLog(tmp_path / "altered")
    number = None
    for record in read_log(run.log):
        payload = record.payload
        if record.event == Event.EXECUTE_TRADE and record.array()["step"][0] == 5:
            acted, number = record.array().copy(), record.number
            acted["carry"] += 1e-12
            payload = acted.tobytes()
        copy.add(record.event, record.clock, payload, record.count)
    copy.close()
    found = replay(tmp_path / "altered").difference
    assert found is not None
    assert found.number == number
    assert "EXECUTE_TRADE.carry" in found.what


def _broken(kind: str, run: Run) -> Callable[[], None]:
    if kind == "raises":

        def ask() -> None:
            raise RuntimeError("injected")
    elif kind == "slow":
        ask_for = run.execution.ask

        def ask() -> None:
            run.clock.time += 1.0
            ask_for()
    else:
        # The network itself answers so; the model's own check must find it.
        execution, value = run.execution, float(kind)
        execution._run = lambda: execution.actions.fill(value)
        return execution.ask  # type: ignore[no-any-return]
    return ask


@pytest.mark.parametrize(("kind", "how"), [
    ("raises", FAILED), ("slow", LATE), ("nan", FAILED), ("inf", FAILED)
])  # fmt: skip
def test_a_layer_that_fails_is_repeated_then_holds_and_recovers(
    tmp_path: Path, kind: str, how: str
) -> None:
    run = Run(tmp_path)
    run.to_a_parent()
    assert [run.step() for _ in range(3)] == [DECIDED] * 3
    whole, network = run.execution.ask, run.execution._run
    run.execution.ask = _broken(kind, run)
    calls = run.engine.config.fallback.execution_calls
    assert [run.step() for _ in range(calls)] == [REPEATED] * calls
    assert "execution" in run.engine.degraded
    sent = run.session.tally["orders_sent"]
    assert [run.step() for _ in range(3)] == [HELD] * 3
    assert run.session.tally["orders_sent"] == sent  # nothing is sent while it holds
    run.execution.ask, run.execution._run = whole, network
    assert run.step() == DECIDED
    assert not run.engine.degraded
    run.ended()
    called = run.told(Event.LAYER_CALLED)
    assert {told["how"] for told in called} == {how}
    assert len(called) == calls + 3
    attempts = {told["attempts"] for told in called}
    assert attempts == ({1} if how == LATE else {1 + run.engine.config.deadline.retries})
    events = run.events()
    assert events[Event.DEGRADED] == events[Event.RECOVERED] == 1


def test_a_retry_that_answers_within_the_deadline_counts(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.to_a_parent()
    whole, left = run.execution.ask, [2]

    def ask() -> None:
        if left[0]:
            left[0] -= 1
            raise RuntimeError("injected")
        whole()

    run.execution.ask = ask
    assert run.step() == DECIDED
    run.ended()
    (told,) = run.told(Event.LAYER_CALLED)
    assert (told["how"], told["attempts"]) == (ANSWERED, 3)


def test_retries_share_the_deadline() -> None:
    clock, calls = SteeredClock(), []
    caller = LiveCaller(DeadlineConfig(execution=0.05, backoff=0.02, retries=3), clock)

    def ask() -> None:
        calls.append(clock.time)
        raise RuntimeError("injected")

    outcome = caller.call("execution", ask)
    # At 0 and .02; the next would begin at .06, beyond the deadline.
    assert calls == [0.0, 0.02]
    assert (outcome.how, outcome.attempts) == (FAILED, 2)


def test_a_tactical_layer_that_holds_only_reduces(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.to_a_parent()
    account, engine = run.session.account, run.engine
    limit = int(account["limit"][0])
    account["position"] = limit // 2
    tactical = run.models.active["tactical"]

    def ask() -> None:
        raise RuntimeError("injected")

    tactical.ask = ask
    plans = []
    for _ in range(engine.config.fallback.tactical_calls + 2):
        number = run.session.bar
        bar = run.session.bar_at(number)
        plans.append(engine.on_bar(bar, bar.start, account, number + 1))
        run.session.bar += 1
    after = limit // 2 + plans[-1].signed
    assert after == round(engine.config.fallback.risk_share * limit)
    assert plans[-1].reduces_risk
    run.ended()


def test_bad_bars_are_refused_and_nothing_is_ordered_on_them(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.to_a_parent()
    engine, session = run.engine, run.session
    number = session.bar
    good, length = session.bar_at(number), round(MINUTES * 60e9)

    def given(bar: Bar, late: int = 0) -> int:
        return engine.on_bar(bar, bar.start + length + late, session.account, number + 1).signed

    assert given(good._replace(close=float("nan"))) == 0
    assert engine.degraded == {"bars"}
    assert given(good._replace(low=good.high * 2.0)) == 0
    assert given(session.bar_at(number - 1)) == 0  # the clock goes back
    assert given(good, late=10 * length) == 0  # taken in, and too old to trade on
    assert engine.degraded == {"bars"}
    given(session.bar_at(number + 1))
    assert not engine.degraded
    run.ended()
    why = [told["why"] for told in run.told(Event.INPUT_REFUSED)]
    assert [word in text for word, text in zip(
        ("finite", "low", "back", "stale"), why, strict=True
    )] == [True] * 4  # fmt: skip


def test_bad_quotes_send_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.to_a_parent()
    run.step()
    view = run.session.market.simulator.market
    episode, parent = view.episodes.copy(), view.parents.copy()
    depth, owned = view.depth[0], view.owned[0]
    cases: list[tuple[str, Any, Any, Any]] = []
    wrong = episode.copy()
    wrong["variance_fast"] = np.nan
    cases.append(("not finite", parent, wrong, depth))
    wrong = parent.copy()
    wrong["remaining"] = wrong["quantity"] + 1
    cases.append(("contradictory", wrong, episode, depth))
    wrong = episode.copy()
    wrong["clock"] -= 8.0
    cases.append(("clock went back", parent, wrong, depth))
    later = episode.copy()
    later["clock"] += 1.0
    cases.append(("no venue quotes", parent, later, np.full_like(depth, EMPTY_PRICE)))
    for _, order, market, quotes in cases:
        assert not run.engine.on_step(order, market, quotes, owned)
        assert int(run.engine.hot.acted["source"][0]) == REFUSED
        assert not int(run.engine.hot.decision["children"][0])
    assert run.engine.degraded == {"quotes"}
    good = episode.copy()
    good["clock"] += 2.0
    assert run.engine.on_step(parent, good, depth, owned)
    assert not run.engine.degraded
    run.ended()
    assert [told["why"] for told in run.told(Event.INPUT_REFUSED)] == [name for name, *_ in cases]


def test_a_silent_venue_is_not_seen_until_it_speaks(tmp_path: Path) -> None:
    run = Run(tmp_path, config=CascadeConfig(freshness=FreshnessConfig(silent_steps=2)))
    run.to_a_parent()
    view = run.session.market.simulator.market
    parent, episode, owned = view.parents.copy(), view.episodes.copy(), view.owned[0]
    depth = view.depth[0].copy()
    for step in range(6):
        depth[1:, :, :, 1] += 1  # all but venue 0 say something new
        if step == 4:
            depth[0, :, :, 1] += 1
        episode["clock"] += 1.0
        assert run.engine.on_step(parent, episode, depth, owned)
        silent = step in (2, 3)
        assert ("venue 0" in run.engine.degraded) == silent
        assert (run.engine.hot.depth[0, :, :, 0] == EMPTY_PRICE).all() == silent
        assert (run.engine.hot.depth[1:] == depth[1:]).all()
    run.ended()


def test_a_venue_that_quotes_off_the_others_is_left_out_of_view_and_mark(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.to_a_parent()
    view = run.session.market.simulator.market
    parent, episode, owned = view.parents.copy(), view.episodes.copy(), view.owned[0]
    honest = view.depth[0].copy()
    marks = []
    for step in range(3):
        depth = honest.copy()
        depth[:, :, :, 1] += step  # all say something new
        if step == 1:
            quoted = depth[2, :, :, 0] >= 0
            depth[2, :, :, 0][quoted] += 300
        episode["clock"] += 1.0
        assert run.engine.on_step(parent, episode, depth, owned)
        assert ("venue 2" in run.engine.degraded) == (step == 1)
        assert (run.engine.hot.depth[2, :, :, 0] == EMPTY_PRICE).all() == (step == 1)
        assert run.engine.guard is not None
        marks.append(float(run.engine.guard.gate.account["price"][0, 0]))
    assert marks[1] == pytest.approx(marks[0], abs=0.02)  # currency: a tick or two, not three
    run.ended()
    why = [told["why"] for told in run.told(Event.DEGRADED)]
    assert why == ["its quotes lie off the other venues'"]


def test_a_bar_of_the_future_is_refused_and_those_after_it_are_not(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.to_a_parent()
    session, engine = run.session, run.engine
    bar = session.bar_at(session.bar)
    later = bar._replace(start=bar.start + 365 * 24 * 3600 * 1_000_000_000)
    clock = engine.clock
    engine.on_bar(later, bar.start, session.account, session.bar)
    assert engine.clock == clock
    assert "bars" in engine.degraded
    engine.on_bar(bar, bar.start, session.account, session.bar + 1)
    assert "bars" not in engine.degraded
    assert engine.clock > clock
    run.ended()


def test_a_full_disk_stops_trading_and_room_resumes_it(tmp_path: Path) -> None:
    full = [False]

    def write(file: int, content: bytes) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(file, content)

    run = Run(tmp_path, write=write)
    run.to_a_parent()
    assert run.step() == DECIDED
    full[0] = True
    sent = run.session.tally["orders_sent"]
    assert [run.step() for _ in range(4)] == [-1] * 4
    assert run.session.tally["orders_sent"] == sent
    assert any("full" in alarm for alarm in run.engine.alarms)
    full[0] = False
    assert run.step() == DECIDED
    while not run.session.market.done:
        run.step()
    full[0] = True
    number = run.session.bar
    assert run.engine.on_bar(run.session.bar_at(number), 0, run.session.account, 1).signed == 0
    full[0] = False
    run.session.bar += 1
    run.session.run(60)
    run.ended()
    assert run.events()[Event.AUDIT_INTERRUPTED] == 2


def test_what_venues_tell_of_a_step_without_a_record_replays_at_its_own_time(
    tmp_path: Path,
) -> None:
    full = [False]

    def write(file: int, content: bytes) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(file, content)

    run = Run(tmp_path, write=write)
    for number in range(200):
        if run.session.market.done or not number:
            full[0] = False
            run.to_a_parent()
        full[0] = number % 3 == 2
        run.step()
    full[0] = False
    run.step()
    run.ended()
    clock, alone = 0, 0
    for record in read_log(run.log):
        if record.event == Event.NEW_TICK:
            clock = record.clock
        elif record.event == Event.STEP_REPORTED:
            assert record.clock > clock
            alone += record.clock > clock + round(run.engine.at_step(1) - run.engine.at_step(0))
    assert alone > 0


def test_a_new_champion_is_taken_between_two_steps_and_rolled_back(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.to_a_parent()
    before = run.execution.digest
    run.models.stage("execution", layer_artefact(tmp_path / "next", "execution", seed=5))
    missed = 0
    for _ in range(200):
        if run.session.market.done:
            run.to_a_parent()
        missed += run.step() != DECIDED
        if run.execution.digest != before:
            break
    assert run.execution.digest != before
    run.engine.take_model(run.models.rollback("execution"))
    if run.session.market.done:
        run.to_a_parent()
    missed += run.step() != DECIDED
    assert run.execution.digest == before
    assert missed == 0
    broken = layer_artefact(tmp_path / "broken", "execution", seed=6)
    (broken / "policy.onnx").write_bytes(b"nothing")
    run.models.stage("execution", broken)
    while run.models.staged:
        if run.session.market.done:
            run.to_a_parent()
        assert run.step() == DECIDED
    assert run.execution.digest == before
    assert any("damaged" in alarm for alarm in run.engine.alarms)
    run.ended()
    assert run.events()[Event.ARTEFACT_CHANGED] == 2


def test_artefacts_that_are_missing_or_do_not_fit_end_the_beginning(tmp_path: Path) -> None:
    models = loaded(tmp_path, *TWO)
    with pytest.raises(ArtefactError, match="nothing could work an order"):
        Models({"tactical": models["tactical"]})
    with pytest.raises(ArtefactError, match="nothing would decide what to hold"):
        Models({"execution": models["execution"]})
    with pytest.raises(ArtefactError, match="no artefact"):
        loaded_from = tmp_path / "nowhere"
        type(models["execution"])("execution", loaded_from, type(CONFIGS["execution"]))


_SESSION = """
import sys
import weakref
from pathlib import Path
import tests.cascade.test_engine as t
run = t.Run(Path(sys.argv[1]))
print("begun", flush=True)
run.session.run(10_000)
"""


def test_a_killed_process_leaves_a_log_that_replays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SESSION, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        log = tmp_path / "log"
        while process.poll() is None:
            size = sum(path.stat().st_size for path in log.glob("*.audit"))
            if size > 400_000:
                break
        process.send_signal(signal.SIGKILL)
    found = replay(log)
    assert found.difference is None, str(found.difference)
    assert found.steps > 0


def test_the_systems_clock_goes_on() -> None:
    clock = SystemClock()
    before = clock.now()
    clock.wait(0.001)
    assert clock.now() > before


@pytest.mark.parametrize("layer", LAYERS)
def test_an_artefact_that_is_let_go_is_gone_at_once(tmp_path: Path, layer: str) -> None:
    """A session runs without the collector of cycles: each champion would keep its megabytes."""
    model = load_model(layer, layer_artefact(tmp_path, layer, seed=1))
    model.decide()
    there = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert there() is None
    finally:
        gc.enable()
