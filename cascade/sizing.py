"""How much of a target Kelly leaves, and how urgent its order is (SPEC section 6).

The layer that sets the position is asked what its score has been worth: the strategic one where
it runs, whose target the tactical one tilts; else the tactical one. Without a map of expected
returns (`signals.expected_return`) nothing bounds a target but the account and the rules: a
probability is never taken for a return.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from configs.orders import OrdersConfig
from market.orders.choice import ACTIONS, above_chance, order_rules, urgency_one
from market.orders.kelly import (
    cap_of_limit,
    impact_coefficient,
    kelly_of,
    participation_room,
    risk_coefficient,
)
from market.orders.layout import KIND_NAMES
from signals.expected_return import ReturnMap


@dataclass(frozen=True)
class Market:
    """What sizes rest on besides the account.

    Attributes:
        tick: currency.
        volume: units that the market is expected to trade within the map's horizon.
    """

    tick: float
    volume: float


@dataclass(frozen=True)
class Sized:
    """What Kelly makes of a target.

    Attributes:
        target: share of the limit, between 0 and the one that was asked for.
        told: for the log.
    """

    target: float
    told: dict[str, Any]


class Sizer:
    """Kelly with impact, and urgency, by one configuration."""

    def __init__(self, config: OrdersConfig) -> None:
        self._sizing, self._rules = config.sizing, order_rules(config)

    def sized(
        self,
        target: float,
        score: float,
        returns: ReturnMap,
        account: NDArray[Any],
        market: Market,
    ) -> Sized:
        """The part of `target` that the expected return bears, the present holding considered.

        Kelly's best holding is a bound and no wish: where it lies on the other side than the
        target, or is none, the target is flat.

        Args:
            target: share of the limit.
            score: P(BUY) - P(SELL) of the layer that sets the position.
            account: ACCOUNT [1], in ticks.
        """
        sizing, held = self._sizing, account[0]
        equity, price = float(held["equity"]) * market.tick, float(held["mark"]) * market.tick
        mean, sigma = float(returns.of(score)), returns.sigma
        holding = share = 0.0
        if equity > 0.0 and price > 0.0:
            share = int(held["position"]) * price / equity
            impact = impact_coefficient(sizing.impact, sigma, equity, price, market.volume)
            room = participation_room(sizing.participation, market.volume, equity, price)
            risk = risk_coefficient(sizing.fraction)
            holding = float(kelly_of(mean, sigma**2, share, risk, impact, sizing.cap, room))
        cap = 0.0
        if holding * target > 0.0:
            cap = float(cap_of_limit(holding, equity, price, int(held["limit"])))
        bounded = math.copysign(min(abs(target), cap), target)
        told = {
            "score": score, "mean": mean, "sigma": sigma, "held": share, "holding": holding,
            "asked": target, "target": bounded,
        }  # fmt: skip
        return Sized(bounded, told)

    def urgency(
        self, confidence: float, annual: float, spread_bp: float, entanglement: float
    ) -> dict[str, Any]:
        """How urgent an order is, and of which kind it would be without the execution layer.

        Args:
            confidence: in the direction, of the layer that ordered.
            annual: volatility of a year.
            spread_bp: as it usually is: at a bar's close there are no quotes.
        """
        sure = float(above_chance(confidence, ACTIONS))
        urgency, kind = urgency_one(sure, annual, spread_bp, entanglement, self._rules)
        return {"urgency": float(urgency), "kind": KIND_NAMES[kind]}
