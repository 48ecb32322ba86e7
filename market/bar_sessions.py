"""The sessions that bars fall into, found from the bars themselves, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market.bar_dates import NS_PER_DAY, wall_clock
from market.bar_zones import MINUTES_PER_DAY, NS_PER_MINUTE

_TRADED = 0.1
"""A time of day is traded that has a bar on this share of the days, against the busiest."""
_REGULAR = 0.5
"""A weekday has sessions that has this share of the most that a weekday has."""
_DAYS = 7
_THURSDAY = 3
"""Weekday of 1970-01-01, Monday being 0."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Sessions:
    """Sessions of bars sorted by time.

    Attributes:
        zone: whose days and hours are meant.
        minutes: length of a bar.
        open, close: minutes after midnight in `zone`, of the start of the first bar and the
            end of the last; None where bars are a day or longer.
        full: bars of a full session.
        traded: bool, by bar of the day counted from the open, which are traded.
        day: int64 [n], the day on which each bar's session opens, days since 1970.
        slot: int64 [n], place of each bar in its session, from 0 at the open.
    """

    zone: str
    minutes: int
    open: int | None
    close: int | None
    full: int
    traded: NDArray[np.bool_]
    day: Rows
    slot: Rows

    @property
    def first(self) -> Rows:
        """Row of the first bar of each session."""
        return np.flatnonzero(np.diff(self.day, prepend=self.day[:1] - 1))

    @property
    def breaks(self) -> NDArray[np.bool_]:
        """Bool [n], bars that are the first of their session."""
        first = np.zeros(len(self.day), dtype=np.bool_)
        first[self.first] = True
        return first

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of `values` [n] over each session."""
        with np.errstate(over="ignore"):
            return np.add.reduceat(values, self.first) if len(values) else values


def find_sessions(start: Rows, minutes: int, zone: str, open_: int | None = None) -> Sessions:
    """The sessions of bars.

    The day is cut at its longest time without bars; without one, where bars go on after
    the longest pauses, and at midnight where there are none.

    Args:
        start: int64 ns [n], UTC, rising.
        minutes: length of a bar.
        zone: of the exchange.
        open_: minutes after midnight at which sessions open, where that is known.
    """
    local = wall_clock(start, zone)
    if minutes >= MINUTES_PER_DAY or MINUTES_PER_DAY % minutes:
        day, none = local // NS_PER_DAY, np.zeros(len(local), dtype=np.int64)
        return Sessions(zone, minutes, None, None, 1, np.ones(1, dtype=np.bool_), day, none)
    slots = MINUTES_PER_DAY // minutes
    slot = local % NS_PER_DAY // NS_PER_MINUTE // minutes
    seen = np.bincount(slot, minlength=slots)
    traded = seen >= _TRADED * max(int(seen.max(initial=0)), 1)
    first = _first_slot(traded, slot, local) if open_ is None else open_ // minutes
    offset = first * minutes * NS_PER_MINUTE
    traded = np.roll(traded, -first)
    last = int(np.flatnonzero(traded)[-1]) if traded.any() else slots - 1
    return Sessions(
        zone=zone,
        minutes=minutes,
        open=first * minutes,
        close=(first + last + 1) * minutes % MINUTES_PER_DAY,
        full=int(traded.sum()),
        traded=traded,
        day=(local - offset) // NS_PER_DAY,
        slot=(slot - first) % slots,
    )


def _first_slot(traded: NDArray[np.bool_], slot: Rows, local: Rows) -> int:
    """The slot at which sessions open."""
    if traded.all():
        pauses = np.flatnonzero(np.diff(local) > NS_PER_DAY) + 1
        return int(np.bincount(slot[pauses]).argmax()) if len(pauses) else 0
    twice = np.r_[~traded, ~traded]
    run, best, after = 0, 0, 0
    for index, closed in enumerate(twice):
        run = run + 1 if closed else 0
        if run > best:
            best, after = run, index + 1
    return after % len(traded)


@dataclass(frozen=True)
class Gaps:
    """What is missing.

    Attributes:
        after: int64 [g], rows before which bars of the same session are missing.
        missing: int64 [g], how many.
        late, early: sessions that open late or close early, holidays among them.
        absent: int64 [a], days since 1970 on which a session would open and none did.
        absent_after: int64 [a], the row that follows each.
        outside: int64 [o], rows at times of day that are not traded.
    """

    after: Rows
    missing: Rows
    late: int
    early: int
    absent: Rows
    absent_after: Rows
    outside: Rows


def find_gaps(sessions: Sessions, left_out: NDArray[np.bool_], follows: NDArray[np.bool_]) -> Gaps:
    """What is missing among bars.

    Args:
        sessions: of the bars.
        left_out: bool [n], bars that count not.
        follows: bool [n], bars before which nothing is left out.
    """
    day, slot, traded = sessions.day, sessions.slot, sessions.traded
    # Traded slots before each slot: differences count those between two bars.
    before = np.r_[0, np.cumsum(traded)]
    same = (np.diff(day) == 0) & follows[1:]
    between = np.maximum(before[slot[1:]] - before[np.minimum(slot[:-1] + 1, len(traded))], 0)
    after = np.flatnonzero(same & (between > 0)) + 1
    first = sessions.first
    last = np.r_[first[1:] - 1, len(day) - 1] if len(day) else first
    whole = ~(left_out[first] | left_out[last]) if len(first) else np.zeros(0, dtype=np.bool_)
    # The file may begin and end inside a session.
    late = whole[1:] & (before[slot[first[1:]]] > 0)
    early = whole[:-1] & (before[slot[last[:-1]] + 1] < sessions.full)
    absent, absent_after = _absent(day[first], first, follows)
    return Gaps(
        after=after,
        missing=between[after - 1],
        late=int(late.sum()),
        early=int(early.sum()),
        absent=absent,
        absent_after=absent_after,
        outside=np.flatnonzero(~traded[slot] & ~left_out),
    )


def _absent(days: Rows, first: Rows, follows: NDArray[np.bool_]) -> tuple[Rows, Rows]:
    """Days of regular weekdays without a session, and the rows that follow them.

    What is absent for longer than a file has sessions is a hole, told by its first day alone.
    """
    none = np.zeros(0, dtype=np.int64)
    if len(days) < _DAYS:
        return none, none
    weekdays = np.bincount((days + _THURSDAY) % _DAYS, minlength=_DAYS)
    regular = weekdays >= _REGULAR * weekdays.max()
    absent, after = [], []
    for k in np.flatnonzero(np.diff(days) > 1):
        if not follows[first[k + 1]]:
            continue
        hole = np.arange(days[k] + 1, min(days[k + 1], days[k] + 1 + len(days)))
        hole = hole[regular[(hole + _THURSDAY) % _DAYS]]
        absent.append(hole)
        after.append(np.full(len(hole), first[k + 1]))
    if not absent:
        return none, none
    return np.concatenate(absent).astype(np.int64), np.concatenate(after).astype(np.int64)
