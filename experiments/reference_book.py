"""A slow, obvious limit order book: sorted prices, a list per price. The truth in tests."""

from __future__ import annotations

from bisect import insort
from collections import Counter

BUY, SELL = 1, -1
LIMIT, IOC, MARKET, CANCEL, MODIFY = range(5)
BAD_PRICE = "price or stop price off the ladder"
BAD_QUANTITY = "quantity is not positive"
LIVE_ID = "the id names a live order"
UNKNOWN_ID = "the id names no live order"


class ReferenceBook:
    """Price-time priority book over plain Python lists.

    Orders are lists [id, side, price, quantity], kept in a queue per price.
    """

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self.queues: dict[int, dict[int, list[list[int]]]] = {BUY: {}, SELL: {}}
        self.prices: dict[int, list[int]] = {BUY: [], SELL: []}
        self.live: dict[int, list[int]] = {}
        self.trades: list[tuple[int, int, int, int]] = []  # maker, taker, price, quantity
        self.refusals: Counter[str] = Counter()

    def _best(self, side: int) -> int | None:
        prices = self.prices[side]
        if not prices:
            return None
        return prices[-1] if side == BUY else prices[0]

    def _drop(self, order: list[int]) -> None:
        _, side, price, _ = order
        queue = self.queues[side][price]
        queue.remove(order)
        if not queue:
            del self.queues[side][price]
            self.prices[side].remove(price)
        del self.live[order[0]]

    def _take(self, order_id: int, side: int, limit: int, quantity: int) -> int:
        while quantity > 0:
            best = self._best(-side)
            if best is None or (best > limit if side == BUY else best < limit):
                break
            maker = self.queues[-side][best][0]
            filled = min(maker[3], quantity)
            maker[3] -= filled
            quantity -= filled
            self.trades.append((maker[0], order_id, best, filled))
            if maker[3] == 0:
                self._drop(maker)
        return quantity

    def _limit(self, order_id: int, side: int, price: int, quantity: int, rests: bool) -> None:
        left = self._take(order_id, side, price, quantity)
        if left and rests:
            order = [order_id, side, price, left]
            if price not in self.queues[side]:
                self.queues[side][price] = []
                insort(self.prices[side], price)
            self.queues[side][price].append(order)
            self.live[order_id] = order

    def apply(self, kind: int, order_id: int, side: int, price: int, quantity: int) -> None:
        """One message, in the meaning of `market.replay`."""
        if kind == CANCEL:
            if order_id in self.live:
                self._drop(self.live[order_id])
            else:
                self.refusals[UNKNOWN_ID] += 1
        elif kind == MODIFY and order_id not in self.live:
            self.refusals[UNKNOWN_ID] += 1
        elif kind != MODIFY and order_id in self.live:
            self.refusals[LIVE_ID] += 1
        elif kind != MARKET and not 0 <= price < self.levels:
            self.refusals[BAD_PRICE] += 1
        elif quantity <= 0:
            self.refusals[BAD_QUANTITY] += 1
        elif kind == MODIFY:
            self._modify(self.live[order_id], price, quantity)
        elif kind == MARKET:
            self._take(order_id, side, self.levels - 1 if side == BUY else 0, quantity)
        else:
            self._limit(order_id, side, price, quantity, kind == LIMIT)

    def _modify(self, order: list[int], price: int, quantity: int) -> None:
        if price == order[2] and quantity <= order[3]:
            order[3] = quantity
            return
        self._drop(order)
        self._limit(order[0], order[1], price, quantity, True)

    def resting(self) -> list[tuple[int, int, int, int]]:
        """(price, id, side, quantity) of every resting order by price, then priority."""
        out: list[tuple[int, int, int, int]] = []
        for side in (BUY, SELL):
            for price, queue in self.queues[side].items():
                out.extend((price, order[0], side, order[3]) for order in queue)
        # Stable: the queue's own order survives within a price.
        return sorted(out, key=lambda row: row[0])
