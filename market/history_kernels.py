"""Historical order messages through one ladder book in which own orders may stand.

The rules are those of `market.history.HistoricalMarket`, whose docstring states them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from market import book as lob
from market.book import BUY, Book, first_book
from market.history_layout import (
    ADDS,
    AT_BEST,
    AT_HEAD,
    CROSSES,
    CURSOR,
    DISPLACED,
    EXECUTED,
    EXECUTIONS,
    FILE_QUANTITY,
    FILL_FIELDS,
    FILL_MAKER,
    FILL_OTHER,
    FILL_OWN,
    FILL_PRICE,
    FILL_QUANTITY,
    FILL_SIDE,
    FILL_TIME,
    FILLS,
    FULL,
    GONE,
    HALT_BEGINS,
    HALTED,
    HALTS,
    HANDLE,
    HIDDEN_EXECUTIONS,
    JOINED,
    KIND,
    LEFT,
    NONE,
    OFF_LADDER,
    ORDER,
    OWN_CROSSED,
    OWN_FIELDS,
    OWN_LIVE,
    OWN_MADE,
    OWN_PRICE,
    OWN_SIDE,
    PARKED,
    PARKED_ADDS,
    PLACE,
    PRICE,
    SIDE,
    SIZE,
    STALE,
    STREAM_FIELDS,
    TRADING_RESUMES,
    UNKNOWN_EXECUTIONS,
    UNSERVED,
    History,
    HistoryArrays,
    open_history,
)
from market.kernels import inlined, kernel
from market.message_table import ADD, CROSS, DELETE, EXECUTE, HALT, HIDDEN, REDUCE
from market.pointers import pointer

_ALWAYS = 2**31 - 1  # arrival of what stands behind every displayed order of its price
_BEFORE_THE_START = -1


@inlined
def shrink(book: Book, slot: int, quantity: int) -> None:
    """Take `quantity` off a live order, which keeps its place; all of it removes it."""
    row = slot * lob.ORDER_FIELDS
    if quantity >= book.orders[row + lob.QUANTITY]:
        lob.remove(book, slot)
        return
    book.orders[row + lob.QUANTITY] -= quantity
    book.levels[book.orders[row + lob.PRICE] * lob.LEVEL_FIELDS + lob.DEPTH] -= quantity


@inlined
def write_fill(
    h: History, serial: int, price: int, quantity: int, side: int, maker: int, other: int, now: int
) -> None:
    row = h.state[FILLS] * FILL_FIELDS
    h.fills[row + FILL_TIME] = now
    h.fills[row + FILL_OWN] = serial
    h.fills[row + FILL_PRICE] = price
    h.fills[row + FILL_QUANTITY] = quantity
    h.fills[row + FILL_SIDE] = side
    h.fills[row + FILL_MAKER] = maker
    h.fills[row + FILL_OTHER] = other
    h.state[FILLS] += 1


@inlined
def forget_own(h: History, serial: int) -> None:
    """Take an own order, already out of the book, off the list of those that rest."""
    own = serial * OWN_FIELDS
    last = h.state[OWN_LIVE] - 1
    moved = h.live[last]
    place = h.own[own + PLACE]
    h.live[place] = moved
    h.own[moved * OWN_FIELDS + PLACE] = place
    h.state[OWN_LIVE] = last
    h.own[own + HANDLE] = NONE
    h.own[own + LEFT] = 0


@inlined
def _fill_maker(h: History, serial: int, most: int, other: int, now: int) -> int:
    """Fill a resting own order by up to `most`. Returns the quantity filled."""
    own = serial * OWN_FIELDS
    filled = min(h.own[own + LEFT], most)
    shrink(h.book, lob.slot_of(h.book, h.own[own + HANDLE]), filled)
    price, side = h.own[own + OWN_PRICE], h.own[own + OWN_SIDE]
    write_fill(h, serial, price, filled, side, 1, other, now)
    h.own[own + LEFT] -= filled
    if h.own[own + LEFT] == 0:
        forget_own(h, serial)
    return filled


@inlined
def _first_own(h: History, side: int, price: float, arrival: int) -> int:
    """The own order that an aggressor meets first before (price, arrival), or NONE."""
    chosen = NONE
    best = 0
    for index in range(h.state[OWN_LIVE]):
        serial = h.live[index]
        own = serial * OWN_FIELDS
        if h.own[own + OWN_SIDE] != side:
            continue
        better = side * (h.own[own + OWN_PRICE] - price)
        if better < 0.0 or (better == 0.0 and h.own[own + JOINED] > arrival):
            continue
        edge = side * h.own[own + OWN_PRICE]
        if chosen == NONE or edge > best or (edge == best and serial < chosen):
            chosen = serial
            best = edge
    return chosen


@inlined
def _meet_own(h: History, row: int, arrival: int) -> int:
    """Own orders before (price, arrival) take from the file's aggressor. Returns what is left."""
    field = row * STREAM_FIELDS
    left = h.rows[field + SIZE]
    h.counts[FILE_QUANTITY] += left
    while left > 0 and h.state[OWN_LIVE] > 0:
        serial = _first_own(h, h.rows[field + SIDE], h.price[row], arrival)
        if serial == NONE:
            break
        filled = _fill_maker(h, serial, left, h.rows[field + ORDER], h.time[row])
        h.counts[OWN_MADE] += filled
        left -= filled
    return left


