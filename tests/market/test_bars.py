"""Loading bars: columns, dates, zones, checks, rolls, windows, and the real sample."""

from __future__ import annotations

import hashlib
import sys
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from configs.bars import BarsConfig, Window
from configs.errors import DataError
from configs.loading import shipped
from market.bars import load_bars
from tests.market.bar_files import HEADER, ROW, load, rows, stamps, write

MONDAY = datetime(2024, 4, 1, 9, 30)
ISO = "%Y-%m-%d %H:%M"


def sample_config(path: Path, **changes: object) -> BarsConfig:
    preset = yaml.safe_load(shipped("presets", "sample-bars").read_text())
    bars = preset["env"]["market"]["reference"]["bars"]
    return BarsConfig.model_validate({**bars, "path": path, **changes})


def refusal(path: Path, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        load(path, **settings)
    message = str(caught.value)
    assert path.name in message
    return message


def test_the_sample_loads_to_its_clean_rows(sample_bars_path: Path) -> None:
    bars = load_bars(sample_config(sample_bars_path))
    assert len(bars) == 52_917
    assert bars.report.read == 56_083
    assert bars.report.excluded == 3_166
    assert bars.report.dropped == {}
    assert bars.report.rolls_adjusted == 7
    assert bars.report.dayfirst is True
    assert bars.fingerprint == hashlib.sha256(sample_bars_path.read_bytes()).hexdigest()
    hole = int(np.argmax(np.diff(bars.start)))
    assert hole + 1 == 40_800
    york = pd.DatetimeIndex(bars.start.view("M8[ns]"), tz="UTC").tz_convert("America/New_York")
    assert set(york.hour) == set(range(24)) - {17}
    assert york[0] == pd.Timestamp("2020-06-28 18:00", tz="America/New_York")
    for day in ("2022-12-12", "2023-06-12", "2025-06-16"):
        row = york.get_loc(pd.Timestamp(f"{day} 18:00", tz="America/New_York"))
        assert bars.open[row] == bars.close[row - 1]
        unadjusted = load_bars(sample_config(sample_bars_path, adjust="none"))
        assert unadjusted.open[row] / unadjusted.close[row - 1] - 1 > 0.009


def test_rolls_leave_the_past_alone(sample_bars_path: Path, tmp_path: Path) -> None:
    whole = load_bars(sample_config(sample_bars_path))
    text = sample_bars_path.read_bytes().splitlines(keepends=True)
    prefix = tmp_path / "prefix.csv"
    prefix.write_bytes(b"".join(text[:35_000]))
    part = load_bars(sample_config(prefix))
    assert part.report.rolls_adjusted == 2
    for name in ("start", "open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[: len(part)])


@pytest.mark.parametrize(
    "header",
    [
        "Timestamp,Open,High,Low,Close,Volume",
        "TIME,o,H,l,C,vol",
        "<DATE>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>",
        "open_time; Open ;High;Low;Close;Volume",
        "datetime\topen\thigh\tlow\tclose\tvolume",
        '"Date Time","Open","High","Low","Close","Volume"',
        "\ufeffDate,Open,High,Low,Close,Volume",
    ],
)
def test_columns_are_found_by_their_names(tmp_path: Path, header: str) -> None:
    delimiter = next(d for d in ";\t," if d in header)
    lines = [row.replace(",", delimiter) for row in rows(stamps(MONDAY, 3, ISO))]
    bars = load(write(tmp_path, lines, header))
    assert (bars.open[0], bars.high[1], bars.low[2]) == (10.0, 12.0, 9.0)
    assert (bars.close[0], bars.volume[0]) == (11.0, 100.0)


def test_columns_in_another_order_and_date_and_time_apart(tmp_path: Path) -> None:
    lines = [f"x,100,2024-04-01,11,9,12,10,0{h}:00" for h in range(3)]
    path = write(tmp_path, lines, "Symbol,Volume,Date,Close,Low,High,Open,Time")
    bars = load(path)
    assert list(bars.open) == [10.0] * 3
    assert np.diff(bars.start).tolist() == [3_600_000_000_000] * 2


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, rows(stamps(MONDAY, 2, ISO)), "wann,auf,hoch,tief,zu,menge")
    names = dict(time="wann", open="auf", high="hoch", low="tief", close="zu", volume="menge")
    assert load(path, columns=names).close[0] == 11.0
    assert "no column 'meng'" in refusal(path, columns={**names, "volume": "meng"})


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("Timestamp,Open,High,Low,Close,Volumme", "'volume' (is it 'Volumme'?)"),
        ("Timestmp,Open,High,Low,Close,Volume", "'time' (is it 'Timestmp'?)"),
        ("Timestamp,Open,High,Low,Close,Size", "found Timestamp, Open, High, Low, Close, Size"),
        ("Timestamp,Open,High,Low,Close,Vol,Volume", "both read as volume"),
        ("2024-01-01 00:00,10,12,9,11,100", "expected a header"),
    ],
)
def test_headers_that_name_too_little_or_too_much(tmp_path: Path, header: str, told: str) -> None:
    assert told in refusal(write(tmp_path, rows(stamps(MONDAY, 2, ISO)), header))


