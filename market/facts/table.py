"""Every fact of a market in one table: number, interval, range, verdict and source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.facts import FactsConfig, Target, TargetsConfig
from market.facts import messages, prices, quotes, trades
from market.facts.intervals import Estimate, power_law_exponent
from market.facts.sample import Sample, pooled
from market.recording import Recording

Floats = NDArray[np.float64]

CONT = "Cont 2001, 'Empirical properties of asset returns', Quantitative Finance 1"
TQP = "Bouchaud, Bonart, Donier and Gould 2018, 'Trades, Quotes and Prices'"
LILLO_FARMER = (
    "Lillo and Farmer 2004, 'The long memory of the efficient market', "
    "Studies in Nonlinear Dynamics and Econometrics 8(3)"
)
LO_MACKINLAY = "Lo and MacKinlay 1988, Review of Financial Studies 1"
HARDIMAN = "Hardiman and Bouchaud 2014, Physical Review E 90, 062807"
HILL = "Hill 1975, Annals of Statistics 3"
HUANG_STOLL = "Huang and Stoll 1996, Journal of Financial Economics 41"
IMPACT_LAW = f"{TQP}; Sato and Kanazawa 2024, arXiv:2411.13965"
IMPACT_FACT = "impact_exponent"


@dataclass(frozen=True)
class Measure:
    """One row of the table before it is filled."""

    name: str
    meaning: str
    unit: str
    source: str
    of: Callable[[Sample], Estimate]


@dataclass(frozen=True)
class Fact:
    """One fact of one market. `value` is None where it cannot be told; `reason` says why."""

    name: str
    meaning: str
    unit: str
    source: str
    target: Target
    target_source: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the value lies in the range; None without a range. An unknown value fails."""
        if not self.target.is_set:
            return None
        return self.value is not None and _inside(self.value, self.target)

    @property
    def settled(self) -> bool | None:
        """Whether the whole interval agrees with the verdict; None without either."""
        if self.met is None or self.low is None or self.high is None:
            return None
        inside = _inside(self.low, self.target) and _inside(self.high, self.target)
        if self.met:
            return inside
        low = -np.inf if self.target.low is None else self.target.low
        high = np.inf if self.target.high is None else self.target.high
        return bool(self.high < low or self.low > high)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        plain = asdict(self) | {"target": self.target.model_dump()}
        return plain | {"met": self.met, "settled": self.settled}


@dataclass(frozen=True)
class ImpactSample:
    """What orders of several volumes moved the price by, as an experiment measured it.

    volume: [n], share of the market's volume in the same time, above zero.
    impact: [n], in the order's direction, in `unit`.
    weights: [n], inverse variances of impact; equal where None.
    clusters: [n], labels of what was drawn together; each on its own where None.
    """

    volume: Floats
    impact: Floats
    weights: Floats | None = None
    clusters: NDArray[np.generic] | None = None
    unit: str = "ticks"


