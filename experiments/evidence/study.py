"""Panels of profit and loss that are known to hold skill or not, and what is said of them.

A panel is what a sweep leaves behind: the daily returns of its candidates, of which the best
is shown. Panels are drawn a block at a time and judged together, column by column, by the
functions that judge a real one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.bench.report import Figure
from trainers.evaluation import significance
from trainers.evaluation.metrics import DAYS_A_YEAR, sharpe

Floats = NDArray[np.float64]

FALSE_AT_MOST = 0.07
FOUND_AT_LEAST = 0.80
PANELS = 1_000
CANDIDATES = 20
YEARS = 5.0
PLANTED = 2.0  # Sharpe ratio, a year
DAILY = 0.01  # deviation of a day's return; no ratio depends on it
_AT_ONCE = 50  # panels: some tens of megabytes
_FREEDOM = 4.0  # of Student's t: the kurtosis of its samples has no bound
_TREND = 0.3  # autocorrelation of days that move in trends
_COMMON = 0.5  # share of the variance that all candidates have in common


@dataclass(frozen=True)
class Size:
    """How many panels, of what size."""

    panels: int = PANELS
    candidates: int = CANDIDATES
    years: float = YEARS
    planted: float = PLANTED
    seed: int = 0

    @property
    def days(self) -> int:
        return round(self.years * DAYS_A_YEAR)


@dataclass(frozen=True)
class World:
    """What returns a panel holds.

    Attributes:
        draw: (generator, shape [days, columns, candidates]) -> deviates of unit variance.
        skilled: the first candidate of each panel has the planted Sharpe ratio.
        says: in words.
    """

    draw: Callable[[np.random.Generator, tuple[int, int, int]], Floats]
    skilled: bool
    says: str

    @property
    def target(self) -> float:
        return FOUND_AT_LEAST if self.skilled else FALSE_AT_MOST


def _normal(generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    return generator.standard_normal(shape)


def _fat(generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    return generator.standard_t(_FREEDOM, shape) * math.sqrt((_FREEDOM - 2.0) / _FREEDOM)


def _alike(generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    common = generator.standard_normal((shape[0], shape[1], 1))
    own = generator.standard_normal(shape)
    return math.sqrt(_COMMON) * common + math.sqrt(1.0 - _COMMON) * own


def _trending(generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    """An AR(1) of unit variance."""
    out = generator.standard_normal(shape)
    fresh = math.sqrt(1.0 - _TREND**2)
    for day in range(1, len(out)):
        out[day] = _TREND * out[day - 1] + fresh * out[day]
    return out


WORLDS: Mapping[str, World] = MappingProxyType(
    {
        "noise": World(_normal, False, "independent normal days, no skill"),
        "noise_fat": World(_fat, False, "days of Student's t with 4 degrees, no skill"),
        "noise_alike": World(_alike, False, "candidates that share half of their variance"),
        "noise_trending": World(_trending, False, "days of autocorrelation .3, no skill"),
        "planted": World(_normal, True, "one candidate of Sharpe ratio 2, normal days"),
        "planted_fat": World(_fat, True, "one candidate of Sharpe ratio 2, Student's t"),
    }
)


@dataclass(frozen=True)
class Counted:
    """What was said of the panels of one world.

    Attributes:
        world: its name.
        evidence: rule -> share of panels where it finds evidence; "verdict" is the framework's.
        right: share of panels where the best in sample is the skilled one; nan without one.
        best: mean Sharpe ratio a year of the best in sample.
    """

    world: str
    size: Size
    evidence: dict[str, float]
    right: float
    best: float

    @property
    def standard_error(self) -> float:
        """Of the verdict's share, by the binomial."""
        share = self.evidence[VERDICT]
        return math.sqrt(share * (1.0 - share) / self.size.panels)

    @property
    def figure(self) -> Figure:
        """The verdict's share against what is asked of it."""
        world = WORLDS[self.world]
        return Figure(
            f"evidence_{self.world}",
            self.evidence[VERDICT],
            "share of panels",
            target=world.target,
            at_most=not world.skilled,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "world": self.world,
            "says": WORLDS[self.world].says,
            **vars(self.size),
            "evidence": self.evidence,
            "standard_error": self.standard_error,
            "right": None if math.isnan(self.right) else self.right,
            "best_sharpe": self.best,
            **{key: self.figure.row()[key] for key in ("target", "met")},
        }


VERDICT = "verdict"
_NAIVE, _DEFLATED, _DEFLATED_ALL, _IID = "best alone", "DSR", "DSR, own in V", "no trends"


def counted(name: str, size: Size) -> Counted:
    """Draw the panels of a world and judge each.

    Besides the verdict, what other rules would have said, each at the same confidence:
    the best as if it alone had been tried (PSR), the DSR with the dispersion of the other
    trials and of all, and the verdict without counting trends.

    Raises:
        KeyError: no such world.
    """
    world = WORLDS[name]
    told: list[dict[str, Floats]] = []
    for start in range(0, size.panels, _AT_ONCE):
        some = min(_AT_ONCE, size.panels - start)
        # A block's panels depend on the seed and on its place alone.
        generator = np.random.default_rng([size.seed, list(WORLDS).index(name), start])
        panel = DAILY * world.draw(generator, (size.days, some, size.candidates))
        if world.skilled:
            panel[:, :, 0] += DAILY * size.planted / math.sqrt(DAYS_A_YEAR)
        told.append(_judged(panel))
    joined = {key: np.concatenate([block[key] for block in told]) for key in told[0]}
    chosen, best = joined.pop("chosen"), joined.pop("best")
    return Counted(
        name,
        size,
        {rule: float((value >= significance.CONFIDENCE).mean()) for rule, value in joined.items()},
        float((chosen == 0).mean()) if world.skilled else math.nan,
        float(best.mean()),
    )


def _judged(panels: Floats) -> dict[str, Floats]:
    """Of panels [days, panels, candidates]: rule -> probability [panels]; who was chosen.

    The same numbers as `significance.verdict` gives of each (by test), for all at once.
    """
    count, tried = panels.shape[1:]
    ratios = sharpe(panels, 1.0)
    chosen = ratios.argmax(axis=1)
    rows = np.arange(count)
    own = panels[:, rows, chosen]
    moments = significance.moments(own)
    iid = significance.moments(own, dependent=False)
    alone = significance.psr_of(moments)
    others = np.where(np.arange(tried) == chosen[:, None], np.nan, ratios)
    apart = significance.expected_best(tried, np.nanstd(others, axis=1, ddof=1))
    together = significance.expected_best(tried, ratios.std(axis=1, ddof=1))
    return {
        VERDICT: significance.corrected(alone, tried),
        _DEFLATED: significance.psr_of(moments, apart),
        _DEFLATED_ALL: significance.psr_of(moments, together),
        _IID: significance.corrected(significance.psr_of(iid), tried),
        _NAIVE: alone,
        "chosen": chosen.astype(np.float64),
        "best": ratios[rows, chosen] * math.sqrt(DAYS_A_YEAR),
    }
