"""Which order follows from a collapsed decision: urgency, kind, size, or none (SPEC section 6)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from configs.orders import OrdersConfig
from market.kernels import inlined, kernel
from market.orders.kelly import (
    impact_coefficient,
    kelly_holding,
    participation_room,
    risk_coefficient,
)
from market.orders.layout import (
    BUY,
    GTD,
    ICEBERG,
    KINDS,
    LIMIT,
    LIVES,
    MARKET,
    NEEDS_STOP,
    SELL,
    STOP,
    STOP_LIMIT,
    TWAP,
    VWAP,
    WORKED_KINDS,
)
from market.state import SMART

ACTIONS = 3  # K: SELL, HOLD, BUY, in the order of `signals.superposition.DIRECTIONS`
SELL_ACTION, HOLD_ACTION, BUY_ACTION = range(ACTIONS)
BP = 1e4
BY_URGENCY = -1  # as the kind that is asked for: let the urgency choose


class NoOrder(NamedTuple):
    """Why no order follows, or that one does."""

    name: str
    says: str


OUTCOMES = (
    NoOrder("ORDERED", "an order follows"),
    NoOrder("HOLD", "the decision is to hold"),
    NoOrder("UNSURE", "confidence is too little above chance"),
    NoOrder("TOO_SMALL", "the change of holding is too small, or less than one unit"),
    NoOrder("OTHER_WAY", "the best holding lies the other way than the decision"),
    NoOrder("BAD_DATA", "what the decision rests on is no usable number"),
    NoOrder("NO_PRICE", "the kind needs a price, and the book shows none"),
)
ORDERED, HOLDING, UNSURE, TOO_SMALL, OTHER_WAY, BAD_DATA, NO_PRICE = range(len(OUTCOMES))
OUTCOME_NAMES = tuple(outcome.name for outcome in OUTCOMES)

# What a collapsed decision rests on.
SITUATION = np.dtype(
    [
        ("time", np.float64),  # seconds of the bar clock
        ("action", np.int64),  # collapsed: SELL, HOLD, BUY
        ("confidence", np.float64),  # largest probability of the three
        ("entanglement", np.float64),  # of strategic and tactical, 0 where not used
        ("mu", np.float64),  # expected return over the holding horizon
        ("sigma", np.float64),  # its deviation
        ("annual_volatility", np.float64),
        ("bid", np.float64),  # consolidated, currency; 0 where none
        ("ask", np.float64),
        ("price", np.float64),  # the mark, currency
        ("unit_value", np.float64),  # of a unit at a price of 1
        ("equity", np.float64),
        ("held", np.int64),  # units, short below 0
        ("volume", np.float64),  # units that the market trades within the horizon
        ("instrument", np.int64),
        # What somebody asks for besides: a kind (or BY_URGENCY), its life (or -1), its prices.
        ("kind", np.int64),
        ("life", np.int64),
        ("stop_price", np.float64),
        ("expires", np.float64),
    ]
)

RULES = np.dtype(
    [
        ("risk", np.float64),
        ("cap", np.float64),
        ("impact", np.float64),
        ("participation", np.float64),
        ("least_size", np.float64),
        ("displayed", np.float64),
        *((name, np.float64) for name in type(OrdersConfig().urgency).model_fields),
        ("lives", np.int64, len(KINDS)),
    ]
)

PLAN = np.dtype(
    [
        ("outcome", np.int64),
        ("urgency", np.float64),
        ("target", np.float64),  # f, share of equity
        ("change", np.float64),  # f - f0
    ]
)


def order_rules(config: OrdersConfig) -> Any:
    """RULES [1] of a configuration."""
    out = np.zeros(1, RULES)
    sizing, urgency = config.sizing, config.urgency
    out["risk"] = risk_coefficient(sizing.fraction)
    out["displayed"] = config.displayed
    for name in ("cap", "impact", "participation", "least_size"):
        out[name] = getattr(sizing, name)
    for name in type(urgency).model_fields:
        out[name] = getattr(urgency, name)
    for kind, (name, *_) in enumerate(KINDS):
        said = "stop" if NEEDS_STOP[kind] else "worked" if WORKED_KINDS[kind] else name.lower()
        out["lives"][0, kind] = LIVES.index(getattr(config.lives, said))
    return out


@inlined
def above_chance(confidence: float, actions: int) -> float:
    """c' = (K conf - 1) / (K - 1): 0 of the uniform distribution, 1 of a certain action."""
    return (actions * confidence - 1.0) / (actions - 1.0)


@inlined
def volatility_factor(annual: float, rules: Any) -> float:
    """Of the volatility of a year."""
    if annual > rules.volatility_high:
        return rules.factor_volatility_high
    if annual > rules.volatility_raised:
        return rules.factor_volatility_raised
    return rules.factor_volatility_low if annual < rules.volatility_low else 1.0


@inlined
def spread_factor(spread_bp: float, rules: Any) -> float:
    """Of the quoted spread, basis points of the mid."""
    if spread_bp > rules.spread_wide:
        return rules.factor_spread_wide
    return rules.factor_spread_raised if spread_bp > rules.spread_raised else 1.0


@inlined
def entanglement_factor(entanglement: float, rules: Any) -> float:
    """Of the entanglement of strategic and tactical."""
    if entanglement > rules.entangled:
        return rules.factor_entangled
    return rules.factor_entangled_some if entanglement > rules.entangled_some else 1.0


