"""The execution layer's columns, agents and action components, and the kernel that fills a row.

The tables below are the only place where a column's order is written: the kernel
writes in their order, sizes and indices derive from them, and so does the digest
by which the cascade refuses an artefact of other columns. Directional columns are
signed by the parent's side: positive favours, or is on the side of, the parent.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from configs.market import DEFAULT_VENUES, VENUE_COUNT
from market.decode import BP, price_in_ticks
from market.kernels import inlined, kernel
from market.state import ASK, BID, LEVEL_PRICE, LEVEL_QUANTITY, LEVELS_SEEN
from market.view import consolidated, quote, quoted_spread
from market.worker import var_use
from signals.layout import ActionComponent, AgentLayout, Column, LayerLayout

_VENUES = tuple(venue.name.lower() for venue in DEFAULT_VENUES)
_BOOK = "venues' depth"
_PAST = "past steps"
_PARENT = "parent order"
_OWN = "own resting orders"


def _upstream_columns(layer: str) -> tuple[Column, ...]:
    return (
        Column(f"{layer}_against", "probability", 0, 1, f"{layer} layer"),
        Column(f"{layer}_hold", "probability", 0, 1, f"{layer} layer"),
        Column(f"{layer}_with", "probability", 0, 1, f"{layer} layer"),
        Column(f"{layer}_confidence", "share", 0, 1, f"{layer} layer"),
        Column(f"{layer}_coherence", "share", 0, 1, f"{layer} layer"),
    )


CONTEXT = (
    *_upstream_columns("strategic"),
    *_upstream_columns("tactical"),
    Column("entanglement", "share", 0, 1, "strategic and tactical layer"),
    Column("risk_share", "share", 0, 1, "risk layer"),
)

MARKET = (
    Column("spread", "log(1 + ticks) / 4", 0, 2, _BOOK),
    Column("microprice_offset", "ticks, signed", -4, 4, _BOOK),
    Column("imbalance_1", "share, signed", -1, 1, _BOOK),
    Column("imbalance_3", "share, signed", -1, 1, _BOOK),
    Column("imbalance_5", "share, signed", -1, 1, _BOOK),
    Column("own_best_size", "log(1 + 10 x step volumes) / 3", 0, 3, _BOOK),
    Column("opposite_best_size", "log(1 + 10 x step volumes) / 3", 0, 3, _BOOK),
    Column("volatility", "log(1 + bp a step) / 2", 0, 4, _PAST),
    Column("flow_fast", "step volumes, signed", -2, 2, _PAST),
    Column("flow_slow", "step volumes, signed", -2, 2, _PAST),
    Column("spread_smart", "log(1 + ticks) / 4", 0, 2, _BOOK),
    Column("depth_smart", "log(1 + 10 x step volumes) / 3", 0, 3, _BOOK),
    *(
        column
        for venue in _VENUES
        for column in (
            Column(f"spread_{venue}", "log(1 + ticks) / 4", 0, 2, _BOOK),
            Column(f"depth_{venue}", "log(1 + 10 x step volumes) / 3", 0, 3, _BOOK),
        )
    ),
)

EXECUTION_STATE = (
    Column("remaining_share", "share", 0, 1, _PARENT),
    Column("time_left", "share", 0, 1, _PARENT),
    Column("fill_rate", "TWAP rates", 0, 4, _PARENT),
    Column("shortfall", "10 bp", -10, 10, _PARENT),
    Column("last_slippage", "10 bp", -10, 10, _PARENT),
    Column("resting_share", "share of remaining", 0, 1, _OWN),
    Column("queue_position", "share ahead", 0, 1, _OWN),
    Column("pending_share", "share of remaining", 0, 1, _PARENT),
    Column("var_use", "limits", 0, 4, _PARENT),
    Column("schedule_gap", "share ahead of TWAP", -1, 1, _PARENT),
    Column("participation", "share of volume", 0, 4, _PARENT),
    Column("arrival_move", "10 bp, adverse positive", -10, 10, _PARENT),
    Column("last_filled", "log(1 + TWAP slices) / 3", 0, 3, _PARENT),
    Column("crossing_cost", "10 bp", 0, 10, _PARENT),
    Column("parent_size", "1 + log10(participation) / 3", -1, 1, _PARENT),
)

TIMING_OWN = (
    Column("volatility_ratio", "fast over slow", 0, 4, _PAST),
    Column("spread_ratio", "over its mean", 0, 4, _PAST),
    Column("flow_change", "step volumes, signed", -2, 2, _PAST),
    Column("imbalance_change", "share, signed", -2, 2, _PAST),
    Column("reversion", "sigmas from the mean mid, signed", -4, 4, _PAST),
    Column("last_delay", "share of the longest", 0, 1, _PARENT),
    Column("last_urgency", "share", 0, 1, _PARENT),
    Column("urgency_correction", "share of the most", -1, 1, _PARENT),
)

SOURCING_OWN = (
    *(Column(f"opposite_share_{v}", "share of the best quote", 0, 1, _BOOK) for v in _VENUES),
    *(Column(f"queue_{v}", "log(1 + 10 x step volumes) / 3", 0, 3, _BOOK) for v in _VENUES),
    Column("opposite_venues", "share of venues at the best", 0, 1, _BOOK),
    Column("own_venues", "share of venues at the best", 0, 1, _BOOK),
)

FRAGMENTATION_OWN = (
    Column("resting_orders", "share of the most", 0, 1, _OWN),
    Column("slice_over_best", "log(1 + slices / best size) / 3", 0, 3, _BOOK),
    Column("last_children", "share of the most", 0, 1, _PARENT),
    Column("last_passive_share", "share of fills", 0, 1, _PARENT),
    Column("carry", "units", 0, 1, _PARENT),
    Column("remaining_over_depth", "log(1 + five levels) / 3", 0, 3, _BOOK),
)

RISK_OWN = (
    Column("reduces_risk", "0 or 1", 0, 1, _PARENT),
    Column("worst_shortfall", "10 bp", -10, 10, _PARENT),
    Column("shortfall_relief", "10 bp below the worst", 0, 10, _PARENT),
    Column("volatility_long", "log(1 + bp a step) / 2", 0, 4, _PAST),
    Column("stop_cost", "10 bp", 0, 10, _PARENT),
    Column("open_risk", "bp a step", 0, 4, _PARENT),
    Column("limit_left", "limits", -3, 1, _PARENT),
    Column("last_restrained", "0 or 1", 0, 1, _PARENT),
)

MONITOR_OWN = (
    Column("quality_latency", "score", 0, 1, _PARENT),
    Column("quality_fill", "score", 0, 1, _PARENT),
    Column("quality_slippage", "score", 0, 1, _PARENT),
    Column("quality_risk", "score", 0, 1, _PARENT),
    Column("quality_last", "score", 0, 1, _PARENT),
    Column("predicted_last", "score", 0, 1, _PARENT),
    Column("prediction_error", "score", -1, 1, _PARENT),
    Column("stalest", "20 ticks behind the best", 0, 4, _OWN),
    Column("oldest", "share of the horizon", 0, 1, _OWN),
    Column("resting_at_best", "share of resting", 0, 1, _OWN),
    Column("cancelled_last", "share of the parent", 0, 1, _PARENT),
    Column("rejected_last", "share of what was asked", 0, 1, _PARENT),
)

# For the critic alone. The path's future is exogenous: no action shifts it, so a
# baseline may know it and the policy gradient stays unbiased (Mao et al., "Variance
# reduction for reinforcement learning in input-driven environments", ICLR 2019).
PRIVILEGED = (
    Column("reference_gap", "10 bp, signed", -10, 10, "hidden path", privileged=True),
    Column("regime_volatility", "log(1 + bp a step) / 2", 0, 4, "hidden regime", privileged=True),
    Column("path_move_next", "10 bp, signed", -10, 10, "hidden path", privileged=True),
    Column("path_move_mean", "10 bp, signed", -10, 10, "hidden path", privileged=True),
    Column("path_move_end", "10 bp, signed", -10, 10, "hidden path", privileged=True),
    Column("open_move_next", "10 bp of the parent", -10, 10, "hidden path", privileged=True),
    Column("open_move_mean", "10 bp of the parent", -10, 10, "hidden path", privileged=True),
    Column("open_gap", "10 bp of the parent", -10, 10, "hidden path", privileged=True),
)

_C = ActionComponent
AGENTS = (
    AgentLayout(
        "market_timing",
        TIMING_OWN,
        "box",
        (
            _C(
                "delay",
                "when the first child is sent, 0 to max_delay after the decision",
                initial=0.05,
            ),
            _C("urgency", "share of the children that cross the spread", initial=0.1),
            _C("confidence", "scales the quantity of the step"),
            _C("volatility_adjustment", "scales the risk aversion of the schedule"),
        ),
    ),
    AgentLayout(
        "liquidity_sourcing",
        SOURCING_OWN,
        "box",
        (
            _C("smart", "weight of the router over all venues", initial=0.8),
            *(
                _C(v, f"weight of {v.upper()} in the children's quantity", initial=0.3)
                for v in _VENUES
            ),
        ),
    ),
    AgentLayout(
        "position_fragmentation",
        FRAGMENTATION_OWN,
        "box",
        (
            _C(
                "share",
                "quantity of the step: none, the schedule's at .5, a multiple at 1",
                initial=0.6,
            ),
            _C("children", "number of child orders, 1 to max_children", initial=0.1),
            _C(
                "spacing",
                "time between children, up to the step shared out among them",
                initial=0.3,
            ),
            _C(
                "stealth",
                "price of a passive child: 0 crosses, 1 joins the own best queue",
                initial=0.9,
            ),
        ),
    ),
    AgentLayout(
        "risk_control",
        RISK_OWN,
        "discrete",
        (
            _C("APPROVE", "children as asked", initial=0.96),
            _C("REDUCE_SIZE", "children of reduced size", initial=0.02),
            _C(
                "DELAY",
                "no new children; resting ones stay but for the monitor's threshold",
                initial=0.01,
            ),
            _C(
                "CANCEL",
                "no new children, resting ones and those in flight are cancelled",
                initial=0.009,
            ),
            _C(
                "EMERGENCY_STOP",
                "the episode ends: completed at market, or abandoned",
                initial=0.001,
            ),
        ),
    ),
    AgentLayout(
        "execution_monitor",
        MONITOR_OWN,
        "box",
        (
            _C("predicted_quality", "of this step; changes no order", supervised=True),
            _C("urgency_correction", "shifts the urgency of the next step"),
            _C(
                "cancel_threshold",
                "how far behind the best a resting order is cancelled",
                initial=0.15,
            ),
        ),
    ),
)

EXECUTION = LayerLayout("execution", CONTEXT + MARKET + EXECUTION_STATE, AGENTS, PRIVILEGED)

_LOW = np.array([c.low for c in EXECUTION.state_columns])
_HIGH = np.array([c.high for c in EXECUTION.state_columns])
_CONTEXT_WIDTH = len(CONTEXT)
_ROW_WIDTH = EXECUTION.row_width
_STATE_WIDTH = EXECUTION.state_width
_TEN_BP = 10.0
_STALE_TICKS = 20.0
_SPREAD_SCALE, _SIZE_SCALE, _SIZE_FACTOR, _VOLATILITY_SCALE = 4.0, 3.0, 10.0, 2.0


@inlined
def _log_spread(ticks: float) -> float:
    return math.log1p(max(ticks, 0.0)) / _SPREAD_SCALE


@inlined
def _log_size(quantity: float, episode: Any) -> float:
    return math.log1p(_SIZE_FACTOR * quantity / episode.step_volume) / _SIZE_SCALE


@inlined
def _log_volatility(variance: float, to_bp: float) -> float:
    return math.log1p(math.sqrt(variance) * to_bp) / _VOLATILITY_SCALE


@inlined
def _imbalance(depth: Any, side: int, levels: int) -> float:
    bids, asks = consolidated(depth, BID, levels), consolidated(depth, ASK, levels)
    return side * (bids - asks) / (bids + asks) if bids + asks > 0 else 0.0


@inlined
def _crossing_bp(parent: Any, episode: Any, depth: Any, rules: Any, to_bp: float) -> float:
    """Expected cost in bp of the parent, of crossing what remains at once."""
    cost = 0.5 * quoted_spread(depth) * to_bp
    cost += rules.impact_slope_bp * parent.remaining / episode.step_volume
    return cost * parent.remaining / parent.quantity


@kernel
def _market_columns(parent: Any, episode: Any, depth: Any, to_bp: float, out: Any, at: int) -> int:
    own, opposite = (BID, ASK) if parent.side > 0 else (ASK, BID)
    own_size = float(consolidated(depth, own, 1))
    opposite_size = float(consolidated(depth, opposite, 1))
    both = own_size + opposite_size
    out[at] = _log_spread(quoted_spread(depth))
    # Microprice: each quote weighted by the other side's size (Gatheral and Oomen, 2010).
    out[at + 2] = _imbalance(depth, parent.side, 1)
    out[at + 1] = 0.5 * quoted_spread(depth) * out[at + 2]
    out[at + 3] = _imbalance(depth, parent.side, 3)
    out[at + 4] = _imbalance(depth, parent.side, 5)
    out[at + 5] = _log_size(own_size, episode)
    out[at + 6] = _log_size(opposite_size, episode)
    out[at + 7] = _log_volatility(episode.variance_fast, to_bp)
    volume = max(episode.volume_mean, 1.0)
    out[at + 8] = parent.side * episode.flow_fast / volume
    out[at + 9] = parent.side * episode.flow_slow / volume
    out[at + 10] = out[at]
    out[at + 11] = _log_size(both, episode)
    at += 12
    for venue in range(VENUE_COUNT):
        bid, ask = depth[venue, BID, 0, LEVEL_PRICE], depth[venue, ASK, 0, LEVEL_PRICE]
        out[at] = _log_spread(float(ask - bid)) if bid >= 0 and ask >= 0 else 2.0
        size = depth[venue, BID, 0, LEVEL_QUANTITY] + depth[venue, ASK, 0, LEVEL_QUANTITY]
        out[at + 1] = _log_size(float(size), episode)
        at += 2
    return at


@kernel
def _execution_columns(
    parent: Any, episode: Any, depth: Any, rules: Any, to_bp: float, out: Any, at: int
) -> int:
    remaining = parent.remaining / parent.quantity
    elapsed = parent.step / parent.horizon
    filled = 1.0 - remaining
    open_units = max(parent.remaining, 1)
    slipped = parent.last_slippage / parent.last_filled if parent.last_filled > 0 else 0.0
    queue = parent.queue_ahead + parent.queue_own
    traded = episode.step_volume * max(parent.step, 1)
    slice_ = parent.quantity / parent.horizon
    out[at] = remaining
    out[at + 1] = 1.0 - elapsed
    out[at + 2] = filled / elapsed if elapsed > 0.0 else 1.0
    out[at + 3] = parent.shortfall / _TEN_BP
    out[at + 4] = slipped * to_bp / _TEN_BP
    out[at + 5] = parent.resting / open_units
    out[at + 6] = parent.queue_ahead / queue if queue > 0 else 1.0
    out[at + 7] = parent.in_flight / open_units
    out[at + 8] = var_use(parent, episode, rules)
    out[at + 9] = filled - elapsed
    out[at + 10] = (parent.quantity - parent.remaining) / traded
    out[at + 11] = parent.side * (episode.last_mid - parent.arrival) * to_bp / _TEN_BP
    out[at + 12] = math.log1p(parent.last_filled / slice_) / _SIZE_SCALE
    out[at + 13] = _crossing_bp(parent, episode, depth, rules, to_bp) / _TEN_BP
    out[at + 14] = 1.0 + math.log10(max(parent.participation, 1e-9)) / 3.0
    return at + 15


@kernel
def _timing_columns(parent: Any, episode: Any, depth: Any, rules: Any, out: Any, at: int) -> int:
    sigma = math.sqrt(max(episode.variance_slow, 1e-12))
    volume = max(episode.volume_mean, 1.0)
    out[at] = math.sqrt(episode.variance_fast) / sigma
    out[at + 1] = quoted_spread(depth) / max(episode.spread_mean, 1e-9)
    out[at + 2] = parent.side * (episode.flow_fast - episode.flow_slow) / volume
    out[at + 3] = parent.side * (episode.imbalance - episode.imbalance_last)
    out[at + 4] = parent.side * (episode.last_mid - episode.mid_mean) / sigma
    out[at + 5] = parent.last_delay / rules.max_delay if rules.max_delay > 0.0 else 0.0
    out[at + 6] = parent.last_urgency
    out[at + 7] = parent.urgency_correction
    return at + 8


@kernel
def _sourcing_columns(parent: Any, episode: Any, depth: Any, out: Any, at: int) -> int:
    own, opposite = (BID, ASK) if parent.side > 0 else (ASK, BID)
    own_price, opposite_price = quote(depth, own), quote(depth, opposite)
    offered = max(consolidated(depth, opposite, 1), 1)
    own_count, opposite_count = 0, 0
    for venue in range(VENUE_COUNT):
        out[at + venue] = 0.0
        if opposite_price >= 0 and depth[venue, opposite, 0, LEVEL_PRICE] == opposite_price:
            out[at + venue] = depth[venue, opposite, 0, LEVEL_QUANTITY] / offered
            opposite_count += 1
        queue = 0.0
        if own_price >= 0 and depth[venue, own, 0, LEVEL_PRICE] == own_price:
            queue = float(depth[venue, own, 0, LEVEL_QUANTITY])
            own_count += 1
        out[at + VENUE_COUNT + venue] = _log_size(queue, episode)
    at += 2 * VENUE_COUNT
    out[at] = opposite_count / VENUE_COUNT
    out[at + 1] = own_count / VENUE_COUNT
    return at + 2


@kernel
def _fragmentation_columns(parent: Any, depth: Any, rules: Any, out: Any, at: int) -> int:
    opposite = ASK if parent.side > 0 else BID
    slice_ = parent.remaining / max(parent.horizon - parent.step, 1)
    best = max(consolidated(depth, opposite, 1), 1)
    five = max(consolidated(depth, opposite, LEVELS_SEEN), 1)
    filled = parent.filled_passive + parent.filled_aggressive
    out[at] = parent.resting_orders / rules.max_resting
    out[at + 1] = math.log1p(slice_ / best) / _SIZE_SCALE
    out[at + 2] = parent.last_children / rules.max_children
    out[at + 3] = parent.filled_passive / filled if filled > 0 else 0.0
    out[at + 4] = parent.carry
    out[at + 5] = math.log1p(parent.remaining / five) / _SIZE_SCALE
    return at + 6


@kernel
def _risk_columns(
    parent: Any, episode: Any, depth: Any, rules: Any, to_bp: float, out: Any, at: int
) -> int:
    share = parent.remaining / parent.quantity
    out[at] = float(parent.reduces_risk)
    out[at + 1] = parent.worst_shortfall / _TEN_BP
    out[at + 2] = (parent.worst_shortfall - parent.shortfall) / _TEN_BP
    out[at + 3] = _log_volatility(episode.variance_slow, to_bp)
    out[at + 4] = _crossing_bp(parent, episode, depth, rules, to_bp) / _TEN_BP / max(share, 1e-9)
    out[at + 5] = rules.risk_aversion * episode.variance_slow * (to_bp * share) ** 2
    out[at + 6] = 1.0 - var_use(parent, episode, rules)
    out[at + 7] = 1.0 if parent.last_decision > 0.0 else 0.0
    return at + 8


@kernel
def _monitor_columns(parent: Any, out: Any, at: int) -> int:
    out[at] = parent.quality_latency
    out[at + 1] = parent.quality_fill
    out[at + 2] = parent.quality_slippage
    out[at + 3] = parent.quality_risk
    out[at + 4] = parent.quality
    out[at + 5] = parent.predicted_quality
    out[at + 6] = parent.quality - parent.predicted_quality
    out[at + 7] = parent.stalest_ticks / _STALE_TICKS
    out[at + 8] = parent.oldest_steps / parent.horizon
    out[at + 9] = parent.resting_at_best / max(parent.resting, 1)
    out[at + 10] = parent.last_cancelled / parent.quantity
    out[at + 11] = parent.last_rejected / max(parent.last_asked, 1)
    return at + 12


@kernel
def _privileged_columns(
    parent: Any, episode: Any, path: Any, to_bp: float, out: Any, at: int
) -> int:
    step = min(parent.step, parent.horizon)
    after = min(step + 1, parent.horizon)
    ahead = 0.0
    for knot in range(after, parent.horizon + 1):
        ahead += path[knot]
    mean = ahead / (parent.horizon + 1 - after) - path[step]
    scale = parent.side * to_bp / _TEN_BP
    share = parent.remaining / parent.quantity
    gap = scale * (path[step] + episode.impact - episode.last_mid)
    out[at] = gap
    out[at + 1] = math.log1p(episode.sigma * to_bp) / _VOLATILITY_SCALE
    out[at + 2] = scale * (path[after] - path[step])
    out[at + 3] = scale * mean
    out[at + 4] = scale * (path[parent.horizon] - path[step])
    out[at + 5] = share * out[at + 2]
    out[at + 6] = share * out[at + 3]
    out[at + 7] = share * gap
    return at + 8


@kernel
def observe(parent: Any, episode: Any, depth: Any, context: Any, rules: Any, out: Any) -> None:
    """Fill a row (float32 [row width] or longer) from what a trader knows at a step's end.

    Args:
        parent, episode: PARENT and EPISODE records.
        depth: int32 [VENUE_COUNT, 2, LEVELS_SEEN, 2], own orders taken out.
        context: float [12], the cascade context, signed by the parent's side.
        rules: a RULES record.
    """
    to_bp = BP / price_in_ticks(parent, episode)
    for index in range(_CONTEXT_WIDTH):
        out[index] = context[index]
    at = _market_columns(parent, episode, depth, to_bp, out, _CONTEXT_WIDTH)
    at = _execution_columns(parent, episode, depth, rules, to_bp, out, at)
    at = _timing_columns(parent, episode, depth, rules, out, at)
    at = _sourcing_columns(parent, episode, depth, out, at)
    at = _fragmentation_columns(parent, depth, rules, out, at)
    at = _risk_columns(parent, episode, depth, rules, to_bp, out, at)
    _monitor_columns(parent, out, at)
    for index in range(_ROW_WIDTH):
        out[index] = min(max(out[index], _LOW[index]), _HIGH[index])


@kernel
def observe_privileged(parent: Any, episode: Any, path: Any, out: Any) -> None:
    """Fill the privileged tail of a state whose row is filled already."""
    to_bp = BP / price_in_ticks(parent, episode)
    _privileged_columns(parent, episode, path, to_bp, out, _ROW_WIDTH)
    for index in range(_ROW_WIDTH, _STATE_WIDTH):
        out[index] = min(max(out[index], _LOW[index]), _HIGH[index])
