"""Second moments of bar returns, kept bar by bar: what value at risk of the next bar knows.

Causal by construction: the covariance after bar t is of bars up to t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import DataError
from configs.risk import EwmaConfig, SampleConfig, VarConfig
from market.kernels import kernel
from market.risk.layout import LEVELS
from market.risk.value_at_risk import historical_var

Floats = NDArray[np.float64]
DAYS_A_YEAR = 252
LEAST_HISTORY = 100  # bars, of a 99% quantile


class Covariance:
    """The covariance of returns of `count` instruments over a day of `day_bars` bars.

    Attributes:
        bars: returns taken so far.
    """

    def __init__(self, config: VarConfig, count: int) -> None:
        self.config = config
        self.bars = 0
        self._returns = np.zeros((max(config.history_bars, _window(config.covariance)), count))
        self._moments = np.zeros((count, count))

    def add(self, returns: ArrayLike) -> None:
        """Take in the returns of one bar, shares of price, [count].

        Raises:
            DataError: of another shape, or not finite; nothing is taken then.
        """
        row = np.asarray(returns, np.float64)
        if row.shape != self._returns.shape[1:] or not np.isfinite(row).all():
            raise DataError(
                f"risk covariance: returns of bar {self.bars} are {row.tolist()}, expected "
                f"{self._returns.shape[1]} finite numbers; leave a bar without prices out"
            )
        self._returns[self.bars % len(self._returns)] = row
        self.bars += 1
        law = self.config.covariance
        if isinstance(law, EwmaConfig):
            # The weights of the first bars sum to 1 as well: a running mean, then lambda.
            _decay(self._moments, row, min(law.decay, 1.0 - 1.0 / self.bars))
        else:
            self._moments = _sample(self.history(law.bars))

    def history(self, bars: int) -> Floats:
        """Returns of the last `bars` bars at most, oldest first, [T, count]."""
        kept = min(bars, self.bars, len(self._returns))
        places = np.arange(self.bars - kept, self.bars) % len(self._returns)
        return self._returns[places]

    def of_a_day(self) -> Floats:
        """D R D of a day, [count, count], D no less than the floor of volatility.

        Before `least_bars` D is the prior volatility and R the identity.
        """
        config, count = self.config, len(self._moments)
        if self.bars < config.least_bars:
            return np.eye(count) * config.prior_volatility**2 / DAYS_A_YEAR
        least = np.full(count, config.volatility_floor / math.sqrt(DAYS_A_YEAR))
        if config.method == "larger" and self.bars >= LEAST_HISTORY:
            least = np.maximum(least, self._implied() * math.sqrt(config.day_bars))
        out = np.empty((count, count))
        _over(self._moments, math.sqrt(config.day_bars), least, out)
        return out

    def state_dict(self) -> dict[str, Any]:
        """What `load_state` takes back."""
        return {
            "bars": self.bars,
            "returns": self._returns.copy(),
            "moments": self._moments.copy(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave.

        Raises:
            DataError: it is of another configuration.
        """
        for name, mine in (("returns", self._returns), ("moments", self._moments)):
            if np.shape(state[name]) != mine.shape:
                raise DataError(
                    f"risk covariance: {name} have shape {np.shape(state[name])}, expected "
                    f"{mine.shape}; start anew or with the configuration they were kept under"
                )
        self.bars = int(state["bars"])
        self._returns[:], self._moments = state["returns"], np.array(state["moments"])

    def _implied(self) -> Floats:
        """The deviation whose normal quantiles are the historical ones, the largest, [count]."""
        past, quantile = self.history(self.config.history_bars), NormalDist().inv_cdf
        units = np.eye(past.shape[1])
        return np.array(
            [
                max(
                    historical_var(side * unit, past, level) / quantile(level)
                    for side in (1.0, -1.0)
                    for level in LEVELS
                )
                for unit in units
            ]
        )


@kernel
def _decay(moments: Any, row: Any, decay: float) -> None:
    """Moments after one more bar's returns."""
    for i in range(len(row)):
        for j in range(len(row)):
            moments[i, j] = decay * moments[i, j] + (1.0 - decay) * (row[i] * row[j])


@kernel
def _over(moments: Any, root: float, least: Any, out: Any) -> None:
    """Covariance over `root`^2 bars by their correlation and deviations of no less than `least`."""
    count = len(least)
    daily = np.empty(count)
    for i in range(count):
        daily[i] = max(math.sqrt(moments[i, i]) * root, least[i])
    for i in range(count):
        for j in range(count):
            correlation = 1.0 if i == j else 0.0
            scale = math.sqrt(moments[i, i]) * math.sqrt(moments[j, j])
            if i != j and scale > 0.0:
                correlation = min(max(moments[i, j] / scale, -1.0), 1.0)
            out[i, j] = correlation * (daily[i] * daily[j])


def _window(law: EwmaConfig | SampleConfig) -> int:
    return law.bars if isinstance(law, SampleConfig) else 1


def _sample(returns: Floats) -> Floats:
    """Sample covariance about the mean; zeros of a single row."""
    if len(returns) < 2:
        return np.zeros((returns.shape[1], returns.shape[1]))
    centred = returns - returns.mean(axis=0)
    return np.asarray(centred.T @ centred / (len(returns) - 1))
