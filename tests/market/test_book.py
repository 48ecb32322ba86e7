"""The array book against the slow reference, its invariants, its handles and its bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from market import book as lob
from market.order_rows import REASONS, widened
from market.replay import CANCEL, IOC, KIND, LIMIT, MARKET, MODIFY, PRICE, QUANTITY, OrderBook
from tests.market.book_checks import (
    INT32,
    LEVELS,
    SLOTS,
    array_book,
    check_invariants,
    digest,
    long_stream,
    messages,
    queue_of,
    reference_after,
    trades_of,
)
from tests.market.book_kernels import (
    cancel_at,
    limit_at,
    modify_at,
    queue_ahead_at,
    replay_at,
    reset_at,
    slot_at,
)

BUY, SELL = lob.BUY, lob.SELL
SEEDS = range(6)


def replayed(rows: NDArray[np.int32], levels: int = LEVELS, slots: int = SLOTS) -> OrderBook:
    book = array_book(rows, levels, slots)
    book.replay(rows)
    return book


class Desk:
    """Books driven by handle, with a tape of their own."""

    def __init__(self, books: int = 1, levels: int = LEVELS, slots: int = SLOTS) -> None:
        self.arrays = lob.allocate(books, levels, slots)
        self.tape = np.zeros((1 << 12, lob.TRADE_FIELDS), np.int32)
        self.count = np.zeros(1, np.int64)

    def limit(self, side: int, price: int, quantity: int, owner: int = 1, book: int = 0) -> int:
        return limit_at(self.arrays, book, self.tape, self.count, side, price, quantity, owner)

    def modify(self, handle: int, price: int, quantity: int) -> int:
        return modify_at(self.arrays, 0, self.tape, self.count, handle, price, quantity)

    def cancel(self, handle: int) -> int:
        return cancel_at(self.arrays, 0, handle)

    def owners(self, price: int) -> list[int]:
        return [int(self.arrays.orders[0, s, lob.OWNER]) for s in queue_of(self.arrays, 0, price)]


# The reference


@settings(max_examples=300)
@given(messages())
def test_any_stream_equals_the_reference(rows: NDArray[np.int32]) -> None:
    book, reference = replayed(rows), reference_after(rows)
    assert trades_of(book) == reference.trades
    assert book.resting() == reference.resting()
    assert book.refusals == reference.refusals
    check_invariants(book.arrays)


@pytest.mark.parametrize("slots", [3, 40, 400])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_long_stream_equals_the_reference(seed: int, slots: int) -> None:
    rows = long_stream(4000, seed)
    book, reference = replayed(rows, slots=slots), reference_after(rows, slots=slots)
    assert len(reference.trades) > 300
    assert trades_of(book) == reference.trades
    assert book.resting() == reference.resting()
    assert book.refusals == reference.refusals
    check_invariants(book.arrays)


def test_the_streams_reach_every_case() -> None:
    """Else the comparison above would prove less than it says."""
    rows = long_stream(4000, 0)
    assert set(rows[:, KIND]) == {LIMIT, IOC, MARKET, CANCEL, MODIFY}
    assert (rows[:, PRICE] < 0).any() and (rows[:, PRICE] >= LEVELS).any()
    assert (rows[:, QUANTITY] <= 0).any()
    full = replayed(rows, slots=3)
    assert full.arrays.header[0, lob.FRESH] == 3
    assert len(full.trades) != len(replayed(rows, slots=400).trades)


# Invariants


@given(messages(most=25))
def test_quantity_is_conserved_by_every_message(rows: NDArray[np.int32]) -> None:
    book = array_book(rows)
    for row in rows:
        before = {order: (price, size) for price, order, _, size in book.resting()}
        traded_before = int(book.trades[:, lob.TRADE_QUANTITY].sum())
        book.replay(row[None])
        check_invariants(book.arrays)
        traded = int(book.trades[:, lob.TRADE_QUANTITY].sum()) - traded_before
        change = sum(size for *_, size in book.resting()) - sum(s for _, s in before.values())
        kind, order, _, price, quantity = row.tolist()
        valid = quantity > 0 and (kind in (MARKET, CANCEL) or 0 <= price < LEVELS)
        valid &= kind in (CANCEL, MODIFY) or order not in before
        resting_now = {order: size for _, order, _, size in book.resting()}
        open_price, open_size = before.get(order, (lob.NONE, 0))
        if kind == CANCEL:
            assert (traded, change) == (0, -open_size)
        elif not valid or (kind == MODIFY and order not in before):
            assert (traded, change) == (0, 0)
        elif kind == MODIFY and price == open_price and quantity <= open_size:
            assert (traded, change) == (0, quantity - open_size)
        else:
            assert traded <= quantity
            assert change == resting_now.get(order, 0) - open_size - traded
            if order in resting_now:
                assert resting_now[order] == quantity - traded


@pytest.mark.parametrize("seed", SEEDS)
def test_best_price_and_earliest_order_first(seed: int) -> None:
    book = replayed(long_stream(4000, seed, modifies=False), slots=400)
    trades = book.trades
    assert len(trades) > 300
    same_taker = trades[1:, lob.TAKER] == trades[:-1, lob.TAKER]
    worse = np.diff(trades[:, lob.TRADE_PRICE]) * trades[1:, lob.TAKER_SIDE]
    assert (worse[same_taker] >= 0).all()
    # Without changes an order's id is its time of arrival.
    same_level = same_taker & (worse == 0)
    assert same_level.any()
    assert (np.diff(trades[:, lob.MAKER])[same_level] > 0).all()


def test_a_partial_fill_and_a_smaller_size_keep_their_place() -> None:
    desk = Desk()
    first = desk.limit(SELL, 60, 10, owner=1)
    desk.limit(SELL, 60, 10, owner=2)
    desk.limit(BUY, 60, 4, owner=3)
    assert desk.owners(60) == [1, 2]
    assert desk.modify(first, 60, 5) == first
    assert desk.owners(60) == [1, 2]
    assert desk.arrays.levels[0, 60, lob.DEPTH] == 15


@pytest.mark.parametrize(("price", "quantity"), [(60, 11), (61, 10), (61, 5)])
def test_a_larger_size_or_another_price_goes_to_the_back(price: int, quantity: int) -> None:
    desk = Desk()
    first = desk.limit(SELL, 60, 10, owner=1)
    desk.limit(SELL, price, 10, owner=2)
    changed = desk.modify(first, price, quantity)
    assert desk.owners(price) == [2, 1]
    assert changed != first
    assert desk.cancel(first) == 0
    assert desk.cancel(changed) == quantity


def test_a_change_that_crosses_trades() -> None:
    desk = Desk()
    desk.limit(SELL, 60, 10, owner=1)
    bid = desk.limit(BUY, 50, 4, owner=2)
    assert desk.modify(bid, 60, 4) == lob.NONE
    assert desk.tape[0].tolist()[:4] == [1, 2, 60, 4]
    assert desk.owners(60) == [1] and desk.owners(50) == []


@pytest.mark.parametrize(("price", "quantity"), [(-1, 4), (LEVELS, 4), (55, 0), (55, -7)])
def test_an_invalid_change_leaves_the_order_alone(price: int, quantity: int) -> None:
    desk = Desk()
    handle = desk.limit(BUY, 50, 4)
    before = digest(desk.arrays)
    assert desk.modify(handle, price, quantity) in (lob.REJECTED_PRICE, lob.REJECTED_QUANTITY)
    assert digest(desk.arrays) == before


def test_a_level_never_holds_more_than_int32() -> None:
    desk = Desk()
    desk.limit(BUY, 50, INT32.max)
    assert desk.limit(BUY, 50, 1) == lob.REJECTED_FULL
    assert desk.limit(BUY, 49, INT32.max) >= 0
    check_invariants(desk.arrays)
    desk.limit(SELL, 50, 1, owner=9)
    assert desk.limit(BUY, 50, 1) >= 0
    check_invariants(desk.arrays)


@settings(max_examples=60)
@given(messages(), st.sampled_from([BUY, SELL]))
def test_queue_ahead_is_what_trades_first(rows: NDArray[np.int32], side: int) -> None:
    book = replayed(rows)
    arrays = book.arrays
    for price in range(LEVELS):
        ahead = 0
        for slot in queue_of(arrays, 0, price):
            assert queue_ahead_at(arrays, 0, slot) == ahead
            ahead += int(arrays.orders[0, slot, lob.QUANTITY])
    best = book.best_ask if side == BUY else book.best_bid
    if not 0 <= best < LEVELS:
        return
    last = queue_of(arrays, 0, best)[-1]
    ahead, owner = queue_ahead_at(arrays, 0, last), int(arrays.orders[0, last, lob.OWNER])
    if ahead == 0 or ahead == INT32.max:
        return
    # Exactly what stands ahead does not reach the order; one more does.
    book.replay(np.array([[MARKET, 0, side, 0, ahead]]))
    assert owner not in [int(t) for t in book.trades[-1:, lob.MAKER]]
    book.replay(np.array([[MARKET, 0, side, 0, 1]]))
    assert book.trades[-1, lob.MAKER] == owner


# Handles


def test_a_handle_is_dead_once_its_slot_has_another_order() -> None:
    desk = Desk(slots=1)
    first = desk.limit(BUY, 50, 4)
    assert desk.cancel(first) == 4
    second = desk.limit(BUY, 51, 6)
    assert slot_at(desk.arrays, 0, second) == 0
    before = digest(desk.arrays)
    assert slot_at(desk.arrays, 0, first) == lob.NONE
    assert desk.cancel(first) == 0
    assert desk.modify(first, 52, 1) == lob.NONE
    assert digest(desk.arrays) == before
    desk.limit(SELL, 51, 6)
    assert desk.cancel(second) == 0, "a filled order is gone"


def test_handles_are_dead_after_a_reset_and_slots_are_used_again() -> None:
    desk = Desk()
    old = [desk.limit(BUY, 50 - n, 4) for n in range(SLOTS)]
    desk.cancel(old[3])
    reset_at(desk.arrays, 0)
    check_invariants(desk.arrays)
    assert [desk.cancel(handle) for handle in old] == [0] * SLOTS
    new = [desk.limit(SELL, 50 + n, 4) for n in range(SLOTS)]
    assert not set(old) & set(new)
    before = digest(desk.arrays)
    assert [desk.cancel(handle) for handle in old] == [0] * SLOTS
    assert digest(desk.arrays) == before
    assert [desk.cancel(handle) for handle in new] == [4] * SLOTS
    check_invariants(desk.arrays)


@pytest.mark.parametrize(
    "handle", [lob.NONE, lob.REJECTED_FULL, SLOTS, 1 << 40, 2**63 - 1, -(2**63)]
)
def test_a_handle_that_never_was_is_dead(handle: int) -> None:
    desk = Desk()
    desk.limit(BUY, 50, 4)
    before = digest(desk.arrays)
    assert desk.cancel(handle) == 0
    assert desk.modify(handle, 50, 1) == lob.NONE
    assert digest(desk.arrays) == before


def test_handles_outlive_the_wrap_of_the_generation() -> None:
    desk = Desk(slots=1)
    desk.arrays.orders[0, 0, lob.GENERATION] = INT32.max
    last = desk.limit(BUY, 50, 4)
    assert last >= 0 and desk.cancel(last) == 4
    after = desk.limit(BUY, 50, 5)
    assert after >= 0 and after != last
    assert desk.cancel(last) == 0
    assert desk.cancel(after) == 5


def test_a_reset_book_trades_like_a_new_one() -> None:
    rows = long_stream(2000, 3)
    used = replayed(long_stream(2000, 4))
    reset_at(used.arrays, 0)
    used.handles[:] = lob.NONE
    used.trade_count[0] = 0
    used.replay(rows)
    new = replayed(rows)
    assert trades_of(used) == trades_of(new)
    assert used.resting() == new.resting()
    check_invariants(used.arrays)


def test_the_id_of_a_live_order_names_no_second_one() -> None:
    book = OrderBook(LEVELS, SLOTS, ids=4)
    book.replay(np.array([[LIMIT, 0, BUY, 50, 3], [LIMIT, 0, BUY, 51, 4], [MARKET, 0, SELL, 0, 1]]))
    assert book.resting() == [(50, 0, BUY, 3)]
    assert book.refusals == {"the id names a live order": 2}
    book.replay(np.array([[CANCEL, 0, BUY, 0, 0], [LIMIT, 0, BUY, 51, 4]]))
    assert book.resting() == [(51, 0, BUY, 4)]


@given(messages())
def test_plain_rows_are_refused_as_full_ones_are(rows: NDArray[np.int32]) -> None:
    rows = np.maximum(rows, -np.iinfo(np.int32).max)  # below which a full row is malformed
    plain, full = array_book(rows), array_book(rows)
    plain.replay(rows)
    full.replay(widened(rows))
    assert plain.refusals == full.refusals
    assert plain.resting() == full.resting()


# Determinism


@given(messages(), st.lists(st.integers(0, 60), max_size=5))
def test_a_replay_in_chunks_equals_one_replay(rows: NDArray[np.int32], cuts: list[int]) -> None:
    whole, chunks = array_book(rows), array_book(rows)
    whole.replay(rows)
    for part in np.split(rows, sorted(cuts)):
        chunks.replay(part)
    assert digest(chunks.arrays) == digest(whole.arrays)
    assert np.array_equal(chunks.trades, whole.trades)


def test_the_same_stream_gives_the_same_hash_and_another_does_not() -> None:
    rows = long_stream(4000, 1)
    first = digest(replayed(rows).arrays)
    assert first == digest(replayed(rows.copy()).arrays)
    assert first != digest(replayed(long_stream(4000, 2)).arrays)


@pytest.mark.parametrize("chunk", [1, 37, 1000])
def test_a_book_among_many_equals_a_book_alone(chunk: int) -> None:
    streams = [long_stream(1000, seed) for seed in range(5)]
    ids = len(streams[0])
    arrays = lob.allocate(len(streams), LEVELS, SLOTS)
    handles = np.full((len(streams), ids), lob.NONE, np.int64)
    tapes = np.zeros((len(streams), 1 << 12, lob.TRADE_FIELDS), np.int32)
    counts = np.zeros((len(streams), 1), np.int64)
    refusals = np.zeros(len(REASONS), np.int64)
    order = np.random.default_rng(chunk)
    for start in range(0, ids, chunk):
        for k in order.permutation(len(streams)):
            part = np.ascontiguousarray(streams[k][start : start + chunk])
            replay_at(arrays, k, part, handles[k], tapes[k], counts[k], refusals)
    for k, rows in enumerate(streams):
        alone = replayed(rows)
        assert digest(arrays, k) == digest(alone.arrays)
        mine, its = tapes[k, : counts[k, 0]], alone.trades
        assert (mine[:, lob.TRADE_BOOK] == k).all() and (its[:, lob.TRADE_BOOK] == 0).all()
        its[:, lob.TRADE_BOOK] = k
        assert np.array_equal(mine, its)
        check_invariants(arrays, k)


def test_a_full_tape_keeps_the_latest_trades() -> None:
    rows = long_stream(2000, 5)
    long, short = replayed(rows), OrderBook(LEVELS, SLOTS, len(rows), tape=64)
    short.replay(rows)
    assert len(long.trades) > 64
    assert np.array_equal(short.trades, long.trades[-64:])
    assert digest(short.arrays) == digest(long.arrays)
