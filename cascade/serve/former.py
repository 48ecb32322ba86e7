"""What an instrument's log before this one left behind: a stop that nobody has lifted, or no end.

An emergency stop holds until a person lets go, and outlives the process that it was given to. A
log without an end may have lost one with its process, so that it counts as one.
"""

from __future__ import annotations

from pathlib import Path

from cascade.audit import SUFFIX, read_log
from cascade.events import Event
from cascade.serve.desk import Desk
from configs.errors import AuditError

_NETWORK = "execution"  # whose stop ends a parent order and holds nothing


def standing_stop(logs: Path, name: str) -> str:
    """Why an instrument must begin stopped; empty where it need not.

    Args:
        logs: the folder of folders named by their begin, in each of which `name` has its log.
    """
    before = sorted({segment.parent for segment in logs.glob(f"*/{name}/*{SUFFIX}")})
    if not before:
        return ""
    last, stopped, ended = before[-1], False, False
    try:
        for record in read_log(last):
            ended = record.event == Event.SESSION_ENDED
            if record.event == Event.STOP_LIFTED:
                stopped = False
            elif record.event == Event.EMERGENCY_STOP and record.told()["by"] != _NETWORK:
                stopped = True
    except AuditError as error:
        return f"the log before this one cannot be read: {error}"
    if stopped:
        return f"an emergency stop held at the end of the log before this one, {last}"
    return "" if ended else f"the log before this one, {last}, has no end: its process broke off"


def begin_stopped(desk: Desk, why: str) -> None:
    """Stop an instrument before it has decided anything, as an operator does, and say so.

    Raises:
        AuditError: it cannot be recorded, and more waits than may.
    """
    told = f"begun under an emergency stop: {why}; let go of it once that is understood"
    desk.engine.stop(told)
    desk.engine.health.alarm(f"'{desk.name}' {told}")


__all__ = ["begin_stopped", "standing_stop"]
