"""A step's arrays as the bytes of their audit records: views, which copy nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.events import CANCEL, OWNED, TICK
from cascade.events import ORDER as SENT
from cascade.events import REFUSAL as REFUSED_ORDER
from cascade.hot import Heard, Hot


class Records:
    """The records of the step that the arrays hold; valid until the next one.

    Attributes:
        acted: of EXECUTE_TRADE.
    """

    def __init__(self, heard: Heard, hot: Hot) -> None:
        record = heard.tick.base
        assert isinstance(record, np.ndarray)  # `owned` lies behind `tick` in it
        self._tick = record.data
        self.acted = _bytes(hot.acted)
        self._orders, self._refusals = _bytes(hot.orders), _bytes(hot.refusals)
        self._cancelled = _bytes(hot.cancelled)

    def tick(self, owned: int) -> memoryview:
        """Of NEW_TICK, with so many own resting orders."""
        return self._tick[: TICK.itemsize + owned * OWNED.itemsize]

    def orders(self, count: int) -> memoryview:
        """Of ORDER_SUBMITTED."""
        return self._orders[: count * SENT.itemsize]

    def refusals(self, count: int) -> memoryview:
        """Of RULES_REFUSED."""
        return self._refusals[: count * REFUSED_ORDER.itemsize]

    def cancelled(self, count: int) -> memoryview:
        """Of CANCEL_SENT."""
        return self._cancelled[: count * CANCEL.itemsize]


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.view(np.uint8).data
