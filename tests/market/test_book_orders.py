"""Every order type, by hand and against the slow reference, and what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from configs.errors import SimulatorError
from experiments.reference_orders import ReferenceOrders
from market import book as lob
from market import order_rows as m
from market.replay import OrderBook
from tests.market.book_checks import INT32, check_parts, digest, trades_of
from tests.market.order_checks import (
    LEVELS,
    SLOTS,
    assert_equal,
    full_rows,
    open_orders,
    order_book,
    random_rows,
)

BUY, SELL = lob.BUY, lob.SELL


def new_book(slots: int = SLOTS) -> OrderBook:
    return OrderBook(LEVELS, slots, ids=64, tape=1 << 10)


def ids_at(book: OrderBook, price: int) -> list[int]:
    return [order for at, order, _, _ in book.resting() if at == price]


def fills(trades: NDArray[np.int32]) -> list[tuple[int, int, int]]:
    """(maker, price, quantity)."""
    fields = [lob.MAKER, lob.TRADE_PRICE, lob.TRADE_QUANTITY]
    return [tuple(row) for row in trades[:, fields].tolist()]


# The reference


@settings(max_examples=80)
@given(full_rows(), st.sampled_from([2, SLOTS]))
def test_any_stream_equals_the_reference(rows: NDArray[np.int64], slots: int) -> None:
    book, reference = order_book(rows, slots), ReferenceOrders(LEVELS, slots)
    book.replay(rows)
    for row in rows.tolist():
        reference.apply(row)
    assert_equal(book, reference)


@pytest.mark.parametrize("slots", [3, SLOTS, 60])
@pytest.mark.parametrize("seed", range(3))
def test_a_long_stream_equals_the_reference_after_every_message(seed: int, slots: int) -> None:
    rows = random_rows(400, seed)
    book, reference = order_book(rows, slots), ReferenceOrders(LEVELS, slots)
    for index, row in enumerate(rows.tolist()):
        book.replay(rows[index : index + 1])
        reference.apply(row)
        assert_equal(book, reference)


def test_the_streams_reach_every_case() -> None:
    """Else the comparison above would prove less than it says."""
    reasons: set[str] = set()
    happened = np.zeros(3, np.int64)
    for seed in range(3):
        rows = random_rows(400, seed)
        for slots in (3, 60):
            book = order_book(rows, slots)
            book.replay(rows)
            reasons |= set(book.refusals)
            happened += [book.triggered, book.expired, book.prevented]
    assert set(rows[:, m.KIND]) == set(range(m.UNCROSS + 1))
    # The last reason has a test of its own.
    assert reasons == set(m.REASONS[1:-1])
    assert (happened > 20).all()


# What must always hold


@settings(max_examples=60)
@given(full_rows(most=25))
def test_no_message_makes_quantity(rows: NDArray[np.int64]) -> None:
    """What is open and what the message brings goes, twice, into trades, stays, or is dropped."""
    book = order_book(rows)
    for row in rows:
        before = sum(shown + hidden for *_, shown, hidden in open_orders(book))
        traded = sum(fill[3] for fill in trades_of(book))
        book.replay(row[None])
        check_parts(book.arrays)
        after = sum(shown + hidden for *_, shown, hidden in open_orders(book))
        traded = sum(fill[3] for fill in trades_of(book)) - traded
        brings = row[m.KIND] not in (m.CANCEL, m.CALL, m.UNCROSS)
        brought = max(int(row[m.QUANTITY]), 0) if brings else 0
        assert after + 2 * traded <= before + brought
        assert book.best_bid < book.best_ask


@pytest.mark.parametrize("seed", range(3))
def test_the_same_stream_gives_the_same_hash_whole_or_in_chunks(seed: int) -> None:
    rows = random_rows(600, seed)
    whole, again, chunks = (order_book(rows) for _ in range(3))
    whole.replay(rows)
    again.replay(rows.copy())
    for part in np.split(rows, [1, 100, 101, 350]):
        chunks.replay(part)
    assert whole.digest() == again.digest() == chunks.digest()
    other = order_book(rows)
    other.replay(random_rows(600, seed + 100))
    assert other.digest() != whole.digest()


@settings(max_examples=60)
@given(full_rows())
def test_plain_rows_mean_the_same_in_both_forms(rows: NDArray[np.int64]) -> None:
    plain = rows[(rows[:, m.KIND] <= m.MODIFY)][:, : m.MESSAGE_FIELDS]
    plain = plain[np.unique(plain[:, m.ID], return_index=True)[1]]  # no id twice
    narrow, wide = order_book(rows), order_book(rows)
    narrow.replay(plain)
    full = np.zeros((len(plain), m.FULL_FIELDS), np.int64)
    full[:, : m.MESSAGE_FIELDS] = plain
    full[:, [m.TIME, m.EXPIRY, m.STOP_PRICE]] = lob.NONE
    wide.replay(full)
    assert trades_of(narrow) == trades_of(wide)
    assert narrow.resting() == wide.resting()


# One type after another


def test_fill_or_kill_fills_whole_or_not_at_all() -> None:
    book = new_book()
    book.limit(1, SELL, 40, 5)
    book.limit(2, SELL, 41, 9, peak=2)
    before = digest(book.arrays)
    with pytest.raises(SimulatorError, match="fill-or-kill order 3 refused: not fillable"):
        book.fill_or_kill(3, BUY, 41, 15)
    assert digest(book.arrays) == before
    with pytest.raises(SimulatorError, match="not fillable"):
        book.fill_or_kill(3, BUY, 40, 6)
    made = book.fill_or_kill(3, BUY, 41, 14)  # the hidden quantity counts
    assert made[:, lob.TRADE_QUANTITY].sum() == 14
    assert book.resting() == []


def test_post_only_never_takes() -> None:
    book = new_book()
    book.limit(1, SELL, 40, 5)
    with pytest.raises(SimulatorError, match="post-only order 2 refused: would cross"):
        book.post_only(2, BUY, 40, 5)
    assert len(book.post_only(2, BUY, 39, 5)) == 0
    assert book.best_bid == 39


def test_an_iceberg_shows_its_peaks_one_after_another_from_the_back() -> None:
    book = new_book()
    book.limit(1, SELL, 40, 10, peak=4)
    book.limit(2, SELL, 40, 3)
    assert book.resting() == [(40, 1, SELL, 4), (40, 2, SELL, 3)]
    assert fills(book.market(3, BUY, 5)) == [(1, 40, 4), (2, 40, 1)]
    assert book.resting() == [(40, 2, SELL, 2), (40, 1, SELL, 4)]
    assert fills(book.market(4, BUY, 20)) == [(2, 40, 2), (1, 40, 4), (1, 40, 2)]
    assert book.resting() == []


def test_an_iceberg_of_too_many_peaks_is_refused() -> None:
    """One message could else make as many trades as int32 has numbers."""
    book = new_book()
    with pytest.raises(SimulatorError, match="more than a thousand peaks"):
        book.limit(1, SELL, 40, 2 * m.MOST_PEAKS + 1, peak=2)
    book.limit(1, SELL, 40, 2 * m.MOST_PEAKS, peak=2)
    with pytest.raises(SimulatorError, match="more than a thousand peaks"):
        book.modify(1, 40, 2 * m.MOST_PEAKS + 1)
    assert len(book.market(2, BUY, INT32.max)) == m.MOST_PEAKS


def test_an_iceberg_keeps_its_handle_and_place_until_its_peak_is_gone() -> None:
    book = new_book()
    book.limit(1, SELL, 40, 10, peak=4)
    book.limit(2, SELL, 40, 3)
    book.market(3, BUY, 3)
    assert book.resting() == [(40, 1, SELL, 1), (40, 2, SELL, 3)]
    book.modify(1, 40, 2)  # of seven open
    assert book.resting() == [(40, 1, SELL, 1), (40, 2, SELL, 3)]
    assert fills(book.market(4, BUY, 9)) == [(1, 40, 1), (2, 40, 3), (1, 40, 1)]


def test_a_stop_waits_for_its_price_and_enters_after_the_message_that_reached_it() -> None:
    book = new_book()
    for price in (40, 41, 42):
        book.limit(price, SELL, price, 5)
    book.stop(1, BUY, 41, 4)
    assert len(book.market(2, BUY, 5)) == 1
    made = book.market(3, BUY, 6)
    # The taker has had 41 and 42 before the stop takes what is left.
    assert [tuple(row) for row in made[:, [1, 2, 3]].tolist()] == [
        (3, 41, 5), (3, 42, 1), (1, 42, 4),
    ]  # fmt: skip


def test_stops_of_one_wave_enter_in_order_of_arrival() -> None:
    book = new_book()
    book.limit(40, SELL, 40, 3)
    book.limit(45, SELL, 45, 1)
    book.limit(46, SELL, 46, 1)
    book.stop(1, BUY, 40, 1)
    book.stop(2, BUY, 39, 1)
    made = book.market(3, BUY, 3)
    assert made[:, lob.TAKER].tolist() == [3, 1, 2]


def test_a_cascade_of_stops_ends() -> None:
    book = new_book(slots=60)
    for index in range(20):
        book.limit(index, SELL, 20 + index, 1)
        book.stop(20 + index, BUY, 20 + index, 1)
    made = book.market(50, BUY, 1)
    assert made[:, lob.TAKER].tolist() == [50, *range(20, 39)]
    assert book.triggered == 20  # the last found nothing
    assert open_orders(book) == []


def test_a_stop_limit_rests_where_it_cannot_trade_and_a_reached_stop_enters_at_once() -> None:
    book = new_book()
    book.limit(1, SELL, 40, 1)
    book.market(2, BUY, 1)
    book.stop(3, BUY, 40, 5, limit=38)
    assert book.resting() == [(38, 3, BUY, 5)]
    book.stop(4, BUY, 41, 5)
    book.cancel(4)
    assert len(open_orders(book)) == 1


@pytest.mark.parametrize("stop", [-1, LEVELS])
def test_a_stop_at_an_impossible_price_is_refused(stop: int) -> None:
    book = new_book()
    with pytest.raises(SimulatorError, match="stop order 1 refused: price or stop price off"):
        book.stop(1, BUY, stop, 5)


def test_an_order_expires_strictly_before_a_message_of_a_later_time() -> None:
    book = new_book()
    book.advance(10)
    book.limit(1, SELL, 40, 5, expires=20)
    book.stop(2, BUY, 50, 5, expires=20)
    book.advance(20)
    assert len(open_orders(book)) == 2
    book.advance(21)
    assert open_orders(book) == [] and book.expired == 2
    with pytest.raises(SimulatorError, match="expiry is past"):
        book.limit(3, SELL, 40, 5, expires=20)
    with pytest.raises(SimulatorError, match="time 20: expected at least 21"):
        book.advance(20)


def test_expiries_of_dead_orders_never_fill_the_heap() -> None:
    book = OrderBook(LEVELS, 3, ids=64, tape=1 << 10)
    book.limit(1, BUY, 10, 1, expires=500)
    for turn in range(200):
        book.limit(2, BUY, 11, 1, expires=100 + turn % 7)
        book.cancel(2)
    check_parts(book.arrays)
    book.advance(501)
    assert open_orders(book) == [] and book.expired == 1


@pytest.mark.parametrize(
    ("prevention", "made", "left"),
    [
        (m.NO_PREVENTION, [(1, 40, 5), (2, 40, 5), (3, 41, 2)], [(41, 3, SELL, 3)]),
        (m.CANCEL_RESTING, [(2, 40, 5), (3, 41, 5)], [(41, 9, BUY, 2)]),
        (m.CANCEL_INCOMING, [], [(40, 1, SELL, 5), (40, 2, SELL, 5), (41, 3, SELL, 5)]),
        (m.CANCEL_BOTH, [], [(40, 2, SELL, 5), (41, 3, SELL, 5)]),
        (m.DECREMENT, [(2, 40, 5), (3, 41, 2)], [(41, 3, SELL, 3)]),
    ],
)
def test_self_trade_prevention(
    prevention: int, made: list[tuple[int, int, int]], left: list[tuple[int, int, int, int]]
) -> None:
    book = new_book()
    book.limit(1, SELL, 40, 5, account=7)
    book.limit(2, SELL, 40, 5, account=8)
    book.limit(3, SELL, 41, 5)
    assert fills(book.limit(9, BUY, 41, 12, account=7, prevention=prevention)) == made
    assert book.resting() == left


def test_a_change_that_only_shrinks_keeps_its_place() -> None:
    book = new_book()
    book.limit(1, SELL, 40, 5)
    book.limit(2, SELL, 40, 5)
    book.modify(1, 40, 4)
    assert ids_at(book, 40) == [1, 2]
    book.modify(1, 40, 5)
    assert ids_at(book, 40) == [2, 1]


# Auctions


def test_orders_gather_in_a_call_and_uncross_where_most_trades() -> None:
    book = new_book()
    book.call()
    assert len(book.limit(1, BUY, 42, 10)) == 0
    book.limit(2, BUY, 41, 5)
    book.limit(3, SELL, 40, 8)
    book.limit(4, SELL, 41, 6)
    assert book.resting() == []
    made = book.uncross(0)
    assert set(made[:, lob.TRADE_PRICE].tolist()) == {41}
    assert made[:, lob.TRADE_QUANTITY].sum() == 14
    assert book.resting() == [(41, 2, BUY, 1)]


def test_ties_go_to_the_least_imbalance_then_to_the_reference() -> None:
    book = new_book()
    book.call()
    book.limit(1, BUY, 44, 10)
    book.limit(2, SELL, 40, 10)
    book.limit(3, BUY, 41, 3)  # at 40 and 41 three more would buy
    assert set(book.uncross(43)[:, lob.TRADE_PRICE].tolist()) == {43}
    low, high = 42, 44
    for reference, price in ((0, low), (63, high)):
        book = new_book()
        book.call()
        book.limit(1, BUY, high, 10)
        book.limit(2, SELL, 40, 10)
        book.limit(3, BUY, 41, 3)
        assert set(book.uncross(reference)[:, lob.TRADE_PRICE].tolist()) == {price}


def test_auction_orders_at_market_trade_first_and_never_rest() -> None:
    book = new_book()
    book.limit(1, SELL, 45, 4)
    book.market_on_auction(2, BUY, 10)
    book.limit_on_auction(3, BUY, 50, 10)
    book.call()
    book.limit(4, SELL, 44, 3)
    made = book.uncross(44)
    assert made[:, lob.MAKER].tolist() == [2, 2]
    assert made[:, lob.TRADE_QUANTITY].tolist() == [3, 4]
    assert open_orders(book) == []


@pytest.mark.parametrize("kind", ["market", "immediate", "fill_or_kill", "post_only"])
def test_nothing_is_immediate_in_a_call(kind: str) -> None:
    book = new_book()
    book.call()
    arguments = (1, BUY, 5) if kind == "market" else (1, BUY, 40, 5)
    with pytest.raises(SimulatorError, match="not in this phase"):
        getattr(book, kind)(*arguments)


def test_a_call_within_a_call_and_an_uncrossing_outside_one_are_refused() -> None:
    book = new_book()
    with pytest.raises(SimulatorError, match="not in this phase"):
        book.uncross()
    book.call()
    with pytest.raises(SimulatorError, match="not in this phase"):
        book.call()
    assert len(book.uncross()) == 0


def test_a_stop_waits_through_the_call_for_the_auction_price() -> None:
    book = new_book()
    book.stop(1, BUY, 40, 2)
    book.call()
    book.limit(2, BUY, 41, 5)
    book.limit(3, SELL, 40, 9)
    made = book.uncross(41)
    assert made[-1, lob.TAKER] == 1 and made[-1, lob.TRADE_PRICE] == 40


# Refusals


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        (m.ID, 64, "id 0 to 63"),
        (m.KIND, m.UNCROSS + 1, "kind 0 to 12"),
        (m.SIDE, 0, "side 1 or -1"),
        (m.PRICE, 2**31, "within int32"),
        (m.QUANTITY, -(2**40), "within int32"),
        (m.STOP_PRICE, 2**31, "within int32"),
        (m.TIME, 3, "a time of at least 5"),
        (m.TIME, -2, "a time of at least 5"),
        (m.EXPIRY, -2, "an expiry from 0"),
        (m.PEAK, -1, "a peak of 0 to"),
        (m.ACCOUNT, -1, "an account from 1"),
        (m.PREVENTION, 5, "prevention 0 to 4"),
    ],
)
def test_malformed_full_rows_are_refused_whole(field: int, value: int, says: str) -> None:
    book = new_book()
    rows = random_rows(3, 0)
    rows[:, [m.TIME, m.PEAK]] = [5, 0]
    rows[:, m.KIND] = m.LIMIT
    rows[2, field] = value
    before = book.digest()
    with pytest.raises(SimulatorError, match=f"message 2 is malformed: .*{says}"):
        book.replay(rows)
    assert book.digest() == before


def test_only_limit_orders_have_a_peak() -> None:
    rows = random_rows(1, 0)
    rows[0, [m.KIND, m.PEAK]] = [m.MARKET, 3]
    with pytest.raises(SimulatorError, match="only limit orders have one"):
        new_book().replay(rows)


def test_refusals_are_counted_by_reason_and_change_nothing() -> None:
    book = new_book(slots=2)
    book.limit(1, BUY, 30, 5)
    book.limit(2, BUY, 31, 5)
    before = digest(book.arrays)
    refused = [
        ("the id names a live order", lambda: book.limit(1, BUY, 29, 5)),
        ("price or stop price off the ladder", lambda: book.limit(3, BUY, LEVELS, 5)),
        ("quantity is not positive", lambda: book.limit(3, BUY, 30, 0)),
        ("no free slot", lambda: book.limit(3, BUY, 30, 5)),
        ("the id names no live order", lambda: book.cancel(9)),
        ("the id names no live order", lambda: book.modify(9, 30, 1)),
    ]
    for reason, refuse in refused:
        with pytest.raises(SimulatorError, match=reason):
            refuse()
        assert digest(book.arrays) == before
    assert sum(book.refusals.values()) == len(refused)


def test_a_peak_is_cut_where_the_level_would_pass_int32() -> None:
    book = new_book()
    book.limit(1, SELL, 40, 200, peak=100)
    book.market(2, BUY, 60)
    book.limit(3, SELL, 40, INT32.max - 40)
    assert fills(book.market(4, BUY, 40)) == [(1, 40, 40)]
    assert book.resting() == [(40, 3, SELL, INT32.max - 40), (40, 1, SELL, 40)]
    check_parts(book.arrays)
