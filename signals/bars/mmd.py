"""MMD: how unlike the last bars are to those before them.

Maximum mean discrepancy, biased estimator (Gretton et al., "A kernel two-sample test",
2012, equation 5), square root of mean Kxx + mean Kyy - 2 mean Kxy, with a Gaussian
kernel exp(-d^2 / (2 sigma^2)) over four features of each bar. At the first bar of a
session, or a day's worth of bars after the last time where no session ends, features
are standardised on the reference as it then stands, sigma becomes the median distance
(the lower of the two middle ones) between all pairs of both samples, and the sums are
taken anew. In between the standards stand, so that a bar costs three rows of kernels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.signals import MMDConfig
from market.kernels import inlined, kernel
from signals.bars.trend import Scalars
from signals.bars.windows import Floats

FEATURES = 4  # return, log range, volatility, log volume
_FEW = 1024  # values that are sorted rather than narrowed down
_SAMPLE = 1024  # values that bracket a rank, about
_MARGIN = 64  # places of the sample to either side: four deviations of a rank
SUMS = np.dtype(
    [
        ("count", "i8"),  # points pushed
        ("since", "i8"),  # bars since the standards were taken
        ("due", "i8"),  # a session has begun since then
        ("scale", "f8"),  # 1 / (2 sigma^2)
        ("recent", "f8"),  # sums of the kernel over ordered pairs
        ("reference", "f8"),
        ("between", "f8"),
    ]
)


class MMDSettings(NamedTuple):
    """Bars of each sample, and bars after which the standards are taken at the latest."""

    recent: int
    reference: int
    day: int


class MMDState(NamedTuple):
    """Features raw and standardised [FEATURES, 2 (recent + reference)], each point twice as
    in a ring; mean and deviation [FEATURES]; the sums."""

    raw: NDArray[np.float64]
    points: NDArray[np.float64]
    mean: Floats
    deviation: Floats
    sums: Scalars


def mmd_settings(config: MMDConfig, day: int) -> MMDSettings:
    return MMDSettings(config.recent, config.reference, day)


def new_mmd(config: MMDConfig) -> MMDState:
    """The state before the first bar."""
    shape = (FEATURES, 2 * (config.recent + config.reference))
    sums = np.zeros(1, SUMS)
    return MMDState(np.zeros(shape), np.zeros(shape), np.zeros(FEATURES), np.zeros(FEATURES), sums)


_LOG2E = 1.4426950408889634
_LOWEST = -1000.0  # exponent of two below which a kernel is nothing
# Adding it to a whole number n leaves n + 1023, the exponent's bits of 2^n, lowest.
_EXPONENT = 2.0**52 + 2.0**51 + 1023.0
_MANTISSA_BITS = 52
_C1, _C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9 = (
    math.log(2.0) ** k / math.factorial(k) for k in range(1, 10)
)


@kernel
def decay_all(values: Floats, scale: float) -> None:
    """values = exp(-scale values) in place, to 1e-11, for scale, values >= 0.

    2^y = 2^n 2^f, n whole and |f| <= 1/2, the second by Taylor's series: loops that a
    processor runs on several values at once, at a tenth of the library's cost.
    """
    power = np.empty(len(values))
    for index in range(len(values)):
        y = max(-scale * _LOG2E * values[index], _LOWEST)
        whole = np.floor(y + 0.5)
        f = y - whole
        power[index] = whole + _EXPONENT
        tail = _C5 + f * (_C6 + f * (_C7 + f * (_C8 + f * _C9)))
        values[index] = 1.0 + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * tail))))
    bits = power.view(np.int64)
    for index in range(len(bits)):
        bits[index] <<= _MANTISSA_BITS
    for index in range(len(values)):
        values[index] *= power[index]


@kernel
def ranked(values: Floats, rank: int) -> float:
    """The `rank`-th smallest value, from 0.

    A sample brackets it, one pass keeps what lies inside, and so on until few are left
    (after Floyd and Rivest, "Expected time bounds for selection", 1975). A bracket that
    misses is widened: the result is exact.
    """
    margin = _MARGIN
    while len(values) > _FEW:
        sample = values[:: len(values) // _SAMPLE + 1].copy()
        sample.sort()
        place = rank * len(sample) // len(values)
        low = sample[place - margin] if place >= margin else -np.inf
        high = sample[place + margin] if place + margin < len(sample) else np.inf
        inside = np.empty(len(values))
        below, found = 0, 0
        for value in values:
            inside[found] = value
            found += int(low <= value and value <= high)
            below += int(value < low)
        if rank < below or rank >= below + found:
            margin *= 2
            continue
        if found == len(values):
            break
        rank -= below
        values = inside[:found]
    return np.sort(values)[rank]


@inlined
def _distances(points: Floats, start: int, place: int, out: Floats) -> None:
    """Squared distances of the point at `place` from those at start..start + len(out) - 1."""
    count = len(out)
    first, second = points[0, start : start + count], points[1, start : start + count]
    third, fourth = points[2, start : start + count], points[3, start : start + count]
    a, b, c, d = points[0, place], points[1, place], points[2, place], points[3, place]
    # Over views: an index that is known to be no offset is what lets a processor take several.
    for index in range(count):
        e, f = first[index] - a, second[index] - b
        g, h = third[index] - c, fourth[index] - d
        out[index] = e * e + f * f + g * g + h * h


@inlined
def _total(values: Floats) -> float:
    """The sum, in four strands that do not wait for each other."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = len(values) // 4 * 4
    for index in range(0, whole, 4):
        a += values[index]
        b += values[index + 1]
        c += values[index + 2]
        d += values[index + 3]
    for index in range(whole, len(values)):
        a += values[index]
    return (a + b) + (c + d)


