"""Paper execution: one parent order a bar, worked in the simulated books, order by order.

As `market.worker.work_step` works a parent, but for orders that are given: what the agents
decode to has passed the rules by then, and every child is followed from its sending to its
end. With nothing refused, parent, books and view go the same way to the bit (by test).

Fills are worth what `market.working` says: the reference path F at the decision, plus what the
fill missed the mid by that the decision saw, plus own impact midway through the fill.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.errors import SimulatorError
from configs.execution import ExecutionConfig
from configs.market import VENUE_COUNT
from market import book as lob
from market.bar_tape import BarTape
from market.decode import BP, CHILD, DECISION
from market.desk import Desk, desk_at, free_own, next_own
from market.given_bars import GivenBarSource
from market.kernels import inlined, kernel
from market.own import (
    apply_event,
    cancel_all_own,
    cross_remainder,
    drop_children_in_flight,
    next_event,
    send,
    send_cancel,
)
from market.pointers import record
from market.random import hash64
from market.simulator import Simulator
from market.state import (
    ACTIVE,
    AGGRESSIVE,
    CANCEL,
    FIRST_OWN,
    KIND,
    OWN_QUANTITY,
    OWN_TAKER,
    OWNED_FIELDS,
    OWNED_INDEX,
    PENDING_FIELDS,
    SMART,
    VENUE,
    Market,
)
from market.view import twice_mid_of
from market.worker import clear_last_step, finish_step, latency_of, note_decision
from market.working import WORKED

__all__ = ["BP", "CANCELLED", "ENDED", "FILL", "REJECTED", "TALLY", "PaperMarket"]

_MOST_REPORTS = 8192  # fills, or ends, of one step

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


@inlined
def _filled(
    paper: Any, desk: Desk, order: Any, venue: int, price: int, quantity: int, passive: int
) -> None:
    """Report a fill of an order, and account for what it is worth."""
    report, worked, parent = paper.report[0], paper.worked[0], record(desk.parent)
    if report.fills < len(paper.fills):
        fill = paper.fills[report.fills]
        fill.id, fill.venue, fill.price = order.id, venue, price
        fill.quantity, fill.passive = quantity, passive
    report.fills += 1
    order.left -= quantity
    paper.tally[0].units_filled += quantity
    if order.left == 0:
        paper.tally[0].orders_filled += 1
        order.live = 0
    worked.quantity += quantity
    worked.passive += quantity * passive
    worked.reference_value += order.reference * quantity
    met = 0.5 * (order.impact + record(desk.episode).impact)
    worked.impact_value += parent.side * met * quantity
    worked.slippage += parent.side * (price - 0.5 * order.twice_mid) * quantity


@inlined
def _given_up(paper: Any, order: Any, quantity: int, how: int, ends: bool) -> None:
    """Report units of an order that will not be filled; `ends` where none are left of it."""
    report, tally = paper.report[0], paper.tally[0]
    if quantity > 0:
        if report.ended < len(paper.ended):
            row = paper.ended[report.ended]
            row.id, row.quantity, row.how = order.id, quantity, how
        report.ended += 1
        order.left -= quantity
        if how == REJECTED:
            tally.units_rejected += quantity
        else:
            tally.units_cancelled += quantity
    if ends:
        order.live = 0
        if how == REJECTED:
            tally.orders_rejected += 1
        else:
            tally.orders_cancelled += 1


@inlined
def _took(paper: Any, desk: Desk, order: Any, since: int) -> None:
    """Report what an own taker has taken since tape row number `since`."""
    tape = desk.tape
    for number in range(since, tape.count[0]):
        row = (number & tape.mask) * lob.TRADE_FIELDS
        if tape.rows[row + lob.TAKER] == OWN_TAKER:
            venue = tape.rows[row + lob.TRADE_BOOK] % VENUE_COUNT
            price = tape.rows[row + lob.TRADE_PRICE]
            _filled(paper, desk, order, venue, price, tape.rows[row + lob.TRADE_QUANTITY], 0)


@inlined
def _rested(paper: Any, desk: Desk, since: int) -> None:
    """Report what background orders have taken of own resting ones since a tape row."""
    tape = desk.tape
    for number in range(since, tape.count[0]):
        row = (number & tape.mask) * lob.TRADE_FIELDS
        maker = tape.rows[row + lob.MAKER]
        if maker >= FIRST_OWN:
            index = maker - FIRST_OWN
            price, quantity = tape.rows[row + lob.TRADE_PRICE], tape.rows[row + lob.TRADE_QUANTITY]
            venue = desk.owned[index * OWNED_FIELDS + VENUE]
            _filled(paper, desk, paper.rested[index], venue, price, quantity, 1)


@inlined
def _arrived(
    paper: Any, desk: Desk, row: int, since: int, place: int, resting: int, open_units: int
) -> None:
    """What came of a child that has reached its venue.

    Args:
        row: of the message in flight.
        place: the first free own order before it came.
        resting, open_units: of the parent before it came; units that it might still take.
    """
    order, parent = paper.flying[row], record(desk.parent)
    _took(paper, desk, order, since)
    posted = parent.resting - resting
    if posted > 0:
        _given_up(paper, order, order.left - posted, CANCELLED, False)
        paper.rested[place] = order
        order.live = 0
    elif order.left > 0:
        aggressive = desk.pending[row * PENDING_FIELDS + KIND] == AGGRESSIVE
        how = CANCELLED if aggressive or open_units <= 0 else REJECTED
        _given_up(paper, order, order.left, how, True)


@inlined
def _advance(paper: Any, desk: Desk, flow: Any, until: float) -> None:
    """`market.own.advance`, reporting what happens to own orders."""
    episode, parent = record(desk.episode), record(desk.parent)
    while True:
        time = next_event(desk)
        if time > until:
            break
        since, resting = desk.tape.count[0], parent.resting
        if time == episode.next_pending:
            row = desk.pending_heap[0]
            kind = desk.pending[row * PENDING_FIELDS + KIND]
            index = desk.pending[row * PENDING_FIELDS + OWNED_INDEX]
            active = desk.owned[index * OWNED_FIELDS + ACTIVE]
            held = desk.owned[index * OWNED_FIELDS + OWN_QUANTITY]
            place, open_units = free_own(desk, flow), parent.remaining - resting
            apply_event(desk, flow, time)
            if kind != CANCEL:
                _arrived(paper, desk, row, since, place, resting, open_units)
            elif active == 1 and desk.owned[index * OWNED_FIELDS + ACTIVE] == 0:
                _given_up(paper, paper.rested[index], held, CANCELLED, True)
        else:
            apply_event(desk, flow, time)
            if resting > 0:
                _rested(paper, desk, since)
    episode.clock = until


@inlined
def _give_up_flying(paper: Any) -> None:
    for row in range(len(paper.flying)):
        order = paper.flying[row]
        if order.live == 1:
            _given_up(paper, order, order.left, CANCELLED, True)


@inlined
def _give_up_resting(paper: Any) -> None:
    for index in range(len(paper.rested)):
        order = paper.rested[index]
        if order.live == 1:
            _given_up(paper, order, order.left, CANCELLED, True)


@inlined
def _send(paper: Any, market: Market, desk: Desk, twice_mid: int) -> None:
    """As the simulator sends: cancels first, then children, each after its venue's latency."""
    flow, episode, parent = market.flow[0], record(desk.episode), record(desk.parent)
    now = episode.clock
    freed = now
    index = next_own(desk, flow, 0)
    while index < flow.max_resting:
        if paper.cancels[index] == 1:
            venue = desk.owned[index * OWNED_FIELDS + VENUE]
            arrival = now + latency_of(market, 0, venue, index)
            freed = max(freed, arrival)
            send_cancel(desk, flow, arrival, index)
        index = next_own(desk, flow, index + 1)
    for index in range(paper.decision[0].children):
        child = paper.children[index]
        if child.quantity <= 0:
            continue
        latency = latency_of(market, 0, child.venue, flow.max_resting + index)
        arrival = max(now + child.offset + latency, freed)
        slot = desk.pending_heap[min(episode.pending_count, flow.max_pending - 1)]
        sent = send(
            desk, flow, arrival, child.kind, child.venue, child.price, child.quantity, 0, twice_mid
        )
        if sent:
            order = paper.flying[slot]
        else:
            order = paper.rested[len(paper.rested) - 1]  # a spare row: it ends at once
            parent.last_rejected += child.quantity
        _begin_order(paper, desk, order, paper.report[0].next_id + index, child.quantity, twice_mid)
        if not sent:
            _given_up(paper, order, child.quantity, REJECTED, True)
    paper.report[0].next_id += paper.decision[0].children


