"""When background messages come, and how busy and volatile the market is.

Arrivals are a Hawkes process whose baseline follows the episode's activity. They are
drawn by thinning (Ogata, "On Lewis' simulation method for point processes", 1981):
between arrivals the intensity only falls, so its present value bounds it, up to the
end of the step, where the baseline changes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from market.desk import Desk
from market.kernels import inlined, kernel
from market.pointers import record
from market.random import hash64, normal
from market.state import DECAY, EXCITATIONS, JUMP, LAW_FIELDS

_HALF_BITS = np.uint64(32)
_HALF_MASK = np.uint64((1 << 32) - 1)
_HALF_SCALE = 1.0 / (1 << 32)
_NODES = 1024
_NODE_BITS = np.uint64(54)
_INSIDE_MASK = np.uint64((1 << 22) - 1)
_INSIDE_SCALE = 1.0 / (1 << 22)
_MINUS_LOG = -np.log(np.maximum(np.arange(_NODES + 1), 1) / _NODES)
_SIXTH, _24TH, _120TH = 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0


@inlined
def decayed(exponent: float) -> float:
    """exp(-exponent) for exponent >= 0, to 1e-6 relative.

    A short series, squared three times, where it holds: most decays are small, and
    several of them side by side cost less than calls of the library's exponential.
    """
    if exponent >= 1.0:
        return math.exp(-exponent)
    part = 0.125 * exponent
    square = part * part
    value = (1.0 - part) + square * ((0.5 - part * _SIXTH) + square * (_24TH - part * _120TH))
    value *= value
    value *= value
    return value * value


@inlined
def exponential(bits: np.uint64) -> float:
    """A standard exponential number from the upper 32 of 64 random bits.

    Between the nodes of a table of -log, linearly, to 1e-3 at most and 1e-5 mostly; the
    first interval, where -log has its pole, by the logarithm itself.
    """
    index = int(bits >> _NODE_BITS)
    inside = float((bits >> _HALF_BITS) & _INSIDE_MASK) * _INSIDE_SCALE
    if index == 0:
        return -math.log((inside + _INSIDE_SCALE) / _NODES)
    left = _MINUS_LOG[index]
    return left + inside * (_MINUS_LOG[index + 1] - left)


@inlined
def _decay(desk: Desk, seconds: float) -> float:
    """Let the excitation fade for `seconds`. Returns what is left in all."""
    total = 0.0
    for index in range(EXCITATIONS):
        rate = desk.excitation_law[index * LAW_FIELDS + DECAY]
        left = desk.excitation[index] * decayed(rate * seconds)
        desk.excitation[index] = left
        total += left
    return total


@inlined
def _begin_leg(desk: Desk, flow: Any, time: float) -> None:
    """The baseline from `time` on, and until when it holds."""
    episode, horizon = record(desk.episode), record(desk.parent).horizon
    step = math.floor(time / flow.step_seconds + 0.5)
    index = min(max(step, 0), horizon - 1)
    episode.baseline = episode.rate * flow.baseline_share * desk.activity[index]
    episode.next_leg = (max(step, 0) + 1) * flow.step_seconds if step < horizon else math.inf


@inlined
def schedule_next_arrival(desk: Desk, flow: Any) -> None:
    """Draw when the next background message comes."""
    episode = record(desk.episode)
    time = episode.next_arrival
    bound = episode.baseline
    for index in range(EXCITATIONS):
        bound += desk.excitation[index]
    while True:
        bits = hash64(episode.arrival_key, episode.candidates)
        episode.candidates += 1
        gap = exponential(bits) / bound
        if time + gap > episode.next_leg:
            excited = _decay(desk, episode.next_leg - time)
            time = episode.next_leg
            _begin_leg(desk, flow, time)
            bound = episode.baseline + excited
            continue
        time += gap
        intensity = episode.baseline + _decay(desk, gap)
        if float(bits & _HALF_MASK) * _HALF_SCALE * bound < intensity:
            break
        bound = intensity
    for index in range(EXCITATIONS):
        desk.excitation[index] += desk.excitation_law[index * LAW_FIELDS + JUMP]
    episode.next_arrival = time


@kernel
def begin_arrivals(desk: Desk, flow: Any, key: np.uint64, start: float) -> None:
    """Excitation at its mean, and the first arrival after `start`."""
    episode = record(desk.episode)
    episode.arrival_key = key
    episode.arrivals = 0
    episode.candidates = 0
    episode.next_arrival = start
    _begin_leg(desk, flow, start)
    mean = episode.baseline / flow.baseline_share
    for index in range(EXCITATIONS):
        law = index * LAW_FIELDS
        decay = desk.excitation_law[law + DECAY]
        desk.excitation[index] = mean * desk.excitation_law[law + JUMP] / decay
    schedule_next_arrival(desk, flow)


@kernel
def draw_activity(
    key: np.uint64, step_seconds: float, memories: Any, dispersion: float, out: Any
) -> None:
    """Activity at each step, of mean 1, into `out` [steps].

    The exponential of a sum of stationary Ornstein-Uhlenbeck processes of equal variance
    with memories of `memories` seconds; `dispersion` is the deviation of the sum.
    """
    count, steps = len(memories), len(out)
    scale = dispersion / math.sqrt(count)
    out[:] = -0.5 * dispersion * dispersion
    for process in range(count):
        kept = math.exp(-step_seconds / memories[process])
        fresh = math.sqrt(1.0 - kept * kept)
        value = normal(key, process * steps)
        out[0] += scale * value
        for step in range(1, steps):
            value = kept * value + fresh * normal(key, process * steps + step)
            out[step] += scale * value
    for step in range(steps):
        out[step] = math.exp(out[step])