@inlined
def urgency_of(
    sure: float, annual: float, spread_bp: float, entanglement: float, rules: Any
) -> float:
    """(base + slope c') x volatility x spread x entanglement; may pass 1."""
    urgency = rules.base + rules.slope * sure
    urgency *= volatility_factor(annual, rules) * spread_factor(spread_bp, rules)
    return urgency * entanglement_factor(entanglement, rules)


@inlined
def kind_of(urgency: float, rules: Any) -> int:
    """MARKET, LIMIT, TWAP or VWAP by urgency."""
    if urgency > rules.market_above:
        return MARKET
    if urgency > rules.limit_above:
        return LIMIT
    return TWAP if urgency > rules.twap_above else VWAP


@kernel
def urgency_one(
    sure: float, annual: float, spread_bp: float, entanglement: float, rules: Any
) -> tuple[float, int]:
    """(`urgency_of`, `kind_of` it), by RULES [1]."""
    urgency = urgency_of(sure, annual, spread_bp, entanglement, rules[0])
    return urgency, kind_of(urgency, rules[0])


@inlined
def _unusable(situation: Any) -> bool:
    """Whether a number that everything rests on is none."""
    good = 0.0 < situation.price < math.inf and 0.0 < situation.unit_value < math.inf
    good = good and 0.0 < situation.equity < math.inf and 0.0 < situation.volume < math.inf
    good = good and 0.0 <= situation.sigma < math.inf and math.isfinite(situation.mu)
    good = good and 0.0 <= situation.confidence <= 1.0 and 0.0 <= situation.entanglement <= 1.0
    good = good and 0.0 <= situation.annual_volatility < math.inf
    good = good and 0.0 <= situation.bid < math.inf and 0.0 <= situation.ask < math.inf
    good = (good and situation.bid <= situation.ask) or (good and situation.ask == 0.0)
    return not (good and 0 <= situation.action < ACTIONS and math.isfinite(situation.time))


@inlined
def _size(situation: Any, rules: Any, plan: Any) -> None:
    """The holding to go to, and by how much it changes; shares of equity."""
    unit = situation.price * situation.unit_value
    held = situation.held * unit / situation.equity
    impact = impact_coefficient(
        rules.impact, situation.sigma, situation.equity, unit, situation.volume
    )
    room = participation_room(rules.participation, situation.volume, situation.equity, unit)
    variance = situation.sigma * situation.sigma
    plan.target = kelly_holding(situation.mu, variance, held, rules.risk, impact, rules.cap, room)
    plan.change = plan.target - held


@inlined
def _spread_bp(situation: Any) -> float:
    """Of the quotes; 0 where a side shows none."""
    if not situation.bid > 0.0 or not situation.ask > 0.0:
        return 0.0
    return (situation.ask - situation.bid) / (0.5 * (situation.ask + situation.bid)) * BP


@inlined
def _write_order(situation: Any, rules: Any, side: int, units: float, order: Any) -> int:
    """The order of `order.kind`; ORDERED, or why it cannot be."""
    order.time, order.instrument = situation.time, situation.instrument
    order.side, order.quantity, order.venue = side, units, SMART
    order.life = rules.lives[order.kind] if situation.life < 0 else situation.life
    order.expires = situation.expires if order.life == GTD else 0.0
    order.price, order.stop_price, order.displayed = 0.0, 0.0, 0.0
    if order.kind == STOP or order.kind == STOP_LIMIT:
        order.stop_price = situation.stop_price
    if order.kind == LIMIT or order.kind == ICEBERG:
        # Joins the own side's best quote.
        order.price = situation.bid if side == BUY else situation.ask
        if not order.price > 0.0:
            return NO_PRICE
    if order.kind == STOP_LIMIT:
        order.price = order.stop_price
    if order.kind == ICEBERG:
        order.displayed = max(math.ceil(units * rules.displayed), 1.0)
    return ORDERED


@inlined
def plan_order(situation: Any, rules: Any, plan: Any, order: Any) -> None:
    """What order follows from a collapsed decision.

    Args:
        situation: a SITUATION record.
        rules: a RULES record.
        plan: a PLAN record, written whole.
        order: an ORDER record, written where the outcome is ORDERED.
    """
    plan.urgency, plan.target, plan.change = 0.0, 0.0, 0.0
    if _unusable(situation) or not BY_URGENCY <= situation.kind < len(KINDS):
        plan.outcome = BAD_DATA
        return
    if situation.action == HOLD_ACTION:
        plan.outcome = HOLDING
        return
    sure = above_chance(situation.confidence, ACTIONS)
    if sure < rules.least_confidence:
        plan.outcome = UNSURE
        return
    _size(situation, rules, plan)
    plan.urgency = urgency_of(
        sure, situation.annual_volatility, _spread_bp(situation), situation.entanglement, rules
    )
    side = BUY if situation.action == BUY_ACTION else SELL
    unit = situation.price * situation.unit_value
    units = float(np.floor(abs(plan.change) * situation.equity / unit))
    if abs(plan.change) < rules.least_size or units < 1.0:
        plan.outcome = TOO_SMALL
        return
    if side * plan.change < 0.0:
        plan.outcome = OTHER_WAY
        return
    order.kind = kind_of(plan.urgency, rules) if situation.kind < 0 else situation.kind
    plan.outcome = _write_order(situation, rules, side, units, order)


@kernel
def plan_one(situations: Any, rules: Any, plans: Any, orders: Any) -> int:
    """`plan_order` on records [1]; the outcome."""
    plan_order(situations[0], rules[0], plans[0], orders[0])
    return plans[0].outcome