@inlined
def _begin_order(
    paper: Any, desk: Desk, order: Any, number: int, quantity: int, twice_mid: int
) -> None:
    episode = record(desk.episode)
    order.live, order.id, order.left = 1, number, quantity
    order.twice_mid, order.reference, order.impact = twice_mid, episode.reference, episode.impact
    paper.tally[0].units_sent += quantity
    paper.tally[0].orders_sent += 1


@inlined
def _cross(paper: Any, market: Market, desk: Desk, twice_mid: int, forced: int, since: int) -> None:
    """Report the order by which the rest of the parent has crossed."""
    parent, report = record(desk.parent), paper.report[0]
    quantity = parent.forced - forced
    if quantity <= 0:
        return
    order = paper.rested[len(paper.rested) - 1]
    report.forced_id = report.next_id
    report.next_id += 1
    _begin_order(paper, desk, order, report.forced_id, quantity, twice_mid)
    _took(paper, desk, order, since)
    if order.left > 0:
        # More than the books hold: the simulator charges the last units beyond the worst price.
        last = ((desk.tape.count[0] - 1) & desk.tape.mask) * lob.TRADE_FIELDS
        worst = round(0.5 * twice_mid)
        if desk.tape.count[0] > since:
            worst = desk.tape.rows[last + lob.TRADE_PRICE]
        price = worst + parent.side * market.flow[0].sweep_ticks
        _filled(paper, desk, order, 0, price, order.left, 0)
    paper.worked[0].forced += quantity


