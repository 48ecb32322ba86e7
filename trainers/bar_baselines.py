"""Simple rules as policies of `strategic_v0` and `tactical_v1`.

They see what the agents see and act through the same joint actions, so they pay what the
agents pay. A rule of the strategic layer acts with full conviction: toward the position that
it wants, all directional agents BUY (or SELL) until it is reached, the coordinator backing
one of them, which is the fastest move there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signals.bars.columns import TACTICAL_ROWS
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
from signals.tactical import (
    CHOICES,
    EXECUTION_AGENT,
    RISK_AGENT,
    SHARES,
    TACTICAL,
    TACTICAL_AGENT,
    TILTS,
)

_Rows = NDArray[np.float32]
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

    def act(self, rows: _Rows) -> _Rows:
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


_PLAN_COLUMN = {column.name: index for index, column in enumerate(TACTICAL.columns)}
_PLAN_AGENT = {agent.name: index for index, agent in enumerate(TACTICAL.agents)}
# What is chosen where a choice is not allowed: what the environment would make of it.
_INSTEAD = {TACTICAL_AGENT: "HOLD", RISK_AGENT: "NONE", EXECUTION_AGENT: "TWAP"}


@dataclass(frozen=True)
class PlanBaseline:
    """The strategic target without a tilt, a share of it, worked in one style."""

    share: str
    style: str

    def reset(self, rows: int) -> None:
        """Begin `rows` episodes: nothing is remembered."""
        del rows

    def act(self, rows: _Rows) -> _Rows:
        """float32 [N, row width] to [N, action width]."""
        action = np.empty((len(rows), TACTICAL.action_width), np.float32)
        wanted = {TACTICAL_AGENT: TILTS[0], RISK_AGENT: self.share, EXECUTION_AGENT: self.style}
        for agent, choice in wanted.items():
            may = rows[:, _PLAN_COLUMN[f"may_{agent}_{choice.lower()}"]] > 0.0
            chosen, instead = (CHOICES[agent].index(name) for name in (choice, _INSTEAD[agent]))
            action[:, _PLAN_AGENT[agent]] = np.where(may, chosen, instead)
        return action


_AT_REST = PlanBaseline(SHARES[-1], "JOIN")
_LAST_TILTS = [
    _PLAN_COLUMN[f"last_{TACTICAL_AGENT}_{choice.lower()}"] for choice in TILTS if choice != "HOLD"
]
# Of the window's bars, the newest first.
_MOMENTUM = [_PLAN_COLUMN[f"momentum_5@{lag}"] for lag in range(TACTICAL_ROWS)]


def _tilted(rows: _Rows, wanted: Mapping[str, NDArray[np.bool_]]) -> _Rows:
    """The target at rest at the best quote, tilted by a choice where it is wanted and allowed."""
    action = _AT_REST.act(rows)
    for choice, here in wanted.items():
        may = rows[:, _PLAN_COLUMN[f"may_{TACTICAL_AGENT}_{choice.lower()}"]] > 0.0
        action[here & may, _PLAN_AGENT[TACTICAL_AGENT]] = TILTS.index(choice)
    return action


@dataclass(frozen=True)
class QuoteBaseline:
    """Rests at the best quote around the strategic target: a market maker's rule.

    Every other bar it tilts by a little against the last move, and in the bars between goes back
    to the target: both ways it earns half the spread and a rebate where it is filled, and loses
    what the price moves on through its orders and what crosses at a bar's end. Which is more is not
    the same on every series.
    """

    def reset(self, rows: int) -> None:
        """Begin `rows` episodes: nothing is remembered."""
        del rows

    def act(self, rows: _Rows) -> _Rows:
        """float32 [N, row width] to [N, action width]."""
        back = rows[:, _LAST_TILTS].any(axis=1)
        moved = rows[:, _MOMENTUM[0]]
        return _tilted(
            rows, {"SELL_SMALL": (moved > 0.0) & ~back, "BUY_SMALL": (moved < 0.0) & ~back}
        )


@dataclass(frozen=True)
class MomentumBaseline:
    """A large tilt with the sign of the window's momentum, resting at the best quote.

    The tactical layer's form of the strategic rule of that name: its window is five hours.
    """

    def reset(self, rows: int) -> None:
        """Begin `rows` episodes: nothing is remembered."""
        del rows

    def act(self, rows: _Rows) -> _Rows:
        """float32 [N, row width] to [N, action width]."""
        moved = rows[:, _MOMENTUM].sum(axis=1)
        return _tilted(rows, {"BUY_LARGE": moved > 0.0, "SELL_LARGE": moved < 0.0})


def tactical_baselines() -> dict[str, PlanBaseline | QuoteBaseline | MomentumBaseline]:
    """The rules by name.

    market_at_open, twap, join: the strategic target as it is, traded at the bar's begin, over
    it, or by resting at the best quote with what is left crossing at its end. quote, momentum:
    see `QuoteBaseline` and `MomentumBaseline`. flat: none of it. The strategic layer alone works
    its target by TWAP: twap is both.
    """
    whole, none = SHARES[-1], SHARES[0]
    return {
        "twap": PlanBaseline(whole, "TWAP"),
        "market_at_open": PlanBaseline(whole, "MARKET"),
        "join": _AT_REST,
        "quote": QuoteBaseline(),
        "momentum": MomentumBaseline(),
        "flat": PlanBaseline(none, "TWAP"),
    }
