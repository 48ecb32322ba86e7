"""What the tests of the order book share: streams, the full reference, and the invariants."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from experiments.reference_book import ReferenceBook
from market import book as lob
from market.book import BookArrays
from market.replay import CANCEL, IOC, LIMIT, MARKET, MESSAGE_FIELDS, MODIFY, OrderBook

LEVELS = 128
SLOTS = 12  # few, so that streams fill the book
INT32 = np.iinfo(np.int32)
NO_ROOM = "no free slot, or the level's depth would pass int32"

Message = tuple[int, int, int, int, int]


class BoundedReference(ReferenceBook):
    """The reference with the array book's two limits: its slots, and int32 level depth."""

    def __init__(self, levels: int, slots: int) -> None:
        super().__init__(levels)
        self.slots = slots

    def _limit(self, order_id: int, side: int, price: int, quantity: int, rests: bool) -> None:
        if not rests:
            super()._limit(order_id, side, price, quantity, rests)
            return
        left = self._take(order_id, side, price, quantity)
        depth = sum(order[3] for order in self.queues[side].get(price, []))
        if not left:
            return
        if len(self.resting()) < self.slots and depth + left <= INT32.max:
            super()._limit(order_id, side, price, left, rests)
        else:
            self.refusals[NO_ROOM] += 1


def _prices(levels: int) -> st.SearchStrategy[int]:
    middle = levels // 2
    return st.one_of(
        st.integers(middle - 4, middle + 4),
        st.integers(-2, levels + 1),
        st.sampled_from([INT32.min, -1, 0, 63, 64, levels - 1, levels, INT32.max]),
    )


_QUANTITIES = st.one_of(st.integers(1, 9), st.integers(-1, 1), st.just(INT32.max))
_KINDS = st.sampled_from([LIMIT] * 5 + [IOC, MARKET, CANCEL, CANCEL, MODIFY, MODIFY])


@st.composite
def messages(draw: st.DrawFn, levels: int = LEVELS, most: int = 60) -> NDArray[np.int32]:
    """Rows of all kinds; a new order's id is mostly its row, a cancel or change names any id."""
    rows: list[Message] = []
    for index in range(draw(st.integers(0, most))):
        kind = draw(_KINDS)
        again = kind in (CANCEL, MODIFY) or draw(st.integers(0, 9)) == 0
        order = draw(st.integers(0, most)) if again else index
        side = draw(st.sampled_from([lob.BUY, lob.SELL]))
        rows.append((kind, order, side, draw(_prices(levels)), draw(_QUANTITIES)))
    return np.array(rows, np.int32).reshape(-1, MESSAGE_FIELDS)


def long_stream(
    count: int, seed: int, levels: int = LEVELS, modifies: bool = True
) -> NDArray[np.int32]:
    """Rows of all kinds from a seeded generator: one in twenty malformed, ids often dead."""
    rng = np.random.default_rng(seed)
    index = np.arange(count)
    kind = rng.choice(5, count, p=[0.5, 0.08, 0.07, 0.2, 0.15])
    if not modifies:
        kind[kind == MODIFY] = CANCEL
    order = np.where(kind >= CANCEL, np.maximum(index - rng.integers(1, 60, count), 0), index)
    side = rng.choice([lob.BUY, lob.SELL], count)
    price = levels // 2 - side * rng.integers(-2, 8, count)
    price = np.where(rng.random(count) < 0.05, rng.integers(-9, levels + 9, count), price)
    quantity = np.where(rng.random(count) < 0.05, rng.integers(-3, 1, count), 0)
    quantity = np.where(quantity == 0, rng.integers(1, 20, count), quantity)
    return np.stack([kind, order, side, price, quantity], axis=1).astype(np.int32)


def array_book(rows: NDArray[np.int32], levels: int = LEVELS, slots: int = SLOTS) -> OrderBook:
    """An array book that has room for every id and trade of `rows`."""
    ids = max(64, len(rows))
    return OrderBook(levels, slots, ids, tape=1 << int(2 * ids).bit_length())


def reference_after(
    rows: NDArray[np.int32], levels: int = LEVELS, slots: int = SLOTS
) -> BoundedReference:
    """The reference book after `rows`."""
    reference = BoundedReference(levels, slots)
    for row in rows.tolist():
        reference.apply(*row)
    return reference


