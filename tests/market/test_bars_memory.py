"""Files of a gigabyte: an error in bounded time and memory, measured in a process of its own."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.market.bar_files import HEADER

GIGABYTE = 1 << 30
LIMIT_KB = 2 * GIGABYTE // 1024
SECONDS = 120

CODE = """
import resource, sys
from pathlib import Path
from configs.bars import BarsConfig
from configs.errors import DataError
from market.bar_examine import check_bars
from market.bars import load_bars

config = BarsConfig(path=Path(sys.argv[1]))
try:
    load_bars(config)
except DataError as error:
    print(error)
else:
    sys.exit("expected an error")
print(check_bars(config).why)
status = Path("/proc/self/status")
if status.exists():
    # Of this program alone: what getrusage tells begins with the process that started it.
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    print(int(lines["VmHWM"].split()[0]))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)  # macOS counts bytes
"""


def refused(path: Path) -> tuple[str, str, int]:
    """What loading and checking say, and the peak memory of both, kB."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    error, why, peak = done.stdout.rstrip("\n").rsplit("\n", 2)
    return error, why, int(peak)


def sparse(path: Path, start: bytes, end: bytes = b"") -> Path:
    """A file of a gigabyte of zero bytes between `start` and `end`, which takes no disk."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(GIGABYTE - len(end))
        file.seek(GIGABYTE - len(end))
        file.write(end)
    return path


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (HEADER.encode() + b"\n2024-01-01,", b"", "longer than 4096 bytes"),
        (HEADER.encode(), b"\n", "longer than 4096 bytes"),
        (b"PAR1", b"", "is not a whole Parquet file"),
        (b"PAR1", struct.pack("<I", GIGABYTE - 12) + b"PAR1", "is not a whole Parquet file"),
    ],
    ids=["row", "header", "parquet", "footer"],
)
def test_a_gigabyte_that_is_no_bars(tmp_path: Path, start: bytes, end: bytes, told: str) -> None:
    error, why, peak = refused(sparse(tmp_path / "bars.csv", start, end))
    assert told in error and told in why
    assert peak < LIMIT_KB


def _digits(path: Path) -> None:
    with path.open("wb") as file:
        file.write(HEADER.encode() + b"\n")
        for _ in range(GIGABYTE >> 20):
            file.write(b"9" * (1 << 20))


def _empty_lines(path: Path) -> None:
    with path.open("wb") as file:
        file.write(HEADER.encode())
        for _ in range(GIGABYTE >> 20):
            file.write(b"\n" * (1 << 20))


def _bad_rows(path: Path) -> None:
    with path.open("wb") as file:
        file.write(HEADER.encode() + b"\n")
        row = b"2024-01-01 00:00,nan,nan,nan,nan,nan\n"
        file.write(row * 1_000_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_digits, "longer than 4096 bytes"),
        (_empty_lines, "empty lines among its first"),
        (_bad_rows, "1000000"),
    ],
)
def test_much_text_that_is_no_bars(tmp_path: Path, make: Callable[[Path], None], told: str) -> None:
    path = tmp_path / "bars.csv"
    make(path)
    error, why, peak = refused(path)
    path.unlink()
    assert told in error and told in why
    assert peak < LIMIT_KB


@pytest.mark.parametrize("length", [100_000, 100])
def test_parquet_that_unpacks_to_far_more(tmp_path: Path, length: int) -> None:
    """Repeated texts take almost no room in a file, and gigabytes unpacked."""
    count = 10_000_000
    path = tmp_path / "bars.parquet"
    codes = pa.array([0], pa.int32()).take(pa.array([0] * count, pa.int32()))
    texts = pa.DictionaryArray.from_arrays(codes, pa.array(["x" * length]))
    number = pa.array([10.0]).take(pa.array([0] * count, pa.int32()))
    pq.write_table(pa.table([texts, *[number] * 5], names=HEADER.split(",")), path)
    assert path.stat().st_size < GIGABYTE // 100
    error, why, peak = refused(path)
    assert "no date and time that can be read" in error and "rows are no bars" in why
    assert peak < LIMIT_KB
