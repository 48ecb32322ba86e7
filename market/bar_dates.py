"""Stamps of bars: reading them, settling day-first or month-first, and localising them.

Numeric dates such as 3/4/2024 say nothing alone; a file of bars in order does:
read the wrong way, its stamps jump back. Both readings are kept until the whole
file is seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from configs.errors import DataError
from market.bar_table import MISSING, BadRows, BarTable

NS_PER_SECOND = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_SECOND
_EPOCH = date(1970, 1, 1).toordinal()
_YEARS = range(1700, 2262)
"""Years whose nanoseconds fit int64."""

_NUMERIC = re.compile(r"^(\d{1,2})([/.-])(\d{1,2})\2(\d{4})$", re.ASCII)
_ISO = re.compile(r"^(\d{4})([/.-]?)(\d{2})\2(\d{2})$", re.ASCII)
_TIME = re.compile(
    r"^(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*([AaPp][Mm])?"
    r"\s*(Z|z|UTC|[+-]\d{2}:?\d{2})?$",
    re.ASCII,
)
_EPOCH_UNITS = {10: NS_PER_SECOND, 13: 1_000_000, 16: 1_000, 19: 1}
"""Digits of a Unix time and the ns in its unit; these lengths span 2001 to 2262."""

_CACHED = 1 << 16
_CLOCK_CHANGE = 2 * 3600 * NS_PER_SECOND
"""Clocks set back repeat up to two hours; a date read wrongly errs by a day at least."""


@dataclass(frozen=True)
class Stamp:
    """One stamp in both readings, in ns since 1970; `aware` where it is UTC already."""

    day_first: int
    month_first: int
    aware: bool


class StampReader:
    """Reads stamps as text; dates and times of day repeat, so their parts are cached."""

    def __init__(self) -> None:
        self._dates: dict[str, tuple[int, int] | None] = {}
        self._times: dict[str, tuple[int, bool] | None] = {}

    def read(self, text: str) -> Stamp | None:
        """The stamp that `text` holds, or None where it holds none."""
        text = text.strip()
        if text.isdecimal() and text.isascii() and len(text) in _EPOCH_UNITS:
            ns = int(text) * _EPOCH_UNITS[len(text)]
            return Stamp(ns, ns, True) if ns < np.iinfo(np.int64).max else None
        day, _, clock = text.replace("T", " ", 1).partition(" ")
        days = self._date(day)
        time = self._time(clock.strip())
        if days is None or time is None:
            return None
        within, aware = time
        first, second = (MISSING if d == MISSING else d + within for d in days)
        return Stamp(first, second, aware)

    def _date(self, text: str) -> tuple[int, int] | None:
        if text not in self._dates:
            if len(self._dates) >= _CACHED:
                self._dates.clear()
            self._dates[text] = _read_date(text)
        return self._dates[text]

    def _time(self, text: str) -> tuple[int, bool] | None:
        if text not in self._times:
            if len(self._times) >= _CACHED:
                self._times.clear()
            self._times[text] = _read_time(text)
        return self._times[text]


def _read_date(text: str) -> tuple[int, int] | None:
    """Midnight of a date, ns since 1970, read day-first and month-first."""
    match = _NUMERIC.match(text)
    if match:
        one, two, year = int(match[1]), int(match[3]), int(match[4])
        readings = _midnight(year, two, one), _midnight(year, one, two)
        return None if readings == (MISSING, MISSING) else readings
    match = _ISO.match(text)
    if match:
        midnight = _midnight(int(match[1]), int(match[3]), int(match[4]))
        return None if midnight == MISSING else (midnight, midnight)
    return None


def _midnight(year: int, month: int, day: int) -> int:
    if year not in _YEARS:
        return MISSING
    try:
        return (date(year, month, day).toordinal() - _EPOCH) * NS_PER_DAY
    except ValueError:
        return MISSING


def _read_time(text: str) -> tuple[int, bool] | None:
    """Time of day in ns, made UTC where an offset stands behind it; none is midnight."""
    if not text:
        return 0, False
    match = _TIME.match(text)
    if not match:
        return None
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    half = (match[5] or "").lower()
    if half and not 1 <= hour <= 12:
        return None
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    fraction = int((match[4] or "").ljust(9, "0"))
    ns = (hour * 3600 + minute * 60 + second) * NS_PER_SECOND + fraction
    offset = match[6]
    if offset and offset[0] in "+-":
        minutes = int(offset[1:3]) * 60 + int(offset[-2:])
        ns -= (1 if offset[0] == "+" else -1) * minutes * 60 * NS_PER_SECOND
    return ns, bool(offset)


def settle(
    table: BarTable, dayfirst: bool | None, name: str
) -> tuple[NDArray[np.int64], bool | None]:
    """The reading of the dates that stands, int64 [n], and whether it is day-first.

    A reading stands when every stamp exists in it and none goes back. Dates that
    read alike in both, such as 2024-04-03, are neither: None.

    Raises:
        DataError: neither or both stand, and `dayfirst` does not say which is meant.
    """
    day, month = table.day_first, table.month_first
    if np.array_equal(day, month):
        return day, None
    if dayfirst is not None:
        return (day if dayfirst else month), dayfirst
    breaks = {"day-first": _first_break(day), "month-first": _first_break(month)}
    if breaks["day-first"] is None and breaks["month-first"] is not None:
        return day, True
    if breaks["month-first"] is None and breaks["day-first"] is not None:
        return month, False
    remedy = "set dayfirst: true or dayfirst: false in the bars' configuration"
    if breaks["day-first"] is None:
        row = int(np.argmax(day != month))
        raise DataError(
            f"{name}: the dates read in order both day-first and month-first ({table.unit}"
            f" {table.lines[row]} is {_wall(day[row])} or {_wall(month[row])}); {remedy}"
        )
    found = ", ".join(
        f"{reading} breaks at {table.unit} {table.lines[row]}" for reading, row in breaks.items()
    )
    raise DataError(
        f"{name}: the dates read in order neither day-first nor month-first ({found}):"
        f" expected stamps that rise; sort or mend the file, or {remedy} and see which rows"
        " are bad"
    )


def more_plausible(table: BarTable) -> tuple[bool, bool]:
    """Where a file does not settle it: whether day-first is likelier, and whether that is sure.

    Likelier is the reading with fewer stamps that do not exist or go back, then the one
    with the shorter steps. It is sure where the other has such stamps and this one fewer.
    """
    broken = {first: _broken(stamps) for first, stamps in _readings(table).items()}
    faults = {first: int(rows.sum()) for first, rows in broken.items()}
    if faults[True] != faults[False]:
        return faults[True] < faults[False], True
    steps = {first: _usual_step(stamps) for first, stamps in _readings(table).items()}
    return steps[True] <= steps[False], False


def _readings(table: BarTable) -> dict[bool, NDArray[np.int64]]:
    return {True: table.day_first, False: table.month_first}


def _usual_step(stamps: NDArray[np.int64]) -> float:
    steps = np.diff(stamps[stamps != MISSING])
    return float(np.median(np.abs(steps))) if len(steps) else 0.0


def _first_break(stamps: NDArray[np.int64]) -> int | None:
    """The first row whose stamp does not exist or goes back by more than a clock change."""
    broken = np.flatnonzero(_broken(stamps))
    return int(broken[0]) if len(broken) else None


def _broken(stamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows [n] whose stamp does not exist or goes back by more than a clock change."""
    missing = stamps == MISSING
    back = np.zeros(len(stamps), dtype=np.bool_)
    ahead = np.maximum.accumulate(stamps)
    back[1:] = stamps[1:] < ahead[:-1] - _CLOCK_CHANGE
    return missing | back


