"""Kernels through which tests drive one book among many, in the way simulations do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from market import book as lob
from market.book import Book, BookArrays, Tape
from market.kernels import kernel
from market.pointers import pointer
from market.replay import (
    ID,
    KIND,
    MESSAGE_FIELDS,
    PRICE,
    QUANTITY,
    SIDE,
    _apply,
)


@kernel
def nth_book(arrays: BookArrays, index: int) -> Book:
    """Book number `index` of `arrays`."""
    base = lob.first_book(arrays)
    return lob.book_at(base, index, arrays.levels.shape[1], arrays.orders.shape[1])


@kernel
def replay_at(
    arrays: BookArrays,
    index: int,
    messages: NDArray[np.int32],
    handles: NDArray[np.int64],
    trades: NDArray[np.int32],
    count: NDArray[np.int64],
    refusals: NDArray[np.int64],
) -> None:
    """Replay `messages` through book number `index`."""
    book = nth_book(arrays, index)
    tape = Tape(pointer(trades), pointer(count), trades.shape[0] - 1)
    rows = pointer(messages)
    known, refused = pointer(handles), pointer(refusals)
    for number in range(messages.shape[0]):
        row = number * MESSAGE_FIELDS
        order = rows[row + ID]
        known[order] = _apply(
            book,
            tape,
            refused,
            rows[row + KIND],
            rows[row + SIDE],
            rows[row + PRICE],
            rows[row + QUANTITY],
            order,
            known[order],
        )


@kernel
def limit_at(
    arrays: BookArrays,
    index: int,
    trades: NDArray[np.int32],
    count: NDArray[np.int64],
    side: int,
    price: int,
    quantity: int,
    owner: int,
) -> int:
    """A limit order into book number `index`. Returns its handle or REJECTED_*."""
    tape = Tape(pointer(trades), pointer(count), trades.shape[0] - 1)
    book = nth_book(arrays, index)
    return lob.submit_limit(book, tape, side, price, quantity, owner, True)


@kernel
def modify_at(
    arrays: BookArrays,
    index: int,
    trades: NDArray[np.int32],
    count: NDArray[np.int64],
    handle: int,
    price: int,
    quantity: int,
) -> int:
    """A change in book number `index`. Returns the handle that lives on."""
    tape = Tape(pointer(trades), pointer(count), trades.shape[0] - 1)
    return lob.modify(nth_book(arrays, index), tape, handle, price, quantity)


@kernel
def cancel_at(arrays: BookArrays, index: int, handle: int) -> int:
    """A cancel in book number `index`. Returns the quantity cancelled."""
    return lob.cancel(nth_book(arrays, index), handle)


@kernel
def slot_at(arrays: BookArrays, index: int, handle: int) -> int:
    """The slot of a live order of book number `index`, or NONE."""
    return lob.slot_of(nth_book(arrays, index), handle)


@kernel
def queue_ahead_at(arrays: BookArrays, index: int, slot: int) -> int:
    """Quantity before a live order of book number `index`."""
    return lob.queue_ahead(nth_book(arrays, index), slot)


@kernel
def reset_at(arrays: BookArrays, index: int) -> None:
    """Empty book number `index`."""
    lob.reset_book(nth_book(arrays, index))
