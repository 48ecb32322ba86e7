"""The ASGI application: decisions on a short path, everything else by starlette's routes."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from cascade.found import Named
from cascade.models import LAYERS
from cascade.serve.access import Patience, Queue, Rates, check_token, is_loopback
from cascade.serve.desk import Desk
from cascade.serve.metrics import Metrics
from cascade.serve.problems import Problem, answer, refusal
from cascade.serve.refusals import (
    check_posted,
    cut,
    failed,
    foreign,
    later,
    not_so,
    too_large,
    too_late,
)
from cascade.serve.requests import INSTRUMENT, parse_ask, parse_steer
from cascade.serve.schema import openapi, page
from cascade.serve.steering import PATHS, ROLLBACK, Steering
from cascade.serve.stream import Listener, Stream
from configs.serve import TOKEN_VARIABLE, ServeLimitsConfig

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_DECIDE = "/decide"
_LOOKS = ("/health", "/ready", "/metrics", "/events", "/docs", "/openapi.json")
_LOG = logging.getLogger("grandmodel.serve")
_TOO_SLOW, _REFUSED = 1013, 1008  # WebSocket's codes
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Service:
    """One process's service.

    Attributes:
        desks: by instrument, those that are loaded.
        stream: who listens to their records.
        queue: decisions that wait.
    """

    def __init__(
        self, names: Iterable[str], limits: ServeLimitsConfig, token: str = "",
        owners: Mapping[str, str] | None = None, named: Named | None = None,
    ) -> None:  # fmt: skip
        """Begin without desks: nothing is decided until `open` brings them.

        Args:
            names: of the instruments that this process is to work.
            owners: the address of the process that works each instrument of the service.
            named: the artefacts that /models/reload looks up anew.
        """
        self._names, self._limits, self._token = tuple(names), limits, token.encode()
        self._owners = dict(owners or {})
        self._begun = time.monotonic()
        self._draining, self._hosts = False, set[bytes]()
        self.desks: dict[str, Desk] = {}
        self.stream, self.queue, self._rates = Stream(), Queue(limits.queue), Rates(limits)
        self.metrics = Metrics(self.desks, self.queue)
        self._patience = Patience(limits.body_seconds)
        self._steering = Steering(self.desks, self._desk, named)
        self._described = openapi(bool(token))
        self._others = self._starlette()

    def open(self, desks: Mapping[str, Desk]) -> None:
        """Decide for these from now on."""
        self.desks.update(desks)

    def drain(self) -> None:
        """Take on nothing more, and let listeners go."""
        self._draining = True
        self.stream.end()

    @property
    def reasons(self) -> dict[str, list[str]]:
        """By instrument, why it is not ready; those that are ready are absent."""
        found = {}
        for name in self._names:
            desk = self.desks.get(name)
            reasons = ["its artefacts are being loaded"] if desk is None else desk.reasons
            if self._draining:
                reasons = [*reasons, "the service is ending"]
            if reasons:
                found[name] = reasons
        return found

    # -- ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or carry one WebSocket."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"ASGI scope '{scope['type']}': expected http or websocket")
        try:
            headers = dict(scope["headers"])
            self._admit(scope, headers)
            path = scope["path"]
            if path == _DECIDE:
                told = await self._decide(scope, receive, headers)
            elif path in PATHS:
                told = await self._steer(scope, receive, headers)
            else:
                await self._others(scope, receive, self._counting(send))
                return
            messages = answer(200, told)
        except Problem as problem:
            messages = refusal(problem)
        except Exception:
            _LOG.exception("a request to %s failed", scope["path"])
            messages = refusal(failed(scope["path"]))
        self.metrics.count(messages[0]["status"])
        for message in messages:
            await send(message)

    def _counting(self, send: Send) -> Send:
        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.metrics.count(message["status"])
            await send(message)

        return counted

    def _admit(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Raise Problem unless whoever asks may, now."""
        client = scope.get("client")
        self._rates.take(client[0] if client else "unknown")
        check_token(self._token, headers)
        if not self._token:
            self._check_browser(headers)

    def _check_browser(self, headers: Mapping[bytes, bytes]) -> None:
        """Without a token no page of another site may ask, by a name of its own either."""
        host, origin = headers.get(b"host", b""), headers.get(b"origin")
        if host and host not in self._hosts:
            name = host.decode("latin-1").rsplit(":", 1)[0].strip("[]")
            if not is_loopback(name):
                raise foreign("host", name)
            if len(self._hosts) < self._limits.connections:
                self._hosts.add(host)
        if origin is not None and origin.split(b"://")[-1] != host:
            raise foreign("origin", origin.decode("latin-1"))

    # -- decisions

    async def _decide(
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]
    ) -> bytes:
        """The JSON answer to a request for a decision."""
        check_posted(scope, headers)
        ask = parse_ask(await self._body(receive, headers))
        desk = self._desk(ask.instrument)
        self.queue.enter()
        try:
            # Whoever has asked in the meantime is let in, or turned away, before this goes on.
            await asyncio.sleep(0)
            begun = time.perf_counter()
            if ask.book is None:
                answered = desk.decide(ask.time)
            else:
                answered = desk.decide_book(ask.book, ask.position)
            self.metrics.took(time.perf_counter() - begun)
            return answered
        finally:
            self.queue.leave()

    async def _steer(self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
        """The JSON answer to an operator's step; whoever cannot show a token is no operator."""
        if not self._token:
            raise Problem(
                403, "no token was set, so that nobody may steer", where="authorization",
                got="a service without a token", expected="one that was started with a token",
                remedy=f"set {TOKEN_VARIABLE} or --token-file and restart it, or end it",
            )  # fmt: skip
        check_posted(scope, headers)
        path = scope["path"]
        layers = tuple(LAYERS) if path == ROLLBACK else None
        asked = parse_steer(await self._body(receive, headers), layers)
        return json.dumps({"instruments": await self._steering.do(path, asked)}).encode()

    async def _body(self, receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
        most = self._limits.body_bytes
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            raise too_large(length.decode(), most)
        body = b""
        with self._patience as waits:
            while True:
                try:
                    message = await receive()
                except asyncio.CancelledError as error:
                    if not waits.over():
                        raise
                    raise too_late(len(body), self._limits.body_seconds) from error
                if message["type"] == "http.disconnect":
                    raise cut(len(body))
                part: bytes = message.get("body", b"")
                body = body + part if body else part
                if len(body) > most:
                    raise too_large(f"more than {most}", most)
                if not message.get("more_body", False):
                    return body

    def _desk(self, name: str) -> Desk:
        """The desk of an instrument."""
        if self._draining:
            raise later("the service is ending", name)
        desk = self.desks.get(name)
        if desk is not None:
            return desk
        if name in self._names:
            raise later(f"'{name}' is being loaded", name)
        if name in self._owners:
            raise Problem(
                421, f"another worker works '{name}'", where=INSTRUMENT, got=name,
                expected=f"the worker at {self._owners[name]}",
                remedy="send it there; /health lists who works what",
            )  # fmt: skip
        known = ", ".join(self._owners or self._names)
        raise Problem(
            404, f"no instrument '{name[:64]}'", where=INSTRUMENT, got=name,
            expected=f"one of {known}", remedy="name one of them",
        )  # fmt: skip

    # -- the rest

    def _starlette(self) -> Starlette:
        routes = [
            Route("/", self._page),
            Route("/docs", self._page),
            Route("/openapi.json", self._openapi),
            Route("/health", self._health),
            Route("/ready", self._ready),
            Route("/metrics", self._metrics),
            WebSocketRoute("/events", self._events),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _http_problem})

    async def _page(self, request: Request) -> Response:
        return HTMLResponse(page(self._described))

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(self._described)

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), headers={"content-type": _EXPOSITION})

    async def _ready(self, request: Request) -> Response:
        reasons = self.reasons
        headers = {"retry-after": "1"} if reasons else None
        told = {"ready": not reasons, "reasons": reasons}
        return JSONResponse(told, status_code=503 if reasons else 200, headers=headers)

    async def _health(self, request: Request) -> Response:
        return JSONResponse(
            {
                "ready": not self.reasons,
                "uptime_seconds": round(time.monotonic() - self._begun, 3),
                "waiting": self.queue.waiting,
                "shed": self.queue.shed,
                "workers": self._owners,
                "instruments": {name: standing(desk) for name, desk in self.desks.items()},
            }
        )

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, refused before it is accepted where it may not be."""
        try:
            self._admit(scope, dict(scope["headers"]))
            if len(self.stream) >= self._limits.listeners or self._draining:
                raise later("no further listener is taken on", "events")
        except Problem as problem:
            if "websocket.http.response" in scope.get("extensions", {}):
                for message in refusal(problem):
                    await send({**message, "type": f"websocket.{message['type']}"})
            else:
                await send({"type": "websocket.close", "code": _REFUSED, "reason": str(problem)})
            return
        await self._others(scope, receive, send)

    async def _events(self, socket: WebSocket) -> None:
        """Send every record from now on, until either side has had enough."""
        await socket.accept()
        listener = self.stream.join(self._limits.backlog)
        gone = asyncio.create_task(_until_gone(socket, listener))
        try:
            while not listener.late and (text := await listener.queue.get()) is not None:
                await socket.send_text(text)
            if not gone.done():
                code, why = (_TOO_SLOW, "too slow") if listener.late else (1001, "no more")
                await socket.close(code, why)
        except (WebSocketDisconnect, RuntimeError):
            _LOG.info("a listener has gone")
        finally:
            self.stream.leave(listener)
            gone.cancel()


async def _until_gone(socket: WebSocket, listener: Listener) -> None:
    """Wait until the other side leaves; what it says is not listened to."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
    if listener.queue.full():
        listener.queue.get_nowait()
    listener.hear(None)


