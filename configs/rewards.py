"""What the strategic and the tactical layer are paid for (SPEC section 4).

A reward is a sum of terms in bp by weights. Strategic weights come from a named profile; one
that is given takes the place of the profile's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from configs.base import Config

Profile = Literal["conservative", "aggressive", "balanced", "contrarian"]

# The equity's weight is the scale of the others: a bp of drawdown, of extra turnover or of the
# Sharpe ratio's scale is worth so many bp of result.
STRATEGIC_PROFILES: Mapping[Profile, Mapping[str, float]] = MappingProxyType(
    {
        # A bp of new drawdown hurts twice as much as a bp of result pleases.
        "conservative": dict(equity=0.5, drawdown=1.0, turnover=0.5, sharpe=0.0, reversion=0.0),
        "aggressive": dict(equity=1.0, drawdown=0.0, turnover=0.0, sharpe=0.0, reversion=0.0),
        "balanced": dict(equity=0.5, drawdown=0.25, turnover=0.5, sharpe=1.0, reversion=0.0),
        "contrarian": dict(equity=1.0, drawdown=0.25, turnover=0.5, sharpe=0.0, reversion=1.0),
    }
)

_NOT_GIVEN = "weight; null takes the profile's"


class StrategicRewardConfig(Config):
    """Weights and scales of `rewards.strategic`."""

    profile: Profile = Field(
        "balanced",
        description="conservative: drawdown; aggressive: return; balanced: differential Sharpe "
        "ratio; contrarian: mean reversion",
    )
    equity: NonNegativeFloat | None = Field(None, description=_NOT_GIVEN)
    drawdown: NonNegativeFloat | None = Field(None, description=_NOT_GIVEN)
    turnover: NonNegativeFloat | None = Field(None, description=_NOT_GIVEN)
    sharpe: NonNegativeFloat | None = Field(None, description=_NOT_GIVEN)
    reversion: NonNegativeFloat | None = Field(None, description=_NOT_GIVEN)
    eta: float = Field(
        0.02, gt=0.0, le=1.0, description="rate of the Sharpe ratio's averages, 1/bars"
    )
    variance_floor_bp2: PositiveFloat = Field(
        1.0, description="of a bar's result, under the Sharpe ratio"
    )
    sharpe_bp: PositiveFloat = Field(
        2.0, description="what a differential Sharpe ratio of 1 counts; it is near 1 in a good bar"
    )
    turnover_bp: PositiveFloat = Field(
        1.0, description="what trading the whole equity once counts, on top of its costs"
    )
    reversion_full: PositiveFloat = Field(
        2.0, description="sigmas off its mean from which on a position against it counts whole"
    )

    reversion_bars: PositiveInt = Field(
        48, description="of the mean that deviations are taken from; their sigma grows by its root"
    )

    @model_validator(mode="after")
    def _pays_for_something(self) -> Self:
        profile = STRATEGIC_PROFILES[self.profile]
        weights = [profile[t] if getattr(self, t) is None else getattr(self, t) for t in profile]
        if not any(weights):
            raise ValueError("all weights are 0, expected one above it: nothing would be learnt")
        return self


class TacticalRewardConfig(Config):
    """Weights and scales of `rewards.tactical`."""

    equity: NonNegativeFloat = Field(1.0, description="weight of P&L after costs")
    entry: NonNegativeFloat = Field(
        0.25, description="weight of fills against the bar's average price"
    )
    limit: NonNegativeFloat = Field(1.0, description="weight of what goes over the risk limit")
    limit_bp: PositiveFloat = Field(10.0, description="what a bar at twice the risk limit counts")
    benchmark: NonNegativeFloat = Field(
        1.0,
        le=1.0,
        description="share of the strategic target's own P&L that is taken off that of equity",
    )
    chance: NonNegativeFloat = Field(
        0.0,
        le=1.0,
        description="share of what chance paid, by the weights of equity and benchmark, on what "
        "was held before a bar that is taken off; bars of the built-in market alone tell it",
    )

    @model_validator(mode="after")
    def _pays_for_something(self) -> Self:
        if not any((self.equity, self.entry, self.limit)):
            raise ValueError(
                "equity, entry and limit are all 0, expected one above it: nothing would be learnt"
            )
        return self
