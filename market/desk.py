"""One episode's market as pointers, quotes over its venues, and routing."""

from __future__ import annotations

from typing import Any, NamedTuple

from configs.market import VENUE_COUNT
from market import book as lob
from market.book import Book, Tape
from market.kernels import inlined, kernel
from market.pointers import pointer, record, shifted
from market.state import OWNED_FIELDS, PENDING_FIELDS, Market

OWN_TAKER = -1  # the taker's owner on the tape when a child order takes


class Desk(NamedTuple):
    """Pointers of one episode; hot loops pass this and no arrays."""

    first: Book  # the book of venue 0
    tape: Tape
    episode: Any
    parent: Any
    path: Any
    owned: Any
    pending: Any
    pending_time: Any
    offsets: Any
    sizes: Any


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
        shifted(pointer(market.path), n * market.path.shape[1]),
        shifted(pointer(market.owned), n * market.owned.shape[1] * OWNED_FIELDS),
        shifted(pointer(market.pending), n * market.pending.shape[1] * PENDING_FIELDS),
        shifted(pointer(market.pending_time), n * market.pending_time.shape[1]),
        pointer(market.offsets),
        pointer(market.sizes),
    )


@inlined
def venue_book(desk: Desk, flow: Any, venue: int) -> Book:
    """The book of one venue."""
    return lob.book_at(desk.first, venue, flow.ladder, flow.slots)


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
def background_best(desk: Desk, flow: Any, venue: int, side: int) -> int:
    """Best price of one venue at which an order of `side` that is not an own one rests."""
    book = venue_book(desk, flow, venue)
    price = int(venue_best(desk, venue, side))
    while 0 <= price < flow.ladder:
        slot = book.levels[price * lob.LEVEL_FIELDS + lob.HEAD]
        while slot >= 0 and book.orders[slot * lob.ORDER_FIELDS + lob.OWNER] != 0:
            slot = book.orders[slot * lob.ORDER_FIELDS + lob.NEXT]
        if slot >= 0:
            break
        price = lob.level_below(book, price) if side == lob.BUY else lob.level_above(book, price)
    return price


@inlined
def background_quote(desk: Desk, flow: Any, side: int) -> int:
    """The consolidated best of `side` without own orders: -1 or the ladder's end where none is."""
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
def reference(desk: Desk, flow: Any) -> float:
    """The reference path now, own impact included, ladder ticks.

    It jumps at the start of a step to where the step ends, so that the book has come
    there when agents look next. Led along the line between the marks it would always
    trail, and whoever followed its trend would earn.
    """
    episode = record(desk.episode)
    knot = 0
    if episode.clock > 0.0:
        knot = min(int(episode.clock / flow.step_seconds) + 1, record(desk.parent).horizon)
    return desk.path[knot] + episode.impact


@kernel
def sweep(
    desk: Desk, flow: Any, side: int, limit: int, quantity: int, owner: int, first_venue: int
) -> int:
    """Take liquidity over all venues in price order up to `limit`. Returns what is left.

    Where venues stand at the same price the order begins at `first_venue` and goes
    round, so a taker with no preference spreads over the venues.
    """
    while quantity > 0:
        price = best_ask(desk, flow) if side == lob.BUY else best_bid(desk)
        if side == lob.BUY:
            if price > limit or price >= flow.ladder:
                break
        elif price < limit or price < 0:
            break
        for turn in range(VENUE_COUNT):
            venue = (first_venue + turn) % VENUE_COUNT
            if quantity > 0 and venue_best(desk, venue, -side) == price:
                book = venue_book(desk, flow, venue)
                quantity = lob.take(book, desk.tape, side, price, quantity, owner)
    return quantity
