"""Small bar files for tests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from configs.bars import BarsConfig
from market.bars import Bars, load_bars

HEADER = "Timestamp,Open,High,Low,Close,Volume"
ROW = "10,12,9,11,100"


def stamps(first: datetime, count: int, form: str, minutes: int = 30) -> list[str]:
    """`count` stamps in the format `form`, `minutes` apart."""
    return [(first + timedelta(minutes=minutes * i)).strftime(form) for i in range(count)]


def rows(times: Iterable[str], row: str = ROW) -> list[str]:
    """One row of text for each stamp."""
    return [f"{time},{row}" for time in times]


def write(folder: Path, lines: Iterable[str], header: str = HEADER, name: str = "bars.csv") -> Path:
    """A CSV file of `lines` under `header`."""
    path = folder / name
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def load(path: Path, **settings: Any) -> Bars:
    """The bars of a file under these settings."""
    return load_bars(BarsConfig(path=path, **settings))
