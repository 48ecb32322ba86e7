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
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cascade import hot
from cascade.deadlines import Ask, Caller, Outcome
from cascade.events import ACTED, DECIDED, HELD, ORDER, REFUSED, REPEATED, SOURCES, Event
from cascade.graphs import SAMPLING
from cascade.hot import FAULTS, SOUND, decide_step, forget, hold_action, hot_arrays, read_step
from cascade.models import LAYERS, LayerModel, Models, bar_minutes
from cascade.risk import Reason, judge_parent, limits_of
from cascade.rows import SAID_WIDTH, allowed_at
from cascade.windows import FastSide, SlowSide
from configs.cascade import CascadeConfig
from configs.errors import ArtefactError, AuditError, DataError
from configs.execution import ExecutionConfig
from configs.market import VENUE_COUNT
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from market.decode import CHILD, execution_rules
from market.state import AGGRESSIVE, SMART
from market.working import WAIT
from signals.bars.clock import NS_PER_MINUTE
from signals.bars.streams import Bar
from signals.noise import JointNoise, derive_seeds
from signals.said import (
    SAID,
    strategic_said,
    tactical_directions,
    tactical_given_strategic,
    tactical_said,
)
from signals.superposition import DIRECTIONS, HOLD, usable_entanglement
from signals.upstream import CONFIDENT, CONTEXT_WIDTH, sign_context

_STRATEGIC, _TACTICAL, _EXECUTION = "strategic", "tactical", "execution"
_NS = 1_000_000_000
_CONFIDENCE = SAID.index("confidence")
_WIDTH = len(SAID)
_AUDIT, _BARS, _QUOTES = "audit", "bars", "quotes"
_KEPT_BARS = 4_000  # longer bars from which a new strategic artefact's windows are made


class Sink(Protocol):
    """Where records go: `cascade.audit.AuditLog`, or a replay's list."""

    def add(self, event: Event, clock: int, payload: bytes = b"", count: int = 1) -> int: ...
    def tell(self, event: Event, clock: int, **told: Any) -> int: ...
    def mark(self) -> tuple[int, int]: ...
    def take_back(self, mark: tuple[int, int]) -> None: ...
    def acknowledge(self) -> int: ...
    def sync(self) -> None: ...
    @property
    def overflowing(self) -> bool: ...
    @property
    def acknowledged(self) -> int: ...


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


@dataclass(frozen=True)
class Spoken:
    """What a layer said last: SELL, HOLD, BUY, and its target as a share of the limit."""

    layer: str
    directions: tuple[float, ...]
    target: float
    how: str


@dataclass
class _Fallback:
    """How a layer's last calls went."""

    calls: int  # for which its last valid decision may stand in
    age: int = 0
    valid: bool = False

    def source(self, outcome: Outcome) -> int:
        """DECIDED, REPEATED or HELD, for the call that has just been made."""
        if outcome.answered:
            self.age, self.valid = 0, True
            return DECIDED
        self.age += 1
        return REPEATED if self.valid and self.age <= self.calls else HELD


def _hold_said() -> NDArray[np.float64]:
    """A layer that holds for certain: probabilities, confidence, coherence; then zeros."""
    said = np.zeros(SAID_WIDTH)
    said[HOLD] = said[_CONFIDENCE] = said[_CONFIDENCE + 1] = 1.0
    return said


