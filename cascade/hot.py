"""The hot path: a step's inputs to the execution agents' row, their answer to judged orders.

Two kernels with the network's call between them, on arrays that are allocated once. The first
copies what it is shown into the record that the audit log keeps, and the second reads nothing
else: its arrays are the session's own, so that numba need not look at them at every call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numba
import numpy as np
from numpy.typing import NDArray

from cascade.consensus import consensus_rules, trust
from cascade.events import ACTED, DECIDED, HELD, ORDER, OWNED, REFUSAL, REFUSED, TICK
from configs.cascade import FreshnessConfig
from configs.coordination import CoordinationConfig
from configs.market import VENUE_COUNT
from market.decode import ACTION_WIDTH, CHILD, DECISION, HOLD_CHILDREN, RISK_DECISION, decode
from market.kernels import inlined, kernel
from market.orders.layout import BUY, IOC, MARKET
from market.orders.layout import ORDER as JUDGED
from market.risk.children import orders_of_children
from market.risk.judge import judge, send_all
from market.risk.layout import APPROVE, REDUCE_SIZE, VERDICT
from market.risk.ledger import open_excess, take_mark, value_account, watch
from market.state import (
    ACTIVE,
    ASK,
    BID,
    LEVEL_PRICE,
    LEVEL_QUANTITY,
    LEVELS_SEEN,
    OWNED_FIELDS,
    SMART,
)
from market.view import EMPTY_PRICE, twice_mid_of
from signals.execution_rows import observe
from signals.upstream import CONTEXT_WIDTH

# Why a step's inputs are refused.
SOUND, NOT_FINITE, CONTRADICTORY, CLOCK_BACK, SILENT = range(5)
FAULTS = ("sound", "not finite", "contradictory", "clock went back", "no venue quotes")

SEEN = np.dtype(
    [
        ("clock", np.float64),  # of the last step, seconds of the parent; -inf before the first
        ("silent", np.int64, VENUE_COUNT),  # steps in a row without anything new
        ("apart", np.int64, VENUE_COUNT),  # 1 where its quotes lie off the others'
    ]
)


class Heard(NamedTuple):
    """What `read_step` writes besides the agents' row."""

    depth: NDArray[np.int32]  # the view, silent and faulty venues left out
    last_depth: NDArray[np.int32]  # as it came in the step before
    seen: NDArray[Any]  # SEEN [1]
    tick: NDArray[Any]  # TICK [1], the step as it came
    owned: NDArray[Any]  # OWNED [max_resting], the active ones; in memory they follow `tick`
    resting: NDArray[np.int32]  # [max_resting, OWNED_FIELDS], own orders as they came
    counts: NDArray[np.int64]  # [COUNTS]
    trusted: NDArray[np.int8]  # [VENUE_COUNT], scratch
    stamps: NDArray[np.float64]  # [VENUE_COUNT], zeros: silence is told apart by `seen`


class Judging(NamedTuple):
    """The rules that a session's orders pass, as `market.risk` has them.

    Attributes:
        account, limits, state: EXPOSURE, LIMITS and STATE [1]; what passes is booked there.
        kept_account, kept_state: as they were before the step.
        rules: market.decode.RULES [1].
    """

    account: NDArray[Any]
    limits: NDArray[Any]
    state: NDArray[Any]
    kept_account: NDArray[Any]
    kept_state: NDArray[Any]
    rules: NDArray[Any]


class Hot(NamedTuple):
    """What one step's decision comes to, and what it is made of."""

    depth: NDArray[np.int32]  # the view, silent and faulty venues left out
    tick: NDArray[Any]  # TICK [1], the step as it came
    resting: NDArray[np.int32]  # [max_resting, OWNED_FIELDS], own orders as they came
    children: NDArray[Any]  # CHILD [max_children]; refused ones have no quantity
    cancels: NDArray[np.int8]  # [max_resting]
    decision: NDArray[Any]  # DECISION [1]
    acted: NDArray[Any]  # ACTED [1]
    orders: NDArray[Any]  # ORDER [max_children]
    refusals: NDArray[Any]  # REFUSAL [max_children]
    judged: NDArray[Any]  # market.orders.layout.ORDER [max_children + 1]; the last would cross
    verdicts: NDArray[Any]  # VERDICT [max_children + 1]
    cancelled: NDArray[np.int64]  # [max_resting], places of own orders to cancel
    counts: NDArray[np.int64]  # [COUNTS]