@pytest.mark.parametrize(
    ("form", "dayfirst"), [("%d/%m/%Y %H:%M:%S", True), ("%m-%d-%Y %I:%M %p", False)]
)
def test_day_first_or_month_first_follows_from_the_file(
    tmp_path: Path, form: str, dayfirst: bool
) -> None:
    times = stamps(datetime(2024, 4, 1), 40, form, minutes=1440)
    bars = load(write(tmp_path, rows(times)))
    assert bars.report.dayfirst is dayfirst
    expected = np.datetime64("2024-04-01", "ns").astype(np.int64)
    assert bars.start[0] == expected
    assert len(bars) == 40


def test_mixed_formats_are_settled_together(tmp_path: Path) -> None:
    first = stamps(datetime(2024, 4, 28), 5, "%d/%m/%Y %H:%M:%S", minutes=1440)
    second = ["3/5/2024 9:30", "4/5/2024 10:00", "5.5.2024 9:30", "2024-05-06T09:30"]
    bars = load(write(tmp_path, rows(first + second)))
    days = bars.start.view("M8[ns]").astype("M8[D]").astype(str)
    assert list(days[-4:]) == ["2024-05-03", "2024-05-04", "2024-05-05", "2024-05-06"]


def test_dates_that_read_both_ways_are_refused_until_told(tmp_path: Path) -> None:
    path = write(tmp_path, rows(["01/02/2024", "02/02/2024", "03/02/2024"]))
    message = refusal(path)
    assert "both day-first and month-first" in message
    assert "line 2 is 2024-02-01 or 2024-01-02" in message
    assert "set dayfirst" in message
    assert str(load(path, dayfirst=True).start.view("M8[ns]")[-1])[:10] == "2024-02-03"
    assert str(load(path, dayfirst=False).start.view("M8[ns]")[-1])[:10] == "2024-03-02"


def test_dates_that_read_neither_way_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, rows(["25/02/2024", "02/25/2024", "26/02/2024"]))
    message = refusal(path)
    assert "neither day-first nor month-first" in message
    assert "day-first breaks at line 3, month-first breaks at line 2" in message
    assert "date does not exist in this reading: line 3" in refusal(path, dayfirst=True)


def test_stamps_are_localised_by_the_zone(tmp_path: Path) -> None:
    path = write(tmp_path, rows(["2024-01-15 09:30", "2024-07-15 09:30"]))
    bars = load(path, timezone="America/New_York")
    utc = [str(t)[:16] for t in bars.start.view("M8[ns]")]
    assert utc == ["2024-01-15T14:30", "2024-07-15T13:30"]


