"""A stream of order messages through one book, and the Python face of a single book."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from configs.errors import SimulatorError
from market import book as lob
from market.book import Book, BookArrays, Tape
from market.kernels import inlined, kernel
from market.pointers import opaque, pointer, prefetch

# Kinds of message, and the fields of a message row (int32).
LIMIT, IOC, MARKET, CANCEL, MODIFY = range(5)
KIND, ID, SIDE, PRICE, QUANTITY = range(5)
MESSAGE_FIELDS = 5

_LOOK_AHEAD = 12  # messages: the row of an order that is soon cancelled comes into cache


@inlined
def _apply(
    book: Book, tape: Tape, kind: int, side: int, price: int, quantity: int, order: int, handle: int
) -> int:
    """One message. Returns the handle that the order id has from now on.

    New orders of all three kinds share one way, so that the matching loop stands in the
    code once: what a processor holds of the loop decides its pace.
    """
    if opaque(kind) == CANCEL:
        lob.cancel(book, handle)
        return lob.NONE
    if kind == MODIFY:
        changed = lob.modify(book, tape, handle, price, quantity)
        # A refused change leaves the order as it was, under the handle it has.
        refused = changed == lob.REJECTED_PRICE or changed == lob.REJECTED_QUANTITY
        return handle if refused else changed
    top = book.header[lob.LEVELS] - 1
    any_price = top if side == lob.BUY else 0
    limit = any_price if kind == MARKET else price
    if quantity <= 0 or limit < 0 or limit > top:
        return lob.REJECTED_PRICE
    left = lob.take(book, tape, side, limit, quantity, order)
    if left == 0 or kind != LIMIT:
        return lob.NONE
    slot = lob.rest(book, side, price, left, order)
    return slot if slot < 0 else lob.handle_of(book, slot)


@kernel
def _replay(
    arrays: BookArrays,
    messages: NDArray[np.int32],
    handles: NDArray[np.int64],
    trades: NDArray[np.int32],
    count: NDArray[np.int64],
) -> None:
    book = lob.first_book(arrays)
    tape = Tape(pointer(trades), pointer(count), trades.shape[0] - 1)
    rows = pointer(messages)
    known = pointer(handles)
    last = messages.shape[0] - 1
    for index in range(messages.shape[0]):
        row = index * MESSAGE_FIELDS
        order = rows[row + ID]
        later = rows[min(index + _LOOK_AHEAD, last) * MESSAGE_FIELDS + ID]
        prefetch(book.orders, lob.place_of(known[later]) * lob.ORDER_FIELDS)
        known[order] = _apply(
            book,
            tape,
            rows[row + KIND],
            rows[row + SIDE],
            rows[row + PRICE],
            rows[row + QUANTITY],
            order,
            known[order],
        )


@kernel
def _first_malformed(messages: NDArray[np.int32], ids: int) -> int:
    """The first row with an id, kind or side that no book knows, or the number of rows."""
    rows = pointer(messages)
    count = messages.shape[0]
    for index in range(count):
        row = index * MESSAGE_FIELDS
        order, kind, side = rows[row + ID], rows[row + KIND], rows[row + SIDE]
        bad_id = (order < 0) | (order >= ids)
        bad_side = (side != lob.BUY) & (side != lob.SELL)
        # One branch for the three: separate ones cost six times as much.
        if bad_id | bad_side | (kind < LIMIT) | (kind > MODIFY):
            return index
    return count


def _as_rows(messages: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Messages as int32 rows; a number that int32 would change is an error."""
    given = np.asarray(messages)
    if given.ndim != 2 or given.shape[1] != MESSAGE_FIELDS:
        raise SimulatorError(
            f"messages of shape {given.shape}: expected [n, {MESSAGE_FIELDS}] "
            "(kind, id, side, price, quantity)"
        )
    if given.dtype.kind not in "iu":
        raise SimulatorError(
            f"messages of type {given.dtype}: expected whole numbers; prices are ticks"
        )
    rows = np.ascontiguousarray(given, dtype=np.int32)
    if given.dtype != np.int32 and not np.array_equal(rows, given):
        row = int((rows != given).any(axis=1).argmax())
        raise SimulatorError(
            f"message {row} has a number beyond int32: got {given[row].tolist()}; "
            "nothing was applied"
        )
    return rows


