"""What requests ask, in JSON: a decision at a time, or a step of an operator's."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NamedTuple

from cascade.advice import MOST_POSITION
from cascade.serve.problems import Problem

INSTRUMENT, TIME, LAYER, REASON = "instrument", "time", "layer", "reason"
BOOK, POSITION = "book", "position"
_FIELDS = frozenset((INSTRUMENT, TIME, BOOK, POSITION))
MOST_REASON = 500  # characters
_MOST_TIME = (1 << 63) - 1
_BODY = "body"
_EXAMPLE = '{"instrument": "paper"}, with "time" where a certain moment is meant'
_STEER = '{"instrument": "paper"}, or {} for every instrument of this worker'


class Ask(NamedTuple):
    """What is asked.

    Attributes:
        time: ns since 1970 UTC of the moment to decide; None for the one that is due.
        book: the state of the caller's own books and order, as plain data; None where a moment of
            the session is meant.
        position: signed units that the caller holds.
    """

    instrument: str
    time: int | None
    book: dict[str, Any] | None = None
    position: int = 0


class Steer(NamedTuple):
    """A step of an operator's.

    Attributes:
        instrument: None means every one of this process.
        layer: to roll back.
        reason: for the log.
    """

    instrument: str | None
    layer: str | None = None
    reason: str = ""


def parse_steer(raw: bytes, layers: Collection[str] | None = None) -> Steer:
    """The operator's step in a body.

    Args:
        layers: of which one is to be named; None where none is.

    Raises:
        Problem: it is none.
    """
    known = {INSTRUMENT, REASON} | ({LAYER} if layers else set())
    fields = _object(raw, known, _STEER)
    instrument, reason = fields.get(INSTRUMENT), fields.get(REASON, "")
    if not (instrument is None or isinstance(instrument, str)):
        raise _malformed(
            "the instrument is no name", INSTRUMENT, instrument, "the name of an instrument", _STEER
        )
    if not isinstance(reason, str) or len(reason) > MOST_REASON:
        raise _malformed(
            "the reason is none", REASON, reason, f"a text of at most {MOST_REASON} characters",
            _STEER,
        )  # fmt: skip
    if layers is None:
        return Steer(instrument, None, reason)
    layer = fields.get(LAYER)
    if not isinstance(layer, str) or layer not in layers:
        what = "the layer is missing" if layer is None else "no such layer"
        example = '{"instrument": "paper", "layer": "execution"}'
        raise _malformed(what, LAYER, layer, f"one of {', '.join(layers)}", example)
    return Steer(instrument, layer, reason)


def _object(raw: bytes, known: Collection[str], example: str) -> dict[str, Any]:
    """The object in a body, of known fields alone."""
    try:
        fields = _READER.decode(raw.decode())
    except (ValueError, RecursionError) as error:
        text = raw.decode("utf-8", "backslashreplace")
        what = f"the body is not JSON ({error})"
        raise _malformed(what, _BODY, text, "an object", example) from error
    if not isinstance(fields, dict):
        raise _malformed("the body is no object", _BODY, fields, "an object", example)
    for name in fields:
        if name not in known:
            told = " and ".join(sorted(known))
            raise _malformed(f"unknown field '{name[:40]}'", _BODY, name, f"{told} alone", example)
    return fields


def parse_ask(raw: bytes) -> Ask:
    """The request for a decision in a body.

    Raises:
        Problem: it is none.
    """
    fields = _object(raw, _FIELDS, _EXAMPLE)
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
    if BOOK in fields:
        return _of_book(instrument, fields)
    if POSITION in fields:
        raise _malformed(
            "a position without books", POSITION, fields[POSITION], f"'{BOOK}' beside it"
        )
    return Ask(instrument, time)


def _of_book(instrument: str, fields: dict[str, Any]) -> Ask:
    """A request about the caller's own books; their state is read where it is decided on."""
    book, position = fields[BOOK], fields.get(POSITION, 0)
    if TIME in fields:
        raise _malformed(
            "a time beside books", TIME, fields[TIME], "books without a time: they are of now"
        )
    if not isinstance(book, dict):
        raise _malformed("the book is no object", BOOK, book, "an object of venues and parent")
    if type(position) is not int or abs(position) > MOST_POSITION:
        raise _malformed(
            "the position is none", POSITION, position,
            f"whole units, -{MOST_POSITION} to {MOST_POSITION}",
        )  # fmt: skip
    return Ask(instrument, None, book, position)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key is given twice")
    return fields


# Made once: making one costs as much as reading a request by it.
_READER = json.JSONDecoder(object_pairs_hook=_once)


def _malformed(
    what: str, where: str, got: object, expected: str, example: str = _EXAMPLE
) -> Problem:
    return Problem(422, what, where=where, got=got, expected=expected, remedy=f"send {example}")