def test_an_hour_that_happens_twice_follows_the_order_of_the_bars(tmp_path: Path) -> None:
    # New York, 2024-11-03: 01:00 to 02:00 happens twice.
    times = ["00:30", "01:00", "01:30", "01:00", "01:30", "02:00"]
    path = write(tmp_path, rows(f"2024-11-03 {t}" for t in times))
    bars = load(path, timezone="America/New_York")
    assert np.diff(bars.start).tolist() == [1_800_000_000_000] * 5
    once = write(tmp_path, rows(["2024-11-03 01:00"]), name="once.csv")
    assert str(load(once, timezone="America/New_York").start.view("M8[ns]")[0])[11:16] == "05:00"


def test_an_hour_that_never_happens_is_bad(tmp_path: Path) -> None:
    path = write(tmp_path, rows(["2024-03-10 01:30", "2024-03-10 02:30", "2024-03-10 03:30"]))
    message = refusal(path, timezone="America/New_York")
    assert "hour that America/New_York skips" in message
    assert "line 3" in message
    dropped = load(path, timezone="America/New_York", on_bad="drop")
    assert len(dropped) == 2


def test_offsets_and_unix_times_need_no_zone(tmp_path: Path) -> None:
    times = ["2024-01-01T00:00:00Z", "2024-01-01T02:30:00+02:00", "1704070800", "1704072600000"]
    bars = load(write(tmp_path, rows(times)), timezone="Asia/Tokyo")
    assert np.diff(bars.start).tolist() == [1_800_000_000_000] * 3
    assert bars.start[0] == 1_704_067_200_000_000_000


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("nan,12,9,11,100", "not a finite number"),
        ("10,inf,9,11,100", "not a finite number"),
        ("10,12,9,,100", "not a finite number"),
        ("10,12,9,1_1,100", "not a finite number"),
        ("10,12,0,11,100", "price not positive"),
        ("-10,12,-11,11,100", "price not positive"),
        ("10,12,9,11,-1", "volume negative"),
        ("10,12,10.5,11,100", "low above open, high or close"),
        ("10,10.5,9,11,100", "high below open or close"),
        ("10.1,12,9,11,100", "price off the tick of 0.25"),
        ("10,12,9,11", "not 6 fields"),
        ("10,12,9,11,100,7", "not 6 fields"),
        ('"10,12,9,11,100', "quotes that do not close"),
    ],
)
def test_bad_rows_are_named_or_dropped(tmp_path: Path, row: str, reason: str) -> None:
    lines = rows(stamps(MONDAY, 6, ISO))
    lines[3] = f"{stamps(MONDAY, 6, ISO)[3]},{row}"
    path = write(tmp_path, lines)
    message = refusal(path, tick=0.25)
    assert f"1 bad row of 6\n  {reason}: line 5" in message
    assert "on_bad: drop" in message
    bars = load(path, tick=0.25, on_bad="drop")
    assert bars.report.dropped == {reason: 1}
    assert (bars.report.read, len(bars)) == (6, 5)


def test_many_bad_rows_are_counted_and_the_first_shown(tmp_path: Path) -> None:
    lines = rows(stamps(MONDAY, 400, ISO))
    for row in range(0, 300, 2):
        lines[row] = lines[row].replace(",100", ",nan")
    message = refusal(write(tmp_path, lines))
    assert message.startswith(f"{tmp_path}/bars.csv: 150 bad rows of 400")
    assert "and 145 more" in message
    assert len(message) < 1000


def test_stamps_out_of_order_or_twice(tmp_path: Path) -> None:
    times = stamps(MONDAY, 8, ISO)
    swapped = [*times[:3], times[4], times[3], *times[5:]]
    message = refusal(write(tmp_path, rows(swapped)))
    assert "stamp out of order: line 6 (2024-04-01T11:00:00 UTC)" in message
    twice = [*times[:3], times[2], *times[3:]]
    path = write(tmp_path, rows(twice))
    assert "stamp given twice: line 5" in refusal(path)
    assert load(path, on_bad="drop").report.dropped == {"stamp given twice": 1}


