"""Every order type over the book: what a full message does, but for auctions and stops.

The price of an order's trades is noted, so that `market.stops` can let those enter that
it has reached once the message is finished.
"""

from __future__ import annotations

from typing import NamedTuple

from market import book as lob
from market.book import Book
from market.engine import (
    ARRIVALS,
    BUY_STOPS,
    CALL_BUYS,
    CALL_SELLS,
    CLOCK,
    IN_CALL,
    NEW_STOP,
    PREVENTED,
    REFUSALS,
    SELL_STOPS,
    TRADING,
    Engine,
    account_of,
    hidden_of,
    is_live,
    name,
    note_price,
    part_of,
    place,
    schedule_expiry,
)
from market.kernels import inlined, kernel
from market.order_rows import (
    ACCEPTED,
    AUCTION_LIMIT,
    AUCTION_MARKET,
    BAD_PRICE,
    BAD_QUANTITY,
    CANCEL_BOTH,
    CANCEL_RESTING,
    DECREMENT,
    FOK,
    IOC,
    LIMIT,
    LIVE_ID,
    MANY_PEAKS,
    MARKET,
    MOST_PEAKS,
    NO_PREVENTION,
    NO_ROOM,
    NOT_FILLABLE,
    PAST_EXPIRY,
    POST_ONLY,
    STOP,
    STOP_LIMIT,
    UNKNOWN_ID,
    WOULD_CROSS,
    WRONG_PHASE,
)


class Request(NamedTuple):
    """A new order. `price` of a market order or stop-market order does not count."""

    kind: int
    order: int
    side: int
    price: int
    quantity: int
    expiry: int
    stop: int
    peak: int
    account: int
    prevention: int


@inlined
def request(
    kind: int,
    order: int,
    side: int,
    price: int,
    quantity: int,
    expiry: int,
    stop: int,
    peak: int,
    account: int,
    prevention: int,
) -> Request:
    """A `Request` of int64 whatever rows the numbers come from, so that kernels compile once."""
    return Request(
        int(kind),
        int(order),
        int(side),
        int(price),
        int(quantity),
        int(expiry),
        int(stop),
        int(peak),
        int(account),
        int(prevention),
    )


@kernel
def _far_price(engine: Engine, side: int) -> int:
    """The limit of an order of `side` that takes any price."""
    return engine.book.header[lob.LEVELS] - 1 if side == lob.BUY else 0


@kernel
def _reaches(price: int, limit: int, side: int) -> bool:
    return (price - limit) * side <= 0


@kernel
def _take_plain(engine: Engine, side: int, limit: int, quantity: int, order: int) -> int:
    """`take`, and its prices noted for stops. Returns what is left."""
    tape = engine.tape
    since, first = tape.count[0], lob.opposite(engine.book, side)
    left = lob.take(engine.book, tape, side, limit, quantity, order)
    if tape.count[0] > since:
        # Prices of one order run one way, so the first and the last are the extremes.
        last = ((tape.count[0] - 1) & tape.mask) * lob.TRADE_FIELDS
        note_price(engine, first)
        note_price(engine, tape.rows[last + lob.TRADE_PRICE])
    return left


@kernel
def reduce_front(book: Book, slot: int, quantity: int) -> None:
    """Take `quantity`, at most what is displayed, off the order at the front of its level."""
    row = slot * lob.ORDER_FIELDS
    shown = book.orders[row + lob.QUANTITY]
    if quantity < shown:
        book.orders[row + lob.QUANTITY] = shown - quantity
        book.levels[book.orders[row + lob.PRICE] * lob.LEVEL_FIELDS + lob.DEPTH] -= quantity
    elif not lob.show_again(book, slot):
        lob.remove(book, slot)