# Of `counts`: as a list of whole numbers they are read ten times as fast as from their records.
(
    ORDERS, REFUSALS, OWNED_ROWS, CANCELS, UNITS_REFUSED, STANDING, PASSED, SILENT_VENUES, STEP,
    CHILDREN, CANCEL_ALL, STOP,
) = range(12)  # fmt: skip
COUNTS = 12

# Parts of STANDING: what a watch found (`market.risk.ledger.WATCHES`), and two bits.
WATCHED, OVER, STOPPED = 3, 4, 8


@inlined
def standing(found: int, account: Any, limits: Any, state: Any) -> int:
    """What binds, as one number: a watch's finding, value at risk beyond `reduce_use`, a stop."""
    over = OVER if account.use > limits.reduce_use else 0
    return int(found) | over | (STOPPED if state.stopped != 0 else 0)


@kernel
def standing_of(found: int, accounts: Any, limits: Any, states: Any) -> int:
    """`standing`, of EXPOSURE, LIMITS and STATE [1]."""
    return int(standing(found, accounts[0], limits[0], states[0]))


def hot_arrays(max_children: int, max_resting: int) -> tuple[Heard, Hot]:
    """Arrays of a session; both share those of the same names."""
    record = np.zeros(TICK.itemsize + max_resting * OWNED.itemsize, np.uint8)
    heard = Heard(
        depth=np.zeros((VENUE_COUNT, 2, LEVELS_SEEN, 2), np.int32),
        last_depth=np.zeros((VENUE_COUNT, 2, LEVELS_SEEN, 2), np.int32),
        seen=np.zeros(1, SEEN),
        tick=record[: TICK.itemsize].view(TICK),
        owned=record[TICK.itemsize :].view(OWNED),
        resting=np.zeros((max_resting, OWNED_FIELDS), np.int32),
        counts=np.zeros(COUNTS, np.int64),
        trusted=np.zeros(VENUE_COUNT, np.int8),
        stamps=np.zeros(VENUE_COUNT),
    )
    hot = Hot(
        depth=heard.depth,
        tick=heard.tick,
        resting=heard.resting,
        children=np.zeros(max_children, CHILD),
        cancels=np.zeros(max_resting, np.int8),
        decision=np.zeros(1, DECISION),
        acted=np.zeros(1, ACTED),
        orders=np.zeros(max_children, ORDER),
        refusals=np.zeros(max_children, REFUSAL),
        judged=np.zeros(max_children + 1, JUDGED),
        verdicts=np.zeros(max_children + 1, VERDICT),
        cancelled=np.zeros(max_resting, np.int64),
        counts=heard.counts,
    )
    forget(heard)
    return heard, hot


def trust_rules(config: FreshnessConfig) -> NDArray[Any]:
    """cascade.consensus.RULES [1], by which venues are believed."""
    told = CoordinationConfig(quote_distance_bp=config.quote_distance_bp)
    out: NDArray[Any] = consensus_rules(told)
    return out


def forget(heard: Heard) -> None:
    """Remember nothing of the steps before: at a parent's begin, and after an interruption."""
    heard.seen["clock"] = -np.inf
    heard.seen["silent"] = heard.seen["apart"] = 0
    heard.last_depth[...] = 0


@inlined
def _finite(parent: Any, episode: Any, context: Any) -> bool:
    total = parent.arrival + parent.cost + parent.shortfall + parent.slippage + parent.fees
    total += parent.carry + parent.participation + parent.worst_shortfall + parent.quality
    total += parent.urgency_correction + parent.last_slippage + parent.predicted_quality
    total += episode.last_mid + episode.variance_fast + episode.variance_slow + episode.base
    total += episode.flow_fast + episode.flow_slow + episode.volume_mean + episode.spread_mean
    total += episode.mid_mean + episode.imbalance + episode.imbalance_last + episode.step_volume
    for index in range(CONTEXT_WIDTH):
        total += context[index]
    # A sum is finite only where all its parts are, infinities of both signs included.
    return math.isfinite(total)


