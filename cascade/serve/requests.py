"""A request for a decision: an instrument and a time, in JSON."""

from __future__ import annotations

import json
from typing import NamedTuple

from cascade.serve.problems import Problem

INSTRUMENT, TIME = "instrument", "time"
_FIELDS = frozenset((INSTRUMENT, TIME))
_MOST_TIME = (1 << 63) - 1
_BODY = "body"
_EXAMPLE = '{"instrument": "paper"}, with "time" where a certain moment is meant'


class Ask(NamedTuple):
    """What is asked.

    Attributes:
        time: ns since 1970 UTC of the moment to decide; None for the one that is due.
    """

    instrument: str
    time: int | None


def parse_ask(raw: bytes) -> Ask:
    """The request in a body.

    Raises:
        Problem: it is none.
    """
    try:
        fields = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        text = raw.decode("utf-8", "backslashreplace")
        raise _malformed(f"the body is not JSON ({error})", _BODY, text, "an object") from error
    if not isinstance(fields, dict):
        raise _malformed("the body is no object", _BODY, fields, "an object")
    unknown = fields.keys() - _FIELDS
    if unknown:
        name = min(unknown)
        known = " and ".join(sorted(_FIELDS))
        raise _malformed(f"unknown field '{name[:40]}'", _BODY, name, f"{known} alone")
    instrument, time = fields.get(INSTRUMENT), fields.get(TIME)
    if not isinstance(instrument, str):
        raise _malformed(
            "the instrument is missing" if instrument is None else "the instrument is no name",
            INSTRUMENT, instrument, "the name of an instrument",
        )  # fmt: skip
    # True is an int to Python.
    if time is not None and (type(time) is not int or not 0 <= time <= _MOST_TIME):
        raise _malformed(
            "the time is none", TIME, time,
            "whole nanoseconds since 1970 UTC, or null for the moment that is due",
        )  # fmt: skip
    return Ask(instrument, time)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key is given twice")
    return fields


def _malformed(what: str, where: str, got: object, expected: str) -> Problem:
    return Problem(422, what, where=where, got=got, expected=expected, remedy=f"send {_EXAMPLE}")
