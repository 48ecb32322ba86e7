"""Routing over venues: against every split there is, and against the books' own router."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from configs.execution import ExecutionConfig
from configs.market import VENUE_COUNT, MarketConfig
from market.book import BUY, SELL, TRADE_BOOK, TRADE_QUANTITY
from market.desk import desk_at, route
from market.kernels import kernel
from market.routing import ROUTE, fees_of, rest_at, split_one
from market.simulator import Simulator
from market.state import ASK, BID, LEVELS_SEEN, OWN_TAKER, VENUES
from market.view import EMPTY_PRICE

ALL = np.ones(VENUE_COUNT, np.int8)
FAR = 10_000


def books(rng: np.random.Generator, side: int, levels: int, most: int) -> Any:
    """Random venues on one half: prices near 100, some venues empty, quantities up to `most`."""
    depth = np.zeros((VENUE_COUNT, 2, LEVELS_SEEN, 2), np.int32)
    depth[..., 0] = EMPTY_PRICE
    half = ASK if side > 0 else BID
    for venue in range(VENUE_COUNT):
        there = int(rng.integers(0, levels + 1))
        prices = np.sort(rng.choice(4, size=there, replace=False))
        for level, price in enumerate(prices):
            depth[venue, half, level] = 100 + side * price, rng.integers(1, most + 1)
    return depth


def fees(values: Any) -> Any:
    out = np.zeros(VENUE_COUNT, VENUES)
    out["taker_fee"] = values
    return out


def split(
    depth: Any, side: int, limit: int, quantity: int, charged: Any, trusted: Any = ALL
) -> Any:
    out = np.zeros(1, ROUTE)
    split_one(depth, side, limit, quantity, charged, trusted, out)
    return out[0]


def cost_at(depth: Any, side: int, venue: int, units: int, limit: int, fee: float) -> float | None:
    """What `units` cost at one venue, met level by level; None where it does not hold them."""
    cost = 0.0
    for price, there in depth[venue, ASK if side > 0 else BID]:
        if units == 0 or price < 0 or side * (limit - price) < 0:
            break
        taken = min(units, int(there))
        cost += taken * (side * float(price) + fee)
        units -= taken
    return cost if units == 0 else None


def cheapest(depth: Any, side: int, limit: int, quantity: int, charged: Any) -> tuple[int, float]:
    """(units, cost) over every split: as many units as can be, then the least cost."""
    best = (0, 0.0)
    for parts in itertools.product(range(quantity + 1), repeat=VENUE_COUNT):
        if not 0 < sum(parts) <= quantity or sum(parts) < best[0]:
            continue
        costs = [
            cost_at(depth, side, venue, units, limit, float(charged["taker_fee"][venue]))
            for venue, units in enumerate(parts)
        ]
        if any(cost is None for cost in costs):
            continue
        total = float(sum(cost for cost in costs if cost is not None))
        if sum(parts) > best[0] or total < best[1] - 1e-12:
            best = (sum(parts), total)
    return best


@pytest.mark.parametrize("side", [1, -1])
def test_no_split_is_cheaper(side: int) -> None:
    """Fees of parts of a tick and of several ticks, rebates, limits that bind."""
    rng = np.random.default_rng(side + 5)
    unfilled = 0
    for _ in range(60):
        depth = books(rng, side, 3, 3)
        charged = fees(rng.choice([0.0, 0.3, -0.2, 1.5, 0.31], VENUE_COUNT))
        quantity, limit = int(rng.integers(1, 6)), 100 + side * int(rng.choice([0, 1, 2, FAR]))
        found = split(depth, side, limit, quantity, charged)
        units, cost = cheapest(depth, side, limit, quantity, charged)
        assert (found["filled"], found["cost"]) == (units, pytest.approx(cost))
        assert found["quantities"].sum() == units
        again = 0.0
        for venue, taken in enumerate(found["quantities"]):
            fee = float(charged["taker_fee"][venue])
            spent = cost_at(depth, side, venue, int(taken), int(found["worst"][venue]), fee)
            assert spent is not None and (taken > 0) == (found["worst"][venue] >= 0)
            again += spent
        assert again == pytest.approx(cost)
        unfilled += units < quantity
    assert 0 < unfilled < 60


def test_equal_costs_go_to_the_better_price_and_then_to_the_deeper_venue() -> None:
    depth = np.zeros((VENUE_COUNT, 2, LEVELS_SEEN, 2), np.int32)
    depth[..., 0] = EMPTY_PRICE
    for venue, (price, units) in enumerate([(101, 5), (100, 2), (100, 4), (102, 9)]):
        depth[venue, ASK, 0] = price, units
    charged = fees([0.0, 1.0, 1.0, 0.0])  # 101 in all at the first three
    assert split(depth, 1, FAR, 3, charged)["quantities"].tolist() == [0, 0, 3, 0]
    assert split(depth, 1, FAR, 7, charged)["quantities"].tolist() == [1, 2, 4, 0]
    assert split(depth, 1, FAR, 7, charged)["worst"].tolist() == [101, 100, 100, -1]


def test_venues_that_are_not_trusted_get_nothing() -> None:
    rng = np.random.default_rng(3)
    depth = books(rng, 1, 3, 50)
    trusted = np.array([1, 0, 1, 0], np.int8)
    found = split(depth, 1, FAR, 1_000, fees(0.0), trusted)
    shown = depth[:, ASK, :, 1].sum(axis=1)
    assert found["quantities"].tolist() == (shown * trusted).tolist()
    assert split(depth, 1, FAR, 10, fees(0.0), np.zeros(4, np.int8))["filled"] == 0
    assert rest_at(depth, 1, 99, fees(0.0), np.zeros(4, np.int8)) == -1


def test_what_asks_for_nothing_gets_nothing() -> None:
    depth = books(np.random.default_rng(4), 1, 3, 50)
    for quantity in (0, -5):
        assert split(depth, 1, FAR, quantity, fees(0.0))["filled"] == 0
    empty = np.zeros_like(depth)
    empty[..., 0] = EMPTY_PRICE
    assert split(empty, 1, FAR, 5, fees(0.0))["filled"] == 0


def test_resting_orders_join_the_shortest_queue() -> None:
    depth = np.zeros((VENUE_COUNT, 2, LEVELS_SEEN, 2), np.int32)
    depth[..., 0] = EMPTY_PRICE
    for venue, units in enumerate([30, 10, 20, 10]):
        depth[venue, BID, 0] = 100, units
    charged = fees_of(MarketConfig())
    assert rest_at(depth, 1, 100, charged, ALL) == 3  # ties to the best rebate, BATS
    assert rest_at(depth, 1, 99, charged, ALL) == 3  # nobody queues there
    assert rest_at(depth, 1, 100, charged, np.array([1, 0, 1, 0], np.int8)) == 2


@kernel
def take_by_router(market: Any, side: int, limit: int, quantity: int) -> int:
    desk = desk_at(market, 0)
    desk.tape.count[0] = 0
    return route(desk, market.flow[0], side, limit, quantity, OWN_TAKER)


@pytest.mark.parametrize("side", [BUY, SELL])
def test_the_plan_is_what_the_books_router_does(side: int) -> None:
    """On simulated books, within what a view shows: the same units at the same venues."""
    config = ExecutionConfig()
    simulator = Simulator(config, 1)
    charged = fees_of(config.market)
    compared = 0
    for seed in range(12):
        simulator.reset(np.zeros(1, np.int64), np.array([seed], np.uint64))
        depth = simulator.market.depth[0].copy()
        half = ASK if side == BUY else BID
        quantity = int(depth[:, half, :2, 1].sum()) // 2
        limit = config.market.book.ladder_levels - 1 if side == BUY else 0
        planned = split(depth, side, limit, quantity, charged)
        assert planned["filled"] == quantity
        assert take_by_router(simulator.market, side, limit, quantity) == 0
        trades = simulator.market.tape[0][: simulator.market.tape_count[0]]
        taken = np.zeros(VENUE_COUNT, int)
        for row in trades:
            taken[row[TRADE_BOOK] % VENUE_COUNT] += row[TRADE_QUANTITY]
        assert taken.tolist() == planned["quantities"].tolist()
        compared += 1
    assert compared == 12
