"""Every order followed from its first message to its last, as the file tells it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market.kernels import kernel
from market.message_table import ADD, DELETE, EXECUTE, REDUCE, MessageTable

# What a row is to its order.
FINE, UNKNOWN_REDUCE, UNKNOWN_DELETE, UNKNOWN_EXECUTE, GONE, REUSED, TOO_MUCH, DIFFERS, RESIZED = (
    range(9)
)
NO_ORDER = -1
_NEVER, _ENDED = -1, 0  # states of an order that is not open, in place of its quantity

_REASONS = {
    UNKNOWN_REDUCE: "partial cancel of an order never added (before the start, or out of view)",
    UNKNOWN_DELETE: "delete of an order never added (before the start, or out of view)",
    UNKNOWN_EXECUTE: "execution of an order never added (before the start, or out of view)",
    GONE: "message of an order that has ended",
    REUSED: "add with the id of an order that is open",
    TOO_MUCH: "cancel or execution of more than is open",
    DIFFERS: "price or side is not its order's",
}
UNKNOWN_REASONS = tuple(
    _REASONS[code] for code in (UNKNOWN_REDUCE, UNKNOWN_DELETE, UNKNOWN_EXECUTE)
)
_NOTED = "delete of another size than is open"


@dataclass(frozen=True)
class Lives:
    """What following the orders found.

    Attributes:
        ids: int64 [orders], ascending.
        index: int32 [n], index of each row's order in `ids`; NO_ORDER where it has none.
        known: bool [n], rows that the book can take: adds, and messages of open orders.
        outcome: int8 [n], FINE or what is wrong.
        peak: most orders open at once.
    """

    ids: NDArray[np.int64]
    index: NDArray[np.int32]
    known: NDArray[np.bool_]
    outcome: NDArray[np.int8]
    peak: int

    @property
    def bad(self) -> dict[str, NDArray[np.int64]]:
        """The rows that are wrong or unknown, by reason."""
        rows = {reason: np.flatnonzero(self.outcome == code) for code, reason in _REASONS.items()}
        return {reason: places for reason, places in rows.items() if len(places)}

    @property
    def noted(self) -> dict[str, int]:
        """Rows that count although a detail differs."""
        resized = int((self.outcome == RESIZED).sum())
        return {_NOTED: resized} if resized else {}

    def kept(self, strict: bool) -> NDArray[np.bool_]:
        """Which rows [n] stay; `strict` drops those of unknown orders as well."""
        unknown = (self.outcome >= UNKNOWN_REDUCE) & (self.outcome <= UNKNOWN_EXECUTE)
        fine = (self.outcome == FINE) | (self.outcome == RESIZED)
        return fine | (unknown & (not strict))


def follow(table: MessageTable) -> Lives:
    """Follow every order of the table through its messages."""
    in_book = (table.kind >= ADD) & (table.kind <= EXECUTE)
    ids, inverse = np.unique(table.order[in_book], return_inverse=True)
    index = np.full(len(table.kind), NO_ORDER, np.int32)
    index[in_book] = inverse
    outcome = np.zeros(len(index), np.int8)
    price = np.where(in_book, table.price, 0.0).astype(np.int64)
    peak = _follow(index, table.kind, table.size, price, table.side, len(ids), outcome)
    known = in_book & ((outcome == FINE) | (outcome == RESIZED))
    return Lives(ids, index, known, outcome, int(peak))


@kernel
def _follow(
    index: NDArray[np.int32],
    kind: NDArray[np.int8],
    size: NDArray[np.int64],
    price: NDArray[np.int64],
    side: NDArray[np.int8],
    orders: int,
    outcome: NDArray[np.int8],
) -> int:
    """Write what each row is to its order; returns the most orders open at once."""
    left = np.full(orders, _NEVER, np.int64)
    where = np.zeros(orders, np.int64)
    whose = np.zeros(orders, np.int8)
    live = 0
    peak = 0
    for row in range(len(index)):
        order = index[row]
        if order < 0:
            continue
        if kind[row] == ADD:
            if left[order] > 0:
                outcome[row] = REUSED
                continue
            left[order] = size[row]
            where[order] = price[row]
            whose[order] = side[row]
            live += 1
            peak = max(peak, live)
        elif left[order] == _NEVER:
            outcome[row] = UNKNOWN_REDUCE + (kind[row] - REDUCE)
        elif left[order] == _ENDED:
            outcome[row] = GONE
        elif where[order] != price[row] or whose[order] != side[row]:
            outcome[row] = DIFFERS
        elif kind[row] != DELETE and size[row] > left[order]:
            outcome[row] = TOO_MUCH
        else:
            if kind[row] == DELETE and size[row] != left[order]:
                outcome[row] = RESIZED
            left[order] = _ENDED if kind[row] == DELETE else left[order] - size[row]
            live -= left[order] == _ENDED
    return peak
