"""Longer bars put together from shorter ones, by the clock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from market.bars import Bars
from market.synthetic import bars_of_columns

_NS_PER_MINUTE = 60_000_000_000


def coarser_bars(bars: Bars, minutes: float, longer: float) -> tuple[Bars, NDArray[np.int64]]:
    """Bars of `longer` minutes, and the number of the longer bar that each bar lies in.

    Longer bars are cut on the clock, counted from the first bar's stamp; they are made of
    whichever shorter bars there are and left out where there is none, as vendors do. What they
    say is known at the close of their last part.

    Args:
        bars: of `minutes` each.
        minutes, longer: lengths; the second is a whole multiple of the first.

    Returns:
        the longer bars, and int64 [n] into them.

    Raises:
        DataError: `longer` is no whole multiple.
    """
    parts = longer / minutes
    if parts < 1 or parts != int(parts):
        raise DataError(
            f"{bars.source}: bars of {minutes:g} min cannot make up bars of {longer:g}; expected a "
            "whole multiple, set bar_minutes of one layer to a part of the other's"
        )
    length = round(longer * _NS_PER_MINUTE)
    cell = (bars.start - bars.start[0] % length) // length
    first = np.flatnonzero(np.diff(cell, prepend=cell[0] - 1))
    last = np.append(first[1:], len(cell)) - 1
    columns = (
        bars.open[first],
        np.maximum.reduceat(bars.high, first),
        np.minimum.reduceat(bars.low, first),
        bars.close[last],
        np.add.reduceat(bars.volume, first),
    )
    start = cell[first] * length + bars.start[0] % length
    number = np.repeat(np.arange(len(first)), last - first + 1)
    source = f"{bars.source}, put together by {parts:g}" if parts > 1 else bars.source
    return bars_of_columns(start, columns, source), number
