"""What a bar pays in an analytic market: one closed form that stands where the book does.

Positions x are shares of the limit, money is a share of a full position's value (of wealth,
under leverage). An order that moves x to x' over a bar that returns R comes to

    e = x + fill_share (x' - x)                                     exposure
    charge = half_spread |x' - x| + quadratic (x' - x)^2 + permanent x' (x - x')
    utility = e R - charge - risk e^2,   or   log(1 + leverage (e R - charge)) - risk e^2

The permanent term is what own impact takes from the value of what is still held: Almgren and
Chriss (2000), equations 3 to 8, with x' held over the bar (fill_share 1).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from configs.analytic import AlmgrenChrissLaw, AnalyticConfig, Ar1Law, IidLaw, RegimeLaw
from market.kernels import inlined

TERMS = np.dtype(
    [
        ("leverage", np.float64),  # value of a full position over wealth
        ("fill_share", np.float64),
        ("half_spread", np.float64),
        ("quadratic", np.float64),
        ("permanent", np.float64),
        ("risk", np.float64),
        ("logarithmic", np.int64),  # 1: utility is the log of wealth's growth
        ("paid", np.float64),  # 0: returns are left out of utility, being noise of mean zero
    ]
)
BP = 1e4


def terms_of(config: AnalyticConfig) -> Any:
    """TERMS [1] of a market."""
    out = np.zeros(1, TERMS)
    out["leverage"], out["fill_share"], out["paid"] = 1.0, 1.0, 1.0
    law = config.law
    if isinstance(law, Ar1Law):
        risk = ar1_risk(law)
        out["fill_share"] = law.fill_share
        out["half_spread"] = law.half_spread_bp / BP
        out["quadratic"] = 0.5 * law.cost * risk
        out["risk"] = 0.5 * risk
    elif isinstance(law, RegimeLaw):
        out["leverage"] = law.leverage
        out["fill_share"] = law.fill_share
        out["half_spread"] = law.half_spread_bp / BP
        out["logarithmic"] = 1
    elif isinstance(law, IidLaw):
        out["fill_share"] = 0.0
        out["half_spread"] = law.half_spread_bp / BP
    else:
        _almgren_chriss(law, law.days / config.horizon_bars, out)
    return out


def ar1_deviation(law: Ar1Law) -> float:
    """The stationary standard deviation of an AR(1) price, share of its anchor."""
    return law.sigma_bp / BP / math.sqrt(1.0 - law.phi * law.phi)


def ar1_risk(law: Ar1Law) -> float:
    """rho: at `full_at` standard deviations the return foreseen is rho times a full position."""
    return (1.0 - law.phi) * law.full_at * ar1_deviation(law)


def _almgren_chriss(law: AlmgrenChrissLaw, bar: float, out: Any) -> None:
    """The paper's costs of one bar of `bar` days, in shares of the position's value."""
    out["half_spread"] = law.half_spread / law.price
    out["quadratic"] = law.temporary * law.shares / (bar * law.price)
    out["permanent"] = law.permanent * law.shares / law.price
    out["risk"] = law.risk_aversion * law.volatility**2 * bar * law.shares / law.price
    out["paid"] = 0.0


@inlined
def exposure(before: float, after: float, terms: Any) -> float:
    """The position that a bar's return is earned on."""
    return before + terms.fill_share * (after - before)


@inlined
def charge(before: float, after: float, terms: Any) -> float:
    """What the venue takes for moving a position, share of a full position's value."""
    move = after - before
    spread = terms.half_spread * abs(move)
    return spread + terms.quadratic * move * move - terms.permanent * after * move


@inlined
def risk_charge(held: float, terms: Any) -> float:
    """What risk costs in utility at an exposure."""
    return terms.risk * held * held


@inlined
def bar_utility(before: float, after: float, gain: float, terms: Any) -> float:
    """The utility of a bar whose return is `gain`, see above."""
    held = exposure(before, after, terms)
    change = terms.leverage * (terms.paid * held * gain - charge(before, after, terms))
    if terms.logarithmic == 1:
        change = math.log1p(change)
    return change - risk_charge(held, terms)
