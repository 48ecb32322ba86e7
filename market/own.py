"""A parent order at work: child orders in flight and resting, fills and their cost.

Whatever is asked, the parent is never overfilled: a child that arrives is cut to
what is neither filled nor resting.
"""

from __future__ import annotations

import math
from typing import Any

from configs.market import VENUE_COUNT
from market import book as lob
from market.desk import (
    Desk,
    best_ask,
    best_bid,
    depth_at,
    free_own,
    maker_fee,
    mark_own,
    next_own,
    route,
    taker_fee,
    venue_book,
)
from market.flow import arbitrage, background_message
from market.impact import add_own_volume, fade_impact
from market.kernels import inlined, kernel
from market.pointers import record
from market.state import (
    ACTIVE,
    AGGRESSIVE,
    CANCEL,
    DECISION_TWICE_MID,
    FIRST_OWN,
    KIND,
    LIMIT_PRICE,
    OWN_PRICE,
    OWN_QUANTITY,
    OWN_TAKER,
    OWNED_FIELDS,
    OWNED_INDEX,
    PASSIVE,
    PENDING_FIELDS,
    POSTED_STEP,
    SENT,
    SIZE,
    SLOT,
    SLOT_GENERATION,
    SMART,
    TO_VENUE,
    TWICE_MID,
    VENUE,
)


@inlined
def _book_fill(desk: Desk, price: int, quantity: int, twice_mid: int, fee: float) -> None:
    """Account for one own fill: cost against arrival, slippage against the decision's mid."""
    parent = record(desk.parent)
    parent.remaining -= quantity
    parent.cost += parent.side * (price - parent.arrival) * quantity + fee * quantity
    parent.fees += fee * quantity
    slipped = parent.side * (price - 0.5 * twice_mid) * quantity
    parent.slippage += slipped
    parent.last_slippage += slipped
    parent.last_filled += quantity
    add_own_volume(desk, float(parent.side * quantity))


@kernel
def account_maker_fills(desk: Desk, flow: Any, since: int) -> None:
    """Account for tape rows from number `since` on in which an own order was the maker."""
    tape = desk.tape
    for number in range(since, tape.count[0]):
        row = (number & tape.mask) * lob.TRADE_FIELDS
        maker = tape.rows[row + lob.MAKER]
        if maker >= FIRST_OWN:
            own = (maker - FIRST_OWN) * OWNED_FIELDS
            filled = tape.rows[row + lob.TRADE_QUANTITY]
            desk.owned[own + OWN_QUANTITY] -= filled
            if desk.owned[own + OWN_QUANTITY] == 0:
                desk.owned[own + ACTIVE] = 0
                mark_own(desk, maker - FIRST_OWN, False)
                record(desk.parent).resting_orders -= 1
            record(desk.parent).resting -= filled
            record(desk.parent).filled_passive += filled
            record(desk.parent).last_filled_passive += filled
            _book_fill(
                desk,
                tape.rows[row + lob.TRADE_PRICE],
                filled,
                desk.owned[own + TWICE_MID],
                maker_fee(desk, desk.owned[own + VENUE]),
            )


@kernel
def take_now(desk: Desk, flow: Any, venue: int, limit: int, quantity: int, twice_mid: int) -> int:
    """Cross the spread at one venue, or over all of them (SMART). Returns what is left."""
    side = record(desk.parent).side
    since = desk.tape.count[0]
    if venue == SMART:
        left = route(desk, flow, side, limit, quantity, OWN_TAKER)
    else:
        left = lob.take(venue_book(desk, flow, venue), desk.tape, side, limit, quantity, OWN_TAKER)
    for number in range(since, desk.tape.count[0]):
        row = (number & desk.tape.mask) * lob.TRADE_FIELDS
        filled = desk.tape.rows[row + lob.TRADE_QUANTITY]
        record(desk.parent).filled_aggressive += filled
        fee = taker_fee(desk, desk.tape.rows[row + lob.TRADE_BOOK] % VENUE_COUNT)
        _book_fill(desk, desk.tape.rows[row + lob.TRADE_PRICE], filled, twice_mid, fee)
    return left


