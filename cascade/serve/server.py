"""Processes and sockets: load, listen, decide, and end in good order."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from cascade.audit import AuditLog
from cascade.deadlines import LiveCaller, SystemClock
from cascade.engine import Engine
from cascade.found import Named, found_models
from cascade.serve.access import read_token
from cascade.serve.app import Service
from cascade.serve.desk import Desk
from cascade.serve.lean import give_back, load_numba
from cascade.serve.stream import Stream, ToldLog
from cascade.serve.wire import connections
from cascade.session import PaperSession, begin_clock, driving_bars
from configs.errors import EXIT_CODE, ConfigError, GrandmodelError
from configs.serve import InstrumentConfig, ServeConfig

LOGS = Path("audit")
_BACKLOG = 2_048  # connections that the kernel keeps waiting
_QUIET = 0.5  # seconds between two looks whether there is time to collect garbage
_MOST_YOUNG = 1_000_000  # objects that are kept until there is
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WATCHED = 0.2  # seconds between two looks at the workers


@dataclass(frozen=True)
class ServeRequest:
    """What `grandmodel serve` was asked; see `cascade.found.Named`.

    Attributes:
        log: a folder; each instrument's audit log lies in one of its own in it.
    """

    config: ServeConfig
    tracking_uri: str
    models: str = "models"
    layers: Sequence[str] = ()
    market: str | None = None
    token_file: Path | None = None
    log: Path | None = None

    @property
    def named(self) -> Named:
        """The artefacts that are meant."""
        return Named(self.models, self.tracking_uri, self.layers, self.market)


def serve(request: ServeRequest, say: Callable[[str], object] = print) -> int:
    """Serve until SIGINT or SIGTERM; the exit code. What people are to know is said.

    Raises:
        GrandmodelError: whatever is wrong with artefacts, bars, log, token or address.
    """
    config = request.config
    token = read_token(config.host, request.token_file)
    log = request.log or LOGS / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    with ExitStack() as stack:
        sockets = [stack.enter_context(bound) for bound in bind(config)]
        addresses = [_address(bound) for bound in sockets]
        owners = {
            instrument.name: addresses[number % config.workers]
            for number, instrument in enumerate(config.instruments)
        }
        for address in addresses:
            mine = ", ".join(name for name, owner in owners.items() if owner == address)
            say(f"http://{address} works {mine}")
        say(f"audit logs under {log}; end it with Ctrl-C")
        say("ready once /ready says so; the first run of a version compiles its kernels")
        # Before workers are forked, so that they share it.
        load_numba()
        workers = [
            Worker(request, token, log, owners, addresses[number], sockets[number])
            for number in range(config.workers)
        ]
        if len(workers) == 1:
            workers[0].run()
            return 0
        return _supervise(workers)


def bind(config: ServeConfig) -> list[socket.socket]:
    """A listening socket for each worker.

    Raises:
        ConfigError: an address is taken, or none of this machine.
    """
    bound: list[socket.socket] = []
    for number in range(config.workers):
        port = config.port + number if config.port else 0
        try:
            family, *_, address = socket.getaddrinfo(
                config.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listening = socket.socket(family, socket.SOCK_STREAM)
            bound.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError as error:
            for other in bound:
                other.close()
            raise ConfigError(
                f"host={config.host}, port={port}: cannot listen there ({error.strerror or error});"
                " expected a free port of an address of this machine; set --host or --port"
            ) from error
    return bound


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _supervise(workers: Sequence[Worker]) -> int:
    """Run each worker in a process of its own; all end when one does."""
    # Forked before anything has a thread, so that what was imported is shared.
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=worker.run_process) for worker in workers]
    for process in processes:
        process.start()
    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        asked = True

    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        while not asked and all(process.is_alive() for process in processes):
            time.sleep(_WATCHED)
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    codes = [process.exitcode or 0 for process in processes]
    # A worker that a signal has killed has the signal's number below 0.
    return max(abs(code) for code in codes)


@dataclass(frozen=True)
class Worker:
    """One process: its socket, and the instruments that are its own."""

    request: ServeRequest
    token: str
    log: Path
    owners: Mapping[str, str]
    address: str
    listening: socket.socket

    def run_process(self) -> None:
        """`run`, as the whole of a process: prints what is wrong, and exits."""
        try:
            self.run()
        except GrandmodelError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(EXIT_CODE)

    def run(self) -> None:
        """Load and serve until a signal comes.

        Raises:
            GrandmodelError: it cannot be loaded.
        """
        config = self.request.config
        mine = [each for each in config.instruments if self.owners[each.name] == self.address]
        names = [instrument.name for instrument in mine]
        service = Service(names, config.limits, self.token, self.owners, self.request.named)
        server = _Server(uvicorn_config(service, config), service)
        with ExitStack() as stack:
            try:
                uvicorn_loop = server.config.get_loop_factory()
                with asyncio.Runner(loop_factory=uvicorn_loop) as runner:
                    runner.run(self._serve(server, service, mine, stack))
            finally:
                gc.unfreeze()
                gc.enable()

    async def _serve(
        self, server: _Server, service: Service, mine: Sequence[InstrumentConfig], stack: ExitStack
    ) -> None:
        loading = asyncio.create_task(self._load(server, service, mine, stack))
        tidying = asyncio.create_task(_tidy(service))
        try:
            await server.serve(sockets=[self.listening])
        finally:
            tidying.cancel()
            # A thread cannot be cut short; it looks whether the server has ended.
            await loading

    async def _load(
        self, server: _Server, service: Service, mine: Sequence[InstrumentConfig], stack: ExitStack
    ) -> None:
        """Load in a thread, so that /health and /ready answer meanwhile."""
        try:
            desks = await asyncio.to_thread(
                load_desks, self.request, mine, self.log, service.stream, stack, server
            )
        except BaseException:
            server.should_exit = True
            raise
        # Everything that lives by now lives on; nothing is collected while decisions wait.
        give_back()
        gc.freeze()
        gc.disable()
        service.open(desks)


def load_desks(
    request: ServeRequest, instruments: Sequence[InstrumentConfig], log: Path, stream: Stream,
    stack: ExitStack, server: uvicorn.Server | None = None,
) -> dict[str, Desk]:  # fmt: skip
    """Desks of instruments, each with artefacts, session and audit log of its own, and warm.

    Args:
        stack: ends the sessions, and closes their logs.
        server: whose end ends the warming up.

    Raises:
        GrandmodelError: whatever is wrong with artefacts, bars or log.
    """
    desks = {}
    cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grandmodel-")))
    for instrument in instruments:
        run = instrument.run(request.config.cascade)
        models = found_models(request.named, cache / instrument.name)
        bars = driving_bars(models, run)
        told: AuditLog = ToldLog(instrument.name, stream, log / instrument.name, run.cascade.audit)
        stack.callback(told.close)
        caller = LiveCaller(run.cascade.deadline, SystemClock())
        engine = Engine(models, run.cascade, told, caller, begin_clock(bars))
        stack.callback(engine.end)
        desk = Desk(instrument.name, PaperSession(engine, bars, run.cascade.seed))
        desk.warm_up(lambda: server is None or not server.should_exit)
        desks[instrument.name] = desk
    return desks


async def _tidy(service: Service) -> None:
    """Collect garbage where nothing waits, or where there is too much."""
    while True:
        await asyncio.sleep(_QUIET)
        if not gc.isenabled() and (not service.queue.waiting or gc.get_count()[0] > _MOST_YOUNG):
            gc.collect(0)


def uvicorn_config(service: Service, config: ServeConfig) -> uvicorn.Config:
    """How uvicorn serves an application of ours."""
    return uvicorn.Config(
        service,
        http=connections(config.limits),
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ws_max_size=config.limits.body_bytes,
        timeout_graceful_shutdown=max(1, round(config.drain_seconds)),
    )


class _Server(uvicorn.Server):
    """uvicorn's, which ends without raising the signal again: the logs are closed after it."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.drain()
        await super().shutdown(sockets)


__all__ = ["ServeRequest", "Worker", "bind", "load_desks", "serve", "uvicorn_config"]