def trades_of(book: OrderBook) -> list[tuple[int, ...]]:
    """(maker, taker, price, quantity) of every trade."""
    fields = [lob.MAKER, lob.TAKER, lob.TRADE_PRICE, lob.TRADE_QUANTITY]
    return [tuple(row) for row in book.trades[:, fields].tolist()]


def digest(arrays: BookArrays, index: int = 0) -> str:
    """A hash of every byte of one book, but for its own number and extra rows."""
    out = hashlib.sha256()
    header = arrays.header[index].copy()
    header[lob.BOOK] = 0
    rows: list[NDArray[Any]] = [arrays.orders, arrays.levels, arrays.bits, arrays.live]
    for part in rows:
        out.update(np.ascontiguousarray(part[index]).tobytes())
    out.update(header.tobytes())
    return out.hexdigest()


def queue_of(arrays: BookArrays, index: int, price: int) -> list[int]:
    """The slots of a level in order of priority, with both links of each checked."""
    orders, level = arrays.orders[index], arrays.levels[index, price].tolist()
    slots: list[int] = []
    before, slot = lob.NONE, level[lob.HEAD]
    while slot != lob.NONE:
        order = orders[slot].tolist()
        assert order[lob.PREV] == before
        assert order[lob.PRICE] == price
        slots.append(slot)
        assert len(slots) <= len(orders), "the queue is a cycle"
        before, slot = slot, order[lob.NEXT]
    assert level[lob.TAIL] == before
    return slots


def _free_slots(arrays: BookArrays, index: int) -> list[int]:
    header = arrays.header[index]
    free: list[int] = arrays.live[index, header[lob.LIVE_COUNT] : header[lob.FRESH]].tolist()
    return free


def _check_levels(arrays: BookArrays, index: int) -> dict[int, list[int]]:
    """Each level's depth, count and bit equal its orders. Returns the queues in use."""
    orders, levels = arrays.orders[index], arrays.levels[index].tolist()
    queues = {price: queue_of(arrays, index, price) for price in range(len(levels))}
    bits = np.unpackbits(arrays.bits[index].view(np.uint8), bitorder="little").astype(bool)
    assert bits.tolist() == [bool(slots) for slots in queues.values()]
    for price, slots in queues.items():
        sizes = orders[slots, lob.QUANTITY].tolist()
        assert levels[price][lob.COUNT] == len(slots)
        assert levels[price][lob.DEPTH] == sum(sizes)
        assert all(size > 0 for size in sizes)
        assert len(set(orders[slots, lob.SIDE].tolist())) <= 1
    return {price: slots for price, slots in queues.items() if slots}


def check_invariants(arrays: BookArrays, index: int = 0) -> None:
    """Assert everything that must hold between two messages, whatever they were."""
    orders, header = arrays.orders[index], arrays.header[index]
    queues = _check_levels(arrays, index)
    side_of = {price: int(orders[slots[0], lob.SIDE]) for price, slots in queues.items()}
    bids = [price for price, side in side_of.items() if side == lob.BUY]
    asks = [price for price, side in side_of.items() if side == lob.SELL]
    assert header[lob.BEST_BID] == max(bids, default=lob.NONE)
    assert header[lob.BEST_ASK] == min(asks, default=len(arrays.levels[index]))
    assert header[lob.BEST_BID] < header[lob.BEST_ASK], "the book is crossed"

    resting = sorted(slot for slots in queues.values() for slot in slots)
    live = arrays.live[index, : header[lob.LIVE_COUNT]].tolist()
    assert sorted(live) == resting
    assert [int(orders[slot, lob.LIVE]) for slot in live] == list(range(len(live)))
    # Every slot ever used is either live or free, and never both.
    assert sorted(resting + _free_slots(arrays, index)) == list(range(header[lob.FRESH]))
    assert header[lob.FRESH] <= header[lob.SLOTS] == len(orders)


def check_parts(arrays: BookArrays) -> None:
    """`check_invariants` for every part of an engine; shelves hold one side each."""
    for part in range(len(arrays.header)):
        check_invariants(arrays, part)
        stamped = arrays.extra[part, :, lob.STAMP] == arrays.orders[part, :, lob.GENERATION] + 1
        live = arrays.orders[part, :, lob.QUANTITY] > 0
        assert (arrays.extra[part, stamped & live, lob.HIDDEN] >= 0).all()
