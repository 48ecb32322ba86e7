"""The strategic environment: bars of half an hour, four agents, one target position."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from configs.barwise import AccountConfig, BarwiseConfig
from configs.base import Config
from configs.market import BarReference
from configs.rewards import StrategicRewardConfig
from configs.signals import SignalsConfig
from configs.splits import SplitConfig


class SeriesConfig(SplitConfig):
    """The bars of the built-in market, where the reference is no file of bars; their splits."""

    bars: PositiveInt = Field(30_000, ge=2000, description="of all splits together")
    seed: NonNegativeInt = 0


class DecisionConfig(Config):
    """What one choice moves, as a share of the position limit."""

    step: PositiveFloat = Field(0.10, le=1.0, description="BUY and SELL")
    small_step: PositiveFloat = Field(0.05, le=1.0, description="INCREASE and REDUCE")


class StrategicConfig(BarwiseConfig):
    """The strategic environment."""

    horizon_bars: PositiveInt = Field(96, le=10_000, description="of an episode")
    decision: DecisionConfig = DecisionConfig()
    account: AccountConfig = AccountConfig()
    reward: StrategicRewardConfig = StrategicRewardConfig()
    signals: SignalsConfig = SignalsConfig()
    series: SeriesConfig = SeriesConfig()
    past_bars: PositiveInt = Field(
        46, description="whose ranges and volume say how volatile and busy the next bar will be"
    )

    @property
    def splits(self) -> SplitConfig:
        """How the bars are cut: the file's, or the built-in series'."""
        reference = self.market.reference
        return reference if isinstance(reference, BarReference) else self.series
