"""Random historical streams for tests, and own orders that act among them."""

from __future__ import annotations

import numpy as np

from market.history import HistoricalMarket
from market.message_table import ADD, DELETE, EXECUTE, HIDDEN, REDUCE
from tests.market.message_files import Row

BUY, SELL = 1, -1


def random_rows(seed: int, count: int = 400, adds: float = 0.55) -> list[Row]:
    """A consistent stream: adds that do not cross, and cancels and executions of open orders.

    `adds` is their share of messages; fewer make a thinner book that moves more.
    """
    rng = np.random.default_rng(seed)
    live: dict[int, list[int]] = {}
    rows: list[Row] = []
    for index in range(count):
        time = 1.0 + index // 3
        side = int(rng.choice([BUY, SELL]))
        own = {i: o for i, o in live.items() if o[0] == side}
        if not own or rng.random() < adds:
            edges = [o[1] for o in live.values() if o[0] == -side]
            limit = (min(edges) - 1 if side == BUY else max(edges) + 1) if edges else 200
            price = limit - side * int(rng.integers(0, 5))
            live[index] = [side, price, int(rng.integers(1, 30))]
            rows.append((time, ADD, index, live[index][2], price, side))
            continue
        kind = int(rng.choice([REDUCE, DELETE, EXECUTE, EXECUTE, HIDDEN]))
        # The first order of the best price is the one that executes.
        first = min(own, key=lambda i: (-side * own[i][1], i))
        order = first if kind in (EXECUTE, HIDDEN) else int(rng.choice(list(own)))
        _, price, left = live[order]
        size = left if kind == DELETE else int(rng.integers(1, left + 1))
        if kind == HIDDEN:
            rows.append((time, HIDDEN, 0, size, price, side))
            continue
        rows.append((time, kind, order, size, price, side))
        live[order][2] -= size
        if live[order][2] == 0:
            del live[order]
    return rows


def act(market: HistoricalMarket, seed: int, chunks: int = 1) -> None:
    """Random own orders and cancels every two seconds, the way there in `chunks`."""
    rng = np.random.default_rng([seed, 1])
    end = market.messages.time[-1] / 1e9
    handles: list[int] = []
    while market.now + 2.0 < end:
        start = market.now
        for chunk in range(1, chunks + 1):
            market.advance(start + 2.0 * chunk / chunks)
        quote = market.quote
        side = int(rng.choice([BUY, SELL]))
        touch = quote.bid if side == BUY else quote.ask
        price = (touch or 200) + side * int(rng.integers(-3, 4))
        rests = bool(rng.random() < 0.8)
        handles.append(market.submit(side, price, int(rng.integers(1, 25)), rests))
        if rng.random() < 0.3:
            market.cancel(int(rng.choice(handles)))
    market.advance()
