"""What the readers of bar files hand on: columns of numbers, and where each row stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError

PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume")
MISSING = np.iinfo(np.int64).min
"""A stamp that does not exist in a reading (the NaT of numpy)."""

_SHOWN = 5


@dataclass(frozen=True)
class BarTable:
    """The rows of a file before anything is judged.

    Attributes:
        lines: int64 [n], line of the file (CSV, from 1) or row (Parquet, from 1).
        day_first: int64 [n], ns since 1970 on the wall clock, dates read day-first;
            `MISSING` where such a date does not exist.
        month_first: int64 [n], the same read month-first.
        aware: bool [n], the stamp carried an offset, and is UTC already.
        values: float64 [n, 5], open, high, low, close, volume; NaN where no number.
        unit: "line" or "row", for messages.
        read: data rows of the file, those in `bad` included.
        unended: line of the last row where the file ends without a line end: the last
            number of such a row may be cut short, which nothing in it shows.
    """

    lines: NDArray[np.int64]
    day_first: NDArray[np.int64]
    month_first: NDArray[np.int64]
    aware: NDArray[np.bool_]
    values: NDArray[np.float64]
    unit: str
    read: int
    unended: int | None = None


@dataclass
class BadRows:
    """Rows that are no bars, by reason, with the first few of each for the message."""

    name: str
    unit: str = "line"
    counts: dict[str, int] = field(default_factory=dict)
    _shown: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def add(self, reason: str, line: int, detail: str = "") -> None:
        """Count one row; its line and what it holds are kept for the first few."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        shown = self._shown.setdefault(reason, [])
        if len(shown) < _SHOWN:
            shown.append((line, detail))

    def first(self, reason: str) -> tuple[tuple[int, str], ...]:
        """Line and detail of the first few rows of a reason, in the order they were met."""
        return tuple(self._shown.get(reason, ()))

    def copy(self) -> BadRows:
        """Another count that goes on from this one."""
        shown = {reason: list(rows) for reason, rows in self._shown.items()}
        return BadRows(self.name, self.unit, dict(self.counts), shown)

    def add_many(self, reason: str, lines: NDArray[np.int64], details: Iterable[str] = ()) -> None:
        """Count rows of one reason; of `details` only the first few are drawn."""
        remarks = iter(details)
        for line in lines[:_SHOWN]:
            self.add(reason, int(line), next(remarks, ""))
        rest = len(lines[_SHOWN:])
        if rest:
            self.counts[reason] += rest

    @property
    def total(self) -> int:
        """Rows counted over all reasons."""
        return sum(self.counts.values())

    def error(self, read: int) -> DataError:
        """One message for all of them."""
        rows = "row" if self.total == 1 else "rows"
        return DataError(
            f"{self.name}: {self.total} bad {rows} of {read}\n  "
            + "\n  ".join(self._reason(reason) for reason in self.counts)
            + "\nMend the file, or set on_bad: drop in the bars' configuration to leave them out."
        )

    def _reason(self, reason: str) -> str:
        shown = self._shown[reason]
        more = self.counts[reason] - len(shown)
        text = f"{reason}: {self.unit} " + ", ".join(
            f"{line} ({detail})" if detail else str(line) for line, detail in shown
        )
        return f"{text} and {more} more" if more else text


def cut(text: str, width: int = 40) -> str:
    """A cell of the file as a message shows it."""
    shown = repr(text)
    return shown if len(shown) <= width else shown[: width - 4] + "...'"
