"""Accounts and orders for tests of the risk rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from configs.risk import RiskConfig
from market.orders.layout import KINDS, LIMIT, LIVES, ORDER
from market.risk.gate import RiskGate
from market.risk.layout import VERDICT

PRICE, CASH, VOLUME = 100.0, 1e6, 1e7
# A day's deviation of 1%: a full position has VaR95 of 1.645% and VaR99 of 2.326%.
DEVIATION = 0.01


def config(**limits: Any) -> RiskConfig:
    """Limits that leave value at risk to bind, unless told otherwise."""
    wide = dict.fromkeys(("position_share", "gross_share", "order_share", "worked_share"), 20.0)
    wide["participation"] = 1.0
    return RiskConfig.model_validate({"limits": wide | limits})


def gate(told: RiskConfig | None = None, position: int = 0, deviation: float = DEVIATION) -> Any:
    """A gate over one instrument at `PRICE`, holding `position` units."""
    made = RiskGate(told or config(), CASH)
    made.begin_bar([VOLUME])
    made.account["covariance"][0, 0, 0] = deviation**2
    made.account["position"][0, 0] = position
    made.account["cash"] = CASH - position * PRICE
    made.mark(0.0, np.array([PRICE]))
    return made


def order(side: int = 1, quantity: float = 100.0, **fields: Any) -> Any:
    """ORDER [1]: a limit order at the mark unless told otherwise."""
    out = np.zeros(1, ORDER)
    out["kind"], out["price"] = LIMIT, PRICE
    out["side"], out["quantity"] = side, quantity
    for name, value in fields.items():
        out[name] = value
    return out


def judged(made: Any, asked: Any) -> Any:
    """The verdict on ORDER [1]; nothing is booked."""
    verdict = np.zeros(1, VERDICT)
    made.judge(asked, verdict)
    return verdict[0]


def sent(made: Any, asked: Any) -> Any:
    """The verdict on ORDER [1], booked."""
    made.orders[:1] = asked
    made.send(1)
    return made.verdicts[0].copy()


KIND_COUNT, LIFE_COUNT = len(KINDS), len(LIVES)
