"""`python -m experiments.serve_fuzz`: malformed requests over real sockets; none may trade.

A service of untrained networks is started in a process of its own. Each request is wrong in one
way at least, by its seed; most are HTTP, some are bytes that are none. Every answer must be a
refusal (4xx) in the form of the house, and at the end the service must be ready and no order,
bar or audit record further than at the beginning.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from cascade.serve.schema import openapi

INSTRUMENT = "paper"
_JSON = {"content-type": "application/json"}
_NAMES = ("instrument", "time", "Instrument", "price", "orders", "__proto__", "", "\x00", "é")
_METHODS = ("PUT", "DELETE", "PATCH", "GET", "OPTIONS")
_MOST_BODY = 16_384
_SHORT = 200  # bytes of random content
_SECONDS = 5.0
_RAW_SHARE, _RAW_SECONDS = 0.05, 0.3  # a broken head is waited for: no answer comes
_REFUSED = range(400, 500)

Malformed = tuple[str, str, dict[str, str], bytes]


def malformed(seed: int, instrument: str = INSTRUMENT) -> Malformed:
    """(method, path, headers, body) of a request that is wrong."""
    rng = random.Random(seed)
    makers = (_bytes, _value, _fields, _names, _time, _cut, _large, _method, _path, _kind)
    return rng.choice(makers)(rng, instrument)


def _post(content: bytes, headers: dict[str, str] | None = None) -> Malformed:
    return "POST", "/decide", _JSON if headers is None else headers, content


def _valid(instrument: str) -> bytes:
    return json.dumps({"instrument": instrument}).encode()


def _bytes(rng: random.Random, instrument: str) -> Malformed:
    # A first byte that begins no JSON object.
    return _post(b"!" + rng.randbytes(rng.randrange(_SHORT)))


def _any(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 4 else 6)
    if kind == 6:
        return [_any(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        return {rng.choice(_NAMES): _any(rng, depth + 1) for _ in range(rng.randrange(4))}
    return (
        None, rng.random() < 0.5, rng.randrange(-(2**70), 2**70), rng.choice((1e308, -0.0, 1e-320)),
        "".join(chr(rng.randrange(0xD800)) for _ in range(rng.randrange(40))), float("inf"),
    )[kind]  # fmt: skip


def _value(rng: random.Random, instrument: str) -> Malformed:
    value = _any(rng)
    return _post(json.dumps(value if not isinstance(value, dict) else [value]).encode())


def _fields(rng: random.Random, instrument: str) -> Malformed:
    unknown = {f"x{rng.randrange(1000)}": _any(rng)}
    return _post(json.dumps({"instrument": instrument, **unknown}).encode())


def _names(rng: random.Random, instrument: str) -> Malformed:
    name = _any(rng)
    return _post(json.dumps({"instrument": "x" + name if isinstance(name, str) else name}).encode())


def _time(rng: random.Random, instrument: str) -> Malformed:
    while (time := _any(rng)) is None:
        pass
    return _post(json.dumps({"instrument": instrument, "time": time}).encode())


def _cut(rng: random.Random, instrument: str) -> Malformed:
    whole = _valid(instrument)
    return _post(whole[: rng.randrange(len(whole))])


def _large(rng: random.Random, instrument: str) -> Malformed:
    return _post(_valid(instrument) + b" " * (_MOST_BODY + rng.randrange(_SHORT)))


def _method(rng: random.Random, instrument: str) -> Malformed:
    if rng.random() < 0.5:
        return rng.choice(_METHODS), "/decide", _JSON, _valid(instrument)
    path = rng.choice([path for path in openapi(token=False)["paths"] if path != "/decide"])
    return rng.choice(("POST", "PUT", "DELETE")), path, _JSON, _valid(instrument)


def _path(rng: random.Random, instrument: str) -> Malformed:
    path = "/" + "".join(rng.choice("abc/%2e.") for _ in range(1 + rng.randrange(20)))
    return "POST", f"/none{path}".replace("%", "p"), _JSON, _valid(instrument)


def _kind(rng: random.Random, instrument: str) -> Malformed:
    kind = rng.choice(("", "text/plain", "application/jsonx", "multipart/form-data", "\xff"))
    return _post(_valid(instrument), {"content-type": kind} if kind else {})


def wire(request: Malformed) -> bytes:
    """A request as HTTP/1.1 writes it."""
    method, path, headers, content = request
    told = {"host": "127.0.0.1", "content-length": str(len(content)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def garbage(seed: int) -> bytes:
    """Bytes that are no HTTP request, or a broken one."""
    rng = random.Random(seed)
    whole = bytearray(wire(("POST", "/decide", _JSON, b"{")))
    kind = rng.randrange(3)
    if kind == 0:
        return rng.randbytes(1 + rng.randrange(_SHORT)) + b"\r\n\r\n"
    if kind == 1:
        whole[rng.randrange(len(whole))] = rng.randrange(256)
        return bytes(whole)
    length = rng.choice((b"-1", b"x", b"99999999999999999999999", b"1, 2"))
    return b"POST /decide HTTP/1.1\r\ncontent-length: " + length + b"\r\n\r\n{}"


class Wire:
    """A client on one connection, opened again where the service has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)
        self._socket: socket.socket | None = None

    def ask(self, content: bytes, seconds: float = _SECONDS) -> tuple[int, bytes]:
        """Status and body of the answer; status 0 where none came in so many seconds."""
        if self._socket is None:
            self._socket = socket.create_connection(self._place, _SECONDS)
        self._socket.settimeout(seconds)
        try:
            self._socket.sendall(content)
            return self._answer(self._socket)
        except (ConnectionError, TimeoutError):
            self.close()
            return 0, b""

    def _answer(self, open_: socket.socket) -> tuple[int, bytes]:
        got = b""
        while b"\r\n\r\n" not in got:
            part = open_.recv(65_536)
            if not part:
                raise ConnectionError
            got += part
        head, _, body = got.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        told = dict(line.lower().split(b": ", 1) for line in lines[1:])
        while len(body) < int(told[b"content-length"]):
            body += open_.recv(65_536)
        if told.get(b"connection") == b"close":
            self.close()
        return int(lines[0].split()[1]), body

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def standing(client: Wire) -> tuple[Any, ...]:
    """What no malformed request may change."""
    status, body = client.ask(wire(("GET", "/health", {}, b"")))
    told = json.loads(body)["instruments"][INSTRUMENT]
    return status, told["record"], told["due"], told["orders"], told["decisions"], told["fault"]