def standing(desk: Desk) -> dict[str, Any]:
    """How an instrument fares, for people and machines."""
    engine, session = desk.engine, desk.session
    return {
        "due": desk.due,
        "decisions": dict(desk.decisions),
        "stopped": desk.stopped,
        "position": int(session.account["position"][0]),
        "limit": int(session.account["limit"][0]),
        "result": session.result,
        "orders": session.tally,
        "degraded": sorted(engine.degraded),
        "alarms": list(engine.alarms),
        "fault": desk.fault or None,
        "record": engine.recorded,
        "models": {
            layer: {"digest": model.digest, "commit": model.manifest.commit}
            for layer, model in engine.models.active.items()
        },
    }


async def _http_problem(request: Request, error: Exception) -> Response:
    """Starlette's own refusals in the house's form."""
    status = error.status_code if isinstance(error, HTTPException) else 503
    path = request.url.path
    if status == 405:
        problem = not_so(request.method, "GET", path)
    elif status == 404:
        known = ", ".join((_DECIDE, *_LOOKS, *PATHS))
        problem = Problem(
            404, "no such path", where="path", got=path, expected=f"one of {known}",
            remedy="see /docs",
        )  # fmt: skip
    else:
        problem = failed(path)
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    return Response(problem.body, problem.status, headers)
