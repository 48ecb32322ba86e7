"""The inference cascade: cadences, deadlines, limits, and its audit log."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from configs.bars import BarsConfig
from configs.base import Config
from configs.market import Share
from configs.orders import OrdersConfig
from configs.risk import LimitConfig, RiskConfig

MAX_SEED = (1 << 63) - 1
LayerName = Literal["strategic", "tactical", "execution"]


class DeadlineConfig(Config):
    """How long a layer's call may take, retries and their waits included, seconds."""

    strategic: PositiveFloat = 0.5
    tactical: PositiveFloat = 0.2
    execution: PositiveFloat = 0.05
    retries: NonNegativeInt = Field(3, le=10, description="after a call that failed")
    backoff: PositiveFloat = Field(
        0.001, description="seconds before the first retry; doubles with each"
    )


class FallbackConfig(Config):
    """What stands in for a layer that does not answer.

    Its last valid decision, for so many of its calls; then HOLD.
    """

    strategic_calls: NonNegativeInt = 1
    tactical_calls: NonNegativeInt = 3
    execution_calls: NonNegativeInt = 5
    risk_share: Share = Field(
        0.05, description="of the limit that risk allocates at most while a layer holds"
    )


class FreshnessConfig(Config):
    """When data is too old to trade on."""

    bars: PositiveFloat = Field(
        2.5, description="bars' lengths from a bar's start to its arrival, beyond which it is stale"
    )
    silent_steps: PositiveInt = Field(
        3, description="steps in a row in which a venue quotes nothing new, before it is silent"
    )
    quote_distance_bp: PositiveFloat = Field(
        50.0,
        description="from the trimmed mid of all venues, beyond which one is taken for faulty and "
        "left out; one of four may be",
    )


class AuditConfig(Config):
    """The audit log."""

    segment_mib: PositiveInt = Field(64, le=4096, description="of one file")
    pending_mib: PositiveInt = Field(
        4, le=1024, description="kept in memory while the disk is full; a run ends beyond it"
    )
    sync: bool = Field(
        True,
        description="force to disk once a parent order is done: against a loss of power, not of "
        "the process",
    )


# A full position is of the account's limit, so that its parent order may turn it around whole;
# what it costs to trade leaves the position a little above its equity.
_RULES = RiskConfig(limits=LimitConfig(position_share=1.25, gross_share=1.25, worked_share=2.5))


class CascadeConfig(Config):
    """One running cascade."""

    seed: NonNegativeInt = Field(0, le=MAX_SEED)
    sample: tuple[LayerName, ...] = Field(
        (), description="layers whose actions are sampled, keyed by seed and step; else the mode"
    )
    deadline: DeadlineConfig = DeadlineConfig()
    fallback: FallbackConfig = FallbackConfig()
    risk: RiskConfig = Field(
        _RULES, description="that every order passes; the account's limit is a rule besides"
    )
    kelly: bool = Field(
        True,
        description="bound targets by Kelly with impact, where the layer that sets the position "
        "carries what its scores have been worth (return_map.json)",
    )
    orders: OrdersConfig = Field(OrdersConfig(), description="Kelly's sizes, and urgency")
    freshness: FreshnessConfig = FreshnessConfig()
    audit: AuditConfig = AuditConfig()

    @model_validator(mode="after")
    def _a_retry_fits(self) -> Self:
        least = min(self.deadline.strategic, self.deadline.tactical, self.deadline.execution)
        if self.deadline.backoff >= least:
            raise ValueError(
                f"deadline.backoff is {self.deadline.backoff:g} s, expected less than the shortest "
                f"deadline ({least:g} s): no retry would ever be made"
            )
        return self


class CascadeRunConfig(Config):
    """A cascade on paper: what it runs by, and the bars that drive the simulated books."""

    cascade: CascadeConfig = CascadeConfig()
    bars: BarsConfig | None = Field(
        None, description="a file of bars; the built-in market's where null"
    )
    generated_bars: PositiveInt = Field(
        8_000, ge=2_000, description="of the tactical length, on the built-in market"
    )
    generated_seed: NonNegativeInt = Field(
        1,
        le=MAX_SEED,
        description="of these bars; training's are of seed 0 by default, and known to it",
    )
