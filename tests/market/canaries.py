"""Random streams through a book whose neighbours in memory must stay as they were.

Run as a module it expects numba's bounds checks to be on, and proves that they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from market import book as lob
from market import order_rows as m
from market.book import BookArrays
from market.engine import EngineArrays, allocate_engine
from market.kernels import kernel
from market.order_rows import REASONS
from market.replay import IOC, LIMIT, MODIFY, _replay_full
from tests.market.book_checks import INT32, LEVELS, check_invariants, check_parts, long_stream
from tests.market.book_kernels import replay_at, reset_at
from tests.market.order_checks import LEVELS as ORDER_LEVELS
from tests.market.order_checks import random_rows

CANARY = 0x5A
SLOTS = 7
MESSAGES = 1500
TAPE = 16


def _with_wild_numbers(rows: NDArray[np.int32], seed: int) -> NDArray[np.int32]:
    """One row in five with extreme prices and quantities."""
    rng = np.random.default_rng([seed, CANARY])  # not the stream's own draws
    wild = rng.random(len(rows)) < 0.2
    extremes = [INT32.min, INT32.min + 1, -64, -1, 0, LEVELS - 1, LEVELS, 2 * LEVELS, INT32.max]
    rows[wild, 3] = rng.choice(extremes, wild.sum())
    rows[wild, 4] = rng.choice([INT32.min, -1, 0, 1, INT32.max], wild.sum())
    assert set(rows[wild, 0]) >= {LIMIT, IOC, MODIFY}
    return rows


def _with_wild_orders(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """One full row in ten with extreme prices, quantities, expiries and peaks."""
    rng = np.random.default_rng([seed, CANARY])
    wild = rng.random(len(rows)) < 0.1
    extremes = [-INT32.max, -64, -1, 0, ORDER_LEVELS - 1, ORDER_LEVELS, INT32.max]
    for field in (m.PRICE, m.STOP_PRICE):
        rows[wild, field] = rng.choice(extremes, wild.sum())
    rows[wild, m.QUANTITY] = rng.choice([-INT32.max, -1, 0, 1, INT32.max], wild.sum())
    rows[wild, m.EXPIRY] = rng.choice([lob.NONE, 0, np.iinfo(np.int64).max], wild.sum())
    peaked = wild & (rows[:, m.PEAK] > 0)
    rows[peaked, m.PEAK] = rng.choice([1, INT32.max // 9, INT32.max], peaked.sum())
    return rows


def _padded(shape: tuple[int, ...], dtype: Any, fill: Any) -> NDArray[np.uint8]:
    """Three rows, of which the outer two are canaries and the middle one is `fill`."""
    out = np.full((3, int(np.prod(shape)) * np.dtype(dtype).itemsize), CANARY, np.uint8)
    middle = out[1].view(dtype)
    middle[:] = np.ravel(fill)
    return out


def _damaged(parts: Iterable[NDArray[np.uint8]]) -> int:
    """How many bytes beside the middles no longer hold the canary."""
    return sum(int((part[[0, 2]] != CANARY).sum()) for part in parts)


def replay_between_canaries(seed: int) -> int:
    """Replay into the middle of three books, with padded handles, trades and count.

    Returns how many bytes beside them changed.
    """
    arrays = lob.allocate(3, LEVELS, SLOTS)
    guarded = [part.view(np.uint8) for part in arrays if part.size > 0]
    for part in guarded:
        part[0] = CANARY
        part[2] = CANARY
    handles = _padded((MESSAGES,), np.int64, lob.NONE)
    tape = _padded((TAPE, lob.TRADE_FIELDS), np.int32, 0)
    count = _padded((1,), np.int64, 0)
    refusals = _padded((len(REASONS),), np.int64, 0)
    rows = _with_wild_numbers(long_stream(MESSAGES, seed), seed)
    for _ in range(2):
        replay_at(
            arrays,
            1,
            rows,
            handles[1].view(np.int64),
            tape[1].view(np.int32).reshape(TAPE, lob.TRADE_FIELDS),
            count[1].view(np.int64),
            refusals[1].view(np.int64),
        )
        check_invariants(arrays, 1)
        reset_at(arrays, 1)
        handles[1].view(np.int64)[:] = lob.NONE  # the ids name nothing in an emptied book
        check_invariants(arrays, 1)
    assert count[1].view(np.int64)[0] > TAPE, "the ring of trades never wrapped"
    assert refusals[1].view(np.int64).sum() > 0, "no row was refused"
    return _damaged((*guarded, handles, tape, count, refusals))


def replay_orders_between_canaries(seed: int) -> int:
    """Full rows of every type into an engine whose every array stands between canaries.

    Returns how many bytes beside them changed.
    """
    plain = allocate_engine(ORDER_LEVELS, SLOTS, MESSAGES, TAPE)
    padded = [
        [_padded(part.shape, part.dtype, part) for part in plain.books],
        [_padded(part.shape, part.dtype, part) for part in plain[1:]],
    ]
    middles = [
        [part[1].view(p.dtype).reshape(p.shape) for part, p in zip(group, parts, strict=True)]
        for group, parts in zip(padded, (plain.books, plain[1:]), strict=True)
    ]
    engine = EngineArrays(BookArrays(*middles[0]), *middles[1])
    rows = _with_wild_orders(random_rows(MESSAGES, seed), seed)
    _replay_full(engine, rows)
    check_parts(engine.books)
    assert engine.trade_count[0] > TAPE, "the ring of trades never wrapped"
    return _damaged((*padded[0], *padded[1]))


@kernel
def _element(array: NDArray[np.int32], index: int) -> np.int32:
    return array[index]


def _checks_are_on() -> bool:
    try:
        _element(np.zeros(4, np.int32), 4)
    except IndexError:
        return True
    return False


if __name__ == "__main__":
    assert numba.config.BOUNDSCHECK and _checks_are_on()
    for number in range(20):
        assert replay_between_canaries(number) == 0
        assert replay_orders_between_canaries(number) == 0
    print("neighbours untouched")
