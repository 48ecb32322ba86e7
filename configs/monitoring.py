"""What a training is watched for: signs of collapse, and scores that no longer improve."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from configs.base import Config


class AlarmConfig(Config):
    """When a training is said to have collapsed: in one line, and in its curves as alarm_*.

    An alarm is raised where its sign holds for `iterations` in a row and rests where the sign
    goes; it stops nothing.
    """

    enabled: bool = True
    iterations: PositiveInt = 5
    warmup_iterations: NonNegativeInt = Field(10, description="before explained variance counts")
    entropy_share: float = Field(
        0.02,
        ge=0.0,
        lt=1.0,
        description="of the entropy of even choices, below which agents hardly choose any more",
    )
    entropy_drop: PositiveFloat = Field(
        4.0,
        description="nats per component of actions that are numbers, since the first iteration: "
        "4 is a spread 55 times narrower",
    )
    explained_variance: float = Field(
        0.0, le=1.0, description="of returns by the critic, below which it misleads"
    )
    kl: PositiveFloat = Field(
        0.2, description="of an iteration's update, above which policies jump; .01 to .05 is usual"
    )


class PatienceConfig(Config):
    """When a training ends for want of improvement of its score on validation episodes.

    Scored every `evaluate_every` iterations on the same `episodes`, by the policy's mode; it
    ends after `scores` in a row, none of which beats the best by more than `least`, in the
    objective's unit. The weights are those of the end. Decays follow the budget alone.
    """

    scores: PositiveInt = 10
    evaluate_every: PositiveInt = 10
    episodes: PositiveInt = 256
    least: NonNegativeFloat = 0.0
