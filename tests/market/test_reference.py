"""Reference paths: pinned to the bars, of the right law, and blind to what comes after."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from configs.execution import ExecutionConfig
from configs.loading import load_config
from configs.market import GeneratorReference
from market.bars import Bars, load_bars
from market.reference import bar_deviation, pinned_bridge, regime_path
from market.simulator import Simulator
from market.sources import BarSource
from market.splits import SPLITS
from tests.market import bar_files
from tests.market.episodes import configured

PAST = 5


def bridge(seed: int, ohlc: tuple[float, float, float, float], steps: int) -> NDArray[np.float64]:
    out, scratch = np.full(steps + 1, np.nan), np.empty(steps + 1)
    pace = np.exp(np.random.default_rng(seed).normal(0.0, 0.7, steps))
    pinned_bridge(np.uint64(seed), *ohlc, bar_deviation(*ohlc), pace, out, scratch)
    return out


@given(
    st.integers(0, 2**63),
    st.integers(3, 90),
    st.floats(1.0, 1e5),
    st.floats(-500.0, 500.0),
    st.one_of(st.just(0.0), st.floats(0.0, 300.0)),
    st.one_of(st.just(0.0), st.floats(0.0, 300.0)),
)
def test_a_bridge_is_pinned_at_all_four_prices(
    seed: int, steps: int, open_: float, change: float, above: float, below: float
) -> None:
    close = open_ + change
    high, low = max(open_, close) + above, min(open_, close) - below
    path = bridge(seed, (open_, high, low, close), steps)
    assert path[0] == open_
    assert path[-1] == close
    assert path.max() == high
    assert path.min() == low


@pytest.mark.parametrize("steps", [1, 2])
def test_a_bridge_without_room_keeps_its_ends_and_stays_inside(steps: int) -> None:
    path = bridge(3, (10.0, 14.0, 8.0, 11.0), steps)
    assert (path[0], path[-1]) == (10.0, 11.0)
    assert path.max() <= 14.0
    assert path.min() >= 8.0


@pytest.mark.parametrize(
    "ohlc",
    [
        (10.0, 10.0, 10.0, 10.0),
        (10.0, 12.0, 10.0, 12.0),
        (12.0, 12.0, 10.0, 10.0),
        (10.0, 12.0, 10.0, 10.0),
        (10.0, 10.0, 8.0, 10.0),
    ],
)
def test_degenerate_bars_are_pinned_and_do_not_stick(ohlc: tuple[float, ...]) -> None:
    path = bridge(5, ohlc, 200)  # type: ignore[arg-type]
    assert (path[0], path.max(), path.min(), path[-1]) == ohlc
    if ohlc[1] > ohlc[2]:
        # A path clipped at an extreme that the bar never passed would lie flat there.
        assert np.mean(np.diff(path) == 0.0) < 0.05


def test_either_extreme_may_come_first_and_tells_nothing_of_the_close() -> None:
    up = np.array([_high_first(bridge(k, (100.0, 110.0, 90.0, 100.0), 100)) for k in range(1, 601)])
    assert 0.42 < up.mean() < 0.58
    # Toward a higher close the low comes first more often, as it does for Brownian motion.
    rising = np.array(
        [_high_first(bridge(k, (98.0, 110.0, 90.0, 106.0), 100)) for k in range(1, 601)]
    )
    assert 0.05 < rising.mean() < 0.4


def _high_first(path: NDArray[np.float64]) -> bool:
    return bool(path.argmax() < path.argmin())


def generated(seed: int, steps: int, volatility: list[float], switch: float) -> Any:
    out, activity, deviation = np.empty(steps + 1), np.ones(steps), np.empty(steps)
    drift, busyness = np.zeros(len(volatility)), np.arange(1.0, len(volatility) + 1.0)
    levels = np.array(volatility)
    first = regime_path(
        np.uint64(seed), 0, levels, drift, busyness, switch, activity, deviation, out
    )
    assert np.array_equal(activity, busyness[np.searchsorted(levels, deviation)])
    return first, out


def test_regime_volatility_is_what_was_asked() -> None:
    levels = [1e-3, 4e-3]
    found: dict[int, list[float]] = {0: [], 1: []}
    for seed in range(200):
        first, path = generated(seed, 100, levels, 0.0)
        found[first].append(float(np.mean(np.diff(path) ** 2)))
    for regime, level in enumerate(levels):
        assert len(found[regime]) > 60
        assert np.sqrt(np.mean(found[regime])) == pytest.approx(level, rel=0.03)


def test_regimes_switch_at_the_configured_rate() -> None:
    _, path = generated(1, 40_000, [1e-8, 1e-2], 0.01)
    calm = np.abs(np.diff(path)) < 1e-7
    assert np.mean(calm[1:] != calm[:-1]) == pytest.approx(0.01, rel=0.25)
    assert 0.3 < calm.mean() < 0.7


def test_a_generated_path_is_causal() -> None:
    """A longer horizon goes on from the same past."""
    _, short = generated(9, 50, [1e-3, 4e-3], 0.05)
    _, long = generated(9, 400, [1e-3, 4e-3], 0.05)
    assert np.array_equal(short, long[:51])


def test_the_generator_has_the_configured_annual_volatility() -> None:
    config = configured(
        market__reference="{kind: generator, regimes: [{name: ONE, volatility: 0.3}]}"
    )
    reference = config.market.reference
    assert isinstance(reference, GeneratorReference)
    simulator = Simulator(config, 256)
    simulator.reset(np.arange(256), np.arange(256, dtype=np.uint64))
    moves = np.diff(np.log(simulator.market.path + simulator.market.episodes["base"][:, None]))
    per_year = reference.trading_seconds_per_year / config.step_seconds
    # Busier steps move more; over the activity's own mean the volatility is what was asked.
    pace = np.mean(moves**2 / simulator.market.activity)
    assert np.sqrt(pace * per_year) == pytest.approx(0.3, rel=0.03)
    assert np.mean(simulator.market.activity) == pytest.approx(1.0, abs=0.1)
    sigma = simulator.market.episodes["sigma"]
    expected = 0.3 / np.sqrt(per_year) * reference.price / config.market.tick
    assert sigma == pytest.approx(np.full(256, expected))


def synthetic_bars(folder: Path, count: int = 400) -> Path:
    """Bars of a random walk with volume that grows; no two have the same range."""
    rng = np.random.default_rng(4)
    close = 4000.0 + np.cumsum(rng.normal(0.0, 4.0, count))
    open_ = np.concatenate([[4000.0], close[:-1]])
    high = np.maximum(open_, close) + rng.exponential(3.0, count)
    low = np.minimum(open_, close) - rng.exponential(3.0, count)
    volume = (1000 * (1 + np.arange(count) / 50) * rng.lognormal(0, 0.5, count)).astype(int)
    times = np.datetime64("2024-03-04T00:00") + np.arange(count) * np.timedelta64(30, "m")
    lines = [
        f"{t},{o},{h},{lo},{c},{v}"
        for t, o, h, lo, c, v in zip(times, open_, high, low, close, volume, strict=True)
    ]
    return bar_files.write(folder, lines)


def bars_config(path: Path, **extra: Any) -> ExecutionConfig:
    reference = {
        "kind": "bars",
        "bars": {"path": str(path), "bar_minutes": 30},
        "train_share": 0.6,
        "embargo_bars": 10,
        "activity_bars": PAST,
        **extra,
    }
    return load_config(ExecutionConfig, {"market": {"tick": 0.25, "reference": reference}})


def source(config: ExecutionConfig, split: Any) -> BarSource:
    return BarSource(config, config.market.reference, split)  # type: ignore[arg-type]


def test_splits_are_apart_by_the_embargo(tmp_path: Path) -> None:
    """Every bar that is played is found by its path; none of two splits is near the other."""
    config = bars_config(synthetic_bars(tmp_path))
    played = {split: _bars_played(config, split) for split in SPLITS}
    assert len(played["train"]) > 100
    assert len(played["validation"]) > 20
    assert len(played["test"]) > 50
    assert min(played["train"]) >= PAST
    assert max(played["test"]) <= 399
    for before, after in itertools.pairwise(SPLITS):
        assert min(played[after]) - max(played[before]) > 10


def _bars_played(config: ExecutionConfig, split: Any) -> set[int]:
    simulator = Simulator(config, 600, split)
    simulator.reset(np.arange(600), np.arange(600, dtype=np.uint64))
    bars = load_bars(config.market.reference.bars)  # type: ignore[union-attr]
    market, known = simulator.market, source(config, split)
    out = set()
    for n in range(600):
        path = market.path[n] + market.episodes[n]["base"]
        # sigma is of the bars before, and no two bars share it.
        bar = int(np.argmin(np.abs(known._sigma - market.episodes[n]["sigma"])))
        assert known._sigma[bar] == market.episodes[n]["sigma"]
        assert path.max() <= bars.high[bar] / 0.25 + 1e-9
        assert path.min() >= bars.low[bar] / 0.25 - 1e-9
        out.add(bar)
    return out


def test_what_is_known_of_a_bar_comes_from_bars_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut the file, or change a bar and all after it: activity and sigma stay."""
    config = bars_config(synthetic_bars(tmp_path))
    whole = source(config, "train")
    bars = load_bars(config.market.reference.bars)  # type: ignore[union-attr]
    for cut in (60, 133, 250):
        factor = np.where(np.arange(len(bars)) < cut, 1.0, 7.0)
        changed = replace(
            bars,
            high=bars.high + 1000 * (factor - 1),
            volume=bars.volume * factor,
        )
        short = _first(bars, cut + 1)
        for other in (changed, short):
            monkeypatch.setattr("market.bars.load_bars", lambda _, given=other: given)
            again = source(config, "train")
            assert np.array_equal(again._activity[: cut + 1], whole._activity[: cut + 1])
            assert np.array_equal(again._sigma[: cut + 1], whole._sigma[: cut + 1])


