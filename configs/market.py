"""The simulated market: instrument, venues, order flow, reference path."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from configs.bars import BarsConfig
from configs.base import Config

Share = Annotated[float, Field(ge=0.0, le=1.0)]
LADDER_MULTIPLE = 64


class VenueConfig(Config):
    """One order book. Fees in currency per unit of quantity; a negative fee is a rebate."""

    name: str
    latency_seconds: NonNegativeFloat = Field(
        0.002, lt=1.0, description="from a decision to the order's arrival, simulated time"
    )
    maker_fee: float = -0.002
    taker_fee: float = 0.003
    weight: PositiveFloat = Field(1.0, description="share of background limit orders")


class BookConfig(Config):
    """Capacity of each book."""

    ladder_levels: PositiveInt = Field(1024, multiple_of=LADDER_MULTIPLE, le=1 << 16)
    slots: PositiveInt = Field(1024, le=1 << 16, description="orders that may rest at once")


class FlowConfig(Config):
    """Background order flow over all venues.

    Zero-intelligence flow (Cont, Stoikov and Talreja, 2010): limit orders at a
    distance from the opposite best drawn from a power law, market orders, and
    cancels in proportion to what rests; all three lean toward the reference path.
    """

    messages_per_second: PositiveFloat = Field(25.0, le=10_000.0)
    limit_share: Share = 0.51
    market_share: Share = 0.10
    cancel_share: Share = Field(0.39, description="at the resting population's target")
    resting_orders: PositiveInt = Field(320, description="target over all venues")
    placement_exponent: PositiveFloat = Field(1.2, description="P(distance > x) ~ x^-a")
    placement_scale: PositiveFloat = Field(5.0, description="ticks; sets the mean spread")
    placement_limit: PositiveInt = Field(40, description="ticks; the furthest placement")
    mean_size: PositiveFloat = Field(100.0, description="mean order size, units of quantity")
    size_dispersion: PositiveFloat = Field(0.9, le=3.0, description="sigma of log size")
    lean: PositiveFloat = Field(
        0.8,
        description=(
            "per tick of (reference - mid); where it is too weak the mid trails and trends, "
            "where too strong it swings: its variance ratio should be near 1"
        ),
    )
    permanent_impact: NonNegativeFloat = Field(
        0.25,
        description=(
            "share of one step's sigma by which the reference moves when own fills "
            "equal one step's expected volume; linear, hence free of round-trip profit "
            "(Huberman and Stanzl, 2004)"
        ),
    )
    warmup_steps: PositiveInt = Field(6, description="steps of flow before an episode")

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = self.limit_share + self.market_share + self.cancel_share
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"limit_share + market_share + cancel_share is {total:g}, expected 1")
        return self


class RegimeConfig(Config):
    """One market regime of the built-in generator."""

    name: str
    volatility: PositiveFloat = Field(le=5.0, description="a year")
    drift: float = Field(0.0, ge=-5.0, le=5.0, description="a year, of the log price")


class GeneratorReference(Config):
    """A regime-switching geometric Brownian path: the default, which needs no data."""

    kind: Literal["generator"] = "generator"
    price: PositiveFloat = 100.0
    regimes: tuple[RegimeConfig, ...] = Field(
        (
            RegimeConfig(name="BULL", volatility=0.15, drift=0.15),
            RegimeConfig(name="BEAR", volatility=0.28, drift=-0.20),
            RegimeConfig(name="SIDEWAYS", volatility=0.10),
            RegimeConfig(name="VOLATILE", volatility=0.40),
        ),
        min_length=1,
        max_length=8,
    )
    mean_regime_minutes: PositiveFloat = 120.0
    trading_seconds_per_year: PositiveFloat = 252 * 6.5 * 3600


class BarReference(Config):
    """A path inside real bars: a bridge pinned at open, high, low and close."""

    kind: Literal["bars"]
    bars: BarsConfig
    train_share: float = Field(0.7, gt=0.0, lt=1.0, description="earliest share, for training")
    embargo_bars: int = Field(46, ge=0, description="left out between the two splits")
    activity_bars: PositiveInt = Field(46, description="past bars that set the message rate")


Reference = Annotated[GeneratorReference | BarReference, Field(discriminator="kind")]

DEFAULT_VENUES = (
    VenueConfig(name="ARCA", latency_seconds=0.002, maker_fee=-0.0020, taker_fee=0.0030),
    VenueConfig(
        name="NASDAQ", latency_seconds=0.001, maker_fee=-0.0020, taker_fee=0.0030, weight=1.5
    ),
    VenueConfig(name="NYSE", latency_seconds=0.0015, maker_fee=-0.0015, taker_fee=0.0030),
    VenueConfig(name="BATS", latency_seconds=0.001, maker_fee=-0.0025, taker_fee=0.0030),
)
VENUE_COUNT = len(DEFAULT_VENUES)


class MarketConfig(Config):
    """Everything exogenous to the agents."""

    name: str = Field("builtin", pattern=r"^[a-z0-9-]+$", description="in model names")
    tick: PositiveFloat = 0.01
    venues: tuple[VenueConfig, ...] = Field(
        DEFAULT_VENUES, min_length=VENUE_COUNT, max_length=VENUE_COUNT
    )
    router_latency_seconds: NonNegativeFloat = Field(0.0005, lt=1.0, description="added by SMART")
    book: BookConfig = BookConfig()
    flow: FlowConfig = FlowConfig()
    reference: Reference = GeneratorReference()
