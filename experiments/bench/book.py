"""`bench book`: the order book's speed against the Python reference, and its scaling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
from numpy.typing import NDArray

from experiments.bench.report import Figure, cost_ratio, speed
from experiments.bench.timing import cpu_seconds, median_cpu_seconds
from experiments.reference_book import ReferenceBook
from experiments.streams import RESTING, message_stream
from market import book as lob
from market.book import BookArrays
from market.kernels import kernel
from market.order_rows import REASONS
from market.replay import MESSAGE_FIELDS, OrderBook, _replay

SLOTS = 4 * RESTING
REPLAY_TARGET = 60.0  # times the Python book
BATCH_TARGET = 2.0  # times one book alone
GROWTH_TARGET = 1.3
_RING = 1 << 12
_NANO = 1e9


@dataclass(frozen=True)
class BookSizes:
    """How much the benchmark replays. The defaults are the sizes the figures' names give."""

    messages: int = 1_000_000
    repeats: int = 15
    reference_repeats: int = 3
    books: int = 512
    visits: int = 32  # of each book
    visit_messages: int = 256
    batch_repeats: int = 5
    short: int = 10_000
    long: int = 10_000_000
    growth_repeats: int = 5
    levels: int = 1024
    seed: int = 7


def figures(sizes: BookSizes | None = None) -> list[Figure]:
    """Every figure of the benchmark."""
    sizes = sizes or BookSizes()
    return [*_against_reference(sizes), _batch(sizes), _growth(sizes)]


class _Replay:
    """One book whose memory is reused, so that no timed run pays for fresh pages."""

    def __init__(self, rows: NDArray[np.int32], levels: int, tape: int) -> None:
        self.rows = rows
        self.book = OrderBook(levels, SLOTS, ids=len(rows), tape=tape)

    def reset(self) -> None:
        _reset_all(self.book.arrays)
        self.book.handles[:] = lob.NONE
        self.book.trade_count[0] = 0

    def run(self) -> None:
        self.book.replay(self.rows)


def _replay_reference(book: ReferenceBook, rows: list[tuple[int, ...]]) -> None:
    apply = book.apply
    for row in rows:
        apply(*row)


