"""What makes a row a message: possible values, and a clock that never goes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from market.message_table import ADD, EXECUTE, HALT, BadMessages, MessageTable

MOST = 2**31 - 1  # int32: quantities and prices of the book
TICK_TOLERANCE = 1e-4
"""Share of a tick by which a price may miss the grid: rounding of decimals, no more."""
HALT_STATES = (-1, 0, 1)


def judge_values(table: MessageTable, ticks_per_unit: float, bad: BadMessages) -> MessageTable:
    """The rows whose values are possible, prices in ticks; the others counted in `bad`.

    Orders of the book stand on whole ticks; hidden executions and crosses need not.
    A halt's state moves from its price, where LOBSTER writes it, to its size.
    """
    halt = table.kind == HALT
    in_book = (table.kind >= ADD) & (table.kind <= EXECUTE)
    with np.errstate(over="ignore"):
        ticks = table.price * ticks_per_unit
    whole = np.round(np.where(np.abs(ticks) <= MOST, ticks, 0.0))
    judges = {
        f"size is not from 1 to {MOST}": (
            halt | ((table.size >= 1) & (table.size <= MOST)),
            table.size,
        ),
        "price is not positive": (halt | (table.price > 0), table.price),
        f"price is beyond {MOST} ticks": (halt | (ticks <= MOST), table.price),
        f"price is off the tick of {1 / ticks_per_unit:g} in the file's unit": (
            ~in_book | (np.abs(ticks - whole) <= TICK_TOLERANCE) & (whole >= 1),
            table.price,
        ),
        "halt's price is not -1, 0 or 1": (~halt | np.isin(table.price, HALT_STATES), table.price),
    }
    good = np.ones(len(ticks), dtype=np.bool_)
    for reason, (passes, shown) in judges.items():
        wrong = np.flatnonzero(good & ~passes)
        bad.add_many(reason, table.lines[wrong], (f"got {value:.17g}" for value in shown[wrong]))
        good &= passes
    size = np.where(halt & good, table.price, table.size).astype(np.int64)
    settled = replace(table, price=np.where(in_book, whole, ticks), size=size)
    return take(settled, good)


def judge_order(table: MessageTable, bad: BadMessages) -> MessageTable:
    """The rows whose time does not fall. Of rows out of order the fewer go."""
    time = table.time
    if not len(time):
        return table
    below, above = np.zeros((2, len(time)), dtype=np.bool_)
    below[1:] = time[1:] < np.maximum.accumulate(time)[:-1]
    above[:-1] = time[:-1] > np.minimum.accumulate(time[::-1])[::-1][1:]
    astray = below if below.sum() <= above.sum() else above
    wrong = np.flatnonzero(astray)
    shown = (f"got {time[row] * 1e-9:.9f} s, {_beside(time, int(row))}" for row in wrong)
    bad.add_many("clock goes back", table.lines[wrong], shown)
    return take(table, ~astray)


def _beside(time: NDArray[np.int64], row: int) -> str:
    before, after = time[max(row - 1, 0)], time[min(row + 1, len(time) - 1)]
    return f"{before * 1e-9:.9f} s before and {after * 1e-9:.9f} s after it"


def take(table: MessageTable, rows: NDArray[np.bool_]) -> MessageTable:
    """The chosen rows of a table."""
    if rows.all():
        return table
    names = ("lines", "time", "kind", "order", "size", "price", "side")
    return replace(table, **{name: getattr(table, name)[rows] for name in names})
