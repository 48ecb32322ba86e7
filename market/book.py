"""A price-time priority limit order book on a tick ladder, many books in one set of arrays.

Prices are integers: ticks above the ladder's lowest price, 0 <= price < levels.
One ladder serves both sides, since bids lie below asks. An occupancy bitmap finds
the next best level by a bit scan, orders of one level form a linked list in order
of arrival, and a swap-remove list of live orders makes a random cancel O(1). A
handle carries the slot's generation, so that the handle of an order that is gone
never touches the order that has its slot now.

Only limit, market and immediate-or-cancel orders live here, and icebergs, which `take`
shows again. Every other type is built over this module in `market.matching`.

Layout after the ladder engines measured in the project's notes; the field's own
description of the data structure is in Gould et al., "Limit order books" (2013).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from market.kernels import inlined, kernel
from market.pointers import either, leading_zeros, pointer, prefetch, shifted, trailing_zeros

BUY = 1
SELL = -1

# Fields of an order row (int32). OWNER is 0 for background flow in simulations.
NEXT, PREV, PRICE, QUANTITY, SIDE, OWNER, GENERATION, LIVE = range(8)
ORDER_FIELDS = 8
# Fields of a level row (int32).
HEAD, TAIL, DEPTH, COUNT = range(4)
LEVEL_FIELDS = 4
# Fields of a book's header row (int32). EXTENDED is 1 once an order with extra fields has
# rested. FRESH is the first slot never used since the reset: the list of live slots goes
# on with the free ones up to there, the latest freed first, so a reset relinks nothing.
BEST_BID, BEST_ASK, EXTENDED, FRESH, LIVE_COUNT, LEVELS, SLOTS, BOOK = range(8)
HEADER_FIELDS = 8
# Fields of an extra row (int64), which counts where STAMP is its order's generation + 1.
# HIDDEN and PEAK belong to icebergs, the others to what `market.matching` adds; CHOICE is
# a stop's self-trade prevention, or whether what an auction leaves of an order rests.
STAMP, HIDDEN, PEAK, ACCOUNT, EXPIRY, LIMIT_PRICE, ARRIVAL, CHOICE = range(8)
EXTRA_FIELDS = 8
# Fields of a trade row (int32).
MAKER, TAKER, TRADE_PRICE, TRADE_QUANTITY, TRADE_BOOK, TAKER_SIDE = range(6)
TRADE_FIELDS = 6

NONE = -1
REJECTED_PRICE = -2
REJECTED_QUANTITY = -3
REJECTED_FULL = -4

WORD_BITS = 64
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_BIT = np.uint64(1)
_NO_BITS = np.uint64(0)
_LAST_BIT = np.uint64(WORD_BITS - 1)
_WORD_SHIFT = 6
_GENERATION_SHIFT = 32
_SLOT_MASK = 0xFFFFFFFF
# A generation wraps within int32 on a slot that is used 2**31 times; without its
# sign bit the handle stays positive.
_GENERATION_MASK = 0x7FFFFFFF
_MOST = 2**31 - 1  # what the depth of a level can hold
_TAPE_AHEAD = 8 * TRADE_FIELDS  # the rows of soon coming trades are brought into cache


class Book(NamedTuple):
    """Pointers to the rows of one book."""

    orders: Any
    levels: Any
    bits: Any
    live: Any
    header: Any
    extra: Any


class Tape(NamedTuple):
    """Pointers to a ring of trade rows, its running count and its size less one."""

    rows: Any
    count: Any
    mask: int


class BookArrays(NamedTuple):
    """The arrays of `books` order books; row k of each belongs to book k."""

    orders: NDArray[np.int32]  # [books, slots, ORDER_FIELDS]
    levels: NDArray[np.int32]  # [books, levels, LEVEL_FIELDS]
    bits: NDArray[np.uint64]  # [books, levels / 64]
    live: NDArray[np.int32]  # [books, slots]
    header: NDArray[np.int32]  # [books, HEADER_FIELDS]
    extra: NDArray[np.int64]  # [books, slots or 0, EXTRA_FIELDS]


def allocate(books: int, levels: int, slots: int, extended: bool = False) -> BookArrays:
    """Empty books. `levels` must be a multiple of 64.

    Only `extended` books have extra rows, which every type beyond limit, market and
    immediate-or-cancel orders needs.
    """
    arrays = BookArrays(
        orders=np.zeros((books, slots, ORDER_FIELDS), np.int32),
        levels=np.zeros((books, levels, LEVEL_FIELDS), np.int32),
        bits=np.zeros((books, levels // WORD_BITS), np.uint64),
        live=np.zeros((books, slots), np.int32),
        header=np.zeros((books, HEADER_FIELDS), np.int32),
        extra=np.zeros((books, slots if extended else 0, EXTRA_FIELDS), np.int64),
    )
    arrays.levels[:, :, HEAD] = NONE
    arrays.levels[:, :, TAIL] = NONE
    arrays.header[:, BEST_BID] = NONE
    arrays.header[:, BEST_ASK] = levels
    arrays.header[:, LEVELS] = levels
    arrays.header[:, SLOTS] = slots
    arrays.header[:, BOOK] = np.arange(books)
    return arrays


@inlined
def first_book(arrays: BookArrays) -> Book:
    """Pointers to the first book of `arrays`: the one place that makes a `Book` of arrays."""
    return Book(
        pointer(arrays.orders),
        pointer(arrays.levels),
        pointer(arrays.bits),
        pointer(arrays.live),
        pointer(arrays.header),
        pointer(arrays.extra),
    )


@inlined
def book_at(base: Book, index: int, levels: int, slots: int) -> Book:
    """Book number `index` after the book that `base` points to."""
    return Book(
        shifted(base.orders, index * slots * ORDER_FIELDS),
        shifted(base.levels, index * levels * LEVEL_FIELDS),
        shifted(base.bits, index * (levels >> _WORD_SHIFT)),
        shifted(base.live, index * slots),
        shifted(base.header, index * HEADER_FIELDS),
        shifted(base.extra, index * slots * EXTRA_FIELDS),
    )


@inlined
def level_above(book: Book, price: int) -> int:
    """The lowest occupied price > `price`, or the number of levels where none is."""
    levels = book.header[LEVELS]
    start = price + 1
    if start >= levels:
        return levels
    word = start >> _WORD_SHIFT
    bits = book.bits[word] & (_ALL << np.uint64(start & (WORD_BITS - 1)))
    words = levels >> _WORD_SHIFT
    while bits == _NO_BITS:
        word += 1
        if word >= words:
            return levels
        bits = book.bits[word]
    return (word << _WORD_SHIFT) + trailing_zeros(bits)


@inlined
def level_below(book: Book, price: int) -> int:
    """The highest occupied price < `price`, or NONE."""
    start = price - 1
    if start < 0:
        return NONE
    word = start >> _WORD_SHIFT
    bits = book.bits[word] & (_ALL >> (_LAST_BIT - np.uint64(start & (WORD_BITS - 1))))
    while bits == _NO_BITS:
        word -= 1
        if word < 0:
            return NONE
        bits = book.bits[word]
    return (word << _WORD_SHIFT) + (WORD_BITS - 1) - leading_zeros(bits)


@kernel
def reset_book(book: Book) -> None:
    """Empty the book. Generations go on counting, so that old handles stay dead."""
    levels = book.header[LEVELS]
    price = level_above(book, -1)
    while price < levels:
        row = price * LEVEL_FIELDS
        book.levels[row + HEAD] = NONE
        book.levels[row + TAIL] = NONE
        book.levels[row + DEPTH] = 0
        book.levels[row + COUNT] = 0
        price = level_above(book, price)
    for word in range(levels >> _WORD_SHIFT):
        book.bits[word] = _NO_BITS
    for index in range(book.header[LIVE_COUNT]):
        book.orders[book.live[index] * ORDER_FIELDS + GENERATION] += 1
    book.header[BEST_BID] = NONE
    book.header[BEST_ASK] = levels
    book.header[EXTENDED] = 0
    book.header[FRESH] = 0
    book.header[LIVE_COUNT] = 0


@inlined
def handle_of(book: Book, slot: int) -> int:
    """The handle of the live order in `slot`."""
    generation = book.orders[slot * ORDER_FIELDS + GENERATION] & _GENERATION_MASK
    return (generation << _GENERATION_SHIFT) | slot


@inlined
def place_of(handle: int) -> int:
    """The slot that a handle names, whether or not its order lives; 0 for none."""
    return max(handle, 0) & _SLOT_MASK


@inlined
def slot_of(book: Book, handle: int) -> int:
    """The slot of a live order, or NONE where the handle's order is gone."""
    if handle < 0:
        return NONE
    slot = handle & _SLOT_MASK
    if slot >= book.header[SLOTS]:
        return NONE
    row = slot * ORDER_FIELDS
    generation = book.orders[row + GENERATION] & _GENERATION_MASK
    alive = generation == handle >> _GENERATION_SHIFT
    return slot if alive and book.orders[row + QUANTITY] > 0 else NONE


