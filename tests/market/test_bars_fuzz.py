"""Whatever a file holds, loading it gives bars or one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import DataError
from market.bars import Bars
from tests.market.bar_files import HEADER, load

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
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia"])
bads = st.sampled_from(["error", "drop"])


def check(path: Path, **config: object) -> None:
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


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "bars.csv"


@settings(max_examples=300)
@given(raw=st.binary(max_size=300), header=st.booleans(), bad=bads)
def test_any_bytes(path: Path, raw: bytes, header: bool, bad: str) -> None:
    path.write_bytes(HEADER.encode() + b"\n" + raw if header else raw)
    check(path, on_bad=bad)


@settings(max_examples=300)
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
