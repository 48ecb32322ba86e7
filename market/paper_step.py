"""One step of paper execution: children sent, followed through the books, and reported."""

from __future__ import annotations

from typing import Any

from configs.market import VENUE_COUNT
from market import book as lob
from market.desk import Desk, desk_at, free_own, next_own
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
from market.paper_layout import CANCELLED, REJECTED
from market.pointers import record
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
def _cross(
    paper: Any, market: Market, desk: Desk, twice_mid: int, forced: int, abandoned: int, since: int
) -> None:
    """Report the order by which the rest of the parent has crossed, and what it left.

    forced, abandoned, since: of the parent and the tape, before it did.
    """
    parent, report = record(desk.parent), paper.report[0]
    taken, left = parent.forced - forced, parent.abandoned - abandoned
    quantity = taken + left
    if quantity <= 0:
        return
    order = paper.rested[len(paper.rested) - 1]
    report.forced_id = report.next_id
    report.next_id += 1
    _begin_order(paper, desk, order, report.forced_id, quantity, twice_mid)
    _took(paper, desk, order, since)
    if left > 0:
        _given_up(paper, order, left, CANCELLED, True)
    elif order.left > 0:
        # More than the books hold: the simulator charges the last units beyond the worst price.
        last = ((desk.tape.count[0] - 1) & desk.tape.mask) * lob.TRADE_FIELDS
        worst = round(0.5 * twice_mid)
        if desk.tape.count[0] > since:
            worst = desk.tape.rows[last + lob.TRADE_PRICE]
        price = worst + parent.side * market.flow[0].sweep_ticks
        _filled(paper, desk, order, 0, price, order.left, 0)
    paper.worked[0].forced += taken


@kernel
def _stop(
    paper: Any, market: Market, desk: Desk, twice_mid: int, complete: bool, limit: int
) -> None:
    """EMERGENCY_STOP: what reduces risk is completed where it may, anything else given up."""
    parent, episode, flow = record(desk.parent), record(desk.episode), market.flow[0]
    parent.stopped = 1
    drop_children_in_flight(desk)
    _give_up_flying(paper)
    there = episode.clock + latency_of(market, 0, SMART, 0)
    _advance(paper, desk, flow, min(there, (parent.step + 1) * paper.rules[0].step_seconds))
    if parent.reduces_risk == 1 and complete:
        _give_up_resting(paper)
        forced, abandoned, since = parent.forced, parent.abandoned, desk.tape.count[0]
        cross_remainder(desk, flow, twice_mid, paper.rules[0].sweep_ticks, limit)
        _cross(paper, market, desk, twice_mid, forced, abandoned, since)
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
def paper_step(
    paper: Any,
    market: Market,
    action: Any,
    twice_mid: int,
    refused: int,
    complete: bool,
    worst: int,
) -> None:
    """See `market.paper.PaperMarket.step`."""
    desk = desk_at(market, 0)
    flow, parent, rules = market.flow[0], record(desk.parent), paper.rules[0]
    decision, report = paper.decision[0], paper.report[0]
    limit = max(min(worst, flow.ladder - 1), 0)  # beyond the ladder: at any price
    desk.tape.count[0] = 0
    report.fills, report.ended, report.forced_id = 0, 0, -1
    clear_last_step(parent)
    parent.last_rejected += refused
    note_decision(parent, action, decision)
    if decision.stop == 1:
        _stop(paper, market, desk, twice_mid, complete, limit)
    else:
        if decision.cancel_all == 1:
            drop_children_in_flight(desk)
            _give_up_flying(paper)
        _send(paper, market, desk, twice_mid)
    _advance(paper, desk, flow, (parent.step + 1) * rules.step_seconds)
    if not complete and parent.step + 1 == parent.horizon:
        _abandon(paper, desk, flow)
    forced, abandoned, since = parent.forced, parent.abandoned, desk.tape.count[0]
    finish_step(market, 0, desk, rules, limit)
    if parent.done == 1 or parent.forced > forced:
        _give_up_flying(paper)
        _give_up_resting(paper)
    mid = twice_mid_of(market.depth[0], twice_mid * 0.5)
    _cross(paper, market, desk, mid, forced, abandoned, since)
    paper.worked[0].fees = parent.fees
