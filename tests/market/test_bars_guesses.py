"""The check of an unknown bars file: what it guesses and says, and files that are no bars."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from configs.errors import DataError
from market.bar_report import Verdict
from tests.market.bar_files import HEADER, rows, stamps, write
from tests.market.bar_synthetic import (
    FORM,
    Synthetic,
    check,
    check_lines,
    line_of,
    loads,
    synthetic,
)


@pytest.mark.parametrize("form", ["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"])
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_separator_and_order_of_dates_are_guessed(
    tmp_path: Path, form: str, delimiter: str
) -> None:
    lines = [line.replace(",", delimiter) for line in synthetic().lines(form)]
    report = check_lines(tmp_path, lines, HEADER.replace(",", delimiter))
    assert report.verdict is Verdict.USABLE
    assert report.settings["dayfirst"] is form.startswith("%d")
    assert any("separator" in said for said in report.guesses)
    assert loads(report) == len(lines)


def test_dates_that_read_both_ways_are_told_with_the_key(tmp_path: Path) -> None:
    times = ["01/02/2024", "02/02/2024", "03/02/2024"]
    report = check_lines(tmp_path, rows(times))
    assert report.verdict is Verdict.NOT_USABLE
    assert "both day-first and month-first" in report.why and "set dayfirst" in report.why
    assert report.settings["dayfirst"] is True  # daily bars are likelier than monthly ones
    assert report.bar_minutes == 1440.0
    assert check(tmp_path / "bars.csv", dayfirst=False).verdict is Verdict.USABLE


def test_an_order_of_dates_that_a_bad_row_breaks_is_still_seen(tmp_path: Path) -> None:
    lines = synthetic().lines("%d/%m/%Y %H:%M")
    lines.insert(1000, lines[3])
    report = check_lines(tmp_path, lines)
    assert report.verdict is Verdict.WITH_DROPS
    assert report.finding("reversed_stamps").places[0].line == line_of(1000)
    assert report.settings["dayfirst"] is True
    assert loads(report) == len(lines) - 1


def test_columns_of_unknown_names_are_told_by_their_contents(tmp_path: Path) -> None:
    bars = synthetic()
    lines = [
        f"NQ,{v:.0f},{t.strftime(FORM)},{c:.2f},{low:.2f},{h:.2f},{o:.2f}"
        for t, (o, h, low, c, v) in zip(bars.times, bars.values, strict=True)
    ]
    report = check_lines(tmp_path, lines, "Wert,Menge,Wann,Schluss,Tief,Hoch,Auf")
    named = report.settings["columns"]
    assert {k: named[k] for k in ("time", "high", "low", "volume")} == {
        "time": "Wann",
        "high": "Hoch",
        "low": "Tief",
        "volume": "Menge",
    }
    assert report.verdict is Verdict.USABLE
    assert loads(report) == len(lines)


def test_decimal_commas_are_told(tmp_path: Path) -> None:
    lines = [line.replace(",", ";").replace(".", ",") for line in synthetic().lines()]
    report = check_lines(tmp_path, lines, HEADER.replace(",", ";"))
    assert report.verdict is Verdict.NOT_USABLE
    assert report.why.startswith("its numbers have a decimal comma")


def test_a_file_without_a_header_is_read_and_the_header_is_told(tmp_path: Path) -> None:
    lines = synthetic().lines()
    report = check_lines(tmp_path, lines[1:], lines[0])
    assert report.verdict is Verdict.NOT_USABLE
    assert "no header line; add: time,open,high,low,close,volume" in report.why
    assert (report.read, report.kept) == (len(lines), len(lines))


@pytest.mark.parametrize(
    ("zone", "shift"),
    [("Europe/Berlin", 6), ("Asia/Tokyo", 14)],
)
def test_the_zone_is_guessed_from_the_hours(tmp_path: Path, zone: str, shift: int) -> None:
    bars = synthetic()
    local = pd.DatetimeIndex(bars.times).tz_localize("America/New_York").tz_convert(zone)
    moved = Synthetic(list(local.tz_localize(None)), bars.values)
    report = check_lines(tmp_path, moved.lines())
    assert report.settings["timezone"] == zone
    assert report.sessions is not None
    assert (report.sessions.zone, report.sessions.open) == ("America/New_York", "09:30")
    assert report.local == ("2023-01-02 09:30", "2023-10-06 15:30")


def test_an_unknown_zone_is_told_with_the_key(tmp_path: Path) -> None:
    report = check_lines(tmp_path, rows(stamps(datetime(2024, 4, 1), 400, FORM)))
    assert any("time zone: unknown" in g and "set timezone" in g for g in report.guesses)
    assert "timezone" not in report.settings
    assert report.verdict is Verdict.USABLE


def test_a_zone_that_does_not_fit_is_doubted(tmp_path: Path) -> None:
    path = write(tmp_path, synthetic().lines())
    said = check(path, timezone="Asia/Tokyo").guesses
    assert any("check timezone" in line and "America/New_York" in line for line in said)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "it is empty"),
        (HEADER.encode(), "no bar"),
        (HEADER.encode() + b"\nx,1,1,1,1,1\n", "no date and time"),
        (b"\x1f\x8b\x08\x00", "gzip-compressed"),
        (b"PAR1", "not a whole Parquet file"),
        (b"# Notes\n\nthat are no bars\n", "no column for"),
        (HEADER.encode() + b"\n2024-01-01,1\x00,2,1,1,1\n", "line 2 holds a zero byte"),
        (HEADER.encode() + b"\n" + b"9" * 10_000, "line 2 is longer than 4096 bytes"),
    ],
)
def test_files_that_are_no_bars_are_reported(tmp_path: Path, raw: bytes, told: str) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(raw)
    report = check(path)
    assert report.verdict is Verdict.NOT_USABLE
    assert told in report.why and str(path) not in report.why and "\n" not in report.why


def test_a_path_that_is_no_file_is_misuse(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        check(tmp_path / "none.csv")
    with pytest.raises(DataError, match="no regular file"):
        check(tmp_path)
