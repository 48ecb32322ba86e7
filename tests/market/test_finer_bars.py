"""Bars cut into shorter ones: they add up to the bit, depend on their bar alone, look real."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from configs.errors import DataError
from configs.market import GeneratorReference
from market.bars import Bars
from market.finer_bars import finer_bars
from market.synthetic import bars_of_columns, synthetic_bars

PARTS, MINUTES, TICK = 6, 30.0, 0.01
_PRICES = ("open", "high", "low", "close", "volume")


@pytest.fixture(scope="module")
def bars() -> Bars:
    return synthetic_bars(GeneratorReference(), 4000, MINUTES, TICK, seed=5)


def cut(bars: Bars, seed: int = 0, parts: int = PARTS) -> Bars:
    return finer_bars(bars, MINUTES, parts, TICK, seed)


def by_bar(finer: Bars, name: str, parts: int = PARTS) -> NDArray[np.float64]:
    return np.asarray(getattr(finer, name).reshape(-1, parts))


def assert_adds_up(bars: Bars, finer: Bars, parts: int = PARTS) -> None:
    """To the bit, as whoever aggregates the finer bars finds them."""
    assert np.array_equal(by_bar(finer, "open", parts)[:, 0], bars.open)
    assert np.array_equal(by_bar(finer, "high", parts).max(axis=1), bars.high)
    assert np.array_equal(by_bar(finer, "low", parts).min(axis=1), bars.low)
    assert np.array_equal(by_bar(finer, "close", parts)[:, -1], bars.close)
    assert np.array_equal(by_bar(finer, "volume", parts).sum(axis=1), bars.volume)


def assert_sound(finer: Bars, parts: int = PARTS) -> None:
    """Each is a bar, and opens where the one before it in the same bar closed."""
    top, bottom = np.maximum(finer.open, finer.close), np.minimum(finer.open, finer.close)
    assert (finer.high >= top).all() and (finer.low <= bottom).all()
    assert (finer.volume >= 0.0).all()
    opens, closes = by_bar(finer, "open", parts), by_bar(finer, "close", parts)
    assert np.array_equal(opens[:, 1:], closes[:, :-1])


def test_six_bars_add_up_to_the_bar_exactly(bars: Bars) -> None:
    finer = cut(bars)
    assert len(finer) == PARTS * len(bars)
    assert_adds_up(bars, finer)
    assert_sound(finer)
    minutes = np.diff(finer.start) / 60e9
    assert np.array_equal(np.unique(minutes), [MINUTES / PARTS])
    assert np.array_equal(finer.start[::PARTS], bars.start)
    # Inside the bar, prices lie on ticks.
    inner = by_bar(finer, "close")[:, :-1] / TICK
    assert np.abs(inner - np.rint(inner)).max() < 1e-6


_price = st.floats(0.5, 20_000.0)


@given(
    rows=st.lists(st.tuples(_price, _price, _price, _price, st.floats(0.0, 1e9)), min_size=1),
    parts=st.sampled_from([1, 2, 3, 6, 30]),
    seed=st.integers(0, 2**64 - 1),
)
def test_any_bars_add_up(rows: list[tuple[float, ...]], parts: int, seed: int) -> None:
    """Prices off the tick, as after a roll; bars without a move, a range or a trade."""
    given_rows = np.array(rows)
    prices, volume = np.sort(given_rows[:, :4], axis=1), given_rows[:, 4]
    columns = (prices[:, 1], prices[:, 3], prices[:, 0], prices[:, 2], volume)
    start = np.arange(len(rows), dtype=np.int64) * 1_800_000_000_000 - 3_600_000_000_000
    bars = bars_of_columns(start, columns, "drawn")
    finer = cut(bars, seed, parts)
    assert_adds_up(bars, finer, parts)
    assert_sound(finer, parts)


def test_a_bar_in_which_nothing_moves_is_cut_into_such_bars() -> None:
    flat = np.full(3, 100.0)
    bars = bars_of_columns(np.arange(3) * 1_800_000_000_000, (flat,) * 4 + (np.zeros(3),), "still")
    finer = cut(bars)
    for name in _PRICES[:4]:
        assert np.array_equal(getattr(finer, name), np.full(18, 100.0))
    assert not finer.volume.any()


def test_finer_bars_depend_on_their_bar_and_the_seed_alone(bars: Bars) -> None:
    """So that those of a prefix are a prefix of those of all, and no split sees another."""

    def part(rows: slice) -> Bars:
        cut_out: dict[str, Any] = {n: getattr(bars, n)[rows] for n in (*_PRICES, "start")}
        return replace(bars, **cut_out)

    whole, some = cut(bars), cut(part(slice(1000, 1500)))
    for name in _PRICES:
        assert np.array_equal(getattr(some, name), getattr(whole, name)[6000:9000])
    again, other = cut(bars), cut(bars, seed=1)
    assert again.fingerprint == whole.fingerprint != other.fingerprint
    assert not np.array_equal(other.close, whole.close)


def test_they_move_and_trade_as_bars_of_that_length_do(bars: Bars) -> None:
    """Against bars that were walked at five minutes: ranges, moves, and where extremes lie."""
    finer = cut(bars)
    walked = synthetic_bars(GeneratorReference(), 24_000, MINUTES / PARTS, TICK, seed=6)

    def shape(some: Bars) -> tuple[float, float]:
        """Mean range, and mean move, over the mean range of the bars of half an hour."""
        high, low = (by_bar(some, name) for name in ("high", "low"))
        whole = (high.max(axis=1) - low.min(axis=1)).mean()
        moves = np.abs(some.close - some.open)
        return (some.high - some.low).mean() / whole, moves.mean() / whole

    assert shape(finer) == pytest.approx(shape(walked), rel=0.1)
    for name, most in (("high", True), ("low", False)):
        found = by_bar(finer, name)
        place = (found.argmax if most else found.argmin)(axis=1)
        counts = np.bincount(place, minlength=PARTS) / len(place)
        wanted = by_bar(walked, name)
        place = (wanted.argmax if most else wanted.argmin)(axis=1)
        usual = np.bincount(place, minlength=PARTS) / len(place)
        assert counts == pytest.approx(usual, abs=0.05)
    # Busy minutes move more: within a bar, whose own volume is taken out.
    scaled = [by_bar(finer, "volume"), by_bar(finer, "high") - by_bar(finer, "low")]
    volume, ranges = (part / part.mean(axis=1, keepdims=True) for part in scaled)
    assert np.corrcoef(volume.ravel(), ranges.ravel())[0, 1] > 0.2


@pytest.mark.parametrize("parts", [0, -1, 7 * 10**9 + 1])
def test_parts_that_are_none_are_refused(bars: Bars, parts: int) -> None:
    with pytest.raises(DataError, match="expected one part or more"):
        cut(bars, parts=parts)