def _wall(ns: np.int64 | int) -> str:
    return datetime.fromordinal(int(ns) // NS_PER_DAY + _EPOCH).date().isoformat()


def localise(
    wall: NDArray[np.int64],
    aware: NDArray[np.bool_],
    zone: str,
    lines: NDArray[np.int64],
    bad: BadRows,
) -> NDArray[np.int64]:
    """UTC starts, int64 ns [n], of stamps on the wall clock of `zone`.

    Where clocks are set back, an hour happens twice: a stamp in it is the first
    of the two, unless the bar before it lies at or after that, then the second.
    Where clocks are set forward an hour is missing: a stamp in it is bad.
    Rows that are bad get `MISSING` and are counted in `bad`.
    """
    missing = wall == MISSING
    bad.add_many("date does not exist in this reading", lines[missing])
    index = pd.DatetimeIndex(np.where(missing | aware, 0, wall).view("M8[ns]"))
    early = _utc(index, zone, first=True)
    late = _utc(index, zone, first=False)
    nonexistent = ~aware & ~missing & (early == MISSING)
    bad.add_many(f"hour that {zone} skips when clocks go forward", lines[nonexistent])
    start = np.where(aware, wall, early)
    start[missing | nonexistent] = MISSING
    for row in np.flatnonzero(~aware & (early != late) & (start != MISSING)):
        if row > 0 and start[row - 1] >= start[row]:
            start[row] = late[row]
    return start


def _utc(index: pd.DatetimeIndex, zone: str, *, first: bool) -> NDArray[np.int64]:
    ambiguous = np.full(len(index), first)
    local = index.tz_localize(zone, ambiguous=ambiguous, nonexistent="NaT")
    return np.asarray(local.asi8, dtype=np.int64)


def wall_clock(start: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """What the clocks of `zone` show at UTC `start`, both int64 ns [n] since 1970."""
    index = pd.DatetimeIndex(start.view("M8[ns]"), tz="UTC").tz_convert(zone)
    return np.asarray(index.tz_localize(None).asi8, dtype=np.int64)
