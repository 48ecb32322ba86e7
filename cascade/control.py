"""Orders to a running cascade from beside it: stop, let go, roll a layer back.

A request is a small JSON file in the folder `control` of the cascade's audit log, put there
whole (written beside, then renamed) and taken away once done. Whoever may write to the log's
folder may send one.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Literal, get_args

from cascade.engine import Engine
from cascade.models import LAYERS
from configs.errors import ArtefactError, AuditError, ConfigError, nearest

Request = Literal["stop", "let-go", "rollback"]
REQUESTS: tuple[Request, ...] = get_args(Request)
_FOLDER, _SUFFIX = "control", ".json"


def send(log: Path, request: str, layer: str | None = None, reason: str = "") -> Path:
    """Leave a request for the cascade that writes to `log`; the file.

    Args:
        request: one of REQUESTS. layer: which to roll back. reason: for the log.

    Raises:
        ConfigError: no such request or layer. AuditError: `log` is no folder of a log.
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
    folder = log / _FOLDER
    folder.mkdir(exist_ok=True)
    name = f"{time.time_ns():020d}-{os.getpid()}"
    beside, place = folder / f"{name}.part", folder / f"{name}{_SUFFIX}"
    beside.write_text(json.dumps({"request": request, "layer": layer, "reason": reason}))
    beside.rename(place)
    return place


class Control:
    """Does what requests in a log's folder ask, in the order in which they came."""

    def __init__(self, log: Path) -> None:
        self._folder = log / _FOLDER

    def heed(self, engine: Engine) -> int:
        """Do what has come; how many requests that were. A bad one is an alarm, and no more."""
        found = sorted(self._folder.glob(f"*{_SUFFIX}"))
        for place in found:
            try:
                self._do(engine, json.loads(place.read_text()))
            except (ArtefactError, ConfigError, ValueError, OSError) as error:
                engine.health.alarm(f"request {place.name} refused: {error}")
            place.unlink(missing_ok=True)
        return len(found)

    @staticmethod
    def _do(engine: Engine, told: Any) -> None:
        request = told.get("request") if isinstance(told, dict) else None
        if request == "stop":
            engine.stop(str(told.get("reason", "")))
        elif request == "let-go":
            engine.let_go(str(told.get("reason", "")))
        elif request == "rollback":
            engine.rollback(str(told.get("layer")))
        else:
            raise ConfigError(f"it asks for {request!r}: expected one of {', '.join(REQUESTS)}")


__all__ = ["REQUESTS", "Control", "send"]
