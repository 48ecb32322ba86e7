"""Decisions of several voices, some of which may be faulty (SPEC section 8).

Of n voices at most f = floor((n - 1) / 3) are faulty, whatever they say. The trimmed aggregate
drops the f lowest and the f highest of those that say a number in time; of n >= 3f + 1 at least
one is left, and it lies between honest ones: were the aggregate above every honest voice, all
that was kept would be faulty, and so the f dropped above it, which makes more than f (Dolev,
Lynch, Pinter, Stark and Weihl, "Reaching approximate agreement in the presence of faults",
1986). Where more than f voices fail to speak the premise is gone, and nothing is decided.

What is decided is a function of values, weights and stamps alone: no clock is read here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.coordination import CoordinationConfig
from configs.errors import RequestError
from configs.market import VENUE_COUNT
from market.kernels import inlined, kernel
from market.state import ASK, BID, LEVEL_PRICE
from signals.superposition import BUY, DIRECTIONS, HOLD, SELL

MAX_VOICES = 64
SUM_TOLERANCE = 1e-5  # of a vote's probabilities about 1, as in `signals.superposition`
BP = 1e4

RULES = np.dtype(
    [
        ("consensus", np.float64),
        ("vote_seconds", np.float64),
        ("quote_seconds", np.float64),
        ("quote_distance_bp", np.float64),
    ]
)

# Why a consensus is what it is.
REASONS = ("AGREED", "NO_MAJORITY", "TOO_FEW", "NOBODY", "NOT_BACKED")
AGREED, NO_MAJORITY, TOO_FEW, NOBODY, NOT_BACKED = range(len(REASONS))

CONSENSUS = np.dtype(
    [
        ("action", np.int64),  # SELL, HOLD or BUY
        ("share", np.float64),  # of weight x confidence that the winning side has
        ("conviction", np.float64),  # trimmed P(BUY) - P(SELL); NaN where nothing is decided
        ("reason", np.int64),
        ("heard", np.int64),  # voices that were valid and in time
        ("faulty", np.int64),  # the others
    ]
)


def consensus_rules(config: CoordinationConfig) -> Any:
    """RULES [1] of a configuration."""
    out = np.zeros(1, RULES)
    for name in RULES.names or ():
        out[name] = getattr(config, name)
    return out


@inlined
def tolerated(voices: int) -> int:
    """f, how many of n voices may be faulty: n >= 3 f + 1."""
    return max((voices - 1) // 3, 0)


@inlined
def _in_time(stamp: float, now: float, most: float) -> bool:
    """Whether a stamp is neither too old nor of the future; NaN is neither."""
    return 0.0 <= now - stamp <= most


@inlined
def _insert(value: float, weight: float, values: Any, weights: Any, count: int) -> None:
    """Put a value in its place among `count` sorted ones."""
    place = count
    while place > 0 and values[place - 1] > value:
        values[place], weights[place] = values[place - 1], weights[place - 1]
        place -= 1
    values[place], weights[place] = value, weight


@inlined
def _trimmed(values: Any, weights: Any, count: int, faults: int) -> float:
    """The weighted mean of sorted values without the `faults` lowest and highest; NaN of none.

    Where what is left has no weight all of it counts alike.
    """
    if count < 2 * faults + 1:
        return math.nan
    total, mass, plain = 0.0, 0.0, 0.0
    low, high = values[faults], values[count - 1 - faults]
    for index in range(faults, count - faults):
        total += weights[index] * values[index]
        mass += weights[index]
        plain += values[index]
    mean = total / mass if mass > 0.0 else plain / (count - 2 * faults)
    # Rounding may leave the range by a crumb.
    return float(min(max(mean, low), high))


@kernel
def _aggregate(
    values: Any, weights: Any, stamps: Any, now: float, most: float, scratch: Any
) -> float:
    voices, count = len(values), 0
    for voice in range(voices):
        heard = math.isfinite(values[voice]) and 0.0 <= weights[voice] < math.inf
        if heard and _in_time(stamps[voice], now, most):
            _insert(values[voice], weights[voice], scratch[0], scratch[1], count)
            count += 1
    faults = tolerated(voices)
    return _trimmed(scratch[0], scratch[1], count, faults) if voices - count <= faults else math.nan


def trimmed_mean(
    values: ArrayLike,
    weights: ArrayLike | None = None,
    stamps: ArrayLike | None = None,
    now: float = 0.0,
    most: float = math.inf,
) -> float:
    """The trimmed aggregate of n voices; NaN where more than f of them fail to speak.

    Args:
        values: [n], like quantities; what is not finite has failed.
        weights: [n], the listener's own, never a voice's; all alike by default.
        stamps: [n], seconds, of each value; older than `most` before `now` has failed, and so
            has one of the future.

    Raises:
        RequestError: other shapes, no voice, or more than MAX_VOICES.
    """
    said = np.asarray(values, np.float64)
    if said.ndim != 1 or not 1 <= len(said) <= MAX_VOICES:
        raise RequestError(
            f"consensus: values have shape {said.shape}, expected [n] of 1 to {MAX_VOICES}"
        )
    count = len(said)
    listened = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    stamped = np.full(count, now) if stamps is None else np.asarray(stamps, np.float64)
    for name, one in (("weights", listened), ("stamps", stamped)):
        if one.shape != said.shape:
            raise RequestError(
                f"consensus: {name} have shape {one.shape}, expected {said.shape} as the values"
            )
    return float(_aggregate(said, listened, stamped, now, most, np.empty((2, count))))


@inlined
def _is_vote(p: Any, weight: float) -> bool:
    """Whether a row is a distribution over the directions, and its weight one."""
    total = 0.0
    for index in range(len(p)):
        if not 0.0 <= p[index] <= 1.0 + SUM_TOLERANCE:
            return False
        total += p[index]
    return abs(total - 1.0) <= SUM_TOLERANCE and 0.0 <= weight < math.inf


@inlined
def _side_of(p: Any) -> int:
    """The likeliest direction; HOLD where it ties with it, as where BUY and SELL tie."""
    if p[BUY] > p[SELL] and p[BUY] > p[HOLD]:
        return BUY
    return SELL if p[SELL] > p[BUY] and p[SELL] > p[HOLD] else HOLD


@inlined
def decide(
    votes: Any, weights: Any, stamps: Any, now: float, rules: Any, scratch: Any, out: Any
) -> None:
    """What directional agents decide together.

    A side wins with `consensus` of the weight x confidence of all that are heard, and is taken
    only if the trimmed conviction leans that way too: a few loud voices, each certain, cannot
    carry what no honest one leans to. Anything else is HOLD.

    Args:
        votes: [n, 3], each agent's masked probabilities of SELL, HOLD, BUY.
        weights: [n], of the coordinator's gate; an agent of weight 0 is heard and counts
            nothing.
        stamps: [n], seconds of the bar clock, of each vote.
        now: likewise.
        rules: a RULES record.
        scratch: float64 [2, n or more].
        out: a CONSENSUS record, written whole.
    """
    voices, count = len(votes), 0
    backed_sell, backed_hold, backed_buy = 0.0, 0.0, 0.0
    for voice in range(voices):
        p = votes[voice]
        if not _is_vote(p, weights[voice]):
            continue
        if not _in_time(stamps[voice], now, rules.vote_seconds):
            continue
        _insert(p[BUY] - p[SELL], weights[voice], scratch[0], scratch[1], count)
        count += 1
        backing = weights[voice] * max(p[SELL], p[HOLD], p[BUY])
        side = _side_of(p)
        backed_sell += backing if side == SELL else 0.0
        backed_hold += backing if side == HOLD else 0.0
        backed_buy += backing if side == BUY else 0.0
    total = backed_sell + backed_hold + backed_buy
    faults = tolerated(voices)
    out.heard, out.faulty, out.action = count, voices - count, HOLD
    out.share, out.conviction = 0.0, math.nan
    if voices - count > faults:
        out.reason = TOO_FEW
        return
    if not 0.0 < total < math.inf:
        out.reason = NOBODY
        return
    out.conviction = _trimmed(scratch[0], scratch[1], count, faults)
    side, winning = HOLD, backed_hold
    if backed_buy > winning and backed_buy > backed_sell:
        side, winning = BUY, backed_buy
    elif backed_sell > winning and backed_sell > backed_buy:
        side, winning = SELL, backed_sell
    out.share = winning / total
    if out.share < rules.consensus:
        out.reason = NO_MAJORITY
        return
    leans = out.conviction if side == BUY else -out.conviction
    if side != HOLD and not leans > 0.0:
        out.reason = NOT_BACKED
        return
    out.action, out.reason = side, AGREED


@kernel
def decide_one(
    votes: Any, weights: Any, stamps: Any, now: float, rules: Any, scratch: Any, out: Any
) -> None:
    """`decide` on RULES [1] into CONSENSUS [1]."""
    decide(votes, weights, stamps, now, rules[0], scratch, out[0])


class Council:
    """Decides over a fixed number of agents; its arrays are allocated once.

    Attributes:
        outcome: CONSENSUS [1], of the last call.
    """

    def __init__(self, config: CoordinationConfig, voices: int) -> None:
        if not 1 <= voices <= MAX_VOICES:
            raise RequestError(f"consensus of {voices} agents, expected 1 to {MAX_VOICES}")
        self._rules = consensus_rules(config)
        self._shape = (voices, len(DIRECTIONS))
        self._scratch = np.empty((2, voices))
        self.outcome: NDArray[Any] = np.zeros(1, CONSENSUS)

    def decide(
        self,
        votes: NDArray[np.float64],
        weights: NDArray[np.float64],
        stamps: NDArray[np.float64],
        now: float,
    ) -> int:
        """SELL, HOLD or BUY; see the kernel of that name. Whatever agents say is taken.

        Raises:
            RequestError: arrays of another shape: the caller's mistake, no agent's.
        """
        given = (votes.shape, weights.shape, stamps.shape)
        if given != (self._shape, self._shape[:1], self._shape[:1]):
            raise RequestError(
                f"consensus: votes, weights and stamps have shapes {given}, expected "
                f"{self._shape}, {self._shape[:1]} and {self._shape[:1]}"
            )
        decide_one(votes, weights, stamps, now, self._rules, self._scratch, self.outcome)
        return int(self.outcome["action"][0])


@kernel
def trust(depth: Any, stamps: Any, now: float, rules: Any, base: float, trusted: Any) -> float:
    """See `trusted_venues`."""
    rule, mids, weights = rules[0], np.empty(VENUE_COUNT), np.ones(VENUE_COUNT)
    sorted_mids, count = np.empty(VENUE_COUNT), 0
    for venue in range(VENUE_COUNT):
        bid, ask = depth[venue, BID, 0, LEVEL_PRICE], depth[venue, ASK, 0, LEVEL_PRICE]
        mids[venue] = math.nan
        if 0 <= bid < ask and _in_time(stamps[venue], now, rule.quote_seconds):
            mids[venue] = base + 0.5 * (bid + ask)
            _insert(mids[venue], 1.0, sorted_mids, weights, count)
            count += 1
    faults = tolerated(VENUE_COUNT)
    mid = math.nan
    if VENUE_COUNT - count <= faults:
        mid = _trimmed(sorted_mids, weights, count, faults)
    for venue in range(VENUE_COUNT):
        off = abs(mids[venue] - mid) * BP
        trusted[venue] = 1 if off <= rule.quote_distance_bp * abs(mid) else 0
    return mid


def trusted_venues(
    depth: NDArray[np.int32],
    stamps: NDArray[np.float64],
    now: float,
    rules: NDArray[Any],
    base: float,
    trusted: NDArray[np.int8],
) -> float:
    """Mark the venues whose quotes agree; the trimmed mid, ticks above zero.

    A venue quotes if both its sides do, uncrossed, in time. The mid is NaN, and no venue is
    trusted, where more than f of the four do not.

    Args:
        depth: int32 [VENUE_COUNT, 2, LEVELS_SEEN, 2], as of `market.view`.
        stamps: [VENUE_COUNT], seconds, of each venue's last word.
        now: likewise.
        rules: RULES [1].
        base: ticks, of the ladder's level 0 (`EPISODE.base`).
        trusted: [VENUE_COUNT], written with 0 or 1 (as `cascade.routing.Router.trusted`).
    """
    return float(trust(depth, stamps, now, rules, base, trusted))
