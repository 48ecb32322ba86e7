"""Many policies at once: the superior predictive ability test and the model confidence set.

Both are arch's, on losses by period or by episode of policies that met the same chance:
Hansen, "A test for superior predictive ability" (2005); Hansen, Lunde and Nason, "The model
confidence set" (2011). Blocks by stationary bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from arch.bootstrap import MCS, SPA
from numpy.typing import ArrayLike

from configs.errors import DataError
from trainers.evaluation.intervals import LEAST_PERIODS, block_length
from trainers.evaluation.series import Floats, checked
from trainers.evaluation.significance import columns_of

SAMPLES = 1_000
SIZE = 0.05


@dataclass(frozen=True)
class Superiority:
    """Whether the best of some policies is better than a benchmark.

    Attributes:
        lower, consistent, upper: Hansen's p-values; `consistent` is the test.
        best: the policy of the best mean.
        better: policies whose own lead exceeds the critical value at `SIZE`.
        block: mean length of blocks.
    """

    benchmark: str
    best: str
    lower: float
    consistent: float
    upper: float
    better: tuple[str, ...]
    block: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class ConfidenceSet:
    """The policies that cannot be told from the best at `size`, and every p-value."""

    size: float
    included: tuple[str, ...]
    pvalues: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def superiority(
    gains: Mapping[str, ArrayLike],
    benchmark: str,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    block: int | None = None,
) -> Superiority | None:
    """Test whether any of the others gains more than `benchmark`.

    Args:
        gains: policy -> float [n], higher is better (returns; minus a cost), entry i of all on
            the same chance.
        benchmark: one of them; against zero, give a series of zeros.
        block: mean length of blocks; the best for the differences where None.

    Returns None where no other policy ever differs from the benchmark.

    Raises:
        DataError: too few periods, unequal lengths, or no such policy.
    """
    panel = _panel(gains)
    if benchmark not in panel:
        raise DataError(f"no policy '{benchmark}' among {', '.join(panel)} to test against")
    base = panel.pop(benchmark)
    panel = {name: series for name, series in panel.items() if (series != base).any()}
    if not panel:
        return None
    losses = -columns_of(list(panel.values()))
    length = block if block is not None else block_length(losses + base[:, None])
    test = SPA(
        -base,
        losses,
        block_size=length,
        reps=samples,
        seed=np.random.default_rng(seed),
    )
    test.compute()
    found = test.pvalues
    return Superiority(
        benchmark=benchmark,
        best=max(panel, key=lambda name: float(panel[name].mean())),
        lower=float(found["lower"]),
        consistent=float(found["consistent"]),
        upper=float(found["upper"]),
        better=tuple(list(panel)[int(number)] for number in test.better_models(SIZE)),
        block=length,
    )


def confidence_set(
    gains: Mapping[str, ArrayLike],
    *,
    size: float = SIZE,
    samples: int = SAMPLES,
    seed: int = 0,
    block: int | None = None,
) -> ConfidenceSet:
    """The model confidence set of policies by their gains; see `superiority`.

    Policies that gained the same everywhere stand and fall as one.

    Raises:
        DataError: too few periods, or unequal lengths.
    """
    panel = _panel(gains)
    unique: dict[str, Floats] = {}
    same: dict[str, str] = {}
    for name, series in panel.items():
        twin = next((other for other, its in unique.items() if (its == series).all()), None)
        same[name] = twin or name
        if twin is None:
            unique[name] = series
    if len(unique) == 1:
        return ConfidenceSet(size, tuple(panel), dict.fromkeys(panel, 1.0))
    losses = -columns_of(list(unique.values()))
    length = block if block is not None else block_length(losses - losses.mean(axis=1)[:, None])
    test = MCS(
        losses,
        size=size,
        reps=samples,
        block_size=length,
        seed=np.random.default_rng(seed),
    )
    test.compute()
    by_number = test.pvalues["Pvalue"]
    found = {name: float(by_number[number]) for number, name in enumerate(unique)}
    values = {name: found[same[name]] for name in panel}
    return ConfidenceSet(size, tuple(name for name in panel if values[name] > size), values)


def _panel(gains: Mapping[str, ArrayLike]) -> dict[str, Floats]:
    panel = {name: checked(series, LEAST_PERIODS, f"'{name}'") for name, series in gains.items()}
    if len({len(series) for series in panel.values()}) != 1 or len(panel) < 2:
        shown = ", ".join(f"{name} {len(series)}" for name, series in panel.items())
        raise DataError(
            f"periods of policies: {shown or 'none'}; expected two or more of one length"
        )
    return panel


def chance(probability: float) -> str:
    """A probability for people: never a certainty that was not measured."""
    if not math.isfinite(probability):
        return "-"
    if probability > 0.999:
        return "> 99.9%"
    return "< 0.1%" if probability < 0.001 else f"{probability:.1%}"
