"""Reading order messages from Parquet."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

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

_BYTES_PER_ROW = 256
"""Uncompressed bytes that six columns may take; a tiny file can unpack to far more."""
_HALF_INT64 = 1 << 62


def read_parquet(path: Path, config: MessagesConfig, bad: BadMessages) -> tuple[MessageTable, str]:
    """The table of a Parquet file, and the SHA-256 of its content. Rows count from 1.

    Time is a number in the configured unit, or a timestamp; type and side are codes,
    as numbers or text.

    Raises:
        DataError: damaged, too large, or a column of another type.
    """
    bad.unit = "row"
    try:
        with pq.ParquetFile(path) as file:
            table = _table(file, config, bad)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{bad.name} is not a whole Parquet file ({reason}): write or fetch it again"
        ) from None
    with path.open("rb") as raw:
        return table, hashlib.file_digest(raw, "sha256").hexdigest()


def _table(file: Any, config: MessagesConfig, bad: BadMessages) -> MessageTable:
    header, meta = file.schema_arrow.names, file.metadata
    if meta.num_rows > config.max_rows:
        raise DataError(
            f"{bad.name} has {meta.num_rows} rows: expected at most {config.max_rows}; split the"
            " file, or raise max_rows in the messages' configuration"
        )
    places = find_columns(header, config.columns, bad.name)
    size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    if size > _BYTES_PER_ROW * max(meta.num_rows, 1) + (1 << 20):
        raise DataError(
            f"{bad.name} unpacks to {size} bytes: expected messages; is it another table?"
        )
    wanted = [header[place] for place in places]
    table = file.read(columns=wanted)
    time, kind, order, quantity, price, side = (
        (table.column(column), f"{bad.name}: column '{column}'") for column in wanted
    )
    columns = {
        "time": _times(*time, config),
        "kind": _codes(*kind, kind_codes(config)),
        "order": _numbers(*order, pa.int64()),
        "size": _numbers(*quantity, pa.int64()),
        "price": _numbers(*price, pa.float64()),
        "side": _codes(*side, side_codes(config)),
    }
    return _readable(columns, meta.num_rows, bad)


def _readable(columns: dict[str, Any], rows: int, bad: BadMessages) -> MessageTable:
    """The rows without an empty cell; the others are counted under their first column."""
    good = np.ones(rows, dtype=np.bool_)
    lines = np.arange(1, rows + 1, dtype=np.int64)
    for name, (_, valid) in zip(MESSAGE_COLUMNS, columns.values(), strict=True):
        bad.add_many(f"{name} is empty or cannot be read", lines[good & ~valid])
        good &= valid
    arrays = {name: values[good] for name, (values, _) in columns.items()}
    return table_of({"lines": lines[good], **arrays}, False, rows)


def _numbers(column: Any, place: str, kind: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A column of numbers and which cells hold one; a fraction or overflow is refused."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(f"{place} has the type {column.type}: expected numbers")
    try:
        values = np.asarray(pc.fill_null(column, 0).cast(kind).to_numpy())
    except pa.ArrowInvalid as error:
        raise DataError(f"{place}: {str(error).splitlines()[0]}; expected {kind}") from None
    valid = np.asarray(pc.is_valid(column).to_numpy(), dtype=np.bool_)
    return values, valid & np.isfinite(values)


def _times(
    column: Any, place: str, config: MessagesConfig
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Ns of each row: timestamps since 1970 UTC, numbers in the configured unit."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", tz=getattr(column.type, "tz", None)))
        column = column.cast(pa.int64())
        unit = 1
    else:
        unit = NS_PER_UNIT[config.time_unit]
    kind = pa.int64() if pa.types.is_integer(column.type) else pa.float64()
    values, valid = _numbers(column, place, kind)
    valid &= (values >= 0) & (values < _HALF_INT64 / unit)
    safe = np.where(valid, values, 0)
    ns = safe * unit if kind == pa.int64() else np.round(safe * unit)
    return ns.astype(np.int64), valid


def _codes(
    column: Any, place: str, codes: dict[str, int]
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """What each cell's code means; 0 and invalid where it means nothing."""
    try:
        encoded = pc.dictionary_encode(column).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{place} has the type {column.type}: expected codes") from None
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    names = encoded.dictionary.to_pylist()
    if any(isinstance(name, float) for name in names):
        names = [int(n) if isinstance(n, float) and n.is_integer() else n for n in names]
    meaning = np.array([codes.get(str(name).strip(), 0) for name in names] + [0], dtype=np.int8)
    if len(names) > (1 << 16):
        raise DataError(f"{place} holds {len(names)} codes, such as {cut(str(names[0]))}")
    index = np.asarray(pc.fill_null(encoded.indices, len(names)).to_numpy(), dtype=np.int64)
    values = meaning[index]
    return values, values != 0
