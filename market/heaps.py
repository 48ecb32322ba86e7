"""A binary heap over a pointer to int64 rows (key, second key, item): smallest first.

An item may have died since it was pushed; the caller drops such when it meets them.
"""

from __future__ import annotations

from typing import Any

from market.kernels import kernel

KEY, SECOND, ITEM = range(3)
HEAP_FIELDS = 3


@kernel
def _before(heap: Any, first: int, second: int) -> bool:
    one, other = first * HEAP_FIELDS, second * HEAP_FIELDS
    if heap[one + KEY] != heap[other + KEY]:
        return heap[one + KEY] < heap[other + KEY]
    return heap[one + SECOND] < heap[other + SECOND]


@kernel
def _swap(heap: Any, first: int, second: int) -> None:
    for field in range(HEAP_FIELDS):
        one, other = first * HEAP_FIELDS + field, second * HEAP_FIELDS + field
        held = heap[one]
        heap[one] = heap[other]
        heap[other] = held


@kernel
def push(heap: Any, size: int, key: int, second: int, item: int) -> int:
    """Add a row to a heap of `size` rows. Returns the new size; the caller has seen to room."""
    row = size * HEAP_FIELDS
    heap[row + KEY] = key
    heap[row + SECOND] = second
    heap[row + ITEM] = item
    child = size
    while child > 0:
        parent = (child - 1) // 2
        if not _before(heap, child, parent):
            break
        _swap(heap, child, parent)
        child = parent
    return size + 1


@kernel
def pop(heap: Any, size: int) -> int:
    """Move the first row behind the others. Returns the new size, which is that row's index."""
    last = size - 1
    _swap(heap, 0, last)
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= last:
            break
        if child + 1 < last and _before(heap, child + 1, child):
            child += 1
        if not _before(heap, child, parent):
            break
        _swap(heap, child, parent)
        parent = child
    return last
