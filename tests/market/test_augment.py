"""Augmented bars: bars still, made of the training bars alone, and of no other split."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from configs.augmentation import AugmentationConfig
from configs.errors import ConfigError, DataError
from configs.loading import load_config
from configs.market import GeneratorReference
from configs.splits import SplitConfig
from market.augment import augmented, bootstrapped, volatility_scaled
from market.bars import Bars
from market.splits import SPLITS, SplitRange, split_range
from market.synthetic import synthetic_bars

TICK = 0.01
DAY = 48  # half-hour bars
COUNT = 60 * DAY
COLUMNS = ("start", "open", "high", "low", "close", "volume")


def sessions(seed: int = 0) -> Bars:
    """Synthetic bars less the last two of every day, with a jump over each of these breaks,
    and twice the moves in the first six bars of a day."""
    bars = synthetic_bars(GeneratorReference(), COUNT, 30.0, TICK, seed)
    moves = np.log(bars.close / bars.open)
    phase = np.arange(COUNT) % DAY
    factor = np.where(phase < 6, 2.0, 1.0)
    rng = np.random.default_rng(seed)
    gap = np.where(phase == 0, rng.normal(0.0, 0.004, COUNT), rng.normal(0.0, 1e-5, COUNT))
    closed = np.log(100.0) + np.cumsum(factor * moves + gap)
    opened = closed - factor * moves
    top = opened + factor * np.log(bars.high / bars.open)
    bottom = opened + factor * np.log(bars.low / bars.open)
    kept = phase < DAY - 2
    logs = (column[kept] for column in (opened, top, bottom, closed))
    open_, high, low, close = (np.exp(column) for column in logs)
    high = np.maximum(high, np.maximum(open_, close))
    low = np.minimum(low, np.minimum(open_, close))
    return replace(
        bars,
        start=bars.start[kept],
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=bars.volume[kept] * (1.0 + (phase[kept] < 6)),
    )


def part_of(bars: Bars, split: Any = "train", **settings: Any) -> SplitRange:
    return split_range(split, len(bars), bars.start, SplitConfig(**settings))


def moves(bars: Bars) -> np.ndarray:
    """high, low and close over the open, logs, and volume: [n, 4]."""
    logs = [np.log(column / bars.open) for column in (bars.high, bars.low, bars.close)]
    return np.stack([*logs, bars.volume], axis=1)


def gaps(bars: Bars) -> np.ndarray:
    return np.log(bars.open[1:] / bars.close[:-1])


def assert_bars(made: Bars, like: Bars, part: SplitRange) -> None:
    assert np.array_equal(made.start, like.start[part.rows])
    assert np.all(made.low <= np.minimum(made.open, made.close))
    assert np.all(made.high >= np.maximum(made.open, made.close))
    assert np.all(made.low > 0.0)
    assert made.open[0] == pytest.approx(like.open[part.first], abs=TICK)
    assert not any(getattr(made, name).flags.writeable for name in COLUMNS)


MAKERS: dict[str, Callable[..., Bars]] = {
    "bootstrapped": lambda bars, part, **tick: bootstrapped(bars, part, 20.0, 3, **tick),
    "volatility_scaled": lambda bars, part, **tick: volatility_scaled(bars, part, 1.7, **tick),
    "augmented": lambda bars, part, **tick: augmented(
        bars, part, AugmentationConfig(), 1, 3, **tick
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_made_is_bars_on_ticks_with_the_stamps_there_were(name: str) -> None:
    bars = sessions()
    part = part_of(bars)
    made = MAKERS[name](bars, part, tick=TICK)
    assert_bars(made, bars, part)
    for column in COLUMNS[1:-1]:
        ticks = getattr(made, column) / TICK
        assert np.allclose(ticks, np.rint(ticks), rtol=0.0, atol=1e-6)
    assert made.fingerprint != bars.fingerprint
    again = MAKERS[name](bars, part, tick=TICK)
    assert again.fingerprint == made.fingerprint


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("fold", [None, 2])
def test_nothing_outside_the_training_split_is_looked_at(name: str, fold: int | None) -> None:
    bars = sessions()
    part = part_of(bars, fold=fold, walk_forward={"kind": "rolling"})
    outside = np.ones(len(bars), np.bool_)
    outside[part.rows] = False
    spoilt = {column: np.where(outside, np.nan, getattr(bars, column)) for column in COLUMNS[1:]}
    made = MAKERS[name](bars, part)
    again = MAKERS[name](replace(bars, **spoilt), part)
    assert again.fingerprint == made.fingerprint
    assert np.isfinite(made.close).all()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("split", [split for split in SPLITS if split != "train"])
def test_no_other_split_is_augmented(name: str, split: str) -> None:
    bars = sessions()
    message = rf"augmenting the {split} split: expected the training split"
    with pytest.raises(ConfigError, match=message):
        MAKERS[name](bars, part_of(bars, split))


def source_rows(made: Bars, bars: Bars, part: SplitRange) -> np.ndarray:
    """Which training bar each of `made` is, by its moves and volume."""
    known, found = moves(bars)[part.rows], moves(made)
    rows = np.array([np.abs(known - row).sum(axis=1).argmin() for row in found])
    assert np.allclose(known[rows], found, rtol=0.0, atol=1e-9)
    return rows


def test_a_bootstrap_puts_whole_bars_at_their_time_of_day() -> None:
    bars = sessions()
    part = part_of(bars)
    made = bootstrapped(bars, part, 20.0, 5)
    rows = source_rows(made, bars, part)
    start = bars.start[part.rows]
    day = 86_400_000_000_000
    assert np.array_equal(start[rows] % day, made.start % day)
    # The gap came along with its bar, so that the jumps are at the breaks still.
    assert gaps(made) == pytest.approx(gaps(bars)[part.first :][rows[1:] - 1], abs=1e-9)
    assert len(np.unique(rows)) > 0.5 * len(part)
    assert not np.array_equal(rows, np.arange(len(part)))


def test_blocks_have_the_mean_length_that_was_asked() -> None:
    bars = synthetic_bars(GeneratorReference(), 12_000, 30.0, 1e-6, 4)
    part = part_of(bars, train_share=0.8, validation_share=0.05)
    for length in (1.0, 12.0):
        made = bootstrapped(bars, part, length, 9)
        # Volume is whole numbers and large: it tells a bar nearly always.
        volume = bars.volume[part.rows]
        followers: dict[float, set[float]] = {}
        for now, after in itertools.pairwise(volume):
            followers.setdefault(now, set()).add(after)
        kept = np.mean(
            [b in followers.get(a, ()) for a, b in zip(made.volume, made.volume[1:], strict=False)]
        )
        # A new block goes on where the last one was by chance once in the 200 days.
        assert kept == pytest.approx(1.0 - 1.0 / length, abs=0.02)


def test_a_bootstrap_keeps_what_the_hours_of_a_day_are_like() -> None:
    bars = sessions()
    part = part_of(bars)
    made = bootstrapped(bars, part, 10.0, 1)
    phase = (made.start - bars.start[0]) // 1_800_000_000_000 % DAY
    sizes = np.abs(moves(made)[:, 2])
    busy, calm = sizes[phase < 6].mean(), sizes[phase >= 6].mean()
    known = np.abs(moves(bars)[part.rows, 2])
    assert busy / calm == pytest.approx(known[phase < 6].mean() / known[phase >= 6].mean(), rel=0.2)
    assert busy > 1.5 * calm
    breaks = np.abs(gaps(made)) > 5e-4
    assert set(phase[1:][breaks]) == {0}


def test_seeds_and_copies_differ() -> None:
    bars = sessions()
    part, config = part_of(bars), AugmentationConfig()
    made = [augmented(bars, part, config, *told) for told in ((0, 0), (1, 0), (0, 1))]
    changes = [np.diff(np.log(one.close)) for one in made]
    for a in range(len(made)):
        for b in range(a):
            assert abs(np.corrcoef(changes[a], changes[b])[0, 1]) < 0.3


def test_scaling_multiplies_every_move() -> None:
    bars = sessions()
    part = part_of(bars)
    made = volatility_scaled(bars, part, 1.7)
    factors = np.array([1.7, 1.7, 1.7, 1.0])
    assert moves(made) == pytest.approx(factors * moves(bars)[part.rows], abs=1e-9)
    assert gaps(made) == pytest.approx(1.7 * gaps(bars)[part.first : part.after - 1], abs=1e-9)
    same = volatility_scaled(bars, part, 1.0)
    for name in COLUMNS[1:]:
        assert getattr(same, name) == pytest.approx(getattr(bars, name)[part.rows], rel=1e-9)


def test_the_factors_of_copies_lie_where_they_should() -> None:
    bars = sessions()
    part = part_of(bars)
    config = AugmentationConfig(bootstrap=False, volatility_low=0.5, volatility_high=2.0)
    known = np.log(bars.high / bars.low)[part.rows].mean()
    made = [augmented(bars, part, config, copy, 0) for copy in range(60)]
    factors = np.array([np.log(copy.high / copy.low).mean() for copy in made]) / known
    assert factors.min() >= 0.5 - 1e-9
    assert factors.max() <= 2.0 + 1e-9
    assert np.log(factors).mean() == pytest.approx(0.0, abs=0.2)
    assert factors.max() / factors.min() > 3.0


def test_a_move_over_a_hole_is_closed() -> None:
    bars = sessions()
    late = np.arange(len(bars)) >= 500
    month = 30 * 86_400_000_000_000
    doubled = {name: getattr(bars, name) * np.where(late, 2.0, 1.0) for name in COLUMNS[1:-1]}
    holed = replace(bars, start=bars.start + month * late, **doubled)
    part = part_of(holed)
    for made in (volatility_scaled(holed, part, 1.0), bootstrapped(holed, part, 20.0, 0)):
        assert np.abs(gaps(made)).max() < 0.1
    kept = volatility_scaled(holed, part, 1.0, hole_hours=10_000.0)
    assert np.abs(gaps(kept)).max() == pytest.approx(np.log(2.0), abs=0.1)


BAD: dict[str, tuple[Callable[[Bars, SplitRange], Any], type[Exception], str]] = {
    "block": (
        lambda bars, part: bootstrapped(bars, part, 0.5, 0),
        ConfigError,
        r"block_bars=0\.5: expected 1 or more",
    ),
    "seed": (lambda bars, part: bootstrapped(bars, part, 5, -1), ConfigError, r"seed=-1: expected"),
    "copy": (
        lambda bars, part: augmented(bars, part, AugmentationConfig(), -1, 0),
        ConfigError,
        r"copy=-1: expected",
    ),
    "factor": (
        lambda bars, part: volatility_scaled(bars, part, float("nan")),
        ConfigError,
        r"factor=nan: expected",
    ),
    "prices": (
        lambda bars, part: volatility_scaled(bars, part, 1e5),
        DataError,
        r"volatility times 100000.*prices leave what floats and ticks hold",
    ),
    "ticks": (
        lambda bars, part: volatility_scaled(bars, part, 1.0, tick=1e6),
        DataError,
        r"take a smaller volatility factor, a smaller tick",
    ),
    "factors": (
        lambda bars, part: load_config(AugmentationConfig, {"volatility_low": 3.0}),
        ConfigError,
        r"volatility_low is 3, expected at most volatility_high",
    ),
    "copies alike": (
        lambda bars, part: load_config(
            AugmentationConfig,
            {"copies": 2, "bootstrap": False, "volatility_low": 1.0, "volatility_high": 1.0},
        ),
        ConfigError,
        r"copies would be alike",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused(name: str) -> None:
    call, kind, message = BAD[name]
    bars = sessions()
    with pytest.raises(kind, match=message):
        call(bars, part_of(bars))


def test_real_bars_are_augmented(sample_bars: Bars) -> None:
    part = part_of(sample_bars)
    made = augmented(sample_bars, part, AugmentationConfig(), 0, 0, 0.25)
    assert_bars(made, sample_bars, part)
    ratio = np.log(made.high / made.low).mean()
    ratio /= np.log(sample_bars.high / sample_bars.low)[part.rows].mean()
    assert 0.65 < ratio < 1.45


@pytest.fixture
def sample_bars(sample_bars_path: Any) -> Bars:
    from configs.bars import BarsConfig
    from market.bars import load_bars

    return load_bars(
        load_config(
            BarsConfig,
            {
                "path": str(sample_bars_path),
                "timezone": "Asia/Jerusalem",
                "exclude": [{"start": "2023-12-12", "end": "2024-06-21"}],
            },
        )
    )
