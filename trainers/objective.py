"""What policies of a layer are compared by: one metric of an episode, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainers.statistics import PairedResult


@dataclass(frozen=True)
class Figure:
    """One more figure of each policy in the table: the mean of an episode's metric."""

    header: str
    metric: str
    form: str


@dataclass(frozen=True)
class Objective:
    """The metric that decides which policy is better.

    Attributes:
        metric: its name among an environment's `metric_names`.
        name: what it is called in reports for machines.
        header: what it is called in tables and plots.
        unit: of it.
        lower_is_better: as of a cost.
        better: what a better policy is, in one word.
        episodes: what is played.
        scale: what widths of intervals are measured in: the reference policy's mean, or the
            standard deviation of its episodes where means lie near zero.
        figures: further columns of the table.
        caption: what the columns mean.
        widen: how the comparison is made sharper where it ended too early.
    """

    metric: str
    name: str
    header: str
    unit: str
    lower_is_better: bool
    better: str
    episodes: str
    scale: Literal["mean", "deviation"]
    figures: tuple[Figure, ...]
    caption: str
    widen: str

    def best(self, names: Iterable[str], mean: Callable[[str], float]) -> str:
        """The name whose mean is best; the first of equals."""
        sign = 1.0 if self.lower_is_better else -1.0
        return min(names, key=lambda name: sign * mean(name))

    def gained(self, result: PairedResult) -> bool:
        """Whether a is better than b and the interval excludes zero."""
        return result.below_zero if self.lower_is_better else result.above_zero

    def lost(self, result: PairedResult) -> bool:
        """Whether a is worse than b and the interval excludes zero."""
        return result.above_zero if self.lower_is_better else result.below_zero

    def width_unit(self, values: NDArray[np.float64]) -> float:
        """What widths are measured in, of a reference's episodes [n]."""
        return float(values.std() if self.scale == "deviation" else abs(values.mean()))


SHORTFALL = Objective(
    metric="shortfall_bp",
    name="cost",
    header="shortfall",
    unit="bp",
    lower_is_better=True,
    better="cheaper",
    episodes="parent orders",
    scale="mean",
    figures=(
        Figure("slippage", "slippage_bp", ".2f"),
        Figure("fees", "fees_bp", ".2f"),
        Figure("filled*", "filled_before_cross", ".1%"),
        Figure("score", "quality", ".2f"),
    ),
    caption="fees: part of the shortfall; * before the forced crossing; score: of quality",
    widen="raise evaluation.max_parents to narrow them",
)

RETURN = Objective(
    metric="return_bp",
    name="return",
    header="return",
    unit="bp",
    lower_is_better=False,
    better="better",
    episodes="episodes",
    scale="deviation",
    figures=(
        Figure("costs", "costs_bp", ".2f"),
        Figure("turnover", "turnover", ".3f"),
        Figure("exposure", "exposure", ".0%"),
        Figure("drawdown", "worst_drawdown_bp", ".0f"),
    ),
    caption=(
        "return: of the starting equity, net of costs; costs: spread, impact and fees, part of "
        "it; turnover: limits traded a bar; exposure: mean position over the limit; drawdown: "
        "worst of an episode, bp"
    ),
    widen="raise evaluation.max_parents, or give more bars, to narrow them",
)
