"""Orders to a running cascade from beside it: stop, let go, roll a layer back.

A request is a small JSON file in the folder `control` of the cascade's audit log, put there
whole (written beside, then renamed). The cascade takes it by renaming it, does it, and leaves
an answer, for which the sender waits. A lock on a file of that folder tells a cascade that
runs from a log that is finished: the kernel lifts it with the process, SIGKILL too. Whoever
may write to the log's folder may send a request.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from cascade.audit import SUFFIX as _SEGMENT
from cascade.engine import Engine
from cascade.models import LAYERS
from configs.errors import ArtefactError, AuditError, ConfigError, nearest

Request = Literal["stop", "let-go", "rollback"]
REQUESTS: tuple[Request, ...] = get_args(Request)
PATIENCE = 10.0  # seconds for an answer; requests are looked for several times a second
_FOLDER, _LOCK = "control", "running"
_SUFFIX, _TAKEN, _ANSWER = ".json", ".taken", ".answer"
_POLL = 0.02  # seconds between two looks for an answer
_HTTP = "steer a service over HTTP (POST /stop, /let-go, /models/rollback, with its token)"


def send(
    log: Path,
    request: str,
    layer: str | None = None,
    reason: str = "",
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Have the cascade that writes to `log` do something; what came of it, for people.

    Args:
        request: one of REQUESTS. layer: which to roll back. reason: for the log.
        patience: seconds to wait for the answer; a request that is not taken by then is withdrawn.
        sleep: waits between two looks for the answer.

    Raises:
        ConfigError: no such request or layer. AuditError: no cascade runs on `log`, it ended, it
            refused, or did not answer.
    """
    if request not in REQUESTS:
        raise ConfigError(f"no request '{request}' to a cascade; {nearest(request, REQUESTS)}")
    if (request == "rollback") != (layer is not None) or (layer and layer not in LAYERS):
        raise ConfigError(
            f"request {request} of layer {layer}: expected a layer of {', '.join(LAYERS)} for "
            "rollback, and none otherwise"
        )
    if not log.is_dir():
        raise AuditError(f"{log}: no such folder; name the folder of a running cascade's audit log")
    if not _is_running(log):
        raise AuditError(_nobody(log, request))
    place = _put(log, {"request": request, "layer": layer, "reason": reason})
    try:
        return _answered(log, place, request, time.monotonic() + patience, sleep)
    except BaseException:  # Ctrl-C too: nothing may be heeded that nobody waits for
        _withdraw(place)
        raise


def _put(log: Path, told: dict[str, str | None]) -> Path:
    """Leave a request; its file."""
    place = log / _FOLDER / f"{time.time_ns():020d}-{os.getpid()}{_SUFFIX}"
    beside = place.with_suffix(".part")
    beside.write_text(json.dumps(told))
    return beside.rename(place)


def _answered(
    log: Path, place: Path, request: str, until: float, sleep: Callable[[float], None]
) -> str:
    """What the cascade answers to the request at `place`."""
    answer, running = place.with_suffix(_ANSWER), True
    while running and not answer.exists() and time.monotonic() < until:
        running = _is_running(log)
        sleep(_POLL)
    withdrawn = _withdraw(place)
    if answer.exists():
        told = json.loads(answer.read_text())
        answer.unlink()
        if told["done"]:
            return str(told["said"])
        raise AuditError(f"{log}: the cascade refused {request}: {told['said']}")
    if not running:
        raise AuditError(
            f"{log}: the cascade ended before it answered {request}; there is nothing to steer"
        )
    if withdrawn:
        raise AuditError(
            f"{log}: the cascade did not take {request} in time, and it is withdrawn; where its "
            "process is stuck, end it: the log survives SIGKILL too"
        )
    raise AuditError(
        f"{log}: the cascade took {request} and has not answered; its view and its log say what "
        "came of it"
    )


