"""What the market's quotes were, where a file of messages alone must tell.

A file that starts in mid-life names orders that it never added. Their first mention
says where they stood, all mentions together how much they held, and, in files whose
ids rise with arrival, the id says when they came. With such adds put in, the replay
shows the quotes that the file implies. It looks ahead, and serves to judge a replay
from an empty book, never to feed one. Orders that no message names stay unseen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.history import HistoricalMarket
from market.message_lives import follow
from market.message_table import ADD, EXECUTE, MessageTable
from market.messages import Messages, share_of_rising_ids

RISING = 0.9
"""Share of rising ids from which an id tells when its order came; else at the start."""


def quotes_of(market: HistoricalMarket) -> NDArray[np.int64]:
    """int64 [applied, 4]: bid, bid quantity, ask, ask quantity in ticks, 0 where empty."""
    best = market.best.astype(np.int64)
    empty = np.stack([best[:, 0] < 0, best[:, 2] >= market.levels], axis=1)
    best[:, [0, 2]] = np.where(empty, 0, best[:, [0, 2]] + market.base)
    return best


def implied_quotes(messages: Messages) -> NDArray[np.int64]:
    """int64 [n, 4] as of `quotes_of`, with the orders that the file never added put in."""
    complete, rows = with_unseen_orders(messages)
    market = HistoricalMarket(complete, own_orders=0, record=True)
    market.advance()
    return quotes_of(market)[rows]


def with_unseen_orders(messages: Messages) -> tuple[Messages, NDArray[np.int64]]:
    """The messages with an add for every order that they name and never add.

    Returns them, and int64 [n], where each row of `messages` stands in them.
    """
    place, unseen = _unseen(messages)
    names = ("time", "kind", "size", "price", "side", "lines")
    columns: dict[str, Any] = {
        name: np.insert(getattr(messages, name), place, unseen[name]) for name in names
    }
    ids = np.zeros(len(messages), np.int64)
    named = messages.order >= 0
    ids[named] = messages.ids[messages.order[named]]
    table = MessageTable(
        **columns, order=np.insert(ids, place, unseen["order"]), lobster=True, read=0
    )
    lives = follow(table)
    rows = np.arange(len(messages)) + np.searchsorted(place, np.arange(len(messages)), "right")
    complete = replace(
        messages, **columns, order=lives.index, known=lives.known, ids=lives.ids, peak=lives.peak
    )
    return complete, rows


def _unseen(messages: Messages) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Rows before which the unseen orders come, ascending, and their adds by column."""
    in_book = (messages.kind >= ADD) & (messages.kind <= EXECUTE)
    rows = np.flatnonzero(in_book & ~messages.known)
    orders, first, inverse = np.unique(messages.order[rows], return_index=True, return_inverse=True)
    first = rows[first]
    sizes = np.zeros(len(orders), np.int64)
    np.add.at(sizes, inverse, messages.size[rows])
    place = _arrivals(messages, messages.ids[orders], first)
    turn = np.argsort(place, kind="stable")
    return place[turn], {
        "time": messages.time[place[turn]],
        "kind": np.full(len(orders), ADD),
        "size": np.minimum(sizes[turn], np.iinfo(np.int32).max),
        "price": messages.price[first[turn]],
        "side": messages.side[first[turn]],
        "lines": messages.lines[place[turn]],
        "order": messages.ids[orders[turn]],
    }


def _arrivals(
    messages: Messages, ids: NDArray[np.int64], first: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The row before which each unseen order came, at the latest its first mention."""
    adds = np.flatnonzero(messages.kind == ADD)
    if not len(adds) or share_of_rising_ids(messages) < RISING:
        return np.zeros(len(ids), np.int64)
    risen = np.maximum.accumulate(messages.ids[messages.order[adds]])
    after = np.searchsorted(risen, ids)
    rows = np.append(adds, len(messages) - 1)[after]
    return np.minimum(rows, first)
