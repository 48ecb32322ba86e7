"""Reading bars from delimited text, line by line, in bounded memory."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from configs.bars import BarsConfig
from configs.errors import DataError
from market.bar_columns import ColumnMap, match_columns
from market.bar_dates import StampReader
from market.bar_table import VALUES, BadRows, BarTable, cut
from market.text_lines import DELIMITERS, split, text_lines


def read_text(path: Path, config: BarsConfig, bad: BadRows) -> tuple[BarTable, str]:
    """The table of a CSV file, and the SHA-256 of its content.

    The delimiter (`,`, `;`, tab or `|`) is the header's. Rows with too few or too
    many fields, or a stamp that cannot be read, are counted in `bad`.

    Raises:
        DataError: not text, without header or rows, a line or row too many.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        lines = text_lines(file, config.max_line_bytes, bad.name, digest, "bar")
        header = next(lines, None)
        if header is None:
            raise DataError(f"{bad.name} is empty: expected a header line and bars")
        number, text = header
        delimiter = max(DELIMITERS, key=text.count)
        fields = split(text, delimiter)
        if fields is None or StampReader().read(fields[0]) is not None:
            raise DataError(
                f"{bad.name}:{number} is {cut(text)}: expected a header that names the columns"
                " (time, open, high, low, close, volume); add one"
            )
        columns = match_columns(fields, config.columns, bad.name)
        table = _Rows(columns, len(fields), delimiter, bad).read(lines, config.max_rows)
    return table, digest.hexdigest()


class _Rows:
    """Collects rows into flat arrays: about 70 bytes a row, however it was written."""

    def __init__(self, columns: ColumnMap, width: int, delimiter: str, bad: BadRows) -> None:
        self._columns, self._width, self._delimiter, self._bad = columns, width, delimiter, bad
        self._stamps = StampReader()
        self._lines, self._day, self._month = array("q"), array("q"), array("q")
        self._aware = array("b")
        self._values = array("d")

    def read(self, lines: Iterator[tuple[int, str]], limit: int) -> BarTable:
        """Read every line; at most `limit` of them."""
        read = 0
        for number, text in lines:
            read += 1
            if read > limit:
                raise DataError(
                    f"{self._bad.name} has more than {limit} rows: split the file, or raise"
                    " max_rows in the bars' configuration"
                )
            self._row(number, text)
        return BarTable(
            lines=np.array(self._lines, dtype=np.int64),
            day_first=np.array(self._day, dtype=np.int64),
            month_first=np.array(self._month, dtype=np.int64),
            aware=np.array(self._aware, dtype=np.bool_),
            values=np.array(self._values, dtype=np.float64).reshape(-1, len(VALUES)),
            unit="line",
            read=read,
        )

    def _row(self, number: int, text: str) -> None:
        cells = split(text, self._delimiter)
        if cells is None:
            self._bad.add("quotes that do not close", number)
            return
        if len(cells) != self._width:
            self._bad.add(f"not {self._width} fields", number, f"{len(cells)} there")
            return
        written = " ".join(cells[i] for i in self._columns.time)
        stamp = self._stamps.read(written)
        if stamp is None:
            self._bad.add("no date and time that can be read", number, cut(written))
            return
        self._lines.append(number)
        self._day.append(stamp.day_first)
        self._month.append(stamp.month_first)
        self._aware.append(stamp.aware)
        self._values.extend(_numbers(cells, self._columns.values))


def _numbers(cells: Sequence[str], positions: Sequence[int]) -> list[float]:
    return [_number(cells[i]) for i in positions]


def _number(cell: str) -> float:
    """The number in a cell; NaN, which no bar may hold, where there is none."""
    try:
        return float(cell) if "_" not in cell else math.nan
    except ValueError:
        return math.nan