@kernel
def _take_guarded(engine: Engine, wanted: Request, limit: int) -> tuple[int, bool]:
    """Match, but never against the order's own account. Returns (left, whether it may rest)."""
    book, side, quantity = engine.book, wanted.side, wanted.quantity
    while quantity > 0:
        price = lob.opposite(book, side)
        if price < 0 or price >= book.header[lob.LEVELS] or not _reaches(price, limit, side):
            break
        slot = book.levels[price * lob.LEVEL_FIELDS + lob.HEAD]
        shown = book.orders[slot * lob.ORDER_FIELDS + lob.QUANTITY]
        if account_of(book, slot) != wanted.account:
            filled = min(shown, quantity)
            _take_plain(engine, side, price, filled, wanted.order)
            quantity -= filled
            continue
        engine.state[PREVENTED] += 1
        if wanted.prevention == DECREMENT:
            matched = min(shown, quantity)
            reduce_front(book, slot, matched)
            quantity -= matched
            continue
        if wanted.prevention in (CANCEL_RESTING, CANCEL_BOTH):
            lob.remove(book, slot)
        if wanted.prevention != CANCEL_RESTING:
            return quantity, False
    return quantity, True


@kernel
def _fillable(engine: Engine, wanted: Request) -> int:
    """What other accounts would fill of an order up to its limit, hidden quantity included.

    Own orders end it, but for CANCEL_RESTING, which passes them over. Counting stops
    where there is enough.
    """
    book, side = engine.book, wanted.side
    guarded = wanted.account > 0 and wanted.prevention != NO_PREVENTION
    price = lob.opposite(book, side)
    total = 0
    while 0 <= price < book.header[lob.LEVELS] and _reaches(price, wanted.price, side):
        slot = book.levels[price * lob.LEVEL_FIELDS + lob.HEAD]
        hidden = 0
        while slot >= 0:
            if guarded and account_of(book, slot) == wanted.account:
                if wanted.prevention != CANCEL_RESTING:
                    return total
            else:
                total += book.orders[slot * lob.ORDER_FIELDS + lob.QUANTITY]
                hidden += hidden_of(book, slot)
            slot = book.orders[slot * lob.ORDER_FIELDS + lob.NEXT]
        total += hidden
        if total >= wanted.quantity:
            break
        above = side == lob.BUY
        price = lob.level_above(book, price) if above else lob.level_below(book, price)
    return total


@kernel
def put(engine: Engine, part: int, side: int, price: int, shown: int, wanted: Request) -> int:
    """Append an order to a level of one part, with its extra fields. Returns its slot or NONE."""
    book = part_of(engine, part)
    slot = lob.rest(book, side, price, shown, wanted.order)
    if slot < 0:
        return lob.NONE
    extra = slot * lob.EXTRA_FIELDS
    state = engine.state
    state[ARRIVALS] += 1
    book.extra[extra + lob.STAMP] = book.orders[slot * lob.ORDER_FIELDS + lob.GENERATION] + 1
    book.extra[extra + lob.HIDDEN] = 0
    book.extra[extra + lob.PEAK] = wanted.peak
    book.extra[extra + lob.ACCOUNT] = wanted.account
    book.extra[extra + lob.EXPIRY] = wanted.expiry
    book.extra[extra + lob.LIMIT_PRICE] = wanted.price
    book.extra[extra + lob.ARRIVAL] = state[ARRIVALS]
    book.extra[extra + lob.CHOICE] = wanted.prevention
    handle = name(engine, part, slot)
    engine.handles[wanted.order] = handle
    if wanted.expiry >= 0:
        schedule_expiry(engine, wanted.expiry, handle)
    return slot


@kernel
def rest_order(engine: Engine, wanted: Request, quantity: int) -> int:
    """Rest `quantity` of an order in the book that trades. Returns the reason."""
    shown = min(wanted.peak, quantity) if wanted.peak > 0 else quantity
    slot = put(engine, TRADING, wanted.side, wanted.price, shown, wanted)
    if slot < 0:
        return NO_ROOM
    if quantity > shown:
        engine.book.extra[slot * lob.EXTRA_FIELDS + lob.HIDDEN] = quantity - shown
        engine.book.header[lob.EXTENDED] = 1
    return ACCEPTED


