"""The tactical environment: bars of five minutes, three agents that tilt a strategic target."""

from __future__ import annotations

from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from configs.barwise import AccountConfig, LayerConfig, TacticalSeriesConfig
from configs.base import Config
from configs.execution import SAMPLED, Source, UpstreamConfig
from configs.rewards import TacticalRewardConfig


class TacticalAccountConfig(AccountConfig):
    """As `AccountConfig`; the limit is the strategic layer's, .05 of a bar six times as long."""

    limit_participation: PositiveFloat = Field(
        0.30, le=1.0, description="position limit over the usual volume of a bar"
    )


class TiltConfig(Config):
    """What the tactical agents' choices come to; positions are shares of the limit."""

    small: PositiveFloat = Field(0.10, le=1.0, description="BUY_SMALL and SELL_SMALL")
    large: PositiveFloat = Field(0.25, le=1.0, description="BUY_LARGE and SELL_LARGE")
    commitment_bars: PositiveInt = Field(
        1,
        le=1000,
        description="that a tilt stands in episodes of the training split before another choice is "
        "allowed: tried for a bar at a time, what earns over hours only pays its way in and out "
        "(Dabney, Ostrovski and Barreto, 'Temporally-extended epsilon-greedy exploration', 2021); "
        "nobody is told how long it has; judged, and in the cascade, every bar is free",
    )
    kelly_cap: PositiveFloat = Field(
        1.0, le=1.0, description="largest target, long or short: the cap that Kelly sizing will set"
    )
    stop_atr: PositiveFloat = Field(
        2.0, description="loss a unit, in average true ranges, from which on a bar closes flat"
    )
    target_atr: PositiveFloat = Field(3.0, description="gain a unit, likewise")

    @model_validator(mode="after")
    def _small_below_large(self) -> Self:
        if self.small > self.large:
            raise ValueError(f"small is {self.small:g}, expected at most large ({self.large:g})")
        return self


class StrategicUpstreamConfig(UpstreamConfig):
    """The strategic layer: a superposition every `bars` bars, and its target.

    Sampled unless `strategic` names an artefact, which then decides, frozen, on the same bars
    put together to the length of its own. The coefficient is that of the correlation between
    the sampled signal and the standardised move of the reference over those bars. On real bars
    it counts as 0: a signal that knows their path would be a leak from the future.
    """

    strategic: Source = SAMPLED
    bars: PositiveInt = Field(6, le=1000, description="tactical bars of a strategic one")
    persistence: float = Field(
        0.9, ge=0.0, lt=1.0, description="what the signal keeps from one strategic bar to the next"
    )
    step: PositiveFloat = Field(
        0.10, le=1.0, description="by which a collapsed choice moves the target, share of the limit"
    )

    @property
    def loaded(self) -> bool:
        """Whether an artefact decides."""
        return self.strategic != SAMPLED


class RiskLimitConfig(Config):
    """The risk limit that the reward's penalty is about (SPEC section 7)."""

    var95_limit: PositiveFloat = Field(0.02, description="of a day, share of equity")
    var99_limit: PositiveFloat = Field(0.0283, description="likewise")
    day_bars: PositiveInt = Field(78, description="bars of a trading day; 6.5 hours by default")


class TacticalConfig(LayerConfig):
    """The tactical environment."""

    bar_minutes: PositiveFloat = 5.0
    slices: PositiveInt = Field(10, le=1000, description="of a bar, in which an order is worked")
    horizon_bars: PositiveInt = Field(60, le=10_000, description="of an episode")
    tilt: TiltConfig = TiltConfig()
    upstream: StrategicUpstreamConfig = StrategicUpstreamConfig()
    risk: RiskLimitConfig = RiskLimitConfig()
    account: TacticalAccountConfig = TacticalAccountConfig()
    reward: TacticalRewardConfig = TacticalRewardConfig()
    series: TacticalSeriesConfig = TacticalSeriesConfig()

    @model_validator(mode="after")
    def _chance_is_told_apart(self) -> Self:
        if not self.reward.chance:
            return self
        above, copies = self.upstream, self.augmentation.copies
        against = remedy = ""
        if self.market.reference.kind != "generator":
            against = "bars of a file, of which nothing tells what was to be expected"
        elif copies:
            against = f"augmentation.copies={copies}, bars of which nothing tells the same"
        elif not above.loaded and above.information_coefficient > 0.0:
            against = (
                f"upstream.strategic={SAMPLED}, whose signal knows the path, so that what its "
                "target earns would count as chance"
            )
            remedy = ", or an artefact, or upstream.information_coefficient=0"
        elif self.critic_sees_path:
            against = "critic_sees_path=true, so that critics would be told of what is not paid"
            remedy = ", or critic_sees_path=false"
        if against:
            raise ValueError(
                f"reward.chance is {self.reward.chance:g} with {against}; expected "
                f"reward.chance=0{remedy}"
            )
        return self

    @model_validator(mode="after")
    def _copies_have_no_word_from_above(self) -> Self:
        if self.upstream.loaded and self.augmentation.copies:
            raise ValueError(
                f"augmentation.copies is {self.augmentation.copies} with upstream.strategic="
                f"{self.upstream.strategic}: an artefact has decided about the bars alone; "
                "expected copies 0, or upstream.strategic=sampled"
            )
        return self