@inlined
def _empty_level(book: Book, price: int) -> None:
    """Clear the bit of a level that has lost its last order and move the best price."""
    word = price >> _WORD_SHIFT
    book.bits[word] = book.bits[word] & ~(_BIT << np.uint64(price & (WORD_BITS - 1)))
    if price == book.header[BEST_BID]:
        book.header[BEST_BID] = level_below(book, price)
    elif price == book.header[BEST_ASK]:
        book.header[BEST_ASK] = level_above(book, price)


@inlined
def _release(book: Book, slot: int) -> None:
    """Give a slot back: its place among the live ones to the last, generation up."""
    row = slot * ORDER_FIELDS
    last = book.header[LIVE_COUNT] - 1
    index = book.orders[row + LIVE]
    moved = book.live[last]
    book.live[index] = moved
    book.live[last] = slot
    book.orders[moved * ORDER_FIELDS + LIVE] = index
    book.header[LIVE_COUNT] = last
    book.orders[row + GENERATION] += 1
    book.orders[row + QUANTITY] = 0


@inlined
def remove(book: Book, slot: int) -> int:
    """Take a live order out of the book. Returns the quantity that was open."""
    row = slot * ORDER_FIELDS
    price = book.orders[row + PRICE]
    quantity = book.orders[row + QUANTITY]
    before = book.orders[row + PREV]
    after = book.orders[row + NEXT]
    level = price * LEVEL_FIELDS
    # Chosen addresses instead of branches, which a random cancel would make hard to guess.
    head = shifted(book.levels, level + HEAD)
    tail = shifted(book.levels, level + TAIL)
    either(before >= 0, shifted(book.orders, before * ORDER_FIELDS + NEXT), head)[0] = after
    either(after >= 0, shifted(book.orders, after * ORDER_FIELDS + PREV), tail)[0] = before
    book.levels[level + DEPTH] -= quantity
    book.levels[level + COUNT] -= 1
    if book.levels[level + COUNT] == 0:
        _empty_level(book, price)
    _release(book, slot)
    return quantity