@kernel
def enter(engine: Engine, wanted: Request) -> int:
    """An order that trades now, and rests where its kind does. Returns the reason."""
    side = wanted.side
    if wanted.kind == POST_ONLY and _reaches(lob.opposite(engine.book, side), wanted.price, side):
        return WOULD_CROSS
    if wanted.kind == FOK and _fillable(engine, wanted) < wanted.quantity:
        return NOT_FILLABLE
    limit = _far_price(engine, side) if wanted.kind == MARKET else wanted.price
    rests = wanted.kind in (LIMIT, POST_ONLY)
    if wanted.account > 0 and wanted.prevention != NO_PREVENTION:
        left, may_rest = _take_guarded(engine, wanted, limit)
        rests = rests and may_rest
    else:
        left = _take_plain(engine, side, limit, wanted.quantity, wanted.order)
    return rest_order(engine, wanted, left) if left > 0 and rests else ACCEPTED


@kernel
def _await_trigger(engine: Engine, wanted: Request) -> int:
    """A stop order onto its shelf. Returns the reason."""
    part = BUY_STOPS if wanted.side == lob.BUY else SELL_STOPS
    if put(engine, part, -wanted.side, wanted.stop, wanted.quantity, wanted) < 0:
        return NO_ROOM
    engine.state[NEW_STOP] = 1
    return ACCEPTED


@kernel
def await_auction(engine: Engine, wanted: Request, rests: bool) -> int:
    """An order onto the shelf of the next uncrossing. Returns the reason."""
    side = wanted.side
    price = _far_price(engine, side) if wanted.kind == AUCTION_MARKET else wanted.price
    part = CALL_BUYS if side == lob.BUY else CALL_SELLS
    slot = put(engine, part, side, price, wanted.quantity, wanted)
    if slot < 0:
        return NO_ROOM
    part_of(engine, part).extra[slot * lob.EXTRA_FIELDS + lob.CHOICE] = 1 if rests else 0
    return ACCEPTED


@kernel
def _off(engine: Engine, price: int) -> bool:
    return price < 0 or price >= engine.book.header[lob.LEVELS]


@kernel
def has_many_peaks(peak: int, quantity: int) -> bool:
    """Whether an iceberg would show more peaks than one may."""
    return peak > 0 and quantity > MOST_PEAKS * peak


@kernel
def submit(engine: Engine, wanted: Request) -> int:
    """A new order of any kind. Returns the reason."""
    kind, state = wanted.kind, engine.state
    stops = kind in (STOP, STOP_LIMIT)
    if is_live(engine, engine.handles[wanted.order]):
        return LIVE_ID
    engine.handles[wanted.order] = lob.NONE
    if kind not in (MARKET, STOP, AUCTION_MARKET) and _off(engine, wanted.price):
        return BAD_PRICE
    if stops and _off(engine, wanted.stop):
        return BAD_PRICE
    if wanted.quantity <= 0:
        return BAD_QUANTITY
    if has_many_peaks(wanted.peak, wanted.quantity):
        return MANY_PEAKS
    if 0 <= wanted.expiry < state[CLOCK]:
        return PAST_EXPIRY
    if stops:
        return _await_trigger(engine, wanted)
    if kind in (AUCTION_MARKET, AUCTION_LIMIT):
        return await_auction(engine, wanted, False)
    if state[IN_CALL] == 0:
        return enter(engine, wanted)
    if kind in (IOC, MARKET, FOK, POST_ONLY):
        return WRONG_PHASE
    return await_auction(engine, wanted, True)


@kernel
def request_of(engine: Engine, part: int, slot: int, kind: int) -> Request:
    """The order in a slot of one part as a new one of `kind`, its quantity the whole open one.

    Of an order that has just been taken out the slot still holds all but the quantity.
    """
    book = part_of(engine, part)
    row, extra = slot * lob.ORDER_FIELDS, slot * lob.EXTRA_FIELDS
    stops = part in (BUY_STOPS, SELL_STOPS)
    side = book.orders[row + lob.SIDE]
    return request(
        kind,
        book.orders[row + lob.OWNER],
        -side if stops else side,
        book.extra[extra + lob.LIMIT_PRICE] if part != TRADING else book.orders[row + lob.PRICE],
        book.orders[row + lob.QUANTITY] + book.extra[extra + lob.HIDDEN],
        book.extra[extra + lob.EXPIRY],
        book.orders[row + lob.PRICE] if stops else lob.NONE,
        book.extra[extra + lob.PEAK],
        book.extra[extra + lob.ACCOUNT],
        book.extra[extra + lob.CHOICE],
    )


