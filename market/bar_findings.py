"""Findings about bars: the faults counted in reading, and what the suspects' search gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from market import bar_checks
from market.bar_dates import NS_PER_DAY, wall_clock
from market.bar_report import Finding, Kind, Place
from market.bar_sessions import Gaps, Sessions
from market.bar_suspects import VOLUME, Jump, Outlier, Stretch
from market.bar_table import BadRows, BarTable
from market.bar_text import CUT_SHORT
from market.bar_zones import NS_PER_MINUTE
from market.bars import Rows

SHOWN = 5
SHOWN_SUSPECTS = 50
_SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

DROP = "mend the file, or set on_bad: drop to leave them out"

_FAULTS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    (
        "unreadable_stamps",
        "stamps that cannot be read or do not exist",
        lambda r: r.startswith(("no date and time", "date does not", "hour that")),
    ),
    ("repeated_stamps", "stamps given twice", lambda r: r == bar_checks.REPEATED),
    ("reversed_stamps", "stamps out of order", lambda r: r == bar_checks.ORDER),
    (
        "ohlc_order",
        "bars whose open, high, low and close are out of order",
        lambda r: r in (bar_checks.LOW_ABOVE, bar_checks.HIGH_BELOW),
    ),
    ("not_finite", "values that are no finite number", lambda r: r == bar_checks.NOT_FINITE),
    ("not_positive", "prices not above zero", lambda r: r == bar_checks.NOT_POSITIVE),
    ("negative_volume", "volumes below zero", lambda r: r == bar_checks.NEGATIVE_VOLUME),
    ("off_tick", "prices off the tick", lambda r: r.startswith("price off the tick")),
    (
        "wrong_fields",
        "rows of another number of fields, or with open quotes",
        lambda r: r.endswith("fields") or r.startswith("quotes"),
    ),
    ("cut_short", "last rows cut short", lambda r: r == CUT_SHORT),
)
"""Name, title and the reasons (as `BadRows` counts them) of each kind of fault."""


def fault_findings(bad: BadRows) -> list[Finding]:
    """Each kind of bad row, found or not."""
    findings = []
    for name, title, belongs in _FAULTS:
        reasons = [reason for reason in bad.counts if belongs(reason)]
        first = sorted(
            Place(line, f"{reason}: {detail}" if detail else reason)
            for reason in reasons
            for line, detail in bad.first(reason)
        )
        count = sum(bad.counts[reason] for reason in reasons)
        findings.append(Finding(name, title, Kind.FAULT, count, tuple(first[:SHOWN]), DROP))
    return findings


@dataclass(frozen=True)
class Located:
    """The bars with what is needed to say where one of them is.

    rows: in order of time. zone: of the exchange. file_zone: of the stamps.
    """

    rows: Rows
    zone: str
    file_zone: str

    def place(self, row: int, what: str = "", last: int | None = None) -> Place:
        """Where a bar is, when it starts, and what is the matter."""
        text = self.when(row) + (f": {what}" if what else "")
        if last is None:
            return Place(int(self.rows.lines[row]), text)
        text = f"{self.when(row)} to {self.when(last)}: {what}"
        return Place(int(self.rows.lines[row]), text, int(self.rows.lines[last]))

    def when(self, row: int) -> str:
        """The start of a bar on the exchange's clocks."""
        return clock(int(wall_clock(self.rows.start[row : row + 1], self.zone)[0]))

    def file_day(self, row: int) -> date:
        """The day of a bar in the file's own zone, which the configuration's dates mean."""
        wall = int(wall_clock(self.rows.start[row : row + 1], self.file_zone)[0])
        return day_of(wall // NS_PER_DAY)

    def opens_its_day(self, row: int) -> bool:
        """Whether a bar is the first of its day in the file's own zone."""
        return row > 0 and self.file_day(row - 1) < self.file_day(row)


def clock(ns: int) -> str:
    """A moment as text, to the minute where it has no seconds."""
    text = str(np.datetime64(ns // _SECOND, "s")).replace("T", " ")
    return text.removesuffix(":00")


def day_of(days: int) -> date:
    """The date of a number of days since 1970."""
    return (_EPOCH + timedelta(days=days)).date()


def no_line_end(table: BarTable, bad: BadRows) -> Finding:
    """A last line that may be cut short, which nothing in it shows."""
    line = None if CUT_SHORT in bad.counts else table.unended
    places = () if line is None else (Place(line, "the file ends without a line end"),)
    remedy = "its last number may be cut short: compare it with the source"
    return Finding("no_line_end", "last line unended", Kind.NOTE, len(places), places, remedy)


def zero_volume(bars: Located) -> Finding:
    """Bars in which nothing traded."""
    rows = np.flatnonzero(bars.rows.values[:, VOLUME] == 0.0)
    remedy = "set drop_zero_volume: true to leave them out"
    return _rows("zero_volume", "bars without volume", Kind.NOTE, bars, rows, remedy)


def in_the_future(bars: Located, future: NDArray[np.int64]) -> Finding:
    """Bars that start after this check."""
    remedy = "mend the stamps, or leave those days out by exclude"
    return _rows("future_stamps", "stamps in the future", Kind.FAULT, bars, future, remedy)


def overlapping(bars: Located, minutes: float) -> Finding:
    """Bars that start before the one before them ends."""
    steps = np.diff(bars.rows.start) / NS_PER_MINUTE
    rows = np.flatnonzero(steps < minutes) + 1
    places = [
        bars.place(int(row), f"{steps[row - 1]:g} minutes after the bar before")
        for row in rows[:SHOWN]
    ]
    remedy = f"the file mixes lengths of bars: keep those of {minutes:g} minutes alone"
    title = "bars closer to the one before than a bar is long"
    return Finding("overlapping", title, Kind.FAULT, len(rows), tuple(places), remedy)


def gap_findings(bars: Located, sessions: Sessions, gaps: Gaps) -> list[Finding]:
    """Gaps inside sessions, sessions that are missing, bars outside the hours."""
    inside = [
        bars.place(int(row), f"{missing} bars missing before it")
        for row, missing in zip(gaps.after[:SHOWN], gaps.missing[:SHOWN], strict=True)
    ]
    absent = [
        bars.place(int(row), f"no session opened on {day_of(int(day))} before it")
        for row, day in zip(gaps.absent_after[:SHOWN], gaps.absent[:SHOWN], strict=True)
    ]
    total = int(gaps.missing.sum())
    return [
        Finding(
            "gaps",
            "gaps inside sessions",
            Kind.NOTE,
            len(gaps.after),
            tuple(inside),
            f"{total} bars missing",
        ),
        Finding(
            "missing_sessions",
            "missing sessions",
            Kind.NOTE,
            len(gaps.absent),
            tuple(absent),
            "on days of the week that have one; holidays are among them",
        ),
        _rows(
            "outside_hours",
            "bars at times of day that are hardly ever traded",
            Kind.NOTE,
            bars,
            gaps.outside,
        ),
    ]


def splice_finding(bars: Located, stretches: Sequence[Stretch]) -> Finding:
    """Long stretches whose volume or level is off."""
    places = [bars.place(s.first, s.why, s.last) for s in stretches[:SHOWN_SUSPECTS]]
    remedy = "leave the days out by exclude, unless the market really was so"
    title = "stretches that look spliced in"
    return Finding("splices", title, Kind.SUSPECT, len(stretches), tuple(places), remedy)


def roll_finding(bars: Located, rolls: Iterable[Jump]) -> Finding:
    """Jumps that look like the next contract's price, unadjusted."""
    rolls = list(rolls)
    places = []
    for jump in rolls[:SHOWN_SUSPECTS]:
        what = f"{np.expm1(jump.size):+.2%}, {jump.deviations:.0f} robust deviations"
        what += f"; in rolls: {bars.file_day(jump.row)}"
        if not bars.opens_its_day(jump.row):
            what += f" cannot say it, for the bar is not that day's first in {bars.file_zone}"
        places.append(bars.place(jump.row, what))
    remedy = "name the days in rolls, which closes the gaps; look at each first"
    title = "jumps that look like contract rolls"
    return Finding("rolls", title, Kind.SUSPECT, len(rolls), tuple(places), remedy)


def outlier_finding(bars: Located, found: Sequence[Outlier]) -> Finding:
    """Bars that move too far."""
    places = [
        bars.place(o.row, f"{o.why}, {o.deviations:.0f} robust deviations")
        for o in found[:SHOWN_SUSPECTS]
    ]
    remedy = "compare with another source; mend the prices or delete the rows"
    title = "outliers"
    return Finding("outliers", title, Kind.SUSPECT, len(found), tuple(places), remedy)


def _rows(
    name: str, title: str, kind: Kind, bars: Located, rows: NDArray[np.int64], remedy: str = ""
) -> Finding:
    places = tuple(bars.place(int(row)) for row in rows[:SHOWN])
    return Finding(name, title, kind, len(rows), places, remedy)