@inlined
def _cross(h: History, row: int, price: int) -> int:
    """An add meets what it crosses: own orders trade, orders of the file are stale."""
    field = row * STREAM_FIELDS
    side, left = h.rows[field + SIDE], h.rows[field + SIZE]
    while left > 0:
        if side == BUY:
            best = h.book.header[lob.BEST_ASK]
            if best > price or best >= h.book.header[lob.LEVELS]:
                break
        else:
            best = h.book.header[lob.BEST_BID]
            if best < price or best < 0:
                break
        slot = h.book.levels[best * lob.LEVEL_FIELDS + lob.HEAD]
        owner = h.book.orders[slot * lob.ORDER_FIELDS + lob.OWNER]
        if owner < 0:
            filled = _fill_maker(h, -owner - 1, left, h.rows[field + ORDER], h.time[row])
            h.counts[OWN_CROSSED] += filled
            left -= filled
        else:
            lob.remove(h.book, slot)
            h.counts[STALE] += 1
    return left


@inlined
def _add(h: History, row: int) -> None:
    field = row * STREAM_FIELDS
    order, price = h.rows[field + ORDER], h.rows[field + PRICE]
    h.counts[ADDS] += 1
    h.added[order] = row
    h.handles[order] = NONE
    if price == OFF_LADDER:
        h.handles[order] = PARKED
        h.counts[PARKED_ADDS] += 1
        return
    left = _cross(h, row, price)
    if left == 0:
        return
    slot = lob.rest(h.book, h.rows[field + SIDE], price, left, order + 1)
    if slot < 0:
        h.counts[FULL] += 1
    else:
        h.handles[order] = lob.handle_of(h.book, slot)


@inlined
def _reduce(h: History, row: int) -> None:
    """A partial cancel, or a delete of all that the book has of the order."""
    field = row * STREAM_FIELDS
    order = h.rows[field + ORDER]
    if order < 0 or h.handles[order] == PARKED:
        return
    slot = lob.slot_of(h.book, h.handles[order])
    if slot < 0:
        h.counts[GONE] += 1
    elif h.rows[field + KIND] == DELETE:
        lob.remove(h.book, slot)
    else:
        shrink(h.book, slot, h.rows[field + SIZE])


@inlined
def _agreement(h: History, slot: int, side: int) -> None:
    """Count whether the file executes the order that price-time priority puts first."""
    row = slot * lob.ORDER_FIELDS
    best = h.book.header[lob.BEST_BID] if side == BUY else h.book.header[lob.BEST_ASK]
    h.counts[EXECUTIONS] += 1
    h.counts[AT_BEST] += h.book.orders[row + lob.PRICE] == best
    h.counts[AT_HEAD] += h.book.orders[row + lob.PREV] < 0


