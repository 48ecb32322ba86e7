"""A replay held against the truth, and a file as a Recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from configs.errors import DataError
from market.history import HistoricalMarket
from market.history_levels import MISMATCH_PRICE, OURS, SHOWN, match_levels
from market.history_match import (
    PRICES,
    PRICES_AND_QUANTITIES,
    match_quotes,
    quotes_of_book,
    read_orderbook,
)
from market.history_record import record_messages
from market.history_truth import implied_quotes, quotes_of, with_unseen_orders
from market.message_table import ADD, DELETE, EXECUTE, HIDDEN, REDUCE
from tests.market.history_streams import BUY, SELL, random_rows
from tests.market.message_files import (
    HOUR,
    PAIR,
    PAIR_BOOK,
    Row,
    load,
    lobster_lines,
    messages,
    sample,
    write,
)

UNIT = 1e-4
Levels = list[tuple[int, int]]
"""(price, quantity) from the best."""


def test_changes_match_at_the_same_message_to_the_same_values_or_fall_in_a_class() -> None:
    truth = np.array([[10, 5, 12, 5], [11, 5, 12, 5], [11, 5, 12, 9], [9, 1, 12, 9], [9, 1, 0, 0]])
    replay = truth.copy()
    assert match_quotes(truth, truth, PRICES).share == 1.0
    replay[1] = [10, 5, 12, 5]  # an order at 11 was not seen
    replay[3] = [10, 1, 12, 9]  # the end of one at 10 was not seen
    both = match_quotes(truth, replay, PRICES_AND_QUANTITIES)
    assert (both.changes, both.replayed, both.matched) == (5, 4, 3)
    assert (both.unseen, both.stale, both.other) == (1, 1, 0)
    assert both.rows_equal == 0.6
    prices = match_quotes(truth, replay, PRICES)
    # At the third message the prices of the truth stand still.
    assert (prices.changes, prices.matched, prices.share) == (4, 2, 0.5)


def test_unseen_orders_come_where_their_ids_say(tmp_path: Path) -> None:
    rows: list[Row] = [
        (1.0, ADD, 10, 5, 100, BUY),
        (2.0, ADD, 20, 5, 104, SELL),
        (3.0, EXECUTE, 15, 4, 101, BUY),  # came between the two
        (4.0, DELETE, 15, 3, 101, BUY),
        (5.0, DELETE, 1, 7, 99, BUY),  # from before the start
        (6.0, HIDDEN, 0, 1, 102, BUY),
    ]
    data = messages(tmp_path, rows)
    complete, at = with_unseen_orders(data)
    ids = complete.ids[complete.order].tolist()
    assert ids[:-1] == [1, 10, 15, 20, 15, 15, 1] and at.tolist() == [1, 3, 4, 5, 6, 7]
    assert complete.size[[0, 2]].tolist() == [7, 7] and complete.known[:-1].all()
    quotes = implied_quotes(data)
    assert quotes[:, 0].tolist() == [100, 101, 101, 100, 100, 100]
    assert quotes[:, 1].tolist() == [5, 7, 3, 5, 5, 5]
    # From an empty book they are never there.
    market = HistoricalMarket(data, record=True)
    market.advance()
    match = match_quotes(quotes, quotes_of(market), PRICES)
    assert (match.changes, match.matched, match.unseen) == (3, 1, 1)


class View:
    """A Python book that writes what LOBSTER would of its first levels."""

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self.orders: dict[int, list[int]] = {}

    def apply(self, row: Row) -> None:
        _, kind, order, size, price, side = row
        if kind == ADD:
            self.orders[order] = [side, price, size]
        elif kind in (REDUCE, DELETE, EXECUTE):
            self.orders[order][2] -= size
            if self.orders[order][2] == 0:
                del self.orders[order]

    def side(self, side: int) -> Levels:
        depth: dict[int, int] = {}
        for whose, price, size in self.orders.values():
            if whose == side:
                depth[price] = depth.get(price, 0) + size
        return sorted(depth.items(), reverse=side == BUY)[: self.levels]

    def line(self) -> str:
        cells: list[int] = []
        asks, bids = self.side(SELL), self.side(BUY)
        for level in range(self.levels):
            for side, levels in ((SELL, asks), (BUY, bids)):
                price, size = levels[level] if level < len(levels) else (0, 0)
                cells += [price * 100 if size else side * -9_999_999_999, size]
        return ",".join(map(str, cells))


def lobster_pair(folder: Path, seed: int, levels: int, start: int = 60) -> tuple[Path, Path]:
    """Message and order book file of a stream seen from row `start` on, `levels` deep."""
    view, shown, lines = View(levels), [], []
    for index, row in enumerate(random_rows(seed, 1500, adds=0.4)):
        before = view.line()
        view.apply(row)
        if index >= start and (view.line() != before or row[1] == HIDDEN):
            shown.append(row)
            lines.append(view.line())
    return write(folder, lobster_lines(shown)), write(folder, lines, "orderbook.csv")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("levels", [1, 2, 4])
def test_levels_of_known_history_are_equal(tmp_path: Path, seed: int, levels: int) -> None:
    """Orders from before the file, and those that came and went out of its view, are unknown."""
    file, book = lobster_pair(tmp_path, seed, levels)
    data = load(file)
    shown = read_orderbook(book, data, UNIT)
    match = match_levels(data, shown)
    assert match.listed.sum() == (shown[:, :, ::2] > 0).sum()
    assert match.known.sum() > 100 and match.ended > 0
    assert (match.known_equal == match.known).all() and match.share == 1.0
    assert match.ended == match.ended_equal and len(match.mismatches) == 0
    assert (match.known <= match.listed).all() and (match.known_equal <= match.equal).all()
    assert match.known.sum() < match.listed.sum()


def test_a_known_level_that_differs_is_told(tmp_path: Path) -> None:
    rows: list[Row] = [(1.0, ADD, 1, 5, 100, BUY), (2.0, ADD, 2, 7, 101, BUY)]
    data = messages(tmp_path, rows)
    lines = ["9999999999,0,10000,5", "9999999999,0,10100,8"]
    match = match_levels(data, read_orderbook(write(tmp_path, lines, "b.csv"), data, UNIT))
    assert (match.known.tolist(), match.known_equal.tolist()) == ([2], [1])
    assert match.mismatches[:, [MISMATCH_PRICE, SHOWN, OURS]].tolist() == [[101, 8, 7]]
    # What the first row holds beyond the first message is from before the start.
    lines = ["10200,9,10000,12", "10200,9,10100,7"]
    match = match_levels(data, read_orderbook(write(tmp_path, lines, "b.csv"), data, UNIT))
    assert (match.listed.tolist(), match.known.tolist(), match.share) == ([4], [1], 1.0)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["1,2,3"], "expected 3 whole numbers"),
        (["10200,9,10000,5", "10200,9,10000"], "2 is '10200,9,10000': expected 4 whole numbers"),
        (["10200,9,10000,5", "10200,9,x,5"], "expected 4 whole numbers"),
        (["10200,9,10000,5"], "has 1 rows, .* has 2"),
        (["10200,9,10000,5"] * 3, "has 3 rows, .* has 2"),
        (["1" * 20_000, ""], "longer than"),
        (["99999999999900,9,10000,5", "10200,9,10000,5"], "span"),
        ([], "has 0 rows"),
    ],
)
def test_an_order_book_file_that_does_not_fit_is_one_error(
    tmp_path: Path, lines: list[str], says: str
) -> None:
    data = messages(tmp_path, [(1.0, ADD, 1, 5, 100, BUY), (2.0, ADD, 2, 7, 101, BUY)])
    book = write(tmp_path, lines, "b.csv")
    with pytest.raises(DataError, match=says):
        match_levels(data, read_orderbook(book, data, UNIT))
    with pytest.raises(DataError, match="cannot be read"):
        read_orderbook(tmp_path / "absent.csv", data, UNIT)


def test_the_hour_matches_its_best_quotes() -> None:
    """The target is 99.0% of changes; each that is missed is an order the file never added."""
    data = load(sample(HOUR))
    market = HistoricalMarket(data, record=True)
    market.advance()
    truth, replay = implied_quotes(data), quotes_of(market)
    prices = match_quotes(truth, replay, PRICES)
    assert (prices.changes, prices.matched, prices.stale) == (16_146, 16_099, 0)
    both = match_quotes(truth, replay, PRICES_AND_QUANTITIES)
    assert (both.changes, both.matched, both.stale) == (23_439, 23_370, 0)
    assert min(prices.share, both.share) >= 0.99
    # LOBSTER's own book of some of these rows: the implied truth is that book exactly.
    pair = load(sample(PAIR))
    shown = quotes_of_book(read_orderbook(sample(PAIR_BOOK), pair, UNIT))
    lines = sample(HOUR).read_text().splitlines()
    place = {line: row for row, line in enumerate(lines)}
    rows = np.array([place[line] for line in sample(PAIR).read_text().splitlines()])
    assert np.array_equal(truth[rows], shown)
    match = match_quotes(shown, replay[rows], PRICES)
    assert (match.changes, match.matched) == (351, 350)


def test_the_ten_level_pair_matches_where_history_is_known() -> None:
    pair = load(sample(PAIR))
    shown = read_orderbook(sample(PAIR_BOOK), pair, UNIT)
    match = match_levels(pair, shown)
    assert match.listed.tolist() == [1998] * 10
    assert match.known.sum() == 9268 and match.share == 1.0
    assert (match.ended, match.ended_equal) == (308, 308)
    market = HistoricalMarket(pair, record=True)
    market.advance()
    prices = match_quotes(quotes_of_book(shown), quotes_of(market), PRICES)
    assert (prices.changes, prices.matched, prices.unseen, prices.stale) == (351, 335, 15, 0)


def test_a_recording_of_a_small_file(tmp_path: Path) -> None:
    rows: list[Row] = [
        (10.0, ADD, 1, 5, 100, BUY),
        (10.0, ADD, 2, 6, 102, SELL),
        (12.5, ADD, 3, 4, 99, BUY),
        (14.0, EXECUTE, 1, 5, 100, BUY),  # one incoming order sweeps two
        (14.0, EXECUTE, 3, 1, 99, BUY),
        (15.0, HIDDEN, 0, 9, 101, SELL),
        (16.0, EXECUTE, 77, 2, 103, SELL),  # of an order from before the start
        (17.0, REDUCE, 3, 1, 99, BUY),
        (18.5, DELETE, 3, 2, 99, BUY),
    ]
    record = record_messages(messages(tmp_path, rows), depth_ticks=3)
    assert record.seconds == 8.5 and record.tick == 0.01
    assert record.message_time.tolist() == [0, 0, 2.5, 4, 5, 6, 7, 8.5]
    assert record.trade_time.tolist() == [4, 4, 5, 6]
    assert record.trade_price.tolist() == [100, 99, 101, 103]
    assert record.trade_quantity.tolist() == [5, 1, 9, 2]
    assert record.trade_side.tolist() == [SELL, SELL, BUY, BUY]
    assert record.quote_time.tolist() == [0, 0, 4, 4, 7, 8.5]
    assert record.bid[:-1].tolist() == [100, 100, 99, 99, 99] and np.isnan(record.bid[-1])
    assert np.isnan(record.ask[0]) and (record.ask[1:] == 102).all()
    assert record.bid_quantity.tolist() == [5, 5, 4, 3, 2, 0]
    assert record.cancel_age.tolist() == [6.0]
    # Samples at 1 to 8 s: the bid's side is 5, 5, 5 (and 4 a tick behind), 3, ..., 2, 2.
    best = [5, 5, 5, 3, 3, 3, 2, 2]
    assert record.depth.tolist() == [(sum(best) / 8 + 6) / 2, 4 / 16, 0]


def test_the_recording_of_the_hour() -> None:
    record = record_messages(load(sample(HOUR)))
    assert len(record.trade_time) == 4067 + 2201
    assert len(record.message_time) == 90_304
    assert len(record.quote_time) == 23_457
    for times in (record.message_time, record.trade_time, record.quote_time):
        assert (np.diff(times) >= 0).all() and times[0] >= 0 and times[-1] <= record.seconds
    spread = record.ask - record.bid
    assert np.nanmin(spread) >= 1 and np.isfinite(spread[2:]).all()
    held = np.diff(np.append(record.quote_time, record.seconds))
    assert np.nansum(spread * held) / held.sum() == pytest.approx(19.5, abs=0.05)
    assert len(record.message_time) / record.seconds == pytest.approx(25.1, abs=0.1)
    assert (record.cancel_age >= 0).all() and len(record.cancel_age) == 41_004 - 72
