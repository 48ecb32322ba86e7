"""What a replay of historical messages keeps, as arrays, and the names of their columns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from market import book as lob
from market.book import Book, BookArrays, first_book
from market.kernels import kernel
from market.pointers import pointer

# Fields of a row of the stream (int32). ORDER is NONE where the book does not take it.
KIND, ORDER, SIZE, PRICE, SIDE = range(5)
STREAM_FIELDS = 5
OFF_LADDER = -1  # PRICE of an order whose price the ladder does not have

# Fields of an own order (int64). JOINED counts the rows applied before it came.
HANDLE, JOINED, OWN_SIDE, OWN_PRICE, LEFT, PLACE = range(6)
OWN_FIELDS = 6
# Fields of an own fill (int64). OTHER is the order's index, NONE where none is known.
FILL_TIME, FILL_OWN, FILL_PRICE, FILL_QUANTITY, FILL_SIDE, FILL_MAKER, FILL_OTHER = range(7)
FILL_FIELDS = 7
# The market's state (int64).
CURSOR, FILLS, OWN_COUNT, OWN_LIVE, HALTED = range(5)
STATE_FIELDS = 5

COUNTS = (
    "adds",
    "parked",  # adds at prices that the ladder does not have
    "full",  # adds that would carry a level's depth beyond int32
    "stale",  # orders of the book that a later add crossed: their end is not in the file
    "gone",  # messages of orders that own orders took, or that were stale or refused
    "executions",  # of orders in the book, counted while no own order rests
    "at_best",  # of those: at the best price of the side
    "at_head",  # of those: the first order of its level
    "unknown_executions",
    "hidden_executions",
    "crosses",
    "halts",
    # Quantities. file = own_made + executed + unserved, over executions and hidden ones.
    "file_quantity",
    "own_made_quantity",  # taken by own resting orders from the file's aggressors
    "executed_quantity",
    "displaced_quantity",  # withdrawn from makers whose fill an own order had
    "unserved_quantity",  # of aggressors whose maker own orders had taken before
    "own_crossed_quantity",  # own resting orders filled by an add that ran into them
    "own_taken_quantity",  # displayed quantity that own orders took
    "own_cancelled",  # own orders that stood in another own order's way
)
(
    ADDS,
    PARKED_ADDS,
    FULL,
    STALE,
    GONE,
    EXECUTIONS,
    AT_BEST,
    AT_HEAD,
    UNKNOWN_EXECUTIONS,
    HIDDEN_EXECUTIONS,
    CROSSES,
    HALTS,
    FILE_QUANTITY,
    OWN_MADE,
    EXECUTED,
    DISPLACED,
    UNSERVED,
    OWN_CROSSED,
    OWN_TAKEN,
    OWN_CANCELLED,
) = range(len(COUNTS))

NONE = lob.NONE
PARKED = -2  # handle of an order off the ladder
REJECTED_HALTED = -5
HALT_BEGINS, TRADING_RESUMES = -1, 1


class HistoryArrays(NamedTuple):
    """All that a replay keeps: stream, memory of orders, book, own orders, results."""

    time: NDArray[np.int64]  # [n], ns
    rows: NDArray[np.int32]  # [n, STREAM_FIELDS]
    price: NDArray[np.float64]  # [n], ladder ticks; hidden executions lie between them too
    handles: NDArray[np.int64]  # [orders]
    added: NDArray[np.int32]  # [orders], the row that added the order
    book: BookArrays
    own: NDArray[np.int64]  # [own orders, OWN_FIELDS]
    live: NDArray[np.int64]  # [own orders], those that rest, in any order
    fills: NDArray[np.int64]  # [fills, FILL_FIELDS]
    state: NDArray[np.int64]  # [STATE_FIELDS]
    counts: NDArray[np.int64]  # [len(COUNTS)]
    best: NDArray[np.int32]  # [n, 4] bid, bid quantity, ask, ask quantity; [0, 4]: not wanted


class History(NamedTuple):
    """Pointers to the arrays of one replay."""

    time: Any
    rows: Any
    price: Any
    handles: Any
    added: Any
    book: Book
    own: Any
    live: Any
    fills: Any
    state: Any
    counts: Any


@kernel
def open_history(arrays: HistoryArrays) -> History:
    """Pointers to `arrays`, which the caller keeps alive."""
    return History(
        pointer(arrays.time),
        pointer(arrays.rows),
        pointer(arrays.price),
        pointer(arrays.handles),
        pointer(arrays.added),
        first_book(arrays.book),
        pointer(arrays.own),
        pointer(arrays.live),
        pointer(arrays.fills),
        pointer(arrays.state),
        pointer(arrays.counts),
    )
