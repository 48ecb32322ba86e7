"""Bars of the past, taken in at once: windows as if each had been decided on, and on record."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from cascade.audit import read_log
from cascade.events import BAR, Event
from configs.errors import AuditError, DataError
from tests.cascade.test_engine import Run

ALL = ("strategic", "tactical", "execution")
BARS = 5_200  # until the strategic windows are whole, and some more
MORE = 40


@pytest.mark.parametrize(("layers", "count"), [(ALL[1:], 700), (ALL, BARS)])
def test_windows_are_those_of_a_session_that_began_with_the_first_bar(
    tmp_path: Path, layers: tuple[str, ...], count: int
) -> None:
    slow, quick = (Run(tmp_path / name, *layers, count=count) for name in ("slow", "quick"))
    taken = quick.session.begin()
    assert quick.session.bar == taken > 0
    assert quick.engine.upper.decisions == 0
    while slow.session.bar < taken:
        slow.session.decide_bar()
        slow.session.close_bar()
    assert slow.engine.upper.decisions == 0
    for _ in range(MORE):
        plans = [run.session.decide_bar() for run in (slow, quick)]
        assert plans[0].start == plans[1].start
        uppers = [run.engine.upper for run in (slow, quick)]
        assert uppers[0].decisions == uppers[1].decisions
        for side in ("fast", "slow"):
            first, second = (getattr(upper, side) for upper in uppers)
            assert (first is None) == (second is None)
            if first is None:
                continue
            assert first.whole == second.whole
        assert uppers[0].fast is not None and uppers[1].fast is not None
        assert uppers[0].fast._window.flat.tobytes() == uppers[1].fast._window.flat.tobytes()
        assert uppers[0].fast._range == uppers[1].fast._range
        assert uppers[0].fast.sigma == pytest.approx(uppers[1].fast.sigma)
        if uppers[0].slow is not None and uppers[1].slow is not None:
            for mine, other in zip(uppers[0].slow._windows, uppers[1].slow._windows, strict=True):
                assert mine.flat.tobytes() == other.flat.tobytes()
        guards = [run.engine.guard for run in (slow, quick)]
        assert guards[0] is not None and guards[1] is not None
        for run in (slow, quick):
            run.session.close_bar()
    assert quick.engine.upper.decisions > 0
    days = [float(guard.gate.covariance.of_a_day()[0, 0]) for guard in guards if guard is not None]
    assert days[0] == pytest.approx(days[1], rel=1e-6)
    quick.ended()
    events = [record.event for record in read_log(quick.log)]
    assert events.count(Event.PAST_BARS) == 1
    assert events.count(Event.NEW_5MIN_BAR) == MORE


def test_a_session_over_the_past_trades_and_replays(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.session.begin()
    assert run.session.run(60) == 60
    assert run.ended().steps == 60


def test_past_bars_that_are_none_are_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    past = np.zeros(3, BAR)
    past["start"] = np.arange(3) * 300_000_000_000
    with pytest.raises(DataError, match="finite prices above 0"):
        run.engine.on_past(past)


def test_past_bars_that_cannot_be_recorded_begin_nothing(tmp_path: Path) -> None:
    full = False

    def write(file: int, content: bytes) -> int:
        import os

        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(file, content)

    run = Run(tmp_path, write=write)
    full = True
    with pytest.raises(AuditError, match="is full"):
        run.session.begin()
