"""Bars as markets play them one after another: in ticks, with what was known before each.

The slower layers live on a run of bars. A tape holds all bars of a data set once; markets
of many episodes play stretches of it, each from a bar of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.market import LADDER_MULTIPLE
from market.bars import Bars
from market.sources import EDGE_LEVELS, trailing_activity, trailing_sigma
from market.trade_bars import NS_PER_SECOND

Floats = NDArray[np.float64]

MOST_LEVELS = 1 << 16  # `BookConfig.ladder_levels`, at most
_MINUTE = 60.0
_SECONDS_PER_DAY = 86_400


class Tape(NamedTuple):
    """What kernels read of each bar.

    Attributes:
        ohlc: float64 [n, 4], open, high, low and close, ticks.
        sigma: float64 [n], deviation over a bar by the ranges of the bars before, ticks.
        pace: float64 [n], volume of the bars before over the usual one.
        gap: float64 [n], seconds between the end of the bar before and this one; 0 where none.
        day: int64 [n], days since 1970 UTC.
    """

    ohlc: Floats
    sigma: Floats
    pace: Floats
    gap: Floats
    day: NDArray[np.int64]


@dataclass(frozen=True)
class BarTape:
    """A tape, the length of its bars in seconds, and the price increment in currency."""

    tape: Tape
    bar_seconds: float
    tick: float

    def __len__(self) -> int:
        return len(self.tape.ohlc)

    def ladder_levels(self, least: int, placement: int) -> int:
        """Levels that hold any one bar around its open, at least `least`.

        Raises:
            DataError: a bar's range is beyond the largest ladder.
        """
        open_, high, low = (self.tape.ohlc[:, column] for column in range(3))
        reach = np.maximum(high - open_, open_ - low)
        wanted = 2 * (int(np.ceil(reach.max())) + ladder_margin(placement) + 1)
        levels = max(least, -(-wanted // LADDER_MULTIPLE) * LADDER_MULTIPLE)
        if levels > MOST_LEVELS:
            raise DataError(
                f"bar {int(reach.argmax())} moves {reach.max():,.0f} ticks of {self.tick:g} from "
                f"its open, expected at most {MOST_LEVELS // 2 - ladder_margin(placement):,}; set "
                "a coarser market.tick, or leave the day out by bars.exclude"
            )
        return levels


def ladder_margin(placement: int) -> int:
    """Levels between the reference and either end of the ladder, at least."""
    return 2 * (EDGE_LEVELS + placement)


def bar_tape(bars: Bars, bar_minutes: float, tick: float, past: int) -> BarTape:
    """The tape of `bars`; `past` bars before each say how busy and volatile it will be.

    Args:
        bars: prices in currency.
        bar_minutes: length of a bar.
        tick: currency.
        past: bars, as `configs.market.BarReference.activity_bars`.

    Raises:
        DataError: there are no more than `past` bars.
    """
    if len(bars) <= past:
        raise DataError(
            f"{bars.source}: {len(bars)} bars, expected more than the {past} that say how "
            "volatile the next one will be"
        )
    seconds = bar_minutes * _MINUTE
    ohlc = np.stack([bars.open, bars.high, bars.low, bars.close], axis=1) / tick
    after = np.diff(bars.start, prepend=bars.start[0]) / NS_PER_SECOND - seconds
    after[0] = 0.0
    return BarTape(
        Tape(
            ohlc=np.ascontiguousarray(ohlc),
            sigma=trailing_sigma(ohlc, past),
            pace=trailing_activity(bars.volume, past),
            gap=np.maximum(after, 0.0),
            day=bars.start // (_SECONDS_PER_DAY * NS_PER_SECOND),
        ),
        seconds,
        tick,
    )
