"""Own orders among historical ones: coming, being cancelled, their place in the queue."""

from __future__ import annotations

from market import book as lob
from market.book import BUY
from market.history_kernels import forget_own, shrink, write_fill
from market.history_layout import (
    CURSOR,
    HALTED,
    HANDLE,
    JOINED,
    LEFT,
    NONE,
    OWN_CANCELLED,
    OWN_COUNT,
    OWN_FIELDS,
    OWN_LIVE,
    OWN_PRICE,
    OWN_SIDE,
    OWN_TAKEN,
    PLACE,
    REJECTED_HALTED,
    History,
    HistoryArrays,
    open_history,
)
from market.kernels import inlined, kernel


@inlined
def _take(h: History, side: int, limit: int, quantity: int, serial: int, now: int) -> int:
    """An own order takes what is displayed up to `limit`. Returns what is left.

    Own orders in its way are cancelled: an own order never trades with another.
    """
    while quantity > 0:
        if side == BUY:
            best = h.book.header[lob.BEST_ASK]
            if best > limit or best >= h.book.header[lob.LEVELS]:
                break
        else:
            best = h.book.header[lob.BEST_BID]
            if best < limit or best < 0:
                break
        slot = h.book.levels[best * lob.LEVEL_FIELDS + lob.HEAD]
        row = slot * lob.ORDER_FIELDS
        owner = h.book.orders[row + lob.OWNER]
        if owner < 0:
            lob.remove(h.book, slot)
            forget_own(h, -owner - 1)
            h.counts[OWN_CANCELLED] += 1
            continue
        filled = min(h.book.orders[row + lob.QUANTITY], quantity)
        write_fill(h, serial, best, filled, side, 0, owner - 1, now)
        shrink(h.book, slot, filled)
        h.counts[OWN_TAKEN] += filled
        quantity -= filled
    return quantity


@kernel
def submit_own(
    arrays: HistoryArrays, side: int, price: int, quantity: int, rests: bool, now: int
) -> int:
    """An own order, whose arguments were checked. Returns its serial number or REJECTED_*.

    The caller has left room in `own`, `live` and `fills`.
    """
    h = open_history(arrays)
    if h.state[HALTED] != 0:
        return REJECTED_HALTED
    serial = h.state[OWN_COUNT]
    left = _take(h, side, price, quantity, serial, now)
    own = serial * OWN_FIELDS
    h.own[own + HANDLE] = NONE
    h.own[own + JOINED] = h.state[CURSOR]
    h.own[own + OWN_SIDE] = side
    h.own[own + OWN_PRICE] = price
    h.own[own + LEFT] = 0
    h.state[OWN_COUNT] = serial + 1
    if left == 0 or not rests:
        return serial
    slot = lob.rest(h.book, side, price, left, -serial - 1)
    if slot < 0:
        return serial if left < quantity else slot
    place = h.state[OWN_LIVE]
    h.own[own + HANDLE] = lob.handle_of(h.book, slot)
    h.own[own + LEFT] = left
    h.own[own + PLACE] = place
    h.live[place] = serial
    h.state[OWN_LIVE] = place + 1
    return serial


@kernel
def cancel_own(arrays: HistoryArrays, serial: int) -> int:
    """Cancel an own order. Returns the quantity cancelled, 0 where it is gone."""
    h = open_history(arrays)
    slot = lob.slot_of(h.book, h.own[serial * OWN_FIELDS + HANDLE])
    if slot < 0:
        return 0
    quantity = lob.remove(h.book, slot)
    forget_own(h, serial)
    return quantity


@kernel
def queue_ahead_of(arrays: HistoryArrays, serial: int) -> int:
    """Quantity before an own order in its level, NONE where it does not rest."""
    h = open_history(arrays)
    slot = lob.slot_of(h.book, h.own[serial * OWN_FIELDS + HANDLE])
    return NONE if slot < 0 else lob.queue_ahead(h.book, slot)
