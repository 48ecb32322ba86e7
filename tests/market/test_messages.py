"""Message files: what is read, what is refused with its line, what is counted."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import DataError
from market.message_table import ADD, DELETE, EXECUTE, HALT, HIDDEN, REDUCE
from market.messages import share_of_rising_ids
from tests.market.message_files import HEADER, HOUR, PAIR, load, messages, sample, write

GOOD = "34200.004241176,1,16113575,18,5853300,1"


def test_lobster_rows_are_read_exactly(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        [
            GOOD,
            "34200.1,2,16113575,8,5853300,1",
            "34200.1,5,0,7,5853350,-1",
            "34200.2,4,16113575,4,5853300,1",
            "34201,3,16113575,6,5853300,1",
            "34202,7,0,0,-1,-1",
            "34203,7,0,0,1,-1",
        ],
    )
    read = load(path)
    assert read.time[:2].tolist() == [34200_004241176, 34200_100000000]
    assert read.kind.tolist() == [ADD, REDUCE, HIDDEN, EXECUTE, DELETE, HALT, HALT]
    assert read.price[:5].tolist() == pytest.approx([58533, 58533, 58533.5, 58533, 58533])
    assert read.size.tolist() == [18, 8, 7, 4, 6, -1, 1]
    assert read.side.tolist() == [1, 1, -1, 1, 1, -1, -1]
    assert read.known.tolist() == [True, True, False, True, True, False, False]
    assert read.ids[read.order[0]] == 16113575 and read.order[2] == -1
    assert (read.peak, read.report.read, read.report.kept) == (1, 7, 7)
    assert read.seconds == pytest.approx(34203 - 34200.004241176)
    assert not read.time.flags.writeable


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("34200.1,1,2,18,5853300", "not 6 fields: line 2 (got 5)"),
        ("34200.1,1,2,18,5853300,1,9", "not 6 fields: line 2 (got 7)"),
        ("x,1,2,18,5853300,1", "time is no number of s >= 0: line 2 (got 'x')"),
        ("-1,1,2,18,5853300,1", "time is no number"),
        ("nan,1,2,18,5853300,1", "time is no number"),
        ("1e308,1,2,18,5853300,1", "time is no number"),
        ("9e18,1,2,18,5853300,1", "time is no number"),
        ("34200.1,8,2,18,5853300,1", "type is none of 1, 2, 3"),
        ("34200.1,1,2.5,18,5853300,1", "id is no whole number within int64: line 2 (got '2.5')"),
        ("34200.1,1,9223372036854775808,18,5853300,1", "id is no whole number"),
        ("34200.1,1,2,0,5853300,1", "size is not from 1 to 2147483647: line 2 (got 0)"),
        ("34200.1,1,2,-5,5853300,1", "size is not from 1 to 2147483647: line 2 (got -5)"),
        ("34200.1,1,2,2147483648,5853300,1", "size is not from 1 to 2147483647"),
        ("34200.1,1,2,1_0,5853300,1", "size is no whole number"),
        ("34200.1,1,2,18,0,1", "price is not positive"),
        ("34200.1,1,2,18,inf,1", "price is no finite number"),
        ("34200.1,1,2,18,5853350,1", "price is off the tick of 100 in the file's unit: line 2"),
        ("34200.1,1,2,18,1e308,1", "price is beyond 2147483647 ticks"),
        ("34200.1,1,2,18,5e-320,1", "price is off the tick"),
        ("34200.1,1,2,18,5853300,0", "side is none of 1, -1"),
        ("34200.1,7,0,0,3,-1", "halt's price is not -1, 0 or 1"),
        ('"34200.1,1,2,18,5853300,1', "quotes that do not close: line 2"),
        ("34199.9,1,2,18,5853300,1", "clock goes back: line 2 (got 34199.900000000 s"),
        ("34200.1,1,16113575,18,5853300,1", "add with the id of an order that is open: line 2"),
        ("34200.1,2,16113575,19,5853300,1", "cancel or execution of more than is open: line 2"),
        ("34200.1,4,16113575,19,5853300,1", "cancel or execution of more than is open: line 2"),
        ("34200.1,3,16113575,18,5853400,1", "price or side is not its order's: line 2"),
        ("34200.1,4,16113575,18,5853300,-1", "price or side is not its order's: line 2"),
    ],
)
def test_a_bad_row_is_refused_with_its_line_or_dropped_and_counted(
    tmp_path: Path, line: str, says: str
) -> None:
    path = write(tmp_path, [GOOD, line])
    with pytest.raises(DataError) as error:
        load(path)
    message = str(error.value)
    assert says in message and str(path) in message and "1 bad row of 2" in message
    assert "on_bad: drop" in message
    kept = load(path, on_bad="drop")
    assert len(kept) == 1 and sum(kept.report.dropped.values()) == 1


def test_a_message_after_an_orders_end_is_bad_and_its_id_may_come_anew(tmp_path: Path) -> None:
    ended = [GOOD, "34201,3,16113575,18,5853300,1"]
    with pytest.raises(DataError, match=r"order that has ended: line 3 \(id 16113575\)"):
        load(write(tmp_path, [*ended, "34202,4,16113575,1,5853300,1"]))
    again = load(write(tmp_path, [*ended, "34202,1,16113575,5,5853400,-1"]))
    assert again.known.all() and again.peak == 1


def test_orders_from_before_the_start_are_counted_where_the_file_allows_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ["1,3,7,18,5853300,1", "2,4,8,10,5853400,-1", "3,2,9,1,5853400,-1", "4,1,10,1,100,1"]
    path = write(tmp_path, rows)
    with caplog.at_level(logging.INFO):
        read = load(path)
    assert read.known.tolist() == [False, False, False, True]
    assert sorted(read.report.rejected.values()) == [1, 1, 1] and read.report.kept == 4
    assert "execution of an order never added" in caplog.text and "line 2 (id 8)" in caplog.text
    with pytest.raises(DataError, match="3 bad rows of 4"):
        load(path, unknown_ids="error")
    assert len(load(path, unknown_ids="error", on_bad="drop")) == 1
    with pytest.raises(DataError, match="never added"):  # no convention of other sources
        load(write(tmp_path, [HEADER, "1,delete,7,18,585.33,buy"], "rows.csv"))


def test_a_delete_of_another_size_ends_the_order_and_is_noted(tmp_path: Path) -> None:
    read = messages(tmp_path, [(1, 1, 5, 10, 100, 1), (2, 3, 5, 7, 100, 1)])
    assert read.known.all()
    assert read.report.noted == {"delete of another size than is open": 1}


def test_of_rows_out_of_order_the_fewer_go(tmp_path: Path) -> None:
    times = [1, 2, 9_999, 3, 4, 5, 6]
    rows = [(t, 1, i, 1, 100, 1) for i, t in enumerate(times)]
    read = messages(tmp_path, rows, on_bad="drop")
    assert (read.time // 10**9).tolist() == [1, 2, 3, 4, 5, 6]
    assert read.report.dropped == {"clock goes back": 1}


GENERIC = {
    "columns": {"time": "ts", "type": "Action", "id": "order"},
    "kinds": {"A": "add", "X": "delete", "T": "execute"},
    "sides": {"bid": "buy", "ask": "sell"},
    "time_unit": "ns",
    "tick": 0.25,
}


def test_rows_of_any_source_by_header(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        [
            "venue;ts;Action;order;Size;Price;Side",
            "X;1700000000123456789;A;1;5;17000.25;bid",
            "X;1700000000123456790;T;1;2;17000.25;bid",
            "",
            "X;1700000000123456791;X;1;3.0;17000.25;bid",
        ],
    )
    read = load(path, **GENERIC)
    assert read.time.tolist() == [1700000000123456789 + i for i in range(3)]
    assert read.price.tolist() == [68001] * 3
    assert read.kind.tolist() == [ADD, EXECUTE, DELETE] and read.lines.tolist() == [2, 3, 5]


@pytest.mark.parametrize("unit", ["numbers", "stamps"])
def test_parquet_is_read_like_text(tmp_path: Path, unit: str) -> None:
    ns = [1700000000123456789 + i for i in range(3)]
    path = tmp_path / "messages.parquet"
    columns: dict[str, Any] = {
        "ts": pa.array(ns, pa.timestamp("ns", tz="UTC")) if unit == "stamps" else ns,
        "Action": ["A", "T", "X"],
        "order": [1, 1, 1],
        "size": [5, 2, 3],
        "price": [17000.25] * 3,
        "side": ["bid"] * 3,
    }
    pq.write_table(pa.table(columns), path)
    read = load(path, **GENERIC)
    assert read.time.tolist() == ns and read.price.tolist() == [68001] * 3
    assert read.kind.tolist() == [ADD, EXECUTE, DELETE]
    columns["size"] = [5, None, 3]
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match="size is empty or cannot be read: row 2"):
        load(path, **GENERIC)
    columns["size"] = ["5", "2", "3"]
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=r"column 'size' has the type .*string: expected numbers"):
        load(path, **GENERIC)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="not a whole Parquet file"):
        load(path, **GENERIC)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (HEADER.encode() + b"\n", "holds a header and no message"),
        (b"time,type,id,size,side\n1,1,1,1,1\n", "no column 'price'"),
        (b"time,type,id,size,price,price,side\n", "2 columns 'price'"),
        (b"tme,type,id,size,price,side\n", "did you mean 'tme'"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"34200,1,1,1,100\x00,1\n", "zero byte"),
        (b"34200,1,1,1,\xff,1\n", "not UTF-8"),
        (b"1" * 5000, "longer than 4096 bytes"),
        (GOOD.encode()[:-8] + b"\n", "not 6 fields"),
    ],
)
def test_a_file_that_is_none_is_one_message(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "messages.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load(path)
    assert says in str(error.value) and str(path) in str(error.value)


def test_paths_and_limits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="no regular file"):
        load(tmp_path)
    with pytest.raises(DataError, match="does not begin as Parquet"):
        load(write(tmp_path, [GOOD], "x.parquet"))
    with pytest.raises(DataError, match="expected a header"):
        load(write(tmp_path, [GOOD]), form="rows")
    with pytest.raises(DataError, match="more than 1 rows"):
        load(write(tmp_path, [GOOD, GOOD]), max_rows=1)
    with pytest.raises(DataError, match="no message is left of 1 rows"):
        load(write(tmp_path, [GOOD.replace("18", "0")]), on_bad="drop")


def test_the_real_files() -> None:
    hour = load(sample(HOUR))
    assert (len(hour), hour.report.dropped, hour.report.noted) == (91_997, {}, {})
    assert sorted(hour.report.rejected.values()) == [12, 72]
    assert hour.peak == 413 and hour.seconds == pytest.approx(3599.83, abs=0.01)
    assert share_of_rising_ids(hour) > 0.99
    assert np.bincount(hour.kind).tolist() == [0, 44256, 469, 41004, 4067, 2201]
    pair = load(sample(PAIR))
    assert len(pair) == 999 and sorted(pair.report.rejected.values()) == [4, 5]
