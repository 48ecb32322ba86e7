"""A comparison of runs for people: tables, and their curves together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from trainers.report import CURVE_WINDOWS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trainers.compare import Compared


def tables(found: Compared) -> list[Table]:
    """The paired comparison, then the settings that differ."""
    return [_table(found), _settings_table(found)]


def _table(found: Compared) -> Table:
    """The runs and their differences to the first."""
    told = found.objective
    word = "lower" if told.lower_is_better else "higher"
    out = Table(
        title=f"{told.header}, {told.unit}, of {found.episodes} {told.episodes} of the "
        f"{found.split} split, the same for all; {word} is better",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    out.add_column("run", no_wrap=True)
    for header in (told.header, "minus the first", "correlation"):
        out.add_column(header, justify="right", no_wrap=True)
    for name, mean in found.means.items():
        cells = ["", ""]
        if name in found.differences:
            paired_to = found.differences[name]
            interval = escape(f"[{paired_to.low:+.3f}, {paired_to.high:+.3f}]")
            correlation = paired_to.correlation
            shown = f"{correlation:.2f}" if math.isfinite(correlation) else "-"
            cells = [f"{paired_to.mean_difference:+.3f} {interval}", shown]
        own = escape(f"[{mean.low:.2f}, {mean.high:.2f}]")
        out.add_row(name, f"{mean.mean:.2f} {own}", *cells)
    return out


def _settings_table(found: Compared) -> Table:
    """The settings that the runs differ in."""
    out = Table(
        title="settings that differ" if found.settings else "no setting differs",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    out.add_column("setting")
    for name in found.means:
        out.add_column(name, justify="right")
    for key, values in found.settings.items():
        out.add_row(key, *(escape(_short(values[name])) for name in found.means))
    return out


def _short(value: str) -> str:
    """A number to as many digits as a table has room for; other text as it is."""
    try:
        return f"{float(value):.6g}"
    except ValueError:
        return value


def curves(histories: Mapping[str, Sequence[Mapping[str, float]]], names: Sequence[str]) -> Figure:
    """Learning curves `names` over environment steps, a colour for each run of `histories`.

    Pale: every iteration. Dark: the running mean.
    """
    from matplotlib.figure import Figure

    shown = [n for n in names if any(n in row for rows in histories.values() for row in rows)]
    figure = Figure(figsize=(8, 1.0 + 2.0 * max(len(shown), 1)), layout="constrained")
    panels = figure.subplots(max(len(shown), 1), 1, sharex=True, squeeze=False)[:, 0]
    for panel, metric in zip(panels, shown, strict=False):
        for number, (name, rows) in enumerate(histories.items()):
            points = [(row["env_steps"], row[metric]) for row in rows if metric in row]
            if not points:
                continue
            xs, ys = (np.array(values) for values in zip(*points, strict=True))
            window = max(len(ys) // CURVE_WINDOWS, 1)
            running = np.convolve(ys, np.full(window, 1.0 / window), mode="valid")
            panel.plot(xs, ys, linewidth=0.8, color=f"C{number}", alpha=0.3)
            panel.plot(xs[window - 1 :], running, linewidth=1.4, color=f"C{number}", label=name)
        panel.set_ylabel(metric)
        panel.grid(alpha=0.3)
    panels[0].legend()
    panels[-1].set_xlabel("env_steps")
    return figure
