"""Markets whose best policy is known: their laws, their costs, and how long an episode is.

Each law names its parameters as its source does; `market.analytic.terms` brings all of them to
the same terms. "Limit" is the position limit, and positions are shares of it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from configs.base import Config
from configs.strategic import DecisionConfig

FillShare = Annotated[float, Field(ge=0, le=1)]


class Ar1Law(Config):
    """A price whose deviation from its anchor is AR(1), mean-variance utility, quadratic cost.

    The deviation s follows s' = phi s + sigma e; a bar returns s' - s, of which (1 - phi)/2 of
    the variance can be foreseen. In multiples of the risk term rho the utility of a bar is
    x f - x^2/2 - cost (x' - x)^2/2, f = -(1 - phi) s / rho, as in Garleanu and Pedersen, "Dynamic
    trading with predictable returns and transaction costs" (2013).

    full_at: standard deviations of s at which f is the limit; it sets rho.
    cost: theirs is 20 in the project's yardsticks.
    fill_share: of a bar's return that what is traded in it earns; 1/2 fills evenly over the bar.
    """

    kind: Literal["ar1"] = "ar1"
    phi: float = Field(0.98, gt=0, lt=1)
    sigma_bp: PositiveFloat = 20.0
    full_at: PositiveFloat = 2.0
    cost: NonNegativeFloat = 20.0
    half_spread_bp: NonNegativeFloat = 0.0
    fill_share: FillShare = 0.5


class RegimeState(Config):
    """One state of the regime market; drift and volatility a year."""

    drift: float
    volatility: PositiveFloat
    mean_bars: float = Field(gt=1, description="that it lasts")


class RegimeLaw(Config):
    """Geometric Brownian motion whose drift and volatility switch; log utility of wealth.

    A full position is `leverage` times wealth, at the begin of every bar: what prices move it
    is set right without a charge. By default a constant Kelly share earns .03 a year, the
    oracle .37 (the project's yardsticks: .036 and .369).
    """

    kind: Literal["regime"] = "regime"
    calm: RegimeState = RegimeState(drift=0.18, volatility=0.14, mean_bars=500)
    wild: RegimeState = RegimeState(drift=-0.20, volatility=0.30, mean_bars=250)
    bars_per_year: PositiveFloat = 252.0
    leverage: float = Field(3.0, gt=0, le=5)
    half_spread_bp: NonNegativeFloat = 1.0
    fill_share: FillShare = 0.5


class IidLaw(Config):
    """Independent normal returns, paid in wealth after a half spread.

    shown: "next" shows at each decision the return of the bar after the one in which the order
    is executed, an oracle; "last" shows the past bar's, which says nothing: a random walk.
    Orders fill at the executing bar's close, so that its own return plays no part.
    """

    kind: Literal["iid"] = "iid"
    sigma_bp: PositiveFloat = 20.0
    shown: Literal["next", "last"] = "next"
    half_spread_bp: NonNegativeFloat = 2.0


class AlmgrenChrissLaw(Config):
    """A position to be liquidated under linear impact: Almgren and Chriss, "Optimal execution of
    portfolio transactions" (2000), whose base case these are. Money is dollars, time days.

    temporary, permanent: eta and gamma, dollars a share for one share a day, or one share.
    """

    kind: Literal["almgren_chriss"] = "almgren_chriss"
    shares: PositiveFloat = 1e6
    price: PositiveFloat = 50.0
    days: PositiveFloat = 5.0
    volatility: PositiveFloat = 0.95
    half_spread: NonNegativeFloat = 0.0625
    temporary: PositiveFloat = 2.5e-6
    permanent: NonNegativeFloat = 2.5e-7
    risk_aversion: NonNegativeFloat = 1e-6


Law = Annotated[Ar1Law | RegimeLaw | IidLaw | AlmgrenChrissLaw, Field(discriminator="kind")]


class AnalyticConfig(Config):
    """One analytic market with the strategic layer's four agents and choices.

    limit_units: of a full position; positions are whole units, as in accounts, and so lie on a
        lattice. At the end of the last bar the position is flat.
    """

    law: Law = Ar1Law()
    horizon_bars: int = Field(128, ge=2, le=10_000, description="of an episode")
    limit_units: int = Field(60, ge=2, le=10_000)
    decision: DecisionConfig = DecisionConfig()

    @property
    def name(self) -> str:
        """The market's name: its law's, or what an independent return shows."""
        if isinstance(self.law, IidLaw):
            return "oracle" if self.law.shown == "next" else "random_walk"
        return self.law.kind

    @model_validator(mode="after")
    def _spreading_out_pays(self) -> Self:
        law = self.law
        if isinstance(law, AlmgrenChrissLaw):
            bar = law.days / self.horizon_bars
            if law.temporary <= law.permanent * bar / 2.0:
                raise ValueError(
                    f"temporary is {law.temporary:g} with permanent {law.permanent:g} and bars of "
                    f"{bar:g} days: expected temporary > permanent x bar / 2, else round trips pay"
                )
        return self
