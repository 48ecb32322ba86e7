"""What the stamps of bars say: sessions, holes, the hour.

Two bars follow each other where one starts when the other ends. A longer pause is a
session break (a night, a weekend, a holiday, bars that are missing) or, beyond
`longest_break_hours`, a hole: no price can be carried across it, and every indicator
starts again. The rule looks at two stamps alone, so it is causal, and equal live.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from configs.signals import ClockConfig

NS_PER_MINUTE = 60_000_000_000
NS_PER_HOUR = 60 * NS_PER_MINUTE
HOURS_PER_DAY = 24
MINUTES_PER_DAY = 1440
FOLLOWS, BREAK, HOLE = 0, 1, 2


@dataclass(frozen=True)
class Clock:
    """Bool [n] each: bars that open a session (those after a hole too), and those after a hole."""

    opens: NDArray[np.bool_]
    hole: NDArray[np.bool_]

    @property
    def segments(self) -> list[tuple[int, int]]:
        """First row and row after the last of each stretch without a hole."""
        if not len(self.hole):
            return []
        first = np.r_[0, np.flatnonzero(self.hole)].tolist()
        return list(zip(first, [*first[1:], len(self.hole)], strict=True))


def pause(before: int, start: int, bar_minutes: int, config: ClockConfig) -> int:
    """FOLLOWS, BREAK or HOLE: what lies between two bars that start at these ns.

    Raises:
        DataError: the second bar does not start after the first has ended.
    """
    missing = start - before - bar_minutes * NS_PER_MINUTE
    if missing < 0:
        minutes = (start - before) / NS_PER_MINUTE
        raise DataError(
            f"a bar starts {minutes:g} minutes after the one before it: expected at least "
            f"bar_minutes={bar_minutes}; pass the length of the bars, and bars in order"
        )
    if missing == 0:
        return FOLLOWS
    return BREAK if missing <= config.longest_break_hours * NS_PER_HOUR else HOLE


def read_clock(start: NDArray[np.int64], bar_minutes: int, config: ClockConfig) -> Clock:
    """The clock of bars that start at `start`, int64 ns [n].

    Raises:
        ConfigError: `bar_minutes` is not positive.
        DataError: bars overlap.
    """
    check_minutes(bar_minutes)
    missing = np.diff(start) - bar_minutes * NS_PER_MINUTE
    wrong = np.flatnonzero(missing < 0)
    if len(wrong):
        row = int(wrong[0])
        pause(int(start[row]), int(start[row + 1]), bar_minutes, config)
    opens = np.ones(len(start), np.bool_)
    opens[1:] = missing > 0
    hole = np.zeros(len(start), np.bool_)
    hole[1:] = missing > config.longest_break_hours * NS_PER_HOUR
    return Clock(opens, hole)


def check_minutes(bar_minutes: int) -> None:
    """Raise ConfigError where a bar's length is not positive."""
    if bar_minutes <= 0:
        raise ConfigError(f"bar_minutes={bar_minutes}: expected the length of a bar, at least 1")


def bars_per_day(bar_minutes: int) -> int:
    """How many bars fit into a day, at least one."""
    return max(1, MINUTES_PER_DAY // bar_minutes)


def day_angle(start: NDArray[np.int64]) -> NDArray[np.float64]:
    """2 pi h / 24 of the hour h (UTC, with its fraction) at which each bar starts."""
    day = HOURS_PER_DAY * NS_PER_HOUR
    return 2.0 * np.pi * ((start % day) / day)
