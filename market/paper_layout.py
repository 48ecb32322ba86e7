"""What paper execution keeps of orders, and what it reports of a step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# An order between its sending and its end.
LIVE = np.dtype(
    [
        ("live", np.int64),
        ("id", np.int64),
        ("left", np.int64),  # units neither filled nor given up
        ("twice_mid", np.int64),  # what the decision saw, and F and own impact then
        ("reference", np.float64),
        ("impact", np.float64),
    ]
)
FILL = np.dtype(
    [
        ("id", np.int64),
        ("venue", np.int64),
        ("price", np.int64),  # ladder ticks
        ("quantity", np.int64),
        ("passive", np.int64),
    ]
)
CANCELLED, REJECTED = 1, 2
ENDED = np.dtype([("id", np.int64), ("quantity", np.int64), ("how", np.int64)])

# Units and orders of a session. An order has one end: filled where nothing of it was given up.
TALLY = np.dtype(
    [
        (f"{what}_{how}", np.int64)
        for what in ("units", "orders")
        for how in ("sent", "filled", "cancelled", "rejected")
    ]
)
REPORT = np.dtype(
    [
        ("fills", np.int64),
        ("ended", np.int64),
        ("next_id", np.int64),
        ("forced_id", np.int64),  # of the order that crossed the rest at the horizon; -1 if none
    ]
)


class Paper(NamedTuple):
    """What a step of paper execution reads and writes besides the market."""

    flying: NDArray[Any]  # LIVE [max_pending], by row in flight
    rested: NDArray[Any]  # LIVE [max_resting], by own resting order
    fills: NDArray[Any]  # FILL [most], of the last step
    ended: NDArray[Any]  # ENDED [most], of the last step
    report: NDArray[Any]  # REPORT [1]
    tally: NDArray[Any]  # TALLY [1]
    worked: NDArray[Any]  # WORKED [1], of the parent
    rules: NDArray[Any]  # RULES [1]
    children: NDArray[Any]  # CHILD [max_children]; refused ones have no quantity
    cancels: NDArray[np.int8]  # [max_resting]
    decision: NDArray[Any]  # DECISION [1]
