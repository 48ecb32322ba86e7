"""A client that loads a service of decisions: raw sockets, one thread, the standard library alone.

`python -m experiments.bench.serve_load` reads a plan as JSON from standard input and prints what
came of it as JSON. Closed: each connection asks again as soon as it is answered. Open: requests
fall due at a fixed rate, and each takes a free connection; where none is free it is not sent.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import Counter
from typing import Any

_LARGEST = 1 << 16
_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_KINDS = (b"hot", b"warm", b"full")
_PATIENCE = 2.0  # seconds for the last answers
_FAILED = 0  # status where a connection broke
# Ray Serve watches for clients that leave, in a task for each request, unless told not to.
_UNWATCHED = "x-request-disconnect-disabled: ?1\r\n"


class Connection:
    """One connection, and the request that it repeats."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self.place, self._request = (host, port), request
        self.sent = 0.0  # when the request that is open was sent
        self._got = b""
        self.socket = socket.create_connection(self.place, 5.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def ask(self) -> None:
        """Send the request; it fits a socket's buffer."""
        self.sent = time.perf_counter()
        self.socket.send(self._request)

    def answer(self) -> tuple[int, bytes] | None:
        """Status and content, once all of the answer is there."""
        part = self.socket.recv(_LARGEST)
        if not part:
            return _FAILED, b""
        self._got += part
        end = self._got.find(_END)
        if end < 0:
            return None
        at = self._got.find(_LENGTH) + len(_LENGTH)
        whole = end + len(_END) + int(self._got[at : self._got.find(b"\r", at)])
        if len(self._got) < whole:
            return None
        status, content = int(self._got[9:12]), self._got[end + len(_END) : whole]
        self._got = self._got[whole:]
        return status, content


def request(instrument: str, prefix: str = "", token: str = "") -> bytes:
    """A request for the moment that is due, as HTTP/1.1 writes it; prefix: on Ray Serve."""
    content = json.dumps({"instrument": instrument}).encode()
    bearer = f"authorization: Bearer {token}\r\n" if token else ""
    unwatched = _UNWATCHED if prefix else ""
    head = (
        f"POST {prefix}/decide HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"content-type: application/json\r\n{bearer}{unwatched}"
        f"content-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Load:
    """Asks over some connections, and counts."""

    def __init__(self, plan: dict[str, Any]) -> None:
        """Open the connections. plan: see `main`."""
        self._rate, self._seconds = plan["rate"], plan["seconds"]
        self.statuses, self.kinds = Counter[int](), Counter[str]()
        self._latencies: list[float] = []
        self._selector = selectors.DefaultSelector()
        self._free: list[Connection] = []
        for host, port, *asked in plan["targets"]:
            for _ in range(plan["connections"]):
                connection = Connection(host, port, request(*asked))
                self._selector.register(connection.socket, selectors.EVENT_READ, connection)
                self._free.append(connection)
        # Interleaved, so that every target is asked as often.
        count = plan["connections"]
        self._free = [each for start in range(count) for each in self._free[start::count]]
        self._open = 0

    def run(self) -> dict[str, Any]:
        """Ask for as long as was said; what came of it."""
        begun, cpu = time.perf_counter(), time.process_time()
        end, asked, missed = begun + self._seconds, 0, 0
        while (now := time.perf_counter()) < end:
            due = len(self._free) if not self._rate else int((now - begun) * self._rate) - asked
            for _ in range(due):
                asked += 1
                if self._free:
                    self._ask()
                else:
                    missed += 1
            self._hear(self._wait(begun, asked))
        taken, used = time.perf_counter() - begun, time.process_time() - cpu
        answered = sum(self.statuses.values())
        while self._open and time.perf_counter() < end + _PATIENCE:
            self._hear(_PATIENCE)
        return {
            "seconds": taken,
            "cpu_seconds": used,
            "asked": asked,
            "missed": missed,
            "answered": answered,
            "unanswered": self._open,
            "statuses": dict(self.statuses),
            "kinds": dict(self.kinds),
            "latency_us": self._percentiles(),
        }

    def _wait(self, begun: float, asked: int) -> float:
        """Seconds until something is due."""
        if not self._rate:
            return 0.1
        return max(0.0, begun + (asked + 1) / self._rate - time.perf_counter())

    def _ask(self) -> None:
        connection = self._free.pop()
        connection.ask()
        self._open += 1

    def _hear(self, seconds: float) -> None:
        """Take in the answers that have come."""
        for key, _ in self._selector.select(seconds):
            connection: Connection = key.data
            try:
                found = connection.answer()
            except OSError:
                found = _FAILED, b""
            if found is None:
                continue
            status, content = found
            self._open -= 1
            self.statuses[status] += 1
            if status == _FAILED:
                self._selector.unregister(connection.socket)
                connection.socket.close()
                continue
            if status == 200:
                self._latencies.append(time.perf_counter() - connection.sent)
                at = content.find(b'"kind": "') + 9
                kind = next(kind for kind in _KINDS if content.startswith(kind, at))
                self.kinds[kind.decode()] += 1
            self._free.insert(0, connection)

    def _percentiles(self) -> list[float]:
        kept = sorted(self._latencies)
        if not kept:
            return [0.0, 0.0]
        return [1e6 * kept[int(share * (len(kept) - 1))] for share in (0.5, 0.99)]


def main() -> None:
    """Read {"targets": [[host, port, instrument]], "connections" a target, "seconds", "rate"}.

    A target may have a path before /decide, and a token, besides. A rate of 0 is a closed load.
    """
    print(json.dumps(Load(json.load(sys.stdin)).run()))


if __name__ == "__main__":
    main()
