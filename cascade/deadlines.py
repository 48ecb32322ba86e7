"""A layer's call under a deadline: retries that share it, late results discarded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from configs.cascade import DeadlineConfig
from configs.errors import ActionError, ArtefactError, RequestError

ANSWERED, FAILED, LATE = "answered", "failed", "late"

# What a network's call raises where the network, its file or its rows are at fault.
_FAULTS = (
    ActionError, ArtefactError, RequestError, ArithmeticError, ValueError, RuntimeError, OSError,
)  # fmt: skip


class Clock(Protocol):
    """Time as deadlines count it; injected, so that tests own it."""

    def now(self) -> float:
        """Seconds, never going back."""
        ...

    def wait(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


class SystemClock:
    """This machine's monotonic clock."""

    def now(self) -> float:
        return time.perf_counter()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Outcome:
    """What a layer's call came to.

    Attributes:
        how: ANSWERED, FAILED (every attempt raised) or LATE.
        attempts: calls made.
        error: of the last attempt that failed; empty where none did.
    """

    how: str
    attempts: int
    error: str = ""

    @property
    def answered(self) -> bool:
        return self.how == ANSWERED

    @property
    def smooth(self) -> bool:
        """Answered at once: nothing to tell."""
        return self.attempts == 1 and self.how == ANSWERED


SMOOTH = Outcome(ANSWERED, 1)
Ask = Callable[[], None]


class Caller(Protocol):
    """Makes a layer's call: for real, or as a log says that it went."""

    def call(self, layer: str, ask: Ask) -> Outcome:
        """Run `ask`, which leaves its result where the engine finds it."""
        ...


class LiveCaller:
    """Calls with deadlines on a clock.

    A call that runs cannot be cut short in this process; one that returns late is discarded,
    and no retry begins beyond the deadline. All attempts and waits share it.
    """

    def __init__(self, config: DeadlineConfig, clock: Clock) -> None:
        self._clock, self._retries, self._backoff = clock, config.retries, config.backoff
        self._deadlines: Mapping[str, float] = {
            "strategic": config.strategic,
            "tactical": config.tactical,
            "execution": config.execution,
        }

    def call(self, layer: str, ask: Ask) -> Outcome:
        """See `Caller`."""
        deadline = self._clock.now() + self._deadlines[layer]
        error, attempts, wait = "", 0, self._backoff
        while True:
            attempts += 1
            try:
                ask()
            except _FAULTS as fault:
                error = f"{type(fault).__name__}: {fault}"
            else:
                if self._clock.now() > deadline:
                    return Outcome(LATE, attempts, "the answer came after its deadline")
                return SMOOTH if attempts == 1 else Outcome(ANSWERED, attempts, error)
            now = self._clock.now()
            if now > deadline:
                return Outcome(LATE, attempts, error)
            if attempts > self._retries or now + wait > deadline:
                return Outcome(FAILED, attempts, error)
            self._clock.wait(wait)
            wait *= 2.0


class ToldCaller:
    """Calls as a log tells that they went: what failed then is not asked again.

    Attributes:
        told: outcomes of the calls to come, by layer; a layer of which nothing is told answers.
    """

    def __init__(self) -> None:
        self.told: dict[str, list[Outcome]] = {}

    def call(self, layer: str, ask: Ask) -> Outcome:
        """See `Caller`."""
        told = self.told.get(layer)
        outcome = told.pop(0) if told else SMOOTH
        if outcome.answered:
            ask()
        return outcome
