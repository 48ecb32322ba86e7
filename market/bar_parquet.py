"""Reading bars from Parquet."""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from configs.bars import BarsConfig
from configs.errors import DataError
from market.bar_columns import match_columns
from market.bar_dates import StampReader
from market.bar_table import MISSING, VALUES, BadRows, BarTable, cut

MAGIC = b"PAR1"
_HASHED = 1 << 20
_BATCH = 1 << 16
_STREAMED = 1 << 20
_BYTES_PER_VALUE = 64
"""Bytes that a stamp or a number may unpack to; a tiny file can unpack to far more."""
_SPARE = 1 << 20
_FOOTER = 1 << 26
"""Bytes of the largest footer that is read; it describes columns and holds no bars."""

Column = NDArray[np.int64]


def read_parquet(path: Path, config: BarsConfig, bad: BadRows) -> tuple[BarTable, str]:
    """The table of a Parquet file, and the SHA-256 of its content.

    The time column holds timestamps (with or without a zone) or text as in CSV.
    Rows count from 1.

    Raises:
        DataError: damaged, too large, or a column of another type.
    """
    bad.unit = "row"
    try:
        table = _read(path, config, bad)
    except (pa.ArrowException, OSError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{bad.name} is not a whole Parquet file ({cut(reason, 200)}): write or fetch it again"
        ) from None
    return table, _digest(path)


@dataclass(frozen=True)
class _Wanted:
    """The columns to read: their names, those of the time first."""

    time: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [*self.time, *self.values]


def _check_footer(path: Path, name: str) -> None:
    """Refuse a footer of a length that no table of bars has, before it is read."""
    tail = struct.Struct(f"<I{len(MAGIC)}s")
    with path.open("rb") as file:
        file.seek(-min(tail.size, path.stat().st_size), os.SEEK_END)
        end = file.read()
    if len(end) == tail.size and tail.unpack(end)[0] > _FOOTER:
        raise DataError(
            f"{name} is not a whole Parquet file (a footer of {tail.unpack(end)[0]} bytes):"
            " write or fetch it again"
        )


def _read(path: Path, config: BarsConfig, bad: BadRows) -> BarTable:
    _check_footer(path, bad.name)
    with pq.ParquetFile(path) as file:
        wanted = _wanted(file.schema_arrow, config, bad.name)
        texts = [name for name in wanted.time if _is_text(file.schema_arrow.field(name).type)]
        _check_size(file.metadata, wanted, config, bad.name)
    # Text as a dictionary: each distinct stamp is held once, however often it is repeated.
    with pq.ParquetFile(
        path, read_dictionary=texts, pre_buffer=False, buffer_size=_STREAMED
    ) as file:
        parts = _Parts(wanted, bad)
        for batch in file.iter_batches(batch_size=_BATCH, columns=wanted.names):
            parts.add(batch)
    return parts.table()


def _wanted(schema: Any, config: BarsConfig, name: str) -> _Wanted:
    header = schema.names
    columns = match_columns(header, config.columns, name)
    wanted = _Wanted(
        tuple(header[i] for i in columns.time), tuple(header[i] for i in columns.values)
    )
    for column in wanted.names:
        if header.count(column) > 1:
            raise DataError(
                f"{name} has {header.count(column)} columns named '{column}': expected one;"
                " rename the others"
            )
    for column in wanted.values:
        kind = schema.field(column).type
        if not _is_number(kind):
            raise DataError(f"{name}: column '{column}' has the type {kind}: expected numbers")
    for column in wanted.time:
        kind = schema.field(column).type
        if pa.types.is_nested(kind) or _is_binary(kind):
            raise DataError(
                f"{name}: column '{column}' has the type {kind}: expected timestamps, dates, or"
                " text as in CSV"
            )
    return wanted


def _is_number(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: Any) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )


def _check_size(meta: Any, wanted: _Wanted, config: BarsConfig, name: str) -> None:
    """Refuse, before anything is unpacked, more than bars of this number can take."""
    if meta.num_rows > config.max_rows:
        raise DataError(
            f"{name} has {meta.num_rows} rows: expected at most {config.max_rows}; split the"
            " file, or raise max_rows in the bars' configuration"
        )
    chunks = (
        group.column(i)
        for group in (meta.row_group(g) for g in range(meta.num_row_groups))
        for i in range(group.num_columns)
    )
    size = sum(
        chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in wanted.names
    )
    if size > _SPARE + _BYTES_PER_VALUE * len(wanted.names) * max(meta.num_rows, 0):
        raise DataError(f"{name} unpacks to {size} bytes: expected bars; is it another table?")


