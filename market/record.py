"""Recordings of the simulated market on its own, without any parent order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import SimulatorError
from configs.execution import ExecutionConfig
from configs.market import VENUE_COUNT
from market import book as lob
from market.desk import Desk, best_ask, best_bid, depth_at, desk_at, venue_book
from market.kernels import inlined, kernel
from market.own import apply_event, next_event
from market.pointers import record
from market.recording import Recording
from market.simulator import Simulator

DISTANCES = 20  # of the depth profile, ticks behind the best quote
_NO_BIRTH = -np.inf

MESSAGE = np.dtype([("time", np.float64), ("cancel_age", np.float64)])
TRADE = np.dtype(
    [("time", np.float64), ("price", np.int64), ("quantity", np.int64), ("side", np.int64)]
)
QUOTE = np.dtype(
    [
        ("time", np.float64),
        ("bid", np.int64),
        ("ask", np.int64),
        ("bid_quantity", np.int64),
        ("ask_quantity", np.int64),
    ]
)
_CHUNK = 1 << 13


@inlined
def _quote_now(desk: Desk, flow: Any, out: Any) -> None:
    """The consolidated quotes as they stand."""
    out.bid, out.ask = best_bid(desk), best_ask(desk, flow)
    out.bid_quantity, out.ask_quantity = 0, 0
    for venue in range(VENUE_COUNT):
        book = venue_book(desk, flow, venue)
        if out.bid >= 0 and book.header[lob.BEST_BID] == out.bid:
            out.bid_quantity += depth_at(desk, flow, venue, out.bid)
        if out.ask < flow.ladder and book.header[lob.BEST_ASK] == out.ask:
            out.ask_quantity += depth_at(desk, flow, venue, out.ask)


@inlined
def _age_of_change(desk: Desk, flow: Any, before: Any, traded: bool, born: Any) -> float:
    """Notes a new order's birth; the age of a cancelled one, NaN where none was cancelled."""
    now = record(desk.episode).clock
    for venue in range(VENUE_COUNT):
        book = venue_book(desk, flow, venue)
        live = book.header[lob.LIVE_COUNT]
        if live > before[venue]:
            born[venue, book.live[live - 1]] = now
        elif live < before[venue] and not traded:
            return now - born[venue, book.live[live]]
    return np.nan


@kernel
def _record_until(
    market: Any,
    until: float,
    born: Any,
    messages: Any,
    trades: Any,
    quotes: Any,
) -> tuple[int, int, int, bool]:
    """Events of episode 0 up to `until`, or until a buffer is nearly full.

    Returns how many messages, trades and quotes were written, and whether `until` was
    reached.
    """
    desk, flow = desk_at(market, 0), market.flow[0]
    before = np.empty(VENUE_COUNT, np.int64)
    m, t, q = 0, 0, 0
    last = quotes[len(quotes) - 1]
    while True:
        time = next_event(desk)
        if time > until:
            record(desk.episode).clock = until
            return m, t, q, True
        room = len(trades) - t
        if m == len(messages) or q >= len(quotes) - 1 or room < market.tape.shape[1]:
            return m, t, q, False
        for venue in range(VENUE_COUNT):
            before[venue] = venue_book(desk, flow, venue).header[lob.LIVE_COUNT]
        desk.tape.count[0] = 0
        apply_event(desk, flow, time)
        count = desk.tape.count[0]
        messages[m].time = time
        messages[m].cancel_age = _age_of_change(desk, flow, before, count > 0, born)
        m += 1
        for number in range(count):
            row = number * lob.TRADE_FIELDS
            trades[t].time = time
            trades[t].price = desk.tape.rows[row + lob.TRADE_PRICE]
            trades[t].quantity = desk.tape.rows[row + lob.TRADE_QUANTITY]
            trades[t].side = desk.tape.rows[row + lob.TAKER_SIDE]
            t += 1
        now = quotes[q]
        _quote_now(desk, flow, now)
        if (
            now.bid != last.bid
            or now.ask != last.ask
            or now.bid_quantity != last.bid_quantity
            or now.ask_quantity != last.ask_quantity
        ):
            now.time = time
            last = quotes[q]
            q += 1


@kernel
def _add_profile(market: Any, total: Any) -> None:
    """Add the quantity that stands k ticks behind the best quote of its side, both sides."""
    desk, flow = desk_at(market, 0), market.flow[0]
    bid, ask = best_bid(desk), best_ask(desk, flow)
    for venue in range(VENUE_COUNT):
        for distance in range(len(total)):
            if bid - distance >= 0:
                total[distance] += depth_at(desk, flow, venue, bid - distance)
            if ask + distance < flow.ladder:
                total[distance] += depth_at(desk, flow, venue, ask + distance)


def record_market(config: ExecutionConfig, seconds: float, seed: int = 0) -> Recording:
    """Let the market of a configuration run on its own for `seconds` of simulated time.

    Raises:
        SimulatorError: the time is not at least one step.
        ConfigError, DataError: from the reference of the configuration.
    """
    steps = int(seconds / config.step_seconds)
    if steps < 1:
        raise SimulatorError(
            f"seconds={seconds:g}: expected at least one step of {config.step_seconds:g} s"
        )
    parent = config.parent.model_copy(update={"horizon_steps": steps})
    simulator = Simulator(config.model_copy(update={"parent": parent}), 1)
    simulator.reset(np.arange(1), np.array([seed], np.uint64))
    return record_simulator(simulator, steps)


def record_simulator(simulator: Simulator, steps: int, stride: int = 1) -> Recording:
    """Record `steps` steps of a simulator's first episode, just reset.

    Depth is sampled every `stride` steps.
    """
    market, config = simulator.market, simulator.config
    born = np.full((VENUE_COUNT, config.market.book.slots), _NO_BIRTH)
    buffers = (
        np.zeros(_CHUNK, MESSAGE),
        np.zeros(_CHUNK + market.tape.shape[1], TRADE),
        np.zeros(_CHUNK + 1, QUOTE),
    )
    kept: tuple[list[NDArray[Any]], ...] = ([], [], [])
    profile = np.zeros(DISTANCES)
    marks = [min(step + stride, steps) for step in range(0, steps, stride)]
    for mark in marks:
        done = False
        while not done:
            *counts, done = _record_until(market, mark * config.step_seconds, born, *buffers)
            for rows, buffer, count in zip(kept, buffers, counts, strict=True):
                rows.append(buffer[:count].copy())
            if counts[2]:
                buffers[2][-1] = buffers[2][counts[2] - 1]
        _add_profile(market, profile)
    messages, trades, quotes = (np.concatenate(rows) for rows in kept)
    base = float(market.episodes["base"][0])
    ages = messages["cancel_age"]
    empty = (quotes["bid"] < 0, quotes["ask"] >= config.market.book.ladder_levels)
    return Recording(
        source=simulator.source.fingerprint,
        seconds=steps * config.step_seconds,
        tick=config.market.tick,
        message_time=messages["time"],
        trade_time=trades["time"],
        trade_price=base + trades["price"],
        trade_quantity=trades["quantity"],
        trade_side=trades["side"],
        quote_time=quotes["time"],
        bid=np.where(empty[0], np.nan, base + quotes["bid"]),
        ask=np.where(empty[1], np.nan, base + quotes["ask"]),
        bid_quantity=quotes["bid_quantity"],
        ask_quantity=quotes["ask_quantity"],
        cancel_age=ages[np.isfinite(ages)],
        depth=profile / (2 * len(marks)),
    )