def _against_reference(sizes: BookSizes) -> list[Figure]:
    rows = message_stream(sizes.messages, sizes.seed, sizes.levels)
    replay = _Replay(rows, sizes.levels, tape=1 << (2 * len(rows)).bit_length())
    plain = [tuple(row) for row in rows.tolist()]
    ours, theirs = [], []
    cpu_seconds(replay.run)
    # In turns: where the machine changes its pace it does so for both.
    for _ in range(sizes.reference_repeats):
        reference = ReferenceBook(sizes.levels)
        theirs.append(cpu_seconds(partial(_replay_reference, reference, plain)))
        for _ in range(max(1, sizes.repeats // sizes.reference_repeats)):
            ours.append(cpu_seconds(replay.run, replay.reset))
    fields = [lob.MAKER, lob.TAKER, lob.TRADE_PRICE, lob.TRADE_QUANTITY]
    trades = [tuple(row) for row in replay.book.trades[:, fields].tolist()]
    equal = trades == reference.trades and replay.book.resting() == reference.resting()
    return [
        speed(
            "replay_messages_per_s",
            len(rows) / median(ours),
            "messages/s",
            "Python book",
            len(rows) / median(theirs),
            REPLAY_TARGET,
        ),
        Figure("replay_equal", float(equal), "(1 = equal)", "Python book", target=1.0),
    ]


@kernel
def _only(arrays: BookArrays, index: int) -> BookArrays:
    """Views of book number `index` alone."""
    return BookArrays(
        arrays.orders[index : index + 1],
        arrays.levels[index : index + 1],
        arrays.bits[index : index + 1],
        arrays.live[index : index + 1],
        arrays.header[index : index + 1],
        arrays.extra[index : index + 1],
    )


@kernel
def _reset_all(arrays: BookArrays) -> None:
    for index in range(arrays.header.shape[0]):
        lob.reset_book(lob.first_book(_only(arrays, index)))


class _Batch:
    """Many streams, replayed through many books in turn, or through one after another."""

    def __init__(self, sizes: BookSizes) -> None:
        count = sizes.visits * sizes.visit_messages
        self.visit = sizes.visit_messages
        self.streams = np.empty((sizes.books, count, MESSAGE_FIELDS), np.int32)
        for index in range(sizes.books):
            self.streams[index] = message_stream(count, sizes.seed + index, sizes.levels)
        self.arrays = lob.allocate(sizes.books, sizes.levels, SLOTS)
        self.handles = np.empty((sizes.books, count), np.int64)
        self.tape = np.zeros((_RING, lob.TRADE_FIELDS), np.int32)
        self.count = np.zeros(1, np.int64)
        self.refusals = np.zeros(len(REASONS), np.int64)

    @property
    def messages(self) -> int:
        return int(self.streams.shape[0] * self.streams.shape[1])

    def reset(self) -> None:
        _reset_all(self.arrays)
        self.handles[:] = lob.NONE

    def in_turn(self) -> None:
        memory = (self.handles, self.tape, self.count, self.refusals)
        _visit_all(self.arrays, self.streams, *memory, self.visit)

    def one_alone(self) -> None:
        memory = (self.handles, self.tape, self.count, self.refusals)
        _one_by_one(self.arrays, self.streams, *memory)


@kernel
def _visit_all(
    arrays: BookArrays,
    streams: NDArray[np.int32],
    handles: NDArray[np.int64],
    tape: NDArray[np.int32],
    count: NDArray[np.int64],
    refusals: NDArray[np.int64],
    visit: int,
) -> None:
    """`visit` messages into each book, again and again, until the streams end."""
    for start in range(0, streams.shape[1], visit):
        for index in range(streams.shape[0]):
            rows = streams[index, start : start + visit]
            _replay(_only(arrays, index), rows, handles[index], tape, count, refusals)


@kernel
def _one_by_one(
    arrays: BookArrays,
    streams: NDArray[np.int32],
    handles: NDArray[np.int64],
    tape: NDArray[np.int32],
    count: NDArray[np.int64],
    refusals: NDArray[np.int64],
) -> None:
    """Each stream whole, all through the first book, emptied in between."""
    for index in range(streams.shape[0]):
        lob.reset_book(lob.first_book(arrays))
        _replay(arrays, streams[index], handles[index], tape, count, refusals)


def _batch(sizes: BookSizes) -> Figure:
    batch = _Batch(sizes)
    costs = []
    for work in (batch.in_turn, batch.one_alone):
        seconds = median_cpu_seconds(work, sizes.batch_repeats, batch.reset)
        costs.append(seconds * _NANO / batch.messages)
    reference = "ns/message, same streams, one book"
    return cost_ratio("batch512_cost_ratio", costs[0], reference, costs[1], BATCH_TARGET)


def _growth(sizes: BookSizes) -> Figure:
    def cost(replay: _Replay, repeats: int) -> float:
        run: Callable[[], object] = replay.run
        return median_cpu_seconds(run, repeats, replay.reset) * _NANO / len(replay.rows)

    # Many short streams, each other than the last: one that is replayed again and again
    # would show how well a processor learns its branches by heart.
    short = _Replay(message_stream(sizes.short, sizes.seed, sizes.levels), sizes.levels, _RING)
    costs = []
    for turn in range(sizes.growth_repeats * 20):
        short.rows = message_stream(sizes.short, sizes.seed + turn, sizes.levels)
        costs.append(cpu_seconds(short.run, short.reset) * _NANO / sizes.short)
    whole = message_stream(sizes.long, sizes.seed, sizes.levels)
    long = cost(_Replay(whole, sizes.levels, _RING), sizes.growth_repeats)
    reference = f"ns/message of {sizes.short:,} messages"
    return cost_ratio("cost_growth_1e4_1e7", long, reference, median(costs), GROWTH_TARGET)
