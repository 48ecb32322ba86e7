"""One instrument's service inside a replica of Ray Serve.

Apart from `trainers.ray_serving`, which sets Ray Serve's mode before anything here imports it.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from ray import serve

from cascade.serve.app import Service
from cascade.serve.former import begin_stopped, standing_stop
from cascade.serve.lean import give_back, load_numba
from cascade.serve.server import ServeRequest, load_desks
from trainers.ray_serving import Mounted

_COLLECT_EVERY = 50_000  # objects more than before, some hundreds of requests


@serve.ingress()
class Instrument:
    """The session, positions and audit log of one instrument, and the service over them."""

    def __init__(
        self, request: ServeRequest, name: str, token: str, log: Path, owners: Mapping[str, str]
    ) -> None:
        """Load until it can decide; Ray Serve asks nothing of it before.

        Raises:
            GrandmodelError: whatever is wrong with artefacts, bars or log.
        """
        load_numba()
        config = request.config
        mine = [each for each in config.instruments if each.name == name]
        self._service = Service([name], config.limits, token, owners, request.named)
        stack = ExitStack()
        # A replica that was started anew begins a log of its own: none is ever written over.
        why = standing_stop(log, name)
        begun = log / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}"
        desks = load_desks(request, mine, begun, self._service.stream, stack)
        self._desk, self._mounted = desks[name], Mounted(self._service, stack.close)
        if why:
            begin_stopped(self._desk, why)
        give_back()
        # What lives by now lives on. Ray's own code makes cycles, so that collecting goes on, but
        # not every other request.
        gc.freeze()
        gc.set_threshold(_COLLECT_EVERY)
        self._service.open(desks)

    def __serve_build_asgi_app__(self) -> Mounted:
        return self._mounted

    def check_health(self) -> None:
        """Raise where nothing can be decided any more: Ray Serve then starts another."""
        if self._desk.fault:
            raise RuntimeError(self._desk.fault)

    def __del__(self) -> None:
        # Called by Ray Serve once a replica that is to end has answered what it was asked.
        if hasattr(self, "_mounted"):
            self._mounted.drain()


deployment = serve.deployment(Instrument)
