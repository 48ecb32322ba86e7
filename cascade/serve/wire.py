"""A connection before anybody has shown a token: how much, and for how long, it may take.

The token is a header, so that whoever has none is heard until its head is whole. What is heard is
therefore bounded here, in bytes and in seconds, and so is how many connections one address holds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cascade.serve.problems import Problem
from configs.serve import ServeLimitsConfig

_LOOKS = 4  # at every connection, in the time that a head may take
_LEAST_PIECE = 1_024  # bytes that are parsed at once, however little room is left


class Door:
    """What all connections of a server share: its limits, who holds how many, and one timer.

    Attributes:
        held: connections by address; those that went over to WebSocket are counted no more.
    """

    def __init__(self, limits: ServeLimitsConfig) -> None:
        self.limits, self.held = limits, Counter[str]()
        self._open: set[Connection] = set()
        self._looking: asyncio.AbstractEventLoop | None = None

    def enter(self, connection: Connection) -> None:
        """One has come."""
        self._open.add(connection)
        self.held[connection.address] += 1
        if self._looking is not connection.loop:
            self._looking = connection.loop
            self._look_later(connection.loop)

    def leave(self, connection: Connection) -> None:
        """One has gone, or is nobody's business here any more."""
        if connection not in self._open:
            return
        self._open.remove(connection)
        self.held[connection.address] -= 1
        if not self.held[connection.address]:
            del self.held[connection.address]

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(self.limits.head_seconds / _LOOKS, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        for connection in list(self._open):
            connection.look(_LOOKS)
        self._looking = loop if self._open else None
        if self._open:
            self._look_later(loop)


class Connection(HttpToolsProtocol):
    """uvicorn's, bounded, and whose own refusals are in the house's form."""

    door: Door

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.address = self.client[0] if self.client else "unknown"
        self._head = 0  # bytes since the last whole request, bodies left out
        self._looks = 0  # at it since it began a request, or came
        self._over = False
        self._refusal: Problem | None = None
        self.door.enter(self)
        self._admit()

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.leave(self)
        super().connection_lost(exc)

    def _admit(self) -> None:
        """Refuse it where too many are open."""
        limits, held = self.door.limits, self.door.held[self.address]
        if len(self.connections) > limits.connections:
            found, most = len(self.connections), limits.connections
            self._refuse(_crowded(503, "too many connections", found, most))
        elif held > limits.client_connections:
            most = limits.client_connections
            self._refuse(_crowded(429, "too many connections of one address", held, most))

    def data_received(self, data: bytes) -> None:
        if self._head + len(data) <= self.door.limits.head_bytes:  # as nearly always
            self._head += len(data)
            super().data_received(data)
            return
        # As much as there is room for at a time, so that a head cannot end beyond it.
        most, at = self.door.limits.head_bytes, 0
        while at < len(data) and not self._over:
            piece = data[at : at + max(most - self._head, _LEAST_PIECE)]
            at += len(piece)
            self._head += len(piece)
            super().data_received(piece)
            if self._head > most and not self._over:
                self._refuse(_too_much(431, "the head is too large", "headers", most))

    def on_message_begin(self) -> None:
        self._looks = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        most = self.door.limits.url_bytes
        if len(self.url) > most:
            self._refusal = _too_much(414, "the path is too long", "path", most)
            raise ValueError(str(self._refusal))  # which ends the parsing

    def on_body(self, body: bytes) -> None:
        self._head -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head = 0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._over = True
        self.door.leave(self)
        super().handle_websocket_upgrade()

    def look(self, most: int) -> None:
        """Close it once it was looked at more than `most` times while nothing was answered."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._looks = 0
            return
        self._looks += 1
        if self._looks <= most:
            return
        if self.transport.is_closing():
            self.transport.abort()  # it does not take what is left to be sent to it
        elif self._head > 0:
            self._refuse(_too_slow(self._head, self.door.limits.head_seconds))
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or _nonsense(msg))

    def _refuse(self, problem: Problem) -> None:
        self._over = True
        lines = [f"HTTP/1.1 {problem.status} Refused".encode()]
        lines += [name + b": " + value for name, value in problem.headers]
        lines += [b"connection: close", b"", problem.body]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()


def connections(limits: ServeLimitsConfig) -> type[Connection]:
    """The class of a server's connections, which share a door."""
    return type("Connection", (Connection,), {"door": Door(limits)})


def _crowded(status: int, what: str, got: int, most: int) -> Problem:
    return Problem(
        status, what, where="connection", got=got, expected=f"at most {most}",
        remedy="wait as Retry-After says", retry_after=1.0,
    )  # fmt: skip


def _too_much(status: int, what: str, where: str, most: int) -> Problem:
    return Problem(
        status, what, where=where, got=f"more than {most} bytes",
        expected=f"at most {most} bytes", remedy="send less; see /docs",
    )  # fmt: skip


def _too_slow(got: int, seconds: float) -> Problem:
    return Problem(
        408, "the head did not come in time", where="headers", got=f"{got} bytes",
        expected=f"a whole head within {seconds:g} s", remedy="send it at once",
    )  # fmt: skip


def _nonsense(got: str) -> Problem:
    return Problem(
        400, "not an HTTP request", where="connection", got=got, expected="HTTP/1.1",
        remedy="see /docs",
    )  # fmt: skip


__all__ = ["Connection", "Door", "connections"]
