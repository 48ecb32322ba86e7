"""What a request gets that cannot be answered: one JSON error, never a trade."""

from __future__ import annotations

import json
import math
from typing import Any

JSON = b"application/json"
_SHOWN = 80  # characters of what was got


class Problem(Exception):
    """One refusal.

    Attributes:
        status: of HTTP.
        retry_after: seconds after which the same request may do; None where it never will.
    """

    def __init__(
        self, status: int, what: str, *, where: str, got: object, expected: str, remedy: str,
        retry_after: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(what)
        self.status, self.retry_after = status, retry_after
        self._told = {
            "what": what,
            "where": where,
            "got": shown(got),
            "expected": expected,
            "remedy": remedy,
        }

    @property
    def body(self) -> bytes:
        """The answer's content."""
        return json.dumps({"error": self._told}).encode()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of the answer, its length among them."""
        found = [(b"content-type", JSON), (b"content-length", str(len(self.body)).encode())]
        if self.retry_after is not None:
            found.append((b"retry-after", str(max(1, math.ceil(self.retry_after))).encode()))
        if self.status == 401:
            found.append((b"www-authenticate", b"Bearer"))
        return found


def shown(value: object) -> str:
    """A value as an error quotes it: printable, and not endless."""
    text = value if isinstance(value, str) else repr(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    if not text:
        return "nothing"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def answer(status: int, body: bytes) -> list[dict[str, Any]]:
    """The two ASGI messages of a JSON answer."""
    headers = [(b"content-type", JSON), (b"content-length", str(len(body)).encode())]
    return [
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body},
    ]


def refusal(problem: Problem) -> list[dict[str, Any]]:
    """The two ASGI messages of a problem."""
    start = {"type": "http.response.start", "status": problem.status, "headers": problem.headers}
    return [start, {"type": "http.response.body", "body": problem.body}]
