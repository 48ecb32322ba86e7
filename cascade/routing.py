"""Child orders that a decision leaves to the router, split over the venues of a view."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cascade.decide import SMART_NAME, ChildOrder
from cascade.view import ON_TICK, ExecutionView
from configs.errors import RequestError
from configs.market import VENUE_COUNT
from market.routing import ROUTE, fees_of, rest_at, split_one

_SIDES = {"BUY": 1, "SELL": -1}
_RESTS = "limit"


class Router:
    """Splits over the venues of one configuration; its arrays are allocated once.

    Attributes:
        trusted: int8 [VENUE_COUNT], 0 of venues that get nothing (`cascade.consensus`).
    """

    def __init__(self, view: ExecutionView) -> None:
        market = view.config.market
        self._fees = fees_of(market)
        self._names = tuple(venue.name for venue in market.venues)
        self._ladder = market.book.ladder_levels
        self._routes = np.zeros(1, ROUTE)
        self.trusted: NDArray[np.int8] = np.ones(VENUE_COUNT, np.int8)

    def split(self, view: ExecutionView, order: ChildOrder) -> tuple[ChildOrder, ...]:
        """The orders that `order` comes to: itself unless it is the router's.

        One that rests goes whole to the shortest queue. One that crosses is split; each part
        may go as far as the last level planned for it, and what the view does not show stays
        with the router, at the order's own limit.

        Raises:
            RequestError: no venue is trusted.
        """
        if order.venue != SMART_NAME:
            return (order,)
        if not self.trusted.any():
            raise RequestError(
                f"router: no venue is trusted for {order.side} {order.quantity}; wait for quotes"
            )
        side = _SIDES[order.side]
        if order.kind == _RESTS and order.limit is not None:
            price = self._ticks(view, order.limit, side)
            venue = rest_at(view.depth, side, price, self._fees, self.trusted)
            return (replace(order, venue=self._names[venue]),)
        worst = self._ladder - 1 if side > 0 else 0
        limit = worst if order.limit is None else self._ticks(view, order.limit, side)
        split_one(view.depth, side, limit, order.quantity, self._fees, self.trusted, self._routes)
        return self._orders(view, order)

    def _orders(self, view: ExecutionView, order: ChildOrder) -> tuple[ChildOrder, ...]:
        route = self._routes[0]
        planned = [
            replace(
                order,
                venue=name,
                quantity=int(units),
                kind="marketable",
                limit=view.quoted(int(worst)),
            )
            for name, units, worst in zip(
                self._names, route["quantities"], route["worst"], strict=True
            )
            if units > 0
        ]
        left = order.quantity - int(route["filled"])
        if left > 0 and self.trusted.all():
            planned.append(replace(order, quantity=left))
        return tuple(planned)

    def _ticks(self, view: ExecutionView, price: float, side: int) -> int:
        """Ladder ticks of a limit in currency, within the ladder; off the tick, no worse."""
        ladder = price / view.config.market.tick - float(view.episode["base"][0])
        whole = math.floor(ladder + ON_TICK) if side > 0 else math.ceil(ladder - ON_TICK)
        return min(max(whole, 0), self._ladder - 1)
