"""Recordings of one market, checked and pooled: what every measure starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.facts import FactsConfig
from market.facts.intervals import Estimate, of_sums, ratio
from market.recording import Recording

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ROUNDING = 1e-9  # steps that a stretch may miss of a whole number

_CLOCKS: dict[str, tuple[str, ...]] = {
    "message_time": (),
    "trade_time": ("trade_price", "trade_quantity", "trade_side"),
    "quote_time": ("bid", "ask", "bid_quantity", "ask_quantity"),
}


@dataclass(frozen=True)
class Orders:
    """Incoming orders that traded, in time: fills of one time and side are one order."""

    time: Floats  # [orders]
    side: Floats  # [orders], +1 bought, -1 sold
    quantity: Floats  # [orders]
    mid_before: Floats  # [orders], ticks; NaN where a side was empty


@dataclass(frozen=True)
class Sample:
    """One or more recordings of one market; nothing is measured across their ends.

    Raises:
        DataError: no recording, or one whose arrays contradict each other.
    """

    recordings: tuple[Recording, ...]
    config: FactsConfig

    def __post_init__(self) -> None:
        if not self.recordings:
            raise DataError("no recording to measure: expected one or more")
        for recording in self.recordings:
            check(recording)

    @cached_property
    def seconds(self) -> float:
        """The length of all recordings together."""
        return float(sum(recording.seconds for recording in self.recordings))

    @cached_property
    def starts(self) -> Integers:
        """The first block of each recording and, last, the number of blocks."""
        counts = [
            max(int(np.ceil(recording.seconds / self.config.block_seconds)), 1)
            for recording in self.recordings
        ]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @property
    def blocks(self) -> int:
        """How many blocks all recordings have together."""
        return int(self.starts[-1])

    def block_of(self, index: int, times: Floats) -> Integers:
        """The block of each of `times` [n] in recording `index`."""
        first, after = self.starts[index], self.starts[index + 1]
        own = np.floor(times / self.config.block_seconds).astype(np.int64)
        return np.clip(first + own, first, after - 1)

    def block_of_rank(self, index: int, count: int) -> Integers:
        """The block of each of `count` entries in order that carry no time."""
        first, after = self.starts[index], self.starts[index + 1]
        return first + np.arange(count, dtype=np.int64) * (after - first) // max(count, 1)

    def block_sums(self, blocks: Integers, *terms: Floats) -> Floats:
        """The sum of each of `terms` [n] over each block, [blocks, terms]."""
        columns = [np.bincount(blocks, weights=term, minlength=self.blocks) for term in terms]
        return np.stack(columns, axis=1)

    def finite_sums(self, index: int, times: Floats, *terms: Floats) -> Floats:
        """The block sums of the entries at `times` [n] at which every term is finite."""
        kept = np.logical_and.reduce([np.isfinite(term) for term in terms])
        blocks = self.block_of(index, times[kept])
        return self.block_sums(blocks, *(term[kept] for term in terms))

    def pair_sums(self, index: int, times: Floats, values: Floats, lag: int) -> Floats:
        """Block sums of 1, x, y, xy, x^2, y^2 over pairs of `values` [n] `lag` apart."""
        if values.size <= lag:
            return np.zeros((self.blocks, 6))
        x, y = values[:-lag], values[lag:]
        both = np.where(np.isfinite(x * y), 1.0, np.nan)
        return self.finite_sums(index, times[:-lag], both, x, y, x * y, x**2, y**2)

    def rate(self, times: Sequence[Floats], what: str) -> Estimate:
        """How many of the `times` [recordings] of [n] come in a second."""
        sums = np.zeros((self.blocks, 2))
        for index, recording in enumerate(self.recordings):
            first, after = self.starts[index], self.starts[index + 1]
            begins = np.arange(after - first) * self.config.block_seconds
            ends = np.minimum(begins + self.config.block_seconds, recording.seconds)
            sums[first:after, 0] = ends - begins
            own = self.block_of(index, times[index])
            sums[:, 1] += np.bincount(own, minlength=self.blocks)
        return of_sums(sums, ratio, self.config, f"no time in which to count {what}")

    def mids(self, step: float) -> list[Floats]:
        """The mid at 0, step, 2 step ... seconds of each recording, ticks; NaN where none."""
        return [
            mid_at(
                recording, step * np.arange(recording.seconds / step + ROUNDING, dtype=np.float64)
            )
            for recording in self.recordings
        ]

    @cached_property
    def mids_each_second(self) -> list[Floats]:
        """The mid at every full second, from the first on."""
        return self.mids(1.0)

    @cached_property
    def orders(self) -> list[Orders]:
        """The incoming orders of each recording."""
        return [_orders(recording) for recording in self.recordings]


def mid_at(recording: Recording, times: Floats) -> Floats:
    """The mid that stood after everything up to and at each of `times` [n], ticks."""
    return _mid(recording, np.searchsorted(recording.quote_time, times, side="right") - 1)


def mid_before(recording: Recording, times: Floats) -> Floats:
    """The mid that stood before anything at each of `times` [n] happened, ticks."""
    return _mid(recording, np.searchsorted(recording.quote_time, times, side="left") - 1)


def quote_seconds(recording: Recording) -> Floats:
    """How long each quote stood, seconds [quotes]; the last to the recording's end."""
    return np.diff(np.append(recording.quote_time, recording.seconds))


