"""Connections before a token is shown: bounded in bytes, seconds and number, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect

from cascade.serve.app import Service
from cascade.serve.server import bind, uvicorn_config
from cascade.serve.wire import Connection, Door
from configs.loading import load_config
from configs.serve import ServeConfig

GET = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n"
POST = b"POST /decide HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
SECONDS = 10.0  # to wait for what should come at once


@dataclass
class Caller:
    """One connection of a client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, content: bytes) -> None:
        """Send it, though the other side may have hung up."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(content)
            await self.writer.drain()

    async def answer(self) -> tuple[int, Any]:
        """Status and content of the next answer; (0, None) where the other side hangs up."""
        try:
            head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), SECONDS)
            lines = head.decode().lower().split("\r\n")
            size = next(line.split(":")[1] for line in lines if line.startswith("content-length"))
            body = await self.reader.readexactly(int(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0, None
        return int(lines[0].split()[1]), json.loads(body)

    async def hung_up(self) -> bool:
        """Whether the other side closes, having sent nothing more."""
        try:
            return await asyncio.wait_for(self.reader.read(1), SECONDS) == b""
        except ConnectionError:
            return True


@dataclass
class Place:
    """A service without desks, listening."""

    door: Door
    port: int

    async def call(self) -> Caller:
        return Caller(*await asyncio.open_connection("127.0.0.1", self.port))


@asynccontextmanager
async def listening(**limits: Any) -> AsyncIterator[Place]:
    config = load_config(ServeConfig, {"port": 0, "limits": limits})
    told = uvicorn_config(Service(["paper"], config.limits), config)
    kind = told.http
    assert isinstance(kind, type) and issubclass(kind, Connection)
    server = uvicorn.Server(told)
    (bound,) = bind(config)
    with bound:
        task = asyncio.create_task(server.serve(sockets=[bound]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield Place(kind.door, bound.getsockname()[1])
        finally:
            server.should_exit = True
            await task


def served(check: Callable[[Place], Awaitable[None]], **limits: Any) -> None:
    """Run a check against a service."""

    async def run() -> None:
        async with listening(**limits) as place:
            await check(place)

    asyncio.run(run())


@pytest.mark.parametrize("line", [b"x-a: b\r\n", b"x-a: " + b"a" * 512])
def test_a_head_that_grows_is_refused(line: bytes) -> None:
    async def check(place: Place) -> None:
        caller = await place.call()
        await caller.send(GET)
        for _ in range(4):
            await asyncio.sleep(0.02)
            await caller.send((line * 512)[:510])
        status, told = await caller.answer()
        assert status == 431
        assert told["error"]["expected"] == "at most 2048 bytes"
        assert await caller.hung_up()

    served(check, head_bytes=2_048)


@pytest.mark.parametrize("begun", [GET, POST + b"transfer-encoding: chunked\r\n\r\n0\r\n"])
def test_headers_and_trailers_without_end_are_hung_up_on(begun: bytes) -> None:
    async def check(place: Place) -> None:
        caller = await place.call()
        caller.writer.write(begun)
        with pytest.raises(ConnectionError):
            for _ in range(1_024):
                caller.writer.write(b"x-a: b\r\n" * 4_096)
                await caller.writer.drain()

    served(check)


@pytest.mark.parametrize("size, wanted", [(1_800, 200), (8_192, 431), (300_000, 431)])
def test_a_head_that_comes_at_once_is_bounded_too(size: int, wanted: int) -> None:
    async def check(place: Place) -> None:
        caller = await place.call()
        await caller.send(GET + b"x-a: " + b"a" * size + b"\r\n\r\n")
        status, _ = await caller.answer()
        # What is left unread when the connection ends may overtake the answer.
        assert status == wanted or (wanted == 431 and status == 0)

    served(check, head_bytes=2_048)


def test_requests_in_a_row_and_their_bodies_are_not_counted_together() -> None:
    async def check(place: Place) -> None:
        caller = await place.call()
        body = b'{"instrument": "' + b"a" * 6_000 + b'"}'
        post = POST + b"content-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        for _ in range(3):
            await caller.send(post + post + GET + b"\r\n")
            assert [(await caller.answer())[0] for _ in range(3)] == [404, 404, 200]

    served(check, head_bytes=1_024)


def test_a_long_path_is_refused() -> None:
    async def check(place: Place) -> None:
        for size, wanted in ((100, 404), (3_000, 414)):
            caller = await place.call()
            await caller.send(b"GET /" + b"a" * size + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            status, told = await caller.answer()
            assert status == wanted and told["error"]["where"] == "path"

    served(check)


def test_who_says_nothing_or_never_ends_a_head_is_sent_away() -> None:
    async def check(place: Place) -> None:
        silent, half, after = [await place.call() for _ in range(3)]
        await half.send(GET)
        await after.send(GET + b"\r\n")
        assert (await after.answer())[0] == 200

        async def drip(caller: Caller, what: bytes) -> None:
            while True:
                await caller.send(what)
                await asyncio.sleep(0.02)

        dripping = [
            asyncio.create_task(drip(caller, what))
            for caller, what in ((half, b"x"), (after, b"\r\n"))
        ]
        try:
            assert await silent.hung_up()
            for caller in (half, after):
                status, told = await caller.answer()
                assert status == 408 and told["error"]["where"] == "headers"
        finally:
            for task in dripping:
                task.cancel()
        await asyncio.sleep(0.1)
        assert not place.door.held

    served(check, head_seconds=0.4)


def test_an_answer_in_the_making_is_waited_for() -> None:
    async def check(place: Place) -> None:
        caller = await place.call()
        await caller.send(POST + b"content-length: 23\r\n\r\n{")
        await asyncio.sleep(0.6)
        await caller.send(b'"instrument": "paper"}')
        assert (await caller.answer())[0] == 503

    served(check, head_seconds=0.2)


def test_one_address_holds_only_so_many() -> None:
    async def check(place: Place) -> None:
        held = [await place.call() for _ in range(3)]
        late = await place.call()
        status, told = await late.answer()
        assert status == 429 and told["error"]["expected"] == "at most 3"
        held[0].writer.close()
        while place.door.held["127.0.0.1"] > 2:
            await asyncio.sleep(0.01)
        again = await place.call()
        await again.send(GET + b"\r\n")
        assert (await again.answer())[0] == 200
        for caller in (*held, again):
            caller.writer.close()

    served(check, client_connections=3)


def test_more_than_the_service_takes_are_refused() -> None:
    async def check(place: Place) -> None:
        held = [await place.call() for _ in range(3)]
        assert (await (await place.call()).answer())[0] == 503
        assert len(held) == 3

    served(check, connections=3)


def test_a_listener_is_no_connection_of_the_door() -> None:
    async def check(place: Place) -> None:
        async with connect(f"ws://127.0.0.1:{place.port}/events"):
            await asyncio.sleep(0.5)
            assert not place.door.held

    served(check, head_seconds=0.1)
