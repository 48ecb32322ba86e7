"""Small message files for tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from configs.messages import MessagesConfig
from market.messages import Messages, load_messages
from tests.conftest import PROJECT

LOBSTER = PROJECT.parent / "shared" / "data" / "lobster"
HOUR = "AAPL_2012-06-21_34200000_37800000_message_50.csv"
PAIR = "AAPL_2012-06-21_34200000_57600000_message_10.csv"
PAIR_BOOK = "AAPL_2012-06-21_34200000_57600000_orderbook_10.csv"
HEADER = "time,type,id,size,price,side"

Row = tuple[float, int, int, int, int, int]
"""Time in seconds, type, id, size, price in ticks, side."""


def sample(name: str) -> Path:
    """A file of the real sample, which is academic data and lies outside the repository."""
    path = LOBSTER / name
    if not path.is_file():
        pytest.skip(f"the LOBSTER sample is not at {path}: it may not be shipped")
    return path


def write(folder: Path, lines: Iterable[str], name: str = "messages.csv") -> Path:
    """A text file of `lines`."""
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def lobster_lines(rows: Iterable[Row]) -> list[str]:
    """Rows as LOBSTER writes them: prices in dollars times 10,000."""
    return [f"{t:.9f},{k},{i},{q},{p * 100},{s}" for t, k, i, q, p, s in rows]


def load(path: Path, **settings: Any) -> Messages:
    """The messages of a file under these settings."""
    return load_messages(MessagesConfig(path=path, **settings))


def messages(folder: Path, rows: Iterable[Row], **settings: Any) -> Messages:
    """Rows written as a LOBSTER file and loaded."""
    return load(write(folder, lobster_lines(rows)), **settings)
