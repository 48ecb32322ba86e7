"""Tables kept on disk: read again, computed again where damaged or where anything differs."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from market import kept as module
from market.kept import kept, key_of, tables_folder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache" / "kernels")


class Maker:
    """Counts how often it computes."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, NDArray[np.float64]]:
        self.calls += 1
        return {"table": np.arange(12.0).reshape(4, 3)[:, ::-1], "flags": np.array([1.0, np.nan])}


def test_a_table_is_computed_once_and_read_as_it_was() -> None:
    make = Maker()
    first, again = kept("toy", "a", make), kept("toy", "a", make)
    assert make.calls == 1
    for name, wanted in make().items():
        for found in (first[name], again[name]):
            assert np.array_equal(found, wanted, equal_nan=True) and found.dtype == wanted.dtype
            # What kernels are compiled for, whether read or computed.
            assert type(found) is np.ndarray and not found.flags.writeable
            assert found.flags.c_contiguous and found.flags.aligned
    assert kept("toy", "b", make) is not None and make.calls == 3
    assert sorted(p.name for p in tables_folder().iterdir()) == ["toy-a", "toy-b"]


@pytest.mark.parametrize("harm", ["cut", "changed", "gone", "sums"])
def test_a_damaged_table_is_computed_again_and_said(
    harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    make = Maker()
    kept("toy", "a", make)
    folder = tables_folder() / "toy-a"
    file = folder / "table.npy"
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:-7])
    elif harm == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    elif harm == "gone":
        file.unlink()
    else:
        (folder / "sums.json").write_text('["no sums"]')
    with caplog.at_level(logging.WARNING):
        found = kept("toy", "a", make)
    assert make.calls == 2 and "toy-a is damaged" in caplog.text
    assert np.array_equal(found["table"], make()["table"])
    caplog.clear()
    kept("toy", "a", make)
    assert make.calls == 3 and not caplog.text  # mended: only the line above computed


def test_a_folder_that_cannot_be_written_costs_time_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make = Maker()
    (tmp_path / "cache").write_text("a file where the folder would be")
    with caplog.at_level(logging.WARNING):
        assert kept("toy", "a", make)["table"].shape == (4, 3)
    assert "cannot be kept" in caplog.text


def test_keys_tell_apart_data_and_code() -> None:
    assert key_of(module.__file__, "a", 1) == key_of(module.__file__, "a", 1)
    keys = {
        key_of(module.__file__, "a", 1),
        key_of(module.__file__, "a", 2),
        key_of(module.__file__, "a1"),
        key_of(__file__, "a", 1),
    }
    assert len(keys) == 4