@inlined
def opposite(book: Book, side: int) -> int:
    """The best price that an order of `side` meets; beyond the ladder where there is none."""
    return book.header[BEST_ASK if side == BUY else BEST_BID]


@inlined
def rest(book: Book, side: int, price: int, quantity: int, owner: int) -> int:
    """Append an order to its level's queue; it must not cross. Returns its slot.

    REJECTED_FULL where no slot is free, or where the level's depth would pass int32.
    Price and quantity were checked before.
    """
    level = price * LEVEL_FIELDS
    if book.levels[level + DEPTH] > _MOST - quantity:
        return REJECTED_FULL
    live = book.header[LIVE_COUNT]
    if live == book.header[FRESH]:
        if live >= book.header[SLOTS]:
            return REJECTED_FULL
        book.header[FRESH] = live + 1
        book.live[live] = live
    slot = book.live[live]
    row = slot * ORDER_FIELDS
    tail = book.levels[level + TAIL]
    book.orders[row + NEXT] = NONE
    book.orders[row + PREV] = tail
    book.orders[row + PRICE] = price
    book.orders[row + QUANTITY] = quantity
    book.orders[row + SIDE] = side
    book.orders[row + OWNER] = owner
    book.orders[row + LIVE] = live
    book.header[LIVE_COUNT] = live + 1
    book.levels[level + TAIL] = slot
    book.levels[level + DEPTH] += quantity
    book.levels[level + COUNT] += 1
    if tail >= 0:
        book.orders[tail * ORDER_FIELDS + NEXT] = slot
        return slot
    book.levels[level + HEAD] = slot
    word = price >> _WORD_SHIFT
    book.bits[word] = book.bits[word] | (_BIT << np.uint64(price & (WORD_BITS - 1)))
    if side == BUY:
        if price > book.header[BEST_BID]:
            book.header[BEST_BID] = price
    elif price < book.header[BEST_ASK]:
        book.header[BEST_ASK] = price
    return slot


