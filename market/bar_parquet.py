"""Reading bars from Parquet."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from configs.bars import BarsConfig
from configs.errors import DataError
from market.bar_columns import ColumnMap, match_columns
from market.bar_dates import StampReader
from market.bar_table import MISSING, VALUES, BadRows, BarTable, cut

MAGIC = b"PAR1"
_HASHED = 1 << 20
_BYTES_PER_ROW = 256
"""Uncompressed bytes that a bar's columns may take; a tiny file can unpack to far more."""


def read_parquet(path: Path, config: BarsConfig, bad: BadRows) -> tuple[BarTable, str]:
    """The table of a Parquet file, and the SHA-256 of its content.

    The time column holds timestamps (with or without a zone) or text as in CSV.
    Rows count from 1.

    Raises:
        DataError: damaged, too large, or a column of another type.
    """
    bad.unit = "row"
    try:
        with pq.ParquetFile(path) as file:
            table = _columns(file, config, bad)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{bad.name} is not a whole Parquet file ({reason}): write or fetch it again"
        ) from None
    return table, _digest(path)


def _columns(file: Any, config: BarsConfig, bad: BadRows) -> BarTable:
    header, meta = file.schema_arrow.names, file.metadata
    if meta.num_rows > config.max_rows:
        raise DataError(
            f"{bad.name} has {meta.num_rows} rows: expected at most {config.max_rows}; split the"
            " file, or raise max_rows in the bars' configuration"
        )
    columns = match_columns(header, config.columns, bad.name)
    wanted = [header[i] for i in (*columns.time, *columns.values)]
    size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    if size > _BYTES_PER_ROW * max(config.max_rows, 1):
        raise DataError(f"{bad.name} unpacks to {size} bytes: expected bars; is it another table?")
    table = file.read(columns=wanted)
    values = np.column_stack(
        [_floats(table.column(header[i]), header[i], bad.name) for i in columns.values]
    )
    return _table(table, columns, header, values, bad)


def _table(
    table: Any,
    columns: ColumnMap,
    header: list[str],
    values: NDArray[np.float64],
    bad: BadRows,
) -> BarTable:
    rows = np.arange(1, table.num_rows + 1, dtype=np.int64)
    time = table.column(header[columns.time[0]])
    if len(columns.time) == 1 and (pa.types.is_timestamp(time.type) or pa.types.is_date(time.type)):
        try:
            stamps = _timestamps(time)
        except pa.ArrowInvalid:
            raise DataError(
                f"{bad.name}: column '{header[columns.time[0]]}' holds times outside the years"
                " 1678 to 2261, the range of nanoseconds; mend or leave out those rows"
            ) from None
        aware = np.full(len(rows), getattr(time.type, "tz", None) is not None)
        day = month = stamps
        readable = stamps != MISSING
        bad.add_many("no date and time", rows[~readable])
    else:
        day, month, aware, readable = _texts(table, columns, header, rows, bad)
    return BarTable(
        lines=rows[readable],
        day_first=day[readable],
        month_first=month[readable],
        aware=aware[readable],
        values=values[readable].reshape(-1, len(VALUES)),
        unit="row",
        read=len(rows),
    )


def _timestamps(column: Any) -> NDArray[np.int64]:
    """Ns since 1970, `MISSING` where null. An arrow timestamp with a zone is UTC already."""
    zone = getattr(column.type, "tz", None)
    ns = column.cast(pa.timestamp("ns", tz=zone)).cast(pa.int64())
    return np.asarray(pc.fill_null(ns, int(MISSING)).to_numpy(), dtype=np.int64)


def _texts(
    table: Any, columns: ColumnMap, header: list[str], rows: NDArray[np.int64], bad: BadRows
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Stamps written as text, in both readings, and which rows could be read."""
    reader = StampReader()
    day = np.full(len(rows), MISSING, dtype=np.int64)
    month, aware = day.copy(), np.zeros(len(rows), dtype=np.bool_)
    readable = np.zeros(len(rows), dtype=np.bool_)
    parts = [table.column(header[i]) for i in columns.time]
    for row in range(len(rows)):
        cells = [part[row].as_py() for part in parts]
        written = " ".join("" if cell is None else str(cell) for cell in cells)
        stamp = reader.read(written)
        if stamp is None:
            bad.add("no date and time that can be read", int(rows[row]), cut(written))
            continue
        readable[row] = True
        day[row], month[row], aware[row] = stamp.day_first, stamp.month_first, stamp.aware
    return day, month, aware, readable


def _floats(column: Any, header: str, name: str) -> NDArray[np.float64]:
    """A column as float64, NaN where null."""
    try:
        numbers = column.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"{name}: column '{header}' has the type {column.type}: expected numbers"
        ) from None
    return np.asarray(pc.fill_null(numbers, float("nan")).to_numpy(), dtype=np.float64)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED):
            digest.update(block)
    return digest.hexdigest()
