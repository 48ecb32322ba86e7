"""What a message to a book says: kinds, the two forms of a row, and why one is refused.

A plain row has five numbers (kind, id, side, price, quantity) and knows the first five
kinds. A full row adds time, expiry, stop price, peak, account and self-trade
prevention, and knows them all.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from configs.errors import SimulatorError
from market import book as lob
from market.kernels import kernel
from market.pointers import pointer, prefetch

# Kinds. ON_OPEN_CLOSE orders take part in the next auction alone; CALL stops continuous
# matching and UNCROSS ends the call at one price.
LIMIT, IOC, MARKET, CANCEL, MODIFY = range(5)
FOK, POST_ONLY, STOP, STOP_LIMIT, AUCTION_MARKET, AUCTION_LIMIT, CALL, UNCROSS = range(5, 13)
KIND_NAMES = (
    "limit", "immediate-or-cancel", "market", "cancel", "modify", "fill-or-kill", "post-only",
    "stop", "stop-limit", "market-on-auction", "limit-on-auction", "call", "uncross",
)  # fmt: skip

# Fields of a plain row (int32).
KIND, ID, SIDE, PRICE, QUANTITY = range(5)
MESSAGE_FIELDS = 5
# Of the stream that is read, the int32 that come into cache beforehand: some 128 rows.
ROWS_AHEAD = 640
# A full row (int64) goes on with these. NONE (-1) as time: no time has passed; as expiry:
# good till cancelled. PEAK and ACCOUNT are 0 for none.
TIME, EXPIRY, STOP_PRICE, PEAK, ACCOUNT, PREVENTION = range(5, 11)
FULL_FIELDS = 11

# What an incoming order does where it meets a resting one of its own account.
NO_PREVENTION, CANCEL_RESTING, CANCEL_INCOMING, CANCEL_BOTH, DECREMENT = range(5)

# Why a well-formed row is refused: counted, and without effect but for what of it
# has traded before NO_ROOM.
ACCEPTED, BAD_PRICE, BAD_QUANTITY, NO_ROOM, WOULD_CROSS, NOT_FILLABLE = range(6)
PAST_EXPIRY, LIVE_ID, UNKNOWN_ID, WRONG_PHASE, MANY_PEAKS = range(6, 11)
REASONS = (
    "accepted", "price or stop price off the ladder", "quantity is not positive",
    "no free slot, or the level's depth would pass int32", "would cross", "not fillable at once",
    "expiry is past", "the id names a live order", "the id names no live order",
    "not in this phase of the auction", "more than a thousand peaks",
)  # fmt: skip

MOST_PEAKS = 1000  # of one iceberg: what bounds the trades that one message can make
_MOST = np.iinfo(np.int32).max
_FINE, _ID, _KIND, _SIDE, _NUMBER, _TIME, _EXPIRY, _PEAK, _ACCOUNT, _PREVENTION = range(10)


@kernel
def first_malformed(messages: NDArray[np.int32], ids: int) -> int:
    """The first plain row with an id, kind or side that no book knows, or the number of rows."""
    rows = pointer(messages)
    count = messages.shape[0]
    for index in range(count):
        row = index * MESSAGE_FIELDS
        prefetch(rows, row + ROWS_AHEAD)
        order, kind, side = rows[row + ID], rows[row + KIND], rows[row + SIDE]
        bad_id = (order < 0) | (order >= ids)
        bad_side = (side != lob.BUY) & (side != lob.SELL)
        # One branch for the three: separate ones cost six times as much.
        if bad_id | bad_side | (kind < LIMIT) | (kind > MODIFY):
            return index
    return count


@kernel
def _fault(row: NDArray[np.int64], ids: int, clock: int) -> int:
    """What is wrong with one full row, or _FINE."""
    if not 0 <= row[ID] < ids:
        return _ID
    if not LIMIT <= row[KIND] <= UNCROSS:
        return _KIND
    if row[SIDE] != lob.BUY and row[SIDE] != lob.SELL:
        return _SIDE
    for field in (PRICE, QUANTITY, STOP_PRICE):
        if not -_MOST <= row[field] <= _MOST:
            return _NUMBER
    if row[TIME] != lob.NONE and row[TIME] < clock:
        return _TIME
    if row[EXPIRY] < lob.NONE:
        return _EXPIRY
    shows = row[KIND] == LIMIT or row[KIND] == POST_ONLY
    if not 0 <= row[PEAK] <= (_MOST if shows else 0):
        return _PEAK
    if row[ACCOUNT] < 0:
        return _ACCOUNT
    if not NO_PREVENTION <= row[PREVENTION] <= DECREMENT:
        return _PREVENTION
    return _FINE


@kernel
def first_fault(rows: NDArray[np.int64], ids: int, clock: int) -> tuple[int, int, int]:
    """(row, fault, clock) of the first malformed full row; (number of rows, _FINE, .) if none."""
    for index in range(rows.shape[0]):
        fault = _fault(rows[index], ids, clock)
        if fault != _FINE:
            return index, fault, clock
        clock = max(clock, rows[index, TIME])
    return rows.shape[0], _FINE, clock


def as_rows(messages: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """Messages as int32 [n, 5] or int64 [n, 11]; a number that the type would change is an error.

    Raises:
        SimulatorError: another shape or type, or a number beyond the type's range.
    """
    given = np.asarray(messages)
    if given.ndim != 2 or given.shape[1] not in (MESSAGE_FIELDS, FULL_FIELDS):
        raise SimulatorError(
            f"messages of shape {given.shape}: expected [n, {MESSAGE_FIELDS}] (kind, id, side, "
            f"price, quantity), or [n, {FULL_FIELDS}] with time, expiry, stop price, peak, "
            "account, prevention"
        )
    if given.dtype.kind not in "iu":
        raise SimulatorError(
            f"messages of type {given.dtype}: expected whole numbers; prices are ticks"
        )
    kind: type = np.int32 if given.shape[1] == MESSAGE_FIELDS else np.int64
    rows: NDArray[Any] = np.ascontiguousarray(given, kind)
    if rows.dtype != given.dtype and not np.array_equal(rows, given):
        index = int(np.argmax((rows != given).any(axis=1)))
        raise SimulatorError(
            f"message {index} has a number beyond {kind.__name__}: got {given[index].tolist()}"
        )
    return rows


def widened(rows: NDArray[np.int32]) -> NDArray[np.int64]:
    """Plain rows as full ones."""
    out = np.zeros((len(rows), FULL_FIELDS), np.int64)
    out[:, :MESSAGE_FIELDS] = rows
    out[:, [TIME, EXPIRY, STOP_PRICE]] = lob.NONE
    return out


def refuse_plain(index: int, row: NDArray[np.int32], ids: int) -> NoReturn:
    """Raise what is wrong with a plain row."""
    if not 0 <= row[ID] < ids:
        expected = f"id 0 to {ids - 1}"
    elif not LIMIT <= row[KIND] <= MODIFY:
        expected = f"kind {LIMIT} to {MODIFY}"
    else:
        expected = f"side {lob.BUY} or {lob.SELL}"
    _raise_malformed(index, row, expected)


def refuse_full(index: int, row: NDArray[np.int64], fault: int, ids: int, clock: int) -> NoReturn:
    """Raise what is wrong with a full row."""
    shows = row[KIND] in (LIMIT, POST_ONLY)
    expected = {
        _ID: f"id 0 to {ids - 1}",
        _KIND: f"kind {LIMIT} to {UNCROSS}",
        _SIDE: f"side {lob.BUY} or {lob.SELL}",
        _NUMBER: "price, quantity and stop price within int32",
        _TIME: f"a time of at least {clock}, where the clock stands, or {lob.NONE} for none",
        _EXPIRY: f"an expiry from 0, or {lob.NONE} for none",
        _PEAK: f"a peak of 0 to {_MOST}" if shows else "peak 0: only limit orders have one",
        _ACCOUNT: "an account from 1, or 0 for none",
        _PREVENTION: f"prevention {NO_PREVENTION} to {DECREMENT}",
    }[fault]
    _raise_malformed(index, row, expected)


def _raise_malformed(index: int, row: NDArray[Any], expected: str) -> NoReturn:
    raise SimulatorError(
        f"message {index} is malformed: got {row.tolist()}, expected {expected}; "
        "nothing was applied"
    )
