"""Bars played through the book: they come back as bars, and nothing is known too early."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.bars import BarsConfig
from configs.errors import ConfigError, DataError
from configs.execution import ExecutionConfig
from experiments.synthetic_bars import synthetic_bars
from market.bars import Bars, load_bars
from market.playback import Playback, Played, baseline_for, slopes, usual_profiles
from market.reference import bar_deviation, pinned_bridge
from market.trade_bars import bars_of, joined, write_bars
from tests.market import bar_files
from tests.market.episodes import configured

MINUTES = 5  # short bars keep the tests short
USUAL = 1000.0
HOLE = 4  # the bar after which the small file has a gap
_BAR_NS = MINUTES * 60 * 1_000_000_000

# open, high, low, close, volume
SMALL = (
    (100.00, 100.20, 99.95, 100.10, 1000),
    (100.10, 100.15, 99.80, 99.85, 1500),
    (99.85, 99.85, 99.85, 99.85, 800),
    (99.85, 100.05, 99.80, 100.00, 0),
    (100.00, 100.10, 99.90, 99.95, 700),
    (103.00, 103.20, 102.90, 103.10, 1200),
    (103.10, 103.30, 103.00, 103.25, 900),
)


def small_bars(folder: Path, rows: tuple[Any, ...] = SMALL) -> Bars:
    """Five bars, a hole of one, and two bars three currency units higher."""
    first = np.datetime64("2024-03-04T10:00:00")
    lines = [
        f"{first + np.timedelta64((k + (k > HOLE)) * MINUTES, 'm')}," + ",".join(map(str, row))
        for k, row in enumerate(rows)
    ]
    return bar_files.load(bar_files.write(folder, lines), bar_minutes=MINUTES)


def changed(bars: Bars, row: int, **factors: float) -> Bars:
    """The bars with some values of one row multiplied."""
    columns = {name: getattr(bars, name).copy() for name in factors}
    for name, factor in factors.items():
        columns[name][row] *= factor
    return replace(bars, **columns)


def playback(bars: Bars, config: ExecutionConfig | None = None, seed: int = 0) -> Playback:
    return Playback(config or ExecutionConfig(), bars, MINUTES, seed, USUAL)


def same_until(one: Played, other: Played, seconds: float) -> bool:
    """Whether trades and quotes before `seconds` are the same to the bit."""
    names = {
        "trade_time": ("trade_price", "trade_quantity", "trade_side"),
        "quote_time": ("bid", "ask", "bid_quantity", "ask_quantity"),
        "message_time": (),
    }
    for clock, columns in names.items():
        ends = [
            np.searchsorted(getattr(played.recording, clock), seconds) for played in (one, other)
        ]
        if ends[0] != ends[1] or ends[0] == 0:
            return False
        for name in (clock, *columns):
            values = [getattr(played.recording, name)[: ends[0]] for played in (one, other)]
            if not np.array_equal(*values, equal_nan=True):
                return False
    return True


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Playback:
    """Four days of synthetic bars of half an hour."""
    folder = tmp_path_factory.mktemp("days")
    bars = synthetic_bars(folder / "synthetic.csv", days=4, seed=3)
    return Playback(ExecutionConfig(), bars, 30, seed=1)


@pytest.fixture(scope="module")
def played(days: Playback) -> list[Played]:
    return list(days.play_all())


def errors(given: Bars, made: Bars) -> dict[str, float]:
    """Median errors as shares of the given bars' ranges, and the correlation of volume."""
    at = np.searchsorted(given.start, made.start)
    assert np.array_equal(given.start[at], made.start)
    span = (given.high - given.low)[at]
    out = {
        name: float(np.median(np.abs(getattr(made, name) - getattr(given, name)[at]) / span))
        for name in ("open", "high", "low", "close")
    }
    return out | {"volume": float(np.corrcoef(made.volume, given.volume[at])[0, 1])}


def check_tracking(given: Bars, made: Bars) -> None:
    found = errors(given, made)
    assert max(found["open"], found["close"]) < 0.10
    assert max(found["high"], found["low"]) < 0.15
    assert found["volume"] > 0.9


def test_trades_become_the_bars_that_drove_them(days: Playback, played: list[Played]) -> None:
    made = joined([days.trade_bars(p, 30) for p in played])
    assert len(made) == len(days.bars) == 52
    check_tracking(days.bars, made)
    assert made.volume.sum() / days.bars.volume.sum() == pytest.approx(1.0, abs=0.1)


def test_five_minute_bars_emerge(days: Playback, played: list[Played]) -> None:
    made = joined([days.trade_bars(p, 5) for p in played])
    path = joined([days.path_bars(p, 5) for p in played])
    assert len(path) == 6 * 52
    check_tracking(path, made)
    # They are no bars of the file cut in six: each has a range and a volume of its own.
    shares = path.volume.reshape(-1, 6) / path.volume.reshape(-1, 6).sum(axis=1, keepdims=True)
    assert shares.std() > 0.03


