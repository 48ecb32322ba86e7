"""An evaluation report for people: a table, plots and files."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trainers.evaluate import EvaluationReport, PolicySummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REPORT_FILE = "evaluation.json"
TEXT_FILE = "evaluation.txt"
SAMPLES_FILE = "samples.npz"
CURVE_WINDOWS = 20  # the running mean of a curve spans one of this many parts of it
DISTRIBUTION_BINS = 60
SHOWN_QUANTILES = (0.005, 0.995)  # a few extreme parents would flatten the histogram
PLOT_DPI = 110
TEXT_WIDTH = 100


def tables(report: EvaluationReport) -> list[Table]:
    """The comparison as rich tables: each policy's own figures, then the paired differences.

    Policies are listed best first; the candidate is marked.
    """
    return [_own_figures(report), _paired_figures(report)]


def text(report: EvaluationReport) -> str:
    """Tables and verdict as they are printed at the end of a training."""
    console = Console(file=io.StringIO(), width=TEXT_WIDTH)
    for table in tables(report):
        console.print(table)
    for line in lines(report):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    told: io.StringIO = console.file  # type: ignore[assignment]
    return told.getvalue()


def _own_figures(report: EvaluationReport) -> Table:
    told = report.objective
    shown = _table(
        f"{report.parents} {told.episodes} each, {report.confidence:.0%} intervals, {told.unit}"
    )
    shown.add_column("policy", no_wrap=True)
    for header in (told.header, *(figure.header for figure in told.figures)):
        shown.add_column(header, justify="right", no_wrap=True)
    for summary in _best_first(report):
        mean = summary.objective
        mark = " <-" if summary.name == report.candidate else ""
        shown.add_row(
            summary.name + mark,
            f"{mean.mean:.2f} " + _interval(mean.low, mean.high, ".2f"),
            *(_number(summary.metrics.get(figure.metric), figure.form) for figure in told.figures),
        )
    shown.caption = told.caption
    shown.caption_justify = "left"
    return shown


def _paired_figures(report: EvaluationReport) -> Table:
    shown = _table(f"paired on common random numbers, {report.objective.unit}")
    shown.add_column(f"{report.candidate} minus", no_wrap=True)
    for header in ("difference", "correlation"):
        shown.add_column(header, justify="right", no_wrap=True)
    for summary in _best_first(report):
        if summary.name not in report.comparisons:
            continue
        result = report.comparisons[summary.name].result
        shown.add_row(
            summary.name,
            f"{result.mean_difference:+.3f} " + _interval(result.low, result.high, "+.3f"),
            _number(result.correlation, ".2f"),
        )
    return shown


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )


def _interval(low: float, high: float, form: str) -> str:
    return escape(f"[{low:{form}}, {high:{form}}]")


def _best_first(report: EvaluationReport) -> list[PolicySummary]:
    return sorted(
        report.summaries.values(),
        key=lambda summary: summary.objective.mean,
        reverse=not report.objective.lower_is_better,
    )


def lines(report: EvaluationReport) -> list[str]:
    """The verdict, and whether the comparison reached its precision."""
    said = [report.verdict]
    if not report.precise:
        said.append(
            f"The intervals are wider than asked for after {report.parents} "
            f"{report.objective.episodes} ({report.objective.widen})."
        )
    return said


def write(report: EvaluationReport, folder: Path) -> list[Path]:
    """Write the report, its samples and its plots under `folder`; each file atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / REPORT_FILE, folder / SAMPLES_FILE, folder / TEXT_FILE]
    replace(folder / TEXT_FILE, text(report).encode())
    replace(written[0], (json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n").encode())
    columns = {
        f"{policy}/{metric}": values
        for policy, metrics in report.samples.items()
        for metric, values in metrics.items()
    }
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".npz", delete=False) as file:
        np.savez_compressed(file, seeds=report.seeds, **columns)  # type: ignore[arg-type]
    os.replace(file.name, written[1])
    for name, figure in plots(report).items():
        written.append(save_figure(figure, folder / f"{name}.png"))
    return written


def plots(report: EvaluationReport) -> dict[str, Figure]:
    """The objective's distributions, and the paired differences with their intervals."""
    from matplotlib.figure import Figure

    figures: dict[str, Figure] = {}
    name = report.objective.header
    figures[name] = Figure(figsize=(8, 4.5), layout="constrained")
    _distributions(figures[name].subplots(), report)
    figures["paired"] = Figure(
        figsize=(8, 1.5 + 0.5 * len(report.comparisons)), layout="constrained"
    )
    _differences(figures["paired"].subplots(), report)
    return figures


def curves(history: Sequence[Mapping[str, float]], x: str, names: Sequence[str]) -> Figure:
    """Learning curves: each of `names` over `x`, one panel each; iterations without it left out.

    Pale: every iteration. Dark: the running mean, which shows what the noise hides.
    """
    from matplotlib.figure import Figure

    shown = [name for name in names if any(name in row for row in history)]
    figure = Figure(figsize=(8, 1.0 + 2.0 * max(len(shown), 1)), layout="constrained")
    panels = figure.subplots(max(len(shown), 1), 1, sharex=True, squeeze=False)[:, 0]
    for panel, name in zip(panels, shown, strict=False):
        points = [(row[x], row[name]) for row in history if name in row and x in row]
        xs, ys = (np.array(values) for values in zip(*points, strict=True))
        window = max(len(ys) // CURVE_WINDOWS, 1)
        running = np.convolve(ys, np.full(window, 1.0 / window), mode="valid")
        panel.plot(xs, ys, linewidth=0.8, color="tab:blue", alpha=0.35)
        panel.plot(xs[window - 1 :], running, linewidth=1.4, color="tab:blue")
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel(x)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write `figure` as PNG, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".png", delete=False) as file:
        figure.savefig(file, format="png", dpi=PLOT_DPI)
    os.replace(file.name, path)
    return path


def replace(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def _distributions(axes: Axes, report: EvaluationReport) -> None:
    told = report.objective
    every = np.concatenate([metrics[told.metric] for metrics in report.samples.values()])
    low, high = (float(q) for q in np.quantile(every, SHOWN_QUANTILES))
    edges = np.linspace(low, high if high > low else low + 1.0, DISTRIBUTION_BINS + 1)
    for name, metrics in report.samples.items():
        values = metrics[told.metric]
        axes.hist(
            np.clip(values, edges[0], edges[-1]),
            bins=edges.tolist(),
            histtype="step",
            linewidth=1.8 if name == report.candidate else 1.0,
            label=f"{name} (mean {values.mean():.2f})",
        )
    axes.set_xlabel(f"{told.header}, {told.unit} (values beyond the axis are counted at its ends)")
    axes.set_ylabel(told.episodes)
    axes.legend()


def _differences(axes: Axes, report: EvaluationReport) -> None:
    names = list(report.comparisons)
    for height, name in enumerate(names):
        result = report.comparisons[name].result
        axes.plot([result.low, result.high], [height, height], color="tab:blue", linewidth=2)
        axes.plot([result.mean_difference], [height], "o", color="tab:blue")
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.5, len(names) - 0.5)
    told = report.objective
    side = "left" if told.lower_is_better else "right"
    axes.set_xlabel(
        f"{report.candidate} minus it, {told.unit} of {told.header}, {report.confidence:.0%} "
        f"interval; {side} of zero is {told.better}"
    )


def _number(value: Any, form: str) -> str:
    return "-" if value is None or not np.isfinite(value) else format(value, form)
