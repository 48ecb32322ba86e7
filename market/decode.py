"""Joint actions to child orders: the one pure function of environments and cascade alike.

The table of what every component does stands in `signals.execution`; here is what
it comes to. Nothing in this module reads a clock, draws a number or touches a book.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from configs.execution import ExecutionConfig
from market.kernels import inlined, kernel
from market.schedules import almgren_chriss_share, almgren_chriss_urgency
from market.state import (
    ACTIVE,
    AGGRESSIVE,
    ASK,
    BID,
    OWN_PRICE,
    OWN_QUANTITY,
    PASSIVE,
    SMART,
)
from market.view import quote

# Positions in a row of joint actions, in the agents' order of acting.
DELAY, URGENCY, CONFIDENCE, VOLATILITY_ADJUSTMENT = range(4)
FIRST_WEIGHT = 4  # SMART, then the venues in their configured order
SHARE, CHILDREN, SPACING, STEALTH = range(9, 13)
RISK_DECISION = 13
PREDICTED_QUALITY, URGENCY_SHIFT, CANCEL_THRESHOLD = range(14, 17)
ACTION_WIDTH = 17
VENUE_WEIGHTS = 5

APPROVE, REDUCE_SIZE, HOLD_CHILDREN, CANCEL_CHILDREN, EMERGENCY_STOP = range(5)

BP = 1e4
_WHOLE = 1e-9  # what a product of shares may fall short of a whole unit by rounding

CHILD = np.dtype(
    [
        ("kind", np.int64),
        ("venue", np.int64),
        ("price", np.int64),  # ladder ticks: limit of a passive child, worst of an aggressive
        ("quantity", np.int64),
        ("offset", np.float64),  # seconds from the decision to the sending
    ]
)

DECISION = np.dtype(
    [
        ("children", np.int64),
        ("asked", np.int64),
        ("cancel_all", np.int64),
        ("stop", np.int64),
        ("delay", np.float64),
        ("urgency", np.float64),
        ("carry", np.float64),
        # Of the router and the venues: what share of the children each gets, and what it has.
        ("venue_shares", np.float64, VENUE_WEIGHTS),
        ("venue_quantities", np.float64, VENUE_WEIGHTS),
    ]
)

RULES = np.dtype(
    [
        ("step_seconds", np.float64),
        ("max_delay", np.float64),
        ("share_multiple", np.float64),
        ("confidence_low", np.float64),
        ("confidence_high", np.float64),
        ("reduced_size", np.float64),
        ("max_children", np.int64),
        ("max_resting", np.int64),
        ("urgency_correction", np.float64),
        ("cancel_distance", np.int64),
        ("sweep_ticks", np.int64),
        ("risk_aversion", np.float64),
        ("impact_slope_bp", np.float64),
        ("half_spread_bp", np.float64),
        ("var_limit_bp", np.float64),
        ("quality_latency", np.float64),
        ("quality_fill", np.float64),
        ("quality_slippage", np.float64),
        ("quality_risk", np.float64),
        ("slippage_scale_bp", np.float64),
    ]
)


def execution_rules(config: ExecutionConfig) -> Any:
    """RULES [1] of a configuration, as kernels take it."""
    rules = np.zeros(1, RULES)
    child, quality = config.child, config.reward.quality
    values = {
        "step_seconds": config.step_seconds,
        "max_delay": min(child.max_delay_seconds, config.step_seconds),
        "share_multiple": child.share_multiple,
        "confidence_low": child.confidence_low,
        "confidence_high": child.confidence_high,
        "reduced_size": child.reduced_size,
        "max_children": child.max_children,
        "max_resting": child.max_resting,
        "urgency_correction": child.urgency_correction,
        "cancel_distance": child.cancel_distance,
        "sweep_ticks": child.sweep_ticks,
        "risk_aversion": config.reward.risk_aversion,
        "impact_slope_bp": config.schedule.impact_slope_bp,
        "half_spread_bp": config.schedule.half_spread_bp,
        "var_limit_bp": config.reward.var_limit_bp,
        "quality_latency": quality.latency,
        "quality_fill": quality.fill,
        "quality_slippage": quality.slippage,
        "quality_risk": quality.risk,
        "slippage_scale_bp": quality.slippage_scale_bp,
    }
    for name, value in values.items():
        rules[name] = value
    return rules


@kernel
def price_in_ticks(parent: Any, episode: Any) -> float:
    """The arrival price in ticks above zero, the scale of every figure in bp."""
    return float(episode.base + parent.arrival)


@kernel
def schedule_share(adjustment: float, parent: Any, episode: Any, rules: Any) -> float:
    """Almgren-Chriss share of the remaining quantity for the next step.

    `adjustment` in [0, 1] scales the risk aversion from 0 (TWAP) over 1 at .5 to 2.
    """
    scale = BP / price_in_ticks(parent, episode)
    variance = episode.variance_slow * scale * scale
    impact = rules.impact_slope_bp * parent.quantity / max(episode.step_volume, 1.0)
    urgency = almgren_chriss_urgency(2.0 * adjustment * rules.risk_aversion, variance, impact)
    return almgren_chriss_share(urgency, parent.horizon - parent.step)


@kernel
def share_factor(component: float, multiple: float) -> float:
    """0 at 0, 1 at .5 (the schedule itself), `multiple` at 1; linear, then geometric."""
    return 2.0 * component if component <= 0.5 else multiple ** (2.0 * component - 1.0)


@inlined
def _share_out(action: Any, shares: Any, assigned: Any) -> None:
    """The venues' shares by their weights, and nothing assigned yet."""
    weights = 0.0
    for index in range(VENUE_WEIGHTS):
        weights += action[FIRST_WEIGHT + index]
    for index in range(VENUE_WEIGHTS):
        shares[index] = action[FIRST_WEIGHT + index] / weights if weights > 0.0 else 0.0
        assigned[index] = 0.0


