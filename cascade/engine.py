"""The engine: closed bars and quotes in, judged orders and an audit record of each decision out.

Each layer runs at its own cadence: the strategic one (with the regime filter) when a bar of
its length closes, the tactical one when one of its own does, execution and the rules on each
step of a parent order; what a layer said holds until it speaks again. The engine knows no
venue and no clock but what it is given, so that a log of its inputs gives its decisions again
to the bit (`cascade.replay`). Nothing may be sent that `on_step` has not returned: by then
its record is acknowledged.

A layer that does not answer falls back on its last valid decision, then holds; while one
holds, risk allocates at most `fallback.risk_share` of the limit and only what reduces beyond.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade import hot
from cascade.deadlines import Caller
from cascade.events import BAR, DECIDED, HELD, ORDER, REFUSED, REPEATED, Event
from cascade.health import Health, Sink
from cascade.hot import (
    FAULTS,
    SOUND,
    Decide,
    decider,
    forget,
    hold_action,
    hot_arrays,
    read_step,
    trust_rules,
)
from cascade.models import LayerModel, Models
from cascade.planning import Plan, Planner, tell_watch
from cascade.recording import Recording
from cascade.records import Records
from cascade.risk import Guard, day_rules
from cascade.upper import STRATEGIC, TACTICAL, Upper
from cascade.voices import Voices
from configs.barwise import LayerConfig
from configs.cascade import CascadeConfig
from configs.errors import ArtefactError, AuditError, DataError
from configs.execution import ExecutionConfig
from configs.market import VENUE_COUNT
from market.decode import CHILD, execution_rules
from market.orders.layout import BUY, SELL
from market.state import AGGRESSIVE, SMART
from signals.bars.clock import NS_PER_MINUTE
from signals.bars.streams import Bar
from signals.upstream import CONTEXT_WIDTH, sign_context

_EXECUTION = "execution"
_NS = 1_000_000_000
_BARS, _QUOTES = "bars", "quotes"


class Engine:
    """One instrument's cascade. See the module.

    Attributes:
        hot: arrays of the step decided last; its children, cancels and decision are to be sent.
        upper: the layers above execution.
        health: how calls and inputs fare.
        recording: whether the log can be written.
        guard: the rules that every order passes; None before the first good bar.
        steps: hot decisions of the session.
    """

    def __init__(
        self, models: Models, config: CascadeConfig, sink: Sink, caller: Caller, clock: int = 0
    ) -> None:
        """Begin a session, and record it.

        Args:
            clock: ns since 1970 UTC, of the first bar.

        Raises:
            AuditError: the session cannot be recorded.
        """
        self.models, self.config, self.sink = models, config, sink
        execution: ExecutionConfig = models.active[_EXECUTION].config
        self.health = Health(sink, caller, config.fallback)
        self._voices = Voices(models, config)
        self.upper = Upper(models, self._voices, self.health, sink, execution)
        # As it is recorded, so that a replay is by the same day.
        rules = day_rules(config.risk, self._setter, self.upper.minutes)
        self.config = config.model_copy(update={"risk": rules})
        self._planner = Planner(self.upper, self.health, sink, config)
        self.rules = execution_rules(execution)
        arrays = hot_arrays(execution.child.max_children, execution.child.max_resting)
        self._heard, self.hot = arrays
        self._records = Records(self._heard, self.hot)
        self.recording = Recording(sink, self.health, self._forget)
        self._silent_steps = config.freshness.silent_steps
        self._trust = trust_rules(config.freshness)
        self._step_ns = round(execution.step_seconds * _NS)
        self._bar_ns = round(self.upper.minutes * NS_PER_MINUTE)
        self.guard: Guard | None = None
        self._decide: Decide | None = None
        self._context = np.zeros(CONTEXT_WIDTH)
        self._action, self._hold = hold_action(), hold_action()
        self.steps, self._next_id = 0, 0
        self._bar, self._parent_start, self._clock = -1, 0, clock
        self._stopped, self._past = False, np.zeros(0, BAR)
        self._bind()
        self.sink.tell(Event.SESSION_BEGUN, clock, **self.described())
        self.sink.acknowledge()

    # -- artefacts

    def _bind(self) -> None:
        """What the hot path asks, so that it looks nothing up."""
        self._voices.bind()
        self._ask, self._answer = self._voices.asks[_EXECUTION], self._voices.answers[_EXECUTION]
        self._row = self.models.active[_EXECUTION].row

    @property
    def degraded(self) -> set[str]:
        """What is amiss now, by name."""
        return self.health.degraded

    @property
    def clock(self) -> int:
        """The end of the last bar, ns since 1970 UTC."""
        return self._clock

    @property
    def alarms(self) -> list[str]:
        """The latest things that went wrong, newest last."""
        return self.health.alarms

    def described(self) -> dict[str, Any]:
        """The session as its first record tells it."""
        models = {layer: model.described() for layer, model in self.models.active.items()}
        return {"config": self.config.model_dump(mode="json"), "models": models}

    def _renew_models(self) -> None:
        """Take an artefact that has loaded; nothing here loads any."""
        found = self.models.ready() if self.models.staged else None
        if found is None:
            return
        layer, model = found
        try:
            if isinstance(model, ArtefactError):
                raise model
            self.take_model(model)
        except ArtefactError as error:
            self.health.alarm(f"artefact of layer {layer} refused: {error}")

    def take_model(self, model: LayerModel[Any]) -> None:
        """Decide by another artefact from the next call on.

        Raises:
            ArtefactError: its environment's market or signals are not those of this session.
        """
        old = self.models.active[model.layer]
        model.check_stands_in(old)
        self.models.take(model)
        self._bind()
        if model.layer == STRATEGIC:
            self.upper.renew_slow()
        self.sink.tell(
            Event.ARTEFACT_CHANGED,
            self._clock,
            layer=model.layer,
            folder=str(model.folder.resolve()),
            digest=model.digest,
            before=old.digest,
        )

    # -- bars

    def on_past(self, bars: NDArray[Any]) -> int:
        """Take in bars that closed before the session decides; how many of them were needed.

        Before any other bar. Args: BAR [k], in order.

        Raises:
            DataError: one is none, or does not follow. AuditError: they cannot be recorded.
        """
        taken = 0
        for row in bars.tolist():
            taken += 1
            if self.upper.read_past(Bar(*row)):
                break
        if taken:
            self._past = bars[:taken].copy()
            self._clock = int(self._past["start"][-1]) + self._bar_ns
            self.sink.add(Event.PAST_BARS, self._clock, self._past.tobytes(), taken)
            self.sink.acknowledge()
        return taken

    def on_bar(self, bar: Bar, arrived: int, account: NDArray[Any], number: int) -> Plan:
        """A tactical bar has closed: what is to be ordered over the next one.

        Args:
            arrived: ns since 1970 UTC, when it came.
            account: ACCOUNT [1], marked at its close.
            number: of the bar that begins, for the log.

        Returns:
            The plan; its record is acknowledged where it orders anything.
        """
        clock = bar.start + self._bar_ns
        recording = self.recording.again(self._clock)
        self._renew_models()
        self.sink.tell(
            Event.NEW_5MIN_BAR,
            clock,
            bar=[repr(float(value)) for value in bar[1:]],
            start=bar.start,
            arrived=arrived,
            account=account.tobytes().hex(),
            number=number,
            recording=recording,
        )
        self._bar = number
        plan = Plan(clock, 0)
        if self._feed(bar, arrived, clock):
            self._watch_account(bar, clock, account)
            plan = self._planner.plan(clock, account, self.guard, recording)
        try:
            self.sink.acknowledge()
        except AuditError as error:
            self.recording.interrupted(error)
            return Plan(clock, 0)
        if plan.signed:
            self.begin_parent(plan)
        return plan

    def _feed(self, bar: Bar, arrived: int, clock: int) -> bool:
        """Take in a bar; whether it may be decided on."""
        late = (arrived - bar.start) / self._bar_ns
        for layer in (STRATEGIC, TACTICAL):
            self._voices.keys[layer] = clock // NS_PER_MINUTE
        try:
            if clock <= self._clock:
                raise DataError(f"the bar of {bar.start} ns ends before the last one: clock back")
            if late < 0.0:
                # Taken in, it would make every later bar one of the past.
                raise DataError(f"the bar of {bar.start} ns begins {-late:g} lengths from now")
            self.upper.feed(bar, clock)
        except DataError as error:
            self.health.refuse(_BARS, str(error), clock)
            return False
        self._clock = clock
        if not late <= self.config.freshness.bars:
            why = f"stale: it came {late:g} lengths after its begin"
            self.health.refuse(_BARS, why, clock)
            return False
        self.health.recover(_BARS, clock)
        return True

    def _watch_account(self, bar: Bar, clock: int, account: NDArray[Any]) -> None:
        """Have the rules take over the account that was marked at the bar's close."""
        if self.guard is None:
            self.guard = self._opened(account)
            if len(self._past):
                self.guard.past(self._past)
                self._past = self._past[:0].copy()
            self._decide = decider(self.hot, self.guard.judging(self.rules), self.guard.tick)
            if self._stopped:
                self.guard.stop()
        self.guard.bar(bar, clock, account)
        self.sink.tell(Event.VAR_UPDATE, clock, **self.guard.described())
        tell_watch(self.guard, self.guard.standing, self.health, self.sink, clock)

    def _opened(self, account: NDArray[Any]) -> Guard:
        """The rules over an account that begins, by the layer whose account is traded."""
        config = self._setter
        # The limit is a share of the usual volume of the layer's bar.
        usual = int(account["limit"][0]) / config.account.limit_participation
        volume = usual * self.upper.minutes / config.bar_minutes
        return Guard(self.config.risk, account, config.market.tick, volume, self._bar_ns)

    @property
    def _setter(self) -> LayerConfig:
        """Of the layer whose bars and account are traded."""
        model = self.models.active.get(TACTICAL) or self.models.active[STRATEGIC]
        config: LayerConfig = model.config
        return config

    def begin_parent(self, plan: Plan) -> None:
        """Make ready for the steps of a parent order."""
        side = BUY if plan.signed > 0 else SELL
        sign_context(self.upper.context, side, self._context)
        if self.guard is not None:
            self.guard.side = side
        self._parent_start = plan.start
        self._forget()

    def _forget(self) -> None:
        """Let nothing of the steps before stand in for what is to come."""
        forget(self._heard)
        self.health.forget(_EXECUTION)

    # -- steps

    def on_step(
        self, parent: NDArray[Any], episode: NDArray[Any], depth: NDArray[np.int32],
        owned: NDArray[np.int32],
    ) -> bool:  # fmt: skip
        """Decide a step of the parent order; whether anything may be sent.

        What to send is in `hot`; its record is acknowledged. Args: see `hot.read_step`.
        """
        sink, guard, decide = self.sink, self.guard, self._decide
        if guard is None or decide is None:
            return False
        if self.recording.lost and not self.recording.again(self._clock):
            return False
        if self.models.staged:
            self._renew_models()
        mark, degraded = sink.mark(), self.health.degraded.copy()
        guard.keep()
        fault = read_step(
            self._heard, parent, episode, depth, owned, self._context, self.rules,
            self._silent_steps, self._trust, self.steps, self._bar, self._row,
        )  # fmt: skip
        counts = self._heard.counts.tolist()
        clock = self.at_step(counts[hot.STEP])
        rows = counts[hot.OWNED_ROWS]
        sink.add(Event.NEW_TICK, clock, self._records.tick(rows), rows)
        source, action = self._choose(fault, counts[hot.SILENT_VENUES], clock)
        decide(action, source, self._next_id, clock / _NS)
        counts = self._heard.counts.tolist()
        self._tell_acted(clock, source, counts)
        try:
            sink.acknowledge()
        except AuditError as error:
            sink.take_back(mark)
            guard.undo()
            self.health.degraded = degraded
            self.recording.interrupted(error)
            return False
        self.steps += 1
        self._next_id += counts[hot.CHILDREN]
        # Breakers take back what rests though no layer answers.
        return source < HELD or bool(counts[hot.CANCEL_ALL])

    def _choose(self, fault: int, silent: int, clock: int) -> tuple[int, NDArray[np.float32]]:
        """The joint action to decode, and how it came about."""
        if fault != SOUND:
            self.health.refuse(_QUOTES, FAULTS[fault], clock)
            return REFUSED, self._hold
        if silent or self.health.degraded:
            self.health.recover(_QUOTES, clock)
            self._watch_venues(clock)
        self._voices.keys[_EXECUTION] = self.steps
        source = self.health.call(_EXECUTION, self._ask, clock)
        if source == DECIDED:
            self._action[:] = self._answer
            return source, self._answer
        return source, self._action if source == REPEATED else self._hold

    def _watch_venues(self, clock: int) -> None:
        silent, apart = self._heard.seen["silent"][0], self._heard.seen["apart"][0]
        for venue in range(VENUE_COUNT):
            name = f"venue {venue}"
            if silent[venue] >= self._silent_steps:
                self.health.degrade(name, "silent", clock)
            elif apart[venue]:
                self.health.degrade(name, "its quotes lie off the other venues'", clock)
            elif name in self.health.degraded:
                self.health.recover(name, clock)

    def _tell_acted(self, clock: int, source: int, counts: list[int]) -> None:
        """What the step came to, `counts` of each."""
        sink, records, guard = self.sink, self._records, self.guard
        sink.add(Event.EXECUTE_TRADE, clock, records.acted)
        if source != REFUSED and guard is not None and counts[hot.STANDING] != guard.told:
            tell_watch(guard, counts[hot.STANDING], self.health, sink, clock)
        count = counts[hot.REFUSALS]
        if count:
            sink.add(Event.RULES_REFUSED, clock, records.refusals(count), count)
        count = counts[hot.CANCELS]
        if count:
            sink.add(Event.CANCEL_SENT, clock, records.cancelled(count), count)
        count = counts[hot.ORDERS]
        if count:
            sink.add(Event.ORDER_SUBMITTED, clock, records.orders(count), count)
        if counts[hot.STOP]:
            sink.tell(Event.EMERGENCY_STOP, clock, by="execution")

    @property
    def recorded(self) -> int:
        """Number of the last record that is safe."""
        return self.sink.acknowledged

    @property
    def refused_units(self) -> int:
        """Units that the rules did not let through in the last step."""
        return int(self.hot.counts[hot.UNITS_REFUSED])

    @property
    def completes(self) -> bool:
        """Whether what is left of the parent may cross, at its horizon or by a stop."""
        return bool(self.hot.acted["complete"][0])

    @property
    def crossing_limit(self) -> int:
        """The worst level of the parent's ladder at which it may."""
        return int(self.hot.acted["limit"][0])

    def at_step(self, step: int) -> int:
        """When a step of the parent that is worked begins, ns since 1970 UTC."""
        return self._parent_start + step * self._step_ns

    def on_report(
        self, clock: int, fills: NDArray[Any], cancelled: NDArray[Any], rejected: NDArray[Any],
        forced: int,
    ) -> None:  # fmt: skip
        """What the venues did in the step after the last decision.

        Args:
            clock: ns since 1970 UTC, when they tell it.
            fills: FILL [k]; cancelled, rejected: ENDED [k].
            forced: number of the order that crossed the rest at the horizon; -1 where none did.
        """
        if not (len(fills) or len(cancelled) or len(rejected) or forced >= 0):
            return
        sink = self.sink
        sink.tell(Event.STEP_REPORTED, clock, forced=forced)
        if forced >= 0:
            order = np.zeros(1, ORDER)
            order["id"], child = forced, np.zeros(1, CHILD)
            child["kind"], child["venue"] = AGGRESSIVE, SMART
            child["quantity"] = sum(
                int(told["quantity"][told["id"] == forced].sum()) for told in (fills, cancelled)
            )
            order["child"] = child
            sink.add(Event.ORDER_SUBMITTED, clock, order.tobytes())
            self._next_id = forced + 1
        for event, told in (
            (Event.ORDER_FILLED, fills),
            (Event.ORDER_CANCELLED, cancelled),
            (Event.ORDER_REJECTED, rejected),
        ):
            if len(told):
                sink.add(event, clock, told.tobytes(), len(told))
        if self.guard is not None:
            base = float(self.hot.tick["episode"]["base"][0])
            self.guard.report(base, fills, cancelled, rejected, forced)
        self.recording.keep()

    def on_closed(self, clock: int, **told: Any) -> None:
        """The parent order is done, at `clock` (ns since 1970 UTC); `told` goes to the log."""
        self.sink.tell(Event.TRADE_CLOSED, clock, **told)
        self.recording.keep(self.config.audit.sync)

    def stop(self, reason: str) -> None:
        """EMERGENCY_STOP by an operator: nothing goes but toward flat, until `let_go`."""
        self._stopped = True
        if self.guard is not None:
            self.guard.stop()
        self.sink.tell(Event.EMERGENCY_STOP, self._clock, by="operator", reason=reason)
        self.recording.keep()

    @property
    def stopped(self) -> bool:
        """Whether an emergency stop holds, an operator's or the rules'."""
        return self._stopped or (self.guard is not None and self.guard.stopped)

    def let_go(self, reason: str) -> None:
        """Lift an emergency stop, whoever stopped: an operator's decision alone."""
        self._stopped = False
        if self.guard is not None:
            self.guard.let_go()
        self.sink.tell(Event.STOP_LIFTED, self._clock, reason=reason)
        self.recording.keep()

    def end(self) -> None:
        """Record the end of the session."""
        self.sink.tell(Event.SESSION_ENDED, self._clock, steps=self.steps)
        self.sink.acknowledge()
        self.models.close()


__all__ = ["Engine", "Plan"]
