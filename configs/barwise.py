"""What the layers above execution have in common: their bars, and how orders are worked."""

from __future__ import annotations

from typing import Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from configs.base import Config
from configs.market import MarketConfig

_MINUTE = 60.0


class BarwiseConfig(Config):
    """Markets that play one bar a step, with one order worked inside it."""

    bar_minutes: PositiveFloat = 30.0
    slices: PositiveInt = Field(15, le=1000, description="of a bar, in which an order is worked")
    reaction_seconds: NonNegativeFloat = Field(
        2.0, description="from the start of a slice to its order"
    )
    sweep_ticks: PositiveInt = Field(50, description="how far an order may walk the books at once")
    thinning: float = Field(
        10.0, ge=1.0, description="full messages over those simulated (market.thin)"
    )
    knot_seconds: PositiveFloat = Field(
        6.0, description="how often the reference path moves; rounded to a whole part of a slice"
    )
    warmup_seconds: PositiveFloat = Field(60.0, description="of flow before books are traded")
    pace_noise: NonNegativeFloat = Field(
        0.25, le=2.0, description="sigma of the log message rate about the pace of past bars"
    )
    market: MarketConfig = MarketConfig()

    @model_validator(mode="after")
    def _reacts_within_a_slice(self) -> Self:
        length = self.bar_minutes * _MINUTE / self.slices
        if self.reaction_seconds >= length:
            raise ValueError(
                f"reaction_seconds is {self.reaction_seconds:g}, expected less than a slice of "
                f"{length:g} s (bar_minutes / slices)"
            )
        return self


class AccountConfig(Config):
    """How large positions may be, what they are of equity, and when drawdown binds them."""

    limit_participation: PositiveFloat = Field(
        0.05, le=1.0, description="position limit over the usual volume of a bar"
    )
    leverage: PositiveFloat = Field(
        1.0, le=20.0, description="notional of a full position over the equity at the start"
    )
    halve_drawdown: PositiveFloat = Field(0.10, lt=1.0, description="limit halved from here on")
    quarter_drawdown: PositiveFloat = Field(0.15, lt=1.0, description="limit quartered")
    halt_drawdown: PositiveFloat = Field(0.20, lt=1.0, description="flat to the horizon")

    @model_validator(mode="after")
    def _breakers_in_order(self) -> Self:
        breakers = (self.halve_drawdown, self.quarter_drawdown, self.halt_drawdown)
        if list(breakers) != sorted(breakers):
            raise ValueError(
                f"halve, quarter and halt drawdown are {breakers}, expected rising ones"
            )
        return self