@kernel
def _stop(paper: Any, market: Market, desk: Desk, twice_mid: int) -> None:
    """EMERGENCY_STOP: what reduces risk is completed at market, anything else given up."""
    parent, episode, flow = record(desk.parent), record(desk.episode), market.flow[0]
    parent.stopped = 1
    drop_children_in_flight(desk)
    _give_up_flying(paper)
    there = episode.clock + latency_of(market, 0, SMART, 0)
    _advance(paper, desk, flow, min(there, (parent.step + 1) * paper.rules[0].step_seconds))
    if parent.reduces_risk == 1:
        _give_up_resting(paper)
        forced, since = parent.forced, desk.tape.count[0]
        cross_remainder(desk, flow, twice_mid, paper.rules[0].sweep_ticks)
        _cross(paper, market, desk, twice_mid, forced, since)
    else:
        _abandon(paper, desk, flow)


@inlined
def _abandon(paper: Any, desk: Desk, flow: Any) -> None:
    """Give up what is open of the parent."""
    parent = record(desk.parent)
    drop_children_in_flight(desk)
    cancel_all_own(desk, flow)
    _give_up_flying(paper)
    _give_up_resting(paper)
    parent.abandoned += parent.remaining
    parent.remaining = 0


@kernel
def _step(
    paper: Any, market: Market, action: Any, twice_mid: int, refused: int, complete: bool
) -> None:
    """See `PaperMarket.step`."""
    desk = desk_at(market, 0)
    flow, parent, rules = market.flow[0], record(desk.parent), paper.rules[0]
    decision, report = paper.decision[0], paper.report[0]
    desk.tape.count[0] = 0
    report.fills, report.ended, report.forced_id = 0, 0, -1
    clear_last_step(parent)
    parent.last_rejected += refused
    note_decision(parent, action, decision)
    if decision.stop == 1:
        _stop(paper, market, desk, twice_mid)
    else:
        if decision.cancel_all == 1:
            drop_children_in_flight(desk)
            _give_up_flying(paper)
        _send(paper, market, desk, twice_mid)
    _advance(paper, desk, flow, (parent.step + 1) * rules.step_seconds)
    if not complete and parent.step + 1 == parent.horizon:
        _abandon(paper, desk, flow)
    forced, since = parent.forced, desk.tape.count[0]
    finish_step(market, 0, desk, rules)
    if parent.done == 1 or parent.forced > forced:
        _give_up_flying(paper)
        _give_up_resting(paper)
    _cross(paper, market, desk, twice_mid_of(market.depth[0], twice_mid * 0.5), forced, since)
    paper.worked[0].fees = parent.fees


@kernel
def _twice_mid(market: Market) -> int:
    return int(twice_mid_of(market.depth[0], market.episodes[0].last_mid))


