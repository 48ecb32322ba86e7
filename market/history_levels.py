"""The levels of a replay held against an order book file, where their history is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from market import book as lob
from market.book import BUY, SELL, Book
from market.history import HistoricalMarket
from market.history_kernels import apply_row
from market.history_layout import (
    KIND,
    NONE,
    ORDER,
    SIDE,
    SIZE,
    STREAM_FIELDS,
    History,
    HistoryArrays,
    open_history,
)
from market.kernels import inlined, kernel
from market.message_table import EXECUTE, REDUCE
from market.messages import Messages

# Fields of a level's figures, and of a mismatch.
LISTED, KNOWN, KNOWN_EQUAL, EQUAL = range(4)
LEVEL_FIGURES = 4
ROW, MISMATCH_SIDE, MISMATCH_PRICE, SHOWN, OURS = range(5)
MISMATCH_FIELDS = 5
EXAMPLES = 16
"""Mismatches that are kept; more are counted."""

# The columns of an order book file's level: prices, each followed by its quantity.
_ASK, _BID = 0, 2
_SIDES = ((_ASK, SELL), (_BID, BUY))
_UNKNOWN, _KNOWN = 0, 1
_UNDETERMINED = -1
_MOST_TICKS = 1 << 26


@dataclass(frozen=True)
class LevelMatch:
    """An order book file against the replay, by level from the best.

    A level's history is known while all its quantity comes from orders added after
    the start: it was empty in view, or held nothing at the first row but what the
    first message added, or has lost all that it held from before; and it has not
    been out of the file's view since. A price that was out of view comes back
    unknown, since the file tells nothing of what happened there.

    Attributes:
        listed, known, known_equal, equal: int64 [levels], both sides together: levels
            of the file, those with known history, of those the ones whose quantity the
            replay has exactly, and all that it has exactly.
        ended: known levels that the file emptied in view.
        ended_equal: of those, the ones that the replay emptied too.
        mismatches: int64 [m, MISMATCH_FIELDS], the first known levels that differ.
    """

    listed: NDArray[np.int64]
    known: NDArray[np.int64]
    known_equal: NDArray[np.int64]
    equal: NDArray[np.int64]
    ended: int
    ended_equal: int
    mismatches: NDArray[np.int64]

    @property
    def share(self) -> float:
        """Equal levels among those with known history; 1 where there is none."""
        known = int(self.known.sum())
        return int(self.known_equal.sum()) / known if known else 1.0


class _Compared(NamedTuple):
    """What the comparison reads and writes; prices are ticks."""

    book: NDArray[np.int64]  # [n, levels, 4], the file's
    base: int  # price of the replay's lowest level
    low: int  # lowest price in the file
    state: NDArray[np.int8]  # [2, prices], by side and price less `low`
    before: NDArray[np.int64]  # [2, prices], quantity from before the start that is left
    figures: NDArray[np.int64]  # [levels, LEVEL_FIGURES]
    ended: NDArray[np.int64]  # [2], all and equal
    mismatches: NDArray[np.int64]  # [EXAMPLES, MISMATCH_FIELDS]
    kept: NDArray[np.int64]  # [1], mismatches kept


def match_levels(messages: Messages, book: NDArray[np.int64]) -> LevelMatch:
    """Replay `messages` and compare after each the levels that the file lists.

    Args:
        book: int64 [n, levels, 4], from `read_orderbook`.

    Raises:
        DataError: the file's prices span more ticks than any market does.
    """
    prices = book[:, :, _ASK : _BID + 1 : 2]
    listed = prices[prices > 0]
    low, high = (int(listed.min()), int(listed.max())) if len(listed) else (1, 1)
    if high - low >= _MOST_TICKS:
        raise DataError(
            f"the order book's prices span {high - low} ticks: expected less than {_MOST_TICKS};"
            " check tick and price_unit in the messages' configuration"
        )
    market = HistoricalMarket(messages, own_orders=0)
    compared = _Compared(
        book=np.ascontiguousarray(book),
        base=market.base,
        low=low,
        state=np.zeros((2, high - low + 1), np.int8),
        before=np.full((2, high - low + 1), _UNDETERMINED, np.int64),
        figures=np.zeros((book.shape[1], LEVEL_FIGURES), np.int64),
        ended=np.zeros(2, np.int64),
        mismatches=np.zeros((EXAMPLES, MISMATCH_FIELDS), np.int64),
        kept=np.zeros(1, np.int64),
    )
    _compare(market.arrays, compared)
    ended, equal = compared.ended.tolist()
    return LevelMatch(
        listed=compared.figures[:, LISTED].copy(),
        known=compared.figures[:, KNOWN].copy(),
        known_equal=compared.figures[:, KNOWN_EQUAL].copy(),
        equal=compared.figures[:, EQUAL].copy(),
        ended=ended,
        ended_equal=equal,
        mismatches=compared.mismatches[: int(compared.kept[0])],
    )


@kernel
def _compare(arrays: HistoryArrays, c: _Compared) -> None:
    """Every message, then every level of both sides."""
    h = open_history(arrays)
    for row in range(c.book.shape[0]):
        if row > 0:
            for column, side in _SIDES:
                _settle(h.book, c, row, column, side)
        apply_row(h, row)
        _leave(h, c, row)
        for column, side in _SIDES:
            if row == 0:
                _start(h.book, c, column, side)
            _count(h.book, c, row, column, side)
            if row > 0:
                _count_ended(h.book, c, row, column, side)


@kernel
def _settle(book: Book, c: _Compared, row: int, column: int, side: int) -> None:
    """Before a message: whether the history of each level that it brings is known."""
    for level in range(c.book.shape[1]):
        price = c.book[row, level, column]
        if price == 0 or _shown(c.book, row - 1, column, price) > 0:
            continue
        # Empty in view a message ago, and in the replay: its history starts now.
        empty = _in_view(c.book, row - 1, column, side, price)
        empty = empty and _ours(book, side, price - c.base) == 0
        c.state[column // 2, price - c.low] = _KNOWN if empty else _UNKNOWN
        c.before[column // 2, price - c.low] = _UNDETERMINED


@kernel
def _start(book: Book, c: _Compared, column: int, side: int) -> None:
    """At the first row: what each level holds from before the start."""
    for level in range(c.book.shape[1]):
        price = c.book[0, level, column]
        if price > 0:
            left = c.book[0, level, column + 1] - _ours(book, side, price - c.base)
            c.before[column // 2, price - c.low] = left
            c.state[column // 2, price - c.low] = _KNOWN if left == 0 else _UNKNOWN


@kernel
def _leave(h: History, c: _Compared, row: int) -> None:
    """A message of an order from before the start: its level has less of what is unknown."""
    field = row * STREAM_FIELDS
    kind = h.rows[field + KIND]
    if row == 0 or h.rows[field + ORDER] != NONE or kind < REDUCE or kind > EXECUTE:
        return
    side = _BID // 2 if h.rows[field + SIDE] == BUY else _ASK // 2
    place = int(h.price[row]) + c.base - c.low
    if place < 0 or place >= c.state.shape[1] or c.before[side, place] <= 0:
        return
    c.before[side, place] -= h.rows[field + SIZE]
    if c.before[side, place] == 0:
        c.state[side, place] = _KNOWN


@kernel
def _count(book: Book, c: _Compared, row: int, column: int, side: int) -> None:
    """Compare the levels that the file lists after a message."""
    for level in range(c.book.shape[1]):
        price = c.book[row, level, column]
        if price == 0:
            continue
        shown = c.book[row, level, column + 1]
        ours = _ours(book, side, price - c.base)
        c.figures[level, LISTED] += 1
        c.figures[level, EQUAL] += shown == ours
        if c.state[column // 2, price - c.low] == _KNOWN:
            c.figures[level, KNOWN] += 1
            c.figures[level, KNOWN_EQUAL] += shown == ours
            _note(c, row, side, price, shown, ours)


@kernel
def _count_ended(book: Book, c: _Compared, row: int, column: int, side: int) -> None:
    """Compare the known levels that the file listed before a message and emptied by it."""
    for level in range(c.book.shape[1]):
        price = c.book[row - 1, level, column]
        if price == 0 or c.state[column // 2, price - c.low] != _KNOWN:
            continue
        if not _in_view(c.book, row, column, side, price):
            continue
        if _shown(c.book, row, column, price) > 0:
            continue
        ours = _ours(book, side, price - c.base)
        c.ended[0] += 1
        c.ended[1] += ours == 0
        _note(c, row, side, price, 0, ours)


@inlined
def _note(c: _Compared, row: int, side: int, price: int, shown: int, ours: int) -> None:
    """Keep a known level that differs, while there is room."""
    if shown == ours or c.kept[0] >= c.mismatches.shape[0]:
        return
    out = c.mismatches[c.kept[0]]
    out[ROW] = row
    out[MISMATCH_SIDE] = side
    out[MISMATCH_PRICE] = price
    out[SHOWN] = shown
    out[OURS] = ours
    c.kept[0] += 1


@inlined
def _ours(book: Book, side: int, price: int) -> int:
    """The replay's quantity of a side at a ladder price, 0 beyond the ladder."""
    if price < 0 or price >= book.header[lob.LEVELS]:
        return 0
    level = price * lob.LEVEL_FIELDS
    head = book.levels[level + lob.HEAD]
    if head < 0 or book.orders[head * lob.ORDER_FIELDS + lob.SIDE] != side:
        return 0
    return book.levels[level + lob.DEPTH]


@inlined
def _shown(book: NDArray[np.int64], row: int, column: int, price: int) -> int:
    """The file's quantity at a price after a message, 0 where it does not list it."""
    for level in range(book.shape[1]):
        if book[row, level, column] == price:
            return book[row, level, column + 1]
    return 0


@inlined
def _in_view(book: NDArray[np.int64], row: int, column: int, side: int, price: int) -> bool:
    """Whether a price is no worse than the last one that the file lists."""
    last = book[row, book.shape[1] - 1, column]
    return last == 0 or side * (price - last) >= 0
