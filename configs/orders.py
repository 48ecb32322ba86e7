"""From a collapsed decision to an order: how large, how urgent, of which kind (SPEC section 6)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from configs.base import Config

Life = Literal["DAY", "IOC", "FOK", "GTC", "GTD"]


class SizingConfig(Config):
    """Kelly with impact: maximise mu f - sigma^2 f^2 / (2 fraction) - c |f - f0|^{3/2}."""

    fraction: PositiveFloat = Field(0.5, le=1.0, description="of Kelly; half doubles the risk term")
    cap: PositiveFloat = Field(0.2, le=1.0, description="of |f|, share of equity")
    impact: NonNegativeFloat = Field(1.0, le=10.0, description="Y of c = Y sigma sqrt(E / (P V))")
    participation: PositiveFloat = Field(
        0.10, le=1.0, description="of the volume of a holding horizon that a change may be"
    )
    least_size: NonNegativeFloat = Field(
        0.001, le=1.0, description="change of f below which there is no order"
    )


class UrgencyConfig(Config):
    """urgency = (base + slope c') x volatility x spread x entanglement, and what follows."""

    least_confidence: float = Field(
        0.125, ge=0.0, le=1.0, description="c' below which there is no order"
    )
    base: NonNegativeFloat = 0.2
    slope: NonNegativeFloat = 0.7
    # Of a year.
    volatility_high: PositiveFloat = 0.30
    volatility_raised: PositiveFloat = 0.20
    volatility_low: PositiveFloat = 0.08
    factor_volatility_high: PositiveFloat = 1.5
    factor_volatility_raised: PositiveFloat = 1.2
    factor_volatility_low: PositiveFloat = 0.8
    # Of the quoted spread, basis points.
    spread_wide: PositiveFloat = 20.0
    spread_raised: PositiveFloat = 10.0
    factor_spread_wide: PositiveFloat = 0.7
    factor_spread_raised: PositiveFloat = 0.9
    entangled: float = Field(0.7, gt=0.0, le=1.0)
    entangled_some: float = Field(0.5, gt=0.0, le=1.0)
    factor_entangled: PositiveFloat = 1.3
    factor_entangled_some: PositiveFloat = 1.1
    market_above: PositiveFloat = Field(0.8, description="urgency of MARKET")
    limit_above: PositiveFloat = Field(0.6, description="of LIMIT")
    twap_above: PositiveFloat = Field(0.4, description="of TWAP; VWAP below")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for names in (
            ("volatility_low", "volatility_raised", "volatility_high"),
            ("spread_raised", "spread_wide"),
            ("entangled_some", "entangled"),
            ("twap_above", "limit_above", "market_above"),
        ):
            values = [getattr(self, name) for name in names]
            if values != sorted(values):
                raise ValueError(f"{', '.join(names)} are {values}, expected rising ones")
        return self


class LivesConfig(Config):
    """How long an order of each kind lives, where nobody says."""

    market: Life = "IOC"
    limit: Life = "DAY"
    worked: Life = Field("DAY", description="TWAP, VWAP and IS")
    stop: Life = Field("GTC", description="STOP and STOP_LIMIT")
    iceberg: Life = "DAY"

    @model_validator(mode="after")
    def _say_no_date(self) -> Self:
        dated = [name for name in type(self).model_fields if getattr(self, name) == "GTD"]
        if dated:
            raise ValueError(f"{', '.join(dated)}: GTD needs a date, which the order itself gives")
        return self


class OrdersConfig(Config):
    """Sizes, urgency and kinds of orders."""

    sizing: SizingConfig = SizingConfig()
    urgency: UrgencyConfig = UrgencyConfig()
    lives: LivesConfig = LivesConfig()
    displayed: float = Field(0.1, gt=0.0, le=1.0, description="share of an ICEBERG that shows")
