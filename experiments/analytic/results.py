"""The results of a task's seeds together: a table, a verdict and a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from rich import box
from rich.table import Table

from experiments.analytic.playing import Share
from experiments.analytic.settings import TARGETS, Target
from experiments.analytic.study import SeedResult


@dataclass(frozen=True)
class TaskResult:
    """All trainings of one task."""

    task: str
    seeds: tuple[SeedResult, ...]

    @property
    def part(self) -> str:
        """See `experiments.studies.Report`."""
        return self.task

    @property
    def target(self) -> Target:
        return TARGETS[self.task]

    @property
    def mean(self) -> float:
        """The figure's mean over seeds."""
        return fmean(result.figure.value for result in self.seeds)

    @property
    def spread(self) -> float | None:
        """Its standard deviation over seeds (n - 1); None of a single one."""
        values = [result.figure.value for result in self.seeds]
        return stdev(values) if len(values) > 1 else None

    @property
    def met(self) -> bool:
        return self.target.met(self.mean)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        return {
            "task": self.task,
            "what": self.target.what,
            "wanted": self.target.wanted,
            "mean": self.mean,
            "spread": self.spread,
            "met": self.met,
            "seeds": [asdict(result) for result in self.seeds],
        }


def table(results: Sequence[TaskResult]) -> Table:
    """Every seed, then each task's mean over seeds."""
    out = Table(
        title="MAPPO on markets whose best policy is known",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    out.add_column("task", no_wrap=True)
    columns = ("seed", "figure", "interval", "utility", "optimum", "solved", "frames", "min")
    for name in columns:
        out.add_column(name, justify="right", no_wrap=True)
    for found in results:
        for seed in found.seeds:
            out.add_row(*_seed_row(found, seed))
        spread = "" if found.spread is None else f" ± {found.spread:.4f}"
        out.add_row("", "mean", f"{found.mean:.4f}{spread}", end_section=True)
    out.caption = (
        "interval: over episodes; ±: standard deviation over seeds; utility and optimum: bp an "
        "episode on the same episodes; solved: the optimum by backward induction"
    )
    out.caption_justify = "left"
    return out


def _seed_row(found: TaskResult, seed: SeedResult) -> list[str]:
    return [
        found.task,
        str(seed.seed),
        f"{seed.figure.value:.4f}",
        f"[{seed.figure.low:.4f}, {seed.figure.high:.4f}]",
        f"{seed.utility:.2f}",
        f"{seed.optimum:.2f}",
        f"{seed.expected:.2f}",
        f"{seed.frames:,}",
        f"{seed.minutes:.1f}",
    ]


def verdicts(results: Sequence[TaskResult]) -> list[str]:
    """A line for each thing that must be shown."""
    lines = []
    for found in results:
        target = found.target
        sign = ">=" if target.at_least else "<="
        rules = ", ".join(f"{name} {value:.3f}" for name, value in found.seeds[0].rules.items())
        lines.append(
            f"{found.task}: {target.what} {found.mean:.4f}, wanted {sign} {target.wanted:g}, over "
            f"{len(found.seeds)} seeds: {'yes' if found.met else 'no'} ({rules})"
        )
        if target.figure == "turnover":
            lines += _not_losing(found)
    return lines


def _not_losing(found: TaskResult) -> list[str]:
    """Whether a flat account, which returns 0, is beaten by no more than chance."""
    returns = [Share(**s.details["return_bp"]) for s in found.seeds if "return_bp" in s.details]
    if not returns:
        return []
    told = ", ".join(f"{r.value:+.2f} [{r.low:+.2f}, {r.high:+.2f}]" for r in returns)
    kept = sum(r.high >= 0.0 for r in returns)
    return [
        f"{found.task}: bp an episode after costs {told}; 0, a flat account's, is within the "
        f"interval or below it in {kept} of {len(returns)} seeds"
    ]
