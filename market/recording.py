"""What happened in one market, in order: simulated and historical ones alike.

The statistics of a market are computed from this form alone, so that a simulated
hour and a recorded one go through the same code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Recording:
    """Messages, trades and quotes of one instrument over one stretch of time.

    Times are seconds since `start`, ascending within each array; prices are ticks.
    Of several venues, quotes are consolidated: the best of all, quantities summed.
    """

    source: str
    seconds: float
    tick: float  # currency
    message_time: Floats  # [messages], of every limit order, market order and cancel
    trade_time: Floats  # [trades]; fills of one incoming order share their time
    trade_price: Floats  # [trades], ticks
    trade_quantity: Integers  # [trades]
    trade_side: Integers  # [trades], +1 where the taker bought, -1 where it sold
    quote_time: Floats  # [quotes], whenever best price or quantity of either side changed
    bid: Floats  # [quotes], ticks; NaN where the side was empty
    ask: Floats  # [quotes]
    bid_quantity: Integers  # [quotes]
    ask_quantity: Integers  # [quotes]
    cancel_age: Floats  # [cancels], seconds from an order's arrival to its cancel
    depth: Floats  # [distances], mean quantity k ticks behind the best quote, both sides

    @property
    def mid(self) -> Floats:
        """The mid at every quote, ticks; NaN where a side was empty."""
        return 0.5 * (self.bid + self.ask)
