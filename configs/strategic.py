"""The strategic environment: bars of half an hour, four agents, one target position."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from configs.barwise import LayerConfig
from configs.base import Config
from configs.rewards import StrategicRewardConfig


class DecisionConfig(Config):
    """What one choice moves, as a share of the position limit."""

    step: PositiveFloat = Field(0.10, le=1.0, description="BUY and SELL")
    small_step: PositiveFloat = Field(0.05, le=1.0, description="INCREASE and REDUCE")


class StrategicConfig(LayerConfig):
    """The strategic environment."""

    decision: DecisionConfig = DecisionConfig()
    reward: StrategicRewardConfig = StrategicRewardConfig()
