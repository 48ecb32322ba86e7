"""Live windows are the tables that layers are trained on, bar by bar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cascade.windows import Cells, FastSide, SlowSide
from configs.market import GeneratorReference
from market.bar_tape import bar_tape
from market.coarser_bars import coarser_bars
from market.synthetic import synthetic_bars
from signals.bars.columns import REGIME_ROWS, STRATEGIC_ROWS, TACTICAL_ROWS
from signals.bars.matrices import regime_table, strategic_table, tactical_table
from signals.bars.ranges import average_ranges
from signals.bars.streams import Bar
from tests.cascade.layers import CONFIGS, loaded

MINUTES = 5.0


def _bars(count: int, minutes: float = MINUTES) -> tuple[list[Bar], object]:
    config = CONFIGS["tactical"]
    made = synthetic_bars(
        GeneratorReference(), count, minutes, config.market.tick, 1, config.market.flow
    )
    columns = (made.start, made.open, made.high, made.low, made.close, made.volume)
    rows = zip(*columns, strict=True)
    return [Bar(int(start), *map(float, rest)) for start, *rest in rows], made


def test_the_tactical_window_is_the_tables(tmp_path: Path) -> None:
    config = CONFIGS["tactical"]
    side = FastSide(loaded(tmp_path, "tactical")["tactical"])
    bars, made = _bars(400)
    table = tactical_table(made, 5, config.market.tick, config.signals)
    ranges = average_ranges(made, 5, config.signals) / config.market.tick
    tape = bar_tape(made, MINUTES, config.market.tick, config.past_bars).tape
    usable = table.usable(TACTICAL_ROWS)
    for t, bar in enumerate(bars):
        side.feed(bar)
        assert side.whole == bool(usable[t] and np.isfinite(ranges[t]))
        if side.whole:
            assert side._window.flat.tobytes() == table.window(t, TACTICAL_ROWS).tobytes()
            assert side._range == pytest.approx(float(ranges[t]), rel=1e-12)
        if config.past_bars <= t < len(bars) - 1:
            # What is known of the next bar.
            assert side.sigma == pytest.approx(float(tape.sigma[t + 1]), rel=1e-9)
    assert side.whole


@pytest.mark.slow
def test_the_strategic_windows_are_the_tables(tmp_path: Path) -> None:
    config, model = CONFIGS["strategic"], loaded(tmp_path, "strategic")["strategic"]
    side = SlowSide(model, MINUTES, 0.7)
    bars, made = _bars(1_100, 30.0)
    tick = config.market.tick
    slow = strategic_table(made, 30, tick, config.signals)
    regimes = regime_table(made, 30, tick, model.regimes, config.signals)
    usable = slow.usable(STRATEGIC_ROWS) & regimes.usable(REGIME_ROWS)
    whole = 0
    for t, bar in enumerate(bars):
        side.feed(bar, bar.open)
        assert side.whole == bool(usable[t])
        if side.whole:
            whole += 1
            mine = [window.flat.tobytes() for window in side._windows]
            assert mine == [
                slow.window(t, STRATEGIC_ROWS).tobytes(),
                regimes.window(t, REGIME_ROWS).tobytes(),
            ]
    assert whole > 50


def test_longer_bars_are_those_of_a_file_put_together() -> None:
    bars, made = _bars(200)
    # A hole in the middle, and a first bar that begins no longer one.
    kept = np.r_[1:70, 83:200]
    parts = [bars[index] for index in kept]
    longer, _ = coarser_bars(
        type(made)(  # type: ignore[operator]
            *(getattr(made, name)[kept] for name in (
                "start", "open", "high", "low", "close", "volume"
            )), "file", "", made.report  # type: ignore[attr-defined]
        ), MINUTES, 30.0,
    )  # fmt: skip
    cells, closed = Cells(MINUTES, 30.0), []
    for bar in parts:
        closed += [found for found, _ in cells.push(bar)]
    assert len(closed) >= len(longer) - 1
    for index, bar in enumerate(closed):
        assert bar.start == longer.start[index]
        assert bar[1:5] == tuple(
            float(getattr(longer, name)[index]) for name in ("open", "high", "low", "close")
        )
        assert bar.volume == pytest.approx(float(longer.volume[index]))


def test_the_strategic_account_follows_its_targets_and_ends_episodes_flat(tmp_path: Path) -> None:
    config, model = CONFIGS["strategic"], loaded(tmp_path, "strategic")["strategic"]
    side = SlowSide(model, MINUTES, 0.7)
    bars, _ = _bars(config.horizon_bars + 5, 30.0)
    buy = np.array([0, 0, 0, 3], np.float32)
    held = []
    for bar in bars:
        side.feed(bar, bar.open)
        assert side.account is not None
        held.append(side.held)
        side.take(buy)
    assert held[0] == 0.0
    assert held[5] == pytest.approx(0.5, abs=1e-3)  # a tenth of the limit each bar
    assert max(held) == pytest.approx(1.0, abs=1e-3)
    assert held[config.horizon_bars] == 0.0  # the next episode begins flat
    assert held[config.horizon_bars + 1] == pytest.approx(0.1, abs=1e-3)
