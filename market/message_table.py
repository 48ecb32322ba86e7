"""What the readers of message files hand on: columns of numbers, and where each row stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError, nearest
from configs.messages import MESSAGE_COLUMNS, MESSAGE_KINDS, MessageColumn, MessagesConfig
from market.bar_table import BadRows
from market.book import BUY, SELL

# Kinds of message in the order of LOBSTER's codes 1 to 7.
ADD, REDUCE, DELETE, EXECUTE, HIDDEN, CROSS, HALT = range(1, 8)
KINDS = range(ADD, HALT + 1)

NS_PER_UNIT = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_SIDES = {"1": BUY, "-1": SELL, "buy": BUY, "sell": SELL, "b": BUY, "s": SELL}


@dataclass(frozen=True)
class MessageTable:
    """The rows of a file whose cells could all be read, before anything is judged.

    Attributes:
        lines: int64 [n], line of the file (text) or row (Parquet), from 1.
        time: int64 [n], ns in the file's own clock.
        kind: int8 [n], ADD to HALT.
        order: int64 [n], the file's order ids.
        size: int64 [n].
        price: float64 [n], in the file's unit.
        side: int8 [n], of the resting order.
        lobster: whether the file has LOBSTER's form.
        read: data rows of the file, those that could not be read included.
    """

    lines: NDArray[np.int64]
    time: NDArray[np.int64]
    kind: NDArray[np.int8]
    order: NDArray[np.int64]
    size: NDArray[np.int64]
    price: NDArray[np.float64]
    side: NDArray[np.int8]
    lobster: bool
    read: int


class BadMessages(BadRows):
    """Rows that are no messages, or none for the book, by reason, with the first of each."""

    def lines_of(self, reason: str) -> str:
        """The reason with the first of its lines."""
        return self._reason(reason)

    def error(self, read: int) -> DataError:
        """One message for all of them."""
        rows = "row" if self.total == 1 else "rows"
        return DataError(
            f"{self.name}: {self.total} bad {rows} of {read}\n  "
            + "\n  ".join(self._reason(reason) for reason in self.counts)
            + "\nMend the file, or set on_bad: drop in the messages' configuration to leave them"
            " out and count them."
        )


def kind_codes(config: MessagesConfig) -> dict[str, int]:
    """What the cells of the type column mean; the configuration's codes win."""
    kind_of = dict(zip(MESSAGE_KINDS, KINDS, strict=True))
    codes = {str(kind): kind for kind in KINDS} | {str(name): kind_of[name] for name in kind_of}
    return codes | {code: kind_of[kind] for code, kind in config.kinds.items()}


def side_codes(config: MessagesConfig) -> dict[str, int]:
    """What the cells of the side column mean; the configuration's codes win."""
    codes = dict(_SIDES) | {"Buy": BUY, "Sell": SELL, "BUY": BUY, "SELL": SELL, "B": BUY, "S": SELL}
    return codes | {code: _SIDES[side] for code, side in config.sides.items()}


def find_columns(
    header: Sequence[str], named: Mapping[MessageColumn, str], name: str
) -> tuple[int, ...]:
    """Positions of time, type, id, size, price and side in `header`.

    Raises:
        DataError: a column is missing (names a near one) or stands there twice.
    """
    cells = [cell.strip() for cell in header]
    plain = [cell.lower() for cell in cells]
    places = []
    for column in MESSAGE_COLUMNS:
        wanted = named.get(column)
        hits = [
            index
            for index in range(len(cells))
            if (plain[index] == column if wanted is None else cells[index] == wanted)
        ]
        if len(hits) != 1:
            shown = [cell[:30] for cell in cells[:12]]
            what = f"{len(hits)} columns" if hits else "no column"
            hint = "" if hits else f" ({nearest(wanted or column, shown)})"
            raise DataError(
                f"{name} has {what} '{wanted or column}'{hint}: expected one for the {column}; name"
                f" it by columns: {{{column}: NAME}} in the messages' configuration"
            )
        places.append(hits[0])
    return tuple(places)


def table_of(columns: Mapping[str, Any], lobster: bool, read: int) -> MessageTable:
    """A table of flat buffers or arrays by column name."""
    types: dict[str, Any] = {"price": np.float64, "kind": np.int8, "side": np.int8}
    arrays = {
        name: np.asarray(values, dtype=types.get(name, np.int64))
        for name, values in columns.items()
    }
    return MessageTable(**arrays, lobster=lobster, read=read)
