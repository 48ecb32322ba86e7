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
from configs.market import VENUE_COUNT, MarketConfig
from market import book as lob
from market.book import BookArrays

EPISODE = np.dtype(
    [
        ("seed", np.uint64),
        ("episode", np.int64),
        ("flow_key", np.uint64),
        ("cluster", np.int64),  # equal where paths share a day of bars, or the path itself
        ("arrival_key", np.uint64),
        ("latency_key", np.uint64),
        ("arrivals", np.int64),  # background messages drawn so far
        ("candidates", np.int64),  # arrival times drawn, by the thinning of the Hawkes process
        ("clock", np.float64),
        ("next_arrival", np.float64),
        ("intensity", np.float64),  # messages a second, right after the latest arrival
        ("next_leg", np.float64),  # when the baseline of arrivals changes next
        ("baseline", np.float64),  # messages a second, without excitation
        ("next_pending", np.float64),
        ("pending_count", np.int64),
        ("pending_sent", np.int64),  # messages put in flight so far
        ("next_arbitrage", np.float64),
        ("next_knot", np.float64),  # when the reference moves next
        ("reference", np.float64),  # the path now, own impact left out, ladder ticks
        ("rate", np.float64),  # usual background messages a second
        ("step_volume", np.float64),  # expected market volume of one step
        ("base", np.float64),
        ("sigma", np.float64),  # of the reference, ticks a step; hidden from actors
        ("lowest", np.float64),  # the reference stays within, ladder ticks
        ("highest", np.float64),
        ("impact", np.float64),  # ticks added to the reference by own fills
        ("impact_scale", np.float64),  # ticks per root of a unit
        ("impact_time", np.float64),  # to which the imbalances have decayed
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
KIND, TO_VENUE, LIMIT_PRICE, SIZE, OWNED_INDEX, DECISION_TWICE_MID, SENT = range(7)
PENDING_FIELDS = 7
AGGRESSIVE, PASSIVE, CANCEL = 1, 2, 3
SMART = VENUE_COUNT  # as a venue: the router over all books

# Fields of a background metaorder (int32).
ORDERS_LEFT, SIGN = range(2)
METAORDER_FIELDS = 2

# Owners of resting background orders; own ones are 1 + their index.
IMPATIENT, PATIENT = 0, -1
FIRST_OWN = 1
# Owners of takers on the tape: background flow is 0.
OWN_TAKER, ARBITRAGEUR = -1, -2

EXCITATIONS = 4  # exponential kernels of the arrivals
IMBALANCES = 5  # decaying components of own impact
DECAY, JUMP = range(2)
WEIGHT = JUMP
LAW_FIELDS = 2

TABLE_SIZE = 1024  # entries of an inverse distribution table; a power of two
TABLE_MASK = np.uint64(TABLE_SIZE - 1)
MESSAGES_PER_STEP = 1024  # more than a step can send: numbers its latencies
LEVELS_SEEN = 5
BID, ASK = 0, 1
LEVEL_PRICE, LEVEL_QUANTITY = 0, 1

FLOW = np.dtype(
    [
        ("limit_share", np.float64),
        ("market_share", np.float64),
        ("cancel_per_order", np.float64),
        ("lean", np.float64),
        ("baseline_share", np.float64),  # of arrivals that nothing excited
        ("arrival_jump", np.float64),  # by which an arrival raises the intensity, 1/s
        ("patient_share", np.float64),
        ("patience", np.float64),
        ("local_share", np.float64),
        ("arbitrage_seconds", np.float64),
        ("metaorders", np.int64),
        ("metaorder_lean", np.float64),
        ("informed_share", np.float64),
        ("knot_seconds", np.float64),
        ("knots_per_step", np.int64),
        ("warmup_steps", np.int64),
        ("step_seconds", np.float64),
        ("ladder", np.int64),
        ("slots", np.int64),
        ("tick", np.float64),
        ("sweep_ticks", np.int64),
        ("max_resting", np.int64),
        ("max_pending", np.int64),
    ]
)

VENUES = np.dtype(
    [
        ("maker_fee", np.float64),  # ticks per unit
        ("taker_fee", np.float64),
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
    knots: NDArray[np.float64]  # [N, (warmup + horizon) * knots a step + 1], between them too
    activity: NDArray[np.float64]  # [N, horizon], of arrivals and variance, about 1
    deviation: NDArray[np.float64]  # [N, horizon], of the reference over each step, ticks
    excitation: NDArray[np.float64]  # [N, EXCITATIONS], messages a second
    metaorders: NDArray[np.int32]  # [N, at work, METAORDER_FIELDS]
    imbalances: NDArray[np.float64]  # [N, IMBALANCES], decaying signed own volume
    owned: NDArray[np.int32]  # [N, max_resting, OWNED_FIELDS]
    owned_bits: NDArray[np.uint64]  # [N, max_resting / 64], which of them rest
    pending: NDArray[np.int32]  # [N, max_pending, PENDING_FIELDS]
    pending_time: NDArray[np.float64]  # [N, max_pending]
    # [N, max_pending]: the rows in flight as a heap by arrival, then the free rows.
    pending_heap: NDArray[np.int32]
    depth: NDArray[np.int32]  # [N, VENUE_COUNT, 2, LEVELS_SEEN, 2], own orders taken out
    flow: NDArray[Any]  # FLOW [1]
    venues: NDArray[Any]  # VENUES [VENUE_COUNT]
    offsets: NDArray[np.int32]  # [2, TABLE_SIZE], of impatient and of patient orders
    sizes: NDArray[np.int32]  # [TABLE_SIZE]
    lengths: NDArray[np.int32]  # [TABLE_SIZE], market orders of a metaorder
    exponentials: NDArray[np.float64]  # [TABLE_SIZE + 1]
    chosen_venue: NDArray[np.int32]  # [TABLE_SIZE]
    latencies: NDArray[np.float64]  # [VENUE_COUNT + 1, TABLE_SIZE], seconds; the router's last
    excitation_law: NDArray[np.float64]  # [EXCITATIONS, 2]: decay 1/s, rising; jump 1/s
    impact_law: NDArray[np.float64]  # [IMBALANCES, 2]: decay 1/s, weight


# What `state_dict` carries; the rest follows from the configuration.
STATE_FIELDS = (
    "tape", "tape_count", "episodes", "parents", "path", "knots", "activity", "deviation",
    "excitation", "metaorders", "imbalances", "owned", "owned_bits", "pending", "pending_time",
    "pending_heap", "depth",
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


def length_table(exponent: float, longest: int) -> NDArray[np.int32]:
    """Inverse distribution of a metaorder's number of orders: P(n > x) ~ x^-exponent, n >= 1."""
    u = (np.arange(TABLE_SIZE) + 0.5) / TABLE_SIZE
    return np.minimum(np.floor(u ** (-1.0 / exponent)), longest).astype(np.int32)


def exponential_table() -> NDArray[np.float64]:
    """-log at the nodes k / TABLE_SIZE, k = 0 .. TABLE_SIZE; the pole at 0 is left at 0."""
    nodes = np.maximum(np.arange(TABLE_SIZE + 1), 1) / TABLE_SIZE
    nodes[0] = 1.0
    return np.asarray(-np.log(nodes))


def venue_table(weights: NDArray[np.float64]) -> NDArray[np.int32]:
    """Inverse distribution of the venue that a limit order goes to."""
    u = (np.arange(TABLE_SIZE) + 0.5) / TABLE_SIZE
    return np.searchsorted(np.cumsum(weights) / weights.sum(), u).astype(np.int32)


def latency_table(market: MarketConfig) -> NDArray[np.float64]:
    """Inverse distribution of the seconds to each venue (log-normal), and by the router.

    The router sends so that all venues are reached together, with the slowest.
    """
    normal = NormalDist()
    u = (np.arange(TABLE_SIZE) + 0.5) / TABLE_SIZE
    z = np.array([normal.inv_cdf(float(x)) for x in u])
    slowest = max(market.venues, key=lambda venue: venue.latency_seconds)
    medians = [venue.latency_seconds for venue in market.venues]
    medians.append(market.router_latency_seconds + slowest.latency_seconds)
    spreads = [venue.latency_dispersion for venue in market.venues]
    spreads.append(slowest.latency_dispersion)
    return np.array([m * np.exp(s * z) for m, s in zip(medians, spreads, strict=True)])


def _excitation_law(config: ExecutionConfig) -> NDArray[np.float64]:
    """Decays and jumps of the arrivals' kernels, equal branching each [EXCITATIONS, 2]."""
    arrivals = config.market.flow.arrivals
    rates = np.sort(arrivals.excitation_rates)
    return np.stack([rates, rates * arrivals.branching / EXCITATIONS], axis=1)


def _flow_record(config: ExecutionConfig) -> NDArray[Any]:
    """FLOW [1]: the numbers of the configuration that kernels read."""
    flow, book = config.market.flow, config.market.book
    metaorders = flow.metaorders
    out = np.zeros(1, FLOW)
    out["limit_share"] = flow.limit_share
    out["market_share"] = flow.market_share
    out["cancel_per_order"] = flow.cancel_share / flow.resting_orders
    out["lean"] = flow.lean
    out["baseline_share"] = 1.0 - flow.arrivals.branching
    out["arrival_jump"] = sum(_excitation_law(config)[:, JUMP])
    out["patient_share"] = flow.patient_share
    out["patience"] = flow.patience
    out["local_share"] = flow.local_share
    out["arbitrage_seconds"] = flow.arbitrage_seconds
    out["metaorders"] = metaorders.at_work
    out["metaorder_lean"] = metaorders.lean
    out["informed_share"] = metaorders.informed_share
    knots = max(round(config.step_seconds / flow.knot_seconds), 1)
    out["knot_seconds"] = config.step_seconds / knots
    out["knots_per_step"] = knots
    out["warmup_steps"] = flow.warmup_steps
    out["step_seconds"] = config.step_seconds
    out["ladder"] = book.ladder_levels
    out["slots"] = book.slots
    out["tick"] = config.market.tick
    out["sweep_ticks"] = config.child.sweep_ticks
    out["max_resting"] = config.child.max_resting
    out["max_pending"] = 2 * config.child.max_resting + config.child.max_children
    return out


def allocate_market(config: ExecutionConfig, num: int) -> Market:
    """Arrays for `num` episodes under `config`, all empty."""
    flow, book = config.market.flow, config.market.book
    parameters = _flow_record(config)
    horizon = config.parent.horizon_steps
    max_resting, max_pending = int(parameters["max_resting"][0]), int(parameters["max_pending"][0])
    knots = (flow.warmup_steps + horizon) * int(parameters["knots_per_step"][0]) + 1
    # No message can trade more often than orders rest, so a ring of that size loses none.
    tape_rows = 1 << (VENUE_COUNT * book.slots - 1).bit_length()
    venues = np.zeros(VENUE_COUNT, VENUES)
    venues["maker_fee"] = [v.maker_fee / config.market.tick for v in config.market.venues]
    venues["taker_fee"] = [v.taker_fee / config.market.tick for v in config.market.venues]
    scales = (flow.placement_scale, flow.placement_scale * flow.patient_distance)
    offsets = [offset_table(flow.placement_exponent, s, flow.placement_limit) for s in scales]
    decays = 1.0 / np.array(flow.impact.seconds)
    return Market(
        books=lob.allocate(num * VENUE_COUNT, book.ladder_levels, book.slots),
        tape=np.zeros((num, tape_rows, lob.TRADE_FIELDS), np.int32),
        tape_count=np.zeros(num, np.int64),
        episodes=np.zeros(num, EPISODE),
        parents=np.zeros(num, PARENT),
        path=np.zeros((num, horizon + 1)),
        knots=np.zeros((num, knots)),
        activity=np.ones((num, horizon)),
        deviation=np.zeros((num, horizon)),
        excitation=np.zeros((num, EXCITATIONS)),
        metaorders=np.zeros((num, flow.metaorders.at_work, METAORDER_FIELDS), np.int32),
        imbalances=np.zeros((num, IMBALANCES)),
        owned=np.zeros((num, max_resting, OWNED_FIELDS), np.int32),
        owned_bits=np.zeros((num, (max_resting + 63) // 64), np.uint64),
        pending=np.zeros((num, max_pending, PENDING_FIELDS), np.int32),
        pending_time=np.zeros((num, max_pending)),
        pending_heap=np.tile(np.arange(max_pending, dtype=np.int32), (num, 1)),
        depth=np.zeros((num, VENUE_COUNT, 2, LEVELS_SEEN, 2), np.int32),
        flow=parameters,
        venues=venues,
        offsets=np.stack(offsets),
        sizes=size_table(flow.mean_size, flow.size_dispersion),
        lengths=length_table(flow.metaorders.exponent, flow.metaorders.longest),
        exponentials=exponential_table(),
        chosen_venue=venue_table(np.array([v.weight for v in config.market.venues])),
        latencies=latency_table(config.market),
        excitation_law=_excitation_law(config),
        impact_law=np.stack([decays, np.array(flow.impact.weights)], axis=1),
    )