@inlined
def _shortest_queue(desk: Desk, flow: Any, price: int) -> int:
    """The venue with the least quantity resting at `price`, then the one that pays most."""
    chosen, least = 0, 1 << 62
    for venue in range(VENUE_COUNT):
        depth = depth_at(desk, flow, venue, price)
        pays_more = maker_fee(desk, venue) < maker_fee(desk, chosen)
        if depth < least or (depth == least and pays_more):
            chosen, least = venue, depth
    return chosen


@kernel
def post(desk: Desk, flow: Any, venue: int, price: int, quantity: int, twice_mid: int) -> bool:
    """Rest a child order at `venue`, slid so that it locks no venue. False where refused."""
    parent = record(desk.parent)
    if parent.side == lob.BUY:
        price = min(price, best_ask(desk, flow) - 1)
    else:
        price = max(price, best_bid(desk) + 1)
    index = free_own(desk, flow)
    if index == flow.max_resting or not 0 < price < flow.ladder - 1:
        return False
    if venue == SMART:
        venue = _shortest_queue(desk, flow, price)
    book = venue_book(desk, flow, venue)
    slot = lob.rest(book, parent.side, price, quantity, index + FIRST_OWN)
    if slot < 0:
        return False
    own = index * OWNED_FIELDS
    desk.owned[own + ACTIVE] = 1
    mark_own(desk, index, True)
    desk.owned[own + VENUE] = venue
    desk.owned[own + SLOT] = slot
    desk.owned[own + SLOT_GENERATION] = book.orders[slot * lob.ORDER_FIELDS + lob.GENERATION]
    desk.owned[own + OWN_PRICE] = price
    desk.owned[own + OWN_QUANTITY] = quantity
    desk.owned[own + POSTED_STEP] = parent.step
    desk.owned[own + TWICE_MID] = twice_mid
    parent.resting += quantity
    parent.resting_orders += 1
    return True


@kernel
def cancel_own(desk: Desk, flow: Any, index: int) -> None:
    """Take an own resting order out of its book, if it is still there."""
    own = index * OWNED_FIELDS
    if desk.owned[own + ACTIVE] == 0:
        return
    book = venue_book(desk, flow, desk.owned[own + VENUE])
    quantity = lob.remove(book, desk.owned[own + SLOT])
    desk.owned[own + ACTIVE] = 0
    mark_own(desk, index, False)
    desk.owned[own + OWN_QUANTITY] = 0
    record(desk.parent).resting -= quantity
    record(desk.parent).resting_orders -= 1
    record(desk.parent).last_cancelled += quantity


@inlined
def _before(desk: Desk, one: int, other: int) -> bool:
    """Whether row `one` arrives before row `other`; of equal times the one sent first."""
    first, second = desk.pending_time[one], desk.pending_time[other]
    if first != second:
        return first < second
    sent = desk.pending[one * PENDING_FIELDS + SENT]
    return sent < desk.pending[other * PENDING_FIELDS + SENT]


@inlined
def _rise(desk: Desk, place: int) -> None:
    """Bring the row at the end of the heap to where it belongs."""
    slot = desk.pending_heap[place]
    while place > 0:
        above = (place - 1) // 2
        if not _before(desk, slot, desk.pending_heap[above]):
            break
        desk.pending_heap[place] = desk.pending_heap[above]
        place = above
    desk.pending_heap[place] = slot


@inlined
def _sink(desk: Desk, count: int) -> None:
    """Bring the row at the head of a heap of `count` to where it belongs."""
    place, slot = 0, desk.pending_heap[0]
    while True:
        below = 2 * place + 1
        if below >= count:
            break
        if below + 1 < count and _before(
            desk, desk.pending_heap[below + 1], desk.pending_heap[below]
        ):
            below += 1
        if not _before(desk, desk.pending_heap[below], slot):
            break
        desk.pending_heap[place] = desk.pending_heap[below]
        place = below
    desk.pending_heap[place] = slot


@kernel
def cancel_all_own(desk: Desk, flow: Any) -> None:
    """Take every own resting order out of its book."""
    index = next_own(desk, flow, 0)
    while index < flow.max_resting:
        cancel_own(desk, flow, index)
        index = next_own(desk, flow, index + 1)


