"""The execution layer's columns, agents and action components.

The tables below are the only place where a column's order is written: the kernel
(`signals.execution_rows`) writes in their order, sizes and indices derive from them,
and so does the digest by which the cascade refuses an artefact of other columns.
Directional columns are signed by the parent's side: positive favours, or is on the
side of, the parent.
"""

from __future__ import annotations

from configs.market import DEFAULT_VENUES
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
AHEAD = (1, 3, 8, 20)  # steps over which the path to come is averaged
PRIVILEGED = (
    Column("reference_gap", "10 bp, signed", -10, 10, "hidden path", privileged=True),
    Column("regime_volatility", "log(1 + bp a step) / 2", 0, 4, "hidden regime", privileged=True),
    Column("path_move_next", "10 bp, signed", -10, 10, "hidden path", privileged=True),
    Column("path_move_end", "10 bp, signed", -10, 10, "hidden path", privileged=True),
    Column("open_gap", "10 bp of the parent", -10, 10, "hidden path", privileged=True),
    *(
        Column(f"open_move_{n}", "10 bp of the parent", -10, 10, "hidden path", privileged=True)
        for n in (*AHEAD, "all")
    ),
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

_VERSION = 1
EXECUTION = LayerLayout(
    "execution", CONTEXT + MARKET + EXECUTION_STATE, AGENTS, PRIVILEGED, _VERSION
)