@inlined
def _sound(parent: Any, episode: Any) -> bool:
    """Whether the numbers can be those of a parent order in a market."""
    whole = 0 <= parent.remaining <= parent.quantity and parent.quantity > 0
    whole = whole and 0 <= parent.step < parent.horizon and (parent.side == 1 or parent.side == -1)
    whole = whole and parent.resting >= 0 and parent.in_flight >= 0
    market = episode.variance_slow >= 0.0 and episode.step_volume > 0.0
    return bool(whole and market and episode.base + parent.arrival > 0.0)


@inlined
def _listen(heard: Any, depth: Any, most: int) -> int:
    """Copy the venues that still quote anything new; how many those are."""
    seen, speaking = heard.seen[0], 0
    heard.counts[SILENT_VENUES] = 0
    for venue in range(VENUE_COUNT):
        changed, quotes = False, False
        for half in range(2):
            for level in range(LEVELS_SEEN):
                for field in range(2):
                    value = depth[venue, half, level, field]
                    changed = changed or value != heard.last_depth[venue, half, level, field]
                    heard.last_depth[venue, half, level, field] = value
                quotes = quotes or depth[venue, half, level, LEVEL_PRICE] >= 0
        seen.silent[venue] = 0 if changed else seen.silent[venue] + 1
        heard.counts[SILENT_VENUES] += 1 if seen.silent[venue] >= most else 0
        speaks = quotes and seen.silent[venue] < most
        speaking += 1 if speaks else 0
        for half in range(2):
            for level in range(LEVELS_SEEN):
                for field in range(2):
                    value = depth[venue, half, level, field]
                    if not speaks:
                        value = EMPTY_PRICE if field == LEVEL_PRICE else 0
                    heard.depth[venue, half, level, field] = value
    return speaking


@inlined
def _doubt(heard: Any, trust_rules: Any, base: float) -> int:
    """Leave out venues whose quotes lie off the trimmed mid of all; how many those are.

    Where more than f of the n >= 3 f + 1 venues do not quote, nobody can tell, and all stand.
    """
    mid = trust(heard.depth, heard.stamps, 0.0, trust_rules, base, heard.trusted)
    count = 0
    for venue in range(VENUE_COUNT):
        bid = heard.depth[venue, BID, 0, LEVEL_PRICE]
        ask = heard.depth[venue, ASK, 0, LEVEL_PRICE]
        apart = math.isfinite(mid) and bid >= 0 and ask >= 0 and heard.trusted[venue] == 0
        heard.seen[0].apart[venue] = 1 if apart else 0
        if apart:
            count += 1
            for half in range(2):
                for level in range(LEVELS_SEEN):
                    heard.depth[venue, half, level, LEVEL_PRICE] = EMPTY_PRICE
                    heard.depth[venue, half, level, LEVEL_QUANTITY] = 0
    return count


@inlined
def _note(
    heard: Any, parent: Any, episode: Any, depth: Any, owned: Any, context: Any, step: int, bar: int
) -> None:
    """Put the step as it came into the log's record."""
    tick, counts = heard.tick[0], heard.counts
    tick.step, tick.bar, tick.parent, tick.episode = step, bar, parent, episode
    for venue in range(VENUE_COUNT):
        for half in range(2):
            for level in range(LEVELS_SEEN):
                for field in range(2):
                    tick.depth[venue, half, level, field] = depth[venue, half, level, field]
    for index in range(CONTEXT_WIDTH):
        tick.context[index] = context[index]
    counts[OWNED_ROWS] = 0
    for index in range(owned.shape[0]):
        for field in range(owned.shape[1]):
            heard.resting[index, field] = owned[index, field]
        if owned[index, ACTIVE] == 1:
            place = heard.owned[counts[OWNED_ROWS]]
            place.index = index
            for field in range(owned.shape[1]):
                place.fields[field] = owned[index, field]
            counts[OWNED_ROWS] += 1
    counts[STEP] = parent.step


