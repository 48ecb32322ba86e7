"""Reading order messages from delimited text, line by line, in bounded memory."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from configs.errors import DataError
from configs.messages import MESSAGE_COLUMNS, MessagesConfig
from market.bar_table import cut
from market.message_table import (
    NS_PER_UNIT,
    BadMessages,
    MessageTable,
    find_columns,
    kind_codes,
    side_codes,
    table_of,
)
from market.text_lines import Line, delimiter_of, split, text_lines

_INT64 = 1 << 63
_TYPES = {"price": "d", "kind": "b", "side": "b"}
_COLUMNS = ("lines", "time", "kind", "order", "size", "price", "side")


def read_text(path: Path, config: MessagesConfig, bad: BadMessages) -> tuple[MessageTable, str]:
    """The table of a text file, and the SHA-256 of its content.

    A first line of numbers is LOBSTER's first message; any other is a header. Rows
    with a wrong number of fields or a cell that cannot be read are counted in `bad`.

    Raises:
        DataError: not text, no row, a header without the columns, too many rows.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        lines = text_lines(file, config.max_line_bytes, bad.name, digest, "message")
        first = next(lines, None)
        if first is None:
            raise DataError(f"{bad.name} is empty: expected order messages")
        delimiter = delimiter_of(first.text)
        fields = split(first.text, delimiter) or [first.text]
        lobster = _is_lobster(fields, config, f"{bad.name}:{first.number}")
        if lobster:
            lines = chain([first], lines)
            width, places = len(MESSAGE_COLUMNS), tuple(range(len(MESSAGE_COLUMNS)))
        else:
            width, places = len(fields), find_columns(fields, config.columns, bad.name)
        table = _Rows(places, width, delimiter, config, bad).read(lines, lobster)
    return table, digest.hexdigest()


def _is_lobster(fields: list[str], config: MessagesConfig, place: str) -> bool:
    """Whether the first line is a message already, as in LOBSTER's files."""
    numbers = nanoseconds(fields[0], NS_PER_UNIT[config.time_unit]) is not None
    if config.form == "lobster":
        return True
    if config.form == "rows" and numbers:
        raise DataError(
            f"{place} begins with {cut(fields[0])}: expected a header that names the columns"
            f" ({', '.join(MESSAGE_COLUMNS)}); add one, or set form: lobster"
        )
    return numbers


def nanoseconds(cell: str, unit: int) -> int | None:
    """A time of `unit` ns, exact to the ns for plain decimals; None where none is read."""
    whole, _, fraction = cell.strip().partition(".")
    if whole.isdecimal() and (fraction.isdecimal() or not fraction) and cell.isascii():
        digits = len(str(unit)) - 1
        ns = int(whole) * unit + int(fraction[:digits].ljust(digits, "0") or 0)
    else:
        number = _number(cell)
        if number is None or not 0 <= number < _INT64 / unit:
            return None
        ns = round(number * unit)
    return ns if ns < _INT64 else None


def _number(cell: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(cell) if "_" not in cell else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def whole(cell: str) -> int | None:
    """A whole number within int64 ('100' or '100.0'), or None."""
    try:
        number = int(cell) if "_" not in cell else None
    except ValueError:
        real = _number(cell)
        number = int(real) if real is not None and real.is_integer() else None
    return number if number is not None and -_INT64 <= number < _INT64 else None


class _Rows:
    """Collects rows into flat arrays, about 42 bytes each."""

    def __init__(
        self,
        places: tuple[int, ...],
        width: int,
        delimiter: str,
        config: MessagesConfig,
        bad: BadMessages,
    ) -> None:
        self._places, self._width, self._delimiter = places, width, delimiter
        self._limit, self._bad = config.max_rows, bad
        self._columns = {name: array(_TYPES.get(name, "q")) for name in _COLUMNS}
        kinds, sides = kind_codes(config), side_codes(config)
        unit = NS_PER_UNIT[config.time_unit]
        known = ", ".join(kinds)
        # In the order of the file's columns: what reads a cell, and what it expects.
        self._readers: tuple[tuple[Callable[[str], float | None], str], ...] = (
            (lambda cell: nanoseconds(cell, unit), f"time is no number of {config.time_unit} >= 0"),
            (lambda cell: kinds.get(cell.strip()), f"type is none of {known}"),
            (whole, "id is no whole number within int64"),
            (whole, "size is no whole number within int64"),
            (_number, "price is no finite number"),
            (lambda cell: sides.get(cell.strip()), f"side is none of {', '.join(sides)}"),
        )

    def read(self, lines: Iterator[Line], lobster: bool) -> MessageTable:
        """Read every line; at most the configured number of them."""
        read = 0
        for number, text, _ in lines:
            read += 1
            if read > self._limit:
                raise DataError(
                    f"{self._bad.name} has more than {self._limit} rows: split the file, or raise"
                    " max_rows in the messages' configuration"
                )
            self._row(number, text)
        return table_of(self._columns, lobster, read)

    def _row(self, number: int, text: str) -> None:
        cells = split(text, self._delimiter)
        if cells is None:
            self._bad.add("quotes that do not close", number)
            return
        if len(cells) != self._width:
            self._bad.add(f"not {self._width} fields", number, f"got {len(cells)}")
            return
        values: list[Any] = [number]
        for place, (reader, complaint) in zip(self._places, self._readers, strict=True):
            value = reader(cells[place])
            if value is None:
                self._bad.add(complaint, number, f"got {cut(cells[place])}")
                return
            values.append(value)
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)
