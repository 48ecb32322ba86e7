"""All folds together: what the layer earned out of sample, by fold and in total."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from configs.evaluation import EvaluationConfig
from trainers.evaluation.commands import measures_table
from trainers.evaluation.findings import Findings
from trainers.objective import Objective
from trainers.report import TEXT_WIDTH, replace
from trainers.statistics import MeanResult, PairedResult, mean_interval, paired
from trainers.walk_forward.backtest import in_words
from trainers.walk_forward.folds import POLICY, FoldResult

RESULT_FILE = "walk-forward.json"
TEXT_FILE = "walk-forward.txt"


@dataclass(frozen=True)
class Line:
    """One fold, or all of them: the policy, the rival, and the difference on the same episodes."""

    name: str
    trained_on: str
    policy: MeanResult
    rival: MeanResult
    difference: PairedResult


@dataclass(frozen=True)
class WalkForwardResult:
    """What the walk came to.

    Attributes:
        rival: the baseline of the best mean over all folds; one for all of them.
        lines: of the folds in order.
        total: over the episodes of all folds; days are resampled whole (`cluster_days`), also
            where several folds play them.
        ahead: folds in which the policy did better than the rival.
        commits: by which the folds were judged, each once; kept ones may be older.
        traded: what every out-of-sample bar once comes to; None of a layer that trades no bars,
            and of too few bars.
    """

    layer: str
    objective: Objective
    rival: str
    lines: tuple[Line, ...]
    total: Line
    ahead: int
    confidence: float
    commits: tuple[str, ...]
    traded: Findings | None = None

    @property
    def verdict(self) -> str:
        """What was found, in one sentence."""
        told, unit = self.total.difference, self.objective.unit
        if self.objective.gained(told):
            outcome = "did better out of sample than"
        elif self.objective.lost(told):
            outcome = "did worse out of sample than"
        else:
            outcome = "cannot be told apart out of sample from"
        return (
            f"The {self.layer} layer, retrained {len(self.lines)} times, {outcome} the best "
            f"baseline, '{self.rival}': {told.mean_difference:+.3f} {unit} an episode, "
            f"{self.confidence:.0%} interval [{told.low:+.3f}, {told.high:+.3f}], net of costs; "
            f"ahead in {self.ahead} of {len(self.lines)} folds."
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it (a missing number is None)."""
        return {
            "layer": self.layer,
            "objective": self.objective.metric,
            "unit": self.objective.unit,
            "verdict": self.verdict,
            "rival": self.rival,
            "ahead": self.ahead,
            "confidence": self.confidence,
            "commits": list(self.commits),
            "folds": [_plain(asdict(line)) for line in self.lines],
            "total": _plain(asdict(self.total)),
            "traded": None if self.traded is None else self.traded.as_dict(),
        }


def aggregated(
    layer: str, folds: Sequence[FoldResult], objective: Objective, told: EvaluationConfig
) -> WalkForwardResult:
    """The folds together, each episode counting once.

    Raises:
        DataError: a fold's episodes all share one cluster, so that there is no interval.
    """
    names = [name for name in folds[0].objectives if name != POLICY]
    every = {name: _joined(folds, name) for name in (POLICY, *names)}
    rival = objective.best(names, lambda name: float(every[name].mean()))
    lines = tuple(
        _line(f"fold {f.fold}", f.trained_on, _of(f, POLICY), _of(f, rival), f.clusters, told)
        for f in folds
    )
    clusters = [label for fold in folds for label in fold.clusters]
    total = _line("all folds", "", every[POLICY], every[rival], clusters, told)
    sign = -1.0 if objective.lower_is_better else 1.0
    ahead = sum(sign * line.difference.mean_difference > 0 for line in lines)
    commits = tuple(dict.fromkeys(fold.commit for fold in folds))
    return WalkForwardResult(layer, objective, rival, lines, total, ahead, told.confidence, commits)


def _line(
    name: str,
    trained_on: str,
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    clusters: Sequence[int],
    told: EvaluationConfig,
) -> Line:
    drawn: dict[str, Any] = dict(
        clusters=np.asarray(clusters),
        confidence=told.confidence,
        samples=told.bootstrap_samples,
        seed=told.seed,
    )
    return Line(
        name,
        trained_on,
        mean_interval(ours, **drawn),
        mean_interval(theirs, **drawn),
        paired(ours, theirs, **drawn),
    )


def _of(fold: FoldResult, policy: str) -> NDArray[np.float64]:
    return np.asarray(fold.objectives[policy], dtype=np.float64)


def _joined(folds: Sequence[FoldResult], policy: str) -> NDArray[np.float64]:
    return np.concatenate([_of(fold, policy) for fold in folds])


def write(found: WalkForwardResult, folder: Path) -> Path:
    """Write the result under `folder`, as JSON and as it is printed, each atomically."""
    text = json.dumps(found.as_dict(), indent=2, allow_nan=False) + "\n"
    replace(folder / RESULT_FILE, text.encode())
    console = Console(file=io.StringIO(), width=TEXT_WIDTH)
    say(found, console)
    told: io.StringIO = console.file  # type: ignore[assignment]
    replace(folder / TEXT_FILE, told.getvalue().encode())
    return folder / RESULT_FILE


def say(found: WalkForwardResult, console: Console) -> None:
    """The result, for people."""
    console.print(table(found))
    if found.traded is not None:
        console.print(measures_table(found.traded))
        console.print(in_words(found.traded), highlight=False, markup=False, soft_wrap=True)
    console.print(found.verdict, highlight=False, markup=False, soft_wrap=True)


def table(found: WalkForwardResult) -> Table:
    """Folds and total, one row each."""
    told = found.objective
    out = Table(
        title=f"{told.header} out of sample, {told.unit} an episode, net of costs, "
        f"{found.confidence:.0%} intervals",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    out.add_column("", no_wrap=True)
    for header in ("n", "policy", found.rival, "difference"):
        out.add_column(header, justify="right")
    for line in (*found.lines, found.total):
        out.add_row(
            line.name,
            str(line.policy.n),
            _interval(line.policy.mean, line.policy.low, line.policy.high, ".2f"),
            f"{line.rival.mean:.2f}",
            _interval(
                line.difference.mean_difference, line.difference.low, line.difference.high, "+.2f"
            ),
        )
    return out


def _interval(mean: float, low: float, high: float, form: str) -> str:
    return f"{mean:{form}} " + escape(f"[{low:{form}}, {high:{form}}]")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
