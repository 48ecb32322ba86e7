"""Closed forms that the solver and the study are checked against, and rules made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.analytic import AlmgrenChrissLaw, RegimeLaw

Floats = NDArray[np.float64]


def almgren_chriss_holdings(law: AlmgrenChrissLaw, bars: int) -> Floats:
    """Shares held at the begin and after each trade [bars + 1] (Almgren and Chriss, eq. 17)."""
    tau = law.days / bars
    eta = law.temporary - law.permanent * tau / 2.0
    left = law.days - tau * np.arange(bars + 1)
    kappa = math.acosh(1.0 + law.risk_aversion * law.volatility**2 * tau**2 / (2.0 * eta)) / tau
    share = left / law.days
    if kappa > 0.0:
        share = np.sinh(kappa * left) / math.sinh(kappa * law.days)
    return np.asarray(law.shares * share, np.float64)


def almgren_chriss_cost(law: AlmgrenChrissLaw, holdings: Floats) -> float:
    """Expected cost plus risk_aversion x variance of a schedule, dollars (eqs. 4, 5, 8)."""
    tau = law.days / (len(holdings) - 1)
    traded = -np.diff(holdings)
    expected = (
        tau * law.permanent * float(holdings[1:] @ (traded / tau))
        + law.half_spread * float(np.abs(traded).sum())
        + law.temporary / tau * float(traded @ traded)
    )
    variance = law.volatility**2 * tau * float(holdings[1:] @ holdings[1:])
    return expected + law.risk_aversion * variance


@dataclass(frozen=True)
class Quadratic:
    """V(x, f) = -a x^2/2 + b x f + c f^2/2 + d, of a position x and a foreseen return f."""

    a: float
    b: float
    c: float
    d: float

    def __call__(self, x: Floats, f: Floats) -> Floats:
        return -0.5 * self.a * x * x + self.b * x * f + 0.5 * self.c * f * f + self.d

    def before(self, phi: float, cost: float, variance: float) -> Quadratic:
        """A bar earlier, under x' f - x'^2/2 - cost (x' - x)^2/2 and f' = phi f + noise."""
        pull = 1.0 + self.b * phi
        weight = 1.0 + self.a + cost
        return Quadratic(
            a=cost - cost * cost / weight,
            b=cost * pull / weight,
            c=pull * pull / weight + self.c * phi * phi,
            d=self.d + 0.5 * self.c * variance,
        )


def tracking_value(phi: float, cost: float, variance: float, bars: int) -> Quadratic:
    """The value of `bars` bars of which the last goes flat; `variance` of the noise of f."""
    found = Quadratic(cost, 0.0, 0.0, 0.0)
    for _ in range(bars - 1):
        found = found.before(phi, cost, variance)
    return found


@dataclass(frozen=True)
class TrackingRates:
    """Utility a bar in the long run, f of variance 1: of the best policy; of the one that weighs
    the next trade's cost alone; of the one that holds f."""

    best: float
    myopic: float
    blind: float


def tracking_rates(phi: float, cost: float) -> TrackingRates:
    """Of AR(1) with quadratic cost, without limits."""
    noise = 1.0 - phi * phi
    long_ago, bars = tracking_value(phi, cost, noise, 5000), 5000
    best = long_ago.before(phi, cost, noise).d - long_ago.d
    if not math.isclose(best, 0.5 * long_ago.c * noise, rel_tol=1e-9):
        raise ArithmeticError(f"phi {phi}: the recursion has not settled in {bars} bars")
    keep, take = cost / (1.0 + cost), 1.0 / (1.0 + cost)
    cross = take / (1.0 - keep * phi)
    square = (take * take + 2.0 * take * keep * phi * cross) / (1.0 - keep * keep)
    moved = take * take * (1.0 - 2.0 * phi * cross + square)
    myopic = cross - 0.5 * square - 0.5 * cost * moved
    return TrackingRates(best, myopic, 0.5 - cost * (1.0 - phi))


def kelly_growth(law: RegimeLaw, exposure: float, calm: float) -> float:
    """Growth a year, in continuous time, of a constant exposure while `calm` of time is calm."""
    drift = calm * law.calm.drift + (1.0 - calm) * law.wild.drift
    variance = calm * law.calm.volatility**2 + (1.0 - calm) * law.wild.volatility**2
    return exposure * drift - 0.5 * exposure * exposure * variance


def kelly_exposure(law: RegimeLaw, calm: Floats) -> Floats:
    """The exposure of the greatest growth, within leverage, by the probability of calm."""
    drift = calm * law.calm.drift + (1.0 - calm) * law.wild.drift
    variance = calm * law.calm.volatility**2 + (1.0 - calm) * law.wild.volatility**2
    return np.clip(drift / variance, -law.leverage, law.leverage)
