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

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade import hot
from cascade.deadlines import Caller
from cascade.events import DECIDED, HELD, ORDER, REFUSED, REPEATED, Event
from cascade.health import Health, Sink
from cascade.hot import FAULTS, SOUND, decide_step, forget, hold_action, hot_arrays, read_step
from cascade.models import LayerModel, Models
from cascade.risk import Guard
from cascade.rows import allowed_at
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
from market.working import WAIT
from signals.bars.clock import NS_PER_MINUTE
from signals.bars.streams import Bar
from signals.upstream import CONTEXT_WIDTH, sign_context

_EXECUTION = "execution"
_NS = 1_000_000_000
_AUDIT, _BARS, _QUOTES = "audit", "bars", "quotes"


@dataclass(frozen=True)
class Plan:
    """The parent order for the bar that begins; `signed` 0 lets it pass.

    Attributes:
        start: of that bar, ns since 1970 UTC.
        signed: units, sells below 0.
        reduces_risk: whether it brings the position toward flat.
    """

    start: int
    signed: int
    reduces_risk: bool = False


class Engine:
    """One instrument's cascade. See the module.

    Attributes:
        hot: arrays of the step decided last; its children, cancels and decision are to be sent.
        upper: the layers above execution.
        health: how calls and inputs fare.
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
        self.rules = execution_rules(execution)
        self.hot = hot_arrays(execution.child.max_children, execution.child.max_resting)
        self._step_ns = round(execution.step_seconds * _NS)
        self._bar_ns = round(self.upper.minutes * NS_PER_MINUTE)
        self.guard: Guard | None = None
        self._context = np.zeros(CONTEXT_WIDTH)
        self._action, self._hold = hold_action(), hold_action()
        self.steps, self._next_id, self._lost = 0, 0, 0
        self._bar, self._position, self._parent_start, self._clock = -1, 0, 0, clock
        self._base, self._stopped = 0.0, False
        self._wanted_rollback: list[str] = []
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
    def alarms(self) -> list[str]:
        """The latest things that went wrong, newest last."""
        return self.health.alarms

    def described(self) -> dict[str, Any]:
        """The session as its first record tells it."""
        models = {
            layer: {
                "folder": str(model.folder.resolve()),
                "digest": model.digest,
                "commit": model.manifest.commit,
                "market": model.manifest.market,
            }
            for layer, model in self.models.active.items()
        }
        return {"config": self.config.model_dump(mode="json"), "models": models}

    def rollback(self, layer: str) -> None:
        """Go back to a layer's artefact before the present one, between two steps.

        Raises:
            ArtefactError: there is none.
        """
        self.models.rollback(layer)
        self._wanted_rollback.append(layer)

    def _renew_models(self) -> None:
        """Take artefacts that have loaded, or are gone back to; nothing here loads any."""
        while self._wanted_rollback:
            self.take_model(self.models.rollback(self._wanted_rollback.pop(0)))
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
        self._check_same(self.models.active[model.layer], model)
        before = self.models.active[model.layer].digest
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
            before=before,
        )

    @staticmethod
    def _check_same(old: LayerModel[Any], new: LayerModel[Any]) -> None:
        keys = {
            STRATEGIC: ("bar_minutes", "signals", "horizon_bars", "account", "decision"),
            TACTICAL: ("bar_minutes", "signals", "horizon_bars", "account", "tilt", "past_bars"),
            _EXECUTION: ("step_seconds", "parent", "child"),
        }[new.layer]
        for key in keys:
            mine, other = getattr(old.config, key), getattr(new.config, key)
            if mine != other:
                raise ArtefactError(
                    f"{new.folder} was trained with env.{key} {other!r}, this session runs with "
                    f"{mine!r}; begin a new session for it"
                )

    # -- bars

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
        recording = self._record_again()
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
        self._bar, self._position = number, int(account["position"][0])
        plan = Plan(clock, 0)
        if self._feed(bar, arrived, clock):
            self._watch_account(bar, clock, account)
            plan = self._decide_bar(clock, account, recording)
        try:
            self.sink.acknowledge()
            if plan.signed and self.config.audit.sync:
                self.sink.sync()
        except AuditError as error:
            self._interrupted(error)
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
            self.upper.feed(bar, clock)
        except DataError as error:
            self.health.refuse(_BARS, str(error), clock)
            return False
        self._clock = clock
        if not 0.0 <= late <= self.config.freshness.bars:
            why = f"stale: it came {late:g} lengths after its begin"
            self.health.refuse(_BARS, why, clock)
            return False
        self.health.recover(_BARS, clock)
        return True

    def _watch_account(self, bar: Bar, clock: int, account: NDArray[Any]) -> None:
        """Have the rules take over the account that was marked at the bar's close."""
        if self.guard is None:
            self.guard = self._opened(account)
            if self._stopped:
                self.guard.stop()
        self.guard.bar(bar, clock, account)
        self.sink.tell(Event.VAR_UPDATE, clock, **self.guard.described())
        self._tell_watch(clock)

    def _opened(self, account: NDArray[Any]) -> Guard:
        """The rules over an account that begins, by the layer whose account is traded."""
        model = self.models.active.get(TACTICAL) or self.models.active[STRATEGIC]
        config: LayerConfig = model.config
        # The limit is a share of the usual volume of the layer's bar.
        usual = int(account["limit"][0]) / config.account.limit_participation
        volume = usual * self.upper.minutes / config.bar_minutes
        return Guard(self.config.risk, account, config.market.tick, volume, self._bar_ns)

    def _tell_watch(self, clock: int) -> None:
        """RISK_BREACH where limits bind otherwise than before, EMERGENCY_STOP where rules stop."""
        assert self.guard is not None
        changed, stopped = self.guard.news()
        if changed and self.guard.breached:
            self.sink.tell(Event.RISK_BREACH, clock, **self.guard.described())
        if stopped:
            self.sink.tell(Event.EMERGENCY_STOP, clock, by="risk", reason="value at risk")
            self.health.alarm("emergency stop by the rules: value at risk is beyond stop_use")

    def _decide_bar(self, clock: int, account: NDArray[Any], recording: bool) -> Plan:
        """The tactical decision and the parent order that it comes to, breakers' cuts included."""
        assert self.guard is not None
        decided = self.upper.decide(clock, account)
        wanted = self.guard.bounded(self._wanted(account) if decided else 0)
        return self._order(wanted, clock, recording) if wanted else Plan(clock, 0)

    def _wanted(self, account: NDArray[Any]) -> int:
        """Signed units from the position to the target."""
        limit, upper = int(account["limit"][0]), self.upper
        target, held = upper.target, self._position / limit
        if self.health.holding & {STRATEGIC, TACTICAL}:
            # Toward the little that risk allocates, never away from flat.
            most = min(abs(held), self.config.fallback.risk_share)
            target = min(max(held, -most), most)
        elif upper.style == WAIT:
            return 0
        if upper.fast is not None:
            allowed = float(allowed_at(account, upper.fast.limits, False))
            target = min(max(target, -allowed), allowed)
        return round(target * limit) - self._position

    def _order(self, wanted: int, clock: int, recording: bool) -> Plan:
        """What the rules let through of an order of `wanted` signed units."""
        assert self.guard is not None
        signed, why = self.guard.parent(wanted, clock)
        self._tell_watch(clock)
        if not recording:
            signed, why = 0, {"reason": _AUDIT}
        if why is not None:
            self.sink.tell(Event.TRADE_REJECTED, clock, wanted=wanted, allowed=signed, **why)
        if not signed:
            return Plan(clock, 0)
        reduces = abs(self._position + signed) < abs(self._position)
        self.sink.tell(
            Event.TRADE_QUALIFIED, clock, signed=signed, target=self.upper.target,
            reduces_risk=reduces,
        )  # fmt: skip
        return Plan(clock, signed, reduces)

    def begin_parent(self, plan: Plan) -> None:
        """Make ready for the steps of a parent order."""
        side = BUY if plan.signed > 0 else SELL
        sign_context(self.upper.context, side, self._context)
        if self.guard is not None:
            self.guard.side = side
        self._parent_start = plan.start
        forget(self.hot)
        self.health.forget(_EXECUTION)

    # -- steps

    def on_step(
        self, parent: NDArray[Any], episode: NDArray[Any], depth: NDArray[np.int32],
        owned: NDArray[np.int32],
    ) -> bool:  # fmt: skip
        """Decide a step of the parent order; whether anything may be sent.

        What to send is in `hot`; its record is acknowledged. Args: see `hot.read_step`.
        """
        sink, work, guard = self.sink, self.hot, self.guard
        if guard is None or (self._lost and not self._record_again()):
            self._lost += self._lost > 0
            return False
        if self.models.staged or self._wanted_rollback:
            self._renew_models()
        mark, degraded = sink.mark(), self.health.degraded.copy()
        guard.keep()
        clock = self._parent_start + int(parent["step"][0]) * self._step_ns
        fault = read_step(
            work, parent, episode, depth, owned, self._context, self.rules,
            self.config.freshness.silent_steps, self._row,
        )  # fmt: skip
        self._tell_tick(clock, parent, episode, depth)
        source, action = self._choose(fault, clock)
        gate = guard.gate
        decide_step(
            work, action, source, self.steps, self._next_id, parent, episode, owned, self.rules,
            gate.account, gate.limits, gate.state, guard.tick, clock / _NS,
        )  # fmt: skip
        guard.watched = int(work.counts[hot.WATCHED])
        self._tell_acted(clock, source)
        try:
            sink.acknowledge()
        except AuditError as error:
            sink.take_back(mark)
            guard.undo()
            self.health.degraded = degraded
            self._interrupted(error)
            return False
        self.steps += 1
        self._next_id += int(work.decision["children"][0])
        self._base = float(episode["base"][0])
        # Breakers take back what rests though no layer answers.
        return source < HELD or bool(work.decision["cancel_all"][0])

    def _tell_tick(self, clock: int, parent: Any, episode: Any, depth: Any) -> None:
        """NEW_TICK: in the layout of `events.TICK`, put together from the arrays as they lie."""
        count = int(self.hot.counts[hot.OWNED_ROWS])
        payload = b"".join(
            (
                self.steps.to_bytes(8, "little"),
                self._bar.to_bytes(8, "little", signed=True),
                parent.tobytes(),
                episode.tobytes(),
                depth.tobytes(),
                self._context.tobytes(),
                self.hot.owned[:count].tobytes(),
            )
        )
        self.sink.add(Event.NEW_TICK, clock, payload, count)

    def _choose(self, fault: int, clock: int) -> tuple[int, NDArray[np.float32]]:
        """The joint action to decode, and how it came about."""
        if fault != SOUND:
            self.health.refuse(_QUOTES, FAULTS[fault], clock)
            return REFUSED, self._hold
        if _QUOTES in self.health.degraded:
            self.health.recover(_QUOTES, clock)
        self._watch_venues(clock)
        self._voices.keys[_EXECUTION] = self.steps
        source = self.health.call(_EXECUTION, self._ask, clock)
        if source == DECIDED:
            self._action[:] = self._answer
            return source, self._answer
        return source, self._action if source == REPEATED else self._hold

    def _watch_venues(self, clock: int) -> None:
        silent = self.hot.seen["silent"][0]
        if not silent.any() and not self.health.degraded:
            return
        for venue in range(VENUE_COUNT):
            name = f"venue {venue}"
            if silent[venue] >= self.config.freshness.silent_steps:
                self.health.degrade(name, "silent", clock)
            elif name in self.health.degraded:
                self.health.recover(name, clock)

    def _tell_acted(self, clock: int, source: int) -> None:
        work, sink = self.hot, self.sink
        sink.add(Event.EXECUTE_TRADE, clock, work.acted.tobytes())
        if source != REFUSED:
            self._tell_watch(clock)
        counts = work.counts
        orders, refusals, cancels = counts[hot.ORDERS], counts[hot.REFUSALS], counts[hot.CANCELS]
        if refusals:
            payload = work.refusals[:refusals].tobytes()
            sink.add(Event.RULES_REFUSED, clock, payload, int(refusals))
        if cancels:
            sink.add(Event.CANCEL_SENT, clock, work.cancelled[:cancels].tobytes(), int(cancels))
        if orders:
            sink.add(Event.ORDER_SUBMITTED, clock, work.orders[:orders].tobytes(), int(orders))
        if work.acted["stop"][0]:
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
        """Whether what is left of the parent may cross at its horizon."""
        return bool(self.hot.acted["complete"][0])

    def on_report(
        self, fills: NDArray[Any], cancelled: NDArray[Any], rejected: NDArray[Any], forced: int
    ) -> None:
        """What the venues did in the step after the last decision.

        Args:
            fills: FILL [k]; cancelled, rejected: ENDED [k].
            forced: number of the order that crossed the rest at the horizon; -1 where none did.
        """
        if not (len(fills) or len(cancelled) or len(rejected) or forced >= 0):
            return
        clock, sink = self._parent_start, self.sink
        sink.tell(Event.STEP_REPORTED, clock, forced=forced)
        if forced >= 0:
            order = np.zeros(1, ORDER)
            order["id"], child = forced, np.zeros(1, CHILD)
            child["kind"], child["venue"] = AGGRESSIVE, SMART
            child["quantity"] = int(fills["quantity"][fills["id"] == forced].sum())
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
            self.guard.report(self._base, fills, cancelled, rejected, forced)
        self._keep_recording()

    def on_closed(self, **told: Any) -> None:
        """The parent order is done; `told` goes to the log."""
        self.sink.tell(Event.TRADE_CLOSED, self._parent_start, **told)
        self._keep_recording()

    def stop(self, reason: str) -> None:
        """EMERGENCY_STOP by an operator: nothing goes but toward flat, until `let_go`."""
        self._stopped = True
        if self.guard is not None:
            self.guard.stop()
        self.sink.tell(Event.EMERGENCY_STOP, self._clock, by="operator", reason=reason)
        self._keep_recording()

    def let_go(self, reason: str) -> None:
        """Lift an emergency stop, whoever stopped: an operator's decision alone."""
        self._stopped = False
        if self.guard is not None:
            self.guard.let_go()
        self.sink.tell(Event.STOP_LIFTED, self._clock, reason=reason)
        self._keep_recording()

    def end(self) -> None:
        """Record the end of the session."""
        self.sink.tell(Event.SESSION_ENDED, self._clock, steps=self.steps)
        self.sink.acknowledge()
        self.models.close()

    # -- faults

    def _interrupted(self, error: AuditError) -> None:
        """Nothing can be recorded: nothing is traded until it can."""
        if not self._lost:
            self.health.alarm(str(error))
        self._lost += 1

    def _keep_recording(self) -> None:
        """Acknowledge what has happened; kept in memory while the disk is full.

        Raises:
            AuditError: more waits than may: the session must end.
        """
        try:
            self.sink.acknowledge()
        except AuditError as error:
            self._interrupted(error)
            if self.sink.overflowing:
                raise

    def _record_again(self) -> bool:
        """Whether records can be written, after an interruption too."""
        mark = self.sink.mark()
        if self._lost:
            self.sink.tell(Event.AUDIT_INTERRUPTED, self._clock, calls=self._lost)
        try:
            self.sink.acknowledge()
        except AuditError as error:
            self.sink.take_back(mark)
            self._interrupted(error)
            return False
        if self._lost:
            self.resume()
        return True

    def resume(self) -> None:
        """Go on after an interruption of the log: nothing is remembered of the steps before."""
        self._lost = 0
        forget(self.hot)
        self.health.forget(_EXECUTION)


__all__ = ["Engine", "Plan"]
