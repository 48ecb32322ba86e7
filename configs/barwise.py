"""What the layers above execution have in common: their bars, and how orders are worked."""

from __future__ import annotations

from typing import Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from configs.augmentation import AugmentationConfig
from configs.base import Config
from configs.market import BarReference, MarketConfig
from configs.signals import SignalsConfig
from configs.splits import SplitConfig

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


class BreakerConfig(Config):
    """When drawdown, a share of the peak of equity, binds positions (SPEC section 7)."""

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


class AccountConfig(BreakerConfig):
    """How large positions may be, what they are of equity, and when drawdown binds them."""

    limit_participation: PositiveFloat = Field(
        0.05, le=1.0, description="position limit over the usual volume of a bar"
    )
    leverage: PositiveFloat = Field(
        1.0, le=20.0, description="notional of a full position over the equity at the start"
    )


class SeriesConfig(SplitConfig):
    """The bars of the built-in market, where the reference is no file of bars; their splits."""

    bars: PositiveInt = Field(30_000, ge=2000, description="of all splits together")
    seed: NonNegativeInt = 0


class TacticalSeriesConfig(SeriesConfig):
    """As `SeriesConfig`, of more and shorter bars."""

    bars: PositiveInt = Field(60_000, ge=2000, description="of all splits together")


class LayerConfig(BarwiseConfig):
    """What the environments above execution share: an account, episodes of bars, their signals."""

    horizon_bars: PositiveInt = Field(96, le=10_000, description="of an episode")
    account: AccountConfig = AccountConfig()
    signals: SignalsConfig = SignalsConfig()
    series: SeriesConfig = SeriesConfig()
    augmentation: AugmentationConfig = Field(
        AugmentationConfig(), description="bars that training episodes may be cut from besides"
    )
    past_bars: PositiveInt = Field(
        46, description="whose ranges and volume say how volatile and busy the next bar will be"
    )
    critic_sees_path: bool = Field(
        True,
        description="whether critics are told the path to come: less noise of what is held, more "
        "of what a change of it is worth; zeros in those columns otherwise",
    )

    @property
    def splits(self) -> SplitConfig:
        """How the bars are cut: the file's, or the built-in series'."""
        reference = self.market.reference
        return reference if isinstance(reference, BarReference) else self.series

    @model_validator(mode="after")
    def _whole_minutes(self) -> Self:
        if self.bar_minutes != int(self.bar_minutes):
            raise ValueError(
                f"bar_minutes is {self.bar_minutes:g}, expected a whole number: the signals of a "
                "layer are computed on bars of whole minutes"
            )
        return self