@kernel
def _standardise(state: MMDState, settings: MMDSettings) -> int:
    """Take mean and deviation of the reference, standardise all points; where they start."""
    size = settings.recent + settings.reference
    start = state.sums[0].count % size
    for k in range(FEATURES):
        values = state.raw[k, start : start + settings.reference]
        mean = _total(values) / len(values)
        square = 0.0
        for value in values:
            square += (value - mean) * (value - mean)
        spread = np.sqrt(square / len(values))
        state.mean[k] = mean
        state.deviation[k] = spread if spread > 0.0 else 1.0
        for index in range(2 * size):
            state.points[k, index] = (state.raw[k, index] - mean) / state.deviation[k]
    return start


@kernel
def _refresh(state: MMDState, settings: MMDSettings) -> None:
    """Take the standards, sigma and the sums anew."""
    start = _standardise(state, settings)
    size = settings.recent + settings.reference
    pairs = np.empty(size * (size - 1) // 2)
    for row in range(size):
        begin = row * (row - 1) // 2
        _distances(state.points, start, start + row, pairs[begin : begin + row])
    middle = ranked(pairs, (len(pairs) - 1) // 2)
    s = state.sums[0]
    s.scale = 1.0 / (2.0 * middle) if middle > 0.0 else 0.0
    decay_all(pairs, s.scale)
    s.recent, s.reference, s.between = float(settings.recent), float(settings.reference), 0.0
    for row in range(size):
        begin = row * (row - 1) // 2
        if row < settings.reference:
            s.reference += 2.0 * _total(pairs[begin : begin + row])
        else:
            s.between += _total(pairs[begin : begin + settings.reference])
            s.recent += 2.0 * _total(pairs[begin + settings.reference : begin + row])
    s.since, s.due = 0, 0


@inlined
def _row(state: MMDState, start: int, stop: int, place: int, row: Floats) -> Floats:
    """Kernels of the point at `place` with those at start..stop - 1, in `row`."""
    out = row[: stop - start]
    _distances(state.points, start, place, out)
    decay_all(out, state.sums[0].scale)
    return out


@kernel
def _leave(state: MMDState, settings: MMDSettings) -> None:
    """The oldest point leaves the reference, the oldest recent one joins it."""
    s = state.sums[0]
    size = settings.recent + settings.reference
    start = s.count % size
    row = np.empty(size)
    ones = settings.reference - 1
    oldest = _row(state, start + 1, start + size, start, row)
    s.reference -= 2.0 * _total(oldest[:ones]) + 1.0
    s.between -= _total(oldest[ones:])
    ages = _row(state, start + 1, start + size, start + settings.reference, row)
    to_reference, to_recent = _total(ages[:ones]), _total(ages[ones + 1 :])
    s.recent -= 2.0 * to_recent + 1.0
    s.reference += 2.0 * to_reference + 1.0
    s.between += to_recent - to_reference


@kernel
def _join(state: MMDState, settings: MMDSettings) -> None:
    """The newest point, already among the points, joins the recent ones."""
    s = state.sums[0]
    size = settings.recent + settings.reference
    start = s.count % size
    newest = _row(state, start, start + size - 1, start + size - 1, np.empty(size))
    s.between += _total(newest[: settings.reference])
    s.recent += 2.0 * _total(newest[settings.reference :]) + 1.0


@inlined
def _put(array: NDArray[np.float64], place: int, k: int, value: float) -> None:
    array[k, place] = value
    array[k, place + array.shape[1] // 2] = value


@kernel
def mmd_update(
    state: MMDState,
    settings: MMDSettings,
    opens: bool,
    change: float,
    span: float,
    volatility: float,
    volume: float,
) -> float:
    """One bar; `opens` where it is the first of its session. NaN until both samples are full.

    Args:
        change: log return; NaN where there is none, and the bar counts not.
        span: ln(high / low).
        volatility: of the returns; NaN as `change`.
        volume: ln(1 + volume).
    """
    s = state.sums[0]
    if opens:
        s.due = 1
    if np.isnan(change) or np.isnan(volatility):
        return np.nan
    size = settings.recent + settings.reference
    had = s.count >= size
    s.since += 1
    fresh = s.count + 1 >= size and (not had or s.due > 0 or s.since >= settings.day)
    if had and not fresh:
        _leave(state, settings)
    place = s.count % size
    for k, value in enumerate((change, span, volatility, volume)):
        _put(state.raw, place, k, value)
        if not fresh:
            spread = state.deviation[k] if had else 1.0
            _put(state.points, place, k, (value - state.mean[k]) / spread)
    s.count += 1
    if s.count < size:
        return np.nan
    if fresh:
        _refresh(state, settings)
    else:
        _join(state, settings)
    x, y = float(settings.recent), float(settings.reference)
    square = s.recent / (x * x) + s.reference / (y * y) - 2.0 * s.between / (x * y)
    return np.sqrt(max(square, 0.0))


@kernel
def mmd_series(
    state: MMDState,
    settings: MMDSettings,
    opens: NDArray[np.bool_],
    change: Floats,
    span: Floats,
    volatility: Floats,
    volume: Floats,
    out: Floats,
) -> None:
    """Every bar of a stretch without a hole into `out` [n]."""
    for t in range(len(out)):
        out[t] = mmd_update(state, settings, opens[t], change[t], span[t], volatility[t], volume[t])
