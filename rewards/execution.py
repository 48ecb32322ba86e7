"""Execution's reward terms: pure functions of before, action and after.

Every term is in bp of the parent order at its arrival price, but the quality
score, which is in [0, 1]. Their sum is the reward; discounting is for the trainer
(gamma 1: a discounted cost teaches delay).
"""

from __future__ import annotations

from market.kernels import inlined

TERMS = ("shortfall", "risk", "quality")


@inlined
def shortfall_term(before_bp: float, after_bp: float) -> float:
    """Minus the change in shortfall against arrival, marked to mid (Perold, 1988)."""
    return before_bp - after_bp


@inlined
def risk_term(risk_aversion: float, sigma_bp: float, open_share: float) -> float:
    """Minus lambda sigma^2 x^2 over one step (Almgren and Chriss, 2000).

    Args:
        risk_aversion: lambda, 1/bp.
        sigma_bp: deviation of the price over the step, bp.
        open_share: x, the share of the parent that is still open after the step.
    """
    return -risk_aversion * sigma_bp * sigma_bp * open_share * open_share


@inlined
def quality_term(score: float, steps: int) -> float:
    """The documents' quality score of a step, as a share of the episode."""
    return score / steps
