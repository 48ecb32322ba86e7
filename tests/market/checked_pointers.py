"""The book's own code run by Python, with pointers that refuse to leave their array.

numba's bounds checks see arrays, not pointers. With compilation off the kernels are
plain functions; given pointers that check, every access of every message is checked.
Run as a module with NUMBA_DISABLE_JIT=1.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from market import pointers

WORD = 64


class CheckedPointer:
    """`pointer(array)` for Python: a flat index into the array, and nothing beyond."""

    accesses = 0

    def __init__(self, array: NDArray[Any], start: int = 0) -> None:
        self.flat = array.reshape(-1)
        assert not array.size or np.shares_memory(self.flat, array)
        self.start = start

    def _at(self, index: int) -> int:
        at = self.start + int(index)
        if not 0 <= at < self.flat.size:
            raise IndexError(f"element {at} of {self.flat.size}")
        CheckedPointer.accesses += 1
        return at

    def __getitem__(self, index: int) -> Any:
        value = self.flat[self._at(index)]
        # Machine code computes with 64 bits; numpy's int32 would overflow.
        return value if value.dtype == np.uint64 else int(value)

    def __setitem__(self, index: int, value: Any) -> None:
        self.flat[self._at(index)] = value


def _trailing_zeros(word: np.uint64) -> int:
    assert word, "undefined for zero"
    return (int(word) & -int(word)).bit_length() - 1


def _leading_zeros(word: np.uint64) -> int:
    assert word, "undefined for zero"
    return WORD - int(word).bit_length()


def _install() -> None:
    """Before `market.book` is imported, which takes these names from `market.pointers`."""
    pointers.pointer = CheckedPointer
    pointers.shifted = lambda base, offset: CheckedPointer(base.flat, base.start + offset)
    pointers.trailing_zeros = _trailing_zeros
    pointers.leading_zeros = _leading_zeros
    pointers.either = lambda condition, first, second: first if condition else second
    pointers.opaque = int
    pointers.prefetch = lambda base, offset: None


def _replay_all() -> None:
    from tests.market.book_checks import (
        array_book,
        check_invariants,
        long_stream,
        reference_after,
        trades_of,
    )
    from tests.market.book_kernels import reset_at
    from tests.market.order_checks import (
        LEVELS,
        ReferenceOrders,
        assert_equal,
        order_book,
        random_rows,
    )

    for seed, slots in ((0, 3), (1, 12), (2, 60)):
        full = random_rows(500, seed)
        orders, truth = order_book(full, slots), ReferenceOrders(LEVELS, slots)
        orders.replay(full)
        for row in full.tolist():
            truth.apply(row)
        assert_equal(orders, truth)

    for seed, slots in ((0, 3), (1, 12), (2, 400)):
        rows = long_stream(2500, seed)
        book = array_book(rows, slots=slots)
        book.replay(rows)
        reference = reference_after(rows, slots=slots)
        assert trades_of(book) == reference.trades
        assert book.resting() == reference.resting()
        reset_at(book.arrays, 0)
        check_invariants(book.arrays)


if __name__ == "__main__":
    assert numba.config.DISABLE_JIT
    try:
        CheckedPointer(np.zeros(4, np.int32))[4]
    except IndexError:
        _install()
        _replay_all()
        assert CheckedPointer.accesses > 100_000, "the book ran over other pointers"
        print("within bounds")
