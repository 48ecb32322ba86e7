"""What a trader sees of the venues: five levels a side, own resting orders taken out."""

from __future__ import annotations

from typing import Any

from configs.market import VENUE_COUNT
from market import book as lob
from market.desk import Desk, next_own, venue_book
from market.kernels import inlined
from market.pointers import record
from market.state import (
    ASK,
    BID,
    LEVEL_PRICE,
    LEVEL_QUANTITY,
    LEVELS_SEEN,
    OWN_PRICE,
    OWN_QUANTITY,
    OWNED_FIELDS,
    VENUE,
)

EMPTY_PRICE = -1  # of a level that is not there; its quantity is 0


@inlined
def _own_quantity(desk: Desk, flow: Any, venue: int, price: int) -> int:
    total = 0
    index = next_own(desk, flow, 0)
    while index < flow.max_resting:
        own = index * OWNED_FIELDS
        if desk.owned[own + VENUE] == venue and desk.owned[own + OWN_PRICE] == price:
            total += desk.owned[own + OWN_QUANTITY]
        index = next_own(desk, flow, index + 1)
    return total


@inlined
def fill_depth(desk: Desk, flow: Any, depth: Any) -> None:
    """Write int32 [VENUE_COUNT, 2, LEVELS_SEEN, 2] (price, quantity), best level first."""
    parent = record(desk.parent)
    for venue in range(VENUE_COUNT):
        book = venue_book(desk, flow, venue)
        for half in range(2):
            side = lob.BUY if half == BID else lob.SELL
            has_own = parent.resting > 0 and side == parent.side
            price = book.header[lob.BEST_BID] if half == BID else book.header[lob.BEST_ASK]
            level = 0
            while level < LEVELS_SEEN and 0 <= price < flow.ladder:
                quantity = book.levels[price * lob.LEVEL_FIELDS + lob.DEPTH]
                if has_own:
                    quantity -= _own_quantity(desk, flow, venue, price)
                if quantity > 0:
                    depth[venue, half, level, LEVEL_PRICE] = price
                    depth[venue, half, level, LEVEL_QUANTITY] = quantity
                    level += 1
                if half == BID:
                    price = lob.level_below(book, price)
                else:
                    price = lob.level_above(book, price)
            for missing in range(level, LEVELS_SEEN):
                depth[venue, half, missing, LEVEL_PRICE] = EMPTY_PRICE
                depth[venue, half, missing, LEVEL_QUANTITY] = 0


@inlined
def quote(depth: Any, half: int) -> int:
    """The consolidated best price of one half, or EMPTY_PRICE."""
    best = EMPTY_PRICE
    for venue in range(VENUE_COUNT):
        price = depth[venue, half, 0, LEVEL_PRICE]
        if price >= 0 and (best < 0 or (price > best if half == BID else price < best)):
            best = price
    return best


@inlined
def quoted_spread(depth: Any) -> float:
    """Consolidated spread in ticks; 0 where a side is empty."""
    bid, ask = quote(depth, BID), quote(depth, ASK)
    return float(ask - bid) if bid >= 0 and ask >= 0 else 0.0


@inlined
def twice_mid_of(depth: Any, fallback: float) -> int:
    """Twice the consolidated mid, whole ticks; twice `fallback` where a side is empty."""
    bid, ask = quote(depth, BID), quote(depth, ASK)
    if bid < 0 or ask < 0:
        return round(2.0 * fallback)
    return bid + ask


@inlined
def best_quantity(depth: Any, half: int) -> int:
    """Quantity on the consolidated best price of one half."""
    best, total = quote(depth, half), 0
    for venue in range(VENUE_COUNT):
        if depth[venue, half, 0, LEVEL_PRICE] == best:
            total += depth[venue, half, 0, LEVEL_QUANTITY]
    return total


@inlined
def consolidated(depth: Any, half: int, levels: int) -> int:
    """Quantity on the best `levels` distinct prices of one half, over all venues."""
    total, seen, last = 0, 0, EMPTY_PRICE
    while seen < levels:
        best = EMPTY_PRICE
        for venue in range(VENUE_COUNT):
            for level in range(LEVELS_SEEN):
                price = depth[venue, half, level, LEVEL_PRICE]
                if price < 0:
                    break
                beyond = last < 0 or (price < last if half == BID else price > last)
                better = best < 0 or (price > best if half == BID else price < best)
                if beyond:
                    if better:
                        best = price
                    break
        if best < 0:
            break
        for venue in range(VENUE_COUNT):
            for level in range(LEVELS_SEEN):
                if depth[venue, half, level, LEVEL_PRICE] == best:
                    total += depth[venue, half, level, LEVEL_QUANTITY]
        last = best
        seen += 1
    return total
