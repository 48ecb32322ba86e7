"""Schedules sum to the parent and follow their laws; stops, icebergs and lives by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from market.orders.layout import (
    BUY,
    DAY,
    FOK,
    GTC,
    GTD,
    ICEBERG,
    IOC,
    IS,
    KIND_NAMES,
    LIMIT,
    MARKET,
    SELL,
    STOP,
    STOP_LIMIT,
    TWAP,
    VWAP,
)  # fmt: skip
from market.orders.working import (
    is_over,
    is_triggered,
    kind_after_trigger,
    may_begin,
    schedule,
    units_shown,
    volume_profile,
)

FLAT = np.ones(64)


def units(kind: int, quantity: int, slots: int, profile: np.ndarray = FLAT, k: float = 0.0) -> list:
    out = np.zeros(slots, np.int64)
    schedule(kind, quantity, slots, profile, k, out)
    return out.tolist()


def test_twap_and_vwap_by_hand() -> None:
    assert units(TWAP, 100, 4) == [25, 25, 25, 25]
    assert units(TWAP, 10, 4) == [2, 3, 2, 3]
    assert units(VWAP, 100, 4, np.array([4.0, 1.0, 1.0, 4.0])) == [40, 10, 10, 40]
    assert units(VWAP, 100, 4, np.array([0.0, 0.0, 1.0, 0.0])) == [0, 0, 100, 0]
    assert units(VWAP, 100, 4, np.zeros(4)) == units(TWAP, 100, 4)
    for kind in (MARKET, LIMIT, STOP, STOP_LIMIT, ICEBERG):
        assert units(kind, 100, 4) == [100, 0, 0, 0]


def test_is_follows_almgren_and_chriss() -> None:
    """Holdings x_j = X sinh(k (T - j)) / sinh(k T); without risk aversion TWAP."""
    assert units(IS, 10_000, 10) == units(TWAP, 10_000, 10)
    quantity, slots, k = 10**9, 10, 0.3
    held = quantity - np.cumsum(units(IS, quantity, slots, k=k))
    steps = np.arange(1, slots + 1)
    wanted = quantity * np.sinh(k * (slots - steps)) / math.sinh(k * slots)
    assert held == pytest.approx(wanted, abs=1.5)


@given(
    st.sampled_from([TWAP, VWAP, IS]),
    st.integers(0, 10**7),
    st.integers(1, 64),
    st.integers(0, 2**32 - 1),
    st.floats(0.0, 3.0),
)
def test_every_schedule_sends_the_whole_and_keeps_to_its_line(
    kind: int, quantity: int, slots: int, seed: int, k: float
) -> None:
    profile = np.random.default_rng(seed).exponential(size=slots)
    sent = np.array(units(kind, quantity, slots, profile, k))
    assert (sent >= 0).all() and sent.sum() == quantity
    if kind == VWAP:
        line = quantity * np.cumsum(profile) / profile.sum()
        assert np.abs(np.cumsum(sent) - line).max() <= 1.0 + 1e-6 * quantity


def test_stops_go_off_at_their_price() -> None:
    assert is_triggered(BUY, 100.0, 100.0) and not is_triggered(BUY, 100.0, 99.99)
    assert is_triggered(SELL, 100.0, 100.0) and not is_triggered(SELL, 100.0, 100.01)
    for last in (math.nan, math.inf, 0.0, -1.0):
        assert not is_triggered(BUY, 100.0, last) and not is_triggered(SELL, 100.0, last)
    assert kind_after_trigger.py_func(STOP) == MARKET
    assert kind_after_trigger.py_func(STOP_LIMIT) == LIMIT
    others = [kind for kind in range(len(KIND_NAMES)) if kind not in (STOP, STOP_LIMIT)]
    assert [kind_after_trigger.py_func(kind) for kind in others] == others


def test_an_iceberg_shows_its_tip() -> None:
    assert units_shown(ICEBERG, 100, 10.0) == 10
    assert units_shown(ICEBERG, 7, 10.0) == 7
    assert units_shown(ICEBERG, 100, 0.0) == 1
    assert units_shown(LIMIT, 100, 10.0) == 100


def test_lives_end_when_they_should() -> None:
    end, date = 10.0, 5.0
    for life in (IOC, FOK):
        assert is_over(life, True, 0.0, end, date) and not is_over(life, False, 99.0, end, date)
    assert [is_over(DAY, True, now, end, date) for now in (9.9, 10.0)] == [False, True]
    assert [is_over(GTD, True, now, end, date) for now in (4.9, 5.0)] == [False, True]
    assert not is_over(GTC, True, 1e18, end, date)
    assert is_over(DAY, True, math.nan, end, date) and is_over(GTD, False, math.nan, end, date)
    begins = [may_begin.py_func(life, 10, there) for life in (FOK, IOC) for there in (9, 10)]
    assert begins == [False, True, True, True]


def test_a_volume_profile_is_the_mean_of_the_past() -> None:
    assert volume_profile([[1.0, 3.0], [3.0, 5.0]]).tolist() == [2.0, 4.0]
    for bad in ([], [[1.0, -1.0]], [[math.nan]], [1.0]):
        with pytest.raises(ConfigError, match="volume profile"):
            volume_profile(bad)
