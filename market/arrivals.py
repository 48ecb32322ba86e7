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
from market.lanes import SERIES_LIMIT, decayed, excite, fade_short
from market.pointers import record
from market.random import hash64, normal
from market.state import DECAY, EXCITATIONS, JUMP, LAW_FIELDS, TABLE_SIZE

_HALF_BITS = np.uint64(32)
_HALF_MASK = np.uint64((1 << 32) - 1)
_HALF_SCALE = 1.0 / (1 << 32)
_NODE_BITS = np.uint64(54)  # leaves as many values as the table has intervals
_INSIDE_MASK = np.uint64((1 << 22) - 1)
_INSIDE_SCALE = 1.0 / (1 << 22)


@inlined
def exponential(table: Any, bits: np.uint64) -> float:
    """A standard exponential number from the upper 32 of 64 random bits.

    Between the nodes of a table of -log, linearly, to 1e-3 at most and 1e-5 mostly; the
    first interval, where -log has its pole, by the logarithm itself.

    Args:
        table: pointer to `market.state.exponential_table`. An array, global or not, would
            have its references counted at every message.
        bits: 64 random bits.
    """
    index = int(bits >> _NODE_BITS)
    inside = float((bits >> _HALF_BITS) & _INSIDE_MASK) * _INSIDE_SCALE
    if index == 0:
        return -math.log((inside + _INSIDE_SCALE) / TABLE_SIZE)
    left = table[index]
    return left + inside * (table[index + 1] - left)


@inlined
def _decay(desk: Desk, seconds: float) -> float:
    """Let the excitation fade for `seconds`. Returns what is left in all."""
    law = desk.excitation_law
    # The last rate is the highest. Few gaps are so long: a branch guessed wrong costs more
    # than all of the decays.
    if law[(EXCITATIONS - 1) * LAW_FIELDS + DECAY] * seconds <= SERIES_LIMIT:
        return fade_short(desk.excitation, law, seconds)
    left = 0.0
    for index in range(EXCITATIONS):
        desk.excitation[index] *= decayed(law[index * LAW_FIELDS + DECAY] * seconds)
        left += desk.excitation[index]
    return left


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
    time, bound = episode.next_arrival, episode.intensity
    while True:
        bits = hash64(episode.arrival_key, episode.candidates)
        episode.candidates += 1
        gap = exponential(desk.exponentials, bits) / bound
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
    excite(desk.excitation, desk.excitation_law)
    episode.intensity = intensity + flow.arrival_jump
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
    episode.intensity = mean
    schedule_next_arrival(desk, flow)


@kernel
def renew_arrivals(desk: Desk, flow: Any) -> None:
    """Take up a new rate and activity while an arrival is on its way; excitation stays."""
    episode = record(desk.episode)
    before = episode.baseline
    _begin_leg(desk, flow, max(episode.next_arrival, 0.0))
    # The bound that the next arrival is drawn by has the baseline in it.
    episode.intensity += episode.baseline - before


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
