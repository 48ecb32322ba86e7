"""The rules between a decision and the market: value at risk, drawdown, hard limits.

Every field is a limit or sets how one is measured; none switches a rule off.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from configs.barwise import BreakerConfig
from configs.base import Config
from configs.tactical import RiskLimitConfig

MAX_RATE = 4096  # orders of a rate's window that are remembered


class EwmaConfig(Config):
    """Exponentially weighted second moments (RiskMetrics Technical Document, 1996)."""

    kind: Literal["ewma"] = "ewma"
    decay: float = Field(
        0.99, gt=0.0, lt=1.0, description="lambda of a bar; RiskMetrics' .94 is of days"
    )


class SampleConfig(Config):
    """The sample covariance of the last bars."""

    kind: Literal["sample"] = "sample"
    bars: int = Field(390, ge=2, le=100_000)


class VarConfig(RiskLimitConfig):
    """How value at risk is measured, and what follows from it (SPEC section 7).

    `use` is max(VaR95 / var95_limit, VaR99 / var99_limit) after the trade.
    """

    covariance: Annotated[EwmaConfig | SampleConfig, Field(discriminator="kind")] = EwmaConfig()
    history_bars: int = Field(
        500, ge=100, le=100_000, description="of historical VaR and expected shortfall"
    )
    method: Literal["parametric", "larger"] = Field(
        "parametric",
        description="larger: each deviation at least what its historical quantiles imply",
    )
    horizon_days: PositiveFloat = Field(1.0, le=250.0)
    least_bars: int = Field(20, ge=2, description="before which the prior volatility stands")
    prior_volatility: PositiveFloat = Field(0.30, le=5.0, description="a year, at the start")
    volatility_floor: PositiveFloat = Field(
        0.02, le=1.0, description="a year; a quiet or frozen feed counts as no less"
    )
    reduce_use: PositiveFloat = Field(1.0, description="above it REDUCE_SIZE, to this use")
    delay_use: PositiveFloat = Field(1.2, description="above it DELAY")
    cancel_use: PositiveFloat = Field(1.5, description="above it CANCEL")
    stop_use: PositiveFloat = Field(2.5, description="above it EMERGENCY_STOP")

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Self:
        steps = (self.reduce_use, self.delay_use, self.cancel_use, self.stop_use)
        if list(steps) != sorted(steps):
            raise ValueError(
                f"reduce, delay, cancel and stop use are {steps}, expected rising ones"
            )
        return self


class LimitConfig(Config):
    """Hard limits of orders and positions; shares are of equity."""

    position_units: PositiveInt = Field(1_000_000, le=1 << 31, description="of one instrument")
    position_share: PositiveFloat = Field(1.0, le=50.0, description="notional of one instrument")
    gross_share: PositiveFloat = Field(1.0, le=50.0, description="notional of all, unsigned")
    order_units: PositiveInt = Field(100_000, le=1 << 31)
    order_share: PositiveFloat = Field(0.25, le=50.0, description="notional of one order")
    worked_share: PositiveFloat = Field(
        1.0, le=50.0, description="of one that is worked bit by bit (TWAP, VWAP, IS): a parent"
    )
    participation: PositiveFloat = Field(
        0.10, le=1.0, description="traded and open, of the volume expected in a bar"
    )
    collar: PositiveFloat = Field(0.05, lt=1.0, description="of prices, either side of the mark")
    rate_orders: PositiveInt = Field(100, le=MAX_RATE, description="orders in rate_seconds")
    rate_seconds: PositiveFloat = Field(1.0, le=86_400.0)
    rate_reserve: int = Field(
        20, ge=0, le=MAX_RATE, description="orders more, for those that lower the risk"
    )
    mark_jump: PositiveFloat = Field(
        0.10, lt=1.0, description="move of a mark that is believed at the second mark that says so"
    )
    stale_seconds: PositiveFloat = Field(60.0, description="age from which a mark is stale")

    @model_validator(mode="after")
    def _the_rate_is_remembered(self) -> Self:
        if self.rate_orders + self.rate_reserve > MAX_RATE:
            raise ValueError(
                f"rate_orders + rate_reserve is {self.rate_orders + self.rate_reserve}, expected "
                f"at most {MAX_RATE}"
            )
        return self


class RiskConfig(Config):
    """All rules that every order passes after the networks."""

    var: VarConfig = VarConfig()
    drawdown: BreakerConfig = BreakerConfig()
    limits: LimitConfig = LimitConfig()
