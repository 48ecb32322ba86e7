"""Whatever a file holds, loading it gives bars or one clear error, and checking it a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.bars import BarsConfig
from configs.errors import DataError
from market.bar_examine import check_bars
from market.bar_report import Verdict
from market.bars import Bars, load_bars
from tests.market.bar_files import HEADER, load, stamps

cells = st.one_of(
    st.sampled_from(
        ["10", "12", "9", "11", "0", "-1", "nan", "inf", "1e400", "", '"', "x", "9" * 40]
    ),
    st.floats().map(str),
    st.text(max_size=5),
)
times = st.one_of(
    st.datetimes().map(str),
    st.datetimes().map(lambda t: f"{t.day}/{t.month}/{t.year} {t.hour}:{t.minute:02d}"),
    st.integers(0, 10**19).map(str),
    st.sampled_from(["2024-03-31 02:30", "2024-10-27 02:30", "30/3/2024 23:00+99:99", ""]),
    st.text(max_size=12),
)
lines = st.tuples(times, st.lists(cells, min_size=4, max_size=6)).map(
    lambda row: ",".join([row[0], *row[1]])
)
NOW = 1_900_000_000_000_000_000
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia"])
bads = st.sampled_from(["error", "drop"])


def check(path: Path, **config: object) -> None:
    check_report(path, **config)
    try:
        bars = load(path, **config)
    except DataError as error:
        message = str(error)
        assert path.name in message
        assert len(message) < 3000
        return
    assert isinstance(bars, Bars)
    assert len(bars) > 0
    assert (np.diff(bars.start) > 0).all()
    assert np.isfinite([bars.open, bars.high, bars.low, bars.close, bars.volume]).all()
    assert (bars.low > 0).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()


def check_report(path: Path, **config: object) -> None:
    """The report is whole, and what it calls usable loads under the settings it suggests."""
    report = check_bars(BarsConfig.model_validate({"path": path, **config}), NOW)
    assert len(report.why) < 3000 and "\n" not in report.why
    json.dumps(report.as_dict(), allow_nan=False)
    lines = 1 + path.read_bytes().count(b"\n")
    for finding in report.findings:
        assert len(finding.places) <= finding.count
        if report.unit == "line":
            assert all(1 <= place.line <= lines for place in finding.places)
    if report.verdict is Verdict.NOT_USABLE:
        return
    bars = load_bars(BarsConfig.model_validate(report.settings))
    assert report.why.startswith(f"{len(bars)} of {report.read} rows")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "bars.csv"


@settings(max_examples=300)
@given(raw=st.binary(max_size=300), header=st.booleans(), bad=bads)
def test_any_bytes(path: Path, raw: bytes, header: bool, bad: str) -> None:
    path.write_bytes(HEADER.encode() + b"\n" + raw if header else raw)
    check(path, on_bad=bad)


@settings(max_examples=200)
@given(
    text=st.lists(lines, max_size=12),
    zone=zones,
    bad=bads,
    dayfirst=st.none() | st.booleans(),
    tick=st.none() | st.sampled_from([0.25, 1e-9, 1e9]),
    minutes=st.sampled_from([1, 30]),
)
def test_rows_of_nonsense(
    path: Path,
    text: list[str],
    zone: str,
    bad: str,
    dayfirst: bool | None,
    tick: float | None,
    minutes: int,
) -> None:
    path.write_text("\n".join([HEADER, *text]), encoding="utf-8", errors="replace")
    rolls = ("2000-01-01", "2010-01-01")
    check(
        path,
        timezone=zone,
        on_bad=bad,
        dayfirst=dayfirst,
        tick=tick,
        bar_minutes=minutes,
        rolls=rolls,
    )


nasty = st.sampled_from(
    [
        *("nan", "inf", "-inf", "0", "-0.0", "-1", "5e-324", "2.2e-308", "1e308", "-1e308"),
        *(
            "1e400",
            "9" * 400,
            "",
            " ",
            '"',
            '"10"',
            "1,5",
            "0x10",
            "1_0",
            "\u0661\u0662",
            "\ufeff10",
        ),
    ]
)
nasty_times = st.sampled_from(
    [
        *("9999-12-31 23:59", "1677-09-21 00:12", "1700-01-01", "2261-12-31 23:59:59.999999999"),
        *("292277026596", "9223372036854775807", "-1", "0", "31/12/2023 00:00", "12/31/2023 00:00"),
        *("2024-04-01 10:00", "2024-04-01 10:00+14:00", "2024-04-01T10:00:00Z", "1/2/3", ""),
    ]
)
Change = Callable[[list[bytes]], list[bytes]]
"""Damages a file given as lines."""


def _cell(row: int, column: int, text: str) -> Change:
    def change(lines: list[bytes]) -> list[bytes]:
        cells = lines[row % len(lines)].split(b",")
        cells[column % len(cells)] = text.encode()
        lines[row % len(lines)] = b",".join(cells)
        return lines

    return change


def _again(row: int, at: int) -> Change:
    def change(lines: list[bytes]) -> list[bytes]:
        lines.insert(at % len(lines), lines[row % len(lines)])
        return lines

    return change


def _without(row: int, count: int) -> Change:
    def change(lines: list[bytes]) -> list[bytes]:
        first = row % len(lines)
        return lines[:first] + lines[first + count :] or [b""]

    return change


def _inserted(row: int, at: int, raw: bytes) -> Change:
    def change(lines: list[bytes]) -> list[bytes]:
        line = lines[row % len(lines)]
        place = at % (len(line) + 1)
        lines[row % len(lines)] = line[:place] + raw + line[place:]
        return lines

    return change


places = st.integers(0, 400)
changes = st.one_of(
    st.builds(_cell, places, st.integers(1, 5), nasty),
    st.builds(_cell, places, st.just(0), nasty_times),
    st.builds(_again, places, places),
    st.builds(_without, places, st.integers(1, 30)),
    st.builds(
        _inserted,
        places,
        places,
        st.sampled_from(
            [b"\x00", b"\r", b"\n", b"\r\n\r\n", b"\xef\xbb\xbf", b"\xff", b",", b'"', b";"]
        ),
    ),
)
forms = st.sampled_from(
    ["%Y-%m-%d %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M %p", "%Y%m%d %H:%M:%S"]
)


@settings(max_examples=150)
@given(
    count=st.integers(1, 400),
    form=forms,
    damage=st.lists(changes, max_size=6),
    ends=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    lost=st.integers(0, 40),
    seed=st.integers(0, 9),
    bad=bads,
)
def test_damaged_files(
    path: Path,
    count: int,
    form: str,
    damage: list[Change],
    ends: bytes,
    lost: int,
    seed: int,
    bad: str,
) -> None:
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, count)))
    text = [
        f"{time},{c:.2f},{c * 1.01:.2f},{c * 0.99:.2f},{c:.2f},{v}"
        for time, c, v in zip(
            stamps(datetime(2024, 4, 1), count, form),
            close,
            random.integers(0, 500, count),
            strict=True,
        )
    ]
    parts = [HEADER.encode(), *(line.encode() for line in text)]
    for change in damage:
        parts = change(parts)
    raw = ends.join(parts)
    path.write_bytes(raw[: max(len(raw) - lost, 0)])
    check(path, on_bad=bad)


@settings(max_examples=150)
@given(
    raw=st.binary(min_size=1, max_size=12),
    places=st.lists(st.floats(0, 1), max_size=4),
    cut=st.integers(0, 60),
)
def test_damaged_parquet(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, places: list[float], cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    times = stamps(datetime(2024, 4, 1), 60, "%Y-%m-%d %H:%M")
    columns = [[10.0] * 60, [12.0] * 60, [9.0] * 60, [11.0] * 60, list(range(60))]
    table = pa.table([times, *columns], names=HEADER.split(","))
    pq.write_table(table, path)
    content = bytearray(path.read_bytes())
    for place in places:
        at = int(place * (len(content) - len(raw)))
        content[at : at + len(raw)] = raw
    path.write_bytes(content[: len(content) - cut])
    check(path)


awkward = st.sampled_from(
    [
        pa.array([True, False, None]),
        pa.array(["10", "x", None]),
        pa.array([b"10", b"\xff", None]),
        pa.array([[1.0], [2.0], None]),
        pa.array([{"a": 1}, {"a": 2}, None]),
        pa.array([1, 2, None], pa.decimal128(5, 2)),
        pa.array([2**63, 1, None], pa.uint64()),
        pa.array([1.0, float("nan"), None]),
        pa.array([None, None, None]),
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array([0, 2**52, None], pa.timestamp("s")),
        pa.array([0, -(2**62), None], pa.timestamp("us", "UTC")),
        pa.array([0, 2**31 - 1, None], pa.date32()),
        pa.array([0, 1, None], pa.time64("us")),
        pa.array([0, 2**62, None], pa.duration("ns")),
        pa.array([1_700_000_000, 9_999_999_999, 292_277_026_596]),
        pa.array(["2024-01-01", "2024-01-02", "9999-01-01"]),
    ]
)


@settings(max_examples=200)
@given(columns=st.lists(awkward, min_size=6, max_size=6), names=st.permutations(HEADER.split(",")))
def test_parquet_of_any_types(
    tmp_path_factory: pytest.TempPathFactory, columns: list[pa.Array], names: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "types.parquet"
    pq.write_table(pa.table(columns, names=names), path)
    check(path, on_bad="drop")


def test_parquet_with_a_column_twice(tmp_path: Path) -> None:
    path = tmp_path / "twice.parquet"
    numbers = pa.array([10.0, 10.0])
    times = pa.array(["2024-01-01", "2024-01-02"])
    pq.write_table(
        pa.table([times, *[numbers] * 5, times], names=[*HEADER.split(","), "Timestamp"]), path
    )
    with pytest.raises(DataError, match="2 columns named 'Timestamp'"):
        load(path)
    check_report(path)