@inlined
def is_extended(book: Book, slot: int) -> bool:
    """Whether the extra row of a live order counts."""
    generation = book.orders[slot * ORDER_FIELDS + GENERATION]
    return book.extra[slot * EXTRA_FIELDS + STAMP] == generation + 1


@kernel
def show_again(book: Book, slot: int) -> bool:
    """Show the next peak of an iceberg whose displayed quantity is gone, at its level's back.

    False, with nothing done, where nothing is hidden. A peak is cut where the depth of
    the level would pass int32.
    """
    extra = slot * EXTRA_FIELDS
    if not is_extended(book, slot) or book.extra[extra + HIDDEN] == 0:
        return False
    row = slot * ORDER_FIELDS
    level = book.orders[row + PRICE] * LEVEL_FIELDS
    depth = book.levels[level + DEPTH] - book.orders[row + QUANTITY]
    shown = min(book.extra[extra + PEAK], book.extra[extra + HIDDEN], _MOST - depth)
    book.extra[extra + HIDDEN] -= shown
    book.orders[row + QUANTITY] = shown
    book.levels[level + DEPTH] = depth + shown
    after = book.orders[row + NEXT]
    if after >= 0:  # an iceberg at the front: the caller takes from nowhere else
        last = book.levels[level + TAIL]
        book.levels[level + HEAD] = after
        book.orders[after * ORDER_FIELDS + PREV] = NONE
        book.orders[last * ORDER_FIELDS + NEXT] = slot
        book.orders[row + PREV] = last
        book.orders[row + NEXT] = NONE
        book.levels[level + TAIL] = slot
    return True


@inlined
def _best_from(book: Book, price: int, side: int, emptied: bool) -> int:
    """The best price that an order of `side` meets, `price` on; its bit goes where `emptied`.

    Both directions are scanned and one is chosen: whether a fill empties its level, and
    on which side, is beyond what a processor can guess.
    """
    word = price >> _WORD_SHIFT
    bit = np.uint64(price & (WORD_BITS - 1))
    bits = book.bits[word] & ~(np.uint64(emptied) << bit)
    book.bits[word] = bits
    above = bits >> bit
    below = bits << (_LAST_BIT - bit)
    onward = above if side == BUY else below
    if onward == _NO_BITS:
        return level_above(book, price) if side == BUY else level_below(book, price)
    return price + trailing_zeros(onward) if side == BUY else price - leading_zeros(onward)


