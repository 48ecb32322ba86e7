"""One instrument at work: which moment is due, and the decision on it.

Features, account and parent order live here. A request names the moment that it means, and each
moment is decided once: asked for again, the last one is answered as before and nothing is sent
anew; an earlier or a later one is refused. The moments are the closes of bars ("warm"; "full"
where a strategic bar closes with it), whose decision includes the first step of the parent
order that it plans, and the further steps of that order ("hot").
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cascade.decide import SMART_NAME
from cascade.engine import Engine
from cascade.events import ACTED, HELD, SOURCES
from cascade.hot import CANCELS, ORDERS, OWNED_ROWS
from cascade.serve.problems import Problem
from cascade.session import PaperSession
from configs.errors import GrandmodelError
from configs.execution import ExecutionConfig
from market.decode import CHILD
from market.state import AGGRESSIVE, OWN_PRICE, OWN_QUANTITY, VENUE

HOT, WARM, FULL = "hot", "warm", "full"
_NS = 1_000_000_000
_MICROSECONDS = 1e-3  # of a nanosecond
_RETRY = 1.0  # seconds
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
    answered: bytes = b""


class Desk:
    """One instrument's session, driven request by request.

    Attributes:
        fault: why nothing is decided any more; empty while all is well.
        decisions: by kind.
    """

    def __init__(self, name: str, session: PaperSession) -> None:
        self.name, self.session, self.fault = name, session, ""
        self.decisions = {HOT: 0, WARM: 0, FULL: 0}
        config: ExecutionConfig = session.engine.models.active["execution"].config
        self._venues = [*(venue.name for venue in config.market.venues), SMART_NAME]
        self._tick, self._step_ns = config.market.tick, round(config.step_seconds * _NS)
        self._due = Due(session.arrival(session.bar))

    @property
    def engine(self) -> Engine:
        return self.session.engine

    @property
    def due(self) -> int:
        """The moment that is due, ns since 1970 UTC."""
        return self._due.time

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
        while not self.engine.upper.decisions and not self.ended and go_on():
            self._decide_bar()

    def decide(self, moment: int | None) -> bytes:
        """The decision on a moment, as JSON.

        Args:
            moment: ns since 1970 UTC; None means the moment that is due.

        Raises:
            Problem: the moment is not due, or nothing can be decided.
        """
        if moment is not None and moment == self._due.last:
            return self._due.answered
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
        except Problem:
            raise
        except GrandmodelError as error:
            self.fault = str(error)
            raise self._out_of_order() from error
        except Exception as error:
            # Whatever it is, this session's state can no longer be vouched for.
            _LOG.exception("instrument %s is taken out of service", self.name)
            self.fault = f"{type(error).__name__}: {error}"
            raise self._out_of_order() from error
        self._due.last, self._due.answered = now, answered
        return answered

    def _decide(self) -> bytes:
        now, before, kind, bar_us = self._due.time, self.engine.steps, HOT, 0.0
        if self._due.step < 0:
            kind, bar_us = self._decide_bar()
        works = self._due.step >= 0
        if works:
            self._step()
            if self.engine.steps == before:
                raise Problem(
                    503, "the decision could not be recorded, so nothing is sent",
                    where="audit log", got=self.engine.alarms[-1:],
                    expected="a log that can be written",
                    remedy="free some space on its disk", retry_after=_RETRY,
                )  # fmt: skip
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
        return json.dumps(told, allow_nan=False).encode()

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
        count, cancelled = int(work.counts[ORDERS]), int(work.counts[CANCELS])
        if count or cancelled:
            base = float(self.session.market.simulator.market.episodes["base"][0])
            told["orders"] = [self._order(base, *row) for row in work.orders[:count].tolist()]
        if cancelled:
            fields = dict(work.owned[: int(work.counts[OWNED_ROWS])].tolist())
            told["cancels"] = [
                self._cancel(base, fields[index]) for index in work.cancelled[:cancelled].tolist()
            ]
        return told

    def _order(self, base: float, number: int, child: tuple[Any, ...]) -> dict[str, Any]:
        told = dict(zip(_CHILD, child, strict=True))
        return {
            "id": number,
            "kind": "marketable" if told["kind"] == AGGRESSIVE else "limit",
            "venue": self._venues[told["venue"]],
            "side": "BUY" if self.session.plan.signed > 0 else "SELL",
            "quantity": told["quantity"],
            "limit": self._quoted(base + told["price"]),
            "after_seconds": told["offset"],
        }

    def _cancel(self, base: float, fields: Any) -> dict[str, Any]:
        return {
            "venue": self._venues[int(fields[VENUE])],
            "limit": self._quoted(base + int(fields[OWN_PRICE])),
            "quantity": int(fields[OWN_QUANTITY]),
        }

    def _quoted(self, ticks: float) -> float:
        """A price in currency, without a float's tail."""
        return float(f"{ticks * self._tick:.10g}")

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


_ACTED, _CHILD = ACTED.names or (), CHILD.names or ()
_IDLE: dict[str, Any] = {
    "source": None, "step": None, "action": [], "refused_units": 0, "stop": False,
    "orders": [], "cancels": [],
}  # fmt: skip
