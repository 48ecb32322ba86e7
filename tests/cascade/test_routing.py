"""The router's orders, split over the venues that a book state shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cascade.decide import SMART_NAME, ChildOrder
from cascade.routing import Router
from cascade.view import ExecutionView
from configs.errors import RequestError
from tests.cascade.test_book_state import example, view

CROSSING = ChildOrder("marketable", SMART_NAME, "BUY", 350, 100.03, 0.5)


@pytest.fixture
def seen() -> ExecutionView:
    return view(example())


def parts(orders: tuple[ChildOrder, ...]) -> list[tuple[Any, ...]]:
    return [(order.venue, order.quantity, order.limit) for order in orders]


def test_an_order_that_crosses_is_split_by_what_venues_show(seen: ExecutionView) -> None:
    """ARCA asks 200 at 100.01; BATS 100 there and 900 at 100.03."""
    found = Router(seen).split(seen, CROSSING)
    assert parts(found) == [("ARCA", 200, 100.01), ("BATS", 150, 100.03)]
    assert all((order.kind, order.side) == ("marketable", "BUY") for order in found)
    assert all(order.after_seconds == 0.5 for order in found)


def test_what_no_venue_shows_within_the_limit_stays_with_the_router(seen: ExecutionView) -> None:
    found = Router(seen).split(seen, replace(CROSSING, limit=100.02))
    assert parts(found) == [("ARCA", 200, 100.01), ("BATS", 100, 100.01), (SMART_NAME, 50, 100.02)]
    # A limit between two ticks is never rounded to a worse one.
    found = Router(seen).split(seen, replace(CROSSING, limit=100.0299))
    assert parts(found)[-1] == (SMART_NAME, 50, 100.0299)
    nothing = replace(CROSSING, limit=100.0)
    assert Router(seen).split(seen, nothing) == (nothing,)


def test_a_market_order_goes_through_all_that_is_seen(seen: ExecutionView) -> None:
    found = Router(seen).split(seen, ChildOrder("market", SMART_NAME, "BUY", 2_000, None, 0.0))
    assert parts(found) == [("ARCA", 200, 100.01), ("BATS", 1_000, 100.03), (SMART_NAME, 800, None)]
    assert found[-1].kind == "market"


def test_sales_meet_the_bids(seen: ExecutionView) -> None:
    found = Router(seen).split(seen, replace(CROSSING, side="SELL", limit=99.98, quantity=450))
    assert parts(found) == [("ARCA", 450, 99.98)]  # deeper at 99.98 than BATS
    found = Router(seen).split(seen, replace(CROSSING, side="SELL", limit=99.98, quantity=900))
    assert parts(found) == [("ARCA", 800, 99.98), ("BATS", 100, 99.98)]


def test_venues_that_are_not_trusted_get_nothing(seen: ExecutionView) -> None:
    router = Router(seen)
    names = [venue.name for venue in seen.config.market.venues]
    router.trusted[names.index("ARCA")] = 0
    assert parts(router.split(seen, CROSSING)) == [("BATS", 350, 100.03)]
    # The books' router would ask them: what is left is not sent.
    assert sum(o.quantity for o in router.split(seen, replace(CROSSING, quantity=2_000))) == 1_000
    router.trusted[:] = 0
    with pytest.raises(RequestError, match="no venue is trusted for BUY 350"):
        router.split(seen, CROSSING)


def test_resting_orders_go_whole_to_one_venue_and_named_ones_where_they_say(
    seen: ExecutionView,
) -> None:
    resting = ChildOrder("limit", SMART_NAME, "BUY", 70, 99.98, 0.0)
    found = Router(seen).split(seen, resting)
    assert len(found) == 1 and replace(found[0], venue=SMART_NAME) == resting
    queues = {"ARCA": 500, "BATS": 100}
    assert found[0].venue not in queues  # NASDAQ and NYSE show none
    named = replace(resting, venue="ARCA")
    assert Router(seen).split(seen, named) == (named,)


def test_splits_add_up_and_keep_to_their_limits(seen: ExecutionView) -> None:
    rng = np.random.default_rng(0)
    router = Router(seen)
    for _ in range(200):
        side = str(rng.choice(["BUY", "SELL"]))
        limit = float(np.round(rng.uniform(99.9, 100.1), 4))
        order = ChildOrder("marketable", SMART_NAME, side, int(rng.integers(1, 3_000)), limit, 0.0)
        found = router.split(seen, order)
        assert sum(part.quantity for part in found) == order.quantity
        for part in found:
            assert part.quantity > 0 and part.limit is not None
            assert part.limit <= limit if side == "BUY" else part.limit >= limit
