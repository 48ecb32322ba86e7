"""Child orders of `market.decode` as the orders that the rules judge."""

from __future__ import annotations

from typing import Any

from market.kernels import kernel
from market.orders.layout import DAY, IOC, LIMIT
from market.state import AGGRESSIVE


@kernel
def orders_of_children(
    children: Any,
    count: int,
    parents: Any,
    episodes: Any,
    tick: float,
    time: float,
    instrument: int,
    orders: Any,
) -> int:
    """Write ORDER rows of the first `count` children; how many there are.

    An aggressive child is a limit order at its worst price that lives at once or not at all.

    Args:
        children: CHILD [...], of `decode`; prices in ladder ticks.
        parents, episodes: PARENT [1], EPISODE [1], for the side and the ladder's base.
        tick: currency.
        time: of the decision, by the bar clock; a child is sent its offset later, and judged now.
        orders: ORDER [...], written.
    """
    written = max(min(count, len(children), len(orders)), 0)
    for index in range(written):
        child, order = children[index], orders[index]
        order.time = time
        order.instrument = instrument
        order.side = parents[0].side
        order.kind = LIMIT
        order.life = IOC if child.kind == AGGRESSIVE else DAY
        order.venue = child.venue
        order.quantity = child.quantity
        order.price = (episodes[0].base + child.price) * tick
        order.stop_price = 0.0
        order.expires = 0.0
        order.displayed = 0.0
    return written
