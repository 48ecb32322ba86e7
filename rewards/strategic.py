"""The strategic layer's reward terms: pure functions of before, action and after.

Every term is in bp of the equity that the episode began with, the differential Sharpe ratio
by its scale; the reward is their sum by weights (`weights_of`, `rewards.composition`). None
knows which action was chosen, what it says of itself or how long anything took: what is paid
for is what the account did.

A halted account liquidates and stays flat to the horizon, so that an episode is as long as
any other. Flat, it earns 0 by every term but the differential Sharpe ratio, which would pay a
losing account for standing still; that one pays a halted account nothing, or less (see
`sharpe_term`). Halting thus never pays more than being flat by choice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.rewards import STRATEGIC_PROFILES, StrategicRewardConfig
from market.kernels import inlined

TERMS = ("equity", "drawdown", "turnover", "sharpe", "reversion")
_TO_BP = 1e4


def weights_of(config: StrategicRewardConfig) -> NDArray[np.float64]:
    """Weights in the order of `TERMS`: the profile's, but for those given by name."""
    profile = STRATEGIC_PROFILES[config.profile]
    told = {term: getattr(config, term) for term in TERMS}
    return np.array([profile[term] if told[term] is None else told[term] for term in TERMS])


@inlined
def equity_term(before: float, after: float, base: float) -> float:
    """Change of equity over the bar after all costs, bp of `base`.

    Its sum over an episode is the episode's whole result.

    Args:
        before, after: equity, currency, marked at the reference and net of costs.
        base: equity at the start of the episode, currency.
    """
    return _TO_BP * (after - before) / base


@inlined
def drawdown_bp(peak: float, equity: float) -> float:
    """How far equity lies below its peak so far, bp of the peak; 0 at the peak."""
    return _TO_BP * max(peak - equity, 0.0) / peak


@inlined
def drawdown_term(before_bp: float, after_bp: float) -> float:
    """Minus the increment of the maximum drawdown: 0 or below, bp.

    Args:
        before_bp, after_bp: the largest `drawdown_bp` of the episode up to either end of the
            bar; it never falls, so that recovering is paid by the equity alone.
    """
    return before_bp - after_bp


@inlined
def turnover_term(traded: float, base: float, scale_bp: float) -> float:
    """Minus the turnover: 0 or below, bp.

    Args:
        traded: value of what was traded in the bar, both sides, currency, 0 or above.
        base: equity at the start of the episode, currency.
        scale_bp: what turning `base` over once counts, on top of what it costs.
    """
    return -scale_bp * traded / base


@inlined
def sharpe_step(value: float, observed: float, eta: float) -> float:
    """The moving average `value` one bar on: A by the bar's return R, B by its square.

    Both begin at 0 and are columns of the observation: without them what the differential
    Sharpe ratio pays could not be known from the state.

    Args:
        observed: R for A, in bp; R^2 for B, in bp^2.
        eta: rate of the average, 1/bars.
    """
    return value + eta * (observed - value)


@inlined
def sharpe_term(
    mean: float,
    square: float,
    change: float,
    bars: int,
    eta: float,
    floor: float,
    scale_bp: float,
    halted: bool,
) -> float:
    """Differential Sharpe ratio D of one bar, times `scale_bp` (Moody and Saffell, 2001).

    D = (B dA - A dB / 2) / max(B - A^2, floor)^{3/2}, dA = R - A, dB = R^2 - B: the
    derivative by eta of the Sharpe ratio of a moving average, "Learning to trade via direct
    reinforcement", IEEE Transactions on Neural Networks 12, equation 19. Zero for the first
    1 / eta bars, while the averages are mostly their starting value.

    An account that lost (A < 0) has D > 0 where it stands still, R = 0. A halted one is
    paid D where it is negative and else nothing, so that it has no more than a flat one.

    Args:
        mean, square: A and B before the bar, bp and bp^2.
        change: R, the bar's `equity_term`, bp.
        bars: bars of the episode before this one.
        eta: see `sharpe_step`.
        floor: of the variance, bp^2: a nearly flat account has no ratio to speak of.
        scale_bp: what D = 1 counts.
        halted: whether the account stood halted when the bar began.
    """
    if bars * eta < 1.0:
        return 0.0
    numerator = square * (change - mean) - 0.5 * mean * (change * change - square)
    value: float = scale_bp * numerator / max(square - mean * mean, floor) ** 1.5
    return min(value, 0.0) if halted else value


@inlined
def reversion_term(held: float, deviation: float, full: float, move_bp: float) -> float:
    """What the part of the position that leans against the price's deviation earned, bp.

    For the contrarian profile. It counts P&L alone: a stance against the deviation is
    rewarded where the price comes back and punished where it runs on; a position along with
    the deviation has no part in it, however well it does. Before costs, which are the
    equity's.

    Args:
        held: value held over the bar over the equity that the episode began with, signed.
        deviation: of the price from its mean at the decision, in its own sigmas; must be
            known before the bar.
        full: deviation from which on the whole position counts, above 0.
        move_bp: of the price over the bar, bp.
    """
    leaning = -deviation / full if held > 0.0 else deviation / full
    return held * move_bp * min(max(leaning, 0.0), 1.0)
