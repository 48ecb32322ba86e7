"""Joint choices of the layers above execution to target positions: pure functions.

Environments and the cascade call the same ones. Positions are shares of the limit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from market.kernels import inlined
from market.working import MARKET, TWAP

# Choices of a directional agent, in the order of `signals.strategic.DIRECTIONS`.
BUY, SELL, HOLD, REDUCE, INCREASE = range(5)
MOVES = 5
_DIRECTIONAL = 3
_COORDINATOR = 3
_STAND_ASIDE = 4

STRATEGIC_RULES = np.dtype([("step", np.float64), ("small_step", np.float64)])

# Choices of the tactical agent, in the order of `signals.tactical.TILTS`, and of the risk
# agent: the share of the target in quarters.
NO_TILT, BUY_SMALL, BUY_LARGE, SELL_SMALL, SELL_LARGE = range(5)
NO_SHARE, _QUARTERS = 0, 4

TACTICAL_RULES = np.dtype(
    [
        ("small", np.float64),
        ("large", np.float64),
        ("kelly_cap", np.float64),
        ("stop_atr", np.float64),
        ("target_atr", np.float64),
    ]
)


@inlined
def position_change(choice: int, position: float, step: float, small_step: float) -> float:
    """By how much one directional agent's choice would move the position, shares of the limit.

    REDUCE moves toward zero and no further than zero, INCREASE away from it.
    """
    if choice == BUY:
        return step
    if choice == SELL:
        return -step
    toward = min(abs(position), small_step)
    if choice == REDUCE:
        return -toward if position > 0.0 else toward
    if choice == INCREASE and position != 0.0:
        return small_step if position > 0.0 else -small_step
    return 0.0


@inlined
def agent_weight(agent: int, gate: int) -> float:
    """The weight of directional agent number `agent`: a third, doubled where backed."""
    if gate == _STAND_ASIDE:
        return 0.0
    return (2.0 if gate == agent else 1.0) / _DIRECTIONAL


@inlined
def strategic_target(choices: Any, position: float, rules: Any, allowed: float) -> float:
    """The position to hold after the next bar, share of the limit.

    Args:
        choices: [4], three directional agents' and the coordinator's.
        position: now, share of the limit.
        rules: a STRATEGIC_RULES record.
        allowed: share of the limit that drawdown leaves; the target lies within.
    """
    gate = int(choices[_COORDINATOR])
    target = position
    for agent in range(_DIRECTIONAL):
        change = position_change(int(choices[agent]), position, rules.step, rules.small_step)
        target += agent_weight(agent, gate) * change
    return min(max(target, -allowed), allowed)


@inlined
def may_choose(choice: int, position: float, allowed: float) -> bool:
    """Whether a directional agent may choose so: INCREASE neither at the limit nor when flat,
    REDUCE not when flat, and nothing but HOLD where no position is allowed."""
    if choice == HOLD:
        return True
    if allowed <= 0.0:
        return False
    if choice == REDUCE:
        return position != 0.0
    if choice == INCREASE:
        return position != 0.0 and abs(position) < allowed
    return True


@inlined
def tilt_of(choice: int, small: float, large: float) -> float:
    """By how much the tactical agent's choice tilts the target, shares of the limit."""
    if choice == BUY_SMALL:
        return small
    if choice == BUY_LARGE:
        return large
    if choice == SELL_SMALL:
        return -small
    if choice == SELL_LARGE:
        return -large
    return 0.0


@inlined
def tactical_target(tilt: int, share: int, strategic: float, rules: Any, allowed: float) -> float:
    """The position to hold after the next bar, share of the limit.

    Args:
        tilt: the tactical agent's choice.
        share: the risk agent's, in quarters.
        strategic: the strategic target, share of the limit.
        rules: a TACTICAL_RULES record.
        allowed: share of the limit that drawdown leaves; the target lies within.
    """
    cap = rules.kelly_cap
    target = strategic + tilt_of(tilt, rules.small, rules.large)
    target = min(max(target, -cap), cap) * share / _QUARTERS
    return min(max(target, -allowed), allowed)


@inlined
def gain_in_ranges(position: int, entry: float, close: float, atr: float) -> float:
    """What a unit of the position has gained since it was entered, in average true ranges.

    Args:
        position: units, short below 0; 0 gains nothing.
        entry, close: mean price of what is held, and the last close, of one unit.
        atr: the average true range at that close, of the same unit.
    """
    if position == 0:
        return 0.0
    return (close - entry if position > 0 else entry - close) / atr


@inlined
def may_tilt(choice: int, closing: bool) -> bool:
    """Whether the tactical agent may choose so: nothing but HOLD where the target is flat."""
    return choice == NO_TILT or not closing


@inlined
def may_share(choice: int, closing: bool) -> bool:
    """Whether the risk agent may choose so: nothing but no share where the target is flat."""
    return choice == NO_SHARE or not closing


@inlined
def may_work(style: int, bound: bool) -> bool:
    """Whether the execution agent may choose so: neither waits nor rests where it must trade."""
    return style in (MARKET, TWAP) or not bound
