"""Acknowledging what a session records, and standing still while nothing can be written."""

from __future__ import annotations

from collections.abc import Callable

from cascade.events import Event
from cascade.health import Health, Sink
from configs.errors import AuditError


class Recording:
    """Whether records reach the disk. While they do not, nothing is traded.

    Attributes:
        lost: calls since records could be written last; 0 while they can.
    """

    def __init__(self, sink: Sink, health: Health, forget: Callable[[], None]) -> None:
        """forget: drops what a session remembers of the steps before, when it goes on."""
        self._sink, self._health, self._forget = sink, health, forget
        self.lost = 0

    def interrupted(self, error: AuditError) -> None:
        """Nothing can be recorded: nothing is traded until it can."""
        if not self.lost:
            self._health.alarm(str(error))
        self.lost += 1

    def keep(self, to_disk: bool = False) -> None:
        """Acknowledge what has happened; kept in memory while the disk is full.

        to_disk: force it there, which takes as long as a hundred decisions.

        Raises:
            AuditError: more waits than may: the session must end.
        """
        try:
            if to_disk:
                self._sink.sync()
            else:
                self._sink.acknowledge()
        except AuditError as error:
            self.interrupted(error)
            if self._sink.overflowing:
                raise

    def again(self, clock: int) -> bool:
        """Whether records can be written, after an interruption too."""
        mark = self._sink.mark()
        if self.lost:
            self._sink.tell(Event.AUDIT_INTERRUPTED, clock, calls=self.lost)
        try:
            self._sink.acknowledge()
        except AuditError as error:
            self._sink.take_back(mark)
            self.interrupted(error)
            return False
        if self.lost:
            self.resume()
        return True

    def resume(self) -> None:
        """Go on after an interruption: nothing is remembered of the steps before."""
        self.lost = 0
        self._forget()