@kernel
def _shrink(book: Book, slot: int, quantity: int) -> None:
    """Cut an order to `quantity` in its place, what is hidden first."""
    row, extra = slot * lob.ORDER_FIELDS, slot * lob.EXTRA_FIELDS
    shown = book.orders[row + lob.QUANTITY]
    kept = min(shown, quantity)
    book.orders[row + lob.QUANTITY] = kept
    book.levels[book.orders[row + lob.PRICE] * lob.LEVEL_FIELDS + lob.DEPTH] -= shown - kept
    if lob.is_extended(book, slot):
        book.extra[extra + lob.HIDDEN] = quantity - kept


@kernel
def change(engine: Engine, order: int, price: int, quantity: int, prevention: int) -> int:
    """MODIFY: another price (of a stop its stop price) or open quantity. Returns the reason.

    An order that only shrinks keeps its place; any other change is a cancel and a new
    limit order, stop or auction order. An order for an auction at market has no price.
    """
    part, slot = place(engine, engine.handles[order])
    if part < 0:
        return UNKNOWN_ID
    book = part_of(engine, part)
    row = slot * lob.ORDER_FIELDS
    at_market = part >= CALL_BUYS and book.extra[slot * lob.EXTRA_FIELDS + lob.LIMIT_PRICE] < 0
    now = book.orders[row + lob.PRICE]
    price = now if at_market else price
    if _off(engine, price):
        return BAD_PRICE
    if quantity <= 0:
        return BAD_QUANTITY
    if price == now and quantity <= book.orders[row + lob.QUANTITY] + hidden_of(book, slot):
        _shrink(book, slot, quantity)
        return ACCEPTED
    old = _extended_request(engine, part, slot)
    if has_many_peaks(old.peak, quantity):
        return MANY_PEAKS
    lob.remove(book, slot)
    engine.handles[order] = lob.NONE
    if part in (BUY_STOPS, SELL_STOPS):
        moved = request(old.kind, order, old.side, old.price, quantity, old.expiry, price, 0,
                        old.account, old.prevention)  # fmt: skip
        return _await_trigger(engine, moved)
    kind = AUCTION_MARKET if at_market else LIMIT
    moved = request(kind, order, old.side, lob.NONE if at_market else price, quantity, old.expiry,
                    lob.NONE, old.peak, old.account, prevention)  # fmt: skip
    if part >= CALL_BUYS:
        return await_auction(engine, moved, old.prevention == 1)
    return (
        await_auction(engine, moved, True) if engine.state[IN_CALL] == 1 else enter(engine, moved)
    )


@kernel
def _extended_request(engine: Engine, part: int, slot: int) -> Request:
    """`request_of` for an order that may have been rested without extra fields."""
    book = part_of(engine, part)
    if not lob.is_extended(book, slot):
        extra = slot * lob.EXTRA_FIELDS
        for field in range(lob.EXTRA_FIELDS):
            book.extra[extra + field] = 0
        book.extra[extra + lob.EXPIRY] = lob.NONE
    return request_of(engine, part, slot, LIMIT)


@kernel
def withdraw(engine: Engine, order: int) -> int:
    """CANCEL. Returns the reason."""
    part, slot = place(engine, engine.handles[order])
    if part < 0:
        return UNKNOWN_ID
    lob.remove(part_of(engine, part), slot)
    engine.handles[order] = lob.NONE
    return ACCEPTED


@kernel
def refuse(engine: Engine, reason: int) -> None:
    """Count a refusal."""
    engine.state[REFUSALS + reason] += 1
