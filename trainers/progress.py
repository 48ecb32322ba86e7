"""What a training looks like while it runs: a live bar, or plain lines where output is a file."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from trainers.train import IterationReport

_SECONDS_PER_MINUTE = 60
_GIGABYTE = 1e9
AVERAGED = 40


class TrainingProgress:
    """A context whose `update` is given to `train` as `on_iteration`.

    metrics: (key in the report's metrics, label, format), such as
    ("shortfall_bp", "shortfall", "{:.2f} bp"). They are averaged over about the last
    `AVERAGED` iterations, since one iteration's episodes say little, and stay as they
    were while no episode ends. `every_s` is the time between two plain lines.
    """

    def __init__(
        self,
        metrics: Sequence[tuple[str, str, str]] = (("return", "return", "{:.2f}"),),
        title: str = "training",
        console: Console | None = None,
        every_s: float = 10.0,
    ) -> None:
        self._metrics = tuple(metrics)
        self._title = title
        self._console = console or Console(stderr=True)
        self._every_s = every_s
        self._shown: dict[str, float] = {}
        self._seen: dict[str, int] = {}
        self._printed = -math.inf
        self._last: IterationReport | None = None
        self._first: IterationReport | None = None
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[figures]}"),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=1.0, figures="starting")
        return self

    def update(self, report: IterationReport) -> None:
        """Show one iteration."""
        self._first = self._first or report
        self._last = report
        for name, value in report.metrics.items():
            self._seen[name] = min(self._seen.get(name, 0) + 1, AVERAGED)
            mean = self._shown.get(name, 0.0)
            self._shown[name] = mean + (value - mean) / self._seen[name]
        if self._bar is not None:
            self._bar.update(self._task, completed=report.progress, figures=self._figures(report))
            return
        now = time.monotonic()
        if now - self._printed >= self._every_s:
            self._printed = now
            self._print(report)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._last is not None:
            self._print(self._last)  # the last line is always there

    def _print(self, report: IterationReport) -> None:
        line = f"{self._title} {report.progress:4.0%}  {self._figures(report)}"
        self._console.print(line, highlight=False, soft_wrap=True)

    def _figures(self, report: IterationReport) -> str:
        parts = [f"iteration {report.iteration}", f"{report.steps_per_s:,.0f} steps/s"]
        for key, label, form in self._metrics:
            if key in self._shown:
                parts.append(f"{label} {form.format(self._shown[key])}")
        if "entropy" in report.losses:
            parts.append(f"entropy {report.losses['entropy']:.2f}")
        parts.append(f"{report.peak_rss_bytes / _GIGABYTE:.1f} GB")
        parts.append(f"ETA {self._eta(report)}")
        return "  ".join(parts)

    def _eta(self, report: IterationReport) -> str:
        """Time left at the pace since this sitting's first report; '-' until one is known."""
        first = self._first
        if first is None or report.progress <= first.progress:
            return "-"
        pace = (report.minutes - first.minutes) / (report.progress - first.progress)
        seconds = max(0, round(pace * (1.0 - report.progress) * _SECONDS_PER_MINUTE))
        minutes, seconds = divmod(seconds, _SECONDS_PER_MINUTE)
        return f"{minutes}:{seconds:02d}"
