"""The results of a task's seeds together: a table, a file and a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.table import Table

from configs.errors import DataError
from experiments.mpe.settings import TARGETS
from experiments.mpe.study import SeedResult
from experiments.studies import part_file
from trainers.report import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_FILE = "curves.png"
CURVE_WINDOWS = 40  # a curve's running mean spans one of this many parts of it
_MILLION = 1e6


@dataclass(frozen=True)
class TaskResult:
    """All trainings of one task."""

    task: str
    seeds: tuple[SeedResult, ...]

    @property
    def greedy(self) -> float:
        """The mean over seeds of the greedy return per agent."""
        return fmean(result.greedy for result in self.seeds)

    @property
    def greedy_spread(self) -> float | None:
        """Its standard deviation over seeds (n - 1); None of a single one."""
        values = [result.greedy for result in self.seeds]
        return stdev(values) if len(values) > 1 else None

    @property
    def random(self) -> float:
        """The mean return per agent of random actions, on the same episodes."""
        return fmean(result.random for result in self.seeds)

    @property
    def pace(self) -> float | None:
        """The mean over seeds of training's pace over the raw environment's."""
        ratios = [result.pace.ratio for result in self.seeds]
        known = [ratio for ratio in ratios if ratio is not None]
        return fmean(known) if known else None

    @property
    def part(self) -> str:
        """See `experiments.studies.Report`."""
        return self.task

    def judged(self) -> dict[str, bool]:
        """Whether each thing that the task must show is shown; empty where it has no target."""
        target = TARGETS.get(self.task)
        if target is None:
            return {}
        return {
            f"greedy >= {target.greedy:g}": self.greedy >= target.greedy,
            f"pace >= {target.pace:g} of raw": self.pace is not None and self.pace >= target.pace,
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        return {
            "task": self.task,
            "greedy": self.greedy,
            "greedy_spread": self.greedy_spread,
            "random": self.random,
            "pace": self.pace,
            "judged": self.judged(),
            "seeds": [result.as_dict() for result in self.seeds],
        }


def read(folder: Path, task: str) -> TaskResult | None:
    """What `studies.write_parts` wrote; None where there is nothing.

    Raises:
        DataError: the file cannot be read.
    """
    path = part_file(folder, task)
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return TaskResult(task, tuple(SeedResult.from_dict(seed) for seed in data["seeds"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}): remove it and run the "
            "study again; finished seeds are not trained anew"
        ) from error


def table(results: Sequence[TaskResult]) -> Table:
    """Every seed, then each task's mean over seeds."""
    out = Table(
        title="MAPPO on MPE: return per agent, whole episodes; frames a CPU second",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    out.add_column("task", no_wrap=True)
    for name in ("seed", "greedy", "random", "frames", "train", "raw", "ratio"):
        out.add_column(name, justify="right", no_wrap=True)
    for found in results:
        for seed in found.seeds:
            interval = seed.played["trained"]["half_width"]
            out.add_row(
                found.task,
                str(seed.seed),
                f"{seed.greedy:.2f} ± {interval:.2f}",
                f"{seed.random:.2f}",
                f"{seed.frames / _MILLION:.2f}M",
                _whole(seed.pace.training),
                _whole(seed.pace.raw),
                _share(seed.pace.ratio),
            )
        out.add_row(*_mean_row(found), end_section=True)
    out.caption = (
        "± of a seed: half its 95% interval over episodes; of the mean: standard deviation over "
        "seeds"
    )
    out.caption_justify = "left"
    return out


def _mean_row(found: TaskResult) -> list[str]:
    spread = "" if found.greedy_spread is None else f" ± {found.greedy_spread:.2f}"
    return [
        "",
        "mean",
        f"{found.greedy:.2f}{spread}",
        f"{found.random:.2f}",
        "",
        "",
        "",
        _share(found.pace),
    ]


def verdicts(results: Sequence[TaskResult]) -> list[str]:
    """A line for each thing that must be shown."""
    return [
        f"{found.task}: {what}, over {len(found.seeds)} seeds: {'yes' if met else 'no'}"
        for found in results
        for what, met in found.judged().items()
    ]


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def plot(results: Mapping[str, TaskResult], path: Path) -> Path:
    """Training's return per agent over frames: a panel a task, a line a seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.0 * len(results), 3.4), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    for panel, found in zip(panels, results.values(), strict=True):
        _draw(panel, found)
    panels[0].set_ylabel("return per agent")
    return save_figure(figure, path)


def _draw(panel: Axes, found: TaskResult) -> None:
    for number, seed in enumerate(found.seeds):
        frames, means = np.array(seed.curve).T
        window = max(len(means) // CURVE_WINDOWS, 1)
        running = np.convolve(means, np.full(window, 1.0 / window), mode="valid")
        colour = f"C{number}"
        panel.plot(frames / _MILLION, means, color=colour, alpha=0.25, linewidth=0.7)
        panel.plot(
            frames[window - 1 :] / _MILLION, running, color=colour, label=f"seed {seed.seed}"
        )
        greedy = "greedy, at the end" if number == 0 else None
        panel.plot(frames[-1:] / _MILLION, [seed.greedy], "o", color=colour, label=greedy)
    panel.axhline(found.random, color="black", linestyle=":", linewidth=1.0, label="random")
    target = TARGETS.get(found.task)
    if target is not None:
        panel.axhline(target.greedy, color="grey", linestyle="--", linewidth=1.0, label="wanted")
    panel.set_title(found.task)
    panel.set_xlabel("frames, millions")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7, loc="lower right")
