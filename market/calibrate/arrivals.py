"""Hawkes branching, its decay rates and the activity's dispersion, from counts of messages.

The variance of the number of messages in a window, over its mean, as a function of the
window's length holds all second moments of the arrivals (Bacry, Mastromatteo and Muzy,
"Hawkes processes in finance", 2015, section 2.3). For the simulator's arrivals it is known
in closed form: a Hawkes process with exponential kernels has a covariance that is a sum of
exponentials, and so has the activity that its baseline follows. The fit takes the
parameters whose curve lies nearest to the measured one, on logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import factorial

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.market import ArrivalConfig
from market.state import EXCITATIONS

Floats = NDArray[np.float64]

SHORTEST_WINDOW = 1e-3  # seconds
WINDOWS = 24
FEWEST_WINDOWS = 12  # of the longest length that fits the recording
LONGEST_WINDOW = 600.0
FEWEST_MESSAGES = 500
_ORDERS = 7  # of the series of the activity's covariance; its terms fall as 1 / k!
_COARSE, _FINE = 9, 5  # points in each parameter: of the first grid, of its refinements
_REFINEMENTS = 6
_MODEL_ERROR = 0.1  # of a logarithm: no window counts for more than what four kernels can follow
LIVES = 30.0  # of the slowest kernel that a recording must hold for it to be told from a trend
FASTEST_SLOWEST = 0.1  # 1/s, below which the slowest kernel may lie however short the recording
# Branching, log of the slowest and of the fastest decay (1/s), sigma of the log activity.
_LOWEST = (0.05, np.log(1e-4), np.log(1.0), 0.0)
_HIGHEST = (0.98, np.log(10.0), np.log(1e5), 1.4)
# How far from the default each of them may lie at one unit of misfit. Excitation and activity
# explain slow swings equally well, so that an hour alone cannot tell their shares.
_DOUBT = (0.15, np.inf, np.inf, 0.4)
_APART = 1e-9  # two decays this close count as one, which the partial fractions cannot take


@dataclass(frozen=True)
class ArrivalLaw:
    """Second moments of arrivals: the parameters that shape them."""

    branching: float
    slowest: float  # 1/s, decay of the slowest kernel
    fastest: float
    dispersion: float  # sigma of the log activity

    @property
    def rates(self) -> Floats:
        """The decays of the kernels, in equal steps of their logarithm, 1/s."""
        return np.geomspace(self.slowest, self.fastest, EXCITATIONS)


@dataclass(frozen=True)
class ArrivalFit:
    """The law fitted, the curve that it was fitted to, and how far it is from it."""

    law: ArrivalLaw
    windows: Floats  # [windows], seconds
    measured: Floats  # [windows], variance over mean
    fitted: Floats  # [windows]
    count: int  # messages

    @property
    def misfit(self) -> float:
        """Root of the mean squared difference of the curves' logarithms."""
        return float(np.sqrt(np.mean(np.log(self.fitted / self.measured) ** 2)))


def fit_arrivals(
    times: Floats, seconds: float, memories: tuple[float, ...] | None = None
) -> ArrivalFit:
    """Fit arrivals at `times` [n], seconds from 0, over a recording of `seconds`.

    Raises:
        DataError: too few messages, or too short a recording, to tell their clustering.
    """
    if len(times) < FEWEST_MESSAGES:
        raise DataError(
            f"{len(times)} messages: expected at least {FEWEST_MESSAGES} to tell how they cluster;"
            " give a longer file"
        )
    memories = memories or ArrivalConfig().activity_seconds
    longest = min(LONGEST_WINDOW, seconds / FEWEST_WINDOWS)
    windows = np.geomspace(SHORTEST_WINDOW, longest, WINDOWS)
    measured = np.array([count_dispersion(times, seconds, window) for window in windows])
    known = np.isfinite(measured) & (measured > 0.0)
    windows, measured = windows[known], measured[known]
    rate = len(times) / seconds
    # A variance from k windows is known to a relative error of sqrt(2 / k).
    weights = np.minimum(seconds / windows, len(times)) / 2.0
    weights = 1.0 / (1.0 / weights + _MODEL_ERROR**2)
    law = _search(rate, windows, measured, weights, memories, LIVES / seconds)
    fitted = dispersion_curve(law, rate, windows, memories)
    return ArrivalFit(law, windows, measured, fitted, len(times))


def count_dispersion(times: Floats, seconds: float, window: float) -> float:
    """Variance over mean of the count in full windows; NaN below two of them or without any."""
    number = int(seconds / window)
    if number < 2:
        return float("nan")
    inside = times[times < number * window]
    place = np.minimum((inside / window).astype(np.int64), number - 1)
    # Most short windows are empty: only those that are not need to be seen.
    _, counts = np.unique(place, return_counts=True)
    mean = counts.sum() / number
    if mean == 0.0:
        return float("nan")
    squares = float((counts.astype(np.float64) ** 2).sum()) / number
    return (squares - mean**2) * number / (number - 1) / mean


