"""A market as it was: the messages of a file through a real book, own orders among them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.errors import SimulatorError
from market import book as lob
from market import history_layout as layout
from market.history_kernels import advance_to, depth_behind
from market.history_layout import NONE, OFF_LADDER, HistoryArrays
from market.history_own import cancel_own, queue_ahead_of, submit_own
from market.message_table import ADD, EXECUTE
from market.messages import Messages

_MARGIN = 64  # ticks that the ladder reaches beyond the file's orders, for own ones
_FIRST_ROOM = 64  # own orders and fills that need no larger array
_NS = 1e9

FILL = np.dtype(
    [
        ("time", np.float64),  # seconds in the file's clock
        ("handle", np.int64),
        ("price", np.int64),  # ticks
        ("quantity", np.int64),
        ("side", np.int8),  # of the own order
        ("maker", np.bool_),  # the own order rested
        # Id of the file's order on the other side of an own taker or of an add that ran
        # into it; of a maker before an execution, the order that the file executed. -1: none.
        ("order", np.int64),
    ]
)


class Quote(NamedTuple):
    """Best prices in ticks, None where a side is empty, and the quantities there."""

    bid: int | None
    bid_quantity: int
    ask: int | None
    ask_quantity: int


class HistoricalMarket:
    """Messages of a file replayed through one book, which own orders may join.

    The book starts empty and takes each message in the file's order. A message of an
    order that the file never added touches nothing (its executions are counted). An
    execution shrinks the very order that the file names. Hidden executions and
    crosses are counted and touch no displayed order. An order of the file that a
    later add crosses is stale: its end lay outside the file; it leaves, counted.
    Orders at prices that the ladder does not have are parked, and counted.

    Own orders follow these rules, and history bends no further than they say:

    1. A resting own order stands at the end of its level's queue, and keeps its
       place by time among the file's orders.
    2. Where the file executes an order, the aggressor first meets the own orders of
       that side at a better price, and those at the same price that came before the
       executed order. What they take is taken from the aggressor. The file's order
       leaves the book by the file's quantity all the same: the part of which an own
       order had the fill counts as displaced (withdrawn), not as traded. So traded
       quantity and the later book stay the file's own.
    3. Before a hidden execution stand the own orders at a better price and at the
       same one: displayed orders come first. An order from before the file's start
       stands before every own order of its price.
    4. An add of the file that runs into own orders trades with them, at their
       prices; only the rest of it enters the book.
    5. An own order that crosses takes displayed quantity, best price first. The
       file's orders that it took are gone: a later cancel of them shrinks what is
       left, a later execution finds less, and the aggressor's remainder is dropped
       and counted as unserved. Nothing is put back: the book stays thinner by what
       was taken until the file's own messages end those orders.
    6. Own orders never trade with each other: one that stands in another's way is
       cancelled.
    7. While trading is halted own orders are refused; cancels are not.

    Its limits: nobody in the file reacts to own orders; an aggressor's limit beyond
    the price in the file is not known; `queue_ahead` cannot see orders from before
    the start; latency is the caller's: an order arrives at `now`.

    Args:
        messages: from `load_messages`.
        own_orders: most own orders that may rest at once.
        record: keep the best quote after every message, see `best`.
    """

    def __init__(self, messages: Messages, own_orders: int = 1024, record: bool = False) -> None:
        if own_orders < 0:
            raise SimulatorError(f"HistoricalMarket own_orders={own_orders}: expected >= 0")
        self.messages = messages
        self.base, levels = ladder_of(messages)
        self._own_orders = own_orders
        slots = messages.peak + own_orders + 1
        self._arrays = HistoryArrays(
            time=messages.time,
            rows=_stream(messages, self.base, levels),
            price=messages.price - self.base,
            handles=np.full(len(messages.ids), NONE, np.int64),
            added=np.zeros(len(messages.ids), np.int32),
            book=lob.allocate(1, levels, slots),
            own=np.zeros((_FIRST_ROOM, layout.OWN_FIELDS), np.int64),
            live=np.zeros(_FIRST_ROOM, np.int64),
            fills=np.zeros((_FIRST_ROOM, layout.FILL_FIELDS), np.int64),
            state=np.zeros(layout.STATE_FIELDS, np.int64),
            counts=np.zeros(len(layout.COUNTS), np.int64),
            best=np.zeros((len(messages) if record else 0, 4), np.int32),
        )
        self._now = int(messages.time[0])

    @property
    def now(self) -> float:
        """Seconds in the file's clock up to which messages are applied."""
        return self._now / _NS

    @property
    def applied(self) -> int:
        """Messages applied so far."""
        return int(self._arrays.state[layout.CURSOR])

    @property
    def halted(self) -> bool:
        """Whether trading is halted now."""
        return bool(self._arrays.state[layout.HALTED])

    def advance(self, until: float | None = None) -> int:
        """Apply the messages up to `until` seconds, inclusive; all of them where None.

        Returns how many were applied.

        Raises:
            SimulatorError: `until` lies before `now`, or is no number.
        """
        to = int(self.messages.time[-1]) if until is None else _nanoseconds(until)
        if to < self._now:
            raise SimulatorError(
                f"advance(until={until}): expected a time from now={self.now:.9f} s on; the"
                " replay of a file cannot go back, open it anew"
            )
        before = self.applied
        while not advance_to(self._arrays, to):
            self._grow("fills")
        self._now = to
        return self.applied - before

    def submit(self, side: int, price: int, quantity: int, rests: bool = True) -> int:
        """An own limit order (`rests`) or immediate-or-cancel one, arriving now.

        Args:
            side: 1 buys, -1 sells.
            price: ticks above zero, a price of the ladder (`base` on, `levels` of them).
            quantity: units, 1 to 2**31 - 1.

        Returns:
            Its handle, >= 0, also where nothing of it rests.

        Raises:
            SimulatorError: a side, price or quantity that cannot be; trading is halted;
                too many own orders rest.
        """
        levels = int(self._arrays.book.header[0, lob.LEVELS])
        self._refuse(side, price, quantity, levels)
        if rests and self._arrays.state[layout.OWN_LIVE] >= self._own_orders:
            raise SimulatorError(
                f"{self._own_orders} own orders rest already: cancel one, or give own_orders=MORE"
            )
        self._make_room()
        handle = int(
            submit_own(self._arrays, side, price - self.base, int(quantity), rests, self._now)
        )
        if handle == layout.REJECTED_HALTED:
            raise SimulatorError(f"trading is halted at {self.now:.9f} s: submit once it resumes")
        if handle < 0:
            raise SimulatorError(
                f"submit(quantity={quantity}) at price {price}: the level would hold more than"
                " 2**31 - 1 units; submit less"
            )
        return handle

    def cancel(self, handle: int) -> int:
        """Cancel an own order. Returns the quantity cancelled, 0 where it is gone."""
        return int(cancel_own(self._arrays, self._checked(handle)))

    def queue_ahead(self, handle: int) -> int:
        """Quantity before an own order in its level, -1 where it does not rest."""
        return int(queue_ahead_of(self._arrays, self._checked(handle)))

    def open_quantity(self, handle: int) -> int:
        """What of an own order still rests."""
        return int(self._arrays.own[self._checked(handle), layout.LEFT])

    @property
    def fills(self) -> NDArray[np.void]:
        """FILL [fills] of own orders so far, oldest first."""
        rows = self._arrays.fills[: self._arrays.state[layout.FILLS]]
        out = np.zeros(len(rows), FILL)
        out["time"] = rows[:, layout.FILL_TIME] / _NS
        out["handle"] = rows[:, layout.FILL_OWN]
        out["price"] = rows[:, layout.FILL_PRICE] + self.base
        out["quantity"] = rows[:, layout.FILL_QUANTITY]
        out["side"] = rows[:, layout.FILL_SIDE]
        out["maker"] = rows[:, layout.FILL_MAKER]
        other = rows[:, layout.FILL_OTHER]
        out["order"] = -1
        if len(self.messages.ids):
            out["order"] = np.where(other >= 0, self.messages.ids[other], -1)
        return out

    @property
    def counts(self) -> dict[str, int]:
        """What the replay met so far, by the names in `history_layout.COUNTS`."""
        return dict(zip(layout.COUNTS, self._arrays.counts.tolist(), strict=True))

    @property
    def quote(self) -> Quote:
        """The best prices now, own orders included."""
        header, levels = self._arrays.book.header[0], self._arrays.book.levels[0]
        bid, ask = int(header[lob.BEST_BID]), int(header[lob.BEST_ASK])
        empty = ask >= len(levels)
        return Quote(
            None if bid < 0 else bid + self.base,
            0 if bid < 0 else int(levels[bid, lob.DEPTH]),
            None if empty else ask + self.base,
            0 if empty else int(levels[ask, lob.DEPTH]),
        )

    @property
    def best(self) -> NDArray[np.int32]:
        """int32 [applied, 4]: bid, bid quantity, ask, ask quantity after each message.

        Ladder ticks; a bid of -1 or an ask of `levels` is an empty side. Empty without
        `record`.
        """
        return self._arrays.best[: self.applied]

    @property
    def levels(self) -> int:
        """Prices of the ladder, from `base` on."""
        return int(self._arrays.book.header[0, lob.LEVELS])

    @property
    def arrays(self) -> HistoryArrays:
        """The arrays that kernels work on."""
        return self._arrays

    def add_depth(self, out: NDArray[np.float64]) -> bool:
        """Add to `out` [k] the mean of both sides' quantity k ticks behind the best quote.

        False, and nothing added, where a side is empty.
        """
        return bool(depth_behind(self._arrays, out))

    def _refuse(self, side: int, price: int, quantity: int, levels: int) -> None:
        if side not in (lob.BUY, lob.SELL):
            raise SimulatorError(f"submit(side={side}): expected {lob.BUY} (buy) or {lob.SELL}")
        whole = isinstance(price, int | np.integer) and isinstance(quantity, int | np.integer)
        if not whole or not 0 <= price - self.base < levels:
            raise SimulatorError(
                f"submit(price={price}, quantity={quantity}): expected whole numbers, the price"
                f" {self.base} to {self.base + levels - 1} ticks, the ladder of this file"
            )
        if not 1 <= quantity <= np.iinfo(np.int32).max:
            raise SimulatorError(f"submit(quantity={quantity}): expected 1 to 2**31 - 1")

    def _checked(self, handle: int) -> int:
        count = int(self._arrays.state[layout.OWN_COUNT])
        if not 0 <= handle < count:
            raise SimulatorError(
                f"own order {handle} does not exist: expected a handle that submit() gave"
                f" (0 to {count - 1})"
            )
        return int(handle)

    def _make_room(self) -> None:
        """Room for one more own order, and for a fill with every order that rests."""
        state = self._arrays.state
        if state[layout.OWN_COUNT] >= len(self._arrays.own):
            self._grow("own")
            self._grow("live")
        resting = int(self._arrays.book.header[0, lob.LIVE_COUNT])
        while state[layout.FILLS] + resting > len(self._arrays.fills):
            self._grow("fills")

    def _grow(self, name: str) -> None:
        old = getattr(self._arrays, name)
        grown: dict[str, Any] = {name: np.concatenate([old, np.zeros_like(old)])}
        self._arrays = self._arrays._replace(**grown)


