"""How much to hold: Kelly with impact, in closed form (SPEC section 6).

Over one holding horizon, with f the holding as a share of equity and f0 the present one:

    maximise  mu f - k sigma^2 f^2 - c |f - f0|^{3/2},   |f| <= cap,  |f - f0| <= room

with k = 1 / (2 fraction), which is 1 of half Kelly, and c = Y sigma sqrt(E / (P V)): an order
of Q units moves the price by Y sigma sqrt(Q / V) (Toth et al., 2011), so a change x of the
holding, Q = |x| E / P, costs the share c |x|^{3/2} of equity.

The objective is strictly concave where sigma or c is not 0. With x = f - f0 and the gradient
g = mu - 2 k sigma^2 f0 without impact, x has the sign of g, and y = sqrt|x| solves
2 k sigma^2 y^2 + 3/2 c y = |g|. A concave function is greatest within an interval at the point
of it nearest to where it is greatest at all, hence the clipping.
"""

from __future__ import annotations

import math

from market.kernels import inlined, kernel


@inlined
def impact_coefficient(
    scale: float, sigma: float, equity: float, unit_price: float, volume: float
) -> float:
    """c = Y sigma sqrt(E / (P V)).

    Args:
        scale: Y.
        sigma: deviation of the horizon's return.
        equity: currency, above 0.
        unit_price: currency of one unit, above 0.
        volume: units that the market trades within the horizon, above 0.
    """
    return scale * sigma * math.sqrt(equity / (unit_price * volume))


@inlined
def change_of_holding(mu: float, variance: float, held: float, risk: float, impact: float) -> float:
    """The x that maximises without bounds: f - f0.

    Args:
        mu: expected return over the horizon.
        variance: sigma^2 of it.
        held: f0.
        risk: k.
        impact: c.

    Returns:
        x; infinite where a return costs neither risk nor impact.
    """
    gradient = mu - 2.0 * risk * variance * held
    if gradient == 0.0:
        return 0.0
    slope = 1.5 * impact
    # The root without cancellation: 2 |g| / (b + sqrt(b^2 + 8 k sigma^2 |g|)).
    below = slope + math.sqrt(slope * slope + 8.0 * risk * variance * abs(gradient))
    if below == 0.0:
        return math.copysign(math.inf, gradient)
    root = 2.0 * abs(gradient) / below
    return math.copysign(root * root, gradient)


@inlined
def kelly_holding(
    mu: float, variance: float, held: float, risk: float, impact: float, cap: float, room: float
) -> float:
    """The f that maximises within |f| <= cap and |f - held| <= room; the room binds last.

    What is not finite, or a variance or impact below 0, is answered by `held`: no change.
    """
    change = change_of_holding(mu, variance, held, risk, impact)
    sound = variance >= 0.0 and impact >= 0.0 and room >= 0.0
    if not sound or math.isnan(change) or not math.isfinite(mu):
        return held
    wanted = min(max(held + change, -cap), cap)
    return min(max(wanted, held - room), held + room)


@kernel
def kelly_objective(
    mu: float, variance: float, held: float, risk: float, impact: float, f: float
) -> float:
    """What `kelly_holding` maximises, at f: the growth of equity over the horizon."""
    return mu * f - risk * variance * f * f - impact * abs(f - held) ** 1.5


@kernel
def kelly_of(
    mu: float, variance: float, held: float, risk: float, impact: float, cap: float, room: float
) -> float:
    """`kelly_holding`, for callers that are not kernels."""
    return kelly_holding(mu, variance, held, risk, impact, cap, room)


@inlined
def participation_room(
    participation: float, volume: float, equity: float, unit_price: float
) -> float:
    """The largest change of holding that the horizon's volume leaves, share of equity."""
    return participation * volume * unit_price / equity


@kernel
def cap_of_limit(holding: float, equity: float, unit_price: float, limit: int) -> float:
    """A holding as a share of the position limit, 0 to 1: the `kelly_cap` of TACTICAL_RULES.

    0 of what is no number: no position is taken on it.

    Args:
        holding: f, share of equity, of either sign.
        equity, unit_price: currency, above 0.
        limit: units of a full position, above 0.
    """
    cap = abs(holding) * equity / (unit_price * limit)
    return min(cap, 1.0) if cap >= 0.0 else 0.0


def risk_coefficient(fraction: float) -> float:
    """k of a fraction of Kelly: 1 of a half."""
    return 1.0 / (2.0 * fraction)