@inlined
def take(book: Book, tape: Tape, side: int, limit: int, quantity: int, owner: int) -> int:
    """Match an incoming order of `side` up to price `limit`. Returns what is left.

    Fills are written to the tape in the order in which they happen: best price
    first, earliest order first.
    """
    best = BEST_ASK if side == BUY else BEST_BID
    bound = book.header[LEVELS] - 1 if side == BUY else 0
    limit = bound if (limit - bound) * side > 0 else limit
    number = tape.count[0]
    price = book.header[best]
    # An empty side stands beyond the ladder, where no limit reaches.
    while quantity > 0 and (price - limit) * side <= 0:
        level = price * LEVEL_FIELDS
        slot = book.levels[level + HEAD]
        row = slot * ORDER_FIELDS
        resting = book.orders[row + QUANTITY]
        trade = (number & tape.mask) * TRADE_FIELDS
        number += 1
        prefetch(tape.rows, trade + _TAPE_AHEAD)
        tape.rows[trade + MAKER] = book.orders[row + OWNER]
        tape.rows[trade + TAKER] = owner
        tape.rows[trade + TRADE_PRICE] = price
        tape.rows[trade + TRADE_QUANTITY] = min(quantity, resting)
        tape.rows[trade + TRADE_BOOK] = book.header[BOOK]
        tape.rows[trade + TAKER_SIDE] = side
        if quantity < resting:
            book.orders[row + QUANTITY] = resting - quantity
            book.levels[level + DEPTH] -= quantity
            quantity = 0
            break
        quantity -= resting
        if book.header[EXTENDED] != 0 and show_again(book, slot):
            continue
        after = book.orders[row + NEXT]
        book.levels[level + HEAD] = after
        book.levels[level + DEPTH] -= resting
        book.levels[level + COUNT] -= 1
        tail = shifted(book.levels, level + TAIL)
        either(after >= 0, shifted(book.orders, after * ORDER_FIELDS + PREV), tail)[0] = NONE
        price = _best_from(book, price, side, after < 0)
        book.header[best] = price
        _release(book, slot)
    tape.count[0] = number
    return quantity


@inlined
def submit_limit(
    book: Book, tape: Tape, side: int, price: int, quantity: int, owner: int, rests: bool
) -> int:
    """A limit order (`rests`) or an immediate-or-cancel one. Returns the handle.

    NONE where nothing rests; REJECTED_* where the order was refused.
    """
    if price < 0 or price >= book.header[LEVELS]:
        return REJECTED_PRICE
    if quantity <= 0:
        return REJECTED_QUANTITY
    left = take(book, tape, side, price, quantity, owner)
    if left == 0 or not rests:
        return NONE
    slot = rest(book, side, price, left, owner)
    return slot if slot < 0 else handle_of(book, slot)


@inlined
def submit_market(book: Book, tape: Tape, side: int, quantity: int, owner: int) -> int:
    """A market order; what the book cannot fill is dropped. Returns what was left."""
    if quantity <= 0:
        return REJECTED_QUANTITY
    limit = book.header[LEVELS] - 1 if side == BUY else 0
    return take(book, tape, side, limit, quantity, owner)


@inlined
def cancel(book: Book, handle: int) -> int:
    """Cancel by handle. Returns the quantity cancelled, 0 where the order is gone."""
    slot = slot_of(book, handle)
    return 0 if slot < 0 else remove(book, slot)


@kernel
def modify(book: Book, tape: Tape, handle: int, price: int, quantity: int) -> int:
    """Change price or quantity. Returns the handle under which the order lives on.

    An order that only shrinks keeps its place in the queue; any other change is a
    cancel and a new order, which may trade. An invalid request changes nothing.
    """
    slot = slot_of(book, handle)
    if slot < 0:
        return NONE
    if price < 0 or price >= book.header[LEVELS]:
        return REJECTED_PRICE
    if quantity <= 0:
        return REJECTED_QUANTITY
    row = slot * ORDER_FIELDS
    open_quantity = book.orders[row + QUANTITY]
    if price == book.orders[row + PRICE] and quantity <= open_quantity:
        book.orders[row + QUANTITY] = quantity
        book.levels[price * LEVEL_FIELDS + DEPTH] -= open_quantity - quantity
        return handle
    side = book.orders[row + SIDE]
    owner = book.orders[row + OWNER]
    remove(book, slot)
    return submit_limit(book, tape, side, price, quantity, owner, True)


@inlined
def queue_ahead(book: Book, slot: int) -> int:
    """Quantity that stands before a live order in its level's queue."""
    ahead = 0
    before = book.orders[slot * ORDER_FIELDS + PREV]
    while before >= 0:
        ahead += book.orders[before * ORDER_FIELDS + QUANTITY]
        before = book.orders[before * ORDER_FIELDS + PREV]
    return ahead
