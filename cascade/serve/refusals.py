"""The refusals of the application: each one clear error."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from cascade.serve.problems import Problem
from cascade.serve.requests import INSTRUMENT

_LOADING = 1.0  # seconds after which a service that loads may be asked again


def check_posted(scope: MutableMapping[str, Any], headers: Mapping[bytes, bytes]) -> None:
    """Raise Problem unless JSON is posted."""
    if scope["method"] != "POST":
        raise not_so(scope["method"], "POST", scope["path"])
    kind = headers.get(b"content-type", b"")
    if kind.split(b";")[0].strip().lower() != b"application/json":
        raise Problem(
            415, "the body is not declared as JSON", where="content-type",
            got=kind.decode("latin-1"), expected="application/json",
            remedy="send Content-Type: application/json",
        )  # fmt: skip


def not_so(method: str, expected: str, path: str) -> Problem:
    """Another method is expected."""
    return Problem(
        405, f"{path} does not take {method[:20]}", where="method", got=method, expected=expected,
        remedy="see /docs",
    )  # fmt: skip


def failed(path: str) -> Problem:
    """What should never happen."""
    return Problem(
        503, "the request could not be answered", where=path, got="an internal error",
        expected="none", remedy="its log tells what happened; report it", retry_after=1.0,
    )  # fmt: skip


def foreign(where: str, got: str) -> Problem:
    """Asked by another site."""
    return Problem(
        403, "this service answers this machine alone", where=where, got=got,
        expected="a loopback name, such as 127.0.0.1",
        remedy="ask it by that name, or start it with a token",
    )  # fmt: skip


def too_large(got: str, most: int) -> Problem:
    """A body beyond what may be."""
    return Problem(
        413, "the body is too large", where="body", got=f"{got[:20]} bytes",
        expected=f"at most {most}", remedy="leave out what a decision can do without",
    )  # fmt: skip


def too_late(got: int, seconds: float) -> Problem:
    """A body that does not come."""
    return Problem(
        408, "the body did not come in time", where="body", got=f"{got} bytes",
        expected=f"all of it in {seconds:g} s", remedy="send it at once",
    )  # fmt: skip


def cut(got: int) -> Problem:
    """A body that ends early."""
    return Problem(
        400, "the body was cut off", where="body", got=f"{got} bytes", expected="all of it",
        remedy="send the request again",
    )  # fmt: skip


def later(what: str, got: str) -> Problem:
    """Not yet, or not any more."""
    return Problem(
        503, what, where=INSTRUMENT, got=got, expected="a service that is ready (/ready)",
        remedy="wait as Retry-After says", retry_after=_LOADING,
    )  # fmt: skip
