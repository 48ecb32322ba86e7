"""Every order type, slow and obvious: the truth for `market.matching` in tests.

Lists are searched and sorted anew for each message; nothing is shared with the array
book but the numbers that name kinds, fields and reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from market import order_rows as m

BUY, SELL = 1, -1
MOST = 2**31 - 1


@dataclass(eq=False)
class Order:
    """An open order. `peak` 0: all of it is shown; `stop` None: not waiting for a price."""

    order: int
    kind: int
    side: int
    price: int
    shown: int
    hidden: int = 0
    peak: int = 0
    account: int = 0
    prevention: int = m.NO_PREVENTION
    expiry: int = -1
    stop: int | None = None
    arrival: int = 0

    @property
    def open(self) -> int:
        return self.shown + self.hidden


class ReferenceOrders:
    """One book with all order types.

    `resting` holds each side's orders in priority; `stops` and `auction` hold what waits,
    in order of arrival.
    """

    def __init__(self, levels: int, slots: int) -> None:
        self.levels, self.slots = levels, slots
        self.resting_orders: dict[int, list[Order]] = {BUY: [], SELL: []}
        self.stops: list[Order] = []
        self.auction: list[Order] = []
        self.trades: list[tuple[int, int, int, int]] = []  # maker, taker, price, quantity
        self.reasons: list[int] = []  # of every refusal
        self.clock = 0
        self.arrivals = 0
        self.in_call = False
        self.last_price: int | None = None
        self.looked_at = 0  # trades that stops have been held against
        self.recheck = False  # a stop has come that the last price may have reached

    def apply(self, row: list[int]) -> None:
        """One full row."""
        kind, order, side, price, quantity, time, expiry, stop, peak, account, prevention = row
        if time >= 0:
            self._expire(time)
            self.clock = time
        if kind == m.CANCEL:
            reason = self._cancel(order)
        elif kind == m.MODIFY:
            reason = self._modify(order, price, quantity, prevention)
        elif kind == m.CALL:
            reason = m.WRONG_PHASE if self.in_call else m.ACCEPTED
            self.in_call = True
        elif kind == m.UNCROSS:
            reason = self._uncross(price)
        else:
            new = Order(order, kind, side, price, quantity, 0, peak, account, prevention, expiry,
                        stop if kind in (m.STOP, m.STOP_LIMIT) else None)  # fmt: skip
            reason = self._new(new)
        self._note(reason)
        self._trigger()

    def _note(self, reason: int) -> None:
        if reason != m.ACCEPTED:
            self.reasons.append(reason)

    # What is where

    def _places(self) -> list[list[Order]]:
        return [self.resting_orders[BUY], self.resting_orders[SELL], self.stops, self.auction]

    def find(self, order: int) -> tuple[list[Order], Order] | None:
        """The list that holds a live order, and the order."""
        for place in self._places():
            for found in place:
                if found.order == order:
                    return place, found
        return None

    def _has_room(self, place: list[Order], order: Order, price: int) -> bool:
        """The array book's limits: slots of one book or shelf, depth of one level."""
        if place is self.stops or place is self.auction:
            shelf = [other for other in place if other.side == order.side]
            level = [o for o in shelf if (o.price if place is self.auction else o.stop) == price]
            return len(shelf) < self.slots and sum(o.shown for o in level) + order.shown <= MOST
        both = self.resting_orders[BUY] + self.resting_orders[SELL]
        depth = sum(other.shown for other in both if other.price == price)
        return len(both) < self.slots and depth + order.shown <= MOST

    def _expire(self, time: int) -> None:
        for place in self._places():
            place[:] = [order for order in place if not 0 <= order.expiry < time]

    # New orders

    def _new(self, new: Order) -> int:
        off = [p for p in (new.price, new.stop) if p is not None and not 0 <= p < self.levels]
        if new.kind in (m.MARKET, m.STOP, m.AUCTION_MARKET):
            off = [p for p in (new.stop,) if p is not None and not 0 <= p < self.levels]
        if self.find(new.order):
            return m.LIVE_ID
        if off:
            return m.BAD_PRICE
        if new.shown <= 0:
            return m.BAD_QUANTITY
        if new.peak and new.shown > m.MOST_PEAKS * new.peak:
            return m.MANY_PEAKS
        if 0 <= new.expiry < self.clock:
            return m.PAST_EXPIRY
        if new.stop is not None:
            return self._wait_for_price(new)
        if new.kind in (m.AUCTION_MARKET, m.AUCTION_LIMIT):
            return self._wait_for_auction(new)
        if not self.in_call:
            return self._enter(new)
        if new.kind != m.LIMIT:
            return m.WRONG_PHASE
        return self._wait_for_auction(new)

    def _wait_for_price(self, new: Order) -> int:
        assert new.stop is not None
        if not self._has_room(self.stops, new, new.stop):
            return m.NO_ROOM
        self._arrive(self.stops, new)
        self.recheck = True
        return m.ACCEPTED

    def _wait_for_auction(self, new: Order) -> int:
        if new.kind == m.AUCTION_MARKET:
            new.price = self.levels - 1 if new.side == BUY else 0
        if not self._has_room(self.auction, new, new.price):
            return m.NO_ROOM
        self._arrive(self.auction, new)
        return m.ACCEPTED

    def _arrive(self, place: list[Order], order: Order) -> None:
        self.arrivals += 1
        order.arrival = self.arrivals
        place.append(order)

    def _enter(self, new: Order) -> int:
        if new.kind == m.POST_ONLY and self._meets(new):
            return m.WOULD_CROSS
        if new.kind == m.FOK and self._fillable(new) < new.shown:
            return m.NOT_FILLABLE
        if new.kind == m.MARKET:
            new.price = self.levels - 1 if new.side == BUY else 0
        may_rest = self._take(new) and new.kind in (m.LIMIT, m.POST_ONLY)
        return self._rest(new) if may_rest and new.shown > 0 else m.ACCEPTED

    def _rest(self, new: Order) -> int:
        total = new.shown
        new.shown = min(new.peak, total) if new.peak else total
        new.hidden = total - new.shown
        side = self.resting_orders[new.side]
        if not self._has_room(side, new, new.price):
            return m.NO_ROOM
        self._arrive(side, new)
        side.sort(key=lambda order: -order.price * new.side)  # stable: earlier ones stay first
        return m.ACCEPTED

    # Matching

    def _meets(self, new: Order) -> list[Order]:
        """What the order can trade with, in priority."""
        others = self.resting_orders[-new.side]
        return [other for other in others if (other.price - new.price) * new.side <= 0]

    def _is_own(self, new: Order, other: Order) -> bool:
        guarded = new.account > 0 and new.prevention != m.NO_PREVENTION
        return guarded and other.account == new.account

    def _take(self, new: Order) -> bool:
        """Trade. Whether what is left may rest."""
        while new.shown > 0 and (met := self._meets(new)):
            other = met[0]
            matched = min(new.shown, other.shown)
            if not self._is_own(new, other):
                self.trades.append((other.order, new.order, other.price, matched))
                self.last_price = other.price
            elif new.prevention != m.DECREMENT:
                if new.prevention in (m.CANCEL_RESTING, m.CANCEL_BOTH):
                    self.resting_orders[other.side].remove(other)
                if new.prevention != m.CANCEL_RESTING:
                    return False
                continue
            new.shown -= matched
            self._reduce(self.resting_orders[other.side], other, matched)
        return True

    def _reduce(self, place: list[Order], order: Order, quantity: int) -> None:
        """Quantity off an order's display; an iceberg's next peak goes to the back of its level."""
        order.shown -= quantity
        if order.shown > 0:
            return
        at = place.index(order)
        place.remove(order)
        if order.hidden == 0:
            return
        level = [other for other in place if other.price == order.price]
        room = MOST - sum(other.shown for other in level)
        order.shown = min(order.peak, order.hidden, room)
        order.hidden -= order.shown
        place.insert(at + len(level), order)

    def _fillable(self, new: Order) -> int:
        total = 0
        met = self._meets(new)
        for price in dict.fromkeys(order.price for order in met):
            hidden = 0
            for other in (order for order in met if order.price == price):
                if not self._is_own(new, other):
                    total += other.shown
                    hidden += other.hidden
                elif new.prevention != m.CANCEL_RESTING:
                    return total
            total += hidden
        return total

    # Changes

    def _cancel(self, order: int) -> int:
        if (found := self.find(order)) is None:
            return m.UNKNOWN_ID
        found[0].remove(found[1])
        return m.ACCEPTED

    def _modify(self, order: int, price: int, quantity: int, prevention: int) -> int:
        if (found := self.find(order)) is None:
            return m.UNKNOWN_ID
        place, old = found
        now = old.price if old.stop is None else old.stop
        if old.kind == m.AUCTION_MARKET:
            price = now
        if not 0 <= price < self.levels:
            return m.BAD_PRICE
        if quantity <= 0:
            return m.BAD_QUANTITY
        if price == now and quantity <= old.open:
            old.shown = min(old.shown, quantity)
            old.hidden = quantity - old.shown
            return m.ACCEPTED
        if old.peak and quantity > m.MOST_PEAKS * old.peak:
            return m.MANY_PEAKS
        place.remove(old)
        new = replace(old, shown=quantity, hidden=0)
        if old.stop is not None:
            return self._wait_for_price(replace(new, stop=price))
        if place is self.auction:
            return self._wait_for_auction(replace(new, price=price))
        new = replace(new, kind=m.LIMIT, price=price, prevention=prevention)
        return self._wait_for_auction(new) if self.in_call else self._enter(new)

    # Stops

    def _trigger(self) -> None:
        while not self.in_call:
            prices = [price for _, _, price, _ in self.trades[self.looked_at :]]
            if self.recheck and self.last_price is not None:
                prices.append(self.last_price)
            self.looked_at, self.recheck = len(self.trades), False
            wave = [stop for stop in self.stops if any(_reached(stop, price) for price in prices)]
            if not wave:
                break
            self.stops = [stop for stop in self.stops if stop not in wave]
            for stop in sorted(wave, key=lambda order: order.arrival):
                kind = m.MARKET if stop.kind == m.STOP else m.LIMIT
                self._note(self._enter(replace(stop, kind=kind, stop=None)))

    # Auctions

    def _interest(self, side: int) -> list[Order]:
        """All of a side in the auction's priority; what was in the book comes first at a price."""
        called = [order for order in self.auction if order.side == side]
        both = self.resting_orders[side] + called
        return sorted(both, key=lambda order: -order.price * side)

    def clearing_price(self, reference: int) -> tuple[int, int]:
        """(price, quantity), or (-1, 0)."""
        best = (0, 0, 0, 0)  # quantity, -imbalance, -distance, -price: the larger is better
        for price in range(self.levels):
            demand = sum(o.open for o in self._interest(BUY) if o.price >= price)
            supply = sum(o.open for o in self._interest(SELL) if o.price <= price)
            volume = min(demand, supply)
            if volume > 0:
                ranked = (volume, -abs(demand - supply), -abs(price - reference), -price)
                best = ranked if best[0] == 0 else max(best, ranked)
        return (-best[3], best[0]) if best[0] else (-1, 0)

    def _uncross(self, reference: int) -> int:
        if not self.in_call:
            return m.WRONG_PHASE
        if reference < 0:
            reference = -1 if self.last_price is None else self.last_price
        price, volume = self.clearing_price(reference)
        while volume > 0:
            buy, sell = self._interest(BUY)[0], self._interest(SELL)[0]
            matched = min(volume, buy.shown, sell.shown)
            self.trades.append((buy.order, sell.order, price, matched))
            self.last_price = price
            for order in (buy, sell):
                called = order in self.auction
                self._reduce(
                    self.auction if called else self.resting_orders[order.side], order, matched
                )
            volume -= matched
        self.in_call = False
        left = [order for side in (BUY, SELL) for order in self._interest(side)]
        left = [order for order in left if order in self.auction]
        self.auction = []
        for order in left:
            if order.kind not in (m.AUCTION_MARKET, m.AUCTION_LIMIT):
                self._note(self._rest(order))
        return m.ACCEPTED

    # What tests look at

    def resting(self) -> list[tuple[int, int, int, int]]:
        """(price, id, side, displayed quantity) by price, then priority."""
        both = self.resting_orders[BUY] + self.resting_orders[SELL]
        rows = [(order.price, order.order, order.side, order.shown) for order in both]
        return sorted(rows, key=lambda row: row[0])

    def all_orders(self) -> Iterator[Order]:
        """Every open order."""
        for place in self._places():
            yield from place


def _reached(stop: Order, price: int) -> bool:
    assert stop.stop is not None
    return price >= stop.stop if stop.side == BUY else price <= stop.stop
