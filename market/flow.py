"""One message of background order flow.

Zero-intelligence flow (Cont, Stoikov and Talreja, "A stochastic model for order
book dynamics", Operations Research 58, 2010): limit orders at a power-law distance
from the opposite best, market orders, cancels in proportion to the resting
population. Each leans toward the reference path by x / (1 + |x|), x = lean times
(reference - mid): the book follows the path without being told its level.

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
from market.desk import (
    Desk,
    background_best,
    background_orders,
    background_quote,
    best_ask,
    best_bid,
    reference,
    sweep,
    venue_book,
)
from market.kernels import inlined, kernel
from market.pointers import record
from market.random import hash64, uniform
from market.state import TABLE_SIZE

_FIELD_BITS = np.uint64(20)
_TWO_FIELDS = np.uint64(40)
_FIELD_MASK = np.uint64((1 << 20) - 1)
_TABLE_MASK = np.uint64(TABLE_SIZE - 1)
_TABLE_BITS = np.uint64(10)
_PICK_MASK = np.uint64((1 << 30) - 1)
_FIELD_SCALE = 1.0 / (1 << 20)
_PICK_SCALE = 1.0 / (1 << 30)
_VENUE_SCALE = 1.0 / (1 << 24)
_DRAWS = 3  # hashes per message


@inlined
def schedule_next_arrival(desk: Desk) -> None:
    """Draw when the next background message comes (Poisson arrivals)."""
    episode = record(desk.episode)
    gap = -math.log(uniform(episode.flow_key, episode.arrivals * _DRAWS + 2)) / episode.rate
    episode.next_arrival += gap


@inlined
def _venue_of(draw: float, venues: Any) -> int:
    for venue in range(VENUE_COUNT - 1):
        if draw < venues[venue].cumulative_weight:
            return venue
    return VENUE_COUNT - 1


@inlined
def add_limit(desk: Desk, flow: Any, venue: int, side: int, offset: int, quantity: int) -> None:
    """A background limit order `offset` ticks from the opposite best of all venues.

    Measured from the consolidated quote, so that it locks or crosses no venue.
    """
    bid, ask = best_bid(desk), best_ask(desk, flow)
    middle = round(reference(desk, flow))
    if side == lob.BUY:
        price = (ask if ask < flow.ladder else middle + 1) - offset
    else:
        price = (bid if bid >= 0 else middle - 1) + offset
    if 0 < price < flow.ladder - 1:
        lob.rest(venue_book(desk, flow, venue), side, price, quantity, 0)


@inlined
def _market_order(desk: Desk, flow: Any, venue: int, side: int, quantity: int) -> None:
    limit = flow.ladder - 1 if side == lob.BUY else 0
    filled = quantity - sweep(desk, flow, side, limit, quantity, 0, venue)
    if side == lob.BUY:
        record(desk.episode).buy_volume += filled
    else:
        record(desk.episode).sell_volume += filled


@inlined
def _cancel(desk: Desk, flow: Any, side: int, threatened: bool, venue: int, pick: float) -> None:
    """Cancel one background order: the last at the threatened best quote, or any one.

    Makers pull the quotes that the reference runs into first; that is what lets a
    thin book follow a fast path. An own order shields nobody: it is passed over.
    """
    slot = lob.NONE
    book = venue_book(desk, flow, venue)
    if threatened:
        price = background_quote(desk, flow, side)
        if 0 <= price < flow.ladder:
            for turn in range(VENUE_COUNT):
                other = (venue + turn) % VENUE_COUNT
                if slot < 0 and background_best(desk, flow, other, side) == price:
                    book = venue_book(desk, flow, other)
                    slot = book.levels[price * lob.LEVEL_FIELDS + lob.TAIL]
                    while book.orders[slot * lob.ORDER_FIELDS + lob.OWNER] != 0:
                        slot = book.orders[slot * lob.ORDER_FIELDS + lob.PREV]
    elif book.header[lob.LIVE_COUNT] > 0:
        slot = book.live[int(pick * book.header[lob.LIVE_COUNT])]
    if slot >= 0 and book.orders[slot * lob.ORDER_FIELDS + lob.OWNER] == 0:
        lob.remove(book, slot)


@kernel
def background_message(desk: Desk, flow: Any, venues: Any) -> None:
    """Apply the arrival that is due and schedule the next one."""
    episode = record(desk.episode)
    counter = episode.arrivals * _DRAWS
    first = hash64(episode.flow_key, counter)
    second = hash64(episode.flow_key, counter + 1)
    episode.arrivals += 1
    kind_draw = float(first & _FIELD_MASK) * _FIELD_SCALE
    side_draw = float((first >> _FIELD_BITS) & _FIELD_MASK) * _FIELD_SCALE
    venue = _venue_of(float(first >> _TWO_FIELDS) * _VENUE_SCALE, venues)
    quantity = desk.sizes[int(second & _TABLE_MASK)]
    offset = desk.offsets[int((second >> _TABLE_BITS) & _TABLE_MASK)]
    pick = float((second >> _FIELD_BITS) & _PICK_MASK) * _PICK_SCALE
    # Flow that answered to own quotes could be led by them at no cost.
    bid, ask = background_quote(desk, flow, lob.BUY), background_quote(desk, flow, lob.SELL)
    gap = reference(desk, flow) - 0.5 * (bid + ask) if bid >= 0 and ask < flow.ladder else 0.0
    lean = flow.lean * gap / (1.0 + abs(flow.lean * gap))
    upward = side_draw < 0.5 + 0.5 * lean
    side = lob.BUY if upward else lob.SELL
    cancel_weight = flow.cancel_per_order * background_orders(desk)
    draw = kind_draw * (flow.limit_share + flow.market_share + cancel_weight)
    if draw < flow.limit_share:
        add_limit(desk, flow, venue, side, offset, quantity)
    elif draw < flow.limit_share + flow.market_share:
        _market_order(desk, flow, venue, side, quantity)
    else:
        # The rest of the side draw says whether this cancel answers the path.
        edge = 0.5 + 0.5 * lean
        again = side_draw / edge if upward else (side_draw - edge) / (1.0 - edge)
        _cancel(desk, flow, -side, again < abs(lean), venue, pick)
    schedule_next_arrival(desk)
