"""`execution_v1`: the parent order, the step, the agents' limits, what they are paid for."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from configs.barwise import TacticalSeriesConfig
from configs.base import Config
from configs.market import MarketConfig, Share


class ParentConfig(Config):
    """How parent orders are drawn and over how long they are worked."""

    horizon_steps: PositiveInt = Field(75, le=1000)
    participation_low: PositiveFloat = Field(0.001, le=1.0, description="of expected volume")
    participation_high: PositiveFloat = Field(0.10, le=1.0)
    reducing_share: Share = Field(0.5, description="share of parents that reduce risk")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.participation_low > self.participation_high:
            raise ValueError(
                f"participation_low is {self.participation_low:g}, expected at most "
                f"participation_high ({self.participation_high:g})"
            )
        return self


class ChildConfig(Config):
    """How the five agents' numbers become child orders."""

    max_delay_seconds: NonNegativeFloat = Field(2.0, description="market_timing's delay of 1")
    share_multiple: float = Field(
        8.0, gt=1.0, description="size component 1 asks this multiple of the schedule, 0 none"
    )
    confidence_low: Share = Field(0.5, description="size factor at confidence 0")
    confidence_high: PositiveFloat = Field(1.5, description="size factor at confidence 1")
    reduced_size: Share = Field(0.5, description="size factor of REDUCE_SIZE")
    max_children: PositiveInt = Field(20, le=64)
    max_resting: PositiveInt = Field(64, le=256, description="own orders resting or in flight")
    urgency_correction: PositiveFloat = Field(
        0.5, le=1.0, description="the most by which the monitor shifts the next urgency"
    )
    cancel_distance: PositiveInt = Field(10, description="ticks behind the best at threshold 1")
    sweep_ticks: PositiveInt = Field(50, description="how far an aggressive child may walk")


class ScheduleConfig(Config):
    """The Almgren-Chriss schedule that the agents modulate, and the expected cost of crossing.

    `impact_slope_bp` is the temporary impact (bp) of taking one step's expected
    volume at once; `python -m experiments.impact` measures both on the simulated book.
    """

    impact_slope_bp: PositiveFloat = 0.69
    half_spread_bp: PositiveFloat = 0.72


SAMPLED: Literal["sampled"] = "sampled"
Source = Annotated[
    str,
    Field(
        min_length=1,
        description=(
            "sampled; or an artefact that was not trained on these dates: its folder, a folder of "
            "models (the layer's champion in it), or models:/NAME@ALIAS of a registry"
        ),
    ),
]


class UpstreamConfig(Config):
    """The layers above, sampled: superpositions of a configured information coefficient."""

    kind: Literal["sampled"] = Field(SAMPLED, description="how what no artefact says is made up")
    information_coefficient: float = Field(0.05, ge=0.0, le=0.1)
    sharpness: PositiveFloat = Field(0.8, description="of the softmax over the signal")


class ExecutionUpstreamConfig(UpstreamConfig):
    """The strategic and the tactical layer: both sampled, or both artefacts.

    Artefacts decide, frozen, on bars of the tactical length; an execution episode then plays
    inside one of these bars, under what the layers decided at the close before it.
    """

    strategic: Source = SAMPLED
    tactical: Source = SAMPLED
    series: TacticalSeriesConfig = Field(
        TacticalSeriesConfig(),
        description="the bars that artefacts decide on, where the reference is no file of bars",
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.strategic == SAMPLED) != (self.tactical == SAMPLED):
            raise ValueError(
                f"strategic is {self.strategic} and tactical is {self.tactical}, expected both "
                f"{SAMPLED} or both artefacts: the tactical layer decides under the strategic one"
            )
        return self

    @property
    def loaded(self) -> bool:
        """Whether artefacts decide."""
        return self.strategic != SAMPLED


class QualityConfig(Config):
    """The score of one step's execution: shares of latency, fill, slippage and risk, in [0, 1].

    Evaluation reports it and the monitor predicts it; it is a reward only under
    `objective: documents`.
    """

    latency: Share = 0.3
    fill: Share = 0.3
    slippage: Share = 0.2
    risk: Share = 0.2
    slippage_scale_bp: PositiveFloat = Field(
        4.0, description="slippage 0 scores .5, half of this above or below 0 or 1"
    )

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = self.latency + self.fill + self.slippage + self.risk
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"latency + fill + slippage + risk is {total:g}, expected 1")
        return self


class ExecutionRewardConfig(Config):
    """What execution is paid for (SPEC section 4)."""

    objective: Literal["shortfall", "documents"] = "shortfall"
    risk_aversion: NonNegativeFloat = Field(
        1e-3, description="lambda, 1/bp: times variance (bp^2) of what is open, each step"
    )
    quality: QualityConfig = QualityConfig()
    var_limit_bp: PositiveFloat = Field(25.0, description="of the parent's notional, 95%")


class ExecutionConfig(Config):
    """The execution environment."""

    step_seconds: PositiveFloat = 4.0
    parent: ParentConfig = ParentConfig()
    child: ChildConfig = ChildConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    upstream: ExecutionUpstreamConfig = ExecutionUpstreamConfig()
    reward: ExecutionRewardConfig = ExecutionRewardConfig()
    market: MarketConfig = MarketConfig()

    @model_validator(mode="after")
    def _orders_arrive_within_a_step(self) -> Self:
        slowest = max(venue.latency_seconds for venue in self.market.venues)
        slowest += self.market.router_latency_seconds
        if slowest >= self.step_seconds:
            raise ValueError(
                f"the slowest venue is {slowest:g} s away by the router, expected less than "
                f"step_seconds ({self.step_seconds:g})"
            )
        return self
