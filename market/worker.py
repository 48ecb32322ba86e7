"""One step of one parent order: decide, send, let the market run, account."""

from __future__ import annotations

import math
from typing import Any

from market.decode import (
    BP,
    PREDICTED_QUALITY,
    RISK_DECISION,
    URGENCY_SHIFT,
    decode,
    price_in_ticks,
)
from market.desk import Desk, desk_at, next_own, taker_fee
from market.kernels import inlined, kernel
from market.own import (
    advance,
    any_price,
    cancel_all_own,
    cross_remainder,
    drop_children_in_flight,
    send,
    send_cancel,
    summarise_resting,
)
from market.pointers import record
from market.random import hash64
from market.state import (
    ASK,
    BID,
    MESSAGES_PER_STEP,
    OWNED_FIELDS,
    SMART,
    TABLE_MASK,
    VENUE,
    Market,
)
from market.view import best_quantity, fill_depth, quote, quoted_spread, twice_mid_of

FAST, SLOW = 0.3, 0.06  # weights of the newest step in the exponential averages
VAR_QUANTILE = 1.6448536269514722  # 95%, one-sided


@inlined
def mid_of(market: Market, n: int) -> float:
    """The consolidated mid without own orders, ladder ticks."""
    return 0.5 * twice_mid_of(market.depth[n], market.episodes[n].last_mid)


@inlined
def observe_step(market: Market, n: int) -> None:
    """Renew the view of episode `n` and what it keeps of the past, at the end of a step."""
    desk = desk_at(market, n)
    episode = record(desk.episode)
    depth = market.depth[n]
    fill_depth(desk, market.flow[0], depth)
    mid = mid_of(market, n)
    move = mid - episode.last_mid
    episode.variance_fast += FAST * (move * move - episode.variance_fast)
    episode.variance_slow += SLOW * (move * move - episode.variance_slow)
    signed = episode.buy_volume - episode.sell_volume
    volume = episode.buy_volume + episode.sell_volume
    episode.flow_fast += FAST * (signed - episode.flow_fast)
    episode.flow_slow += SLOW * (signed - episode.flow_slow)
    episode.volume_mean += SLOW * (volume - episode.volume_mean)
    bids, asks = best_quantity(depth, BID), best_quantity(depth, ASK)
    episode.imbalance_last = episode.imbalance
    episode.imbalance = (bids - asks) / (bids + asks) if bids + asks > 0 else 0.0
    spread = quoted_spread(depth)
    episode.spread_mean += SLOW * (spread - episode.spread_mean)
    episode.mid_mean += FAST * (mid - episode.mid_mean)
    episode.last_mid = mid
    episode.buy_volume = 0.0
    episode.sell_volume = 0.0


@inlined
def clear_last_step(parent: Any) -> None:
    parent.last_filled = 0
    parent.last_filled_passive = 0
    parent.last_slippage = 0.0
    parent.last_cancelled = 0
    parent.last_rejected = 0


@inlined
def latency_of(market: Market, n: int, venue: int, number: int) -> float:
    """Seconds until message `number` of this step reaches its venue.

    Keyed by step and number, so that what was sent before shifts no draw.
    """
    episode, parent = market.episodes[n], market.parents[n]
    counter = parent.step * MESSAGES_PER_STEP + number
    bits = hash64(episode.latency_key, counter)
    return market.latencies[venue, int(bits & TABLE_MASK)]


@inlined
def _send_all(
    market: Market, n: int, desk: Desk, count: int, children: Any, cancels: Any, twice_mid: int
) -> None:
    """Put cancels and children in flight; each reaches its venue after that venue's latency.

    Children wait for this step's cancels, whose quantity they may be made of.
    """
    flow = market.flow[0]
    now = record(desk.episode).clock
    freed = now
    index = next_own(desk, flow, 0)
    while index < flow.max_resting:
        if cancels[index] == 1:
            venue = desk.owned[index * OWNED_FIELDS + VENUE]
            arrival = now + latency_of(market, n, venue, index)
            freed = max(freed, arrival)
            send_cancel(desk, flow, arrival, index)
        index = next_own(desk, flow, index + 1)
    for index in range(count):
        child = children[index]
        latency = latency_of(market, n, child.venue, flow.max_resting + index)
        sent = send(
            desk,
            flow,
            max(now + child.offset + latency, freed),
            child.kind,
            child.venue,
            child.price,
            child.quantity,
            0,
            twice_mid,
        )
        if not sent:
            record(desk.parent).last_rejected += child.quantity


@kernel
def _stop(market: Market, n: int, desk: Desk, rules: Any, twice_mid: int) -> None:
    """EMERGENCY_STOP: complete at market what reduces risk, abandon the rest at its price.

    An abandoned remainder is charged what it would have cost to be held to the
    horizon and crossed there, so that a stop is never paid for by itself. That
    price is the reference's: the mid strays from it, and a stop could pick when.
    """
    parent, episode = record(desk.parent), record(desk.episode)
    flow = market.flow[0]
    parent.stopped = 1
    drop_children_in_flight(desk)
    # The stop itself takes its time to reach the venues.
    there = episode.clock + latency_of(market, n, SMART, 0)
    advance(desk, flow, min(there, (parent.step + 1) * rules.step_seconds))
    if parent.reduces_risk == 1:
        limit = any_price(flow, parent.side)
        cross_remainder(desk, flow, twice_mid, rules.sweep_ticks, limit)
        return
    cancel_all_own(desk, flow)
    quantity = parent.remaining
    at_horizon = market.path[n, parent.horizon] + episode.impact
    taken = parent.side * (at_horizon - parent.arrival)
    crossing = rules.half_spread_bp + rules.impact_slope_bp * quantity / episode.step_volume
    taken += crossing * price_in_ticks(parent, episode) / BP
    # And the impact that it would have had: concave, so at most what stands plus its own.
    taken += episode.impact_scale * math.sqrt(quantity)
    parent.cost += (taken + taker_fee(desk, 0)) * quantity
    parent.abandoned += quantity
    parent.remaining = 0