def test_one_stamp_from_the_future_does_not_cost_the_rows_after_it(tmp_path: Path) -> None:
    times = stamps(MONDAY, 8, ISO)
    times[2] = "2042-01-01 00:00"
    bars = load(write(tmp_path, rows(times)), on_bad="drop")
    assert bars.report.dropped == {"stamp out of order": 1}
    assert len(bars) == 7


def test_unreadable_stamps(tmp_path: Path) -> None:
    bad = ["2024-13-01", "31/02/2024", "1/2/24", "2024-04-01 24:00", "noon", "", "9999-01-01"]
    message = refusal(write(tmp_path, rows([*stamps(MONDAY, 2, ISO), *bad])))
    assert f"no date and time that can be read: line 4 ('{bad[0]}')" in message
    assert "7 bad rows of 9" in message


def test_excluded_windows_hide_what_is_wrong_inside_them(tmp_path: Path) -> None:
    times = stamps(datetime(2024, 4, 1), 5 * 48, ISO)
    lines = rows(times)
    lines[48] = lines[48].replace(",100", ",nan")
    window = Window(start=date(2024, 4, 2), end=date(2024, 4, 4))
    bars = load(write(tmp_path, lines), exclude=(window,))
    assert bars.report.excluded == 2 * 48
    days = set(bars.start.view("M8[ns]").astype("M8[D]").astype(str))
    assert days == {"2024-04-01", "2024-04-04", "2024-04-05"}


def test_windows_are_days_of_the_files_zone(tmp_path: Path) -> None:
    times = stamps(datetime(2024, 4, 1), 3 * 48, ISO)
    window = Window(start=date(2024, 4, 2), end=date(2024, 4, 3))
    bars = load(write(tmp_path, rows(times)), exclude=(window,), timezone="Asia/Jerusalem")
    hole = bars.start[47:49].view("M8[ns]").astype("M8[m]").astype(str)
    assert list(hole) == ["2024-04-01T20:30", "2024-04-02T21:00"]


def test_rolls_scale_what_follows(tmp_path: Path) -> None:
    times = stamps(datetime(2024, 4, 1), 4 * 48, ISO)
    prices = ["10,12,9,11,100"] * 96 + ["22,24,20,22,100"] * 48 + ["44,50,40,44,100"] * 48
    path = write(tmp_path, [f"{t},{p}" for t, p in zip(times, prices, strict=True)])
    days = (date(2023, 1, 1), date(2024, 4, 3), date(2024, 4, 4), date(2030, 1, 1))
    bars = load(path, rolls=days, tick=0.5)
    assert bars.report.rolls_adjusted == 2
    assert list(bars.open[[95, 96, 144]]) == [10.0, 11.0, 11.0]
    assert list(bars.high[[96, 144]]) == [12.0, 12.5]
    assert bars.close[-1] == 11.0
    inside = Window(start=date(2024, 4, 3), end=date(2024, 4, 4))
    assert load(path, rolls=days, exclude=(inside,)).report.rolls_adjusted == 1
    assert load(path, rolls=days, adjust="none").open[-1] == 44.0


def test_bars_without_volume_stay_unless_told(tmp_path: Path) -> None:
    lines = rows(stamps(MONDAY, 4, ISO))
    lines[1] = lines[1].replace(",100", ",0")
    path = write(tmp_path, lines)
    assert len(load(path)) == 4
    bars = load(path, drop_zero_volume=True)
    assert (len(bars), bars.report.zero_volume) == (3, 1)


def test_bars_closer_than_their_length_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, rows(stamps(MONDAY, 4, ISO, minutes=5)))
    assert "starts 5 minutes after" in refusal(path)
    assert len(load(path, bar_minutes=5)) == 4


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, rows(stamps(MONDAY, 4, ISO), "10,12,9,11,0"))
    assert "no bar is left of 4 rows" in refusal(path, drop_zero_volume=True)
    bad = write(tmp_path, rows(["x", "y"]), name="bad.csv")
    assert "no bar is left of 2 rows (2 bad" in refusal(bad, on_bad="drop")


