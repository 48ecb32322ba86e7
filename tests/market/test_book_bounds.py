"""What the order book refuses, and that it never touches memory outside its arrays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import SimulatorError
from market import book as lob
from market.kernels import CACHE_VARIABLE
from market.replay import LIMIT, MARKET, OrderBook
from tests.market.book_checks import INT32, digest
from tests.market.canaries import replay_between_canaries, replay_orders_between_canaries

BUY, SELL = lob.BUY, lob.SELL


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[LIMIT, 0, BUY, 5]], "shape"),
        ([LIMIT, 0, BUY, 5, 1], "shape"),
        ([[LIMIT, 0, BUY, 5.5, 1.0]], "whole numbers"),
        ([[LIMIT, 0, BUY, float("nan"), 1.0]], "whole numbers"),
        ([[LIMIT, 0, BUY, 5, 1], [LIMIT, 1, BUY, 2**32 + 5, 1]], "message 1 .* int32"),
        ([[LIMIT, 0, BUY, 5, 1], [LIMIT, 16, BUY, 5, 1]], "message 1 .* id 0 to 15"),
        ([[LIMIT, -1, BUY, 5, 1]], "message 0 .* id 0 to 15"),
        ([[5, 0, BUY, 5, 1]], "message 0 .* kind 0 to 4"),
        ([[-1, 0, BUY, 5, 1]], "message 0 .* kind 0 to 4"),
        ([[LIMIT, 0, 0, 5, 1]], "message 0 .* side 1 or -1"),
        ([[LIMIT, 0, INT32.min, 5, 1]], "message 0 .* side 1 or -1"),
    ],
)
def test_malformed_messages_are_refused_whole(rows: list[Any], says: str) -> None:
    book = OrderBook(64, 8, ids=16)
    before = digest(book.arrays)
    with pytest.raises(SimulatorError, match=says):
        book.replay(np.array(rows))
    assert digest(book.arrays) == before


def test_any_whole_number_type_and_no_rows_at_all_are_taken() -> None:
    book = OrderBook(64, 8, ids=16)
    rows = np.array([[LIMIT, 0, BUY, 5, 1], [MARKET, 1, SELL, 0, 1]])
    for taken in (rows.astype(np.int64), np.asfortranarray(rows.astype(np.int8)), rows[:0]):
        book.replay(taken)
    assert len(book.trades) == 2


@pytest.mark.parametrize(
    "sizes", [{"levels": 0}, {"levels": 65}, {"tape": 3}, {"tape": 0}, {"slots": 0}, {"ids": 0}]
)
def test_a_size_that_the_layout_cannot_have_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(SimulatorError, match=next(iter(sizes))):
        OrderBook(**sizes)


def run_module(module: str, project: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_pointer_leaves_its_array(project: Path) -> None:
    """numba checks no pointer, so the book runs in Python over pointers that check."""
    assert "within bounds" in run_module(
        "tests.market.checked_pointers", project, NUMBA_DISABLE_JIT="1"
    )


@pytest.mark.slow
def test_compiled_with_bounds_checks_neighbours_stay_untouched(
    project: Path, tmp_path: Path
) -> None:
    out = run_module(
        "tests.market.canaries",
        project,
        NUMBA_BOUNDSCHECK="1",
        **{CACHE_VARIABLE: str(tmp_path)},
    )
    assert "untouched" in out


def test_neighbours_stay_untouched() -> None:
    """The same canaries, in the build that everyone runs."""
    for seed in range(6):
        assert replay_between_canaries(seed) == 0
        assert replay_orders_between_canaries(seed) == 0