class _Parts:
    """Collects the batches of a file as columns of numbers."""

    def __init__(self, wanted: _Wanted, bad: BadRows) -> None:
        self._wanted, self._bad = wanted, bad
        self._reader = StampReader()
        self._read = 0
        self._tables: list[BarTable] = []

    def add(self, batch: Any) -> None:
        """Read one batch of rows, which follow those before."""
        rows = np.arange(self._read + 1, self._read + batch.num_rows + 1, dtype=np.int64)
        self._read += batch.num_rows
        name = self._bad.name
        columns = [_floats(batch.column(c), c, name) for c in self._wanted.values]
        values = np.column_stack(columns)
        times = [batch.column(c) for c in self._wanted.time]
        kind = times[0].type
        if len(times) == 1 and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            day = month = self._timestamps(times[0])
            aware = np.full(len(rows), getattr(kind, "tz", None) is not None)
            readable = day != MISSING
            self._bad.add_many("no date and time", rows[~readable])
        else:
            day, month, aware, readable = self._texts(times, rows)
        self._tables.append(
            BarTable(
                lines=rows[readable],
                day_first=day[readable],
                month_first=month[readable],
                aware=aware[readable],
                values=values[readable],
                unit="row",
                read=len(rows),
            )
        )

    def table(self) -> BarTable:
        """All batches as one table."""

        def joined(parts: list[NDArray[Any]], empty: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate(parts) if parts else empty

        tables, none = self._tables, np.zeros(0, dtype=np.int64)
        return BarTable(
            lines=joined([t.lines for t in tables], none),
            day_first=joined([t.day_first for t in tables], none),
            month_first=joined([t.month_first for t in tables], none),
            aware=joined([t.aware for t in tables], np.zeros(0, dtype=np.bool_)),
            values=joined([t.values for t in tables], np.zeros((0, len(VALUES)))),
            unit="row",
            read=self._read,
        )

    def _timestamps(self, column: Any) -> Column:
        try:
            return _timestamps(column)
        except pa.ArrowInvalid:
            raise DataError(
                f"{self._bad.name}: column '{self._wanted.time[0]}' holds times outside the years"
                " 1678 to 2261, the range of nanoseconds; mend or leave out those rows"
            ) from None

    def _texts(
        self, times: list[Any], rows: Column
    ) -> tuple[Column, Column, NDArray[np.bool_], NDArray[np.bool_]]:
        """Stamps written as text, in both readings, and which rows could be read."""
        if len(times) == 1 and pa.types.is_dictionary(times[0].type):
            return self._distinct(times[0], rows)
        day = np.full(len(rows), MISSING, dtype=np.int64)
        month, aware = day.copy(), np.zeros(len(rows), dtype=np.bool_)
        readable = np.zeros(len(rows), dtype=np.bool_)
        for row in range(len(rows)):
            cells = [part[row].as_py() for part in times]
            written = " ".join("" if cell is None else str(cell) for cell in cells)
            stamp = self._reader.read(written)
            if stamp is None:
                reason = "no date and time that can be read"
                self._bad.add(reason, int(rows[row]), cut(written))
                continue
            readable[row] = True
            day[row], month[row], aware[row] = stamp.day_first, stamp.month_first, stamp.aware
        return day, month, aware, readable

    def _distinct(
        self, column: Any, rows: Column
    ) -> tuple[Column, Column, NDArray[np.bool_], NDArray[np.bool_]]:
        """The same for texts held as a dictionary: each distinct one is read once."""
        texts = column.dictionary
        # The last entry stands for what is null or cannot be read.
        day = np.full(len(texts) + 1, MISSING, dtype=np.int64)
        month, aware = day.copy(), np.zeros(len(day), dtype=np.bool_)
        readable = np.zeros(len(day), dtype=np.bool_)
        for code in range(len(texts)):
            stamp = self._reader.read(str(texts[code].as_py()))
            if stamp is not None:
                readable[code] = True
                day[code], month[code], aware[code] = (
                    stamp.day_first,
                    stamp.month_first,
                    stamp.aware,
                )
        filled = pc.fill_null(column.indices.cast(pa.int64()), len(texts))
        codes = filled.to_numpy(zero_copy_only=False)
        unread = np.flatnonzero(~readable[codes])
        shown = (cut(str(column[int(row)].as_py() or "")) for row in unread)
        self._bad.add_many("no date and time that can be read", rows[unread], shown)
        return day[codes], month[codes], aware[codes], readable[codes]


def _timestamps(column: Any) -> Column:
    """Ns since 1970, `MISSING` where null. An arrow timestamp with a zone is UTC already."""
    zone = getattr(column.type, "tz", None)
    ns = column.cast(pa.timestamp("ns", tz=zone)).cast(pa.int64())
    return np.asarray(pc.fill_null(ns, int(MISSING)).to_numpy(zero_copy_only=False), dtype=np.int64)


def _floats(column: Any, header: str, name: str) -> NDArray[np.float64]:
    """A column as float64, NaN where null."""
    try:
        numbers = column.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"{name}: column '{header}' has the type {column.type}: expected numbers"
        ) from None
    return np.asarray(
        pc.fill_null(numbers, float("nan")).to_numpy(zero_copy_only=False), dtype=np.float64
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED):
            digest.update(block)
    return digest.hexdigest()
