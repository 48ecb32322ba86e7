"""One instrument at work: which moment is due, and the decision on it.

Features, account and parent order live here. A request names the moment that it means, and each
moment is decided once: asked for again, the last one is answered as before and nothing is sent
anew; an earlier or a later one is refused. The moments are the closes of bars ("warm"; "full"
where a strategic bar closes with it), whose decision includes the first step of the parent
order that it plans, and the further steps of that order ("hot"). A step in books of the caller's
own ("book") is decided whenever it is asked, and moves nothing here (`cascade.advice`).

The market does not wait for a disk: a moment whose record could not be written goes by untraded,
and that is what is answered on it, at once and when it is asked for again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cascade.advice import decide_book
from cascade.engine import Engine
from cascade.events import ACTED, HELD, SOURCES
from cascade.hot import CANCELS, ORDERS
from cascade.serve.problems import Problem
from cascade.session import PaperSession
from cascade.told import Teller
from configs.errors import ArtefactError, AuditError, GrandmodelError, RequestError
from configs.execution import ExecutionConfig
from market.orders.layout import BUY, SELL

HOT, WARM, FULL, BOOK = "hot", "warm", "full", "book"
_NS = 1_000_000_000
_MICROSECONDS = 1e-3  # of a nanosecond
_RETRY = 1.0  # seconds
_BARS_TO_RECOVER = 12  # bars past the first decision: two of the strategic layer
_LOG = logging.getLogger("grandmodel.serve")


@dataclass
class Due:
    """The moment that is due, and what was answered on the one before.

    Attributes:
        time: ns since 1970 UTC.
        step: of the parent order that is worked; -1 where a bar's close is due.
    """

    time: int
    step: int = -1
    last: int = -1
    answered: bytes | Problem = b""


class Desk:
    """One instrument's session, driven request by request.

    Attributes:
        fault: why nothing is decided any more; empty while all is well.
        decisions: by kind.
    """

    def __init__(self, name: str, session: PaperSession) -> None:
        self.name, self.session, self.fault = name, session, ""
        self.decisions = {HOT: 0, WARM: 0, FULL: 0, BOOK: 0}
        config: ExecutionConfig = session.engine.models.active["execution"].config
        self._teller, self._step_ns = Teller(config), round(config.step_seconds * _NS)
        self._due = Due(session.arrival(session.bar))

    @property
    def engine(self) -> Engine:
        return self.session.engine

    @property
    def due(self) -> int:
        """The moment that is due, ns since 1970 UTC."""
        return self._due.time

    @property
    def stopped(self) -> bool:
        """Whether an emergency stop holds, an operator's or the rules'."""
        return self.engine.stopped

    @property
    def ended(self) -> bool:
        """Whether no bar is left to decide on."""
        return self._due.step < 0 and self.session.bar + 1 >= len(self.session.bars)

    @property
    def reasons(self) -> list[str]:
        """Why it is not ready; empty where it is."""
        found = [f"degraded: {what}" for what in sorted(self.engine.degraded)]
        if self.fault:
            found.append(self.fault)
        if not self.engine.upper.decisions:
            found.append("the layers' windows are not whole yet")
        if self.ended:
            found.append("its bars have ended")
        return found

    def warm_up(self, go_on: Callable[[], bool] = lambda: True) -> None:
        """Take bars in until the layers' windows are whole, or the bars end.

        Raises:
            GrandmodelError: the session cannot go on.
        """
        self.session.begin()
        self._due = Due(self.session.arrival(self.session.bar))
        while not self.engine.upper.decisions and not self.ended and go_on():
            self._decide_bar()
        # A first run compiles kernels within the calls, which are late by that: no fault that
        # lasts, though a layer stays degraded until it is asked again.
        for _ in range(_BARS_TO_RECOVER):
            if not self.engine.degraded or self._due.step >= 0 or self.ended or not go_on():
                break
            self._decide_bar()

    def decide(self, moment: int | None) -> bytes:
        """The decision on a moment, as JSON.

        Args:
            moment: ns since 1970 UTC; None means the moment that is due.

        Raises:
            Problem: the moment is not due, it went by unrecorded, or nothing can be decided.
        """
        if moment is not None and moment == self._due.last:
            return _told(self._due.answered)
        if self.fault:
            raise self._out_of_order()
        if self.ended:
            raise Problem(
                410, f"the bars of '{self.name}' have ended", where="instrument", got=self.name,
                expected="an instrument with bars left",
                remedy="restart the service with more bars (instruments.*.generated_bars, or bars)",
            )  # fmt: skip
        if moment is not None and moment != self._due.time:
            raise self._not_due(moment)
        now = self._due.time
        try:
            answered = self._decide()
        except GrandmodelError as error:
            self.fault = str(error)
            raise self._out_of_order() from error
        except Exception as error:
            # Whatever it is, this session's state can no longer be vouched for.
            _LOG.exception("instrument %s is taken out of service", self.name)
            self.fault = f"{type(error).__name__}: {error}"
            raise self._out_of_order() from error
        self._due.last, self._due.answered = now, answered
        return _told(answered)

    def decide_book(self, book: Any, position: int) -> bytes:
        """A step of the caller's own parent order, in books of theirs, as JSON.

        Nothing of the session moves: what is due stays due. Args: see `cascade.advice`.

        Raises:
            Problem: the state does not add up, or nothing can be decided.
        """
        if self.fault:
            raise self._out_of_order()
        begun = time.perf_counter_ns()
        try:
            decided = decide_book(self.engine, book, position)
        except RequestError as error:
            raise Problem(
                422, str(error), where="book", got=book, expected="a state as /docs has it",
                remedy="mend what the message names",
            ) from error  # fmt: skip
        except ArtefactError as error:
            raise Problem(
                503, str(error), where="execution", got=self.name, expected="an answer",
                remedy="load another artefact (/models/reload)", retry_after=_RETRY,
            ) from error  # fmt: skip
        except AuditError as error:
            raise Problem(
                503, "the decision could not be recorded, so nothing is answered",
                where="audit log", got=str(error), expected="a log that can be written",
                remedy="free some space on its disk, and ask again", retry_after=_RETRY,
            ) from error  # fmt: skip
        self.decisions[BOOK] += 1
        taken = (time.perf_counter_ns() - begun) * _MICROSECONDS
        told = {"instrument": self.name, "kind": BOOK, **decided}
        told["latency_us"], told["record"] = round(taken, 1), self.engine.recorded
        return _WRITER.encode(told).encode()

    def _decide(self) -> bytes | Problem:
        """The answer on the moment that is due; a Problem where it went by unrecorded."""
        now, kind, bar_us, lost = self._due.time, HOT, 0.0, 0
        if self._due.step < 0:
            kind, bar_us = self._decide_bar()
            lost = self.engine.recording.lost
        works = self._due.step >= 0
        if works:
            before = self.engine.steps
            self._step()
            lost = self.engine.steps == before
        if lost:
            return self._unrecorded(now)
        self.decisions[kind] += 1
        told: dict[str, Any] = {
            "instrument": self.name,
            "time": now,
            "kind": kind,
            "plan": self.session.plan.signed,
        }
        told.update(self._acted() if works else _IDLE)
        told["latency_us"] = round(bar_us + (self.session.latencies.last if works else 0.0), 1)
        told["record"] = self.engine.recorded
        told["next"] = self._due.time
        return _WRITER.encode(told).encode()

    def _decide_bar(self) -> tuple[str, float]:
        """Decide at a bar's close, and begin the next; its kind, and microseconds taken."""
        session, closed = self.session, self.engine.upper.longer
        begun = time.perf_counter_ns()
        session.decide_bar()
        taken = (time.perf_counter_ns() - begun) * _MICROSECONDS
        if session.open_books():
            self._due.step = 0
        else:
            session.close_bar()
            self._due.time = session.arrival(session.bar)
        return (WARM if self.engine.upper.longer == closed else FULL), taken

    def _step(self) -> None:
        """Decide a step of the parent order, and play the books until the next."""
        session, due = self.session, self._due
        session.step()
        due.step += 1
        if session.market.done:
            session.close_parent()
            session.close_bar()
            due.time, due.step = session.arrival(session.bar), -1
        else:
            due.time = session.plan.start + due.step * self._step_ns

    def _acted(self) -> dict[str, Any]:
        """The last step's decision and orders; see `schema.DECISION`."""
        work = self.engine.hot
        # One conversion of the whole record: a field at a time costs ten times as much.
        acted = dict(zip(_ACTED, work.acted.tolist()[0], strict=True))
        source = acted["source"]
        told: dict[str, Any] = {
            "source": SOURCES[source],
            "step": acted["step"],
            "action": acted["action"].tolist(),
            "refused_units": 0,
            "stop": False,
            "orders": [],
            "cancels": [],
        }
        if source >= HELD:
            return told
        told["refused_units"], told["stop"] = self.engine.refused_units, bool(acted["stop"])
        if work.counts[ORDERS] or work.counts[CANCELS]:
            base = float(self.session.market.simulator.market.episodes["base"][0])
            side = BUY if self.session.plan.signed > 0 else SELL
            told["orders"] = self._teller.orders(work, base, side)
            told["cancels"] = self._teller.cancels(work, base)
        return told

    def _unrecorded(self, moment: int) -> Problem:
        # Without Retry-After: that moment never comes again.
        return Problem(
            503, f"moment {moment} has passed untraded: its audit record could not be written",
            where="audit log", got="a log that cannot be written",
            expected=f"{self._due.time}, the moment that is due now",
            remedy="free some space on its disk (/health has the alarm), and ask for that one",
        )  # fmt: skip

    def _out_of_order(self) -> Problem:
        return Problem(
            503, f"'{self.name}' is out of service: {self.fault}", where="instrument",
            got=self.name, expected="an instrument at work",
            remedy="mend what the message names, and restart the service", retry_after=_RETRY,
        )  # fmt: skip

    def _not_due(self, moment: int) -> Problem:
        early = moment > self._due.time
        what = "has not come yet" if early else "has gone by"
        return Problem(
            409, f"that moment of '{self.name}' {what}", where="time", got=moment,
            expected=f"{self._due.time}, the moment that is due, or {self._due.last}, the last",
            remedy="ask for the answer's 'next', or leave 'time' out",
        )  # fmt: skip


def _told(answered: bytes | Problem) -> bytes:
    """An answer, or the refusal that it is."""
    if isinstance(answered, Problem):
        raise answered.with_traceback(None)  # or it would hold on to each one that asked
    return answered


# Made once; what it writes is a tree, made here.
_WRITER = json.JSONEncoder(allow_nan=False, check_circular=False)
_ACTED = ACTED.names or ()
_IDLE: dict[str, Any] = {
    "source": None, "step": None, "action": [], "refused_units": 0, "stop": False,
    "orders": [], "cancels": [],
}  # fmt: skip
