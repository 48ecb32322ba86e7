"""One episode's market as pointers, quotes over its venues, and routing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from configs.market import VENUE_COUNT
from market import book as lob
from market.book import Book, Tape
from market.kernels import inlined, kernel
from market.pointers import pointer, record, shifted, trailing_zeros
from market.state import (
    EXCITATIONS,
    FIRST_OWN,
    IMBALANCES,
    METAORDER_FIELDS,
    OWNED_FIELDS,
    PENDING_FIELDS,
    Market,
)

_WORD_SHIFT, _WORD_MASK = 6, 63
_ALL, _BIT, _NO_BITS = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(1), np.uint64(0)


class Desk(NamedTuple):
    """Pointers of one episode; hot loops pass this and no arrays."""

    first: Book  # the book of venue 0
    tape: Tape
    episode: Any
    parent: Any
    knots: Any
    activity: Any
    excitation: Any
    metaorders: Any
    imbalances: Any
    owned: Any
    owned_bits: Any
    pending: Any
    pending_time: Any
    pending_heap: Any
    venues: Any
    offsets: Any
    sizes: Any
    lengths: Any
    exponentials: Any
    chosen_venue: Any
    excitation_law: Any
    impact_law: Any


@inlined
def desk_at(market: Market, n: int) -> Desk:
    """The desk of episode `n`."""
    books = market.books
    tape_rows = market.tape.shape[1]
    levels, slots = books.levels.shape[1], books.orders.shape[1]
    return Desk(
        lob.book_at(lob.first_book(books), n * VENUE_COUNT, levels, slots),
        Tape(
            shifted(pointer(market.tape), n * tape_rows * lob.TRADE_FIELDS),
            shifted(pointer(market.tape_count), n),
            tape_rows - 1,
        ),
        shifted(pointer(market.episodes), n),
        shifted(pointer(market.parents), n),
        shifted(pointer(market.knots), n * market.knots.shape[1]),
        shifted(pointer(market.activity), n * market.activity.shape[1]),
        shifted(pointer(market.excitation), n * EXCITATIONS),
        shifted(pointer(market.metaorders), n * market.metaorders.shape[1] * METAORDER_FIELDS),
        shifted(pointer(market.imbalances), n * IMBALANCES),
        shifted(pointer(market.owned), n * market.owned.shape[1] * OWNED_FIELDS),
        shifted(pointer(market.owned_bits), n * market.owned_bits.shape[1]),
        shifted(pointer(market.pending), n * market.pending.shape[1] * PENDING_FIELDS),
        shifted(pointer(market.pending_time), n * market.pending_time.shape[1]),
        shifted(pointer(market.pending_heap), n * market.pending_heap.shape[1]),
        pointer(market.venues),
        pointer(market.offsets),
        pointer(market.sizes),
        pointer(market.lengths),
        pointer(market.exponentials),
        pointer(market.chosen_venue),
        pointer(market.excitation_law),
        pointer(market.impact_law),
    )


@inlined
def venue_book(desk: Desk, flow: Any, venue: int) -> Book:
    """The book of one venue."""
    return lob.book_at(desk.first, venue, flow.ladder, flow.slots)


@inlined
def maker_fee(desk: Desk, venue: int) -> float:
    """Ticks per unit that a resting order pays at a venue; negative for a rebate."""
    return record(shifted(desk.venues, venue)).maker_fee


@inlined
def taker_fee(desk: Desk, venue: int) -> float:
    """Ticks per unit that an order which crosses pays at a venue."""
    return record(shifted(desk.venues, venue)).taker_fee


@inlined
def best_bid(desk: Desk) -> int:
    """Highest bid over the venues, or -1."""
    best = lob.NONE
    for venue in range(VENUE_COUNT):
        best = max(best, desk.first.header[venue * lob.HEADER_FIELDS + lob.BEST_BID])
    return best


@inlined
def best_ask(desk: Desk, flow: Any) -> int:
    """Lowest ask over the venues, or the number of ladder levels."""
    best = flow.ladder
    for venue in range(VENUE_COUNT):
        best = min(best, desk.first.header[venue * lob.HEADER_FIELDS + lob.BEST_ASK])
    return best


@inlined
def venue_best(desk: Desk, venue: int, side: int) -> int:
    """Best price of one venue on the side of resting orders of `side`."""
    field = lob.BEST_BID if side == lob.BUY else lob.BEST_ASK
    return desk.first.header[venue * lob.HEADER_FIELDS + field]


@inlined
def mark_own(desk: Desk, index: int, active: bool) -> None:
    """Note whether own order `index` rests."""
    word, bit = index >> _WORD_SHIFT, _BIT << np.uint64(index & _WORD_MASK)
    bits = desk.owned_bits[word]
    desk.owned_bits[word] = bits | bit if active else bits & ~bit


@inlined
def _first_bit(desk: Desk, flow: Any, index: int, flipped: np.uint64) -> int:
    """The first own order from `index` on that rests, or, `flipped`, that does not."""
    word = index >> _WORD_SHIFT
    words = (flow.max_resting + _WORD_MASK) >> _WORD_SHIFT
    if word >= words:
        return flow.max_resting
    bits = (desk.owned_bits[word] ^ flipped) & (_ALL << np.uint64(index & _WORD_MASK))
    while bits == _NO_BITS:
        word += 1
        if word >= words:
            return flow.max_resting
        bits = desk.owned_bits[word] ^ flipped
    return min((word << _WORD_SHIFT) + trailing_zeros(bits), flow.max_resting)


@inlined
def next_own(desk: Desk, flow: Any, index: int) -> int:
    """The first own resting order from number `index` on; `max_resting` where there is none."""
    return _first_bit(desk, flow, index, _NO_BITS)


@inlined
def free_own(desk: Desk, flow: Any) -> int:
    """The first number that no own resting order has; `max_resting` where all are taken."""
    return _first_bit(desk, flow, 0, _ALL)


@inlined
def background_best(desk: Desk, flow: Any, venue: int, side: int) -> int:
    """Best price of one venue at which an order of `side` that is not an own one rests."""
    book = venue_book(desk, flow, venue)
    price = int(venue_best(desk, venue, side))
    while 0 <= price < flow.ladder:
        slot = book.levels[price * lob.LEVEL_FIELDS + lob.HEAD]
        while slot >= 0 and book.orders[slot * lob.ORDER_FIELDS + lob.OWNER] >= FIRST_OWN:
            slot = book.orders[slot * lob.ORDER_FIELDS + lob.NEXT]
        if slot >= 0:
            break
        price = lob.level_below(book, price) if side == lob.BUY else lob.level_above(book, price)
    return price


@inlined
def background_quote(desk: Desk, flow: Any, side: int) -> int:
    """The consolidated best of `side` without own orders: -1 or the ladder's end where none is."""
    parent = record(desk.parent)
    if parent.resting_orders == 0 or parent.side != side:
        return best_bid(desk) if side == lob.BUY else best_ask(desk, flow)
    best = lob.NONE if side == lob.BUY else flow.ladder
    for venue in range(VENUE_COUNT):
        price = background_best(desk, flow, venue, side)
        best = max(best, price) if side == lob.BUY else min(best, price)
    return best


