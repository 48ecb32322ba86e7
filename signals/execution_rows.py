"""The kernel that fills a row of the execution layer, in the order of its column tables."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from configs.market import VENUE_COUNT
from market.decode import BP, price_in_ticks
from market.kernels import inlined, kernel
from market.state import ASK, BID, LEVEL_PRICE, LEVEL_QUANTITY, LEVELS_SEEN
from market.view import EMPTY_PRICE
from market.worker import var_use
from signals.execution import AHEAD, CONTEXT, EXECUTION

_LOW = np.array([c.low for c in EXECUTION.state_columns], np.float32)
_HIGH = np.array([c.high for c in EXECUTION.state_columns], np.float32)
_CONTEXT_WIDTH = len(CONTEXT)
_ROW_WIDTH = EXECUTION.row_width
_STATE_WIDTH = EXECUTION.state_width
_TEN_BP = 10.0
_STALE_TICKS = 20.0
_SPREAD_SCALE, _SIZE_SCALE, _SIZE_FACTOR, _VOLATILITY_SCALE = 4.0, 3.0, 10.0, 2.0


_HEAD_BITS, _HEAD_MASK = 4, 15  # of the number of levels of a venue that are behind us


class Half(NamedTuple):
    """One side of the consolidated book: its best price and the depth behind it."""

    price: int  # EMPTY_PRICE where nothing rests
    one: int  # quantity on the best price
    three: int  # on the best three distinct prices
    five: int


@inlined
def _half(depth: Any, half: int) -> Half:
    """Merge the venues' levels, best first, in one pass over them."""
    first, one, three, total = EMPTY_PRICE, 0, 0, 0
    heads = 0  # how many levels of each venue are counted, packed in _HEAD_BITS each
    for seen in range(LEVELS_SEEN):
        best = EMPTY_PRICE
        for venue in range(VENUE_COUNT):
            head = (heads >> (_HEAD_BITS * venue)) & _HEAD_MASK
            if head < LEVELS_SEEN:
                price = depth[venue, half, head, LEVEL_PRICE]
                better = price > best if half == BID else price < best
                if price >= 0 and (best < 0 or better):
                    best = price
        if best >= 0:
            for venue in range(VENUE_COUNT):
                head = (heads >> (_HEAD_BITS * venue)) & _HEAD_MASK
                if head < LEVELS_SEEN and depth[venue, half, head, LEVEL_PRICE] == best:
                    total += depth[venue, half, head, LEVEL_QUANTITY]
                    heads += 1 << (_HEAD_BITS * venue)
        if seen == 0:
            first, one = best, total
        elif seen == 2:
            three = total
    return Half(first, one, three, total)


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
def _spread(bid: int, ask: int) -> float:
    """Ticks; 0 where a side is empty."""
    return float(ask - bid) if bid >= 0 and ask >= 0 else 0.0


@inlined
def _imbalance(side: int, bids: int, asks: int) -> float:
    return side * (bids - asks) / (bids + asks) if bids + asks > 0 else 0.0


@inlined
def _crossing_bp(parent: Any, episode: Any, spread: float, rules: Any, to_bp: float) -> float:
    """Expected cost in bp of the parent, of crossing what remains at once."""
    cost = 0.5 * spread * to_bp
    cost += rules.impact_slope_bp * parent.remaining / episode.step_volume
    return cost * parent.remaining / parent.quantity


@inlined
def _market_columns(
    parent: Any, episode: Any, depth: Any, bids: Half, asks: Half, to_bp: float, out: Any, at: int
) -> int:
    own, opposite = (bids, asks) if parent.side > 0 else (asks, bids)
    own_size, opposite_size = float(own.one), float(opposite.one)
    both = own_size + opposite_size
    spread = _spread(bids.price, asks.price)
    out[at] = _log_spread(spread)
    # Microprice: each quote weighted by the other side's size (Gatheral and Oomen, 2010).
    out[at + 2] = _imbalance(parent.side, bids.one, asks.one)
    out[at + 1] = 0.5 * spread * out[at + 2]
    out[at + 3] = _imbalance(parent.side, bids.three, asks.three)
    out[at + 4] = _imbalance(parent.side, bids.five, asks.five)
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


