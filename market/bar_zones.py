"""Guessing the time zone of stamps that carry none, by the hours of exchanges.

Clocks change on different days in different countries. Read in the file's own zone
the bars open at one time of the exchange's day, all year; read in another they shift
twice a year, or an hour of them is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market.bar_dates import NS_PER_DAY, localise, wall_clock
from market.bar_table import MISSING, BadRows

NS_PER_MINUTE = 60_000_000_000
MINUTES_PER_DAY = 1440

FILE_ZONES = (
    "UTC",
    "America/New_York",
    "America/Chicago",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Athens",
    "Asia/Jerusalem",
    "Asia/Kolkata",
    "Asia/Hong_Kong",
    "Asia/Tokyo",
    "Australia/Sydney",
)
"""Zones in which files are stamped: exchanges' own, and those of common vendors and brokers."""

_LOOKED_AT = 300_000
_MOST_INSIDE = 0.995
_MOST_EDGES = 0.6
_ALIKE = 0.001


@dataclass(frozen=True)
class Hours:
    """When an exchange trades: minutes after midnight in its zone, over night if close < open."""

    name: str
    zone: str
    open: int
    close: int


def _hours(name: str, zone: str, open_: str, close: str) -> Hours:
    def minutes(text: str) -> int:
        hour, minute = text.split(":")
        return int(hour) * 60 + int(minute)

    return Hours(name, zone, minutes(open_), minutes(close))


EXCHANGES = (
    _hours("CME Globex", "America/New_York", "18:00", "17:00"),
    _hours("US equities", "America/New_York", "09:30", "16:00"),
    _hours("US equities, extended", "America/New_York", "04:00", "20:00"),
    _hours("London", "Europe/London", "08:00", "16:30"),
    _hours("Xetra", "Europe/Berlin", "09:00", "17:30"),
    _hours("Eurex", "Europe/Berlin", "08:00", "22:00"),
    _hours("Eurex, long day", "Europe/Berlin", "01:00", "22:00"),
    _hours("Tokyo", "Asia/Tokyo", "09:00", "15:00"),
    _hours("Hong Kong", "Asia/Hong_Kong", "09:30", "16:00"),
    _hours("India", "Asia/Kolkata", "09:15", "15:30"),
    _hours("Sydney", "Australia/Sydney", "10:00", "16:00"),
)
"""Regular hours as the exchanges publish them."""


@dataclass(frozen=True)
class ZoneGuess:
    """Which zone the stamps are in and where they trade, as far as the hours tell.

    zone: of the file, or None where no known hours fit.
    hours: of the exchange, or None.
    others: zones that fit about as well.
    """

    zone: str | None
    hours: Hours | None
    others: tuple[str, ...] = ()


def guess_zone(
    wall: NDArray[np.int64],
    aware: NDArray[np.bool_],
    minutes: int,
    zones: tuple[str, ...] = FILE_ZONES,
) -> ZoneGuess:
    """The zone of the file and the hours of the exchange that fit the bars best.

    Args:
        wall: int64 ns [n], stamps as settled, in the file's order.
        aware: bool [n], stamps that are UTC already.
        minutes: length of a bar.
        zones: candidates; one where it is known.
    """
    if minutes >= MINUTES_PER_DAY or MINUTES_PER_DAY % minutes:
        return ZoneGuess(None, None)
    wall, aware = wall[-_LOOKED_AT:], aware[-_LOOKED_AT:]
    exists = wall != MISSING
    wall, aware = wall[exists], aware[exists]
    tried = ("UTC",) if len(aware) and aware.all() else zones
    scores: dict[str, tuple[float, Hours]] = {}
    for zone in tried:
        start = localise(wall, aware, zone, np.arange(len(wall)), BadRows(zone))
        skipped = float((start == MISSING).mean()) if len(start) else 0.0
        fits = [(_fit(start[start != MISSING], minutes, hours), hours) for hours in EXCHANGES]
        score, hours = max(fits, key=lambda fit: fit[0])
        if score > 0.0:
            scores[zone] = score - skipped, hours
    if not scores:
        return ZoneGuess(None, None)
    best = max(scores, key=lambda zone: scores[zone][0])
    close = (z for z, (score, _) in scores.items() if score > scores[best][0] - _ALIKE)
    return ZoneGuess(best, scores[best][1], tuple(z for z in close if z != best))


def _fit(start: NDArray[np.int64], minutes: int, hours: Hours) -> float:
    """How well UTC starts [n] keep to the hours, 0 where they do not.

    The sum of the share of bars inside the hours and of the shares of days whose first
    bar is at the open and whose last ends at the close.
    """
    if len(start) < 2:
        return 0.0
    local = wall_clock(start, hours.zone) - hours.open * NS_PER_MINUTE
    length = (hours.close - hours.open) % MINUTES_PER_DAY
    within = local % NS_PER_DAY // NS_PER_MINUTE
    inside = float((within < length).mean())
    change = np.flatnonzero(np.diff(local // NS_PER_DAY))
    firsts = within[np.r_[0, change + 1]]
    lasts = within[np.r_[change, len(within) - 1]]
    opens, closes = float((firsts == 0).mean()), float((lasts == length - minutes).mean())
    if inside < _MOST_INSIDE or min(opens, closes) < _MOST_EDGES:
        return 0.0
    return inside + opens + closes