def check(recording: Recording) -> None:
    """Refuse a recording whose arrays contradict each other.

    Raises:
        DataError: naming the array and the first entry that is wrong.
    """
    where = f"recording '{recording.source}'"
    for name in ("seconds", "tick"):
        value = getattr(recording, name)
        if not (np.isfinite(value) and value > 0.0):
            raise DataError(f"{where}: {name} is {value}, expected a number above zero")
    for field in fields(recording):
        values = getattr(recording, field.name)
        if isinstance(values, np.ndarray) and values.ndim != 1:
            raise DataError(f"{where}: {field.name} has shape {values.shape}, expected [n]")
    for clock, columns in _CLOCKS.items():
        times = getattr(recording, clock)
        outside = ~((times >= 0.0) & (times <= recording.seconds))
        _refuse(where, clock, times, outside, f"within 0 and {recording.seconds:g}")
        _refuse(where, clock, times, np.diff(times, prepend=0.0) < 0.0, "ascending times")
        for name in columns:
            length = len(getattr(recording, name))
            if length != times.size:
                raise DataError(f"{where}: {length} of {name}, expected {times.size} as {clock}")
    side, age = recording.trade_side, recording.cancel_age
    _refuse(where, "trade_side", side, np.abs(side) != 1, "+1 or -1")
    quantity, price = recording.trade_quantity, recording.trade_price
    _refuse(where, "trade_quantity", quantity, quantity <= 0, "above zero")
    _refuse(where, "trade_price", price, ~np.isfinite(price), "finite")
    _refuse(where, "cancel_age", age, ~((age >= 0.0) & np.isfinite(age)), "seconds, not below 0")
    for name in ("bid", "ask"):
        quote = getattr(recording, name)
        _refuse(where, name, quote, np.isinf(quote), "a price, or NaN where the side is empty")
    depth = recording.depth
    _refuse(where, "depth", depth, ~((depth >= 0.0) & np.isfinite(depth)), "finite, not below 0")


def pooled(recordings: Sequence[Recording], config: FactsConfig | None = None) -> Sample:
    """The recordings as one sample."""
    return Sample(tuple(recordings), config or FactsConfig())


def _refuse(
    where: str,
    name: str,
    values: NDArray[np.generic],
    wrong: NDArray[np.bool_],
    expected: str,
) -> None:
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{where}: {name}[{at}] is {values[at]}, expected {expected} "
            f"({int(wrong.sum())} such entries)"
        )


def _mid(recording: Recording, quote: Integers) -> Floats:
    if not recording.quote_time.size:
        return np.full(quote.shape, np.nan)
    return np.where(quote >= 0, recording.mid[np.maximum(quote, 0)], np.nan)


def _orders(recording: Recording) -> Orders:
    time, side = recording.trade_time, recording.trade_side
    if not time.size:
        none = np.zeros(0)
        return Orders(none, none, none, none)
    new = np.append(True, (np.diff(time) > 0.0) | (np.diff(side) != 0))
    first = np.flatnonzero(new)
    return Orders(
        time=time[first],
        side=side[first].astype(np.float64),
        quantity=np.add.reduceat(recording.trade_quantity, first).astype(np.float64),
        mid_before=mid_before(recording, time[first]),
    )
