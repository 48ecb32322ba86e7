"""A stream of order messages through one book, and the Python face of a single book."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import SimulatorError
from market import book as lob
from market.auction import call, uncross
from market.book import Book, BookArrays, Tape
from market.engine import (
    CLOCK,
    EXPIRED,
    LAST_PRICE,
    PREVENTED,
    REASON,
    REFUSALS,
    TRIGGERED,
    EngineArrays,
    allocate_engine,
    engine_of,
    expire_before,
)
from market.kernels import inlined, kernel
from market.matching import change, refuse, request, submit, withdraw
from market.order_rows import (
    ACCEPTED,
    ACCOUNT,
    AUCTION_MARKET,
    BAD_PRICE,
    BAD_QUANTITY,
    CALL,
    CANCEL,
    EXPIRY,
    FULL_FIELDS,
    ID,
    IOC,
    KIND,
    LIMIT,
    LIVE_ID,
    MARKET,
    MESSAGE_FIELDS,
    MODIFY,
    NO_ROOM,
    PEAK,
    PREVENTION,
    PRICE,
    QUANTITY,
    REASONS,
    ROWS_AHEAD,
    SIDE,
    STOP,
    STOP_PRICE,
    TIME,
    UNCROSS,
    UNKNOWN_ID,
    as_rows,
    first_fault,
    first_malformed,
    refuse_full,
    refuse_plain,
    widened,
)
from market.pointers import opaque, pointer, prefetch
from market.stops import trigger
from market.typed import TypedOrders

__all__ = [
    "CANCEL", "ID", "IOC", "KIND", "LIMIT", "MARKET", "MESSAGE_FIELDS", "MODIFY", "PRICE",
    "QUANTITY", "SIDE", "OrderBook",
]  # fmt: skip

_LOOK_AHEAD = 12  # messages: the row of an order that is soon cancelled comes into cache


@inlined
def _refused(counts: Any, reason: int, handle: int) -> int:
    """Count a refusal. Returns `handle`, which the id keeps."""
    counts[reason] += 1
    return handle


@inlined
def _rested(book: Book, counts: Any, slot: int) -> int:
    """The handle of an order that `lob.rest` was asked for."""
    return lob.handle_of(book, slot) if slot >= 0 else _refused(counts, NO_ROOM, lob.NONE)


@inlined
def _modified(book: Book, tape: Tape, counts: Any, price: int, quantity: int, handle: int) -> int:
    """A change of the order of `handle`. Returns its handle from now on."""
    if lob.slot_of(book, handle) < 0:
        return _refused(counts, UNKNOWN_ID, lob.NONE)
    changed = lob.modify(book, tape, handle, price, quantity)
    # A refused change leaves the order as it was, under the handle it has.
    if changed == lob.REJECTED_PRICE:
        return _refused(counts, BAD_PRICE, handle)
    if changed == lob.REJECTED_QUANTITY:
        return _refused(counts, BAD_QUANTITY, handle)
    return _refused(counts, NO_ROOM, lob.NONE) if changed == lob.REJECTED_FULL else changed


@inlined
def _apply(
    book: Book,
    tape: Tape,
    counts: Any,
    kind: int,
    side: int,
    price: int,
    quantity: int,
    order: int,
    handle: int,
) -> int:
    """One message. Returns the handle that the order id has from now on.

    A limit order that meets nothing, as most do, goes its own short way. All else that is
    new shares one, so that the matching loop stands in the code once.
    """
    if opaque(kind) == CANCEL:
        if lob.cancel(book, handle) == 0:
            counts[UNKNOWN_ID] += 1
        return lob.NONE
    top = book.header[lob.LEVELS] - 1
    # One branch for all that a limit order must be to go the short way.
    rests = (kind == LIMIT) & (quantity > 0) & (price >= 0) & (price <= top) & (handle < 0)
    if rests and (price - lob.opposite(book, side)) * side < 0:
        return _rested(book, counts, lob.rest(book, side, price, quantity, order))
    if kind == MODIFY:
        return _modified(book, tape, counts, price, quantity, handle)
    if lob.slot_of(book, handle) >= 0:
        return _refused(counts, LIVE_ID, handle)
    any_price = top if side == lob.BUY else 0
    limit = any_price if kind == MARKET else price
    if limit < 0 or limit > top:
        return _refused(counts, BAD_PRICE, lob.NONE)
    if quantity <= 0:
        return _refused(counts, BAD_QUANTITY, lob.NONE)
    left = lob.take(book, tape, side, limit, quantity, order)
    if left == 0 or kind != LIMIT:
        return lob.NONE
    return _rested(book, counts, lob.rest(book, side, price, left, order))


@kernel
def _replay(
    arrays: BookArrays,
    messages: NDArray[np.int32],
    handles: NDArray[np.int64],
    trades: NDArray[np.int32],
    count: NDArray[np.int64],
    refusals: NDArray[np.int64],
) -> None:
    """Plain rows, each of which was found well formed. `refusals` has a count for each reason."""
    book = lob.first_book(arrays)
    tape = Tape(pointer(trades), pointer(count), trades.shape[0] - 1)
    rows = pointer(messages)
    known, counts = pointer(handles), pointer(refusals)
    last = messages.shape[0] - 1
    # The kind is read a message ahead: a processor that has guessed it wrong learns so
    # at once, and not when the row has come.
    next_kind = rows[KIND] if last >= 0 else LIMIT
    for index in range(messages.shape[0]):
        row = index * MESSAGE_FIELDS
        order = rows[row + ID]
        kind = next_kind
        next_kind = rows[min(index + 1, last) * MESSAGE_FIELDS + KIND]
        later = rows[min(index + _LOOK_AHEAD, last) * MESSAGE_FIELDS + ID]
        prefetch(rows, row + ROWS_AHEAD)
        prefetch(book.orders, lob.place_of(known[later]) * lob.ORDER_FIELDS)
        known[order] = _apply(
            book,
            tape,
            counts,
            kind,
            rows[row + SIDE],
            rows[row + PRICE],
            rows[row + QUANTITY],
            order,
            known[order],
        )


@kernel
def _replay_full(arrays: EngineArrays, messages: NDArray[np.int64]) -> None:
    """Full rows, each of which was found well formed."""
    engine = engine_of(arrays)
    rows = pointer(messages)
    state = engine.state
    for index in range(messages.shape[0]):
        row = index * FULL_FIELDS
        kind, order, time = rows[row + KIND], rows[row + ID], rows[row + TIME]
        price, quantity = rows[row + PRICE], rows[row + QUANTITY]
        if time != lob.NONE:
            expire_before(engine, time)
            state[CLOCK] = time
        if kind == CANCEL:
            reason = withdraw(engine, order)
        elif kind == MODIFY:
            reason = change(engine, order, price, quantity, rows[row + PREVENTION])
        elif kind == CALL:
            reason = call(engine)
        elif kind == UNCROSS:
            reason = uncross(engine, price)
        else:
            any_price = kind in (STOP, AUCTION_MARKET)
            wanted = request(
                kind,
                order,
                rows[row + SIDE],
                lob.NONE if any_price else price,
                quantity,
                rows[row + EXPIRY],
                rows[row + STOP_PRICE],
                rows[row + PEAK],
                rows[row + ACCOUNT],
                rows[row + PREVENTION],
            )
            reason = submit(engine, wanted)
        state[REASON] = reason
        if reason != ACCEPTED:
            refuse(engine, reason)
        trigger(engine)


@kernel
def _advance(arrays: EngineArrays, time: int) -> None:
    engine = engine_of(arrays)
    expire_before(engine, time)
    engine.state[CLOCK] = time


class OrderBook(TypedOrders):
    """One order book that takes messages as rows, or orders one by one through typed methods.

    Args:
        levels: ticks of the ladder, a multiple of 64.
        slots: most orders that can rest at once; as many stops of a side can wait, and as
            many orders of a side for an auction.
        ids: order ids run from 0 to this, exclusive.
        tape: most recent trades kept, a power of two.
    """

    def __init__(
        self, levels: int = 1024, slots: int = 4096, ids: int = 1 << 20, tape: int = 1 << 16
    ) -> None:
        if levels <= 0 or levels % lob.WORD_BITS:
            raise SimulatorError(
                f"levels={levels}: expected a positive multiple of {lob.WORD_BITS}"
            )
        if tape <= 0 or tape & (tape - 1):
            raise SimulatorError(f"tape={tape}: expected a power of two")
        if slots <= 0 or ids <= 0:
            raise SimulatorError(f"slots={slots}, ids={ids}: expected positive numbers")
        self.engine = allocate_engine(levels, slots, ids, tape)
        self.arrays, self.tape, self.trade_count, self.handles, self.state, _, _ = self.engine
        self._full = False  # whether a full row has come, whose rules hold from then on

    def replay(self, messages: NDArray[np.integer[Any]]) -> None:
        """Apply plain rows (kind, id, side, price, quantity) or full ones (`market.order_rows`).

        A well-formed row that the book refuses (price off the ladder, quantity not
        positive, no free slot, the id of a live order for a new one, or of none for a
        change) has no effect, and is counted in `refusals`.

        Raises:
            SimulatorError: rows of another shape or type, a number out of range, an id,
                kind or side that does not exist, a clock that goes back. Nothing is
                applied then.
        """
        rows = as_rows(messages)
        ids = self.handles.size
        if rows.dtype == np.int32:
            first = int(first_malformed(rows, ids))
            if first < len(rows):
                refuse_plain(first, rows[first], ids)
            if not self._full:
                counts = self.state[REFUSALS:]
                _replay(self.arrays, rows, self.handles, self.tape, self.trade_count, counts)
                return
            rows = widened(rows)
        first, fault, clock = first_fault(rows, ids, int(self.state[CLOCK]))
        if first < len(rows):
            refuse_full(first, rows[first], fault, ids, clock)
        if not self._full and self.trade_count[0] > 0:
            self.state[LAST_PRICE] = self.trades[-1, lob.TRADE_PRICE]
        self._full = True
        _replay_full(self.engine, rows)

    @property
    def refusals(self) -> dict[str, int]:
        """How many well-formed rows, and triggered stops, were refused, by reason."""
        counts = self.state[REFUSALS:].tolist()
        return {reason: count for reason, count in zip(REASONS, counts, strict=True) if count}

    def advance(self, time: int) -> None:
        """Let simulated time come to `time`: orders that were good till before it are gone.

        Raises:
            SimulatorError: the clock stands later than that.
        """
        if time < self.clock:
            raise SimulatorError(f"time {time}: expected at least {self.clock}, where it stands")
        _advance(self.engine, time)

    def digest(self) -> str:
        """A hash of the whole state: equal books have gone through equal messages."""
        out = hashlib.sha256()
        parts = (*self.arrays, self.trade_count, self.handles, self.state, self.engine.expiries)
        for part in parts:
            out.update(part.tobytes())
        out.update(self.trades.tobytes())
        return out.hexdigest()

    @property
    def triggered(self) -> int:
        """Stops that have entered."""
        return int(self.state[TRIGGERED])

    @property
    def expired(self) -> int:
        """Orders whose time has run out."""
        return int(self.state[EXPIRED])

    @property
    def prevented(self) -> int:
        """How often self-trade prevention has acted."""
        return int(self.state[PREVENTED])

    @property
    def clock(self) -> int:
        """The latest time that a message had."""
        return int(self.state[CLOCK])

    def _last_refusal(self) -> str | None:
        reason = int(self.state[REASON])
        return None if reason == ACCEPTED else REASONS[reason]

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
        """(price, id, side, displayed quantity) of every resting order by price, then priority."""
        orders, levels = self.arrays.orders[0], self.arrays.levels[0]
        out: list[tuple[int, int, int, int]] = []
        for price in range(len(levels)):
            slot = int(levels[price, lob.HEAD])
            while slot >= 0:
                row = orders[slot]
                out.append((price, int(row[lob.OWNER]), int(row[lob.SIDE]), int(row[lob.QUANTITY])))
                slot = int(row[lob.NEXT])
        return out
