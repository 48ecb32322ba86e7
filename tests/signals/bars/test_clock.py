"""Sessions, holes and hours as the stamps tell them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from configs.errors import ConfigError, DataError
from configs.loading import load_config, shipped
from configs.signals import ClockConfig
from configs.train import TrainConfig
from market.bars import load_bars
from signals.bars.clock import BREAK, FOLLOWS, HOLE, bars_per_day, day_angle, pause, read_clock

HOUR = 3_600_000_000_000
START = 1_700_000_000_000_000_000
CONFIG = ClockConfig()


def stamps(*hours: float) -> np.ndarray:
    return START + (np.array(hours) * HOUR).astype(np.int64)


def test_a_pause_is_a_break_until_it_is_too_long() -> None:
    start = stamps(0, 0.5, 2.0, 2.5, 98.5, 99.0, 195.51, 196.01)
    clock = read_clock(start, 30, CONFIG)
    assert clock.opens.tolist() == [True, False, True, False, True, False, True, False]
    assert clock.hole.tolist() == [False] * 6 + [True, False]
    assert clock.segments == [(0, 6), (6, 8)]
    kinds = [pause(int(a), int(b), 30, CONFIG) for a, b in itertools.pairwise(start)]
    assert kinds == [FOLLOWS, BREAK, FOLLOWS, BREAK, FOLLOWS, HOLE, FOLLOWS]


def test_a_market_that_never_closes_can_take_every_pause_as_a_hole() -> None:
    clock = read_clock(stamps(0, 0.5, 1.5), 30, ClockConfig(longest_break_hours=0))
    assert clock.hole.tolist() == [False, False, True]


def test_no_bars_and_one_bar() -> None:
    assert read_clock(np.zeros(0, np.int64), 30, CONFIG).segments == []
    assert read_clock(stamps(0), 30, CONFIG).segments == [(0, 1)]


def test_bars_that_overlap_are_one_error() -> None:
    with pytest.raises(DataError, match=r"starts 15 minutes after .* at least bar_minutes=30"):
        read_clock(stamps(0, 0.5, 0.75), 30, CONFIG)
    with pytest.raises(ConfigError, match="bar_minutes=0: expected"):
        read_clock(stamps(0), 0, CONFIG)


def test_the_hour_turns_once_a_day() -> None:
    midnight = START // (24 * HOUR) * 24 * HOUR
    angle = day_angle(midnight + np.array([0, 6, 12, 18, 24]) * HOUR)
    np.testing.assert_allclose(angle, np.array([0, 0.25, 0.5, 0.75, 0]) * 2 * np.pi)
    assert (bars_per_day(30), bars_per_day(5), bars_per_day(10_000)) == (48, 288, 1)


def test_the_sample_has_one_hole_and_a_session_a_day(sample_bars_path: Path) -> None:
    preset = load_config(
        TrainConfig, shipped("layers", "execution"), shipped("presets", "sample-bars")
    )
    bars = load_bars(preset.env.market.reference.bars.model_copy(update={"path": sample_bars_path}))
    clock = read_clock(bars.start, 30, CONFIG)
    assert clock.segments == [(0, 40_800), (40_800, 52_917)]
    assert np.median(np.diff(np.flatnonzero(clock.opens))) == 46
