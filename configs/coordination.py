"""When layers and venues are believed: consensus, faulty voices, stale quotes (SPEC section 8)."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from configs.base import Config


class CoordinationConfig(Config):
    """Thresholds of consensus over agents and of agreement over venues.

    Of n voices up to f = floor((n - 1) / 3) may be faulty: absent, stale, or adversarial.
    """

    consensus: float = Field(
        0.65, gt=0.5, le=1.0, description="share of weight x confidence that decides; else HOLD"
    )
    vote_seconds: PositiveFloat = Field(3600.0, description="age from which a vote is stale")
    quote_seconds: PositiveFloat = Field(8.0, description="age from which a venue's quote is stale")
    quote_distance_bp: PositiveFloat = Field(
        50.0, description="from the trimmed mid, beyond which a venue gets no orders"
    )
