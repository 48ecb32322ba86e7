"""The memory of a book that knows every order type, and handles over its parts.

One engine is five books of one layout: the book that trades, and four shelves whose
orders wait. Stops wait at their stop price, buys as if they were asks, since the lowest
is next; orders of a call auction wait at their limit, each side for itself, since in a
call the two sides overlap.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from market import book as lob
from market.book import Book, BookArrays, Tape
from market.heaps import HEAP_FIELDS, ITEM, pop, push
from market.kernels import inlined, kernel
from market.order_rows import REASONS
from market.pointers import pointer

TRADING, BUY_STOPS, SELL_STOPS, CALL_BUYS, CALL_SELLS = range(5)
PARTS = 5

# Fields of the state (int64). LOW and HIGH span the trades since stops were looked at
# (LOW > HIGH: none); NEW_STOP is 1 where one has come since that LAST_PRICE may have
# reached. The counts of refusals, one for each reason, stand at the end.
CLOCK, LAST_PRICE, LOW, HIGH, ARRIVALS, IN_CALL, HEAP_SIZE, WAVE_SIZE, REASON = range(9)
TRIGGERED, EXPIRED, PREVENTED, UNCROSS_PRICE, NEW_STOP = range(9, 14)
REFUSALS = 14
STATE_FIELDS = REFUSALS + len(REASONS)

_FAR = 2**31


class EngineArrays(NamedTuple):
    """The arrays of one engine."""

    books: BookArrays  # PARTS of them
    tape: NDArray[np.int32]  # [a power of two, TRADE_FIELDS]
    trade_count: NDArray[np.int64]  # [1]
    handles: NDArray[np.int64]  # [ids]
    state: NDArray[np.int64]  # [STATE_FIELDS]
    expiries: NDArray[np.int64]  # [2 * PARTS * slots, HEAP_FIELDS], a heap
    wave: NDArray[np.int64]  # [2 * slots, HEAP_FIELDS], a heap


class Engine(NamedTuple):
    """Pointers to one engine."""

    book: Book
    tape: Tape
    handles: Any
    state: Any
    expiries: Any
    wave: Any


def allocate_engine(levels: int, slots: int, ids: int, tape: int) -> EngineArrays:
    """An empty engine."""
    arrays = EngineArrays(
        books=lob.allocate(PARTS, levels, slots, extended=True),
        tape=np.zeros((tape, lob.TRADE_FIELDS), np.int32),
        trade_count=np.zeros(1, np.int64),
        handles=np.full(ids, lob.NONE, np.int64),
        state=np.zeros(STATE_FIELDS, np.int64),
        # Twice what can live, so that dropping the dead always makes room for as many.
        expiries=np.zeros((2 * PARTS * slots, HEAP_FIELDS), np.int64),
        wave=np.zeros((2 * slots, HEAP_FIELDS), np.int64),
    )
    arrays.state[[LAST_PRICE, UNCROSS_PRICE]] = lob.NONE
    arrays.state[LOW], arrays.state[HIGH] = _FAR, lob.NONE
    return arrays


@inlined
def engine_of(arrays: EngineArrays) -> Engine:
    """Pointers to `arrays`."""
    return Engine(
        lob.first_book(arrays.books),
        Tape(pointer(arrays.tape), pointer(arrays.trade_count), arrays.tape.shape[0] - 1),
        pointer(arrays.handles),
        pointer(arrays.state),
        pointer(arrays.expiries),
        pointer(arrays.wave),
    )


@inlined
def part_of(engine: Engine, part: int) -> Book:
    """One of the engine's books."""
    header = engine.book.header
    return lob.book_at(engine.book, part, header[lob.LEVELS], header[lob.SLOTS])


@kernel
def name(engine: Engine, part: int, slot: int) -> int:
    """The engine's handle of a live order: its book's, the slot counted over all parts."""
    return lob.handle_of(part_of(engine, part), slot) + part * engine.book.header[lob.SLOTS]


@kernel
def place(engine: Engine, handle: int) -> tuple[int, int]:
    """(part, slot) of a live order, or (NONE, NONE) where it is gone."""
    slots = engine.book.header[lob.SLOTS]
    part = lob.place_of(handle) // slots
    if handle < 0 or part >= PARTS:
        return lob.NONE, lob.NONE
    slot = lob.slot_of(part_of(engine, part), handle - part * slots)
    return (part, slot) if slot >= 0 else (lob.NONE, lob.NONE)


@kernel
def is_live(engine: Engine, handle: int) -> bool:
    """Whether the handle's order rests or waits."""
    return place(engine, handle)[0] >= 0


@kernel
def note_price(engine: Engine, price: int) -> None:
    """A trade at `price`: stops will be held against it."""
    state = engine.state
    state[LAST_PRICE] = price
    state[LOW] = min(state[LOW], price)
    state[HIGH] = max(state[HIGH], price)


@kernel
def forget_prices(engine: Engine) -> None:
    """Stops have been held against all trades so far."""
    engine.state[LOW] = _FAR
    engine.state[HIGH] = lob.NONE
    engine.state[NEW_STOP] = 0


@kernel
def hidden_of(book: Book, slot: int) -> int:
    """What a live order has beyond its displayed quantity."""
    return book.extra[slot * lob.EXTRA_FIELDS + lob.HIDDEN] if lob.is_extended(book, slot) else 0


@kernel
def account_of(book: Book, slot: int) -> int:
    """The account of a live order, 0 for none."""
    return book.extra[slot * lob.EXTRA_FIELDS + lob.ACCOUNT] if lob.is_extended(book, slot) else 0


@kernel
def expire_before(engine: Engine, time: int) -> None:
    """Cancel every order whose expiry is before `time`."""
    state = engine.state
    while state[HEAP_SIZE] > 0 and engine.expiries[0] < time:
        state[HEAP_SIZE] = pop(engine.expiries, state[HEAP_SIZE])
        handle = engine.expiries[state[HEAP_SIZE] * HEAP_FIELDS + ITEM]
        part, slot = place(engine, handle)
        if part >= 0:
            lob.remove(part_of(engine, part), slot)
            state[EXPIRED] += 1


@kernel
def _drop_dead(engine: Engine) -> None:
    """Rebuild the heap of expiries from the orders that live."""
    heap, state = engine.expiries, engine.state
    count = state[HEAP_SIZE]
    kept = 0
    for index in range(count):
        row = index * HEAP_FIELDS
        if is_live(engine, heap[row + ITEM]):
            # In place: a row is read before the heap of those before it grows over it.
            kept = push(heap, kept, heap[row], heap[row + 1], heap[row + ITEM])
    state[HEAP_SIZE] = kept


@kernel
def schedule_expiry(engine: Engine, expiry: int, handle: int) -> None:
    """The order of `handle` is good till `expiry`."""
    state = engine.state
    room = 2 * PARTS * engine.book.header[lob.SLOTS]
    if state[HEAP_SIZE] == room:
        _drop_dead(engine)
    state[ARRIVALS] += 1
    state[HEAP_SIZE] = push(engine.expiries, state[HEAP_SIZE], expiry, state[ARRIVALS], handle)
