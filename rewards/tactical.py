"""The tactical layer's reward terms: pure functions of before, action and after.

Every term is in bp of the equity that the episode began with; the reward is their sum by
weights (`weights_of`, `rewards.composition`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from configs.rewards import TacticalRewardConfig
from market.kernels import inlined

TERMS = ("equity", "entry", "limit", "benchmark", "chance")
_TO_BP = 1e4


def weights_of(config: TacticalRewardConfig) -> NDArray[np.float64]:
    """Weights in the order of `TERMS`."""
    weights = {term: getattr(config, term) for term in TERMS}
    weights["benchmark"] *= config.equity  # no more than is paid can be taken off
    return np.array(list(weights.values()), np.float64)


@inlined
def equity_term(before: float, after: float, base: float) -> float:
    """P&L of the bar after all costs, bp of `base`.

    Args:
        before, after: equity, currency, marked at the reference and net of costs.
        base: equity at the start of the episode, currency.
    """
    return _TO_BP * (after - before) / base


@inlined
def entry_term(quantity: float, price: float, vwap: float, base: float) -> float:
    """How much better than the bar's average price the bar's order was filled, bp of `base`.

    Above 0 for buying below the average and for selling above it. It is weighed by what was
    filled: a good price for nothing earns nothing. In a bar in which nobody else traded
    there is no average, and the term is 0.

    Args:
        quantity: filled in the bar, units, signed: above 0 bought.
        price: average of these fills, currency.
        vwap: average price of the bar weighed by volume, own fills left out, currency; NaN
            where nobody else traded.
        base: equity at the start of the episode, currency.
    """
    if quantity == 0.0 or math.isnan(vwap):
        return 0.0
    return _TO_BP * quantity * (vwap - price) / base


@inlined
def limit_term(use: float, scale_bp: float) -> float:
    """Minus what the bar's position uses of its risk limit above the whole of it, bp.

    Args:
        use: risk over its limit after the bar's trades (SPEC section 7: u); 1 is at it.
        scale_bp: what a bar at twice the limit counts.
    """
    return -scale_bp * max(use - 1.0, 0.0)


@inlined
def benchmark_term(gain: float, base: float) -> float:
    """Minus what the strategic target would have gained in the bar without costs, bp of `base`.

    The agents' choices change nothing of it, so that the best policy is the same with it as
    without (a baseline of the input alone: Mao et al., "Variance reduction for reinforcement
    learning in input-driven environments", 2019); what is left is the active return, in which a
    bar's fills can be told from where the price went.

    Args:
        gain: of who holds the target before until the bar opens, and trades to the new one evenly
            over the bar, on the reference, currency.
        base: equity at the start of the episode, currency.
    """
    return -_TO_BP * gain / base


@inlined
def chance_term(held: float, move: float, expected: float, base: float) -> float:
    """Minus what chance paid on what was held at the bar's begin, bp of `base`.

    Chance is what the price moved beside what was to be expected of the market's state, which the
    built-in market knows. Its mean is 0 whatever was held by who does not know the path, so that
    the best policy is the same with it as without; what is left is what holding was worth (a
    control variate by known chances: Burch et al., "AIVAT: a new variance reduction technique for
    agent evaluation in imperfect information games", 2018). Results are never told so: this is
    what training pays alone.

    Args:
        held: what the path's moves are paid on, units, long above 0, by weights of equity and
            benchmark.
        move: of the close over the one before, currency.
        expected: of that, given the market's state at the close before, currency.
        base: equity at the start of the episode, currency.
    """
    return -_TO_BP * held * (move - expected) / base