@kernel
def send(
    desk: Desk,
    flow: Any,
    time: float,
    kind: int,
    venue: int,
    price: int,
    quantity: int,
    index: int,
    twice_mid: int,
) -> bool:
    """Put a message in flight; False where the queue is full."""
    episode = record(desk.episode)
    count = episode.pending_count
    if count >= flow.max_pending:
        return False
    slot = desk.pending_heap[count]
    row = slot * PENDING_FIELDS
    desk.pending_time[slot] = time
    desk.pending[row + KIND] = kind
    desk.pending[row + TO_VENUE] = venue
    desk.pending[row + LIMIT_PRICE] = price
    desk.pending[row + SIZE] = quantity
    desk.pending[row + OWNED_INDEX] = index
    desk.pending[row + DECISION_TWICE_MID] = twice_mid
    desk.pending[row + SENT] = episode.pending_sent
    episode.pending_sent += 1
    episode.pending_count = count + 1
    _rise(desk, count)
    episode.next_pending = min(episode.next_pending, time)
    if kind != CANCEL:
        record(desk.parent).in_flight += quantity
    return True


@kernel
def send_cancel(desk: Desk, flow: Any, time: float, index: int) -> None:
    """Put the cancel of own order `index` in flight, by the name of its slot and generation."""
    own = index * OWNED_FIELDS
    generation, slot = desk.owned[own + SLOT_GENERATION], desk.owned[own + SLOT]
    send(desk, flow, time, CANCEL, desk.owned[own + VENUE], generation, slot, index, 0)


@kernel
def _arrive_cancel(
    desk: Desk, flow: Any, index: int, venue: int, generation: int, slot: int
) -> None:
    """Cancel the order that was meant, not one that has come into its place since."""
    own = index * OWNED_FIELDS
    same = desk.owned[own + SLOT_GENERATION] == generation and desk.owned[own + SLOT] == slot
    if same and desk.owned[own + VENUE] == venue:
        cancel_own(desk, flow, index)


@kernel
def drop_children_in_flight(desk: Desk) -> None:
    """Forget every message in flight."""
    record(desk.episode).pending_count = 0
    record(desk.episode).next_pending = math.inf
    record(desk.parent).in_flight = 0


@inlined
def _take_earliest(desk: Desk) -> int:
    """Take the message that arrives first out of the heap. Returns its row, free from now on."""
    episode = record(desk.episode)
    last = episode.pending_count - 1
    slot = desk.pending_heap[0]
    desk.pending_heap[0] = desk.pending_heap[last]
    desk.pending_heap[last] = slot
    episode.pending_count = last
    _sink(desk, last)
    episode.next_pending = desk.pending_time[desk.pending_heap[0]] if last > 0 else math.inf
    return slot


@kernel
def arrive(desk: Desk, flow: Any) -> None:
    """The message in flight that is due reaches its venue."""
    row = _take_earliest(desk) * PENDING_FIELDS
    kind = desk.pending[row + KIND]
    venue = desk.pending[row + TO_VENUE]
    price = desk.pending[row + LIMIT_PRICE]
    size = desk.pending[row + SIZE]
    twice_mid = desk.pending[row + DECISION_TWICE_MID]
    owned = desk.pending[row + OWNED_INDEX]
    parent = record(desk.parent)
    if kind == CANCEL:
        _arrive_cancel(desk, flow, owned, venue, price, size)
        return
    parent.in_flight -= size
    quantity = min(size, parent.remaining - parent.resting)
    if quantity <= 0:
        return
    if kind == AGGRESSIVE:
        left = take_now(desk, flow, venue, price, quantity, twice_mid)
        parent.last_rejected += left
    elif kind == PASSIVE and not post(desk, flow, venue, price, quantity, twice_mid):
        parent.last_rejected += quantity


@inlined
def _move_reference(desk: Desk, flow: Any) -> None:
    """Past a knot the reference stands where the next one is, and old impact has faded.

    It jumps ahead rather than along the line, so that the book has come there when
    agents look next: led along the line between knots it would always trail, and whoever
    followed its trend would earn.
    """
    episode = record(desk.episode)
    passed = math.floor(episode.clock / flow.knot_seconds)
    begun = flow.warmup_steps * flow.knots_per_step
    last = begun + record(desk.parent).horizon * flow.knots_per_step
    episode.reference = desk.knots[min(max(begun + passed + 1, 0), last)]
    episode.next_knot = (passed + 1) * flow.knot_seconds
    fade_impact(desk)


