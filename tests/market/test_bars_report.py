"""The check of a bars file: clean files are clean, each planted defect is found on its line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from configs.bars import BarsConfig, Window
from configs.errors import DataError
from market.bar_report import Kind, Verdict
from market.bars import load_bars
from tests.market.bar_files import write
from tests.market.bar_synthetic import (
    BARS,
    SESSIONS,
    Synthetic,
    check,
    check_lines,
    found,
    line_of,
    loads,
    synthetic,
)


@pytest.mark.parametrize("seed", range(8))
def test_a_clean_file_has_nothing_to_find(tmp_path: Path, seed: int) -> None:
    report = check_lines(tmp_path, synthetic(seed).lines())
    assert report.verdict is Verdict.USABLE
    assert found(report) == {}
    assert report.why == "2600 of 2600 rows; nothing found wrong"
    assert (report.read, report.kept, report.bar_minutes) == (2600, 2600, 30.0)
    assert report.sessions is not None
    assert (report.sessions.open, report.sessions.close) == ("09:30", "16:00")
    assert (report.sessions.count, report.sessions.bars_of_a_full_session) == (SESSIONS, BARS)
    assert report.settings["timezone"] == "America/New_York"
    assert report.local == ("2023-01-02 09:30", "2023-10-06 15:30")
    assert report.utc == ("2023-01-02 14:30", "2023-10-06 19:30")
    assert loads(report) == 2600


Plant = Callable[[list[str]], int]
"""Plants a defect in the lines of a file; returns the line on which it is."""


def cell(row: int, column: int, text: str) -> Plant:
    def plant(lines: list[str]) -> int:
        cells = lines[row].split(",")
        cells[column] = text
        lines[row] = ",".join(cells)
        return line_of(row)

    return plant


def inserted(row: int, text: str) -> Plant:
    def plant(lines: list[str]) -> int:
        lines.insert(row, text)
        return line_of(row)

    return plant


def twice(lines: list[str]) -> int:
    lines.insert(701, lines[700])
    return line_of(701)


def reversed_stamp(lines: list[str]) -> int:
    lines.insert(700, lines[300])
    return line_of(700)


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("repeated_stamps", twice),
        ("reversed_stamps", reversed_stamp),
        ("reversed_stamps", cell(500, 0, "2029-01-01 09:30")),
        ("unreadable_stamps", cell(500, 0, "9999-12-31 09:30")),
        ("unreadable_stamps", cell(500, 0, "1677-01-01 09:30")),
        ("unreadable_stamps", cell(500, 0, "292277026596")),
        ("unreadable_stamps", cell(500, 0, "soon")),
        ("unreadable_stamps", cell(500, 0, "2023-02-30 09:30")),
        ("not_finite", cell(800, 1, "nan")),
        ("not_finite", cell(801, 2, "inf")),
        ("not_finite", cell(802, 4, "-inf")),
        ("not_finite", cell(803, 5, "")),
        ("not_positive", cell(804, 3, "0")),
        ("not_positive", cell(805, 3, "-1000")),
        ("negative_volume", cell(806, 5, "-1")),
        ("ohlc_order", cell(807, 2, "1")),
        ("ohlc_order", cell(808, 3, "1e308")),
        ("wrong_fields", inserted(900, "2023-05-01 09:30,1000,1000")),
        ("wrong_fields", inserted(900, '2023-05-01 09:30,"1000,1000,1000,1000,5')),
        ("wrong_fields", inserted(900, "2023-05-01 09:30,1,1,1,1,1,1,1")),
        ("future_stamps", inserted(SESSIONS * BARS, "2200-01-01 09:30,10,12,9,11,100")),
    ],
)
def test_a_row_that_is_no_bar_is_found_on_its_line(tmp_path: Path, name: str, plant: Plant) -> None:
    lines = synthetic().lines()
    line = plant(lines)
    report = check_lines(tmp_path, lines)
    finding = report.finding(name)
    assert (finding.count, finding.kind) == (1, Kind.FAULT)
    assert [place.line for place in finding.places] == [line]
    assert finding.remedy
    assert {f.name for f in report.findings if f.count and f.kind is not Kind.NOTE} == {name}
    assert report.verdict is Verdict.WITH_DROPS
    assert loads(report) == len(lines) - 1


@pytest.mark.parametrize(
    ("name", "plant", "said"),
    [
        ("zero_volume", cell(700, 5, "0"), ""),
        ("outliers", cell(701, 2, "1e308"), "beyond the bars beside it"),
        ("outliers", cell(702, 3, "5e-324"), "beyond the bars beside it"),
        ("outliers", cell(703, 2, "1100"), "beyond the bars beside it"),
    ],
)
def test_a_bar_that_is_odd_is_found_on_its_line(
    tmp_path: Path, name: str, plant: Plant, said: str
) -> None:
    lines = synthetic().lines()
    line = plant(lines)
    report = check_lines(tmp_path, lines)
    assert found(report) == {name: 1}
    assert [place.line for place in report.finding(name).places] == [line]
    assert said in report.finding(name).places[0].what
    assert report.verdict is Verdict.USABLE
    assert loads(report) == len(lines)


def test_a_bar_off_by_itself_is_found(tmp_path: Path) -> None:
    bars = synthetic()
    bars.values[705, :4] *= 1.03
    finding = check_lines(tmp_path, bars.lines()).finding("outliers")
    assert [place.line for place in finding.places] == [line_of(705)]
    assert "that the next bar takes back" in finding.places[0].what


def test_a_gap_a_missing_session_and_a_bar_at_night_are_found(tmp_path: Path) -> None:
    lines = synthetic().lines()
    session = 100 * BARS
    day = lines[session][:10]
    night = lines[60 * BARS][:10] + " 20:00,1000.00,1000.00,1000.00,1000.00,900"
    value = lines[61 * BARS - 1].split(",", 1)[1]
    kept = [
        *lines[:15],
        *lines[18 : 61 * BARS],
        night[:16] + "," + value,
        *lines[61 * BARS : session],
        *lines[session + BARS :],
    ]
    report = check_lines(tmp_path, kept)
    assert found(report) == {"gaps": 1, "missing_sessions": 1, "outside_hours": 1}
    gap = report.finding("gaps").places[0]
    assert gap.line == line_of(15) and "3 bars missing" in gap.what
    assert report.finding("outside_hours").places[0].line == line_of(61 * BARS - 3)
    missing = report.finding("missing_sessions").places[0]
    assert missing.line == line_of(session - 3 + 1) and day in missing.what


def test_sessions_that_open_late_or_close_early_are_counted(tmp_path: Path) -> None:
    lines = synthetic().lines()
    kept = [*lines[: 5 * BARS - 4], *lines[5 * BARS : 9 * BARS], *lines[9 * BARS + 2 :]]
    report = check_lines(tmp_path, kept)
    assert report.sessions is not None
    assert (report.sessions.open_late, report.sessions.close_early) == (1, 1)
    assert found(report) == {}


def test_a_stretch_of_foreign_volume_is_found(tmp_path: Path) -> None:
    bars = synthetic()
    first, last = 80 * BARS, 110 * BARS - 1
    bars.values[first : last + 1, 4] = np.round(bars.values[first : last + 1, 4] / 200)
    report = check_lines(tmp_path, bars.lines())
    places = report.finding("splices").places
    assert [(p.line, p.last_line) for p in places] == [(line_of(first), line_of(last))]
    assert found(report) == {"splices": 1}
    assert report.verdict is Verdict.WITH_DROPS
    assert report.settings["exclude"] == [{"start": "2023-04-24", "end": "2023-06-03"}]
    assert loads(report) == len(bars.values) - 30 * BARS


def test_a_stretch_on_another_level_is_found(tmp_path: Path) -> None:
    bars = synthetic(3)
    first, last = 80 * BARS, 110 * BARS - 1
    bars.values[first : last + 1, :4] *= 1.05
    bars.values[[first, last + 1], 4] = 1000
    report = check_lines(tmp_path, bars.lines())
    places = report.finding("splices").places
    assert [(p.line, p.last_line) for p in places] == [(line_of(first), line_of(last))]
    assert "undone by" in places[0].what
    assert found(report) == {"splices": 1}


@pytest.mark.parametrize("size", [1.012, 0.985, 0.5])
def test_an_unadjusted_roll_or_split_is_found(tmp_path: Path, size: float) -> None:
    bars = synthetic()
    row = 90 * BARS
    bars.values[row:, :4] *= size
    bars.values[row, 4] = 1000
    report = check_lines(tmp_path, bars.lines())
    assert [place.line for place in report.finding("rolls").places] == [line_of(row)]
    assert found(report) == {"rolls": 1}
    assert report.verdict is Verdict.USABLE
    assert report.settings["rolls"] == [str(bars.times[row].date())]
    again = check(
        tmp_path / "bars.csv", **{k: v for k, v in report.settings.items() if k != "path"}
    )
    assert found(again) == {}


def test_a_jump_that_trades_on_is_news_and_no_roll(tmp_path: Path) -> None:
    bars = synthetic()
    row = 90 * BARS
    bars.values[row:, :4] *= 1.012
    bars.values[row, 4] = 9000
    assert found(check_lines(tmp_path, bars.lines())) == {}


def test_a_roll_that_no_date_can_name_is_shown_but_not_suggested(tmp_path: Path) -> None:
    bars = synthetic()
    row = 91 * BARS
    bars.values[row:, :4] *= 1.02
    bars.values[row, 4] = 1000
    # On these clocks a session begins at 22:30, after bars of the day: the one before ran to 05:00.
    moved = Synthetic([time + timedelta(hours=13) for time in bars.times], bars.values)
    report = check(write(tmp_path, moved.lines()), timezone="Etc/GMT-8")
    assert [place.line for place in report.finding("rolls").places] == [line_of(row)]
    assert "cannot say it" in report.finding("rolls").places[0].what
    assert "rolls" not in report.settings


def test_a_last_row_cut_short_is_found_or_doubted(tmp_path: Path) -> None:
    lines = [line.rsplit(",", 1)[0] + ",77.25" for line in synthetic().lines()]
    path = write(tmp_path, lines)
    whole = path.read_bytes().rstrip()
    path.write_bytes(whole)
    report = check(path)
    assert found(report) == {"no_line_end": 1}
    assert report.finding("no_line_end").places[0].line == line_of(len(lines) - 1)
    assert len(load_bars(BarsConfig(path=path))) == len(lines)
    for cut in (1, 2, 3):
        path.write_bytes(whole[:-cut])
        report = check(path)
        assert report.finding("cut_short").places[0].line == line_of(len(lines) - 1)
        with pytest.raises(DataError, match="cut short at the end of the file"):
            load_bars(BarsConfig(path=path))
        assert loads(report) == len(lines) - 1
    path.write_bytes(whole[:-6])
    assert found(check(path)) == {"wrong_fields": 1}


def test_mixed_lengths_of_bars_are_not_usable(tmp_path: Path) -> None:
    lines = synthetic().lines()
    extra = lines[700].replace(lines[700][14:16], "17", 1)
    at = 700 if lines[700][14:16] == "30" else 701
    lines.insert(at, extra)
    report = check_lines(tmp_path, lines)
    assert report.verdict is Verdict.NOT_USABLE
    assert report.finding("overlapping").count >= 1
    assert line_of(at) in {
        place.line - k for place in report.finding("overlapping").places for k in (0, 1)
    }


def test_most_rows_bad_is_not_usable(tmp_path: Path) -> None:
    lines = synthetic().lines()
    for row in range(0, len(lines), 3):
        lines[row] = lines[row].rsplit(",", 2)[0] + ",nan,nan"
        lines[row + 1 if row + 1 < len(lines) else row] = "x,1,1,1,1,1"
    report = check_lines(tmp_path, lines)
    assert report.verdict is Verdict.NOT_USABLE
    assert "rows are no bars" in report.why


def test_configured_windows_are_left_out_of_everything(tmp_path: Path) -> None:
    bars = synthetic()
    bars.values[90 * BARS :, :4] *= 1.3
    report = check(
        write(tmp_path, bars.lines()),
        exclude=(Window(start=date(2023, 5, 1), end=date(2023, 5, 15)),),
    )
    assert found(report) == {}
    assert report.excluded == 10 * BARS


ROLLS = (
    "2022-12-13",
    "2023-06-13",
    "2023-09-12",
    "2024-09-17",
    "2024-12-17",
    "2025-03-18",
    "2025-06-17",
)


def test_the_sample_is_seen_through(sample_bars_path: Path) -> None:
    """Without any configuration: its zone, its splice, its seven rolls, and little else."""
    report = check(sample_bars_path)
    assert report.verdict is Verdict.WITH_DROPS
    assert (report.read, report.kept) == (56_083, 56_083)
    assert report.settings["timezone"] == "Asia/Jerusalem"
    assert report.settings["dayfirst"] is True
    assert report.sessions is not None
    assert (report.sessions.open, report.sessions.close) == ("18:00", "17:00")
    assert report.sessions.bars_of_a_full_session == 46
    assert report.local is not None and report.local[0] == "2020-06-28 18:00"
    assert report.finding("zero_volume").count == 51
    assert report.finding("zero_volume").places[0].line == 40_802
    splices = report.finding("splices")
    assert splices.count == 1
    assert splices.places[0].line == 40_802  # 40,800 good rows and the header before it
    assert "+4.51%" in splices.places[0].what  # 4.41% as a log ratio
    # By volume the last bad session is that of 2024-06-19; the preset leaves out a day more.
    assert report.settings["exclude"] == [{"start": "2023-12-12", "end": "2024-06-20"}]
    suggested = report.settings["rolls"]
    assert set(ROLLS) <= set(suggested)
    # Of the same kind, and in a week of rolls: September 2022, +0.65%.
    assert set(suggested) - set(ROLLS) == {"2022-09-13"}
    assert report.finding("rolls").count == 8
    assert report.finding("outliers").count == 2  # both are news
    assert report.finding("gaps").count == 0
    assert loads(report) == 56_083 - 3_120


@pytest.mark.parametrize(
    ("minutes", "count", "weekends"), [(1440, 1500, False), (60, 5000, True), (1, 20_000, True)]
)
def test_clean_files_of_other_lengths_have_nothing_to_find(
    tmp_path: Path, minutes: int, count: int, weekends: bool
) -> None:
    random = np.random.default_rng(minutes)
    times = [datetime(2021, 1, 4) + timedelta(minutes=minutes * k) for k in range(2 * count)]
    times = [time for time in times if weekends or time.weekday() < 5][:count]
    close = 100 * np.exp(np.cumsum(random.standard_t(5, count) * 0.0003 * np.sqrt(minutes)))
    open_ = np.r_[close[:1], close[:-1]]
    high, low = np.maximum(open_, close) * 1.0005, np.minimum(open_, close) * 0.9995
    volume = np.exp(random.normal(6, 0.5, count))
    bars = Synthetic(times, np.column_stack([open_, high, low, close, volume]))
    report = check_lines(tmp_path, bars.lines())
    assert found(report) == {}
    assert report.bar_minutes == minutes
    assert loads(report) == count


def test_a_splice_that_is_a_third_of_the_file_is_still_found(
    sample_bars_path: Path, tmp_path: Path
) -> None:
    text = sample_bars_path.read_bytes().splitlines(keepends=True)
    part = tmp_path / "part.csv"
    part.write_bytes(b"".join([text[0], *text[36_001:46_001]]))
    report = check(part)
    assert report.settings["exclude"] == [{"start": "2023-12-12", "end": "2024-06-20"}]
    assert report.settings["rolls"] == ["2023-09-12"]
    assert report.finding("outliers").count == 0
