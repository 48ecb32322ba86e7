"""Reading bars from delimited text, line by line, in bounded memory."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.bars import BarsConfig
from configs.errors import DataError
from market.bar_columns import ColumnMap, match_columns
from market.bar_dates import StampReader
from market.bar_table import VALUES, BadRows, BarTable, cut
from market.text_lines import Line, delimiter_of, split, text_lines

_TELLING_ROWS = 20
"""Rows of equal decimals after which a last row with fewer is taken to be cut."""

CUT_SHORT = "cut short at the end of the file"


@dataclass(frozen=True)
class TextLayout:
    """How the rows of a file are laid out.

    header: the first line names the columns and is no bar.
    width: fields of a row.
    """

    delimiter: str
    header: bool
    width: int
    columns: ColumnMap


def read_text(
    path: Path, config: BarsConfig, bad: BadRows, layout: TextLayout | None = None
) -> tuple[BarTable, str]:
    """The table of a CSV file, and the SHA-256 of its content.

    The delimiter (`,`, `;`, tab or `|`) is the header's, unless `layout` says otherwise.
    Rows with too few or too many fields, or a stamp that cannot be read, are counted in
    `bad`, and so is a last row that is seen to be cut short.

    Raises:
        DataError: not text, without header or rows, a line or row too many.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        lines = text_lines(file, config.max_line_bytes, bad.name, digest, "bar")
        if layout is None or layout.header:
            header = next(lines, None)
            if header is None:
                raise DataError(f"{bad.name} is empty: expected a header line and bars")
            layout = layout or _named_layout(header, config, bad.name)
        table = _Rows(layout, bad).read(lines, config.max_rows)
    return table, digest.hexdigest()


def _named_layout(header: Line, config: BarsConfig, name: str) -> TextLayout:
    delimiter = delimiter_of(header.text)
    fields = split(header.text, delimiter)
    if fields is None or StampReader().read(fields[0]) is not None:
        raise DataError(
            f"{name}:{header.number} is {cut(header.text)}: expected a header that names the"
            " columns (time, open, high, low, close, volume); add one"
        )
    return TextLayout(delimiter, True, len(fields), match_columns(fields, config.columns, name))


class _Rows:
    """Collects rows into flat arrays: about 70 bytes a row, however it was written."""

    def __init__(self, layout: TextLayout, bad: BadRows) -> None:
        self._layout, self._columns, self._bad = layout, layout.columns, bad
        self._stamps = StampReader()
        self._lines, self._day, self._month = array("q"), array("q"), array("q")
        self._aware = array("b")
        self._values = array("d")
        self._decimals: set[int] = set()
        self._unended: int | None = None

    def read(self, lines: Iterator[Line], limit: int) -> BarTable:
        """Read every line; at most `limit` of them."""
        read = 0
        for line in lines:
            read += 1
            if read > limit:
                raise DataError(
                    f"{self._bad.name} has more than {limit} rows: split the file, or raise"
                    " max_rows in the bars' configuration"
                )
            self._row(line)
        return BarTable(
            # Views of the collected buffers: copies would hold a large file twice.
            lines=np.frombuffer(self._lines, dtype=np.int64),
            day_first=np.frombuffer(self._day, dtype=np.int64),
            month_first=np.frombuffer(self._month, dtype=np.int64),
            aware=np.frombuffer(self._aware, dtype=np.bool_),
            values=np.frombuffer(self._values, dtype=np.float64).reshape(-1, len(VALUES)),
            unit="line",
            read=read,
            unended=self._unended,
        )

    def _row(self, line: Line) -> None:
        number = line.number
        cells = split(line.text, self._layout.delimiter)
        if cells is None:
            self._bad.add("quotes that do not close", number)
            return
        if len(cells) != self._layout.width:
            self._bad.add(f"not {self._layout.width} fields", number, f"{len(cells)} there")
            return
        if self._is_cut(line, cells[-1]):
            self._bad.add(CUT_SHORT, number, f"ends in {cut(cells[-1])}")
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

    def _is_cut(self, line: Line, cell: str) -> bool:
        """Whether the file breaks off inside this line: its last cell lacks decimals.

        Only a last line without a line end can be cut, and only where every row before
        it had one number of decimals does a lack of them show.
        """
        decimals = len(cell) - cell.find(".") - 1 if "." in cell else 0
        if line.ended:
            self._decimals.add(decimals)
            return False
        self._unended = line.number
        telling = len(self._decimals) == 1 and len(self._lines) >= _TELLING_ROWS
        return telling and decimals < min(self._decimals)


def _numbers(cells: Sequence[str], positions: Sequence[int]) -> list[float]:
    return [_number(cells[i]) for i in positions]


def _number(cell: str) -> float:
    """The number in a cell; NaN, which no bar may hold, where there is none."""
    try:
        return float(cell) if "_" not in cell else math.nan
    except ValueError:
        return math.nan