def dispersion_curve(
    law: ArrivalLaw, rate: float, windows: Floats, memories: tuple[float, ...]
) -> Floats:
    """Variance over mean of counts in `windows` [n] under `law`, at `rate` messages a second."""
    return _curves(
        rate,
        windows,
        memories,
        np.array([law.branching]),
        law.rates[None],
        np.array([law.dispersion]),
    )[0]


def _curves(
    rate: float,
    windows: Floats,
    memories: tuple[float, ...],
    branching: Floats,
    decays: Floats,
    dispersion: Floats,
) -> Floats:
    """The curves of many laws: [laws, windows] of [laws], [laws, kernels], [laws]."""
    roots, residues = _resolvent(branching, decays)
    excess = np.zeros((len(branching), len(windows)))
    for kernel in range(EXCITATIONS):
        theta, residue = roots[:, kernel], residues[:, kernel]
        excess += _integrated(residue / (2.0 * theta), theta, windows)
    base = (rate * (1.0 - branching)) ** 2 / rate
    excess += base[:, None] * _activity(roots, residues, dispersion, windows, memories)
    return 1.0 + excess


def _resolvent(branching: Floats, decays: Floats) -> tuple[Floats, Floats]:
    """theta [laws, kernels] and R: |1 - phi|^-2 = 1 + sum of R / (theta^2 + omega^2)."""
    root = np.sqrt(decays)
    share = branching[:, None, None] / EXCITATIONS
    matrix = np.eye(EXCITATIONS) * decays[:, :, None] - share * root[:, :, None] * root[:, None, :]
    theta = np.asarray(np.linalg.eigvalsh(matrix), dtype=np.float64)
    squares = theta**2
    upper = np.prod(decays[:, None, :] ** 2 - squares[:, :, None], axis=2)
    apart = squares[:, None, :] - squares[:, :, None]
    apart[:, np.arange(EXCITATIONS), np.arange(EXCITATIONS)] = 1.0
    return theta, np.asarray(upper / np.prod(apart, axis=2), dtype=np.float64)


def _integrated(weight: Floats, decay: Floats, windows: Floats) -> Floats:
    """Variance a second of window from a covariance weight * exp(-decay |t|), [laws, windows]."""
    x = decay[:, None] * windows[None]
    return 2.0 * weight[:, None] / decay[:, None] * (1.0 + np.expm1(-x) / x)


def _activity(
    roots: Floats,
    residues: Floats,
    dispersion: Floats,
    windows: Floats,
    memories: tuple[float, ...],
) -> Floats:
    """The variance that a baseline following the activity adds, [laws, windows].

    The covariance of exp(X), X a sum of Ornstein-Uhlenbeck processes, is a series of
    exponentials; each goes through the excitation as a Lorentzian times the resolvent.
    """
    total = np.zeros((len(dispersion), len(windows)))
    part = dispersion**2 / len(memories)
    for powers in product(range(_ORDERS), repeat=len(memories)):
        order = sum(powers)
        if not 0 < order < _ORDERS:
            continue
        kappa = sum(power / memory for power, memory in zip(powers, memories, strict=True))
        scale = part**order / np.prod([factorial(power) for power in powers])
        through = scale.copy()
        for kernel in range(EXCITATIONS):
            theta = roots[:, kernel]
            apart = theta**2 - kappa**2
            apart = np.where(np.abs(apart) < _APART, _APART, apart)
            mixed = residues[:, kernel] / apart
            through += scale * mixed
            total -= _integrated(scale * mixed * kappa / theta, theta, windows)
        total += _integrated(through, np.full(len(dispersion), kappa), windows)
    return total


def _search(
    rate: float,
    windows: Floats,
    measured: Floats,
    weights: Floats,
    memories: tuple[float, ...],
    slowest: float,
) -> ArrivalLaw:
    """The law nearest to the measured curve: a coarse grid, then finer ones around its best."""
    low, high = np.array(_LOWEST), np.array(_HIGHEST)
    low[1] = np.log(min(slowest, FASTEST_SLOWEST))
    spans = [np.linspace(a, b, _COARSE) for a, b in zip(low, high, strict=True)]
    target = np.log(measured)
    default = ArrivalConfig()
    usual = np.array([default.branching, 0.0, 0.0, default.activity_dispersion])
    best = low
    for _ in range(1 + _REFINEMENTS):
        grid = np.stack([axis.ravel() for axis in np.meshgrid(*spans, indexing="ij")], axis=1)
        steps = np.linspace(0.0, 1.0, EXCITATIONS)
        decays = np.exp(grid[:, 1:2] + steps * (grid[:, 2:3] - grid[:, 1:2]))
        curves = _curves(rate, windows, memories, grid[:, 0], decays, grid[:, 3])
        misfit = ((np.log(np.maximum(curves, 1e-9)) - target) ** 2) @ weights
        misfit += (((grid - usual) / _DOUBT) ** 2).sum(axis=1)
        best = grid[np.argmin(misfit)]
        wide = np.array([span[1] - span[0] for span in spans])
        first, last = np.maximum(best - wide, low), np.minimum(best + wide, high)
        spans = [np.linspace(a, b, _FINE) for a, b in zip(first, last, strict=True)]
    return ArrivalLaw(
        float(best[0]), float(np.exp(best[1])), float(np.exp(best[2])), float(best[3])
    )