def test_the_arrays_cannot_be_written(tmp_path: Path) -> None:
    bars = load(write(tmp_path, rows(stamps(MONDAY, 2, ISO))))
    with pytest.raises(ValueError, match="read-only"):
        bars.close[0] = 1.0


@pytest.mark.parametrize("zone", [None, "Asia/Jerusalem"])
def test_parquet_equals_csv(tmp_path: Path, zone: str | None) -> None:
    times = stamps(MONDAY, 50, ISO)
    expected = load(write(tmp_path, rows(times)), timezone="Asia/Jerusalem")
    frame = pd.read_csv(tmp_path / "bars.csv")
    for name, column in (
        ("text", frame["Timestamp"]),
        ("times", pd.to_datetime(frame["Timestamp"]).dt.tz_localize(zone)),
    ):
        path = tmp_path / f"{name}.parquet"
        frame.assign(Timestamp=column).to_parquet(path)
        bars = load(path, timezone="Asia/Jerusalem")
        np.testing.assert_array_equal(bars.start, expected.start)
        np.testing.assert_array_equal(bars.close, expected.close)
        assert bars.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()


def test_parquet_faults(tmp_path: Path) -> None:
    frame = pd.read_csv(write(tmp_path, rows(stamps(MONDAY, 50, ISO))))
    good = tmp_path / "good.parquet"
    frame.to_parquet(good)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(good.read_bytes()[:-20])
    assert "is not a whole Parquet file" in refusal(cut)
    csv = tmp_path / "csv.parquet"
    csv.write_text("Timestamp,Open\n")
    assert "does not begin as Parquet" in refusal(csv)
    wrong = tmp_path / "wrong.parquet"
    frame.assign(Close="abc").to_parquet(wrong)
    assert "column 'Close'" in refusal(wrong)
    holes = tmp_path / "holes.parquet"
    frame.assign(Close=frame["Close"].where(frame.index != 7)).to_parquet(holes)
    assert "not a finite number: row 8" in refusal(holes)
    assert "at most 10" in refusal(good, max_rows=10)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "is empty"),
        (b"\n\n \n", "is empty"),
        (HEADER.encode(), "no bar"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not UTF-8 text"),
        (b"\x1f\x8b\x08\x00", "gzip-compressed"),
        ("Timestamp,Open".encode("utf-16"), "UTF-16"),
        (HEADER.encode() + b"\n2024-01-01,1\x00,2,1,1,1\n", "zero byte"),
        (HEADER.encode() + b"\n" + b"9" * 10_000_000, "longer than 4096 bytes"),
        (b"PAR1", "is not a whole Parquet file"),
        (HEADER.encode() + f"\n2024-01-01,{ROW}\n2024-01-02,10,1".encode(), "not 6 fields: line 3"),
    ],
)
def test_files_that_are_no_bars(tmp_path: Path, raw: bytes, told: str) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(raw)
    assert told in refusal(path)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none.csv")
    assert "no regular file" in refusal(tmp_path)
    assert "more than 2 rows" in refusal(write(tmp_path, rows(stamps(MONDAY, 3, ISO))), max_rows=2)


def test_importing_the_loader_leaves_pandas_out() -> None:
    import subprocess

    code = "import sys, market.bars; sys.exit('pandas' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_configuration_of_bars() -> None:
    with pytest.raises(ValueError, match="did you mean 'Asia/Jerusalem'"):
        BarsConfig(path=Path("x"), timezone="Asia/Jeruslem")
    with pytest.raises(ValueError, match="expected start < end"):
        Window(start=date(2024, 1, 2), end=date(2024, 1, 2))
    with pytest.raises(ValueError, match="expected rising dates"):
        BarsConfig(path=Path("x"), rolls=(date(2024, 1, 2), date(2024, 1, 2)))
