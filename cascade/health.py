"""How a cascade fares: calls that fall back, what is degraded, what has recovered, alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from cascade.deadlines import Ask, Caller, Outcome
from cascade.events import DECIDED, HELD, REPEATED, SOURCES, Event, Payload
from configs.cascade import FallbackConfig

_KEPT_ALARMS = 20


class Sink(Protocol):
    """Where records go: `cascade.audit.AuditLog`, or a replay's list."""

    def add(self, event: Event, clock: int, payload: Payload = b"", count: int = 1) -> int: ...
    def tell(self, event: Event, clock: int, **told: Any) -> int: ...
    def mark(self) -> tuple[int, int]: ...
    def take_back(self, mark: tuple[int, int]) -> None: ...
    def acknowledge(self) -> int: ...
    def sync(self) -> None: ...
    @property
    def overflowing(self) -> bool: ...
    @property
    def acknowledged(self) -> int: ...


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


class Health:
    """Makes the layers' calls, and records whatever does not go smoothly.

    Attributes:
        degraded: what is amiss now, by name.
        holding: layers that neither answer nor have a valid decision left.
        alarms: the latest things that went wrong, newest last.
    """

    def __init__(self, sink: Sink, caller: Caller, config: FallbackConfig) -> None:
        self._sink, self._caller = sink, caller
        self._fallbacks = {
            "strategic": _Fallback(config.strategic_calls),
            "tactical": _Fallback(config.tactical_calls),
            "execution": _Fallback(config.execution_calls),
        }
        self.degraded: set[str] = set()
        self.holding: set[str] = set()
        self.alarms: list[str] = []

    def call(self, layer: str, ask: Ask, clock: int) -> int:
        """Ask a layer: DECIDED, REPEATED or HELD. What did not go smoothly is recorded."""
        outcome = self._caller.call(layer, ask)
        source = self._fallbacks[layer].source(outcome)
        if outcome.smooth and not self.degraded:
            return source
        if not outcome.smooth:
            self._sink.tell(
                Event.LAYER_CALLED,
                clock,
                layer=layer,
                how=outcome.how,
                attempts=outcome.attempts,
                error=outcome.error,
            )
        if source == DECIDED:
            self.holding.discard(layer)
            self.recover(layer, clock)
            return source
        self._sink.tell(Event.LAYER_FELL_BACK, clock, layer=layer, on=SOURCES[source])
        if source == HELD:
            self.holding.add(layer)
        self.degrade(layer, outcome.error, clock)
        return source

    def forget(self, layer: str) -> None:
        """Let no decision of before stand in for a layer."""
        fallback = self._fallbacks[layer]
        fallback.valid, fallback.age = False, 0

    def refuse(self, what: str, why: str, clock: int) -> None:
        """Record an input that nothing may be decided on."""
        self._sink.tell(Event.INPUT_REFUSED, clock, what=what, why=why)
        self.degrade(what, why, clock)

    def degrade(self, what: str, why: str, clock: int) -> None:
        """Something is amiss from now on."""
        if what not in self.degraded:
            self.degraded.add(what)
            self.alarm(f"{what}: {why}")
            self._sink.tell(Event.DEGRADED, clock, what=what, why=why)

    def recover(self, what: str, clock: int) -> None:
        """It is well again."""
        if what in self.degraded:
            self.degraded.discard(what)
            self._sink.tell(Event.RECOVERED, clock, what=what)

    def alarm(self, text: str) -> None:
        """Have people told."""
        self.alarms.append(text)
        del self.alarms[:-_KEPT_ALARMS]
