"""Longer bars of shorter ones: what they add up to, and what belongs to which."""

from __future__ import annotations

import numpy as np
import pytest

from configs.errors import DataError
from configs.market import GeneratorReference
from market.bars import Bars
from market.coarser_bars import coarser_bars
from market.finer_bars import finer_bars
from market.synthetic import bars_of_columns, synthetic_bars

MINUTE = 60_000_000_000


def some(count: int = 60, minutes: float = 5) -> Bars:
    return synthetic_bars(GeneratorReference(), count, minutes, 0.01, 3)


def without(bars: Bars, *rows: int) -> Bars:
    keep = np.delete(np.arange(len(bars)), rows)
    columns = tuple(getattr(bars, n)[keep] for n in ("open", "high", "low", "close", "volume"))
    return bars_of_columns(bars.start[keep].copy(), columns, bars.source)


def test_parts_add_up_again() -> None:
    whole = some(20, 30)
    again, number = coarser_bars(finer_bars(whole, 30, 6, 0.01, 5), 5, 30)
    for name in ("start", "open", "high", "low", "close", "volume"):
        assert getattr(again, name) == pytest.approx(getattr(whole, name))
    assert np.array_equal(number, np.repeat(np.arange(20), 6))


def test_the_clock_cuts_and_holes_stay() -> None:
    bars = without(some(), 3, *range(12, 24), 59)
    longer, number = coarser_bars(bars, 5, 30)
    assert (np.diff(longer.start) % (30 * MINUTE) == 0).all()
    assert len(longer) == 8 and longer.start[2] - longer.start[1] == 90 * MINUTE
    assert np.bincount(number).tolist() == [5, 6, 6, 6, 6, 6, 6, 5]
    assert longer.close[0] == bars.close[4] and longer.high[1] == bars.high[5:11].max()


def test_a_prefix_of_bars_gives_a_prefix() -> None:
    bars = some()
    longer, _ = coarser_bars(bars, 5, 30)
    part, _ = coarser_bars(without(bars, *range(40, 60)), 5, 30)
    whole = 40 // 6
    for name in ("start", "open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(part, name)[:whole], getattr(longer, name)[:whole])


def test_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="cannot make up bars of 12; expected a whole multiple"):
        coarser_bars(some(), 5, 12)