class OrderBook:
    """One limit order book for people and tests; simulations use the kernels directly.

    Args:
        levels: prices 0 .. levels - 1, a multiple of 64.
        slots: how many orders may rest at once.
        ids: message ids 0 .. ids - 1.
        tape: how many of the latest trades are kept, a power of two.

    Raises:
        SimulatorError: a size that the layout cannot have.
    """

    def __init__(
        self, levels: int = 1024, slots: int = 4096, ids: int = 1 << 16, tape: int = 1 << 12
    ) -> None:
        if levels <= 0 or levels % lob.WORD_BITS:
            raise SimulatorError(
                f"OrderBook levels={levels}: expected a positive multiple of {lob.WORD_BITS}"
            )
        if tape <= 0 or tape & (tape - 1):
            raise SimulatorError(f"OrderBook tape={tape}: expected a power of two")
        if slots <= 0 or ids <= 0:
            raise SimulatorError(f"OrderBook slots={slots}, ids={ids}: expected positive numbers")
        self.arrays = lob.allocate(1, levels, slots)
        self.handles = np.full(ids, lob.NONE, np.int64)
        self.tape = np.zeros((tape, lob.TRADE_FIELDS), np.int32)
        self.trade_count = np.zeros(1, np.int64)

    def replay(self, messages: NDArray[np.integer[Any]]) -> None:
        """Apply rows (kind, id, side, price, quantity) in order.

        Raises:
            SimulatorError: rows of another shape or type, a number beyond int32, or an
                id, kind or side that does not exist. Nothing is applied then.
        """
        rows = _as_rows(messages)
        first = int(_first_malformed(rows, self.handles.size))
        if first < len(rows):
            self._refuse(first, rows[first])
        _replay(self.arrays, rows, self.handles, self.tape, self.trade_count)

    def _refuse(self, index: int, row: NDArray[np.int32]) -> NoReturn:
        if not 0 <= row[ID] < self.handles.size:
            expected = f"id 0 to {self.handles.size - 1}"
        elif not LIMIT <= row[KIND] <= MODIFY:
            expected = f"kind {LIMIT} to {MODIFY}"
        else:
            expected = f"side {lob.BUY} or {lob.SELL}"
        raise SimulatorError(
            f"message {index} is malformed: got {row.tolist()}, expected {expected}; "
            "nothing was applied"
        )

    @property
    def trades(self) -> NDArray[np.int32]:
        """The trades so far, oldest first (the latest ones where the tape has wrapped)."""
        count, size = int(self.trade_count[0]), len(self.tape)
        if count <= size:
            return self.tape[:count].copy()
        return np.roll(self.tape, -(count % size), axis=0)

    @property
    def best_bid(self) -> int:
        """Highest bid price, or -1."""
        return int(self.arrays.header[0, lob.BEST_BID])

    @property
    def best_ask(self) -> int:
        """Lowest ask price, or the number of levels."""
        return int(self.arrays.header[0, lob.BEST_ASK])

    def resting(self) -> list[tuple[int, int, int, int]]:
        """(price, owner id, side, quantity) of every resting order by price, then priority."""
        orders, levels = self.arrays.orders[0], self.arrays.levels[0]
        out: list[tuple[int, int, int, int]] = []
        for price in range(len(levels)):
            slot = int(levels[price, lob.HEAD])
            while slot >= 0:
                row = orders[slot]
                out.append((price, int(row[lob.OWNER]), int(row[lob.SIDE]), int(row[lob.QUANTITY])))
                slot = int(row[lob.NEXT])
        return out