@inlined
def _execution_columns(
    parent: Any,
    episode: Any,
    rules: Any,
    var: float,
    crossing: float,
    to_bp: float,
    out: Any,
    at: int,
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
    out[at + 8] = var
    out[at + 9] = filled - elapsed
    out[at + 10] = (parent.quantity - parent.remaining) / traded
    out[at + 11] = parent.side * (episode.last_mid - parent.arrival) * to_bp / _TEN_BP
    out[at + 12] = math.log1p(parent.last_filled / slice_) / _SIZE_SCALE
    out[at + 13] = crossing / _TEN_BP
    out[at + 14] = 1.0 + math.log10(max(parent.participation, 1e-9)) / 3.0
    return at + 15


@inlined
def _timing_columns(parent: Any, episode: Any, spread: float, rules: Any, out: Any, at: int) -> int:
    sigma = math.sqrt(max(episode.variance_slow, 1e-12))
    volume = max(episode.volume_mean, 1.0)
    out[at] = math.sqrt(episode.variance_fast) / sigma
    out[at + 1] = spread / max(episode.spread_mean, 1e-9)
    out[at + 2] = parent.side * (episode.flow_fast - episode.flow_slow) / volume
    out[at + 3] = parent.side * (episode.imbalance - episode.imbalance_last)
    out[at + 4] = parent.side * (episode.last_mid - episode.mid_mean) / sigma
    out[at + 5] = parent.last_delay / rules.max_delay if rules.max_delay > 0.0 else 0.0
    out[at + 6] = parent.last_urgency
    out[at + 7] = parent.urgency_correction
    return at + 8


@inlined
def _sourcing_columns(
    parent: Any, episode: Any, depth: Any, bids: Half, asks: Half, out: Any, at: int
) -> int:
    own, opposite = (BID, ASK) if parent.side > 0 else (ASK, BID)
    own_price, opposite_price, offered = bids.price, asks.price, max(asks.one, 1)
    if parent.side < 0:
        own_price, opposite_price, offered = asks.price, bids.price, max(bids.one, 1)
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
        # Most venues are not at the best: log(1 + 0) is 0.
        out[at + VENUE_COUNT + venue] = _log_size(queue, episode) if queue > 0.0 else 0.0
    at += 2 * VENUE_COUNT
    out[at] = opposite_count / VENUE_COUNT
    out[at + 1] = own_count / VENUE_COUNT
    return at + 2


@inlined
def _fragmentation_columns(parent: Any, opposite: Half, rules: Any, out: Any, at: int) -> int:
    slice_ = parent.remaining / max(parent.horizon - parent.step, 1)
    best = max(opposite.one, 1)
    five = max(opposite.five, 1)
    filled = parent.filled_passive + parent.filled_aggressive
    out[at] = parent.resting_orders / rules.max_resting
    out[at + 1] = math.log1p(slice_ / best) / _SIZE_SCALE
    out[at + 2] = parent.last_children / rules.max_children
    out[at + 3] = parent.filled_passive / filled if filled > 0 else 0.0
    out[at + 4] = parent.carry
    out[at + 5] = math.log1p(parent.remaining / five) / _SIZE_SCALE
    return at + 6


@inlined
def _risk_columns(
    parent: Any,
    episode: Any,
    rules: Any,
    var: float,
    crossing: float,
    to_bp: float,
    out: Any,
    at: int,
) -> int:
    share = parent.remaining / parent.quantity
    out[at] = float(parent.reduces_risk)
    out[at + 1] = parent.worst_shortfall / _TEN_BP
    out[at + 2] = (parent.worst_shortfall - parent.shortfall) / _TEN_BP
    out[at + 3] = _log_volatility(episode.variance_slow, to_bp)
    out[at + 4] = crossing / _TEN_BP / max(share, 1e-9)
    out[at + 5] = rules.risk_aversion * episode.variance_slow * (to_bp * share) ** 2
    out[at + 6] = 1.0 - var
    out[at + 7] = 1.0 if parent.last_decision > 0.0 else 0.0
    return at + 8


@inlined
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
) -> None:
    now = min(parent.step, parent.horizon)
    left = parent.horizon - now
    next_ = path[min(now + 1, parent.horizon)]
    scale = parent.side * to_bp / _TEN_BP
    open_scale = scale * parent.remaining / parent.quantity
    gap = path[now] + episode.impact - episode.last_mid
    out[at] = scale * gap
    out[at + 1] = math.log1p(episode.sigma * to_bp) / _VOLATILITY_SCALE
    out[at + 2] = scale * (next_ - path[now])
    out[at + 3] = scale * (path[parent.horizon] - path[now])
    out[at + 4] = open_scale * gap
    at += 5
    # Means of the path over the next marks (fewer at the horizon) less its value now; each
    # continues the sum of the one before it.
    total, taken = 0.0, 0
    for index in range(len(AHEAD) + 1):
        until = min(AHEAD[index], left) if index < len(AHEAD) else left
        while taken < until:
            taken += 1
            total += path[now + taken] - path[now]
        out[at + index] = open_scale * (total / max(taken, 1))


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
    bids, asks = _half(depth, BID), _half(depth, ASK)
    spread = _spread(bids.price, asks.price)
    var = var_use(parent, episode, rules)
    crossing = _crossing_bp(parent, episode, spread, rules, to_bp)
    at = _market_columns(parent, episode, depth, bids, asks, to_bp, out, _CONTEXT_WIDTH)
    at = _execution_columns(parent, episode, rules, var, crossing, to_bp, out, at)
    at = _timing_columns(parent, episode, spread, rules, out, at)
    at = _sourcing_columns(parent, episode, depth, bids, asks, out, at)
    at = _fragmentation_columns(parent, asks if parent.side > 0 else bids, rules, out, at)
    at = _risk_columns(parent, episode, rules, var, crossing, to_bp, out, at)
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