MEASURES = tuple(
    Measure(*row)
    for row in (
        ("kurtosis_1s", "kurtosis of 1 s returns", "1", CONT, lambda s: prices.kurtosis(s, 1.0)),
        ("kurtosis_10s", "kurtosis of 10 s returns", "1", CONT, lambda s: prices.kurtosis(s, 10.0)),
        ("kurtosis_60s", "kurtosis of 60 s returns", "1", CONT, lambda s: prices.kurtosis(s, 60.0)),
        (
            "kurtosis_fall",
            "largest kurtosis ratio from one horizon to the next (1, 10, 60 s)",
            "1",
            CONT,
            prices.kurtosis_fall,
        ),
        (
            "volatility_clustering",
            "correlation of absolute 10 s returns with the next ones",
            "1",
            CONT,
            lambda s: prices.absolute_memory(s, prices.CLUSTERING_SECONDS),
        ),
        (
            "variance_ratio",
            "variance a second of 300 s returns over that of 1 s returns",
            "1",
            LO_MACKINLAY,
            prices.variance_ratio,
        ),
        ("volatility", "volatility over 60 s", "ticks/sqrt(s)", CONT, prices.volatility),
        (
            "sign_memory_1",
            "correlation of signs of successive orders",
            "1",
            LILLO_FARMER,
            lambda s: trades.sign_memory(s, 1),
        ),
        (
            "sign_memory_10",
            "correlation of signs ten orders apart",
            "1",
            LILLO_FARMER,
            lambda s: trades.sign_memory(s, 10),
        ),
        (
            "sign_memory_decay",
            "exponent with which the signs' correlation falls with the lag",
            "1",
            LILLO_FARMER,
            trades.sign_memory_decay,
        ),
        ("spread_mean", "mean quoted spread, by time", "ticks", TQP, quotes.spread_mean),
        ("spread_median", "median quoted spread, by time", "ticks", TQP, quotes.spread_median),
        (
            "locked_or_crossed",
            "share of time with bid at or above ask",
            "1",
            "17 CFR 242.610(d)",
            quotes.locked_or_crossed,
        ),
        ("one_sided", "share of time with an empty side", "1", TQP, quotes.one_sided),
        ("depth_at_best", "mean quantity at the best quote", "units", TQP, quotes.depth_at_best),
        ("depth_peak", "distance at which most rests", "ticks", TQP, quotes.depth_peak),
        ("messages_per_second", "messages a second", "1/s", TQP, messages.messages_per_second),
        ("orders_per_second", "incoming orders that trade", "1/s", TQP, trades.orders_per_second),
        (
            "interarrival_cv",
            "standard deviation over mean of gaps between messages",
            "1",
            TQP,
            messages.interarrival_cv,
        ),
        (
            "interarrival_below_1ms",
            "share of gaps between messages below 1 ms",
            "1",
            TQP,
            messages.interarrival_below,
        ),
        (
            "fano_1s",
            "variance over mean of messages in 1 s",
            "1",
            HARDIMAN,
            lambda s: messages.fano(s, 1.0),
        ),
        (
            "fano_60s",
            "variance over mean of messages in 60 s",
            "1",
            HARDIMAN,
            lambda s: messages.fano(s, 60.0),
        ),
        (
            "branching_ratio",
            "share of messages that others caused",
            "1",
            HARDIMAN,
            messages.branching_ratio,
        ),
        (
            "cancel_age_median",
            "median age of an order at its cancel",
            "s",
            TQP,
            messages.cancel_age_median,
        ),
        (
            "cancel_age_tail",
            "tail exponent of ages at cancel",
            "1",
            f"{HILL}; Challet and Stinchcombe 2001, Physica A 300",
            messages.cancel_age_tail,
        ),
        (
            "trade_size_mean",
            "mean quantity traded by an order",
            "units",
            TQP,
            trades.trade_size_mean,
        ),
        (
            "trade_size_median",
            "median quantity traded by an order",
            "units",
            TQP,
            trades.trade_size_median,
        ),
        (
            "trade_size_tail",
            "tail exponent of quantities traded",
            "1",
            f"{HILL}; Gopikrishnan et al. 2000, Physical Review E 62",
            trades.trade_size_tail,
        ),
        (
            "response_1",
            "move of the mid to the next order, in the order's direction",
            "ticks",
            TQP,
            lambda s: trades.response(s, 1),
        ),
        (
            "response_10",
            "move of the mid to the tenth order after",
            "ticks",
            TQP,
            lambda s: trades.response(s, 10),
        ),
        (
            "effective_spread",
            "twice the price paid beyond the mid before",
            "ticks",
            HUANG_STOLL,
            trades.effective_spread,
        ),
        (
            "realised_spread_1s",
            "twice the price paid beyond the mid 1 s after",
            "ticks",
            HUANG_STOLL,
            lambda s: trades.realised_spread(s, 1.0),
        ),
        (
            "realised_spread_10s",
            "twice the price paid beyond the mid 10 s after",
            "ticks",
            HUANG_STOLL,
            lambda s: trades.realised_spread(s, 10.0),
        ),
    )
)


def facts(
    recordings: Recording | Sequence[Recording], config: FactsConfig | None = None
) -> tuple[Fact, ...]:
    """Every fact of one market but the impact law, in the table's order.

    Several recordings are pooled: nothing is measured across their ends.

    Raises:
        DataError: no recording, or one whose arrays contradict each other.
    """
    several = [recordings] if isinstance(recordings, Recording) else list(recordings)
    return facts_of(pooled(several, config))


def facts_of(sample: Sample) -> tuple[Fact, ...]:
    """Every fact of a sample."""
    return tuple(
        _fact(m.name, m.meaning, m.unit, m.source, sample.config, partial(m.of, sample))
        for m in MEASURES
    )


def impact_facts(
    impact: Mapping[str, ImpactSample], config: FactsConfig | None = None
) -> tuple[Fact, ...]:
    """The exponent of each impact curve, by the name of its experiment.

    A fact is called `impact_exponent` and the experiment's name; all share one range.
    """
    config = config or FactsConfig()
    return tuple(
        _fact(
            f"{IMPACT_FACT}_{name}",
            f"exponent of impact in volume, {name.replace('_', ' ')}",
            "1",
            IMPACT_LAW,
            config,
            partial(
                power_law_exponent,
                pairs.volume,
                pairs.impact,
                pairs.weights,
                clusters=pairs.clusters,
                config=config,
            ),
            ranged_as=IMPACT_FACT,
        )
        for name, pairs in impact.items()
    )


def _fact(
    name: str,
    meaning: str,
    unit: str,
    source: str,
    config: FactsConfig,
    measure: Callable[[], Estimate],
    ranged_as: str = "",
) -> Fact:
    key = ranged_as or name
    target: Target = getattr(config.targets, key)
    why = TargetsConfig.model_fields[key].description or ""
    blank = Fact(name, meaning, unit, source, target, why)
    try:
        found = measure()
    except DataError as error:
        return replace(blank, reason=str(error))
    return replace(blank, value=found.value, low=found.low, high=found.high)


def _inside(value: float, target: Target) -> bool:
    return (target.low is None or value >= target.low) and (
        target.high is None or value <= target.high
    )
