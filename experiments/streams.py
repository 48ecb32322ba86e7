"""Streams of order messages for benchmarks and tests."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from market import book as lob
from market.book import BookArrays, Tape
from market.kernels import kernel
from market.pointers import pointer
from market.random import uniform
from market.replay import (
    CANCEL,
    ID,
    KIND,
    LIMIT,
    MARKET,
    MESSAGE_FIELDS,
    PRICE,
    QUANTITY,
    SIDE,
)

ADD_SHARE = 0.51
CANCEL_SHARE = 0.39
RESTING = 2000
MEAN_DEPTH = 12.0  # ticks between a new limit order and the middle
LIMIT_SIZE = 200  # sizes are uniform on 1 .. this
MARKET_SIZE = 240  # 1.2 limit orders on average, what keeps the book's size steady
_DRAWS = 4


@kernel
def _generate(arrays: BookArrays, rows: NDArray[np.int32], seed: np.uint64) -> None:
    """Fill `rows` by playing them against a book, so that cancels name live orders."""
    book = lob.first_book(arrays)
    trades = np.zeros((1, lob.TRADE_FIELDS), np.int32)
    count = np.zeros(1, np.int64)
    tape = Tape(pointer(trades), pointer(count), 0)
    middle = arrays.levels.shape[1] // 2
    for index in range(rows.shape[0]):
        base = index * _DRAWS
        kind_draw = uniform(seed, base)
        live = book.header[lob.LIVE_COUNT]
        side = lob.BUY if uniform(seed, base + 1) < 0.5 else lob.SELL
        row = rows[index]
        row[ID] = index
        row[SIDE] = side
        size = uniform(seed, base + 3)
        if live < RESTING // 2 or (kind_draw < ADD_SHARE and live < 2 * RESTING):
            depth = 1 + int(-math.log(uniform(seed, base + 2)) * MEAN_DEPTH)
            row[KIND] = LIMIT
            row[PRICE] = middle - side * min(depth, middle - 1)
            row[QUANTITY] = 1 + int(size * LIMIT_SIZE)
            lob.submit_limit(book, tape, side, row[PRICE], row[QUANTITY], index, True)
        elif kind_draw < ADD_SHARE + CANCEL_SHARE:
            slot = book.live[int(uniform(seed, base + 2) * live)]
            row[KIND] = CANCEL
            row[ID] = book.orders[slot * lob.ORDER_FIELDS + lob.OWNER]
            lob.remove(book, slot)
        else:
            row[KIND] = MARKET
            row[QUANTITY] = 1 + int(size * MARKET_SIZE)
            lob.submit_market(book, tape, side, row[QUANTITY], index)


def message_stream(count: int, seed: int, levels: int = 1024) -> NDArray[np.int32]:
    """`count` messages: 51% limit orders, 39% cancels, 10% market orders, about 2,000 resting.

    Returns int32 [count, MESSAGE_FIELDS]; the id of a limit order is its row.
    """
    rows = np.zeros((count, MESSAGE_FIELDS), np.int32)
    _generate(lob.allocate(1, levels, 4 * RESTING), rows, np.uint64(seed))
    return rows
