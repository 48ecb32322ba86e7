"""Looking for the future in features, and for training in what a policy is judged on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import DataError
from configs.splits import Split
from configs.strategic import StrategicConfig
from signals.bars.matrices import REGIME_ROWS, STRATEGIC_ROWS, TACTICAL_ROWS
from trainers.evaluation.subject import Subject
from trainers.upstream.dates import dates_of

_SECONDS_PER_MINUTE = 60.0


@dataclass(frozen=True)
class Foresight:
    """A feature that knew what came later: its column, and where it first differs."""

    column: int
    row: int
    cut: int


def foresight(
    compute: Callable[[Any], ArrayLike], series: Any, cuts: Iterable[int], tolerance: float = 0.0
) -> Foresight | None:
    """The first feature whose value at some bar changes when later bars are left out.

    Features of a prefix equal the prefix of the features, whatever is cut off: a scaling by all
    bars, a label of what follows, a filter that smooths all fail it.

    Args:
        compute: series [m] to features [m, columns], of any length m.
        series: what can be cut as `series[:m]`.
        cuts: lengths to cut to.
        tolerance: absolute difference that is no difference.

    Raises:
        DataError: features are not one row for each bar.
    """
    whole = _table(compute(series), len(series))
    for cut in cuts:
        part = _table(compute(series[:cut]), cut)
        same = np.isclose(whole[:cut], part, rtol=0.0, atol=tolerance, equal_nan=True)
        if not same.all():
            row, column = (int(i) for i in np.argwhere(~same)[0])
            return Foresight(column, row, cut)
    return None


def border_note(subject: Subject, split: Split) -> str | None:
    """What to tell of a split whose first decisions read bars that training saw; None if none do.

    Between the two lie what purge and embargo leave out (configs.splits). Fewer bars than agents
    look back over are no label that is known too early, but neighbours move alike.
    """
    seen, mine = subject.manifest.trained_on, dates_of(subject.env, split)
    minutes = getattr(subject.env, "bar_minutes", None)
    if seen is None or mine is None or minutes is None:
        return None
    told = isinstance(subject.env, StrategicConfig)
    window = max(STRATEGIC_ROWS, REGIME_ROWS) if told else TACTICAL_ROWS
    seconds = (mine.begins - seen.ends).total_seconds()
    gap = int(seconds // (minutes * _SECONDS_PER_MINUTE))
    if gap >= window:
        return None
    return (
        f"EMBARGO: the {split} split begins {gap} bars after the last that was trained on, and the "
        f"agents look back over {window}: their first decisions read bars that training saw. "
        "Raise embargo_bars of the splits to that many to keep them apart."
    )


def _table(features: ArrayLike, rows: int) -> NDArray[np.float64]:
    table = np.asarray(features, np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or len(table) != rows:
        raise DataError(
            f"features of shape {table.shape}: expected one row for each of {rows} bars"
        )
    return table
