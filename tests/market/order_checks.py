"""What the tests of order types share: streams of full rows, both books, open orders."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from experiments.reference_orders import ReferenceOrders
from market import book as lob
from market import order_rows as m
from market.engine import CALL_BUYS, PARTS, TRADING
from market.replay import OrderBook
from tests.market.book_checks import check_parts, trades_of

LEVELS = 64
SLOTS = 10
NEW_KINDS = (
    [m.LIMIT] * 8
    + [m.IOC, m.MARKET, m.FOK, m.POST_ONLY] * 2
    + [m.STOP, m.STOP_LIMIT] * 2
    + [m.AUCTION_MARKET, m.AUCTION_LIMIT]
)
KINDS = [*NEW_KINDS, *[m.CANCEL, m.MODIFY] * 4, m.CALL, m.UNCROSS, m.UNCROSS, m.UNCROSS]


def random_rows(count: int, seed: int, levels: int = LEVELS) -> NDArray[np.int64]:
    """Full rows of all kinds around the middle; some refused, ids often dead, clock rising."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, m.FULL_FIELDS), np.int64)
    index = np.arange(count)
    kind = rng.choice(KINDS, count)
    rows[:, m.KIND] = kind
    names_old = (kind == m.CANCEL) | (kind == m.MODIFY) | (rng.random(count) < 0.03)
    rows[:, m.ID] = np.where(names_old, np.maximum(index - rng.integers(1, 40, count), 0), index)
    rows[:, m.SIDE] = side = rng.choice([lob.BUY, lob.SELL], count)
    price = levels // 2 - side * rng.integers(-3, 6, count)
    rows[:, m.PRICE] = np.where(
        rng.random(count) < 0.04, rng.integers(-5, levels + 5, count), price
    )
    rows[:, m.QUANTITY] = np.where(rng.random(count) < 0.03, 0, rng.integers(1, 30, count))
    now = np.cumsum(rng.integers(0, 3, count))
    rows[:, m.TIME] = np.where(rng.random(count) < 0.3, lob.NONE, now)
    rows[:, m.EXPIRY] = np.where(rng.random(count) < 0.3, now + rng.integers(-1, 40, count), -1)
    stop = levels // 2 + side * rng.integers(-1, 5, count)
    rows[:, m.STOP_PRICE] = np.where(rng.random(count) < 0.04, -3, stop)
    shows = (kind == m.LIMIT) | (kind == m.POST_ONLY)
    rows[:, m.PEAK] = np.where(shows & (rng.random(count) < 0.4), rng.integers(1, 9, count), 0)
    rows[:, m.ACCOUNT] = rng.integers(0, 4, count)
    rows[:, m.PREVENTION] = rng.integers(0, 5, count)
    return rows


@st.composite
def full_rows(draw: st.DrawFn, most: int = 40) -> NDArray[np.int64]:
    """Rows like those of `random_rows`, to be shrunk by hypothesis."""
    rows = []
    now = 0
    for index in range(draw(st.integers(0, most))):
        kind = draw(st.sampled_from(KINDS))
        old = kind in (m.CANCEL, m.MODIFY) or draw(st.integers(0, 20)) == 0
        now += draw(st.integers(0, 2))
        shows = kind in (m.LIMIT, m.POST_ONLY)
        rows.append(
            [
                kind,
                draw(st.integers(0, most)) if old else index,
                draw(st.sampled_from([lob.BUY, lob.SELL])),
                draw(st.integers(28, 36) | st.integers(-1, LEVELS)),
                draw(st.integers(1, 9) | st.sampled_from([0, -1, 2**31 - 1])),
                draw(st.sampled_from([lob.NONE, now])),
                draw(st.just(lob.NONE) | st.integers(0, 50)),
                draw(st.integers(28, 36) | st.just(lob.NONE)),
                draw(st.integers(0, 4)) if shows else 0,
                draw(st.integers(0, 2)),
                draw(st.integers(m.NO_PREVENTION, m.DECREMENT)),
            ]
        )
        now = max(now, rows[-1][m.TIME])
    return np.array(rows, np.int64).reshape(-1, m.FULL_FIELDS)


def order_book(rows: NDArray[np.int64], slots: int = SLOTS) -> OrderBook:
    """A book with room for the ids and trades of `rows`."""
    return OrderBook(LEVELS, slots, ids=max(64, len(rows)), tape=1 << 14)


def open_orders(book: OrderBook) -> list[tuple[int, ...]]:
    """(part, id, price, displayed, hidden) of every order that rests or waits, sorted."""
    out = []
    arrays = book.arrays
    for part in range(PARTS):
        for slot in arrays.live[part, : arrays.header[part, lob.LIVE_COUNT]].tolist():
            row, extra = arrays.orders[part, slot], arrays.extra[part, slot]
            stamped = int(extra[lob.STAMP]) == int(row[lob.GENERATION]) + 1
            hidden = int(extra[lob.HIDDEN]) if stamped else 0
            shown = int(row[lob.QUANTITY])
            out.append((part, int(row[lob.OWNER]), int(row[lob.PRICE]), shown, hidden))
    return sorted(out)


def reference_orders(reference: ReferenceOrders) -> list[tuple[int, ...]]:
    """The same of the reference."""
    out = []
    for order in reference.all_orders():
        part, price = TRADING, order.price
        if order.stop is not None:
            part, price = (1 if order.side == lob.BUY else 2), order.stop
        elif order in reference.auction:
            part = CALL_BUYS if order.side == lob.BUY else CALL_BUYS + 1
        out.append((part, order.order, price, order.shown, order.hidden))
    return sorted(out)


def assert_equal(book: OrderBook, reference: ReferenceOrders) -> None:
    """Trades, queues, waiting orders and refusals are the same, and all invariants hold."""
    assert trades_of(book) == reference.trades
    assert book.resting() == reference.resting()
    assert open_orders(book) == reference_orders(reference)
    counts = {m.REASONS[r]: reference.reasons.count(r) for r in set(reference.reasons)}
    assert book.refusals == counts
    check_parts(book.arrays)