class Engine:
    """One instrument's cascade. See the module.

    Attributes:
        hot: arrays of the step decided last; its children, cancels and decision are to be sent.
        degraded: what is amiss now, by name.
        alarms: the latest things that went wrong, newest last.
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
        self.models, self.config, self.sink, self._caller = models, config, sink, caller
        execution: ExecutionConfig = models.active[_EXECUTION].config
        self.rules = execution_rules(execution)
        self.hot = hot_arrays(execution.child.max_children, execution.child.max_resting)
        self._step_ns = round(execution.step_seconds * _NS)
        self._minutes = execution.parent.horizon_steps * execution.step_seconds / 60.0
        self.fast: FastSide | None = None
        self.slow: SlowSide | None = None
        self._make_sides(execution)
        self._limits: NDArray[Any] | None = None
        told = config.fallback
        self._fallbacks = {
            _STRATEGIC: _Fallback(told.strategic_calls),
            _TACTICAL: _Fallback(told.tactical_calls),
            _EXECUTION: _Fallback(told.execution_calls),
        }
        self._holding: set[str] = set()
        self._strategic = _hold_said()
        self._tactical, self._share = _hold_said()[:_WIDTH], 1.0
        self._target, self._style = 0.0, -1
        self._said, self._context = np.zeros(CONTEXT_WIDTH), np.zeros(CONTEXT_WIDTH)
        self._action, self._hold = hold_action(), hold_action()
        self._ready: dict[str, bool] = {}
        self.degraded: set[str] = set()
        self.alarms: list[str] = []
        self.steps, self._next_id, self._lost, self._longer = 0, 0, 0, 0
        self._bar, self._position, self._parent_start, self._clock = -1, 0, 0, clock
        self._only_reduce = self._stopped = False
        self._kept: list[tuple[Bar, float]] = []
        self._wanted_rollback: list[str] = []
        self._bind()
        self.sink.tell(Event.SESSION_BEGUN, clock, **self.described())
        self.sink.acknowledge()

    # -- artefacts

    def _make_sides(self, execution: ExecutionConfig) -> None:
        tactical, strategic = self.models.active.get(_TACTICAL), self.models.active.get(_STRATEGIC)
        if tactical is not None:
            self.fast = FastSide(tactical)
            self._minutes = bar_minutes(tactical)
        if strategic is not None:
            self.slow = SlowSide(strategic, self._minutes, execution.schedule.half_spread_bp)
        steps = self._minutes * 60.0 / execution.step_seconds
        if execution.parent.horizon_steps > steps:
            raise ArtefactError(
                f"execution works a parent over {execution.parent.horizon_steps} steps of "
                f"{execution.step_seconds:g} s, and a tactical bar has {steps:g}: expected at most "
                "as many; train it with env.parent.horizon_steps"
            )

    def _bind(self) -> None:
        """What to ask of each layer's artefact, and where its answer lies."""
        self._asks: dict[str, Ask] = {}
        self._answers: dict[str, NDArray[np.float32]] = {}
        for layer, model in self.models.active.items():
            self._asks[layer], self._answers[layer] = model.decide, model.actions
            if layer in self.config.sample:
                model.policy.bound(SAMPLING)  # proves that there is such a graph
                self._answers[layer] = np.zeros_like(model.actions)
                # Each layer has draws of its own.
                seeds = derive_seeds(self.config.seed, list(LAYERS).index(layer), count=1)
                self._asks[layer] = partial(self._sample, model, JointNoise(model.layout), seeds)
        # The hot path looks nothing up.
        self._executor: LayerModel[ExecutionConfig] = self.models.active[_EXECUTION]
        self._ask, self._answer = self._asks[_EXECUTION], self._answers[_EXECUTION]
        self._row = self._executor.row

    def _sample(self, model: LayerModel[Any], noise: JointNoise, seeds: NDArray[np.uint64]) -> None:
        """A sampled joint action, and the probabilities; noise keyed by (seed, step, agent)."""
        model.decide()
        step = self.steps if model.layer == _EXECUTION else self._clock // NS_PER_MINUTE
        drawn = noise(seeds, np.array([step], np.int64))
        self._answers[model.layer][:] = model.policy.sample(model.row[None], drawn)[0]

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
            self._alarm(f"artefact of layer {layer} refused: {error}")

    def take_model(self, model: LayerModel[Any]) -> None:
        """Decide by another artefact from the next call on.

        Raises:
            ArtefactError: its environment's market or signals are not those of this session.
        """
        self._check_same(self.models.active[model.layer], model)
        before = self.models.active[model.layer].digest
        self.models.take(model)
        self._bind()
        if model.layer == _STRATEGIC:
            self._renew_slow(model)
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
            _STRATEGIC: ("bar_minutes", "signals", "horizon_bars", "account", "decision"),
            _TACTICAL: ("bar_minutes", "signals", "horizon_bars", "account", "tilt", "past_bars"),
            _EXECUTION: ("step_seconds", "parent", "child"),
        }[new.layer]
        for key in keys:
            mine, other = getattr(old.config, key), getattr(new.config, key)
            if mine != other:
                raise ArtefactError(
                    f"{new.folder} was trained with env.{key} {other!r}, this session runs with "
                    f"{mine!r}; begin a new session for it"
                )

    def _renew_slow(self, model: LayerModel[StrategicConfig]) -> None:
        """Another regime model reads the bars of the past anew; the account stays."""
        old = self.slow
        assert old is not None
        spread = self._executor.config.schedule.half_spread_bp
        side = SlowSide(model, self._minutes, spread)
        side.cells = old.cells
        for bar, _ in self._kept:
            side.read(bar)
        side.keep_account(old)
        self.slow = side

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
        # NaN has no int; a bar without a stamp is refused with the clock as it stands.
        length = round(self._minutes * NS_PER_MINUTE)
        clock = bar.start + length
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
        length = round(self._minutes * NS_PER_MINUTE)
        late = (arrived - bar.start) / length
        try:
            if bar.start + length <= self._clock:
                raise DataError(f"the bar of {bar.start} ns ends before the last one: clock back")
            if self.fast is not None:
                self.fast.feed(bar)
            if self.slow is not None:
                self._feed_slow(bar, clock)
        except DataError as error:
            self._refuse(_BARS, str(error), clock)
            return False
        self._clock = clock
        if not 0.0 <= late <= self.config.freshness.bars:
            self._refuse(_BARS, f"stale: it came {late:g} lengths after its begin", clock)
            return False
        self._recover(_BARS, clock)
        return True

    def _feed_slow(self, bar: Bar, clock: int) -> None:
        slow = self.slow
        assert slow is not None
        for longer, mean_open in slow.cells.push(bar):
            slow.feed(longer, mean_open)
            self._longer += 1
            self._kept.append((longer, mean_open))
            del self._kept[:-_KEPT_BARS]
            self.sink.tell(
                Event.NEW_30MIN_BAR,
                clock,
                bar=list(longer),
                regime=slow.regime,
                confidence=_told(slow.regime_confidence),
            )
            self._tell_ready(_STRATEGIC, slow.whole, clock)
            if slow.whole:
                self._decide_strategic(clock)

    def _decide_strategic(self, clock: int) -> None:
        """Ask the strategic layer, or stand in for it."""
        slow, model = self.slow, self.models.active[_STRATEGIC]
        assert slow is not None
        slow.write_row(model.row)
        source = self._call(_STRATEGIC, self._asks[_STRATEGIC], clock)
        if source == DECIDED:
            actions = self._answers[_STRATEGIC]
            slow.take(actions)
            told = model.row[None], actions[None], model.probabilities[None]
            self._strategic[:-1] = strategic_said(*told, slow.rules)[0]
        else:
            if source == HELD:
                held = slow.held
                self._strategic = _hold_said()
                self._strategic[-2] = held
            slow.order(float(self._strategic[-2]))
        self.sink.tell(
            Event.STRATEGIC_DECISION,
            clock,
            source=SOURCES[source],
            actions=self._answers[_STRATEGIC].tolist() if source == DECIDED else None,
            said=self._strategic[:-1].tolist(),
            information=_listed(model.information) if source == DECIDED else None,
        )

    def _decide_bar(self, clock: int, account: NDArray[Any], recording: bool) -> Plan:
        """The tactical decision and the parent order that it comes to."""
        fast = self.fast
        limit = int(account["limit"][0])
        self._limits = limits_of(self.config.limits, limit)
        if self.slow is not None:
            self._strategic[-1] = self.slow.cells.phase(clock)
        if fast is not None:
            self._tell_ready(_TACTICAL, fast.whole, clock)
            if not fast.whole or (self.slow is not None and not self.slow.whole):
                return Plan(clock, 0)
            self._decide_tactical(clock, account)
        else:
            if self.slow is not None and not self.slow.whole:
                return Plan(clock, 0)
            self._target, self._style = float(self._strategic[-2]), -1
        return self._order(clock, account, recording)

    def _decide_tactical(self, clock: int, account: NDArray[Any]) -> None:
        fast, model = self.fast, self.models.active[_TACTICAL]
        assert fast is not None
        fast.write_row(account, self._strategic, model.row)
        source = self._call(_TACTICAL, self._asks[_TACTICAL], clock)
        closing, entangled = 0, 0.0
        use = fast.risk_use(account)
        if source == DECIDED:
            rows = model.row[None].copy()
            actions, p = self._answers[_TACTICAL][None], model.probabilities[None].copy()
            self._target, closing, self._style = fast.take(
                actions[0], account, float(self._strategic[-2])
            )
            said = tactical_said(rows, actions, p, fast.rules)[0]
            self._tactical, self._share = said[:_WIDTH], float(said[_WIDTH])
            entangled = self._entangled(model, rows)
        elif source == HELD:
            self._tactical, self._share = _hold_said()[:_WIDTH], 0.0
            self._target = self._position / max(int(account["limit"][0]), 1)
        fast.passed()
        self._said[:_WIDTH] = self._strategic[:_WIDTH]
        self._said[_WIDTH : 2 * _WIDTH] = self._tactical
        self._said[-2:] = entangled, self._share
        self.sink.tell(
            Event.TACTICAL_DECISION,
            clock,
            source=SOURCES[source],
            actions=self._answers[_TACTICAL].tolist() if source == DECIDED else None,
            said=self._said.tolist(),
            target=self._target,
            closing=closing,
        )
        self.sink.tell(Event.VAR_UPDATE, clock, use=use, sigma=fast.sigma)
        if use > 1.0:
            self.sink.tell(Event.RISK_BREACH, clock, use=use, position=self._position)

    def _entangled(self, model: LayerModel[TacticalConfig], rows: NDArray[np.float32]) -> float:
        """`usable_entanglement` of both layers; asked where the upper one is sure alone."""
        if self._strategic[_CONFIDENCE] < CONFIDENT or self.fast is None:
            return 0.0
        asked = tactical_given_strategic(rows)
        p = model.policy.decide(asked).probabilities
        count = len(DIRECTIONS)
        answers = tactical_directions(asked, p, self.fast.rules).reshape(1, count, count)
        return float(usable_entanglement(self._strategic[None, :count], answers)[0])

    def _order(self, clock: int, account: NDArray[Any], recording: bool) -> Plan:
        """From the target to a parent order that the rules let through."""
        limit = int(account["limit"][0])
        target, held = self._target, self._position / limit
        if self._holding & {_STRATEGIC, _TACTICAL}:
            # Toward the little that risk allocates, never away from flat.
            most = min(abs(held), self.config.fallback.risk_share)
            target = min(max(held, -most), most)
        elif self._style == WAIT:
            return Plan(clock, 0)
        if self.fast is not None:
            allowed = float(allowed_at(account, self.fast.limits, False))
            target = min(max(target, -allowed), allowed)
        halted = bool(account["halted"][0]) or self._stopped
        wanted = round(target * limit) - self._position
        if halted:
            wanted = -self._position
        if not wanted:
            return Plan(clock, 0)
        assert self._limits is not None
        signed, reason = judge_parent(wanted, self._position, self._limits, halted)
        if not recording:
            signed, why = 0, _AUDIT
        else:
            why = reason.name
        if reason != Reason.NONE or not recording:
            self.sink.tell(Event.TRADE_REJECTED, clock, wanted=wanted, allowed=signed, reason=why)
        if not signed:
            return Plan(clock, 0)
        after = self._position + signed
        reduces = abs(after) < abs(self._position)
        self._only_reduce = halted
        self.sink.tell(
            Event.TRADE_QUALIFIED, clock, signed=signed, target=target, reduces_risk=reduces
        )
        return Plan(clock, signed, reduces)

    def begin_parent(self, plan: Plan) -> None:
        """Make ready for the steps of a parent order."""
        sign_context(self._said, 1 if plan.signed > 0 else -1, self._context)
        self._parent_start = plan.start
        forget(self.hot)
        self._fallbacks[_EXECUTION].valid, self._fallbacks[_EXECUTION].age = False, 0

    # -- steps

    def on_step(
        self, parent: NDArray[Any], episode: NDArray[Any], depth: NDArray[np.int32],
        owned: NDArray[np.int32],
    ) -> bool:  # fmt: skip
        """Decide a step of the parent order; whether anything may be sent.

        What to send is in `hot`; its record is acknowledged. Args: see `hot.read_step`.
        """
        sink, work, limits = self.sink, self.hot, self._limits
        if limits is None or (self._lost and not self._record_again()):
            self._lost += self._lost > 0
            return False
        if self.models.staged or self._wanted_rollback:
            self._renew_models()
        mark, degraded = sink.mark(), self.degraded.copy()
        clock = self._parent_start + int(parent["step"][0]) * self._step_ns
        fault = read_step(
            work, parent, episode, depth, owned, self._context, self.rules,
            self.config.freshness.silent_steps, self._row,
        )  # fmt: skip
        self._tell_tick(clock, parent, episode, depth)
        source, action = self._choose(fault, clock)
        decide_step(
            work, action, source, self.steps, self._next_id, parent, episode, owned, self.rules,
            limits, self._position, self._only_reduce,
        )  # fmt: skip
        self._tell_acted(clock, source)
        try:
            sink.acknowledge()
        except AuditError as error:
            sink.take_back(mark)
            self.degraded = degraded
            self._interrupted(error)
            return False
        self.steps += 1
        self._next_id += int(work.decision["children"][0])
        return source < HELD

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
            self._refuse(_QUOTES, FAULTS[fault], clock)
            return REFUSED, self._hold
        if _QUOTES in self.degraded:
            self._recover(_QUOTES, clock)
        self._watch_venues(clock)
        source = self._call(_EXECUTION, self._ask, clock)
        if source == DECIDED:
            self._action[:] = self._answer
            return source, self._answer
        return source, self._action if source == REPEATED else self._hold

    def _watch_venues(self, clock: int) -> None:
        silent = self.hot.seen["silent"][0]
        if not silent.any() and not self.degraded:
            return
        for venue in range(VENUE_COUNT):
            name = f"venue {venue}"
            if silent[venue] >= self.config.freshness.silent_steps:
                self._degrade(name, "silent", clock)
            elif name in self.degraded:
                self._recover(name, clock)

    def _tell_acted(self, clock: int, source: int) -> None:
        work, sink = self.hot, self.sink
        sink.add(Event.EXECUTE_TRADE, clock, work.acted.tobytes())
        if source >= HELD:
            return
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
    def longer_bars(self) -> int:
        """Bars of the strategic length that have closed."""
        return self._longer

    def spoken(self) -> list[Spoken]:
        """What the layers above execution said last, for people."""
        count, found = len(DIRECTIONS), []
        for layer, said, target in (
            (_STRATEGIC, self._strategic, float(self._strategic[-2])),
            (_TACTICAL, self._tactical, self._target),
        ):
            how = "no artefact" if layer not in self.models.active else "decides"
            how = "degraded" if layer in self.degraded else how
            found.append(Spoken(layer, tuple(map(float, said[:count])), target, how))
        return found

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
        self._keep_recording()

    def on_closed(self, **told: Any) -> None:
        """The parent order is done; `told` goes to the log."""
        self.sink.tell(Event.TRADE_CLOSED, self._parent_start, **told)
        self._keep_recording()

    def stop(self, reason: str) -> None:
        """EMERGENCY_STOP by an operator: from now on nothing goes but toward flat."""
        self._stopped = self._only_reduce = True
        self.sink.tell(Event.EMERGENCY_STOP, self._clock, by="operator", reason=reason)
        self._keep_recording()

    def end(self) -> None:
        """Record the end of the session."""
        self.sink.tell(Event.SESSION_ENDED, self._clock, steps=self.steps)
        self.sink.acknowledge()
        self.models.close()

    # -- faults

    def _call(self, layer: str, ask: Any, clock: int) -> int:
        """Ask a layer: DECIDED, REPEATED or HELD. What did not go smoothly is recorded."""
        outcome = self._caller.call(layer, ask)
        source = self._fallbacks[layer].source(outcome)
        if outcome.smooth and not self.degraded:
            return source
        if not outcome.smooth:
            self.sink.tell(
                Event.LAYER_CALLED,
                clock,
                layer=layer,
                how=outcome.how,
                attempts=outcome.attempts,
                error=outcome.error,
            )
        if source == DECIDED:
            self._holding.discard(layer)
            self._recover(layer, clock)
            return source
        self.sink.tell(Event.LAYER_FELL_BACK, clock, layer=layer, on=SOURCES[source])
        if source == HELD:
            self._holding.add(layer)
        self._degrade(layer, outcome.error, clock)
        return source

    def _refuse(self, what: str, why: str, clock: int) -> None:
        self.sink.tell(Event.INPUT_REFUSED, clock, what=what, why=why)
        self._degrade(what, why, clock)

    def _degrade(self, what: str, why: str, clock: int) -> None:
        if what not in self.degraded:
            self.degraded.add(what)
            self._alarm(f"{what}: {why}")
            self.sink.tell(Event.DEGRADED, clock, what=what, why=why)

    def _recover(self, what: str, clock: int) -> None:
        if what in self.degraded:
            self.degraded.discard(what)
            self.sink.tell(Event.RECOVERED, clock, what=what)

    def _alarm(self, text: str) -> None:
        self.alarms.append(text)
        del self.alarms[:-20]

    def _tell_ready(self, layer: str, whole: bool, clock: int) -> None:
        if self._ready.get(layer) != whole:
            self._ready[layer] = whole
            self.sink.tell(Event.INDICATORS_READY, clock, layer=layer, ready=whole)

    def _interrupted(self, error: AuditError) -> None:
        """Nothing can be recorded: nothing is traded until it can."""
        if not self._lost:
            self._alarm(str(error))
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
        self._fallbacks[_EXECUTION].valid, self._fallbacks[_EXECUTION].age = False, 0


def _listed(values: NDArray[np.float32] | None) -> list[float] | None:
    return None if values is None else values.tolist()


def _told(number: float) -> float | None:
    """A number as JSON has it."""
    return float(number) if np.isfinite(number) else None


__all__ = ["ACTED", "Engine", "Plan", "Sink"]