def _first(bars: Bars, count: int) -> Bars:
    names = ("start", "open", "high", "low", "close", "volume")
    return replace(bars, **{name: getattr(bars, name)[:count] for name in names})


def test_activity_follows_past_volume(tmp_path: Path) -> None:
    """The level over its own past: 1 where volume is even, above where it has grown."""
    known = source(bars_config(synthetic_bars(tmp_path)), "train")
    played = known._activity[PAST:]
    assert np.all((played >= 0.25) & (played <= 4.0))
    assert played[100:].mean() > 1.2


def test_real_bars_are_played(sample_bars_path: Path) -> None:
    config = bars_config(
        sample_bars_path,
        bars={
            "path": str(sample_bars_path),
            "bar_minutes": 30,
            "timezone": "Asia/Jerusalem",
            "exclude": [{"start": "2023-12-12", "end": "2024-06-21"}],
        },
        activity_bars=46,
    )
    for split in SPLITS:
        simulator = Simulator(config, 64, split)
        simulator.reset(np.arange(64), np.arange(64, dtype=np.uint64))
        episodes = simulator.market.episodes
        assert np.all(np.isfinite(simulator.market.path))
        assert np.all(episodes["sigma"] > 0)
        assert np.all(episodes["rate"] > 0)
        assert len(np.unique(episodes["base"])) > 40