@inlined
def renew_reference(desk: Desk, flow: Any) -> None:
    """Bring the reference to the clock, where no message has done so yet."""
    if record(desk.episode).clock >= record(desk.episode).next_knot:
        _move_reference(desk, flow)


@inlined
def next_event(desk: Desk) -> float:
    """When the next message, own or not, or the next arbitrage comes."""
    episode = record(desk.episode)
    time = min(episode.next_pending, episode.next_arrival)
    return min(time, episode.next_arbitrage)


@inlined
def apply_event(desk: Desk, flow: Any, time: float) -> None:
    """Let happen what `next_event` said comes at `time`; of equal times own messages first."""
    episode = record(desk.episode)
    episode.clock = time
    if time >= episode.next_knot:
        _move_reference(desk, flow)
    if time == episode.next_pending:
        arrive(desk, flow)
        return
    since = desk.tape.count[0]
    if time == episode.next_arrival:
        background_message(desk, flow)
    else:
        arbitrage(desk, flow)
    if desk.tape.count[0] > since and record(desk.parent).resting > 0:
        account_maker_fills(desk, flow, since)


@kernel
def advance(desk: Desk, flow: Any, until: float) -> None:
    """Let simulated time run to `until`: background messages and own ones in their order.

    In chunks or in one go, the same: what is due later stays scheduled.
    """
    while True:
        time = next_event(desk)
        if time > until:
            break
        apply_event(desk, flow, time)
    record(desk.episode).clock = until


@inlined
def any_price(flow: Any, side: int) -> int:
    """The limit of an order that takes whatever the ladder holds, level."""
    return int(flow.ladder - 1) if side == lob.BUY else 0


@kernel
def cross_remainder(desk: Desk, flow: Any, twice_mid: int, gap_ticks: int, limit: int) -> None:
    """Cancel what rests and take the rest of the parent from all venues, up to `limit`.

    What is not to be had within a limit is given up. At any price (`any_price`), where the
    books hold less, the last units are charged at the worst price taken (the mid where the
    books are empty) plus `gap_ticks`.
    """
    parent = record(desk.parent)
    drop_children_in_flight(desk)
    cancel_all_own(desk, flow)
    quantity = parent.remaining
    if quantity == 0:
        return
    parent.forced += quantity
    side = parent.side
    since = desk.tape.count[0]
    left = take_now(desk, flow, SMART, limit, quantity, twice_mid)
    if left > 0 and limit != any_price(flow, side):
        parent.forced -= left
        parent.abandoned += left
        parent.remaining = 0
    elif left > 0:
        worst = round(0.5 * twice_mid)
        if desk.tape.count[0] > since:
            last = ((desk.tape.count[0] - 1) & desk.tape.mask) * lob.TRADE_FIELDS
            worst = desk.tape.rows[last + lob.TRADE_PRICE]
        parent.filled_aggressive += left
        fee = taker_fee(desk, 0)
        _book_fill(desk, worst + side * gap_ticks, left, twice_mid, fee)


@kernel
def summarise_resting(desk: Desk, flow: Any, best: int) -> None:
    """What the parent's record keeps of its resting orders; `best` is their side's quote."""
    parent = record(desk.parent)
    parent.queue_ahead = 0
    parent.queue_own = 0
    parent.resting_at_best = 0
    parent.stalest_ticks = 0.0
    parent.oldest_steps = 0
    if parent.resting == 0:
        return
    nearest = -math.inf
    index = next_own(desk, flow, 0)
    while index < flow.max_resting:
        own = index * OWNED_FIELDS
        behind = float(parent.side * (best - desk.owned[own + OWN_PRICE])) if best >= 0 else 0.0
        parent.stalest_ticks = max(parent.stalest_ticks, behind)
        parent.oldest_steps = max(parent.oldest_steps, parent.step - desk.owned[own + POSTED_STEP])
        if behind <= 0.0:
            parent.resting_at_best += desk.owned[own + OWN_QUANTITY]
        if -behind > nearest:
            nearest = -behind
            book = venue_book(desk, flow, desk.owned[own + VENUE])
            parent.queue_ahead = lob.queue_ahead(book, desk.owned[own + SLOT])
            parent.queue_own = desk.owned[own + OWN_QUANTITY]
        index = next_own(desk, flow, index + 1)