def test_the_path_is_pinned_at_the_given_bars(days: Playback, played: list[Played]) -> None:
    path = joined([days.path_bars(p, 30) for p in played])
    for name in ("start", "open", "high", "low", "close"):
        assert getattr(path, name) == pytest.approx(getattr(days.bars, name), rel=1e-12)
    assert path.volume == pytest.approx(days.bars.volume, rel=1e-9)


def test_made_bars_are_read_as_a_file(days: Playback, played: list[Played], tmp_path: Path) -> None:
    made = joined([days.trade_bars(p, 5) for p in played])
    path = tmp_path / "made.csv"
    write_bars(made, path)
    again = load_bars(BarsConfig(path=path, bar_minutes=5, timezone="America/New_York", tick=0.01))
    for name in ("start", "open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(again, name), getattr(made, name)), name
    assert [p.name for p in tmp_path.iterdir()] == ["made.csv"]


def test_sample_bars_come_back(sample_bars_path: Path) -> None:
    from configs.train import load_train_config

    override = f"env.market.reference.bars.path={sample_bars_path}"
    config = load_train_config("execution", ["sample-bars"], [], [override], None).env
    bars = load_bars(config.market.reference.bars)  # type: ignore[union-attr]
    whole = Playback(config, bars, 30)
    chosen = np.linspace(100, len(whole.sessions) - 1, 3).astype(int)
    made, given, path, short = [], [], [], []
    for number in chosen:
        session, rows = whole.play(int(number)), whole.sessions[number]
        made.append(whole.trade_bars(session, 30))
        given.append(
            replace(
                bars,
                **{
                    name: getattr(bars, name)[rows]
                    for name in ("start", "open", "high", "low", "close", "volume")
                },
            )
        )
        path.append(whole.path_bars(session, 5))
        short.append(whole.trade_bars(session, 5))
    assert sum(len(part) for part in given) > 60
    check_tracking(joined(given), joined(made))
    check_tracking(joined(path), joined(short))


def test_the_same_seed_plays_the_same_and_another_does_not(tmp_path: Path) -> None:
    bars = small_bars(tmp_path)
    once, again, other = (playback(bars, seed=seed).play(0) for seed in (7, 7, 8))
    end = once.recording.seconds
    assert same_until(once, again, end)
    assert not same_until(once, other, end)


@pytest.mark.parametrize(
    "factors", [{"volume": 3.0}, {"high": 1.002, "close": 1.0005}, {"open": 0.9999, "low": 0.995}]
)
def test_a_bar_changes_nothing_before_it(tmp_path: Path, factors: dict[str, float]) -> None:
    bars = small_bars(tmp_path)
    row = 2
    one, other = playback(bars).play(0), playback(changed(bars, row, **factors)).play(0)
    begin = row * MINUTES * 60.0
    assert same_until(one, other, begin)
    assert not same_until(one, other, begin + MINUTES * 60.0)
    # Nor does a later session change an earlier one.
    later = playback(changed(bars, HOLE + 1, **factors)).play(0)
    assert same_until(one, later, one.recording.seconds)


def test_shares_of_volume_are_drawn_without_regard_to_the_total(tmp_path: Path) -> None:
    """Early volume tells of the total by its own size alone: the shares stay what they were."""
    bars = small_bars(tmp_path)
    knots = playback(bars).knots
    for row, factor in ((0, 2.0), (1, 0.5)):
        one, other = playback(bars).play(0), playback(changed(bars, row, volume=factor)).play(0)
        inside = slice(row * knots, (row + 1) * knots)
        assert other.pace[inside] == pytest.approx(factor * one.pace[inside], rel=1e-12)
        outside = np.ones(one.pace.size, np.bool_)
        outside[inside] = False
        assert np.array_equal(other.pace[outside], one.pace[outside])
        assert one.pace[inside].std() > 0.1 * one.pace[inside].mean()


def test_a_hole_reopens_the_books(tmp_path: Path) -> None:
    bars = small_bars(tmp_path)
    given = playback(bars)
    assert [(s.start, s.stop) for s in given.sessions] == [(0, HOLE + 1), (HOLE + 1, len(bars))]
    later = given.play(1)
    assert later.start == bars.start[HOLE + 1]
    # Three currency units higher at once, and no order left from below.
    assert later.recording.trade_price.min() * 0.01 > 102.5
    # The second session alone is played as it is after the first.
    names = ("start", "open", "high", "low", "close", "volume")
    alone = replace(bars, **{n: getattr(bars, n)[HOLE + 1 :] for n in names})
    assert np.array_equal(playback(alone).play(0).reference, later.reference)


def test_books_run_on_from_bar_to_bar(tmp_path: Path) -> None:
    """Orders that were placed in one bar are cancelled in the next."""
    recording = playback(small_bars(tmp_path)).play(0).recording
    assert recording.cancel_age.max() > MINUTES * 60.0


def test_runs_without_a_gap_are_cut_at_a_day(tmp_path: Path) -> None:
    count = 3 * 24 * 60 // MINUTES // 2
    first = np.datetime64("2024-03-04T00:00:00")
    times = [str(first + np.timedelta64(MINUTES * k, "m")) for k in range(count)]
    path = bar_files.write(tmp_path, bar_files.rows(times))
    sessions = playback(bar_files.load(path, bar_minutes=MINUTES)).sessions
    assert [s.stop - s.start for s in sessions] == [288, 144]


def test_bars_without_volume_die_down(tmp_path: Path) -> None:
    """What the busy bar before brings about takes ten minutes or so; then all but silence."""
    still = "100,100,100,100"
    rows = [f"{still},{volume}" for volume in (1000, 0, 0, 1000)]
    times = [f"2024-03-04T{10 + k // 2}:{30 * (k % 2):02}:00" for k in range(len(rows))]
    lines = [f"{time},{row}" for time, row in zip(times, rows, strict=True)]
    bars = bar_files.load(bar_files.write(tmp_path, lines))
    recording = Playback(ExecutionConfig(), bars, 30, 0, USUAL).play(0).recording
    busy, falling, silent, again = np.histogram(recording.message_time, np.arange(5) * 1800.0)[0]
    assert busy == pytest.approx(25 * 1800, rel=0.2)
    assert falling < 0.4 * busy
    assert silent < 0.08 * busy
    assert again > 0.8 * busy


def test_bars_without_any_volume_are_refused(tmp_path: Path) -> None:
    bars = small_bars(tmp_path)
    empty = replace(bars, volume=np.zeros(len(bars)))
    with pytest.raises(DataError, match="no bar has volume"):
        Playback(ExecutionConfig(), empty, MINUTES)


def test_a_bar_without_range_stays_where_it_is(tmp_path: Path) -> None:
    bars = small_bars(tmp_path)
    given = playback(bars)
    session = given.play(0)
    flat = 2
    inside = slice(flat * given.knots, (flat + 1) * given.knots)
    assert np.all(session.reference[inside] == pytest.approx(99.85 / 0.01))
    made = given.trade_bars(session, MINUTES)
    row = int(np.searchsorted(made.start, bars.start[flat]))
    assert made.start[row] == bars.start[flat]
    # But for the spread, which trades go back and forth over.
    assert made.high[row] - made.low[row] < 0.10
    assert abs(made.close[row] - 99.85) < 0.04


def test_a_range_beyond_the_ladder_is_refused(tmp_path: Path) -> None:
    wide = ((100.0, 900.0, 99.0, 100.0, 1000), *SMALL[1:])
    given = playback(small_bars(tmp_path, wide))
    with pytest.raises(DataError, match=r"session from 2024-03-04T10:00 UTC spans 80,100 ticks"):
        given.play(0)
    low, levels = given._ladder(given._session(1))
    assert levels % 64 == 0
    assert low < 102.90 / 0.01 - 64
    assert low + levels > 103.30 / 0.01 + 64
    # Its other sessions play, and so does this one on a coarser tick.
    assert given.play(1).recording.trade_time.size > 0
    coarse = playback(small_bars(tmp_path, wide), configured(market__tick=0.05))
    assert coarse.play(0).recording.trade_price.max() * 0.05 > 700.0


def test_bars_too_short_for_their_prices_are_refused(tmp_path: Path) -> None:
    config = configured(market__flow__knot_seconds=100.0)
    with pytest.raises(ConfigError, match=r"has 3 knots, expected at least 4"):
        playback(small_bars(tmp_path), config)


def test_the_baseline_brings_about_the_intensity_that_is_wanted() -> None:
    """Through steps up and down by four, against the process's own mean, integrated finely."""
    law = np.array([[0.003, 0.003 * 0.2], [0.03, 0.03 * 0.2], [0.3, 0.3 * 0.2], [3.0, 3.0 * 0.2]])
    wanted = np.repeat([10.0, 40.0, 10.0, 20.0, 5.0], 900)
    baseline = np.empty_like(wanted)
    baseline_for(wanted, 900, 2.0, law, baseline)
    assert baseline.min() > 0.0
    parts = 40
    excitation = wanted[0] * law[:, 1] / law[:, 0]
    mean = np.zeros(len(wanted))
    for index, level in enumerate(baseline):
        for _ in range(parts):
            intensity = level + excitation.sum()
            mean[index] += intensity / parts
            excitation += (law[:, 1] * intensity - law[:, 0] * excitation) * 2.0 / parts
    by_bar = mean.reshape(5, 900).mean(axis=1)
    assert by_bar == pytest.approx([10.0, 40.0, 10.0, 20.0, 5.0], rel=0.06)
    assert mean.mean() == pytest.approx(wanted.mean(), rel=0.02)


def test_the_usual_profile_is_of_sessions_before() -> None:
    volume = np.array([1.0, 2.0, 3.0, 5.0, 4.0, 9.0, 9.0])
    sessions = (slice(0, 3), slice(3, 5), slice(5, 7))
    first, second, third = usual_profiles(volume, sessions)
    assert first.tolist() == [0.0, 0.0, 0.0]
    assert second.tolist() == [1.0, 2.0]
    assert third.tolist() == [3.0, 3.0]


def test_volume_slopes_inside_a_bar_as_its_neighbours_agree() -> None:
    """A jump between bars is not smeared, a peak stays flat, and no share turns negative."""
    usual = np.array([2.0, 3.0, 5.0, 50.0, 40.0, 10.0, 10.0])
    expected = [0.0, 1.0 / 3.0, 2.0 / 5.0, 0.0, -10.0 / 40.0, 0.0, 0.0]
    assert slopes(usual) == pytest.approx(np.array(expected))
    assert slopes(np.zeros(4)).tolist() == [0.0] * 4
    drawn = slopes(np.random.default_rng(0).pareto(0.5, 10_000))
    assert np.abs(drawn).max() <= 1.0


def test_the_profile_of_days_before_shapes_the_next(tmp_path: Path) -> None:
    """Where volume usually rises from bar to bar, it rises inside the bars too."""
    rising = np.array([100, 500, 900, 1300, 1700])
    days = [np.datetime64(f"2024-03-{day:02}T10:00:00") for day in range(4, 18)]
    lines = [
        f"{day + np.timedelta64(k * 30, 'm')},100,100.2,99.8,100,{volume}"
        for day in days
        for k, volume in enumerate(rising)
    ]
    given = Playback(ExecutionConfig(), bar_files.load(bar_files.write(tmp_path, lines)), 30)
    halves = []
    for number in range(1, len(days)):
        pace = given.play(number).pace.reshape(len(rising), 2, -1).mean(axis=2)
        halves.append((pace[1:-1, 1] / pace[1:-1].sum(axis=1)).mean())
    # The three inner bars rise by 80, 44 and 31% from start to end.
    assert np.mean(halves) == pytest.approx(0.5 + (0.8 + 0.444 + 0.308) / 3 / 8, abs=0.04)


def test_a_bridge_moves_as_the_path_that_made_the_bar() -> None:
    """Its variance over one step and over a twelfth of the bar is that of Brownian motion."""
    steps, paths = 300, 1500
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.normal(0.0, 1.0, (paths, steps)), axis=1)
    walks = np.concatenate([np.zeros((paths, 1)), walks], axis=1)
    bridges, scratch = np.empty_like(walks), np.empty(steps + 1)
    for number, walk in enumerate(walks):
        ohlc = (walk[0], walk.max(), walk.min(), walk[-1])
        sigma = bar_deviation(*ohlc)
        pinned_bridge(np.uint64(number), *ohlc, sigma, np.ones(steps), bridges[number], scratch)
    for lag in (1, 25):
        moves = bridges[:, lag:] - bridges[:, :-lag]
        assert np.mean(moves**2) / lag == pytest.approx(1.0, rel=0.1)


