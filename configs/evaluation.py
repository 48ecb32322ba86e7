"""How long policies are compared, and how sure the comparison must be."""

from __future__ import annotations

from typing import Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from configs.base import Config

MAX_PARENTS = 1 << 24  # parents of one evaluation seed; seeds of the next begin after them
MAX_EVALUATION_SEED = (1 << 38) - 1  # times MAX_PARENTS it leaves room above in 63 bits


class EvaluationConfig(Config):
    """A comparison on common random numbers, ended by its precision.

    Episodes (parents: of the execution layer an episode is a parent order) are added a
    batch at a time until the interval of every paired difference is narrower, on each side,
    than `half_width_share` of a scale; `min_parents` at least and `max_parents` at most.

    Of costs the scale is the reference's mean (of several, the lowest). The plain TWAP is
    that reference: a share of the passive one's cost, which lies near zero, is none. Of
    returns, whose means lie near zero too, it is the standard deviation of the reference's
    episodes: how far one episode's return is from another's, which does not shrink as
    episodes are added. Either rule looks at widths alone, never at where zero lies.
    """

    min_parents: PositiveInt = 1_000
    max_parents: PositiveInt = Field(default=8_192, le=MAX_PARENTS)
    batch_size: int = Field(default=256, ge=2)
    reference: tuple[str, ...] = Field(default=("twap",), min_length=1)
    half_width_share: float = Field(default=0.10, gt=0.0, lt=1.0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    bootstrap_samples: int = Field(default=2_000, ge=100)
    seed: NonNegativeInt = Field(default=0, le=MAX_EVALUATION_SEED)
    cluster_days: PositiveInt = Field(
        1,
        description="episodes on bars that begin within so many days are resampled together; "
        "at least as long as an episode, where episodes overlap",
    )
    passive_slice_steps: PositiveInt = 12  # how long the passive baselines wait in the queue
    calibration_parents: PositiveInt = Field(
        256,
        description="episodes of the validation and of the test split each, on which what the "
        "policy states is held against what then happens",
    )
    parity_rows: PositiveInt = 1_024  # rows of the evaluation on which the export is checked
    max_steps: PositiveInt = 10_000  # of one episode; a guard against one that never ends

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch_size % 2:
            raise ValueError("batch_size must be even: both sides of a path are played together")
        if self.max_parents < self.min_parents:
            raise ValueError("max_parents must be at least min_parents")
        return self
