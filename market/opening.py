"""What every episode's market begins with: no orders of its own, and books that hold others'."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from configs.market import VENUE_COUNT
from market import book as lob
from market.desk import desk_at, venue_book
from market.kernels import kernel
from market.pointers import record
from market.random import hash64, normal, uniform
from market.state import ACTIVE, IMPATIENT, PATIENT, TABLE_SIZE


@kernel
def clear_episode(market: Any, n: int, horizon: int) -> None:
    """Empty records of parent and past; seed, episode and what the source wrote stay."""
    parent, episode = market.parents[n], market.episodes[n]
    parent.horizon = horizon
    parent.step = 0
    parent.remaining = 0
    parent.resting = 0
    parent.in_flight = 0
    episode.impact = 0.0
    episode.next_arbitrage = math.inf
    episode.pending_count = 0
    episode.pending_sent = 0
    for index in range(market.pending_heap.shape[1]):
        market.pending_heap[n, index] = index
    episode.next_pending = math.inf
    episode.buy_volume = 0.0
    episode.sell_volume = 0.0
    episode.variance_fast = episode.variance_slow
    episode.flow_fast = 0.0
    episode.flow_slow = 0.0
    episode.imbalance = 0.0
    episode.imbalance_last = 0.0
    for index in range(market.owned.shape[1]):
        market.owned[n, index, ACTIVE] = 0
    for word in range(market.owned_bits.shape[1]):
        market.owned_bits[n, word] = 0


@kernel
def open_books(market: Any, n: int, orders: int, key: np.uint64) -> None:
    """Fill empty books with resting orders around the reference, alternating sides.

    Each order's distance is the one it was placed at plus what the price has moved away
    in the order's age; a book of fresh placements alone would be far too deep. The first knot
    is the middle; `key` that of every draw.
    """
    desk = desk_at(market, n)
    flow = market.flow[0]
    for venue in range(VENUE_COUNT):
        lob.reset_book(venue_book(desk, flow, venue))
    middle = int(market.knots[n, 0])
    episode = record(desk.episode)
    # Patient orders are that much more of what rests than of what comes.
    patient_share = flow.patient_share * flow.patience
    patient_share /= 1.0 - flow.patient_share + patient_share
    patient_age = flow.patience
    life = orders / (episode.rate * flow.limit_share)  # mean age of what rests, seconds
    sigma = math.sqrt(episode.variance_slow * life / flow.step_seconds)
    for order in range(orders):
        bits = hash64(key, order)
        venue = order // 2 % VENUE_COUNT
        patient = uniform(key, 3 * orders + order) < patient_share
        table = market.offsets[1 if patient else 0]
        offset = table[int(bits & np.uint64(TABLE_SIZE - 1))]
        age = -math.log(uniform(key, orders + order))
        age *= patient_age if patient else 1.0
        offset += int(abs(sigma * math.sqrt(age) * normal(key, orders + order)))
        size = market.sizes[int((bits >> np.uint64(10)) & np.uint64(TABLE_SIZE - 1))]
        side = lob.BUY if order % 2 == 0 else lob.SELL
        price = middle - offset + 1 if side == lob.BUY else middle + offset
        if 0 < price < flow.ladder - 1:
            kind = PATIENT if patient else IMPATIENT
            lob.rest(venue_book(desk, flow, venue), side, price, size, kind)
