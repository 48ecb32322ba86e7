"""A decision's orders as plain data, prices in currency."""

from __future__ import annotations

from typing import Any

from cascade.decide import SIDE_NAMES, SMART_NAME
from cascade.hot import CANCELS, ORDERS, Hot
from configs.execution import ExecutionConfig
from market.decode import CHILD
from market.state import AGGRESSIVE, OWN_PRICE, OWN_QUANTITY, VENUE

_CHILD = CHILD.names or ()


class Teller:
    """Tells orders and cancels of one market."""

    def __init__(self, config: ExecutionConfig) -> None:
        self._venues = [*(venue.name for venue in config.market.venues), SMART_NAME]
        self._tick = config.market.tick

    def orders(self, work: Hot, base: float, side: int) -> list[dict[str, Any]]:
        """What is to be sent. Args: base: of the ladder, ticks; side: BUY or SELL."""
        sent = work.orders[: int(work.counts[ORDERS])].tolist()
        return [self._order(base, SIDE_NAMES[side], *row) for row in sent]

    def cancels(self, work: Hot, base: float) -> list[dict[str, Any]]:
        """Own resting orders that are to be cancelled."""
        count = int(work.counts[CANCELS])
        if not count:
            return []
        gone = work.resting[work.cancelled[:count]].tolist()
        return [self._cancel(base, fields) for fields in gone]

    def _order(self, base: float, side: str, number: int, child: tuple[Any, ...]) -> dict[str, Any]:
        told = dict(zip(_CHILD, child, strict=True))
        return {
            "id": number,
            "kind": "marketable" if told["kind"] == AGGRESSIVE else "limit",
            "venue": self._venues[told["venue"]],
            "side": side,
            "quantity": told["quantity"],
            "limit": self._quoted(base + told["price"]),
            "after_seconds": told["offset"],
        }

    def _cancel(self, base: float, fields: Any) -> dict[str, Any]:
        return {
            "venue": self._venues[int(fields[VENUE])],
            "limit": self._quoted(base + int(fields[OWN_PRICE])),
            "quantity": int(fields[OWN_QUANTITY]),
        }

    def _quoted(self, ticks: float) -> float:
        """A price in currency, without a float's tail."""
        return float(f"{ticks * self._tick:.10g}")
