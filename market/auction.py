"""Call auctions: orders gather without trading, then uncross at one price.

The price is the one at which most quantity trades; of several, the one that leaves the
least imbalance; of those, the nearest to a reference price, and the lower of two equally
near. Better limits fill first, at one limit what was in the book before the call, its
hidden quantity included, then what came during it, in order of arrival. Self-trade
prevention does not apply: at one price an account that meets itself pays itself.
"""

from __future__ import annotations

from market import book as lob
from market.book import Book
from market.engine import (
    CALL_BUYS,
    CALL_SELLS,
    IN_CALL,
    LAST_PRICE,
    TRADING,
    UNCROSS_PRICE,
    Engine,
    hidden_of,
    note_price,
    part_of,
)
from market.kernels import kernel
from market.matching import reduce_front, refuse, request_of, rest_order
from market.order_rows import ACCEPTED, LIMIT, WRONG_PHASE

NO_SIDE = 0  # as TAKER_SIDE: of an uncrossing the maker is the buyer, the taker the seller


@kernel
def call(engine: Engine) -> int:
    """CALL: from now on orders gather. Returns the reason."""
    if engine.state[IN_CALL] == 1:
        return WRONG_PHASE
    engine.state[IN_CALL] = 1
    return ACCEPTED


@kernel
def _open_at(book: Book, price: int) -> int:
    """All open quantity of a level, hidden included."""
    total = int(book.levels[price * lob.LEVEL_FIELDS + lob.DEPTH])
    if book.header[lob.EXTENDED] != 0:
        slot = book.levels[price * lob.LEVEL_FIELDS + lob.HEAD]
        while slot >= 0:
            total += hidden_of(book, slot)
            slot = book.orders[slot * lob.ORDER_FIELDS + lob.NEXT]
    return total


@kernel
def _interest(engine: Engine, side: int, price: int) -> int:
    """What wants to trade at `price` and no worse, of one side: the book's and the call's."""
    book = engine.book
    shelf = part_of(engine, CALL_BUYS if side == lob.BUY else CALL_SELLS)
    total = int(shelf.levels[price * lob.LEVEL_FIELDS + lob.DEPTH])
    is_bid = price <= book.header[lob.BEST_BID]
    return total + _open_at(book, price) if is_bid == (side == lob.BUY) else total


@kernel
def clearing_price(engine: Engine, reference: int) -> tuple[int, int]:
    """(price, quantity) of the uncrossing; (NONE, 0) where nothing would trade."""
    levels = engine.book.header[lob.LEVELS]
    demand, supply = 0, 0
    for price in range(levels):
        demand += _interest(engine, lob.BUY, price)
    best, most, least, nearest = lob.NONE, 0, 0, 0
    for price in range(levels):
        supply += _interest(engine, lob.SELL, price)
        volume, imbalance = min(demand, supply), abs(demand - supply)
        distance = abs(price - reference)
        better = volume > most
        if volume == most and volume > 0:
            better = imbalance < least or (imbalance == least and distance < nearest)
        if better:
            best, most, least, nearest = price, volume, imbalance, distance
        demand -= _interest(engine, lob.BUY, price)
    return best, most


@kernel
def _front(engine: Engine, side: int) -> tuple[int, int]:
    """(part, slot) of the order of `side` that fills next."""
    field = lob.BEST_BID if side == lob.BUY else lob.BEST_ASK
    shelf_part = CALL_BUYS if side == lob.BUY else CALL_SELLS
    here, there = engine.book.header[field], part_of(engine, shelf_part).header[field]
    part = TRADING if (here - there) * side >= 0 else shelf_part
    price = here if part == TRADING else there
    return part, part_of(engine, part).levels[price * lob.LEVEL_FIELDS + lob.HEAD]


@kernel
def _trade(engine: Engine, price: int, volume: int) -> None:
    """Fill both sides in their priority until `volume` is done."""
    tape = engine.tape
    while volume > 0:
        buy_part, buy = _front(engine, lob.BUY)
        sell_part, sell = _front(engine, lob.SELL)
        buys, sells = part_of(engine, buy_part), part_of(engine, sell_part)
        bid, ask = buy * lob.ORDER_FIELDS, sell * lob.ORDER_FIELDS
        filled = min(volume, buys.orders[bid + lob.QUANTITY], sells.orders[ask + lob.QUANTITY])
        row = (tape.count[0] & tape.mask) * lob.TRADE_FIELDS
        tape.count[0] += 1
        tape.rows[row + lob.MAKER] = buys.orders[bid + lob.OWNER]
        tape.rows[row + lob.TAKER] = sells.orders[ask + lob.OWNER]
        tape.rows[row + lob.TRADE_PRICE] = price
        tape.rows[row + lob.TRADE_QUANTITY] = filled
        tape.rows[row + lob.TRADE_BOOK] = engine.book.header[lob.BOOK]
        tape.rows[row + lob.TAKER_SIDE] = NO_SIDE
        reduce_front(buys, buy, filled)
        reduce_front(sells, sell, filled)
        volume -= filled


@kernel
def _release_shelf(engine: Engine, part: int, side: int) -> None:
    """What the auction has left: rested in the book, or dropped by type, best limit first."""
    shelf = part_of(engine, part)
    field = lob.BEST_BID if side == lob.BUY else lob.BEST_ASK
    while shelf.header[lob.LIVE_COUNT] > 0:
        slot = shelf.levels[shelf.header[field] * lob.LEVEL_FIELDS + lob.HEAD]
        left = request_of(engine, part, slot, LIMIT)
        lob.remove(shelf, slot)
        engine.handles[left.order] = lob.NONE
        if left.prevention == 1:
            reason = rest_order(engine, left, left.quantity)
            if reason != ACCEPTED:
                refuse(engine, reason)


@kernel
def uncross(engine: Engine, reference: int) -> int:
    """UNCROSS: trade at the clearing price and go on continuously. Returns the reason.

    A `reference` below 0 is the last trade price; before any trade it is the lowest tick.
    """
    state = engine.state
    if state[IN_CALL] == 0:
        return WRONG_PHASE
    price, volume = clearing_price(engine, reference if reference >= 0 else state[LAST_PRICE])
    state[UNCROSS_PRICE] = price
    if volume > 0:
        _trade(engine, price, volume)
        note_price(engine, price)
    state[IN_CALL] = 0
    _release_shelf(engine, CALL_BUYS, lob.BUY)
    _release_shelf(engine, CALL_SELLS, lob.SELL)
    return ACCEPTED
