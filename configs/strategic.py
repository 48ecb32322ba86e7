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


class StudyColumnsConfig(Config):
    """Other columns than the agents', for studies of what a trainer can find: never to trade by.

    What is trained under either switch belongs to another layout, with a column table and a
    digest of its own: no champion, cascade or export takes it for the strategic layer's, and
    `grandmodel train strategic` refuses it.

    next_return: ONE MORE COLUMN OF THE AGENTS' STATE SHOWS THE FUTURE: the return of the bar
        after the one in which the decision's order is executed, in sigmas of a bar; 0 where
        the episode has no such bar. It ties trained agents to a known optimum.
    matrices: false leaves the windows of bars out, so that agents see their state alone.
    """

    next_return: bool = False
    matrices: bool = True


class StrategicConfig(LayerConfig):
    """The strategic environment."""

    decision: DecisionConfig = DecisionConfig()
    reward: StrategicRewardConfig = StrategicRewardConfig()
    study: StudyColumnsConfig = Field(StudyColumnsConfig(), description="leave it as it is")
