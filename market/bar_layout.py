"""Guessing how an unknown text file of bars is laid out, from its first rows."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.bars import BarColumn, BarsConfig
from configs.errors import DataError
from market.bar_columns import ColumnMap, match_columns
from market.bar_dates import StampReader
from market.bar_table import PRICES, VALUES
from market.bar_text import TextLayout
from market.text_lines import delimiter_of, split, text_lines

_LOOKED_AT = 1000
"""Rows that settle a guess."""
_MOST = 0.9
"""Share of the rows that a guess must fit; the rest may be the file's bad rows."""
_NUMBERS = 10
"""Columns of numbers that are tried as prices; combinations of more would take long."""

_COMMA = re.compile(r"^\s*-?\d+,\d+\s*$", re.ASCII)
_CLOCK = re.compile(r"^\s*\d{1,2}:\d{2}(:\d{2})?", re.ASCII)


@dataclass(frozen=True)
class LayoutGuess:
    """How the file is taken to be laid out.

    said: what was guessed, one line each.
    columns: names for the configuration, where the header's own tell nothing.
    problem: why the file cannot be loaded as it stands, if so.
    """

    layout: TextLayout
    said: tuple[str, ...]
    columns: dict[BarColumn, str] = field(default_factory=dict)
    problem: str | None = None


def guess_layout(path: Path, config: BarsConfig, name: str) -> LayoutGuess:
    """The layout of a text file, by its header where that names the columns.

    Raises:
        DataError: not text, or neither names nor contents tell the columns.
    """
    with path.open("rb") as file:
        lines = text_lines(file, config.max_line_bytes, name, hashlib.sha256(), "bar")
        texts = [line.text for line in itertools.islice(lines, _LOOKED_AT + 1)]
    if not texts:
        raise DataError(f"{name} is empty: expected a header line and bars")
    delimiter = delimiter_of(texts[0])
    first = split(texts[0], delimiter) or []
    said = f"separator {delimiter!r}, from the first line"
    bare = any(StampReader().read(cell) is not None for cell in first)
    if not bare:
        try:
            columns = match_columns(first, config.columns, name)
        except DataError as error:
            unnamed = error
        else:
            layout = TextLayout(delimiter, True, len(first), columns)
            return LayoutGuess(layout, (said,), problem=_decimal_commas(texts[1:], layout))
    rows = [split(text, delimiter) or [] for text in (texts if bare else texts[1:])]
    found = columns_by_content([row for row in rows if len(row) == len(first)])
    if found is None and not bare:
        raise unnamed
    if found is None:
        raise DataError(
            f"{name} has no header, and its columns do not read as time, open, high, low, close"
            " and volume: add a header line that names them"
        )
    layout = TextLayout(delimiter, not bare, len(first), found)
    return _told(layout, first, said, bare)


def _decimal_commas(texts: Sequence[str], layout: TextLayout) -> str | None:
    """What to do about numbers such as 12,5, where the file writes most of them so."""
    rows = [split(text, layout.delimiter) or [] for text in texts]
    cells = [row[i] for row in rows if len(row) == layout.width for i in layout.columns.values]
    commas = sum(_COMMA.match(cell) is not None for cell in cells)
    if commas <= len(cells) // 2:
        return None
    return "its numbers have a decimal comma: write them with a decimal point"


def _told(layout: TextLayout, first: Sequence[str], said: str, bare: bool) -> LayoutGuess:
    """The guess from contents, and what the file or the configuration needs for it."""
    columns = layout.columns
    roles = ("time", *VALUES)
    positions = (columns.time[0], *columns.values)
    where = ", ".join(f"{r} in column {p + 1}" for r, p in zip(roles, positions, strict=True))
    told = (said, f"columns from their contents: {where}")
    if bare:
        names = ["other"] * layout.width
        for role, position in zip(roles, positions, strict=True):
            names[position] = role
        if len(columns.time) > 1:
            names[columns.time[0]], names[columns.time[1]] = "date", "time"
        header = layout.delimiter.join(names)
        return LayoutGuess(layout, told, {}, f"it has no header line; add: {header}")
    if len(columns.time) > 1:
        day, clock = (first[p].strip() for p in columns.time)
        problem = f"date and time of day stand apart; name those columns Date and Time, not {day}"
        return LayoutGuess(layout, told, {}, f"{problem} and {clock}")
    names_of: dict[str, str] = {
        role: first[p].strip() for role, p in zip(roles, positions, strict=True)
    }
    return LayoutGuess(layout, told, {**names_of})  # type: ignore[dict-item]


def columns_by_content(rows: Sequence[Sequence[str]]) -> ColumnMap | None:
    """Which columns hold what, judged by the cells alone; None where they do not tell.

    Stamps tell the time. High and low are what bounds two other columns of about their
    size; of those two the first is the open. What is left of the numbers is the volume.
    """
    if not rows:
        return None
    columns = list(zip(*rows, strict=True))
    time = _time_columns(columns)
    if time is None:
        return None
    numbers = {
        i: values
        for i, cells in enumerate(columns)
        if i not in time and np.isfinite(values := _floats(cells)).mean() >= _MOST
    }
    prices = _price_columns(dict(itertools.islice(numbers.items(), _NUMBERS)))
    if prices is None:
        return None
    left = [i for i, v in numbers.items() if i not in prices and np.nanmin(v) >= 0]
    return ColumnMap(time, (*prices, left[0])) if left else None


def _time_columns(columns: Sequence[Sequence[str]]) -> tuple[int, ...] | None:
    reader = StampReader()
    for i, cells in enumerate(columns):
        read = sum(reader.read(cell) is not None for cell in cells)
        if read < _MOST * len(cells):
            continue
        following = columns[i + 1] if i + 1 < len(columns) else ()
        clocks = sum(_CLOCK.match(cell) is not None for cell in following)
        return (i, i + 1) if clocks >= _MOST * len(cells) else (i,)
    return None


def _price_columns(numbers: dict[int, NDArray[np.float64]]) -> tuple[int, ...] | None:
    """Positions of open, high, low and close: the closest four of which two bound the rest."""
    best: tuple[float, tuple[int, ...]] | None = None
    for four in itertools.combinations(numbers, len(PRICES)):
        values = np.column_stack([numbers[i] for i in four])
        values = values[np.isfinite(values).all(axis=1) & (values > 0).all(axis=1)]
        if len(values) < _MOST * len(numbers[four[0]]):
            continue
        centred = values / values.mean(axis=1, keepdims=True)
        high, low = int(np.argmax(centred.mean(axis=0))), int(np.argmin(centred.mean(axis=0)))
        bounds = (values <= values[:, [high]]).all(axis=1) & (values >= values[:, [low]]).all(
            axis=1
        )
        if high == low or bounds.mean() < _MOST:
            continue
        width = float(np.median(values[:, high] / values[:, low]))
        open_, close = (four[i] for i in range(len(PRICES)) if i not in (high, low))
        if best is None or width < best[0]:
            best = width, (open_, four[high], four[low], close)
    return best[1] if best else None


def _floats(cells: Sequence[str]) -> NDArray[np.float64]:
    return np.array([_float(cell) for cell in cells])


def _float(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
