"""Audit records as they are acknowledged, for those who listen."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import numpy as np

from cascade.audit import AuditLog, Record, frames
from cascade.events import RECORDS, Event


class Listener:
    """One who listens.

    Attributes:
        queue: of JSON texts; None ends it.
        late: whether it was too slow, and is sent away.
    """

    def __init__(self, backlog: int) -> None:
        self.queue: asyncio.Queue[str | None] = asyncio.Queue(backlog)
        self.late = False

    def hear(self, text: str | None) -> None:
        """Take a record in; one who cannot is late."""
        try:
            self.queue.put_nowait(text)
        except asyncio.QueueFull:
            self.late = True


class Stream:
    """Those who listen to all instruments of a process."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def __len__(self) -> int:
        return len(self._listeners)

    def join(self, backlog: int) -> Listener:
        """Listen from now on."""
        listener = Listener(backlog)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Listen no more."""
        self._listeners.discard(listener)

    def tell(self, instrument: str, record: Record) -> None:
        """Let everyone hear of a record."""
        text = json.dumps({"instrument": instrument, **described(record)}, allow_nan=False)
        for listener in self._listeners:
            listener.hear(text)

    def end(self) -> None:
        """Let everyone hear that there is no more."""
        for listener in self._listeners:
            if listener.queue.full():
                listener.queue.get_nowait()
            listener.hear(None)


def described(record: Record) -> dict[str, Any]:
    """A record as plain data; infinities and NaN, which JSON lacks, become null."""
    found: dict[str, Any] = {
        "number": record.number,
        "clock": record.clock,
        "event": record.event.name,
        "count": record.count,
    }
    if record.event in (Event.NEW_TICK, Event.PAST_BARS):
        found["bytes"] = len(record.payload)  # of books and of years: they stay in the log
    elif record.event in RECORDS:
        found["rows"] = [_plain(row) for row in record.array()]
    else:
        found["told"] = record.told()
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, np.void) and value.dtype.names:
        return {name: _plain(value[name]) for name in value.dtype.names}
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value]
    number = value.item()
    return None if isinstance(number, float) and not math.isfinite(number) else number


class ToldLog(AuditLog):
    """An audit log whose records are streamed once they are safe; nothing else is changed."""

    def __init__(self, instrument: str, stream: Stream, *given: Any) -> None:
        self._instrument, self._stream = instrument, stream
        super().__init__(*given)

    def acknowledge(self) -> int:
        # Read back from what is written, so that nobody's listening costs nothing.
        told = bytes(self._pending) if len(self._stream) else b""
        number = super().acknowledge()
        for record in frames(told):
            self._stream.tell(self._instrument, record)
        return number
