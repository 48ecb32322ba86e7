"""An order, its kinds and how long it lives: one table each, for sizing, risk rules and audit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Kind(NamedTuple):
    """One kind of order, and what of an ORDER record it needs.

    `worked` ones are parents that a schedule cuts into children.
    """

    name: str
    needs_price: bool
    needs_stop: bool
    worked: bool


KINDS = (
    Kind("MARKET", False, False, False),
    Kind("LIMIT", True, False, False),
    Kind("TWAP", False, False, True),
    Kind("VWAP", False, False, True),
    Kind("IS", False, False, True),  # implementation shortfall, Almgren-Chriss
    Kind("STOP", False, True, False),
    Kind("STOP_LIMIT", True, True, False),
    Kind("ICEBERG", True, False, False),
)
MARKET, LIMIT, TWAP, VWAP, IS, STOP, STOP_LIMIT, ICEBERG = range(len(KINDS))
KIND_NAMES = tuple(kind.name for kind in KINDS)
# As arrays, for kernels.
NEEDS_PRICE = np.array([kind.needs_price for kind in KINDS])
NEEDS_STOP = np.array([kind.needs_stop for kind in KINDS])
WORKED_KINDS = np.array([kind.worked for kind in KINDS])

# Time in force: until the session's end, immediate or cancel, fill or kill, until cancelled,
# until a date.
LIVES = ("DAY", "IOC", "FOK", "GTC", "GTD")
DAY, IOC, FOK, GTC, GTD = range(len(LIVES))

BUY, SELL = 1, -1

# What an agent or a caller asks for. Quantity and prices are floats, so that whatever a network
# makes of them reaches the rules as it is.
ORDER = np.dtype(
    [
        ("time", np.float64),  # seconds of the bar clock
        ("instrument", np.int64),
        ("side", np.int64),  # BUY or SELL
        ("kind", np.int64),
        ("life", np.int64),
        ("venue", np.int64),  # as in `market.state`; SMART is the router
        ("quantity", np.float64),  # units, whole
        ("price", np.float64),  # currency, of kinds that need one
        ("stop_price", np.float64),  # currency, likewise
        ("expires", np.float64),  # seconds of the bar clock, of GTD
        ("displayed", np.float64),  # units, of ICEBERG
    ]
)