class PaperMarket:
    """Simulated venues in which one parent order a bar is worked.

    Attributes:
        simulator: whose view, parent and own orders decisions are made on.
        paper: arrays of orders and reports.

    Args:
        config: the execution layer's.
        tape: the bars that drive the market, its reference inside each drawn by the seed.
        seed: of every draw, with the bar's number.

    Raises:
        ConfigError, DataError: a bar does not fit the layer's horizon, or no ladder.
    """

    def __init__(self, config: ExecutionConfig, tape: BarTape, seed: int) -> None:
        book, placement = config.market.book, config.market.flow.placement_limit
        levels = tape.ladder_levels(book.ladder_levels, placement)
        market = config.market.model_copy(
            update={"book": book.model_copy(update={"ladder_levels": levels})}
        )
        self.config = config.model_copy(update={"market": market})
        self.tape, self._seed, self._rows = tape, np.uint64(seed), np.zeros(1, np.int64)
        self._source = _OneBar(self.config, tape)
        self.simulator = Simulator(self.config, 1, source=self._source)
        flow = self.simulator.market.flow[0]
        self.paper = Paper(
            flying=np.zeros(int(flow["max_pending"]), LIVE),
            rested=np.zeros(int(flow["max_resting"]) + 1, LIVE),
            fills=np.zeros(_MOST_REPORTS, FILL),
            ended=np.zeros(_MOST_REPORTS, ENDED),
            report=np.zeros(1, REPORT),
            tally=np.zeros(1, TALLY),
            worked=np.zeros(1, WORKED),
            rules=self.simulator.rules,
            children=np.zeros(config.child.max_children, CHILD),
            cancels=np.zeros(config.child.max_resting, np.int8),
            decision=np.zeros(1, DECISION),
        )

    def begin(self, bar: int, signed: int, reduces_risk: bool) -> None:
        """Open the books at the begin of bar number `bar`, with a parent of `signed` units."""
        self._source.turn_to(bar)
        self.simulator.reset(self._rows, np.array([hash64(self._seed, bar)], np.uint64))
        market = self.simulator.market
        parent, volume = market.parents, float(market.episodes["step_volume"][0])
        horizon = int(parent["horizon"][0])
        parent["side"] = lob.BUY if signed > 0 else lob.SELL
        parent["quantity"] = parent["remaining"] = abs(signed)
        parent["participation"] = abs(signed) / (volume * horizon)
        parent["reduces_risk"] = int(reduces_risk)
        paper = self.paper
        for table in (paper.flying, paper.rested, paper.worked):
            table[...] = np.zeros((), table.dtype)
        paper.worked["side"] = parent["side"]

    @property
    def twice_mid(self) -> int:
        """Twice the mid that the view shows, ladder ticks."""
        return int(_twice_mid(self.simulator.market))

    def step(self, action: NDArray[np.float32], refused: int = 0, complete: bool = True) -> None:
        """Send what `paper` holds of children and cancels, and run the market for a step.

        Args:
            action: the joint action [ACTION_WIDTH] that it was decoded from.
            refused: units that the rules did not let through.
            complete: whether what is left at the horizon crosses; it is given up otherwise.

        Raises:
            SimulatorError: more was filled at once than reports hold.
        """
        _step(self.paper, self.simulator.market, action, self.twice_mid, refused, complete)
        report = self.paper.report[0]
        if max(int(report["fills"]), int(report["ended"])) > _MOST_REPORTS:
            raise SimulatorError(
                f"{int(report['fills'])} fills in one step, expected at most {_MOST_REPORTS}; "
                "work smaller orders"
            )

    @property
    def done(self) -> bool:
        """Whether the parent is complete or given up."""
        return bool(self.simulator.market.parents["done"][0])

    @property
    def fills(self) -> NDArray[Any]:
        """FILL [k] of the last step, a view."""
        return self.paper.fills[: int(self.paper.report["fills"][0])]

    @property
    def ended(self) -> NDArray[Any]:
        """ENDED [k] of the last step, a view."""
        return self.paper.ended[: int(self.paper.report["ended"][0])]

    @property
    def open_units(self) -> int:
        """Units in flight or resting."""
        parent = self.simulator.market.parents
        return int(parent["resting"][0] + parent["in_flight"][0])

    @property
    def open_orders(self) -> int:
        """Orders in flight or resting."""
        return int(self.paper.flying["live"].sum() + self.paper.rested["live"].sum())

    def worked(self) -> NDArray[Any]:
        """WORKED [1] of the parent so far, prices as ticks of the tape."""
        out = self.paper.worked.copy()
        base = float(self.simulator.market.episodes["base"][0])
        out["reference_value"] += base * out["quantity"]
        return out


class _OneBar(GivenBarSource):
    """One bar of a tape, turned from call to call."""

    def __init__(self, config: ExecutionConfig, tape: BarTape) -> None:
        super().__init__(config, tape, np.zeros(1, np.int64), "bars", 1)
        self._tape = tape

    def turn_to(self, bar: int) -> None:
        bars = self._tape.tape
        self._ohlc[0] = bars.ohlc[bar]
        self._activity[0] = bars.pace[bar]
        self._sigma[0] = bars.sigma[bar] / np.sqrt(self._steps)
        self._day[0] = bars.day[bar]
