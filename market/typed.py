"""One order at a time, by name: what `OrderBook` offers to people."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import SimulatorError
from market import book as lob
from market.order_rows import (
    AUCTION_LIMIT,
    AUCTION_MARKET,
    CALL,
    CANCEL,
    FOK,
    FULL_FIELDS,
    IOC,
    KIND_NAMES,
    LIMIT,
    MARKET,
    MODIFY,
    NO_PREVENTION,
    POST_ONLY,
    STOP,
    STOP_LIMIT,
    UNCROSS,
)

Trades = NDArray[np.int32]


class TypedOrders(ABC):
    """Orders by name. Each returns the trades it made, int32 [n, TRADE_FIELDS].

    Common arguments: `order`, its id; `side`, BUY (1) or SELL (-1); `price` in ticks from
    the ladder's lowest; `expires`, the last time at which the order stands (None: till
    cancelled); `account` (0: none) and `prevention`, what the order does where it meets
    its own account (`market.order_rows`).

    Each raises SimulatorError where the order is malformed or refused; nothing has
    changed then, but for what a resting order had traded before no slot was left.
    """

    tape: NDArray[np.int32]
    trade_count: NDArray[np.int64]

    @abstractmethod
    def replay(self, messages: NDArray[np.integer[Any]]) -> None:
        """Apply rows of `market.order_rows`, [n, FULL_FIELDS]."""

    @abstractmethod
    def _last_refusal(self) -> str | None:
        """Why the last row was refused; None where it was not."""

    def limit(
        self,
        order: int,
        side: int,
        price: int,
        quantity: int,
        *,
        peak: int = 0,
        expires: int | None = None,
        account: int = 0,
        prevention: int = NO_PREVENTION,
    ) -> Trades:
        """Trade up to `price`, rest what is left; with a `peak`, an iceberg that shows so much.

        In a call the order waits for the uncrossing.
        """
        return self._send(
            LIMIT, order, side, price, quantity, expires, peak=peak,
            account=account, prevention=prevention,
        )  # fmt: skip

    def post_only(
        self,
        order: int,
        side: int,
        price: int,
        quantity: int,
        *,
        peak: int = 0,
        expires: int | None = None,
        account: int = 0,
    ) -> Trades:
        """Rest, or be refused where the order would trade."""
        return self._send(
            POST_ONLY, order, side, price, quantity, expires, peak=peak, account=account
        )

    def immediate(
        self,
        order: int,
        side: int,
        price: int,
        quantity: int,
        *,
        account: int = 0,
        prevention: int = NO_PREVENTION,
    ) -> Trades:
        """Trade up to `price` now and drop what is left (immediate-or-cancel)."""
        return self._send(IOC, order, side, price, quantity, account=account, prevention=prevention)

    def fill_or_kill(
        self,
        order: int,
        side: int,
        price: int,
        quantity: int,
        *,
        account: int = 0,
        prevention: int = NO_PREVENTION,
    ) -> Trades:
        """Trade the whole quantity up to `price` now, or be refused."""
        return self._send(FOK, order, side, price, quantity, account=account, prevention=prevention)

    def market(
        self,
        order: int,
        side: int,
        quantity: int,
        *,
        account: int = 0,
        prevention: int = NO_PREVENTION,
    ) -> Trades:
        """Trade now at any price; what the book cannot fill is dropped."""
        return self._send(MARKET, order, side, 0, quantity, account=account, prevention=prevention)

    def stop(
        self,
        order: int,
        side: int,
        stop_price: int,
        quantity: int,
        *,
        limit: int | None = None,
        expires: int | None = None,
        account: int = 0,
        prevention: int = NO_PREVENTION,
    ) -> Trades:
        """A market order, or one with a `limit`, once a trade has reached `stop_price`."""
        kind = STOP if limit is None else STOP_LIMIT
        return self._send(
            kind, order, side, limit or 0, quantity, expires, stop_price=stop_price,
            account=account, prevention=prevention,
        )  # fmt: skip

    def cancel(self, order: int) -> Trades:
        """Withdraw a live order, whether it rests or waits."""
        return self._send(CANCEL, order, lob.BUY, 0, 0)

    def modify(
        self, order: int, price: int, quantity: int, *, prevention: int = NO_PREVENTION
    ) -> Trades:
        """Another price (of a stop its stop price) and open quantity for a live order.

        It keeps its place in the queue where it only shrinks. Else it enters anew, as a
        limit order that may trade, and is dropped where no room is left.
        """
        return self._send(MODIFY, order, lob.BUY, price, quantity, prevention=prevention)

    def market_on_auction(self, order: int, side: int, quantity: int) -> Trades:
        """Trade at the price of the next uncrossing, whatever it is, or not at all."""
        return self._send(AUCTION_MARKET, order, side, 0, quantity)

    def limit_on_auction(self, order: int, side: int, price: int, quantity: int) -> Trades:
        """Trade in the next uncrossing up to `price`; what is left is dropped."""
        return self._send(AUCTION_LIMIT, order, side, price, quantity)

    def call(self) -> None:
        """Begin a call: limit orders gather without trading, immediate ones are refused."""
        self._send(CALL, 0, lob.BUY, 0, 0)

    def uncross(self, reference: int | None = None) -> Trades:
        """End the call at the price where most trades (ties: see `market.auction`)."""
        price = lob.NONE if reference is None else reference
        return self._send(UNCROSS, 0, lob.BUY, price, 0)

    def _send(
        self,
        kind: int,
        order: int,
        side: int,
        price: int,
        quantity: int,
        expires: int | None = None,
        *,
        stop_price: int = lob.NONE,
        peak: int = 0,
        account: int = 0,
        prevention: int = NO_PREVENTION,
    ) -> Trades:
        expiry = lob.NONE if expires is None else expires
        row = np.array(
            [kind, order, side, price, quantity, lob.NONE, expiry, stop_price, peak, account,
             prevention]
        ).reshape(1, FULL_FIELDS)  # fmt: skip
        before = int(self.trade_count[0])
        self.replay(row)
        refusal = self._last_refusal()
        if refusal is not None:
            raise SimulatorError(
                f"{KIND_NAMES[kind]} order {order} refused: {refusal} "
                f"(side {side}, price {price}, quantity {quantity})"
            )
        made = min(int(self.trade_count[0]) - before, len(self.tape))
        numbers = np.arange(int(self.trade_count[0]) - made, int(self.trade_count[0]))
        return self.tape[numbers % len(self.tape)]