def ladder_of(messages: Messages) -> tuple[int, int]:
    """Lowest price in ticks, and number of levels, of a ladder for the file's orders.

    All prices where they fit; else the widest window allowed, about the median add.
    """
    visible = messages.known & (messages.kind == ADD)
    prices = messages.price[visible] if visible.any() else np.zeros(1)
    low, high = int(prices.min()) - _MARGIN, int(prices.max()) + _MARGIN
    levels = -(-(high - low + 1) // lob.WORD_BITS) * lob.WORD_BITS
    if levels <= messages.max_levels:
        return low, levels
    return int(np.median(prices)) - messages.max_levels // 2, messages.max_levels


def _stream(messages: Messages, base: int, levels: int) -> NDArray[np.int32]:
    """The rows that the kernel reads."""
    rows = np.zeros((len(messages), layout.STREAM_FIELDS), np.int32)
    in_book = (messages.kind >= ADD) & (messages.kind <= EXECUTE)
    ticks = np.where(in_book, messages.price, 0.0).astype(np.int64) - base
    rows[:, layout.KIND] = messages.kind
    rows[:, layout.ORDER] = np.where(messages.known, messages.order, NONE)
    rows[:, layout.SIZE] = messages.size
    rows[:, layout.PRICE] = np.where((ticks >= 0) & (ticks < levels), ticks, OFF_LADDER)
    rows[:, layout.SIDE] = messages.side
    return rows


def _nanoseconds(seconds: float) -> int:
    if not abs(seconds) * _NS < np.iinfo(np.int64).max:
        raise SimulatorError(f"advance(until={seconds}): expected a finite number of seconds")
    return round(seconds * _NS)