@inlined
def background_orders(desk: Desk) -> int:
    """Orders that rest on all venues, own ones left out."""
    total = -record(desk.parent).resting_orders
    for venue in range(VENUE_COUNT):
        total += desk.first.header[venue * lob.HEADER_FIELDS + lob.LIVE_COUNT]
    return total


@inlined
def reference(desk: Desk) -> float:
    """The reference now, own impact included, ladder ticks."""
    episode = record(desk.episode)
    return episode.reference + episode.impact


@inlined
def depth_at(desk: Desk, flow: Any, venue: int, price: int) -> int:
    """Quantity that rests at one price of one venue."""
    return venue_book(desk, flow, venue).levels[price * lob.LEVEL_FIELDS + lob.DEPTH]


@inlined
def best_opposite(desk: Desk, flow: Any, side: int, limit: int) -> int:
    """The best price at which an order of `side` can take up to `limit`, or NONE."""
    price = best_ask(desk, flow) if side == lob.BUY else best_bid(desk)
    if side == lob.BUY:
        return price if price <= limit and price < flow.ladder else lob.NONE
    return price if price >= limit else lob.NONE


@kernel
def sweep(
    desk: Desk, flow: Any, side: int, limit: int, quantity: int, owner: int, start: float
) -> int:
    """Take liquidity over all venues in price order up to `limit`. Returns what is left.

    Of venues at the same price the first is drawn by what they show there (`start` in
    [0, 1)), so that a short queue is met less often than a long one; then it goes round.
    """
    while quantity > 0:
        price = best_opposite(desk, flow, side, limit)
        if price < 0:
            break
        shown = 0
        for venue in range(VENUE_COUNT):
            shown += depth_at(desk, flow, venue, price)
        target, first = int(start * shown), 0
        for venue in range(VENUE_COUNT - 1):
            target -= depth_at(desk, flow, venue, price)
            first += 1 if target >= 0 else 0
        for turn in range(VENUE_COUNT):
            venue = (first + turn) % VENUE_COUNT
            if quantity > 0 and venue_best(desk, venue, -side) == price:
                book = venue_book(desk, flow, venue)
                quantity = lob.take(book, desk.tape, side, price, quantity, owner)
    return quantity


@inlined
def _routed_venue(desk: Desk, flow: Any, side: int, price: int) -> int:
    """Of the venues that show `price` the one with the lowest taker fee, then the deepest."""
    chosen = lob.NONE
    for venue in range(VENUE_COUNT):
        if venue_best(desk, venue, -side) != price:
            continue
        if chosen < 0 or taker_fee(desk, venue) < taker_fee(desk, chosen):
            chosen = venue
        elif taker_fee(desk, venue) == taker_fee(desk, chosen):
            deeper = depth_at(desk, flow, venue, price) > depth_at(desk, flow, chosen, price)
            chosen = venue if deeper else chosen
    return chosen


@kernel
def route(desk: Desk, flow: Any, side: int, limit: int, quantity: int, owner: int) -> int:
    """SMART: take over all venues by price, then fee, then depth. Returns what is left."""
    while quantity > 0:
        price = best_opposite(desk, flow, side, limit)
        if price < 0:
            break
        book = venue_book(desk, flow, _routed_venue(desk, flow, side, price))
        quantity = lob.take(book, desk.tape, side, price, quantity, owner)
    return quantity