@kernel
def read_step(
    heard: Any, parent: Any, episode: Any, depth: Any, owned: Any, context: Any, rules: Any,
    silent_steps: int, trust_rules: Any, step: int, bar: int, row: Any,
) -> int:  # fmt: skip
    """Note a step's inputs, check them and write the agents' row; SOUND, or what is wrong.

    Args:
        parent, episode: PARENT [1] and EPISODE [1].
        depth: int32 [VENUE_COUNT, 2, LEVELS_SEEN, 2]; owned: int32 [max_resting, OWNED_FIELDS].
        context: float64 [CONTEXT_WIDTH], signed.
        silent_steps: after which a venue without anything new counts as silent.
        trust_rules: cascade.consensus.RULES [1].
        step, bar: for the log; see `events.TICK`.
        row: float32 [row width], written.
    """
    order, market, seen = parent[0], episode[0], heard.seen[0]
    _note(heard, order, market, depth, owned, context, step, bar)
    heard.counts[SILENT_VENUES] = 0
    if not _finite(order, market, context):
        return NOT_FINITE
    if not _sound(order, market):
        return CONTRADICTORY
    if not market.clock > seen.clock:
        return CLOCK_BACK
    seen.clock = market.clock
    if _listen(heard, depth, silent_steps) == 0:
        return SILENT
    heard.counts[SILENT_VENUES] += _doubt(heard, trust_rules, market.base)
    observe(order, market, heard.depth, context, rules[0], row)
    return SOUND


@kernel
def _decide_step(
    hot: Any, judging: Any, action: Any, source: int, first_id: int, tick: float, time: float
) -> None:
    """See `decider`."""
    account, limits, state = judging.account[0], judging.limits[0], judging.state[0]
    came, acted, counts, decision = hot.tick[0], hot.acted[0], hot.counts, hot.decision[0]
    order, market, rules = came.parent, came.episode, judging.rules[0]
    judging.kept_account[0], judging.kept_state[0] = account, state
    for index in range(ACTION_WIDTH):
        acted.action[index] = action[index]
    for index in (ORDERS, REFUSALS, CANCELS, UNITS_REFUSED, PASSED):
        counts[index] = 0
    acted.step, acted.source = came.step, source
    if source != REFUSED:
        found = _mark(hot, market, account, limits, state, tick, time)
        counts[STANDING] = standing(found, account, limits, state)
    if source >= HELD:
        # Nothing is sent, and what rests stays: as the risk agent's DELAY, without cancels.
        decision.children, decision.asked, decision.cancel_all, decision.stop = 0, 0, 0, 0
        decision.delay, decision.urgency, decision.carry = 0.0, 0.0, order.carry
        for index in range(len(hot.cancels)):
            hot.cancels[index] = 0
    else:
        decode(
            action, order, market, hot.depth, hot.resting, rules, hot.children, hot.cancels,
            decision,
        )  # fmt: skip
    if source != REFUSED and open_excess(account, limits, state, 0, order.side) > 0:
        # A breaker or a stop binds: what was let through under a wider limit is taken back.
        decision.cancel_all = 1
        for index in range(len(hot.cancels)):
            hot.cancels[index] = 1 if hot.resting[index, ACTIVE] == 1 else 0
    for index in range(len(hot.cancels)):
        if hot.cancels[index] == 1:
            hot.cancelled[counts[CANCELS]] = index
            counts[CANCELS] += 1
    sent = orders_of_children(
        hot.children, decision.children, hot.tick.parent, hot.tick.episode, tick, time, 0,
        hot.judged,
    )  # fmt: skip
    counts[PASSED] = send_all(
        hot.judged, sent, judging.account, judging.limits, judging.state, hot.verdicts
    )
    for index in range(sent):
        _let_through(hot, index, first_id, order.side, market.base, tick)
    complete = source < HELD and _may_cross(hot, order, account, limits, state, time)
    acted.children, acted.asked = decision.children, decision.asked
    acted.refused, acted.stop = counts[UNITS_REFUSED], decision.stop
    acted.complete, acted.carry = 1 if complete else 0, decision.carry
    acted.limit = _crossing_limit(hot, order, market.base, tick) if complete else 0
    counts[CHILDREN], counts[STOP] = decision.children, decision.stop
    counts[CANCEL_ALL] = decision.cancel_all


Decide = Callable[[NDArray[np.float32], int, int, float], None]


