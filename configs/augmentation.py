"""What training may see besides its bars: resampled, rescaled and synthetic ones."""

from __future__ import annotations

from typing import Self

from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from configs.base import Config

HOLE_HOURS = 96.0  # longer than a weekend with a holiday


class AugmentationConfig(Config):
    """Copies of the training bars that differ from them; none by default.

    Every copy is as long as the training split.
    """

    copies: NonNegativeInt = Field(0, description="augmented series besides the bars themselves")
    bootstrap: bool = Field(True, description="resample the bars in blocks")
    block_bars: float = Field(46.0, ge=1.0, description="mean length of a block")
    volatility_low: PositiveFloat = Field(0.7, description="of the factor on all moves")
    volatility_high: PositiveFloat = Field(
        1.4, description="the factor is drawn for each copy, its logarithm evenly"
    )
    seed: NonNegativeInt = 0
    hole_hours: PositiveFloat = Field(
        HOLE_HOURS, description="a move over a longer gap between bars is none that a market made"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.volatility_low > self.volatility_high:
            raise ValueError(
                f"volatility_low is {self.volatility_low:g}, expected at most volatility_high "
                f"({self.volatility_high:g})"
            )
        if self.copies and not self.bootstrap and self.volatility_low == self.volatility_high:
            raise ValueError(
                f"copies is {self.copies} with bootstrap off and one volatility factor: copies "
                "would be alike, expected bootstrap on or volatility_low below volatility_high"
            )
        return self
