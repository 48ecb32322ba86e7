"""A child order split over venues from what they show: the cheapest way, fees counted in.

The books' own router (`market.desk.route`) goes level by level by price, then fee, then depth.
Here it is planned ahead on a view of five levels, by what a unit costs in all, price and fee:
the same wherever fees differ by less than a tick. Within a venue a better level is never dearer
than a worse one and the fee is one, so taking the cheapest unit next is the cheapest split.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from configs.market import VENUE_COUNT, MarketConfig
from market.kernels import inlined, kernel
from market.state import ASK, BID, LEVEL_PRICE, LEVEL_QUANTITY, LEVELS_SEEN, VENUES

BUYS = 1

ROUTE = np.dtype(
    [
        ("quantities", np.int64, VENUE_COUNT),  # units that each venue gets
        ("worst", np.int64, VENUE_COUNT),  # ladder ticks, the last level met there; -1 where none
        ("filled", np.int64),  # units, of all venues
        ("cost", np.float64),  # ticks x units: price paid or, below 0, received, and fees
        # While it is planned: the level next at each venue, and what is left there.
        ("level", np.int64, VENUE_COUNT),
        ("left", np.int64, VENUE_COUNT),
    ]
)


def fees_of(config: MarketConfig) -> Any:
    """VENUES [VENUE_COUNT]: fees in ticks a unit, as the books charge them."""
    out = np.zeros(VENUE_COUNT, VENUES)
    out["maker_fee"] = [venue.maker_fee / config.tick for venue in config.venues]
    out["taker_fee"] = [venue.taker_fee / config.tick for venue in config.venues]
    return out


@inlined
def _shown(depth: Any, venue: int, half: int, level: int) -> int:
    """Units at a level; 0 past the last."""
    return depth[venue, half, level, LEVEL_QUANTITY] if level < LEVELS_SEEN else 0


@inlined
def _next_venue(
    depth: Any, half: int, side: int, limit: int, fees: Any, trusted: Any, route: Any
) -> int:
    """The venue whose next unit costs least; then that of the better price, then the deeper."""
    chosen, least, best = -1, math.inf, 0
    for venue in range(VENUE_COUNT):
        if route.level[venue] >= LEVELS_SEEN or trusted[venue] == 0:
            continue
        price = depth[venue, half, route.level[venue], LEVEL_PRICE]
        if price < 0 or side * (limit - price) < 0:
            continue
        cost = side * price + fees[venue].taker_fee
        ahead = side * price
        closer = cost == least and (
            ahead < best or (ahead == best and route.left[venue] > route.left[chosen])
        )
        if cost < least or closer:
            chosen, least, best = venue, cost, ahead
    return chosen


@inlined
def split_take(
    depth: Any, side: int, limit: int, quantity: int, fees: Any, trusted: Any, route: Any
) -> None:
    """Split an order that crosses over the venues, the cheapest units first.

    Args:
        depth: int32 [VENUE_COUNT, 2, LEVELS_SEEN, 2], as of `market.view`.
        side: +1 buys, -1 sells.
        limit: ladder ticks, the worst price.
        quantity: units; what the levels within the limit do not hold stays unfilled.
        fees: VENUES [VENUE_COUNT].
        trusted: [VENUE_COUNT], 0 of a venue that is to get nothing.
        route: a ROUTE record, written.
    """
    half = ASK if side == BUYS else BID
    for venue in range(VENUE_COUNT):
        route.quantities[venue], route.worst[venue] = 0, -1
        route.level[venue], route.left[venue] = 0, _shown(depth, venue, half, 0)
    open_units, cost = max(quantity, 0), 0.0
    route.filled = 0
    while open_units > 0:
        venue = _next_venue(depth, half, side, limit, fees, trusted, route)
        if venue < 0:
            break
        level = route.level[venue]
        units = min(open_units, max(route.left[venue], 0))
        if units > 0:
            price = depth[venue, half, level, LEVEL_PRICE]
            route.quantities[venue] += units
            route.worst[venue] = price
            cost += units * (side * price + fees[venue].taker_fee)
            open_units -= units
            route.filled += units
            route.left[venue] -= units
        if route.left[venue] <= 0:
            route.level[venue] = level + 1
            route.left[venue] = _shown(depth, venue, half, level + 1)
    route.cost = cost


@inlined
def venue_to_rest(depth: Any, side: int, price: int, fees: Any, trusted: Any) -> int:
    """Where a resting order fills soonest: the shortest queue at its price, then the best rebate.

    As `market.own.post` by the router; -1 where no venue is trusted. A level beyond those that
    are seen counts as empty.
    """
    half = BID if side == BUYS else ASK
    chosen, least = -1, 0
    for venue in range(VENUE_COUNT):
        if trusted[venue] == 0:
            continue
        queue = 0
        for level in range(LEVELS_SEEN):
            if depth[venue, half, level, LEVEL_PRICE] == price:
                queue = depth[venue, half, level, LEVEL_QUANTITY]
        cheaper = chosen >= 0 and fees[venue].maker_fee < fees[chosen].maker_fee
        if chosen < 0 or queue < least or (queue == least and cheaper):
            chosen, least = venue, queue
    return chosen


@kernel
def split_one(
    depth: Any, side: int, limit: int, quantity: int, fees: Any, trusted: Any, routes: Any
) -> None:
    """`split_take` into ROUTE [1]."""
    split_take(depth, side, limit, quantity, fees, trusted, routes[0])


@kernel
def rest_at(depth: Any, side: int, price: int, fees: Any, trusted: Any) -> int:
    """`venue_to_rest`, for callers that are not kernels."""
    return venue_to_rest(depth, side, price, fees, trusted)
