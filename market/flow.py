"""One message of background order flow.

Limit orders come at a power-law distance from the opposite best, cancels in
proportion to the resting population (zero-intelligence flow: Cont, Stoikov and
Talreja, "A stochastic model for order book dynamics", Operations Research 58, 2010).
Both lean toward the reference path by x |x| / (1 + x^2), x = lean times (reference -
mid): the book follows the path without being told its level, and within half a
spread of it hardly at all. Market orders are
slices of metaorders (Lillo, Mike and Farmer, 2005), and some of them take what the
reference has left behind.

The arrivals and all their draws are exogenous: message k of an episode comes at
the same time with the same draws whatever the agents do. Only what a draw means
(which resting order a cancel hits, whether a market order finds a quote) depends
on the book.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from configs.market import VENUE_COUNT
from market import book as lob
from market.arrivals import schedule_next_arrival
from market.desk import (
    Desk,
    background_best,
    background_orders,
    background_quote,
    best_ask,
    best_bid,
    depth_at,
    reference,
    sweep,
    venue_best,
    venue_book,
)
from market.kernels import inlined, kernel
from market.pointers import record
from market.random import hash64, uniform
from market.state import (
    ARBITRAGEUR,
    FIRST_OWN,
    IMPATIENT,
    METAORDER_FIELDS,
    ORDERS_LEFT,
    PATIENT,
    SIGN,
    TABLE_MASK,
    TABLE_SIZE,
)

# How the bits of a message's hashes are used. First: kind, side, venue, population.
_FIELD_BITS = np.uint64(20)
_FIELD_MASK = np.uint64((1 << 20) - 1)
_FIELD_SCALE = 1.0 / (1 << 20)
_VENUE_BITS = np.uint64(40)
_POPULATION_BITS = np.uint64(50)
_POPULATION_SCALE = 1.0 / (1 << 14)
# Second: size, offset, pick (of an order, a metaorder or a venue), locality.
_TABLE_BITS = np.uint64(10)
_PICK_MASK = np.uint64((1 << 30) - 1)
_PICK_SCALE = 1.0 / (1 << 30)
_LOCAL_BITS = np.uint64(50)
# Draws per message, by number.
_KINDS, _SIZES, _RENEWAL, _AGAIN = range(4)
_DRAWS = 8
_PICKS = 3  # resting orders that a cancel looks at before it takes a patient one


@inlined
def _add_limit(
    desk: Desk, flow: Any, venue: int, side: int, offset: int, quantity: int, kind: int, local: bool
) -> None:
    """A background limit order `offset` ticks from the opposite best.

    Of all venues, so that it locks or crosses none; or of its own venue alone (`local`).
    """
    bid = venue_best(desk, venue, lob.BUY) if local else best_bid(desk)
    ask = venue_best(desk, venue, lob.SELL) if local else best_ask(desk, flow)
    # Where a side is empty, from where the reference says that its quote would be.
    if bid < 0:
        bid = math.floor(reference(desk) + 0.5) - 1
    if ask >= flow.ladder:
        ask = math.floor(reference(desk) + 0.5) + 1
    # One expression for both sides: a branch on the side is guessed wrong half the time.
    price = (ask if side == lob.BUY else bid) - side * offset
    if 0 < price < flow.ladder - 1:
        lob.rest(venue_book(desk, flow, venue), side, price, quantity, kind)


@inlined
def _metaorder_side(desk: Desk, flow: Any, gap: float, pick: float, counter: int) -> int:
    """The side of the metaorder whose turn it is; one that ends is followed by a new one."""
    row = int(pick * flow.metaorders) * METAORDER_FIELDS
    side = desk.metaorders[row + SIGN]
    left = desk.metaorders[row + ORDERS_LEFT] - 1
    if left <= 0:
        bits = hash64(record(desk.episode).flow_key, counter + _RENEWAL)
        left = desk.lengths[int(bits & TABLE_MASK)]
        draw = float(bits >> _VENUE_BITS) * (1.0 / (1 << 24))
        buys = 0.5 + 0.5 * math.tanh(flow.metaorder_lean * gap)
        desk.metaorders[row + SIGN] = lob.BUY if draw < buys else lob.SELL
    desk.metaorders[row + ORDERS_LEFT] = left
    return side


@kernel
def begin_metaorders(desk: Desk, flow: Any, key: np.uint64, longest: int, exponent: float) -> None:
    """Metaorders already under way: longer than new ones, since long ones last."""
    for index in range(flow.metaorders):
        row, draw = index * METAORDER_FIELDS, 3 * index
        length = min(uniform(key, draw) ** (-1.0 / exponent), float(longest))
        desk.metaorders[row + ORDERS_LEFT] = 1 + int(length * uniform(key, draw + 1))
        desk.metaorders[row + SIGN] = lob.BUY if uniform(key, draw + 2) < 0.5 else lob.SELL


@inlined
def _market_order(desk: Desk, flow: Any, side: int, quantity: int, start: float) -> None:
    limit = flow.ladder - 1 if side == lob.BUY else 0
    filled = quantity - sweep(desk, flow, side, limit, quantity, 0, start)
    if side == lob.BUY:
        record(desk.episode).buy_volume += filled
    else:
        record(desk.episode).sell_volume += filled


@inlined
def _threatened_order(desk: Desk, flow: Any, side: int, venue: int) -> int:
    """The venue whose best quote of `side` the reference runs into, `venue` first; or NONE."""
    price = background_quote(desk, flow, side)
    if 0 <= price < flow.ladder:
        for turn in range(VENUE_COUNT):
            other = (venue + turn) % VENUE_COUNT
            if background_best(desk, flow, other, side) == price:
                return other
    return lob.NONE


@inlined
def _cancel(
    desk: Desk, flow: Any, side: int, threatened: bool, venue: int, pick: float, counter: int
) -> None:
    """Cancel one background order: the last at the threatened best quote, or any one.

    Makers pull the quotes that the reference runs into first; that is what lets a
    thin book follow a fast path. An own order shields nobody: it is passed over.
    """
    if threatened:
        venue = _threatened_order(desk, flow, side, venue)
        if venue < 0:
            return
        book = venue_book(desk, flow, venue)
        price = background_best(desk, flow, venue, side)
        slot = book.levels[price * lob.LEVEL_FIELDS + lob.TAIL]
        while book.orders[slot * lob.ORDER_FIELDS + lob.OWNER] >= FIRST_OWN:
            slot = book.orders[slot * lob.ORDER_FIELDS + lob.PREV]
        lob.remove(book, slot)
        return
    book = venue_book(desk, flow, venue)
    live = book.header[lob.LIVE_COUNT]
    if live == 0:
        return
    slot = book.live[int(pick * live)]
    for turn in range(_PICKS):
        if book.orders[slot * lob.ORDER_FIELDS + lob.OWNER] != PATIENT:
            break
        # A patient order is passed over, all but one time in `patience`.
        if flow.patience * uniform(record(desk.episode).flow_key, counter + _AGAIN + turn) < 1.0:
            break
        slot = book.live[(slot + turn * live // _PICKS) % live]
    if book.orders[slot * lob.ORDER_FIELDS + lob.OWNER] < FIRST_OWN:
        lob.remove(book, slot)


@inlined
def _watch_for_arbitrage(desk: Desk, flow: Any, counter: int) -> None:
    """Where venues lock or cross, an arbitrageur sees it and is on the way."""
    episode = record(desk.episode)
    if episode.next_arbitrage == math.inf and best_bid(desk) >= best_ask(desk, flow):
        draw = uniform(episode.flow_key, counter + _RENEWAL)
        episode.next_arbitrage = episode.clock - flow.arbitrage_seconds * math.log(draw)


@kernel
def arbitrage(desk: Desk, flow: Any) -> None:
    """Buy where the ask is low and sell where the bid is high until no venues lock or cross."""
    record(desk.episode).next_arbitrage = math.inf
    while True:
        bid, ask = best_bid(desk), best_ask(desk, flow)
        if bid < ask:
            break
        offered, wanted = 0, 0
        for venue in range(VENUE_COUNT):
            if venue_best(desk, venue, lob.SELL) == ask:
                offered = venue
            if venue_best(desk, venue, lob.BUY) == bid:
                wanted = venue
        quantity = depth_at(desk, flow, offered, ask)
        quantity = min(quantity, depth_at(desk, flow, wanted, bid))
        for venue, side, price in ((offered, lob.BUY, ask), (wanted, lob.SELL, bid)):
            book = venue_book(desk, flow, venue)
            lob.take(book, desk.tape, side, price, quantity, ARBITRAGEUR)


@inlined
def background_message(desk: Desk, flow: Any) -> None:
    """Apply the arrival that is due and schedule the next one."""
    episode = record(desk.episode)
    counter = episode.arrivals * _DRAWS
    first = hash64(episode.flow_key, counter + _KINDS)
    second = hash64(episode.flow_key, counter + _SIZES)
    episode.arrivals += 1
    kind_draw = float(first & _FIELD_MASK) * _FIELD_SCALE
    side_draw = float((first >> _FIELD_BITS) & _FIELD_MASK) * _FIELD_SCALE
    venue = desk.chosen_venue[int((first >> _VENUE_BITS) & TABLE_MASK)]
    pick = float((second >> _FIELD_BITS) & _PICK_MASK) * _PICK_SCALE
    # Flow that answered to own quotes could be led by them at no cost.
    bid, ask = background_quote(desk, flow, lob.BUY), background_quote(desk, flow, lob.SELL)
    gap = reference(desk) - 0.5 * (bid + ask) if bid >= 0 and ask < flow.ladder else 0.0
    pull = flow.lean * gap
    # The lean is drift / whole. Compared as parts of `whole`, it waits for no division.
    whole, drift = 1.0 + pull * pull, pull * abs(pull)
    up = 0.5 * (whole + drift)
    point = side_draw * whole
    upward = point < up
    side = lob.BUY if upward else lob.SELL
    cancel_weight = flow.cancel_per_order * background_orders(desk)
    draw = kind_draw * (flow.limit_share + flow.market_share + cancel_weight)
    if draw < flow.limit_share:
        patient = float(first >> _POPULATION_BITS) * _POPULATION_SCALE < flow.patient_share
        local = float(second >> _LOCAL_BITS) * _POPULATION_SCALE < flow.local_share
        quantity = desk.sizes[int(second & TABLE_MASK)]
        table = TABLE_SIZE if patient else 0
        offset = desk.offsets[table + int((second >> _TABLE_BITS) & TABLE_MASK)]
        kind = PATIENT if patient else IMPATIENT
        _add_limit(desk, flow, venue, side, offset, quantity, kind, local)
        if local:
            _watch_for_arbitrage(desk, flow, counter)
    else:
        # The rest of the side draw says whether this message answers the path.
        again = whole * (point if upward else point - up)
        answering = abs(drift) * (up if upward else whole - up)
        if draw < flow.limit_share + flow.market_share:
            if again < flow.informed_share * answering:
                side = lob.BUY if drift > 0.0 else lob.SELL
            else:
                side = _metaorder_side(desk, flow, gap, pick, counter)
            quantity = desk.sizes[int(second & TABLE_MASK)]
            start = float(second >> _LOCAL_BITS) * _POPULATION_SCALE
            _market_order(desk, flow, side, quantity, start)
        else:
            _cancel(desk, flow, -side, again < answering, venue, pick, counter)
    schedule_next_arrival(desk, flow)