def _withdraw(place: Path) -> bool:
    """Take a request back; whether it was still there."""
    try:
        place.unlink()
    except FileNotFoundError:
        return False
    return True


def _nobody(log: Path, request: str) -> str:
    """What is wrong with a folder on which no cascade runs that heeds requests."""
    if any(log.glob(f"*/*{_SEGMENT}")):
        return f"{log} holds the logs of a service, which takes no {request} from files; {_HTTP}"
    if not any(log.glob(f"*{_SEGMENT}")):
        return f"{log} holds no audit log; name the folder that `grandmodel cascade run` writes to"
    if (log / _FOLDER / _LOCK).exists():
        return f"{log}: the cascade that wrote this log has ended: it takes no {request}"
    return f"{log}: no `grandmodel cascade run` writes to this log; of a service's: {_HTTP}"


def _is_running(log: Path) -> bool:
    """Whether a cascade holds the lock of a log's folder."""
    try:
        file = os.open(log / _FOLDER / _LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


class Control:
    """Does what requests in a log's folder ask, in the order in which they came.

    Between its making and `close` the log counts as that of a running cascade.
    """

    def __init__(self, log: Path) -> None:
        """Raises AuditError where the log's folder cannot be written."""
        self._folder = log / _FOLDER
        try:
            self._folder.mkdir(exist_ok=True)
            self._lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            # Shared locks of those who look are held for microseconds.
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError as error:
            raise AuditError(
                f"{self._folder}: no requests can be heeded ({error.strerror}), an emergency stop "
                "among them; name another folder with --log"
            ) from error

    def close(self) -> None:
        """Heed no more; who waits for an answer is told that the cascade has ended."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def heed(self, engine: Engine) -> int:
        """Do what has come; how many requests that were. A bad one is an alarm, and no more."""
        found = sorted(self._folder.glob(f"*{_SUFFIX}"))
        for place in found:
            self._heed(engine, place)
        return len(found)

    def _heed(self, engine: Engine, place: Path) -> None:
        taken = place.with_suffix(_TAKEN)
        try:
            place.rename(taken)
        except FileNotFoundError:
            return  # its sender has withdrawn it
        try:
            done, said = True, self._do(engine, json.loads(taken.read_text()))
        except (ArtefactError, ConfigError, ValueError, OSError) as error:
            done, said = False, str(error)
            engine.health.alarm(f"request {place.name} refused: {error}")
        try:
            self._answer(taken, {"done": done, "said": said})
        except OSError as error:  # a full disk must not end what an emergency stop has stopped
            engine.health.alarm(f"request {place.name} has no answer: {error}")

    @staticmethod
    def _answer(taken: Path, told: dict[str, Any]) -> None:
        """Leave an answer, whole, in place of the request."""
        beside = taken.with_suffix(".part")
        beside.write_text(json.dumps(told))
        beside.rename(taken.with_suffix(_ANSWER))
        taken.unlink()

    @staticmethod
    def _do(engine: Engine, told: Any) -> str:
        """Do what a request says; what came of it."""
        request = told.get("request") if isinstance(told, dict) else None
        if request == "stop":
            engine.stop(str(told.get("reason", "")))
            return "stopped: nothing goes but toward flat, until `grandmodel cascade let-go`"
        if request == "let-go":
            if not engine.stopped:
                raise ConfigError("no emergency stop holds: there is nothing to let go")
            engine.let_go(str(told.get("reason", "")))
            return "let go: the cascade trades again"
        if request == "rollback":
            layer = str(told.get("layer"))
            before = engine.models.rollback(layer)
            engine.take_model(before)  # here, between two steps, so that a refusal is answered
            return f"{layer} decides by {before.folder} again (network {before.digest[:12]})"
        raise ConfigError(f"it asks for {request!r}: expected one of {', '.join(REQUESTS)}")


__all__ = ["PATIENCE", "REQUESTS", "Control", "send"]
