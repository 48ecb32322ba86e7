"""Market regimes: a Gaussian hidden Markov model of four states, filtered online.

Two features of each bar: the log return over `return_bars`, and the log of realised
volatility over `volatility_bars`, measured by the bars' ranges, sqrt(mean of
ln(high/low)^2 / (4 ln 2)) (Parkinson, "The extreme value method for estimating the
variance of the rate of return", 1980). The log of a range is near to normal and far
less noisy than that of a squared return (Alizadeh, Brandt and Diebold, "Range-based
estimation of stochastic volatility models", 2002), so a Gaussian state can tell a bar's
volatility without a window that would smear the regimes' edges.

`signals.regime_fit` estimates the model; here it is filtered: the posterior at a bar
uses that bar and those before it (Hamilton, "A new approach to the economic analysis
of nonstationary time series", 1989, equations 4-6).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.errors import ArtefactError, ConfigError
from configs.signals import SignalsConfig
from market.bars import Bars
from market.kernels import kernel
from signals.bars.clock import read_clock
from signals.bars.columns import REGIMES
from signals.bars.trend import Scalars
from signals.bars.windows import Floats, Ring, back, full, new_ring, push, window

STATES = len(REGIMES)
FEATURES = ("log_return", "log_volatility")
_FORMAT = "grandmodel regime model 1"
_PARKINSON = 1.0 / (4.0 * math.log(2.0))
_ROUNDING = 1e-6  # that probabilities may miss of one
FORCE = np.dtype([("started", "i8"), ("regime", "i8")])


@dataclass(frozen=True)
class RegimeModel:
    """Parameters of a fitted model; states stand in the order of REGIMES.

    Attributes:
        start: [4], probabilities of the first bar.
        transition: [4][4], from row to column, a bar.
        mean: [4][2], of FEATURES.
        covariance: [4][2][2], of FEATURES.
        bar_minutes: length of the bars it was fitted on, and fits.
        return_bars, volatility_bars: windows of the features, bars.
        floor: lowest volatility a bar that is told apart from none.
        alarm: probability of a change that raises the alarm.
        log_likelihood: of the bars it was fitted on, a bar.
        source: fingerprint of their file.

    Raises:
        ArtefactError: shapes, probabilities or covariances that are none.
    """

    start: tuple[float, ...]
    transition: tuple[tuple[float, ...], ...]
    mean: tuple[tuple[float, ...], ...]
    covariance: tuple[tuple[tuple[float, ...], ...], ...]
    bar_minutes: int
    return_bars: int
    volatility_bars: int
    floor: float
    alarm: float
    log_likelihood: float
    source: str = field(default="")

    def __post_init__(self) -> None:
        count = len(FEATURES)
        shapes = {
            "start": (STATES,),
            "transition": (STATES, STATES),
            "mean": (STATES, count),
            "covariance": (STATES, count, count),
        }
        for name, shape in shapes.items():
            try:
                got = np.array(getattr(self, name), np.float64)
            except (TypeError, ValueError):
                got = np.full(1, np.nan)
            if got.shape != shape or not np.isfinite(got).all():
                raise _damaged(name, f"finite numbers of shape {list(shape)}")
        for name in ("start", "transition"):
            got = np.array(getattr(self, name))
            if (got < 0.0).any() or (abs(got.sum(axis=-1) - 1.0) > _ROUNDING).any():
                raise _damaged(name, "probabilities that sum to 1")
        if (np.linalg.eigvalsh(np.array(self.covariance)) <= 0.0).any():
            raise _damaged("covariance", "positive definite matrices")
        for name in ("bar_minutes", "return_bars", "volatility_bars", "floor", "alarm"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise _damaged(name, "a number above 0")

    def save(self, path: Path) -> None:
        """Write the model as JSON; the file is replaced at once or not at all."""
        text = json.dumps({"format": _FORMAT, **asdict(self)}, indent=2)
        part = path.with_name(path.name + ".part")
        part.write_text(text + "\n")
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> RegimeModel:
        """Read a saved model.

        Raises:
            ArtefactError: there is none, or it is damaged.
        """
        try:
            given = json.loads(path.read_text())
        except OSError as error:
            raise ArtefactError(
                f"{path} cannot be read ({error.strerror}): expected a regime model; fit one on "
                "the training split and save it there"
            ) from None
        except ValueError as error:
            raise ArtefactError(
                f"{path} is no JSON ({error}): expected a saved regime model; fit it again"
            ) from None
        if not isinstance(given, dict) or given.pop("format", None) != _FORMAT:
            raise ArtefactError(
                f"{path} is no regime model of this version: expected format '{_FORMAT}'; fit it "
                "again"
            )
        names = {item.name for item in fields(cls)}
        odd = sorted(names ^ set(given))
        if odd:
            raise ArtefactError(
                f"{path} is damaged: '{odd[0]}' is {'missing' if odd[0] in names else 'unknown'}; "
                "fit it again"
            )
        try:
            return cls(**{name: _frozen(value) for name, value in given.items()})
        except ArtefactError as error:
            raise ArtefactError(f"{path}: {error}") from None


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _damaged(name: str, expected: str) -> ArtefactError:
    return ArtefactError(f"regime model: '{name}' is not valid: expected {expected}; fit it again")


class FilterSettings(NamedTuple):
    """The model as arrays: `precision` [4, 2, 2] inverse covariances, `constant` [4] what a
    log density has beside its square form."""

    start: Floats
    transition: NDArray[np.float64]
    mean: NDArray[np.float64]
    precision: NDArray[np.float64]
    constant: Floats
    floor: float
    alarm: float


class FilterState(NamedTuple):
    """Log closes, squared log ranges, the posterior [4], the regime in force."""

    closes: Ring
    squares: Ring
    posterior: Floats
    force: Scalars


class RegimeReading(NamedTuple):
    """What the filter says at each bar; NaN and -1 before the features are there.

    Attributes:
        posterior: float64 [n, 4], filtered probabilities in the order of REGIMES.
        confidence: float64 [n], the largest of them.
        regime: int64 [n], the regime in force: the likeliest at the first bar, then the
            likeliest at each alarm.
        alarm: bool [n], bars at which the probability that the regime in force has ended
            reaches the model's alarm.
    """

    posterior: NDArray[np.float64]
    confidence: NDArray[np.float64]
    regime: NDArray[np.int64]
    alarm: NDArray[np.bool_]


def filter_settings(model: RegimeModel) -> FilterSettings:
    covariance = np.array(model.covariance)
    constant = -0.5 * np.linalg.slogdet(covariance)[1] - math.log(2.0 * math.pi)
    return FilterSettings(
        np.array(model.start),
        np.array(model.transition),
        np.array(model.mean),
        np.linalg.inv(covariance),
        constant,
        model.floor,
        model.alarm,
    )


def new_filter(model: RegimeModel) -> FilterState:
    """The state before the first bar."""
    return FilterState(
        new_ring(model.return_bars + 1),
        new_ring(model.volatility_bars),
        np.zeros(STATES),
        np.zeros(1, FORCE),
    )


@kernel
def features_update(
    closes: Ring, squares: Ring, floor: float, high: float, low: float, close: float
) -> tuple[float, float]:
    """The two features of a bar; NaN each until both windows are full."""
    span = np.log(high / low)
    push(closes, np.log(close))
    push(squares, span * span)
    if not (full(closes) and full(squares)):
        return np.nan, np.nan
    held = window(squares)
    total = 0.0
    for value in held:
        total += value
    volatility = max(np.sqrt(total / len(held) * _PARKINSON), floor)
    return back(closes, 0) - back(closes, len(closes.values) // 2 - 1), np.log(volatility)


@kernel
def features_series(
    closes: Ring,
    squares: Ring,
    floor: float,
    high: Floats,
    low: Floats,
    close: Floats,
    out: NDArray[np.float64],
) -> None:
    """The features of every bar of a stretch without a hole into `out` [n, 2]."""
    for t in range(len(close)):
        pair = features_update(closes, squares, floor, high[t], low[t], close[t])
        for k, value in enumerate(pair):
            out[t, k] = value


@kernel
def _weigh(settings: FilterSettings, features: Floats, posterior: Floats, started: bool) -> None:
    """One step of the forward filter: predict by the transitions, weigh by the densities."""
    prior = np.zeros(STATES)
    density = np.empty(STATES)
    for state in range(STATES):
        if started:
            for before in range(STATES):
                prior[state] += posterior[before] * settings.transition[before, state]
        else:
            prior[state] = settings.start[state]
        square = 0.0
        for i in range(len(features)):
            for j in range(len(features)):
                a = features[i] - settings.mean[state, i]
                b = features[j] - settings.mean[state, j]
                square += a * settings.precision[state, i, j] * b
        density[state] = settings.constant[state] - 0.5 * square
    # Only ratios count, and the largest density of a state that is possible is one.
    most = -np.inf
    for state in range(STATES):
        if prior[state] > 0.0:
            most = max(most, density[state])
    total = 0.0
    for state in range(STATES):
        posterior[state] = prior[state] * np.exp(min(density[state] - most, 0.0))
        total += posterior[state]
    for state in range(STATES):
        posterior[state] /= total


@kernel
def filter_update(
    state: FilterState, settings: FilterSettings, high: float, low: float, close: float
) -> tuple[float, int, bool]:
    """One bar into `state.posterior`. Returns confidence, regime in force and alarm.

    NaN, -1 and False before the features are there.
    """
    force = state.force[0]
    change, volatility = features_update(
        state.closes, state.squares, settings.floor, high, low, close
    )
    if np.isnan(change):
        return np.nan, -1, False
    _weigh(settings, np.array((change, volatility)), state.posterior, force.started > 0)
    likeliest = np.argmax(state.posterior)
    alarm = False
    if force.started == 0:
        force.regime = likeliest
    elif 1.0 - state.posterior[force.regime] >= settings.alarm:
        force.regime = likeliest
        alarm = True
    force.started = 1
    return state.posterior[likeliest], force.regime, alarm


@kernel
def filter_series(
    state: FilterState,
    settings: FilterSettings,
    high: Floats,
    low: Floats,
    close: Floats,
    posterior: NDArray[np.float64],
    confidence: Floats,
    regime: NDArray[np.int64],
    alarm: NDArray[np.bool_],
) -> None:
    """Every bar of a stretch without a hole into the arrays of a `RegimeReading`."""
    for t in range(len(close)):
        confidence[t], regime[t], alarm[t] = filter_update(
            state, settings, high[t], low[t], close[t]
        )
        for k in range(STATES):
            posterior[t, k] = state.posterior[k] if regime[t] >= 0 else np.nan


def regime_filter(
    model: RegimeModel, bars: Bars, bar_minutes: int, config: SignalsConfig | None = None
) -> RegimeReading:
    """Filter bars; the filter starts again at holes.

    Raises:
        ConfigError: the model is of bars of another length.
    """
    config = config or SignalsConfig()
    check_length(model, bar_minutes)
    n = len(bars)
    out = RegimeReading(
        np.empty((n, STATES)), np.empty(n), np.empty(n, np.int64), np.empty(n, np.bool_)
    )
    settings = filter_settings(model)
    for first, after in read_clock(bars.start, bar_minutes, config.clock).segments:
        part = slice(first, after)
        prices = (bars.high[part], bars.low[part], bars.close[part])
        filter_series(
            new_filter(model),
            settings,
            *prices,
            out.posterior[part],
            out.confidence[part],
            out.regime[part],
            out.alarm[part],
        )
    return out


def check_length(model: RegimeModel, bar_minutes: int) -> None:
    """Raise ConfigError where a model is of bars of another length."""
    if model.bar_minutes != bar_minutes:
        raise ConfigError(
            f"a regime model of {model.bar_minutes}-minute bars on {bar_minutes}-minute bars: "
            "expected bars of one length; fit one on bars of yours"
        )
