"""Simple rules as policies of `strategic_v0`, each with full conviction.

They see what the agents see and act through the same joint actions, so they pay what the
agents pay: toward the position that a rule wants, all directional agents BUY (or SELL) until
it is reached, the coordinator backing one of them, which is the fastest move there is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signals.strategic import (
    BACK_MOMENTUM,
    BUY,
    COORDINATOR,
    DIRECTIONAL,
    HOLD,
    SELL,
    STAND_ASIDE,
    STRATEGIC,
)

_COLUMN = {column.name: index for index, column in enumerate(STRATEGIC.columns)}
_AGENT = {agent.name: index for index, agent in enumerate(STRATEGIC.agents)}
_MAY = {BUY: _COLUMN["may_buy"], SELL: _COLUMN["may_sell"]}
_POSITION, _ALLOWED = _COLUMN["position"], _COLUMN["allowed"]
_ROUNDING = 1e-3  # of a position in whole units, share of the limit


@dataclass(frozen=True)
class DirectionBaseline:
    """Holds the limit on the side that a rule names, as fast as choices allow.

    Args:
        column: whose newest value's sign is the side, long above 0; None for `side` always.
        side: 1 long, -1 short, 0 flat.

    Where the value is 0 the rule says nothing, and the position stays.
    """

    column: str | None = None
    side: int = 0

    def reset(self, rows: int) -> None:
        """Begin `rows` episodes: nothing is remembered."""
        del rows

    def act(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N, row width] to [N, action width]."""
        side = np.full(len(rows), float(self.side), np.float32)
        if self.column is not None:
            side = np.sign(rows[:, _COLUMN[f"{self.column}@0"]])
        gap = side * rows[:, _ALLOWED] - rows[:, _POSITION]
        move = np.where(gap > _ROUNDING, BUY, np.where(gap < -_ROUNDING, SELL, HOLD))
        move = np.where(side == 0.0, HOLD, move)
        for choice, column in _MAY.items():
            move = np.where((move == choice) & (rows[:, column] == 0.0), HOLD, move)
        action = np.empty((len(rows), STRATEGIC.action_width), np.float32)
        for name in DIRECTIONAL:
            action[:, _AGENT[name]] = move
        action[:, _AGENT[COORDINATOR]] = np.where(move == HOLD, STAND_ASIDE, BACK_MOMENTUM)
        return action


def strategic_baselines() -> dict[str, DirectionBaseline]:
    """The rules by name.

    buy_and_hold: the limit, long. flat: no position. momentum: with the sign of the time
    series' own momentum over 50 bars (Moskowitz, Ooi and Pedersen, "Time series momentum",
    2012). mean_reversion: toward the kernel regression's value, which lies above the price
    where `nwrqk_value` is above 0.
    """
    return {
        "buy_and_hold": DirectionBaseline(side=1),
        "flat": DirectionBaseline(side=0),
        "momentum": DirectionBaseline("momentum_50"),
        "mean_reversion": DirectionBaseline("nwrqk_value"),
    }
