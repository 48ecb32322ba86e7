"""Schedules for working a parent order."""

from __future__ import annotations

import math

from market.kernels import inlined, kernel

_LINEAR = 1e-6  # below this urgency a step the sinh schedule is the straight line


@inlined
def almgren_chriss_share(urgency: float, steps_left: int) -> float:
    """Share of the remaining quantity to trade in the next step.

    Almgren and Chriss, "Optimal execution of portfolio transactions" (2000), their
    holdings x_j = X sinh(kappa (T - t_j)) / sinh(kappa T): the share is
    1 - sinh(k (m - 1)) / sinh(k m) with k = `urgency` (kappa tau) and m =
    `steps_left`, which is TWAP's 1 / m at k = 0.
    """
    if steps_left <= 1:
        return 1.0
    if urgency < _LINEAR:
        return 1.0 / steps_left
    # sinh(k (m - 1)) / sinh(k m) written so that nothing overflows.
    kept = math.exp(-urgency) * (-math.expm1(-2.0 * urgency * (steps_left - 1)))
    return 1.0 - kept / (-math.expm1(-2.0 * urgency * steps_left))


@kernel
def almgren_chriss_urgency(risk_aversion: float, variance: float, impact: float) -> float:
    """kappa tau from cosh(kappa tau) = 1 + lambda sigma^2 tau^2 / (2 eta~).

    Args:
        risk_aversion: lambda, 1/bp.
        variance: of the price over one step, bp^2.
        impact: eta~ / tau: cost in bp of trading the whole parent in one step, > 0.
    """
    return math.acosh(1.0 + 0.5 * risk_aversion * variance / impact)
