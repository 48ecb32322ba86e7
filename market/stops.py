"""Stops that a trade has reached enter, wave by wave.

Once a message is finished, the stops that its trades have reached leave their shelf and
enter in order of arrival, as one wave; what the wave trades makes the next one. Nothing
puts new stops on the shelf meanwhile, so a cascade ends.
"""

from __future__ import annotations

from market import book as lob
from market.engine import (
    BUY_STOPS,
    HIGH,
    IN_CALL,
    LAST_PRICE,
    LOW,
    NEW_STOP,
    SELL_STOPS,
    TRIGGERED,
    WAVE_SIZE,
    Engine,
    forget_prices,
    note_price,
    part_of,
)
from market.heaps import HEAP_FIELDS, ITEM, SECOND, pop, push
from market.kernels import kernel
from market.matching import enter, refuse, request, request_of
from market.order_rows import ACCEPTED, LIMIT, MARKET, STOP


@kernel
def _collect(engine: Engine, part: int, best: int) -> None:
    """Move the stops at a shelf's `best` price into the wave."""
    book, state = part_of(engine, part), engine.state
    slots = book.header[lob.SLOTS]
    slot = book.levels[best * lob.LEVEL_FIELDS + lob.HEAD]
    while slot >= 0:
        after = book.orders[slot * lob.ORDER_FIELDS + lob.NEXT]
        arrival = book.extra[slot * lob.EXTRA_FIELDS + lob.ARRIVAL]
        quantity = lob.remove(book, slot)
        state[WAVE_SIZE] = push(
            engine.wave, state[WAVE_SIZE], arrival, quantity, part * slots + slot
        )
        slot = after


@kernel
def _collect_reached(engine: Engine) -> None:
    """Every stop that a trade since the last look has reached, into the wave."""
    state = engine.state
    if state[NEW_STOP] == 1 and state[LAST_PRICE] >= 0:
        # Stops that have been here longer were held against this price before.
        note_price(engine, state[LAST_PRICE])
    low, high = state[LOW], state[HIGH]
    forget_prices(engine)
    buys, sells = part_of(engine, BUY_STOPS), part_of(engine, SELL_STOPS)
    while buys.header[lob.BEST_ASK] <= high:
        _collect(engine, BUY_STOPS, buys.header[lob.BEST_ASK])
    while sells.header[lob.BEST_BID] >= low:
        _collect(engine, SELL_STOPS, sells.header[lob.BEST_BID])


@kernel
def trigger(engine: Engine) -> None:
    """Let the stops enter that have been reached, wave by wave. In a call they wait."""
    state = engine.state
    slots = engine.book.header[lob.SLOTS]
    while state[IN_CALL] == 0:
        _collect_reached(engine)
        if state[WAVE_SIZE] == 0:
            break
        while state[WAVE_SIZE] > 0:
            state[WAVE_SIZE] = pop(engine.wave, state[WAVE_SIZE])
            row = state[WAVE_SIZE] * HEAP_FIELDS
            part, slot = engine.wave[row + ITEM] // slots, engine.wave[row + ITEM] % slots
            stop = request_of(engine, part, slot, STOP)
            engine.handles[stop.order] = lob.NONE
            state[TRIGGERED] += 1
            kind = MARKET if stop.price < 0 else LIMIT
            order = request(kind, stop.order, stop.side, stop.price, engine.wave[row + SECOND],
                            stop.expiry, lob.NONE, 0, stop.account, stop.prevention)  # fmt: skip
            reason = enter(engine, order)
            if reason != ACCEPTED:
                refuse(engine, reason)