@inlined
def _mark(parent: Any, episode: Any, rules: Any) -> None:
    """Shortfall of the whole parent against arrival, marked to mid, in bp; VaR of what is open."""
    price = price_in_ticks(parent, episode)
    drift = parent.side * (episode.last_mid - parent.arrival) * parent.remaining
    parent.shortfall = (parent.cost + drift) / parent.quantity / price * BP
    parent.worst_shortfall = max(parent.worst_shortfall, parent.shortfall)
    parent.peak_var = max(parent.peak_var, var_use(parent, episode, rules))


@inlined
def var_use(parent: Any, episode: Any, rules: Any) -> float:
    """95% value at risk of the open part until the horizon, over its limit."""
    sigma = math.sqrt(episode.variance_slow) / price_in_ticks(parent, episode) * BP
    open_share = parent.remaining / parent.quantity
    steps = max(parent.horizon - parent.step, 0)
    return VAR_QUANTILE * sigma * open_share * math.sqrt(steps) / rules.var_limit_bp


@inlined
def _score(parent: Any, episode: Any, rules: Any) -> None:
    """The quality of the step: latency, fill, slippage and risk, each in [0, 1]."""
    parent.quality_latency = 1.0
    if rules.max_delay > 0.0 and parent.last_asked > 0:
        parent.quality_latency = 1.0 - parent.last_delay / rules.max_delay
    # Against what was asked, or TWAP's slice: who asks for nothing has filled nothing.
    due = min(parent.quantity // parent.horizon, parent.remaining + parent.last_filled)
    due = max(due, parent.last_asked)
    parent.quality_fill = min(parent.last_filled / due, 1.0) if due > 0 else 1.0
    slipped = 0.0
    if parent.last_filled > 0:
        slipped = parent.last_slippage / parent.last_filled / price_in_ticks(parent, episode) * BP
    parent.quality_slippage = min(max(0.5 - slipped / rules.slippage_scale_bp, 0.0), 1.0)
    parent.quality_risk = min(max(1.0 - var_use(parent, episode, rules), 0.0), 1.0)
    parent.quality = (
        rules.quality_latency * parent.quality_latency
        + rules.quality_fill * parent.quality_fill
        + rules.quality_slippage * parent.quality_slippage
        + rules.quality_risk * parent.quality_risk
    )
    parent.quality_sum += parent.quality


@inlined
def note_decision(parent: Any, action: Any, decision: Any) -> None:
    """What the parent's record keeps of a joint action and what `decode` made of it."""
    parent.last_asked = decision.asked
    parent.last_children = decision.children
    parent.last_delay = decision.delay if decision.children > 0 else 0.0
    parent.last_urgency = decision.urgency
    parent.last_decision = action[RISK_DECISION]
    parent.carry = decision.carry
    parent.predicted_quality = action[PREDICTED_QUALITY]
    parent.urgency_correction = 2.0 * action[URGENCY_SHIFT] - 1.0


@inlined
def finish_step(market: Market, n: int, desk: Desk, rules: Any, limit: int) -> None:
    """Close a step whose market has run: view, forced crossing at the horizon, marks.

    limit: of that crossing, see `cross_remainder`.
    """
    flow, parent, episode = market.flow[0], record(desk.parent), record(desk.episode)
    parent.step += 1
    observe_step(market, n)
    if parent.step == parent.horizon and parent.remaining > 0:
        twice_mid = twice_mid_of(market.depth[n], episode.last_mid)
        cross_remainder(desk, flow, twice_mid, rules.sweep_ticks, limit)
    best = quote(market.depth[n], BID if parent.side > 0 else ASK)
    summarise_resting(desk, flow, best)
    _mark(parent, episode, rules)
    _score(parent, episode, rules)
    if parent.remaining == 0:
        cancel_all_own(desk, flow)
        drop_children_in_flight(desk)
        parent.done = 1


@inlined
def work_step(
    market: Market,
    n: int,
    action: Any,
    rules: Any,
    children: Any,
    cancels: Any,
    decision: Any,
) -> None:
    """One decision of the five agents for episode `n`, and what follows until the next.

    `children`, `cancels` and `decision` are scratch rows, left with what was sent.
    """
    desk = desk_at(market, n)
    flow, parent, episode = market.flow[0], record(desk.parent), record(desk.episode)
    desk.tape.count[0] = 0
    clear_last_step(parent)
    twice_mid = twice_mid_of(market.depth[n], episode.last_mid)
    decode(
        action,
        parent,
        episode,
        market.depth[n],
        market.owned[n],
        rules,
        children,
        cancels,
        decision,
    )
    note_decision(parent, action, decision)
    if decision.stop == 1:
        _stop(market, n, desk, rules, twice_mid)
    else:
        if decision.cancel_all == 1:
            drop_children_in_flight(desk)
        _send_all(market, n, desk, decision.children, children, cancels, twice_mid)
    advance(desk, flow, (parent.step + 1) * rules.step_seconds)
    finish_step(market, n, desk, rules, any_price(flow, parent.side))