@inlined
def _execute(h: History, row: int) -> None:
    field = row * STREAM_FIELDS
    order, size = h.rows[field + ORDER], h.rows[field + SIZE]
    undisturbed = h.state[OWN_LIVE] == 0
    left = _meet_own(h, row, _BEFORE_THE_START if order < 0 else h.added[order])
    if order < 0 or h.handles[order] == PARKED:
        h.counts[UNKNOWN_EXECUTIONS] += 1
        h.counts[EXECUTED] += left
        return
    slot = lob.slot_of(h.book, h.handles[order])
    if slot < 0:
        h.counts[GONE] += 1
        h.counts[UNSERVED] += left
        return
    if undisturbed:
        _agreement(h, slot, h.rows[field + SIDE])
    resting = h.book.orders[slot * lob.ORDER_FIELDS + lob.QUANTITY]
    executed = min(resting, left)
    leaving = min(resting, size)
    shrink(h.book, slot, leaving)
    h.counts[EXECUTED] += executed
    h.counts[DISPLACED] += leaving - executed
    h.counts[UNSERVED] += left - executed


@inlined
def apply_row(h: History, row: int) -> None:
    """One message of the file."""
    kind = h.rows[row * STREAM_FIELDS + KIND]
    if kind == ADD:
        _add(h, row)
    elif kind in (REDUCE, DELETE):
        _reduce(h, row)
    elif kind == EXECUTE:
        _execute(h, row)
    elif kind == HIDDEN:
        h.counts[HIDDEN_EXECUTIONS] += 1
        h.counts[EXECUTED] += _meet_own(h, row, _ALWAYS)
    elif kind == CROSS:
        h.counts[CROSSES] += 1
    elif kind == HALT:
        h.counts[HALTS] += 1
        state = h.rows[row * STREAM_FIELDS + SIZE]
        if state == HALT_BEGINS:
            h.state[HALTED] = 1
        elif state == TRADING_RESUMES:
            h.state[HALTED] = 0


@inlined
def _write_best(book: Book, best: Any, row: int) -> None:
    bid, ask = book.header[lob.BEST_BID], book.header[lob.BEST_ASK]
    field = row * 4
    best[field] = bid
    best[field + 1] = book.levels[bid * lob.LEVEL_FIELDS + lob.DEPTH] if bid >= 0 else 0
    best[field + 2] = ask
    empty = ask >= book.header[lob.LEVELS]
    best[field + 3] = 0 if empty else book.levels[ask * lob.LEVEL_FIELDS + lob.DEPTH]


@kernel
def advance_to(arrays: HistoryArrays, until: int) -> bool:
    """Apply the messages up to `until` ns, inclusive; False where room for fills ran out."""
    h = open_history(arrays)
    best = pointer(arrays.best)
    wanted = arrays.best.shape[0] > 0
    count, room = arrays.time.shape[0], arrays.fills.shape[0]
    row = h.state[CURSOR]
    while row < count and h.time[row] <= until:
        if h.state[FILLS] + h.state[OWN_LIVE] > room:
            h.state[CURSOR] = row
            return False
        apply_row(h, row)
        if wanted:
            _write_best(h.book, best, row)
        row += 1
    h.state[CURSOR] = row
    return True


@kernel
def depth_behind(arrays: HistoryArrays, out: NDArray[np.float64]) -> bool:
    """Add to `out` [k] the mean of both sides' quantity k ticks behind the best quote.

    False, and nothing added, where a side is empty.
    """
    book = first_book(arrays.book)
    bid, ask, levels = book.header[lob.BEST_BID], book.header[lob.BEST_ASK], book.header[lob.LEVELS]
    if bid < 0 or ask >= levels:
        return False
    for behind in range(out.shape[0]):
        total = 0
        if bid - behind >= 0:
            total += book.levels[(bid - behind) * lob.LEVEL_FIELDS + lob.DEPTH]
        if ask + behind < levels:
            total += book.levels[(ask + behind) * lob.LEVEL_FIELDS + lob.DEPTH]
        out[behind] += 0.5 * total
    return True
