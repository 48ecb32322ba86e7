"""Indicators over bars, how their columns are scaled, and the regime model.

The defaults are the numbers of the system's definitions; lengths are in bars unless said.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from configs.base import Config

Percent = PositiveFloat


class ClockConfig(Config):
    """What the stamps of two bars say about the time between them."""

    longest_break_hours: NonNegativeFloat = Field(
        96.0,
        description=(
            "a longer pause between two bars is a hole, at which every indicator starts again; "
            "a shorter one is a session break, as a night, a weekend or a holiday is"
        ),
    )


class MLMIConfig(Config):
    """Machine-learning momentum index: nearest neighbours among past crosses of averages."""

    fast_average: PositiveInt = 5
    slow_average: PositiveInt = 20
    slow_rsi: PositiveInt = 20
    fast_rsi: PositiveInt = 5
    smoothing: PositiveInt = Field(20, description="weighted average of each strength index")
    neighbours: PositiveInt = 200
    history: PositiveInt = Field(10_000, description="crosses that are remembered")

    @model_validator(mode="after")
    def _fast_below_slow(self) -> Self:
        if self.fast_average >= self.slow_average:
            raise ValueError(
                f"fast_average {self.fast_average} is not below slow_average "
                f"{self.slow_average}, expected fast_average < slow_average"
            )
        return self


class NWRQKConfig(Config):
    """Nadaraya-Watson regression with a rational quadratic kernel."""

    bandwidth: PositiveFloat = 8.0
    relative_weight: PositiveFloat = 8.0
    window: PositiveInt = 100
    least: PositiveInt = Field(25, description="bars before there is a value")

    @model_validator(mode="after")
    def _least_fits(self) -> Self:
        if self.least > self.window:
            raise ValueError(
                f"least {self.least} is above window {self.window}, expected least <= window"
            )
        return self


class FVGConfig(Config):
    """Fair value gaps."""

    body_ratio: PositiveFloat = Field(1.5, description="of the middle bar's body to the mean body")
    body_bars: PositiveInt = 10
    expiry: PositiveInt = Field(50, description="the last age at which a gap is active")


class ProfileConfig(Config):
    """The volume profile and its low-volume nodes, with the parts of their strength."""

    window: PositiveInt = 20
    low_share: PositiveFloat = Field(0.3, lt=1.0, description="of the point of control")
    thinness: NonNegativeFloat = 40.0
    per_test: NonNegativeFloat = 3.0
    most_tests: NonNegativeFloat = 15.0
    rejection: NonNegativeFloat = 15.0
    recency: NonNegativeFloat = 20.0
    proximity: NonNegativeFloat = 10.0

    @property
    def most(self) -> float:
        """The strength of a node that has every part in full."""
        return self.thinness + self.most_tests + self.rejection + self.recency + self.proximity


class MMDConfig(Config):
    """Maximum mean discrepancy of the last bars against those before them."""

    recent: PositiveInt = 100
    reference: PositiveInt = Field(500, ge=2)


class ScalingConfig(Config):
    """How raw indicators become columns within [-1, 1]."""

    value_clip: Percent = Field(5.0, description="nwrqk_value, percent")
    slope_clip: PositiveFloat = Field(2.0, description="nwrqk_slope, ATR a bar")
    distance_decay: PositiveFloat = Field(100.0, description="of lvn_distance, per price")
    level_clip: Percent = Field(2.0, description="fvg_nearest_level, percent")
    age_decay: PositiveFloat = Field(0.1, description="of fvg_age, per bar")
    momentum_clip: Percent = Field(5.0, description="momentum_5, percent")
    zscore_window: PositiveInt = Field(500, ge=2)
    zscore_least: PositiveInt = Field(100, ge=2, description="values before there is a score")
    zscore_clip: PositiveFloat = 3.0

    @model_validator(mode="after")
    def _least_fits(self) -> Self:
        if self.zscore_least > self.zscore_window:
            raise ValueError(
                f"zscore_least {self.zscore_least} is above zscore_window {self.zscore_window}, "
                "expected zscore_least <= zscore_window"
            )
        return self


class RegimeConfig(Config):
    """How the four-state hidden Markov model is fitted and watched."""

    return_bars: PositiveInt | None = Field(
        None, description="bars over which a return is taken; null: a day's worth"
    )
    volatility_bars: PositiveInt | None = Field(
        None,
        description="bars over which volatility is measured; null: a day's worth, which evens out "
        "the hours of the day",
    )
    restarts: PositiveInt = 6
    trial_iterations: PositiveInt = Field(
        15, description="of each restart; the likeliest then goes on to its end"
    )
    iterations: PositiveInt = 200
    tolerance: PositiveFloat = Field(
        1e-6, description="gain in log likelihood a bar that ends a fit"
    )
    persistence: NonNegativeFloat = Field(
        1.0, description="weight of the prior that a regime lasts, as a share of the bars"
    )
    prior_bars: PositiveFloat = Field(10.0, description="weight of the prior of covariances")
    alarm: PositiveFloat = Field(
        0.95, lt=1.0, description="probability that the regime has changed which raises the alarm"
    )
    seed: int = Field(0, ge=0)


class SignalsConfig(Config):
    """Everything that the layers above execution read from bars."""

    clock: ClockConfig = ClockConfig()
    mlmi: MLMIConfig = MLMIConfig()
    nwrqk: NWRQKConfig = NWRQKConfig()
    fvg: FVGConfig = FVGConfig()
    profile: ProfileConfig = ProfileConfig()
    mmd: MMDConfig = MMDConfig()
    scaling: ScalingConfig = ScalingConfig()
    volatility_bars: PositiveInt = Field(30, ge=2, description="of volatility_30 and of the MMD")
    atr_bars: PositiveInt = 14
    volume_average: PositiveInt = 20
    regime: RegimeConfig = RegimeConfig()
