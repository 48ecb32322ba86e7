"""Real bars played through the book, so that trades come of them, and shorter bars.

A session is a run of bars without a gap. Through all of it one market runs on: books,
metaorders and excitation go from bar to bar, and a gap opens the books anew. Inside a bar
the reference is a bridge pinned at its open, high, low and close, held for one knot each;
between a close and the next open it jumps.

The message rate follows the file's volume: that of the bar, spread inside it by shares
that are drawn without regard to it. They are those of the usual activity (`draw_activity`)
times the day's usual profile over the sessions before. As in a gamma bridge (Ribeiro and
Webber, "Valuing path-dependent options in the variance-gamma model by Monte Carlo with a
gamma bridge", 2004), shares and total are independent: what has passed early in a bar
tells of its total by its own size alone. The path's clock is the same activity.

This is a market to look at and to learn bars from, not one for agents to trade in: inside
a bar, reference and rate are drawn given what the bar came to.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from configs.execution import ExecutionConfig
from configs.market import LADDER_MULTIPLE, GeneratorReference
from market.arrivals import draw_activity
from market.bars import Bars
from market.kernels import kernel
from market.random import PURPOSE_ACTIVITY, PURPOSE_PATH, hash64, stream_key
from market.record import record_simulator
from market.recording import Recording
from market.reference import bar_deviation, pinned_bridge
from market.simulator import Simulator
from market.sources import EDGE_LEVELS, trailing_sigma
from market.state import DECAY, JUMP, size_table
from market.trade_bars import NS_PER_SECOND, bars_of

Floats = NDArray[np.float64]

PAST_BARS = 46  # whose ranges say how volatile the market is where a session opens
LONGEST_MINUTES = 24 * 60.0  # a run of bars without a gap is cut into sessions of this length
_FEWEST_KNOTS = 4  # in a bar; fewer leave no room for its four prices
_LEAST_PACE = 0.01  # of the usual message rate: books must live through bars without volume
_LEAST_BASELINE = 0.02  # of the wanted message rate, while past excitation dies down
_SETTLE_SECONDS = 120.0  # in which a surplus of messages is made up for
_MOST_LEVELS = 1 << 16  # `BookConfig.ladder_levels`, at most
_FURTHEST = 4.0  # deviations that the path walks before a session opens, at most
_DEPTH_SECONDS = 60.0  # between samples of the depth profile
_MINUTE = 60.0


@dataclass(frozen=True)
class Played:
    """One session as it came out.

    Attributes:
        start: of the session, ns since 1970 UTC.
        recording: trades and quotes; prices in ticks, seconds since `start`.
        knot_seconds: how long the reference stands still.
        reference: [knots], where it stood during each knot, ticks.
        pace: [knots], messages a second wanted during each knot.
    """

    start: int
    recording: Recording
    knot_seconds: float
    reference: Floats
    pace: Floats


@dataclass(frozen=True)
class _Session:
    """What drives one session; arrays over its knots, and the path in ticks."""

    start: int
    low: float
    high: float
    sigma: float
    path: Floats
    pace: Floats


@kernel
def baseline_for(wanted: Floats, knots: int, seconds: float, law: Any, out: Floats) -> None:
    """The baseline [n] for which a self-exciting process has the mean intensity `wanted` [n].

    Excitation is carried at its mean from one stretch of `seconds` to the next, and the
    baseline is what is wanted less what the past still brings about. It cannot be negative:
    what comes too much after a fall is taken off what is wanted soon after, within the
    same bar. Before the first stretch the process is at rest at `wanted[0]`.

    Args:
        knots: stretches of a bar.
        law: [EXCITATIONS, 2], decay and jump of each kernel, 1/s.
    """
    left = np.exp(-law[:, DECAY] * seconds)
    branching = law[:, JUMP] / law[:, DECAY]
    # Means over a stretch: of what is left of old excitation, and of what a steady unit adds.
    of_old = (1.0 - left) / (law[:, DECAY] * seconds)
    of_new = np.sum(branching * (1.0 - of_old))
    excitation = branching * wanted[0]
    surplus = 0.0
    for index in range(len(wanted)):
        if index % knots == 0:
            surplus = 0.0
        old = np.sum(of_old * excitation)
        needed = (wanted[index] - surplus / _SETTLE_SECONDS) * (1.0 - of_new) - old
        out[index] = max(needed, _LEAST_BASELINE * wanted[index])
        intensity = (out[index] + old) / (1.0 - of_new)
        surplus += (intensity - wanted[index]) * seconds
        excitation = excitation * left + branching * intensity * (1.0 - left)


class _SessionSource:
    """A `PathSource` of one session that is known as a whole."""

    def __init__(
        self, session: _Session, config: ExecutionConfig, name: str, base: int, knots: int
    ) -> None:
        self.fingerprint = name
        self._session = session
        self._knots = knots
        self._config = config
        self._base = base

    def prepare(self, market: Any, rows: NDArray[np.int64], path_seeds: NDArray[np.uint64]) -> None:
        """See `market.sources.PathSource.prepare`; the draws are made already."""
        session, config = self._session, self._config
        flow, episodes = market.flow[0], market.episodes
        rate = config.market.flow.arrivals.messages_per_second
        baseline = np.empty_like(session.pace)
        law = market.excitation_law
        baseline_for(session.pace, self._knots, config.step_seconds, law, baseline)
        for n in rows:
            market.path[n] = session.path - self._base
            market.activity[n] = baseline / (rate * flow["baseline_share"])
            market.deviation[n] = 0.0  # every knot is a mark: nothing is drawn in between
            episodes["base"][n] = self._base
            episodes["lowest"][n], episodes["highest"][n] = 0.0, flow["ladder"] - 1.0
            episodes["sigma"][n] = session.sigma
            episodes["variance_slow"][n] = session.sigma**2
            episodes["cluster"][n] = session.start
            episodes["rate"][n] = rate


class Playback:
    """The sessions of a file of bars, to be played one by one.

    A session's draws depend on the seed and on its stamp alone, so that it is played
    the same way whichever others are.

    Attributes:
        usual_volume: of a bar, at which messages come at the configured rate.
        volume_scale: simulated units to one unit of the file's volume, expected.
        sessions: rows of the bars that each session holds.

    Args:
        config: of the market; its reference is not used.
        bars: to play, in the currency of `config.market.tick`.
        bar_minutes: their length.
        seed: of every draw.
        usual_volume: the mean of `bars` where None.

    Raises:
        ConfigError: a bar is too short for its four prices to stand for a knot each.
        DataError: no bar has volume.
    """

    def __init__(
        self,
        config: ExecutionConfig,
        bars: Bars,
        bar_minutes: float,
        seed: int = 0,
        usual_volume: float | None = None,
    ) -> None:
        flow = config.market.flow
        self.bars = bars
        self.bar_minutes = bar_minutes
        self.seed = seed
        self.knots = round(bar_minutes * _MINUTE / flow.knot_seconds)
        if self.knots < _FEWEST_KNOTS:
            raise ConfigError(
                f"market.flow.knot_seconds={flow.knot_seconds:g}: a bar of {bar_minutes:g} min has "
                f"{self.knots} knots, expected at least {_FEWEST_KNOTS}; set fewer seconds"
            )
        self.knot_seconds = bar_minutes * _MINUTE / self.knots
        self.usual_volume = float(bars.volume.mean()) if usual_volume is None else usual_volume
        if not self.usual_volume > 0.0:
            raise DataError(f"{bars.source}: no bar has volume, which messages are to follow")
        self.config = _knot_by_knot(config, self.knot_seconds)
        self._ohlc = np.stack([bars.open, bars.high, bars.low, bars.close], axis=1)
        self._ohlc /= config.market.tick
        self.sessions = _sessions(bars.start, bar_minutes)
        self._usual = usual_profiles(bars.volume / self.usual_volume, self.sessions)
        per_bar = flow.arrivals.messages_per_second * bar_minutes * _MINUTE * flow.market_share
        self._mean_size = float(size_table(flow.mean_size, flow.size_dispersion).mean())
        self.volume_scale = per_bar * self._mean_size / self.usual_volume

    def play(self, number: int) -> Played:
        """Play session `number`.

        Raises:
            DataError: its range does not fit on the largest ladder.
        """
        session = self._session(number)
        name = f"{self.bars.source} from {_stamp(session.start)}"
        base, levels = self._ladder(session)
        steps = len(session.pace)
        market = self.config.market.model_copy(
            update={"book": self.config.market.book.model_copy(update={"ladder_levels": levels})}
        )
        parent = self.config.parent.model_copy(update={"horizon_steps": steps})
        config = self.config.model_copy(update={"market": market, "parent": parent})
        simulator = Simulator(config, 1)
        simulator.source = _SessionSource(session, config, name, base, self.knots)
        simulator.reset(np.arange(1), np.array([self._key(session.start)], np.uint64))
        stride = max(round(_DEPTH_SECONDS / self.knot_seconds), 1)
        recording = record_simulator(simulator, steps, stride)
        return Played(session.start, recording, self.knot_seconds, session.path[1:], session.pace)

    def play_all(self) -> Iterator[Played]:
        """Every session in turn; keep what is needed of each, for a day is a few million rows."""
        for number in range(len(self.sessions)):
            yield self.play(number)

    def trade_bars(self, played: Played, minutes: float) -> Bars:
        """A session's trades as bars of `minutes`, volume in the file's units.

        Raises:
            DataError: nothing traded.
        """
        record = played.recording
        return bars_of(
            record.source,
            played.start,
            minutes,
            record.seconds,
            record.trade_time,
            record.trade_price * record.tick,
            record.trade_quantity / self.volume_scale,
        )

    def path_bars(self, played: Played, minutes: float) -> Bars:
        """The path that drove a session as bars of `minutes`, with the volume wanted."""
        record, knots = played.recording, len(played.reference)
        per_message = self.config.market.flow.market_share * self._mean_size / self.volume_scale
        return bars_of(
            record.source,
            played.start,
            minutes,
            record.seconds,
            np.arange(0.5, knots) * played.knot_seconds,
            played.reference * record.tick,
            played.pace * (played.knot_seconds * per_message),
        )

    def _key(self, start: int) -> np.uint64:
        return np.uint64(hash64(np.uint64(self.seed), start // NS_PER_SECOND))

    def _session(self, number: int) -> _Session:
        """Draw what drives a session."""
        rows = self.sessions[number]
        first, ohlc = rows.start, self._ohlc[rows]
        start = int(self.bars.start[first])
        shares = self._shares(number)
        pace = np.maximum(self.bars.volume[rows] / self.usual_volume, _LEAST_PACE)
        rate = self.config.market.flow.arrivals.messages_per_second
        path = np.empty(shares.size + 1)
        path[0] = ohlc[0, 0]
        scratch = np.empty(self.knots)
        for index, (open_, high, low, close) in enumerate(ohlc):
            key = np.uint64(
                stream_key(np.uint64(self.seed), self.bars.start[first + index], PURPOSE_PATH)
            )
            inside = path[1 + index * self.knots : 1 + (index + 1) * self.knots]
            whole = bar_deviation(open_, high, low, close)
            clock = shares[index, 1:]
            pinned_bridge(key, open_, high, low, close, whole, clock, inside, scratch)
        # Of bars before the session; the first of a file has none but its own.
        past = self._ohlc[max(first - PAST_BARS, 0) : max(first, 1)]
        sigma = float(trailing_sigma(np.vstack([past, past[-1:]]), PAST_BARS)[-1])
        sigma /= math.sqrt(self.knots)
        low, high = float(ohlc.min()), float(ohlc.max())
        return _Session(start, low, high, sigma, path, (rate * pace[:, None] * shares).ravel())

    def _shares(self, number: int) -> Floats:
        """How busy each knot of each bar is, about its bar's mean, [bars, knots]."""
        rows, arrivals = self.sessions[number], self.config.market.flow.arrivals
        count = rows.stop - rows.start
        activity = np.empty(count * self.knots)
        key = np.uint64(
            stream_key(self._key(int(self.bars.start[rows.start])), 0, PURPOSE_ACTIVITY)
        )
        memories = np.array(arrivals.activity_seconds)
        draw_activity(key, self.knot_seconds, memories, arrivals.activity_dispersion, activity)
        place = np.arange(0.5, self.knots) / self.knots - 0.5
        usual = self._usual[number]
        shares = activity.reshape(count, self.knots) * (1.0 + slopes(usual)[:, None] * place)
        return np.asarray(shares / shares.mean(axis=1, keepdims=True))

    def _ladder(self, session: _Session) -> tuple[int, int]:
        """The lowest price on the ladder, ticks, and how many levels hold the session."""
        flow = self.config.market.flow
        wander = math.ceil(_FURTHEST * session.sigma * math.sqrt(flow.warmup_steps))
        margin = EDGE_LEVELS + 2 * flow.placement_limit + wander
        low, high = math.floor(session.low) - margin, math.ceil(session.high) + margin
        levels = math.ceil((high - low + 1) / LADDER_MULTIPLE) * LADDER_MULTIPLE
        if levels > _MOST_LEVELS:
            raise DataError(
                f"{self.bars.source}: the session from {_stamp(session.start)} spans "
                f"{session.high - session.low:,.0f} ticks of {self.config.market.tick:g}, expected "
                f"at most {_MOST_LEVELS - 2 * margin:,} (ladders have {_MOST_LEVELS:,} levels); "
                "set a coarser market.tick, or leave the day out by bars.exclude"
            )
        return low, levels


