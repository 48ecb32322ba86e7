"""Synthetic bars for tests of the data check, and what tests ask of its reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np

from configs.bars import BarsConfig
from market.bar_examine import check_bars
from market.bar_report import DataReport
from market.bars import load_bars
from tests.market.bar_files import HEADER, write

SESSIONS = 200
BARS = 13
NOW = 1_900_000_000_000_000_000
FORM = "%Y-%m-%d %H:%M"


@dataclass
class Synthetic:
    """Half-hour bars of weekdays, 09:30 to 16:00, as arrays to plant defects in."""

    times: list[datetime]
    values: np.ndarray

    def lines(self, form: str = FORM) -> list[str]:
        """One line of text for each bar."""
        return [
            f"{time.strftime(form)},{o:.2f},{h:.2f},{low:.2f},{c:.2f},{v:.0f}"
            for time, (o, h, low, c, v) in zip(self.times, self.values, strict=True)
        ]


def line_of(row: int) -> int:
    """The line of a row: lines count from 1, and the first is the header."""
    return row + 2


def synthetic(seed: int = 0, sessions: int = SESSIONS) -> Synthetic:
    random = np.random.default_rng(seed)
    n = sessions * BARS
    days = [
        d for d in (date(2023, 1, 2) + timedelta(k) for k in range(2 * sessions)) if d.weekday() < 5
    ]
    times = [
        datetime(day.year, day.month, day.day, 9, 30) + timedelta(minutes=30 * k)
        for day in days[:sessions]
        for k in range(BARS)
    ]
    night = np.where(np.arange(n) % BARS == 0, random.normal(0, 0.0008, n), 0.0)
    moves = random.normal(0, 0.001, n)
    close = 1000.0 * np.exp(np.cumsum(night + moves))
    open_ = close / np.exp(moves)
    high = np.maximum(open_, close) * (1 + np.abs(random.normal(0, 0.0005, n)))
    low = np.minimum(open_, close) * (1 - np.abs(random.normal(0, 0.0005, n)))
    volume = np.round(1000 * np.exp(random.normal(0, 0.2, n)))
    return Synthetic(times, np.column_stack([open_, high, low, close, volume]))


def check(path: Path, **settings: object) -> DataReport:
    return check_bars(BarsConfig.model_validate({"path": path, **settings}), NOW)


def check_lines(folder: Path, lines: list[str], header: str = HEADER) -> DataReport:
    return check(write(folder, lines, header))


def found(report: DataReport) -> dict[str, int]:
    return {f.name: f.count for f in report.findings if f.count}


def loads(report: DataReport) -> int:
    """Bars under the suggested settings: what a verdict promises."""
    return len(load_bars(BarsConfig.model_validate(report.settings)))
