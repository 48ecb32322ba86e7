"""Exposures of an account as kernels compute them: shares of equity, variance, use of its limit.

With w the signed notional of each instrument over equity and C the covariance of a day's
returns (EXPOSURE records, `market.risk.layout`).
"""

from __future__ import annotations

import math
from typing import Any

from market.kernels import inlined, kernel

_LEAST_EQUITY = 1e-9  # of an account that has none: exposures stay finite and huge


@inlined
def unit_share(account: Any, instrument: int) -> float:
    """Notional of one unit over equity."""
    value = account.price[instrument] * account.unit_value[instrument]
    return value / max(account.equity, _LEAST_EQUITY)


@inlined
def marginal(account: Any, instrument: int, units: float) -> float:
    """(C w)_i of the positions, `units` of instrument i in place of its own."""
    total = 0.0
    for other in range(account.count):
        held = units if other == instrument else float(account.position[other])
        if held != 0.0:
            total += account.covariance[instrument, other] * held * unit_share(account, other)
    return total


@kernel
def variance_with(account: Any, instrument: int, units: float) -> float:
    """w' C w of the positions, `units` of one instrument in place of its own; of a day."""
    total = 0.0
    for one in range(account.count):
        held = units if one == instrument else float(account.position[one])
        if held == 0.0:
            continue
        row = 0.0
        for other in range(account.count):
            there = units if other == instrument else float(account.position[other])
            if there != 0.0:
                row += account.covariance[one, other] * there * unit_share(account, other)
        total += held * unit_share(account, one) * row
    return max(total, 0.0)


@kernel
def use_with(account: Any, limits: Any, instrument: int, units: float) -> float:
    """u = max(VaR95 / limit, VaR99 / limit), `units` of one instrument in place of its own."""
    return limits.var_scale * math.sqrt(variance_with(account, instrument, units))


@inlined
def position_limit(account: Any, limits: Any, instrument: int, allowed: float) -> float:
    """Units that may be held, long or short, where drawdown leaves `allowed` of the limit."""
    by_share = limits.position_share / unit_share(account, instrument)
    return allowed * min(limits.position_units, by_share)
