"""Whatever a file holds, loading it gives messages that a book can take, or one clear error."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import DataError
from market.history import HistoricalMarket
from market.message_table import EXECUTE
from market.messages import Messages
from tests.market.book_checks import check_invariants
from tests.market.message_files import HEADER, load

LIMIT = 2 << 30  # bytes

cells = st.one_of(
    st.sampled_from(["0", "1", "-1", "2147483648", "nan", "inf", "-0", "1e400", "", '"', "x"]),
    st.sampled_from(["9" * 40, "5e-324", "1e308", "1_0", "0x10", "1;2", "\u0661", "1.", ".5"]),
    st.floats().map(str),
    st.integers().map(str),
    st.text(max_size=5),
)
wild = st.lists(cells, min_size=4, max_size=7).map(",".join)
tame = st.tuples(
    st.sampled_from(["1", "2", "2.5", "3", "1.000000001"]),
    st.sampled_from("12345677"),
    st.integers(0, 3).map(str),
    st.integers(0, 4).map(str),
    st.sampled_from(["10000", "10100", "10200", "10300", "10250", "-1", "214748364700"]),
    st.sampled_from(["1", "-1"]),
).map(",".join)
bads = st.sampled_from(["error", "drop"])


def check(path: Path, **config: object) -> Messages | None:
    try:
        read = load(path, **config)
    except DataError as error:
        assert path.name in str(error) and len(str(error)) < 5000
        return None
    assert len(read) > 0 and (np.diff(read.time) >= 0).all()
    in_book = read.kind <= EXECUTE
    assert (read.size[in_book] > 0).all() and (read.price[in_book] >= 1).all()
    assert (read.price[in_book] % 1 == 0).all() and np.isfinite(read.price).all()
    assert read.report.read == len(read) + sum(read.report.dropped.values())
    return read


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "messages.csv"


@settings(max_examples=300)
@given(raw=st.binary(max_size=300), header=st.booleans(), bad=bads)
def test_any_bytes(path: Path, raw: bytes, header: bool, bad: str) -> None:
    path.write_bytes(HEADER.encode() + b"\n" + raw if header else raw)
    check(path, on_bad=bad)


@settings(max_examples=400)
@given(
    lines=st.lists(st.one_of(tame, tame, tame, wild), max_size=25),
    header=st.booleans(),
    bad=bads,
    unknown=st.sampled_from(["count", "error", None]),
    most=st.sampled_from([64, 128, 1 << 16]),
)
def test_rows_of_nonsense_never_spoil_the_book(
    path: Path, lines: list[str], header: bool, bad: str, unknown: str | None, most: int
) -> None:
    text = "\n".join([HEADER, *lines] if header else lines)
    path.write_text(text, encoding="utf-8", errors="replace")
    unit = 1e-4 if header else None
    read = check(
        path, on_bad=bad, unknown_ids=unknown, max_ladder_levels=most, price_unit=unit, tick=0.01
    )
    if read is None:
        return
    market = HistoricalMarket(read, own_orders=0)
    assert market.advance() == len(read)
    check_invariants(market.arrays.book)


GIANT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
from pathlib import Path
from configs.errors import DataError
from configs.messages import MessagesConfig
from market.messages import load_messages
try:
    load_messages(MessagesConfig(path=Path(sys.argv[1])))
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("first", [b"", b"34200,1,1,1,100,1\n", HEADER.encode() + b"\n"])
def test_one_line_of_a_gigabyte_is_refused_at_once(
    tmp_path: Path, project: Path, first: bytes
) -> None:
    path = tmp_path / "giant.csv"
    with path.open("wb") as file:
        file.write(first + b"1" * 10_000)
        file.truncate(1 << 30)  # sparse: the rest reads as zero bytes
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, "-c", GIANT, str(path), str(LIMIT)],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "longer than 4096 bytes" in done.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 30.0