def _knot_by_knot(config: ExecutionConfig, knot_seconds: float) -> ExecutionConfig:
    """The configuration with one step a knot, so that every knot of the path is given."""
    flow = config.market.flow
    warmup = math.ceil(flow.warmup_steps * config.step_seconds / knot_seconds)
    flow = flow.model_copy(update={"knot_seconds": knot_seconds, "warmup_steps": warmup})
    market = config.market.model_copy(update={"flow": flow, "reference": GeneratorReference()})
    return config.model_copy(update={"step_seconds": knot_seconds, "market": market})


def _sessions(start: NDArray[np.int64], bar_minutes: float) -> tuple[slice, ...]:
    """Rows of each run of bars without a gap, long runs cut."""
    length = bar_minutes * _MINUTE * NS_PER_SECOND
    longest = max(int(LONGEST_MINUTES / bar_minutes), 1)
    cuts = [0, *(np.flatnonzero(np.diff(start) != length) + 1), len(start)]
    out = []
    for first, after in itertools.pairwise(cuts):
        for begin in range(int(first), int(after), longest):
            out.append(slice(begin, min(begin + longest, int(after))))
    return tuple(out)


def usual_profiles(volume: Floats, sessions: tuple[slice, ...]) -> list[Floats]:
    """For each session the mean volume of its bars' places in the sessions before, 0 of none."""
    longest = max(rows.stop - rows.start for rows in sessions)
    total, count = np.zeros(longest), np.zeros(longest)
    out = []
    for rows in sessions:
        size = rows.stop - rows.start
        out.append(total[:size] / np.maximum(count[:size], 1.0))
        total[:size] += volume[rows]
        count[:size] += 1.0
    return out


def slopes(usual: Floats) -> Floats:
    """By how much of its volume each bar usually rises from start to end.

    The lesser of what its two neighbours say, none where they disagree: so that a jump
    between two bars, such as the open, is not spread over them (the minmod limiter: Roe,
    "Characteristic-based schemes for the Euler equations", 1986).
    """
    steps = np.diff(usual, prepend=usual[:1], append=usual[-1:])
    before, after = steps[:-1], steps[1:]
    agreed = before * after > 0.0
    slope = np.where(agreed, np.sign(before) * np.minimum(np.abs(before), np.abs(after)), 0.0)
    return np.asarray(slope / np.where(usual > 0.0, usual, 1.0))


def _stamp(start: int) -> str:
    return str(np.datetime64(start, "ns").astype("datetime64[m]")) + " UTC"