@inlined
def _choose_venue(shares: Any, assigned: Any, total: float, size: int) -> int:
    """The venue that lags its share most once `size` more is placed; SMART where all are 0."""
    chosen, worst = SMART, 0.0
    for index in range(VENUE_WEIGHTS):
        lag = shares[index] * (total + size) - assigned[index]
        if lag > worst:
            chosen = SMART if index == 0 else index - 1
            worst = lag
    assigned[0 if chosen == SMART else chosen + 1] += size
    return chosen


@kernel
def mark_cancels(action: Any, parent: Any, depth: Any, owned: Any, rules: Any, out: Any) -> int:
    """Flag the own resting orders to cancel; returns their quantity.

    Those at least threshold x `cancel_distance` ticks behind the best quote of
    their side: threshold 0 cancels every order that does not improve on it.
    """
    best = quote(depth, BID if parent.side > 0 else ASK)
    everything = action[RISK_DECISION] >= CANCEL_CHILDREN
    distance = round(action[CANCEL_THRESHOLD] * rules.cancel_distance)
    freed = 0
    for index in range(owned.shape[0]):
        out[index] = 0
        if owned[index, ACTIVE] == 1:
            behind = parent.side * (best - owned[index, OWN_PRICE])
            if everything or (best >= 0 and behind >= distance):
                out[index] = 1
                freed += owned[index, OWN_QUANTITY]
    return freed


@kernel
def _child_price(parent: Any, depth: Any, stealth: float, fallback: int) -> int:
    """Ladder price between the opposite best (stealth 0) and the own best (1)."""
    own = quote(depth, BID if parent.side > 0 else ASK)
    opposite = quote(depth, ASK if parent.side > 0 else BID)
    if own < 0:
        own = opposite - parent.side if opposite >= 0 else fallback
    if opposite < 0:
        opposite = own + parent.side
    return int(own + parent.side * round((1.0 - stealth) * abs(opposite - own)))


@kernel
def _wanted(action: Any, parent: Any, episode: Any, rules: Any) -> float:
    """Quantity that the agents ask for in this step, in parts of a unit, `carry` included.

    The share is of what the schedule has not yet asked for, so that `carry` counts once.
    """
    span = rules.confidence_high - rules.confidence_low
    size = rules.confidence_low + span * action[CONFIDENCE]
    if int(action[RISK_DECISION]) == REDUCE_SIZE:
        size *= rules.reduced_size
    share = schedule_share(action[VOLATILITY_ADJUSTMENT], parent, episode, rules)
    share *= share_factor(action[SHARE], rules.share_multiple) * size
    return float((parent.remaining - parent.carry) * min(share, 1.0) + parent.carry)


@kernel
def decode(
    action: Any,
    parent: Any,
    episode: Any,
    depth: Any,
    owned: Any,
    rules: Any,
    children: Any,
    cancels: Any,
    decision: Any,
) -> None:
    """Write the child orders and cancels that a joint action means in a given state.

    Args:
        action: float [ACTION_WIDTH].
        parent, episode: PARENT and EPISODE records.
        depth: int32 [VENUE_COUNT, 2, LEVELS_SEEN, 2] without own orders.
        owned: int32 [max_resting, OWNED_FIELDS].
        rules: a RULES record.
        children: CHILD [max_children], written.
        cancels: int [max_resting], written with 0 or 1.
        decision: a DECISION record, written.
    """
    freed = mark_cancels(action, parent, depth, owned, rules, cancels)
    risk = int(action[RISK_DECISION])
    shift = rules.urgency_correction * parent.urgency_correction
    urgency = min(max(action[URGENCY] + shift, 0.0), 1.0)
    decision.delay = action[DELAY] * rules.max_delay
    decision.urgency = urgency
    decision.cancel_all = 1 if risk == CANCEL_CHILDREN else 0
    decision.stop = 1 if risk == EMERGENCY_STOP else 0
    decision.children = 0
    decision.asked = 0
    decision.carry = parent.carry
    if risk >= HOLD_CHILDREN:
        return
    wanted = _wanted(action, parent, episode, rules)
    available = parent.remaining - parent.resting - parent.in_flight + freed
    quantity = int(min(float(int(wanted + _WHOLE)), float(max(available, 0))))
    # What lots withhold is asked for later; what the parent has not got left is not.
    decision.carry = min(max(wanted - quantity, 0.0), 1.0)
    if quantity <= 0:
        return
    count = min(1 + int(action[CHILDREN] * rules.max_children), rules.max_children, quantity)
    decision.asked = quantity
    decision.children = count
    passive = _child_price(parent, depth, action[STEALTH], int(parent.arrival))
    opposite = quote(depth, ASK if parent.side > 0 else BID)
    crosses = opposite >= 0 and parent.side * (passive - opposite) >= 0
    gap = action[SPACING] * rules.step_seconds / count
    shares, assigned = decision.venue_shares, decision.venue_quantities
    _share_out(action, shares, assigned)
    placed = 0
    for index in range(count):
        child = children[index]
        size = quantity // count + (1 if index < quantity % count else 0)
        aggressive = crosses or (index + 0.5) / count < urgency
        child.kind = AGGRESSIVE if aggressive else PASSIVE
        worst = (opposite if opposite >= 0 else passive) + parent.side * rules.sweep_ticks
        child.price = worst if aggressive else passive
        child.quantity = size
        child.venue = _choose_venue(shares, assigned, float(placed), size)
        child.offset = min(decision.delay + index * gap, rules.step_seconds)
        placed += size
