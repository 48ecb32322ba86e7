"""The simulated market: instrument, venues, order flow, reference path."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from configs.bars import BarsConfig
from configs.base import Config
from configs.splits import SplitConfig

Share = Annotated[float, Field(ge=0.0, le=1.0)]
LADDER_MULTIPLE = 64


class VenueConfig(Config):
    """One order book. Fees in currency per unit of quantity; a negative fee is a rebate."""

    name: str
    latency_seconds: NonNegativeFloat = Field(
        0.002, lt=1.0, description="median, from a decision to the order's arrival; simulated time"
    )
    latency_dispersion: NonNegativeFloat = Field(
        0.3, le=1.0, description="sigma of the log latency (log-normal)"
    )
    maker_fee: float = -0.002
    taker_fee: float = 0.003
    weight: PositiveFloat = Field(1.0, description="share of background limit orders")


class BookConfig(Config):
    """Capacity of each book."""

    ladder_levels: PositiveInt = Field(1024, multiple_of=LADDER_MULTIPLE, le=1 << 16)
    slots: PositiveInt = Field(1024, le=1 << 16, description="orders that may rest at once")


class ArrivalConfig(Config):
    """When background messages come: self-exciting arrivals on a baseline that wanders.

    Hawkes process with a sum of exponential kernels (Bacry, Mastromatteo and Muzy,
    "Hawkes processes in finance", 2015; near-critical branching after Hardiman, Bercot and
    Bouchaud, 2013). The baseline, and the variance of the reference path with it, follow an
    activity that is the exponential of a sum of Ornstein-Uhlenbeck processes (volatility over
    several horizons: Muzy, Delour and Bacry, 2000), so that volume and volatility move together.
    """

    messages_per_second: PositiveFloat = Field(25.0, le=10_000.0, description="mean, all venues")
    branching: Share = Field(0.85, lt=1.0, description="messages that one message brings about")
    excitation_rates: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        (0.003, 0.03, 0.3, 3.0), description="decay of the four kernels, 1/s; equal branching each"
    )
    activity_seconds: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        (20.0, 120.0, 900.0), description="memory of the three processes in the log activity"
    )
    activity_dispersion: NonNegativeFloat = Field(
        0.6, le=2.0, description="sigma of the log activity, all three together"
    )


class MetaorderConfig(Config):
    """How large orders are split: the source of long memory in the signs of market orders.

    Lillo, Mike and Farmer, "Theory for long memory in supply and demand" (2005): at any
    time a few metaorders are at work, each trades by market orders of its sign, and the
    number of them has a Pareto tail.
    """

    at_work: PositiveInt = Field(3, le=64, description="metaorders at once")
    exponent: PositiveFloat = Field(1.5, description="P(orders > n) ~ n^-exponent")
    longest: PositiveInt = Field(500, description="market orders of one metaorder, at most")
    lean: NonNegativeFloat = Field(
        2.5, description="a new one buys with probability (1 + tanh(lean (reference - mid))) / 2"
    )
    informed_share: Share = Field(
        1.0,
        description=(
            "of the market orders that the gap between reference and mid calls for, how many "
            "trade toward the reference instead of for their metaorder"
        ),
    )


class ImpactConfig(Config):
    """How own fills move the reference: square-root impact that decays.

    I = Y sigma sum_k w_k sign(J_k) sqrt(|J_k| / V), dJ_k = -J_k / tau_k dt + dQ, with sigma and
    V the deviation and volume of one step: a sum of the concave impact models of Alfonsi,
    Fruth and Schied ("Optimal execution strategies in limit order books with general shape
    functions", 2010), an exponential decomposition of the propagator (Bouchaud, Gefen,
    Potters and Wyart, 2004). Over a horizon shorter than the longest tau it is the
    square-root law, Y of order one (Toth et al., 2011). Traded continuously no round trip
    profits from it: with h_k increasing and H_k' = h_k, its cost is the sum over k of
    H_k(J_k at its end) plus the integral of h_k(J_k) J_k / tau_k, neither of which is
    negative. A single fill pays the price before its own impact; what that gives away, the
    spread and the walk through the book have to outweigh (`market.trips` measures it).
    """

    scale: NonNegativeFloat = Field(1.0, description="Y")
    seconds: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] = (
        Field((15.0, 120.0, 900.0, 7200.0, 117_000.0), description="tau_k")
    )
    weights: tuple[Share, Share, Share, Share, Share] = (0.1, 0.1, 0.15, 0.2, 0.45)

    @model_validator(mode="after")
    def _weights_sum_to_one(self) -> Self:
        total = sum(self.weights)
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"weights sum to {total:g}, expected 1")
        return self


class FlowConfig(Config):
    """Background order flow over all venues.

    Zero-intelligence placement and cancellation (Cont, Stoikov and Talreja, 2010): limit
    orders at a distance from the opposite best drawn from a power law, cancels in
    proportion to what rests; both lean toward the reference path. Market orders come from
    metaorders. Resting orders are of two populations, impatient ones near the quotes and
    patient ones further off that live longer.
    """

    arrivals: ArrivalConfig = ArrivalConfig()
    metaorders: MetaorderConfig = MetaorderConfig()
    impact: ImpactConfig = ImpactConfig()
    limit_share: Share = 0.51
    market_share: Share = 0.10
    cancel_share: Share = Field(0.39, description="at the resting population's target")
    resting_orders: PositiveInt = Field(320, description="target over all venues")
    placement_exponent: PositiveFloat = Field(1.2, description="P(distance > x) ~ x^-a")
    placement_scale: PositiveFloat = Field(1.6, description="ticks; sets the mean spread")
    placement_limit: PositiveInt = Field(40, description="ticks; the furthest placement")
    patient_share: Share = Field(0.25, description="of limit orders")
    patience: float = Field(
        8.0, ge=1.0, description="lifetime of patient orders over that of impatient ones"
    )
    patient_distance: PositiveFloat = Field(
        2.0, description="placement scale of patient orders over that of impatient ones"
    )
    mean_size: PositiveFloat = Field(100.0, description="mean order size, units of quantity")
    size_dispersion: PositiveFloat = Field(0.9, le=3.0, description="sigma of log size")
    lean: PositiveFloat = Field(
        2.0,
        description=(
            "1/tick, of flow toward the reference; where it is too weak the mid trails and trends, "
            "where too strong it swings: its variance ratio should be near 1"
        ),
    )
    local_share: Share = Field(
        0.02,
        description=(
            "of limit orders, priced from their own venue's quote alone: they may lock or cross "
            "another venue, until an arbitrageur takes both"
        ),
    )
    arbitrage_seconds: PositiveFloat = Field(
        0.05, description="mean time in which an arbitrageur meets a locked or crossed market"
    )
    knot_seconds: PositiveFloat = Field(
        2.0, description="how often the reference path moves; rounded to a whole part of the step"
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
    activity: PositiveFloat = Field(1.0, le=10.0, description="message rate over the usual one")


class GeneratorReference(Config):
    """A regime-switching geometric Brownian path: the default, which needs no data.

    pull_years: the log price of a series of bars is pulled to where it began, so that what is
        left of its way after so many years is 1/e (Ornstein-Uhlenbeck): over decades a tick
        keeps its worth. Paths within one bar, and of execution episodes, feel nothing of it.
    """

    kind: Literal["generator"] = "generator"
    price: PositiveFloat = 100.0
    regimes: tuple[RegimeConfig, ...] = Field(
        (
            RegimeConfig(name="BULL", volatility=0.15, drift=0.15, activity=0.65),
            RegimeConfig(name="BEAR", volatility=0.28, drift=-0.20, activity=1.2),
            RegimeConfig(name="SIDEWAYS", volatility=0.10, activity=0.45),
            RegimeConfig(name="VOLATILE", volatility=0.40, activity=1.7),
        ),
        min_length=1,
        max_length=8,
    )
    mean_regime_minutes: PositiveFloat = 120.0
    pull_years: PositiveFloat | None = None
    trading_seconds_per_year: PositiveFloat = 252 * 6.5 * 3600


class BarReference(SplitConfig):
    """A path inside real bars, a bridge pinned at open, high, low and close; and their splits."""

    kind: Literal["bars"]
    bars: BarsConfig
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
