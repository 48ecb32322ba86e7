"""Who may ask, and how much: the token, the rate of one client, the bounded queue."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from cascade.serve.problems import Problem
from configs.errors import ConfigError
from configs.serve import LEAST_TOKEN, TOKEN_VARIABLE, ServeLimitsConfig

_BEARER = b"bearer "
_MOST_CLIENTS = 1_024  # whose rates are kept
_LOOKS = 4  # at whoever waits, in the time that each may
_QUEUE_SECONDS = 1.0  # after which a full queue has long been worked off


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(host: str, file: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """The token that requests must carry; empty where none is demanded.

    Args:
        file: whose first line is the token; the environment's variable is read where None.

    Raises:
        ConfigError: it cannot be read or is too short, or `host` needs one and there is none.
    """
    token, source = environment.get(TOKEN_VARIABLE, "").strip(), TOKEN_VARIABLE
    if file is not None:
        source = f"--token-file {file}"
        try:
            token = (file.read_text(encoding="ascii").splitlines() or [""])[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{source} cannot be read ({error}); expected a file of ASCII text whose first "
                "line is the token"
            ) from error
    if not token and file is None:
        if is_loopback(host):
            return ""
        raise ConfigError(
            f"host={host} can be reached from other machines, and there is no token: set "
            f"{TOKEN_VARIABLE} or --token-file, or listen on 127.0.0.1"
        )
    if len(token) < LEAST_TOKEN or not (token.isascii() and token.isprintable()):
        raise ConfigError(
            f"{source}: the token has {len(token)} characters, expected at least {LEAST_TOKEN} "
            "printable ASCII ones; make one with: python -c 'import secrets; "
            "print(secrets.token_urlsafe(32))'"
        )
    return token


def check_token(token: bytes, headers: Mapping[bytes, bytes]) -> None:
    """Raise Problem where a request does not carry the token; in constant time."""
    if not token:
        return
    given = headers.get(b"authorization", b"")
    bearer = given[: len(_BEARER)].lower() == _BEARER
    # Compared whatever came, so that time tells nothing of the token.
    same = hmac.compare_digest(given[len(_BEARER) :], token)
    if not (same and bearer):
        raise Problem(
            401, "the token is wrong" if given else "the token is missing", where="authorization",
            got="another" if given else "none", expected="Authorization: Bearer TOKEN",
            remedy=f"send the token that the service was started with ({TOKEN_VARIABLE})",
        )  # fmt: skip


class Rates:
    """Token buckets, one a client."""

    def __init__(
        self, limits: ServeLimitsConfig, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._now = limits.rate, float(limits.burst), now
        self._kept: dict[str, tuple[float, float]] = {}  # tokens, and when they were counted

    def take(self, client: str) -> None:
        """Raise Problem where a client asks faster than it may."""
        now = self._now()
        left, then = self._kept.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        allowed = left >= 1.0
        self._kept[client] = (left - 1.0 if allowed else left, now)
        if len(self._kept) > _MOST_CLIENTS:
            del self._kept[next(iter(self._kept))]  # the one that has been silent longest
        if not allowed:
            raise Problem(
                429, "too many requests", where="client", got=client,
                expected=f"at most {self._rate:g} a second", remedy="wait as Retry-After says",
                retry_after=(1.0 - left) / self._rate,
            )  # fmt: skip


class Queue:
    """How many decisions wait, and the most that may.

    Attributes:
        waiting: requests that have been let in and not been answered.
        shed: requests that have been turned away.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.waiting = self.shed = 0

    def enter(self) -> None:
        """Raise Problem where the queue is full; `leave` follows where it is not."""
        if self.waiting >= self._most:
            self.shed += 1
            raise Problem(
                503, "the service is overloaded", where="queue", got=f"{self.waiting} waiting",
                expected=f"at most {self._most}", remedy="wait as Retry-After says",
                retry_after=_QUEUE_SECONDS,
            )  # fmt: skip
        self.waiting += 1

    def leave(self) -> None:
        """One is answered."""
        self.waiting -= 1


class Patience:
    """How long requests are waited for: one timer for all of them, where each would be too dear.

    A context: the task inside is cancelled once it has waited for longer than may be, by a
    quarter more at most.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._looking: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[asyncio.Task[Any], float] = {}

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        self._waiting[task] = loop.time() + self._seconds
        if self._looking is not loop:
            self._looking = loop
            loop.call_later(self._seconds / _LOOKS, self._look, loop)
        return self

    def __exit__(self, *_: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        del self._waiting[task]

    def over(self) -> bool:
        """Whether this task was cancelled for waiting too long, which it then was not."""
        task = asyncio.current_task()
        assert task is not None
        late = self._waiting[task] < 0.0
        if late:
            task.uncancel()
        return late

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, until in self._waiting.items():
            if 0.0 <= until < now:
                self._waiting[task] = -1.0
                task.cancel()
        self._looking = loop if self._waiting else None
        if self._waiting:
            loop.call_later(self._seconds / _LOOKS, self._look, loop)
