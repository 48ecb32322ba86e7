"""The state of N simulated markets with one parent order each: one set of arrays.

Row n belongs to episode n. Prices are ladder ticks; `base` plus a ladder price is
the price in ticks, times `tick` the price in currency. Times are seconds of
simulated time since the parent order arrived.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.execution import ExecutionConfig
from configs.market import VENUE_COUNT
from market import book as lob
from market.book import BookArrays

EPISODE = np.dtype(
    [
        ("seed", np.uint64),
        ("episode", np.int64),
        ("flow_key", np.uint64),
        ("cluster", np.int64),  # equal where paths share a day of bars, or the path itself
        ("arrivals", np.int64),  # background messages drawn so far
        ("clock", np.float64),
        ("next_arrival", np.float64),
        ("next_pending", np.float64),
        ("pending_count", np.int64),
        ("rate", np.float64),  # background messages a second
        ("step_volume", np.float64),  # expected market volume of one step
        ("base", np.float64),
        ("sigma", np.float64),  # of the reference, ticks a step; hidden from actors
        ("impact", np.float64),  # ticks added to the reference by own fills
        ("impact_per_unit", np.float64),
        ("buy_volume", np.float64),  # background taker volume of the current step
        ("sell_volume", np.float64),
        # What a trader can keep of the past, as exponential averages over steps.
        ("last_mid", np.float64),
        ("variance_fast", np.float64),
        ("variance_slow", np.float64),
        ("flow_fast", np.float64),
        ("flow_slow", np.float64),
        ("volume_mean", np.float64),
        ("spread_mean", np.float64),
        ("mid_mean", np.float64),
        ("imbalance", np.float64),
        ("imbalance_last", np.float64),
    ]
)

PARENT = np.dtype(
    [
        ("side", np.int64),
        ("quantity", np.int64),
        ("remaining", np.int64),
        ("horizon", np.int64),  # steps
        ("step", np.int64),  # steps taken
        ("reduces_risk", np.int64),
        ("participation", np.float64),
        ("arrival", np.float64),  # consolidated mid, ladder ticks
        ("cost", np.float64),  # sum of side (price - arrival) quantity + fees, ticks x units
        ("fees", np.float64),
        ("slippage", np.float64),  # sum of side (price - mid at decision) quantity
        ("filled_passive", np.int64),
        ("filled_aggressive", np.int64),
        ("forced", np.int64),  # quantity crossed at the horizon or on a stop
        ("abandoned", np.int64),
        ("resting", np.int64),
        ("in_flight", np.int64),
        ("shortfall", np.float64),  # bp of the parent at arrival, marked to mid
        ("carry", np.float64),  # the part of a unit that the schedule asked for and lots withheld
        ("worst_shortfall", np.float64),
        ("peak_var", np.float64),
        ("done", np.int64),
        ("stopped", np.int64),
        # Of the own resting orders, at the end of the last step.
        ("queue_ahead", np.int64),  # before the own order that is next to fill
        ("queue_own", np.int64),  # its quantity
        ("resting_orders", np.int64),
        ("resting_at_best", np.int64),  # quantity
        ("stalest_ticks", np.float64),  # furthest behind the own side's best
        ("oldest_steps", np.int64),
        # Of the last step.
        ("last_filled", np.int64),
        ("last_filled_passive", np.int64),
        ("last_slippage", np.float64),  # ticks x units
        ("last_asked", np.int64),
        ("last_children", np.int64),
        ("last_cancelled", np.int64),
        ("last_rejected", np.int64),
        ("last_delay", np.float64),
        ("last_urgency", np.float64),
        ("last_decision", np.float64),
        ("urgency_correction", np.float64),
        ("predicted_quality", np.float64),
        ("quality", np.float64),
        ("quality_latency", np.float64),
        ("quality_fill", np.float64),
        ("quality_slippage", np.float64),
        ("quality_risk", np.float64),
        ("quality_sum", np.float64),
        ("reward_sum", np.float64),
    ]
)

# Fields of an own resting order (int32). TWICE_MID is twice the mid at its decision.
ACTIVE, VENUE, SLOT, SLOT_GENERATION, OWN_PRICE, OWN_QUANTITY, POSTED_STEP, TWICE_MID = range(8)
OWNED_FIELDS = 8

# Fields of a message in flight (int32), and its kinds.
KIND, TO_VENUE, LIMIT_PRICE, SIZE, OWNED_INDEX, DECISION_TWICE_MID = range(6)
PENDING_FIELDS = 6
AGGRESSIVE, PASSIVE, CANCEL = 1, 2, 3
SMART = VENUE_COUNT  # as a venue: the router over all books

TABLE_SIZE = 1024  # entries of an inverse distribution table; a power of two
LEVELS_SEEN = 5
BID, ASK = 0, 1
LEVEL_PRICE, LEVEL_QUANTITY = 0, 1

FLOW = np.dtype(
    [
        ("limit_share", np.float64),
        ("market_share", np.float64),
        ("cancel_per_order", np.float64),
        ("lean", np.float64),
        ("step_seconds", np.float64),
        ("ladder", np.int64),
        ("slots", np.int64),
        ("router_latency", np.float64),
        ("tick", np.float64),
        ("sweep_ticks", np.int64),
        ("max_resting", np.int64),
        ("max_pending", np.int64),
    ]
)

VENUES = np.dtype(
    [
        ("latency", np.float64),
        ("maker_fee", np.float64),  # ticks per unit
        ("taker_fee", np.float64),
        ("cumulative_weight", np.float64),
    ]
)


class Market(NamedTuple):
    """The arrays of N episodes, and the tables that all of them share."""

    books: BookArrays  # N x VENUE_COUNT books
    tape: NDArray[np.int32]  # [N, rows, TRADE_FIELDS], a ring that holds any one message's trades
    tape_count: NDArray[np.int64]  # [N]
    episodes: NDArray[Any]  # EPISODE [N]
    parents: NDArray[Any]  # PARENT [N]
    path: NDArray[np.float64]  # [N, horizon + 1], the reference at the step marks
    owned: NDArray[np.int32]  # [N, max_resting, OWNED_FIELDS]
    pending: NDArray[np.int32]  # [N, max_pending, PENDING_FIELDS]
    pending_time: NDArray[np.float64]  # [N, max_pending]
    depth: NDArray[np.int32]  # [N, VENUE_COUNT, 2, LEVELS_SEEN, 2], own orders taken out
    flow: NDArray[Any]  # FLOW [1]
    venues: NDArray[Any]  # VENUES [VENUE_COUNT]
    offsets: NDArray[np.int32]  # [TABLE_SIZE]
    sizes: NDArray[np.int32]  # [TABLE_SIZE]


# What `state_dict` carries; the rest follows from the configuration.
STATE_FIELDS = (
    "tape", "tape_count", "episodes", "parents", "path",
    "owned", "pending", "pending_time", "depth",
)  # fmt: skip


def offset_table(exponent: float, scale: float, limit: int) -> NDArray[np.int32]:
    """Inverse distribution of placement distances: 1 + scale (u^(-1/exponent) - 1), ticks."""
    u = (np.arange(TABLE_SIZE) + 0.5) / TABLE_SIZE
    distance = 1.0 + scale * (u ** (-1.0 / exponent) - 1.0)
    return np.minimum(np.floor(distance), limit).astype(np.int32)


def size_table(mean: float, dispersion: float) -> NDArray[np.int32]:
    """Inverse distribution of order sizes: log-normal of the given mean, at least 1."""
    normal = NormalDist()
    u = (np.arange(TABLE_SIZE) + 0.5) / TABLE_SIZE
    z = np.array([normal.inv_cdf(float(x)) for x in u])
    sizes = mean * np.exp(dispersion * z - 0.5 * dispersion**2)
    return np.maximum(np.rint(sizes), 1.0).astype(np.int32)


def allocate_market(config: ExecutionConfig, num: int) -> Market:
    """Arrays for `num` episodes under `config`, all empty."""
    flow, book = config.market.flow, config.market.book
    max_resting = config.child.max_resting
    max_pending = 2 * max_resting + config.child.max_children
    # No message can trade more often than orders rest, so a ring of that size loses none.
    tape_rows = 1 << (VENUE_COUNT * book.slots - 1).bit_length()
    parameters = np.zeros(1, FLOW)
    parameters["limit_share"] = flow.limit_share
    parameters["market_share"] = flow.market_share
    parameters["cancel_per_order"] = flow.cancel_share / flow.resting_orders
    parameters["lean"] = flow.lean
    parameters["step_seconds"] = config.step_seconds
    parameters["ladder"] = book.ladder_levels
    parameters["slots"] = book.slots
    parameters["router_latency"] = config.market.router_latency_seconds
    parameters["tick"] = config.market.tick
    parameters["sweep_ticks"] = config.child.sweep_ticks
    parameters["max_resting"] = max_resting
    parameters["max_pending"] = max_pending
    venues = np.zeros(VENUE_COUNT, VENUES)
    weights = np.array([v.weight for v in config.market.venues])
    venues["latency"] = [v.latency_seconds for v in config.market.venues]
    venues["maker_fee"] = [v.maker_fee / config.market.tick for v in config.market.venues]
    venues["taker_fee"] = [v.taker_fee / config.market.tick for v in config.market.venues]
    venues["cumulative_weight"] = np.cumsum(weights) / weights.sum()
    return Market(
        books=lob.allocate(num * VENUE_COUNT, book.ladder_levels, book.slots),
        tape=np.zeros((num, tape_rows, lob.TRADE_FIELDS), np.int32),
        tape_count=np.zeros(num, np.int64),
        episodes=np.zeros(num, EPISODE),
        parents=np.zeros(num, PARENT),
        path=np.zeros((num, config.parent.horizon_steps + 1)),
        owned=np.zeros((num, max_resting, OWNED_FIELDS), np.int32),
        pending=np.zeros((num, max_pending, PENDING_FIELDS), np.int32),
        pending_time=np.zeros((num, max_pending)),
        depth=np.zeros((num, VENUE_COUNT, 2, LEVELS_SEEN, 2), np.int32),
        flow=parameters,
        venues=venues,
        offsets=offset_table(flow.placement_exponent, flow.placement_scale, flow.placement_limit),
        sizes=size_table(flow.mean_size, flow.size_dispersion),
    )
