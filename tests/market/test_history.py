"""Historical messages through the book, and each rule by which own orders join them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs.errors import SimulatorError
from market.history import HistoricalMarket, Quote
from tests.market.book_checks import check_invariants, digest
from tests.market.history_streams import act, random_rows
from tests.market.message_files import (
    HOUR,
    Row,
    load,
    lobster_lines,
    messages,
    sample,
    write,
)

BUY, SELL = 1, -1
ADD, REDUCE, DELETE, EXECUTE, HIDDEN, CROSS, HALT = range(1, 8)

# Bids 100 x 10 (id 1) and 100 x 20 (id 2), asks 104 x 30 (id 3).
OPENING: list[Row] = [
    (1.0, ADD, 1, 10, 100, BUY),
    (1.0, ADD, 2, 20, 100, BUY),
    (1.0, ADD, 3, 30, 104, SELL),
]


def opened(folder: Path, later: list[Row]) -> HistoricalMarket:
    """A market at the end of the opening, `later` still to come."""
    market = HistoricalMarket(messages(folder, OPENING + later))
    market.advance(1.0)
    return market


def filled(market: HistoricalMarket) -> list[tuple[int, int, int, bool, int]]:
    """(handle, price, quantity, maker, the other order's id) of every fill."""
    names = ["handle", "price", "quantity", "maker", "order"]
    check_invariants(market.arrays.book)
    return [tuple(row) for row in market.fills[names].tolist()]


def balanced(market: HistoricalMarket) -> None:
    """What the file's aggressors took is what own and other makers gave, or was dropped."""
    count = market.counts
    assert count["file_quantity"] == (
        count["own_made_quantity"] + count["executed_quantity"] + count["unserved_quantity"]
    )
    fills = market.fills
    assert count["own_taken_quantity"] == fills["quantity"][~fills["maker"]].sum()
    assert (
        count["own_made_quantity"] + count["own_crossed_quantity"]
        == fills["quantity"][fills["maker"]].sum()
    )


def test_messages_make_the_book(tmp_path: Path) -> None:
    later = [
        (2.0, REDUCE, 2, 5, 100, BUY),
        (3.0, EXECUTE, 1, 10, 100, BUY),
        (4.0, EXECUTE, 2, 4, 100, BUY),
        (5.0, DELETE, 3, 30, 104, SELL),
    ]
    market = opened(tmp_path, later)
    assert market.quote == Quote(100, 30, 104, 30)
    market.advance(2.0)
    assert market.quote == Quote(100, 25, 104, 30) and market.applied == 4
    market.advance()
    assert market.quote == Quote(100, 11, None, 0) and market.now == 5.0
    count = market.counts
    assert (count["executions"], count["at_best"], count["at_head"]) == (2, 2, 2)
    assert count["executed_quantity"] == count["file_quantity"] == 14


def test_an_execution_out_of_turn_shrinks_the_order_that_it_names(tmp_path: Path) -> None:
    market = opened(tmp_path, [(2.0, EXECUTE, 2, 20, 100, BUY)])
    market.advance()
    assert market.quote.bid_quantity == 10
    assert (market.counts["at_best"], market.counts["at_head"]) == (1, 0)


def test_unknown_hidden_and_cross_touch_nothing(tmp_path: Path) -> None:
    later = [
        (2.0, EXECUTE, 9, 7, 101, BUY),
        (2.0, DELETE, 8, 7, 101, BUY),
        (2.0, HIDDEN, 0, 5, 102, BUY),
        (2.0, CROSS, 0, 99, 103, BUY),
    ]
    market = opened(tmp_path, later)
    before = digest(market.arrays.book)
    market.advance()
    assert digest(market.arrays.book) == before
    count = market.counts
    assert (count["unknown_executions"], count["hidden_executions"], count["crosses"]) == (1, 1, 1)


def test_an_order_that_a_later_add_crosses_is_stale(tmp_path: Path) -> None:
    later = [(2.0, ADD, 4, 5, 105, BUY), (3.0, DELETE, 3, 30, 104, SELL)]
    market = opened(tmp_path, later)
    market.advance()
    assert market.quote == Quote(105, 5, None, 0)
    assert (market.counts["stale"], market.counts["gone"]) == (1, 1)
    check_invariants(market.arrays.book)


def test_far_orders_are_parked_and_counted(tmp_path: Path) -> None:
    far = [
        (2.0, ADD, 4, 5, 1_999_999_999 // 100, SELL),
        (3.0, REDUCE, 4, 1, 1_999_999_999 // 100, SELL),
        (3.0, DELETE, 4, 4, 1_999_999_999 // 100, SELL),
    ]
    market = HistoricalMarket(messages(tmp_path, OPENING + far, max_ladder_levels=128))
    market.advance()
    assert (market.counts["parked"], market.counts["gone"]) == (1, 0)
    assert market.quote == Quote(100, 30, 104, 30) and market.levels == 128


def test_a_depth_beyond_int32_is_refused_not_wrapped(tmp_path: Path) -> None:
    most = 2**31 - 1
    later = [(2.0, ADD, 4, most, 100, BUY), (3.0, DELETE, 4, most, 100, BUY)]
    market = opened(tmp_path, later)
    market.advance()
    assert market.quote.bid_quantity == 30
    assert (market.counts["full"], market.counts["gone"]) == (1, 1)


def test_an_own_order_waits_its_turn_and_then_takes_the_aggressors_quantity(
    tmp_path: Path,
) -> None:
    later = [
        (2.0, ADD, 4, 40, 100, BUY),
        (3.0, EXECUTE, 1, 10, 100, BUY),  # before the own order: it gets nothing
        (4.0, REDUCE, 2, 5, 100, BUY),
        (5.0, EXECUTE, 4, 12, 100, BUY),  # behind the own order: it had come first
        (6.0, EXECUTE, 4, 3, 100, BUY),
    ]
    market = opened(tmp_path, later)
    own = market.submit(BUY, 100, 8)
    assert market.queue_ahead(own) == 30
    market.advance(3.0)
    assert market.queue_ahead(own) == 20 and not filled(market)
    market.advance(4.0)
    assert market.queue_ahead(own) == 15
    market.advance(5.0)
    assert filled(market) == [(own, 100, 8, True, 4)]
    assert market.open_quantity(own) == 0 and market.queue_ahead(own) == -1
    # The file's order left by the file's 12: 4 executed, 8 displaced.
    assert market.counts["displaced_quantity"] == 8
    market.advance()
    assert market.quote.bid_quantity == 15 + 40 - 12 - 3
    balanced(market)


def test_an_own_order_at_a_better_price_stands_before_all(tmp_path: Path) -> None:
    later = [(2.0, EXECUTE, 1, 10, 100, BUY), (3.0, EXECUTE, 2, 20, 100, BUY)]
    market = opened(tmp_path, later)
    second = market.submit(BUY, 101, 5)
    first = market.submit(BUY, 102, 4)
    third = market.submit(BUY, 101, 6)
    market.advance()
    assert filled(market) == [
        (first, 102, 4, True, 1),
        (second, 101, 5, True, 1),
        (third, 101, 1, True, 1),
        (third, 101, 5, True, 2),
    ]
    # The book is as the file left it.
    assert market.quote == Quote(None, 0, 104, 30)
    assert market.counts["displaced_quantity"] == 15
    balanced(market)


@pytest.mark.parametrize(
    ("price", "fills"), [(101, 0), (102, 5), (103, 5)], ids=["worse", "same", "better"]
)
def test_displayed_own_orders_stand_before_hidden_ones(
    tmp_path: Path, price: int, fills: int
) -> None:
    market = opened(tmp_path, [(2.0, HIDDEN, 0, 5, 102, BUY)])
    own = market.submit(BUY, price, 9)
    market.advance()
    assert market.fills["quantity"].sum() == fills
    assert market.open_quantity(own) == 9 - fills
    assert (market.fills["order"] == -1).all()
    balanced(market)


def test_an_order_from_before_the_start_stands_before_own_ones_of_its_price(
    tmp_path: Path,
) -> None:
    market = opened(tmp_path, [(2.0, EXECUTE, 9, 7, 102, BUY)])
    same, better = market.submit(BUY, 102, 3), market.submit(BUY, 103, 3)
    market.advance()
    assert filled(market) == [(better, 103, 3, True, -1)]
    assert market.open_quantity(same) == 3
    balanced(market)


def test_an_add_that_runs_into_own_orders_trades_with_them(tmp_path: Path) -> None:
    later = [
        (2.0, ADD, 4, 25, 102, SELL),
        (3.0, REDUCE, 4, 10, 102, SELL),
        (4.0, DELETE, 4, 15, 102, SELL),
    ]
    market = opened(tmp_path, later)
    far, near = market.submit(BUY, 102, 8), market.submit(BUY, 103, 6)
    market.advance(2.0)
    assert filled(market) == [(near, 103, 6, True, 4), (far, 102, 8, True, 4)]
    assert market.quote == Quote(100, 30, 102, 11)
    market.advance(3.0)
    assert market.quote.ask_quantity == 1
    market.advance()
    assert market.quote == Quote(100, 30, 104, 30)
    balanced(market)


def test_an_own_order_that_crosses_takes_what_is_displayed(tmp_path: Path) -> None:
    later = [
        (2.0, REDUCE, 2, 4, 100, BUY),
        (3.0, EXECUTE, 2, 16, 100, BUY),
        (4.0, EXECUTE, 1, 10, 100, BUY),
    ]
    market = opened(tmp_path, later)
    own = market.submit(SELL, 100, 15)  # all of id 1, and 5 of the 20 of id 2
    assert filled(market) == [(own, 100, 10, False, 1), (own, 100, 5, False, 2)]
    assert market.quote == Quote(100, 15, 104, 30)
    market.advance(2.0)
    assert market.quote.bid_quantity == 11
    market.advance(3.0)
    assert market.counts["unserved_quantity"] == 5 and market.quote.bid is None
    market.advance()
    assert market.counts["unserved_quantity"] == 15 and market.counts["gone"] == 1
    balanced(market)


def test_an_own_order_rests_with_what_it_could_not_take_or_drops_it(tmp_path: Path) -> None:
    market = opened(tmp_path, [(9.0, DELETE, 1, 10, 100, BUY)])
    dropped = market.submit(BUY, 104, 10, rests=False)
    assert market.open_quantity(dropped) == 0 and market.quote.ask_quantity == 20
    resting = market.submit(BUY, 104, 25)
    assert market.open_quantity(resting) == 5 and market.quote == Quote(104, 5, None, 0)
    assert market.cancel(resting) == 5 and market.cancel(resting) == 0
    assert market.quote == Quote(100, 30, None, 0)
    balanced(market)


def test_own_orders_never_trade_with_each_other(tmp_path: Path) -> None:
    market = opened(tmp_path, [(9.0, DELETE, 1, 10, 100, BUY)])
    resting = market.submit(BUY, 102, 5)
    taker = market.submit(SELL, 100, 10)
    assert filled(market) == [(taker, 100, 10, False, 1)]
    assert market.open_quantity(resting) == 0 and market.counts["own_cancelled"] == 1


def test_while_trading_is_halted_own_orders_are_refused(tmp_path: Path) -> None:
    # Halted, quoting resumes, trading resumes.
    halts = [f"{2 + index},{HALT},0,0,{state},-1" for index, state in enumerate((-1, 0, 1))]
    market = HistoricalMarket(load(write(tmp_path, lobster_lines(OPENING) + halts)))
    market.advance(1.0)
    own = market.submit(BUY, 101, 5)
    for until in (2.0, 3.0):
        market.advance(until)
        assert market.halted
        with pytest.raises(SimulatorError, match="halted"):
            market.submit(BUY, 101, 5)
    assert market.cancel(own) == 5
    market.advance()
    assert not market.halted and market.counts["halts"] == 3
    assert market.submit(BUY, 101, 5) == own + 1


def test_what_cannot_be_submitted_is_one_error(tmp_path: Path) -> None:
    data = messages(tmp_path, [*OPENING, (2.0, DELETE, 1, 10, 100, BUY)])
    market = HistoricalMarket(data, own_orders=1)
    market.advance(1.0)
    before = digest(market.arrays.book)
    for arguments, says in (
        ((0, 100, 5), "side"),
        ((BUY, 10**6, 5), "ladder of this file"),
        ((BUY, market.base - 1, 5), "ladder of this file"),
        ((BUY, 100.5, 5), "whole numbers"),
        ((BUY, 100, 0), "quantity=0"),
        ((BUY, 100, 2**31), "quantity="),
        ((BUY, 100, 2**31 - 1), "level would hold more"),
    ):
        with pytest.raises(SimulatorError, match=says):
            market.submit(*arguments)  # type: ignore[arg-type]
    assert digest(market.arrays.book) == before
    market.submit(BUY, 99, 5)
    with pytest.raises(SimulatorError, match="1 own orders rest already"):
        market.submit(BUY, 99, 5)
    for bad in (-1, 99):
        with pytest.raises(SimulatorError, match="does not exist"):
            market.cancel(bad)
    for until in (0.5, float("nan"), float("inf")):
        with pytest.raises(SimulatorError, match="until="):
            market.advance(until)


@pytest.mark.parametrize("seed", range(8))
def test_quantity_is_conserved_the_same_again_and_in_chunks(tmp_path: Path, seed: int) -> None:
    data = messages(tmp_path, random_rows(seed))
    markets = [HistoricalMarket(data, record=True) for _ in range(3)]
    for market, chunks in zip(markets, (1, 1, 8), strict=True):
        act(market, seed, chunks)
        check_invariants(market.arrays.book)
        balanced(market)
    whole = markets[0]
    assert whole.counts["own_made_quantity"] > 0 < whole.counts["own_taken_quantity"]
    for other in markets[1:]:
        assert digest(other.arrays.book) == digest(whole.arrays.book)
        assert other.counts == whole.counts
        assert np.array_equal(other.fills, whole.fills)
        assert np.array_equal(other.best, whole.best)


# Streams in which no add runs into an own order: that one would change the book, by rule 4.
@pytest.mark.parametrize("seed", [2, 3, 4, 5, 6, 8, 9, 10])
def test_once_own_orders_only_rested_the_book_is_the_files_own(tmp_path: Path, seed: int) -> None:
    """Rule 2: passive own orders change who trades, and neither volume nor the later book."""
    data = messages(tmp_path, random_rows(seed))
    alone, joined = HistoricalMarket(data), HistoricalMarket(data)
    alone.advance()
    rng = np.random.default_rng(seed)
    handles = []
    while joined.applied < len(data):
        joined.advance(joined.now + 3.0)
        quote = joined.quote
        if quote.bid is not None and quote.ask is not None:
            side = int(rng.choice([BUY, SELL]))
            price = quote.bid if side == BUY else quote.ask
            handles.append(joined.submit(side, price, 3))
        for handle in handles[:-2]:
            joined.cancel(handle)
    for handle in handles:
        joined.cancel(handle)
    assert joined.counts["own_made_quantity"] > 0
    assert joined.counts["own_crossed_quantity"] == joined.counts["own_taken_quantity"] == 0
    assert joined.quote == alone.quote
    assert joined.counts["file_quantity"] == alone.counts["file_quantity"]
    levels = [market.arrays.book.levels[0, :, 2] for market in (alone, joined)]
    assert np.array_equal(*levels)


def test_the_real_hour() -> None:
    """Own orders at the touch of a real hour: figures of agreement, and conservation."""
    data = load(sample(HOUR))
    alone = HistoricalMarket(data)
    alone.advance()
    count = alone.counts
    assert (count["executions"], count["at_best"], count["at_head"]) == (4055, 4055, 4031)
    assert count["at_head"] / count["executions"] >= 0.994
    assert (count["stale"], count["parked"], count["gone"], count["full"]) == (0, 0, 0, 0)
    joined = HistoricalMarket(data)
    side = BUY
    while joined.now + 10.0 < data.time[-1] / 1e9:
        joined.advance(joined.now + 10.0)
        quote = joined.quote
        assert quote.bid is not None and quote.ask is not None
        handle = joined.submit(side, quote.bid if side == BUY else quote.ask, 100)
        assert joined.queue_ahead(handle) >= 0
        side = -side
    joined.advance()
    check_invariants(joined.arrays.book)
    balanced(joined)
    assert joined.fills["maker"].sum() > 100
    assert (np.diff(joined.fills["time"]) >= 0).all()


def test_no_pointer_leaves_its_array(project: Path, tmp_path: Path) -> None:
    """The kernels in Python over pointers that check, as for the book itself."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.market.checked_history", str(tmp_path)],
        cwd=project,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "within bounds" in done.stdout