def decider(hot: Hot, judging: Judging, tick: float) -> Decide:
    """The kernel that decodes a step's action into orders and has the rules judge each.

    Bound to arrays that never change, it is called without numba's look at the type of each:
    three microseconds of every step.

    Args:
        tick: currency.

    Returns:
        A call of (action float32 [ACTION_WIDTH], contiguous; source: DECIDED, REPEATED, HELD or
        REFUSED, in the last two of which no order is sent; number of the first child order;
        time of the step, seconds of the bar clock).
    """
    mine = hot, judging
    types = [numba.typeof(value) for value in (*mine, hold_action(), 0, 0, 0.0, 0.0)]
    compiled = cast(Any, _decide_step).compile(tuple(types))

    def decide(action: NDArray[np.float32], source: int, first_id: int, time: float) -> None:
        compiled(hot, judging, action, source, first_id, tick, time)

    return decide


@inlined
def _mark(
    hot: Any, market: Any, account: Any, limits: Any, state: Any, tick: float, time: float
) -> int:
    """Mark the account at the mid of the venues that speak, and watch it; what that finds."""
    mid = 0.5 * twice_mid_of(hot.depth, market.last_mid)
    take_mark(account, limits, 0, time, (market.base + mid) * tick)
    value_account(account)
    return int(watch(account, limits, state))


@inlined
def _let_through(hot: Any, index: int, first_id: int, side: int, base: float, tick: float) -> None:
    """Note what a child's verdict leaves of it as an order, and what it takes as a refusal."""
    counts, child, verdict = hot.counts, hot.children[index], hot.verdicts[index]
    allowed = verdict.quantity if verdict.action <= REDUCE_SIZE else 0
    if allowed < child.quantity:
        refusal = hot.refusals[counts[REFUSALS]]
        refusal.order.id, refusal.order.child = first_id + index, child
        refusal.action, refusal.reason = verdict.action, verdict.reason
        refusal.reasons, refusal.allowed = verdict.reasons, allowed
        counts[REFUSALS] += 1
        counts[UNITS_REFUSED] += child.quantity - allowed
        child.quantity = allowed
    if allowed <= 0:
        return
    if verdict.price != hot.judged[index].price:
        # Brought into the collar: to the last whole tick inside it.
        ladder = verdict.price / tick - base
        child.price = math.floor(ladder) if side == BUY else math.ceil(ladder)
    place = hot.orders[counts[ORDERS]]
    place.id, place.child = first_id + index, child
    counts[ORDERS] += 1


@inlined
def _may_cross(hot: Any, parent: Any, account: Any, limits: Any, state: Any, time: float) -> bool:
    """Whether all that is left of the parent would pass as one order at market.

    What is open of it is given up before it crosses, so that it counts no more.
    """
    if parent.remaining <= 0:
        return True
    order, verdict = hot.judged[len(hot.judged) - 1], hot.verdicts[len(hot.verdicts) - 1]
    order.time, order.instrument, order.side = time, 0, parent.side
    order.kind, order.life, order.venue = MARKET, IOC, SMART
    order.quantity = parent.remaining
    buys, sells = account.open_buys[0], account.open_sells[0]
    if parent.side == BUY:
        account.open_buys[0] = 0
    else:
        account.open_sells[0] = 0
    judge(order, account, limits, state, verdict)
    account.open_buys[0], account.open_sells[0] = buys, sells
    return bool(verdict.action == APPROVE)


@inlined
def _crossing_limit(hot: Any, parent: Any, base: float, tick: float) -> int:
    """The last whole tick inside the collar of what `_may_cross` has judged, ladder level."""
    if parent.remaining <= 0:
        return 0
    ladder = hot.verdicts[len(hot.verdicts) - 1].price / tick - base
    return int(math.floor(ladder) if parent.side == BUY else math.ceil(ladder))


def hold_action() -> NDArray[np.float32]:
    """The joint action that stands for nothing to be done, float32 [ACTION_WIDTH]."""
    action = np.full(ACTION_WIDTH, 0.5, np.float32)
    action[RISK_DECISION] = HOLD_CHILDREN
    return action


__all__ = [
    "DECIDED",
    "HELD",
    "REFUSED",
    "SMART",
    "Hot",
    "decider",
    "hot_arrays",
    "read_step",
    "trust_rules",
]
