"""How order flow changes where fewer and larger messages carry the same volume.

`market.thin` reads the table below: by how much a parameter of the flow is multiplied
when messages come `factor` times more rarely. Between its rows the logarithms are
interpolated over the logarithm of the factor. The rows were found by simulation on the
default flow, so that spread, depth, volume and the cost of an order at equal share of
volume stay; `python -m experiments.thin` measures all of them again, and `--fit FACTOR`
looks for a row anew.

The table ends at a factor of 10: beyond it (one message a second is 25) a dozen large orders
quote a mean spread 20 to 30% wider, which no row found so far has mended.
"""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from configs.base import Config


class ThinPoint(Config):
    """One row: multiples of the full flow's parameters at one factor."""

    factor: float = Field(ge=1.0, description="full messages a second over thin ones")
    market_share: PositiveFloat = Field(
        description="more market orders of all messages, so that sizes grow less than rates fall"
    )
    placement_scale: PositiveFloat
    placement_exponent: PositiveFloat
    resting_quantity: PositiveFloat = Field(description="resting orders times their mean size")
    lean: PositiveFloat = Field(
        description="a gap that a rare message meets is wide, and must not turn all of them one way"
    )
    metaorder_lean: PositiveFloat
    size_dispersion: PositiveFloat = Field(
        1.0, description="few large orders empty a side where the largest are too large"
    )
    patient_share: PositiveFloat = 1.0


THIN_TABLE = (
    ThinPoint(
        factor=1.0, market_share=1.0, placement_scale=1.0, placement_exponent=1.0,
        resting_quantity=1.0, lean=1.0, metaorder_lean=1.0,
    ),
    ThinPoint(
        factor=2.5, market_share=2.04, placement_scale=1.742, placement_exponent=1.772,
        resting_quantity=0.942, lean=0.251, metaorder_lean=0.33,
    ),
    ThinPoint(
        factor=5.0, market_share=2.47, placement_scale=2.051, placement_exponent=2.113,
        resting_quantity=0.949, lean=0.089, metaorder_lean=0.204,
    ),
    ThinPoint(
        factor=10.0, market_share=2.5, placement_scale=1.1, placement_exponent=2.1,
        resting_quantity=0.92, lean=0.038, metaorder_lean=0.21,
    ),
)  # fmt: skip
