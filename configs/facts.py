"""What a market's statistics are measured with, and where they should lie."""

from __future__ import annotations

from typing import Self

from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from configs.base import Config


class Target(Config):
    """A range that a fact should lie in, its ends included; an end left out is open."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low is {self.low:g}, above high, {self.high:g}")
        return self

    @property
    def is_set(self) -> bool:
        """Whether either end is given: without one the fact is told, not judged."""
        return self.low is not None or self.high is not None


def _open(description: str = "of the instrument: set a range to judge it") -> Target:
    """A fact without a range of its own."""
    field: Target = Field(default=Target(), description=description)
    return field


def _range(low: float | None, high: float | None, description: str) -> Target:
    field: Target = Field(default=Target(low=low, high=high), description=description)
    return field


class TargetsConfig(Config):
    """One range for each fact of `market.facts`, by its name; each with its source.

    Those that every market shows have a default; those of the instrument (spread,
    rates, sizes) have none, so that a study sets its own.
    """

    kurtosis_1s: Target = _open("falls with the tick and the rate of news: told, not judged")
    kurtosis_10s: Target = _open("as at 1 s")
    kurtosis_60s: Target = _range(
        3.0, None, "heavier tails than the normal law's 3 (Cont 2001, fact 2)"
    )
    kurtosis_fall: Target = _range(
        None, 1.0, "returns turn normal as the horizon grows (Cont 2001, fact 4)"
    )
    volatility_clustering: Target = _range(
        0.05, 0.3, "positive, slowly decaying (Cont 2001, fact 6); an hour of AAPL shows .11 to .15"
    )
    variance_ratio: Target = _range(
        0.8, 1.2, "near 1: no room to predict prices (Lo and MacKinlay 1988)"
    )
    volatility: Target = _open()
    sign_memory_1: Target = _range(
        0.2, None, "long memory (Lillo and Farmer 2004); an hour of AAPL shows .61"
    )
    sign_memory_10: Target = _range(
        0.05, None, "long memory (Lillo and Farmer 2004); an hour of AAPL shows .11"
    )
    sign_memory_decay: Target = _open(
        "about .5 to .7 over long samples (Lillo and Farmer 2004); an hour does not settle it"
    )
    spread_mean: Target = _open()
    spread_median: Target = _open()
    locked_or_crossed: Target = _range(
        None, 0.01, "arbitrage and Rule 610(d) of Regulation NMS leave none that last"
    )
    one_sided: Target = _open()
    depth_at_best: Target = _open()
    depth_peak: Target = _open()
    messages_per_second: Target = _open()
    orders_per_second: Target = _open()
    interarrival_cv: Target = _open("1 for a Poisson stream; real ones cluster, above 1")
    interarrival_below_1ms: Target = _open()
    fano_1s: Target = _open("1 for a Poisson stream; real ones cluster, above 1")
    fano_60s: Target = _open("as at 1 s")
    branching_ratio: Target = _open("near 1 on long samples (Hardiman and Bouchaud 2014)")
    cancel_age_median: Target = _open()
    cancel_age_tail: Target = _open()
    trade_size_mean: Target = _open()
    trade_size_median: Target = _open()
    trade_size_tail: Target = _open("about 1.5 over long samples (Gopikrishnan et al. 2000)")
    response_1: Target = _open()
    response_10: Target = _open()
    effective_spread: Target = _open()
    realised_spread_1s: Target = _open()
    realised_spread_10s: Target = _open()
    impact_exponent: Target = _range(
        0.4, 0.6, "the square-root law: .49 for metaorders in Tokyo (Sato and Kanazawa 2024)"
    )


class FactsConfig(Config):
    """How facts are measured, and the ranges that they should lie in.

    Intervals draw whole stretches of time again (block bootstrap, Kuensch 1989): a
    stretch must outlast the memory of what is measured, and there must be enough of
    them. Thirty of two minutes make an hour. Orders' signs remember longer, so that
    the intervals of one hour are too narrow rather than too wide.
    """

    block_seconds: PositiveFloat = Field(120.0, description="of a stretch that is drawn as one")
    bootstrap_samples: int = Field(default=500, ge=100, le=100_000)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    seed: NonNegativeInt = Field(0, description="of the bootstrap")
    tail_share: float = Field(
        default=0.1, gt=0.0, le=0.5, description="largest values that a tail exponent is fitted to"
    )
    sign_lags: int = Field(
        default=100, ge=5, le=10_000, description="in orders; the fit of the signs' decay ends here"
    )
    targets: TargetsConfig = TargetsConfig()