def attack(host: str, port: int, count: int, seed: int) -> tuple[Counter[int], list[str]]:
    """Send `count` malformed requests; answers by status, and what was wrong with any."""
    client, found, wrong = Wire(host, port), Counter[int](), list[str]()
    before = standing(client)
    rng = random.Random(seed)
    for number in range(count):
        at = seed + number
        raw = rng.random() < _RAW_SHARE
        status, body = (
            client.ask(garbage(at), _RAW_SECONDS) if raw else client.ask(wire(malformed(at)))
        )
        if raw:
            client.close()
        found[status] += 1
        refused = status in _REFUSED and set(json.loads(body)) == {"error"}
        if not (refused or (raw and status == 0)):
            wrong.append(f"seed {at}: status {status}, {body[:200]!r}")
    after = standing(client)
    client.close()
    if after != before:
        wrong.append(f"the service stands at {after}, stood at {before}")
    return found, wrong


def main(arguments: list[str] | None = None) -> int:
    """Run it and print what came of it; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m experiments.serve_fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    from experiments.bench.cascade_layers import untrained
    from experiments.serving import service

    with tempfile.TemporaryDirectory() as scratch:
        untrained(Path(scratch), given.seed)
        told = ("limits.rate=1000000.0", "limits.burst=1000000", "limits.body_seconds=0.2")
        with service(Path(scratch), told) as served:
            host, port = served.places[0]
            found, wrong = attack(host, port, given.requests, given.seed)
    print(f"{given.requests} malformed requests; answers by status: {dict(sorted(found.items()))}")
    for line in wrong[:20]:
        print(line)
    print(f"{len(wrong)} of them were not refused as they should" if wrong else "none traded")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
