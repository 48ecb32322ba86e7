"""A file of messages as a `Recording`, the form in which all statistics are computed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from market.history import HistoricalMarket
from market.history_truth import quotes_of
from market.message_table import ADD, DELETE, EXECUTE, HIDDEN
from market.messages import Messages
from market.recording import Recording

DEPTH_TICKS = 50
SAMPLE_SECONDS = 1.0
_NS = 1e9


def record_messages(messages: Messages, depth_ticks: int = DEPTH_TICKS) -> Recording:
    """What happened in the file's market, its own orders alone.

    Seconds count from the first message. Executions of one moment and side, hidden
    ones too, are the fills of one incoming order, which is one message; hidden
    executions trade at prices that may lie between ticks. Crosses are left out: they
    have no taker. `cancel_age` is of whole deletes, of orders whose add is in the
    file. `depth` is sampled every second at which both sides hold orders.

    Args:
        messages: from `load_messages`.
        depth_ticks: distances behind the best quote, 0 to depth_ticks - 1.
    """
    market = HistoricalMarket(messages, own_orders=0, record=True)
    depth = _mean_depth(market, depth_ticks)
    seconds = (messages.time - messages.time[0]) / _NS
    trades = (messages.kind == EXECUTE) | (messages.kind == HIDDEN)
    incoming = trades & ~_same_order_as_before(messages, trades)
    quotes = quotes_of(market)
    changed = np.ones(len(quotes), np.bool_)
    changed[1:] = (quotes[1:] != quotes[:-1]).any(axis=1)
    changed[0] = quotes[0].any()
    prices = np.where(quotes[:, [0, 2]] > 0, quotes[:, [0, 2]], np.nan)
    return Recording(
        source=messages.source,
        seconds=messages.seconds,
        tick=messages.tick,
        message_time=seconds[(messages.kind <= DELETE) | incoming],
        trade_time=seconds[trades],
        trade_price=messages.price[trades],
        trade_quantity=messages.size[trades].astype(np.int64),
        trade_side=-messages.side[trades].astype(np.int64),
        quote_time=seconds[changed],
        bid=prices[changed, 0],
        ask=prices[changed, 1],
        bid_quantity=quotes[changed, 1],
        ask_quantity=quotes[changed, 3],
        cancel_age=_cancel_ages(messages, seconds),
        depth=depth,
    )


def _mean_depth(market: HistoricalMarket, ticks: int) -> NDArray[np.float64]:
    """Replay to the end; the mean quantity [ticks] behind the best quotes, NaN without a sample."""
    total, samples = np.zeros(ticks), 0
    end = float(market.messages.time[-1]) / _NS
    while market.now + SAMPLE_SECONDS < end:
        market.advance(market.now + SAMPLE_SECONDS)
        samples += market.add_depth(total)
    market.advance()
    return total / samples if samples else np.full(ticks, np.nan)


def _same_order_as_before(messages: Messages, trades: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows [n] are fills of the incoming order that the trade before them filled."""
    rows = np.flatnonzero(trades)
    same = np.zeros(len(messages), np.bool_)
    time, side = messages.time[rows], messages.side[rows]
    same[rows[1:]] = (time[1:] == time[:-1]) & (side[1:] == side[:-1])
    return same


def _cancel_ages(messages: Messages, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds from add to delete of every order of which the file has both."""
    adds = messages.kind == ADD
    ends = (messages.kind == DELETE) & messages.known
    rows = np.flatnonzero(adds | ends)
    # Of an id that comes anew each delete belongs to the add before it.
    turn = np.lexsort((rows, messages.order[rows]))
    rows = rows[turn]
    pairs = np.flatnonzero(ends[rows[1:]] & adds[rows[:-1]]) if len(rows) else rows
    ages = seconds[rows[pairs + 1]] - seconds[rows[pairs]]
    return np.asarray(ages[np.argsort(rows[pairs + 1])], dtype=np.float64)