def test_bars_of_prices_in_time() -> None:
    time = np.array([0.0, 59.9, 60.0, 61.0, 300.0])
    price, quantity = np.array([5.0, 7.0, 4.0, 6.0, 9.0]), np.array([1, 2, 3, 4, 5])
    bars = bars_of("here", 1_000, 1.0, 300.0, time, price, quantity)
    minute = 60_000_000_000
    assert bars.start.tolist() == [1_000, 1_000 + minute, 1_000 + 4 * minute]
    assert bars.open.tolist() == [5.0, 4.0, 9.0]
    assert bars.high.tolist() == [7.0, 6.0, 9.0]
    assert bars.low.tolist() == [5.0, 4.0, 9.0]
    assert bars.close.tolist() == [7.0, 6.0, 9.0]
    assert bars.volume.tolist() == [3.0, 7.0, 5.0]
    with pytest.raises(ConfigError, match="minutes=0"):
        bars_of("here", 0, 0.0, 300.0, time, price, quantity)
    with pytest.raises(DataError, match="nothing traded in 300 s"):
        bars_of("here", 0, 1.0, 300.0, time[:0], price[:0], quantity[:0])
    with pytest.raises(DataError, match="overlap"):
        joined([bars, bars])
    with pytest.raises(DataError, match="no bars to join"):
        joined([])
