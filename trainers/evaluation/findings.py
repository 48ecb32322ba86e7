"""What a backtest comes to: the verdict first, then measures, groups and tests, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from trainers.evaluation import metrics, significance
from trainers.evaluation.bars import Bars, by_day, days_a_year, years_of
from trainers.evaluation.contest import (
    ConfidenceSet,
    Superiority,
    chance,
    confidence_set,
    superiority,
)
from trainers.evaluation.intervals import LEAST_PERIODS, Interval, intervals
from trainers.evaluation.orders import Orders
from trainers.evaluation.significance import Overfitting, Verdict
from trainers.evaluation.subject import POLICY

Floats = NDArray[np.float64]

SAMPLES = 1_000
LEAST_DAYS = 30  # fewer are judged bar by bar
_BP = 1e4
_LEAST_BLOCKS = 4  # of CSCV
_ORDER_METRICS = (
    ("shortfall_bp", "bp"),
    ("slippage_bp", "bp"),
    ("fees_bp", "bp"),
    ("filled_before_cross", "share"),
    ("quality", "score"),
    ("stopped", "share"),
)


@dataclass(frozen=True)
class Group:
    """A policy and its best baseline where something held: a regime, a year, a size.

    Attributes:
        by, label: what is grouped, and the group.
        count: bars or orders.
        policy, baseline: mean gain, bp (a bar's return, or minus an order's shortfall).
        low, high: interval of the difference; nan where there is too little.
    """

    by: str
    label: str
    count: int
    policy: float
    baseline: float
    low: float
    high: float


@dataclass(frozen=True)
class Findings:
    """All that was measured; what a report tells.

    Attributes:
        layer: its name.
        unit: what one period is: "day", of a short backtest "bar"; of parent orders "path", or
            "day" where they are worked inside given bars.
        gains: policy -> float64 [periods], net of costs: returns of days, or minus the mean
            shortfall (bp) of a path's orders.
        best: the baseline of the best mean gain.
        better: the verdict on the policy's lead over it.
        alone: the verdict on the policy's own returns; None of orders, which have no such.
        measures: policy -> measure -> value with interval.
        others: policy -> what has no interval: turnover, exposure, costs ...
        groups: by regime, year and size.
        spa: whether any policy is better than the best baseline.
        mcs: those that cannot be told from the best.
        pbo: of choosing among these policies by Sharpe ratio; None where there is too little.
        periods_a_year: nan of orders.
        confidence: asked of probabilities.
        notes: what a reader must know besides.
    """

    layer: str
    unit: str
    gains: dict[str, Floats] = field(repr=False)
    best: str
    better: Verdict
    alone: Verdict | None
    measures: dict[str, dict[str, Interval]]
    others: dict[str, dict[str, float]]
    groups: tuple[Group, ...]
    spa: Superiority | None
    mcs: ConfidenceSet
    pbo: Overfitting | None
    periods_a_year: float
    confidence: float
    notes: tuple[str, ...] = ()

    @property
    def lead(self) -> Floats:
        """The policy's gain over the best baseline's, period by period."""
        return self.gains[POLICY] - self.gains[self.best]

    @property
    def verdict(self) -> str:
        """The first line: better than the best baseline, and with what probability."""
        told = self.better
        said = "EVIDENCE" if told.is_evidence else "NO EVIDENCE"
        tries = "1 trial" if told.trials == 1 else f"{told.trials:g} trials"
        return (
            f"{said} that the {self.layer} policy is better than the best baseline, '{self.best}', "
            f"net of costs: probability {chance(told.probability)} after {tries} "
            f"({told.confidence:.0%} asked), over {told.periods} {self.unit}s that training never "
            "saw."
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data; what is not finite is None."""
        plain: dict[str, Any] = {
            "verdict": self.verdict,
            "layer": self.layer,
            "unit": self.unit,
            "best_baseline": self.best,
            "better": self.better.as_dict(),
            "alone": None if self.alone is None else self.alone.as_dict(),
            "mean_gain": {name: float(gain.mean()) for name, gain in self.gains.items()},
            "measures": {
                name: {key: asdict(value) for key, value in found.items()}
                for name, found in self.measures.items()
            },
            "others": self.others,
            "groups": [asdict(group) for group in self.groups],
            "spa": None if self.spa is None else self.spa.as_dict(),
            "mcs": self.mcs.as_dict(),
            "pbo": None if self.pbo is None else {"pbo": self.pbo.pbo, "splits": self.pbo.splits},
            "periods_a_year": self.periods_a_year,
            "notes": list(self.notes),
        }
        finite: dict[str, Any] = _finite(plain)
        return finite


def of_bars(
    bars: Bars, layer: str, *, trials: float, confidence: float, seed: int, notes: tuple[str, ...]
) -> Findings:
    """What a backtest bar by bar comes to; its periods are days, of a short one bars.

    Raises:
        DataError: fewer bars than intervals take.
    """
    tracks = bars.tracks
    others = {
        name: {
            "turnover, limits a bar": float(metrics.turnover(track.traded)),
            "exposure, share of the limit": float(metrics.exposure(track.positions)),
            "costs, bp of the account": float(metrics.total_costs(track.costs)) * _BP,
            "fees among them, bp": float(metrics.total_costs(track.fees)) * _BP,
        }
        for name, track in tracks.items()
    }
    judged = Judged(trials, confidence, seed, notes)
    returns = {name: track.returns for name, track in tracks.items()}
    return of_returns(bars.day, returns, layer, judged, bars.regimes, others)


@dataclass(frozen=True)
class Judged:
    """By what a backtest is judged: trials, confidence asked, seed of bootstraps; and notes."""

    trials: float
    confidence: float
    seed: int
    notes: tuple[str, ...]


def of_returns(
    day: NDArray[np.int64],
    returns: Mapping[str, Floats],
    layer: str,
    judged: Judged,
    groupings: Mapping[str, NDArray[np.str_]] | None = None,
    others: dict[str, dict[str, float]] | None = None,
) -> Findings:
    """What returns of bars come to; see `of_bars`.

    Args:
        day: int64 [n], since 1970 UTC, rising.
        returns: policy -> float64 [n], of the account, fraction, net of costs.
        groupings: by what they are told apart besides the year -> label of each bar.
        others: policy -> what has no interval.

    Raises:
        DataError: fewer bars than intervals take.
    """
    days = np.unique(day)
    daily = len(days) >= LEAST_DAYS
    gains = {name: by_day(day, bar) if daily else bar for name, bar in returns.items()}
    year = days_a_year(days) * (1.0 if daily else len(day) / len(days))
    _check_enough(gains, "day" if daily else "bar")
    best = _best(gains)
    by_bar = {name: bar * _BP for name, bar in returns.items()}
    groups = {"year": years_of(day), **(groupings or {})}
    trials, confidence, seed = judged.trials, judged.confidence, judged.seed
    return Findings(
        layer=layer,
        unit="day" if daily else "bar",
        gains=gains,
        best=best,
        better=_lead(gains, best, trials, confidence),
        alone=significance.verdict(
            gains[POLICY][:, None], trials, periods=year, confidence=confidence
        ),
        measures={
            name: intervals(gain, year, confidence=confidence, samples=SAMPLES, seed=seed)
            for name, gain in gains.items()
        },
        others=others or {},
        groups=_groups(groups, by_bar, best, day, confidence, seed),
        spa=superiority(gains, best, samples=SAMPLES, seed=seed),
        mcs=confidence_set(gains, samples=SAMPLES, seed=seed),
        pbo=_overfitting(gains),
        periods_a_year=year,
        confidence=confidence,
        notes=judged.notes,
    )


def of_orders(
    orders: Orders,
    layer: str,
    *,
    trials: float,
    confidence: float,
    seed: int,
    notes: tuple[str, ...],
    unit: str = "path",
) -> Findings:
    """What a backtest of parent orders comes to; its periods are paths, or days of bars.

    Raises:
        DataError: fewer paths than intervals take.
    """
    report = orders.report
    gains = {name: -orders.by_path(name) for name in report.samples}
    _check_enough(gains, unit, f" by {report.parents:,} parent orders")
    best = _best(gains)
    years = {"year": years_of(orders.day)} if unit == "day" else {}
    groupings = {**years, **orders.regimes}
    by_order = {name: -samples["shortfall_bp"] for name, samples in report.samples.items()}
    measures = {
        name: {
            f"{metric}, {unit}": _mean_interval(orders.by_path(name, metric), confidence, seed)
            for metric, unit in _ORDER_METRICS
        }
        for name in report.samples
    }
    others = {
        name: {
            "win rate against the best baseline": float(metrics.hit_rate(gain - gains[best])),
            "payoff ratio of these": float(metrics.payoff_ratio(gain - gains[best])),
            "deviation of shortfall, bp": float(report.samples[name]["shortfall_bp"].std(ddof=1)),
            "worst 5% of shortfall, bp": _tail(report.samples[name]["shortfall_bp"]),
        }
        for name, gain in gains.items()
    }
    return Findings(
        layer=layer,
        unit=unit,
        gains=gains,
        best=best,
        better=_lead(gains, best, trials, confidence),
        alone=None,
        measures=measures,
        others=others,
        groups=_groups(groupings, by_order, best, orders.cluster, confidence, seed),
        spa=superiority(gains, best, samples=SAMPLES, seed=seed),
        mcs=confidence_set(gains, samples=SAMPLES, seed=seed),
        pbo=_overfitting(gains),
        periods_a_year=math.nan,
        confidence=confidence,
        notes=notes,
    )


def _check_enough(gains: Mapping[str, Floats], unit: str, by: str = "") -> None:
    """Refuse fewer periods than intervals can be drawn of."""
    count = len(gains[POLICY])
    if count < LEAST_PERIODS:
        raise DataError(
            f"{count} {unit}s were played{by}: expected {LEAST_PERIODS} {unit}s or more, "
            "which intervals are drawn of; give more --episodes, or a market whose split holds more"
        )


def _best(gains: Mapping[str, Floats]) -> str:
    return max((name for name in gains if name != POLICY), key=lambda name: gains[name].mean())


def _lead(gains: Mapping[str, Floats], best: str, trials: float, confidence: float) -> Verdict:
    lead = gains[POLICY] - gains[best]
    return significance.verdict(lead[:, None], trials, periods=1.0, confidence=confidence)


def _mean_interval(values: Floats, confidence: float, seed: int) -> Interval:
    """The mean with the interval of a bootstrap over independent periods."""
    generator = np.random.default_rng(seed)
    drawn = values[generator.integers(0, values.size, (SAMPLES, values.size))].mean(axis=1)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def _tail(values: Floats) -> float:
    """The mean of the worst 5%: expected shortfall, in the risk desk's sense."""
    worst = np.sort(values)[-max(1, round(values.size / 20)) :]
    return float(worst.mean())


def _groups(
    groupings: Mapping[str, NDArray[np.str_]],
    gains: Mapping[str, Floats],
    best: str,
    unit: NDArray[np.int64],
    confidence: float,
    seed: int,
) -> tuple[Group, ...]:
    """Means by group, intervals over the units (days, paths) that fall into it."""
    out = []
    for by, labels in groupings.items():
        for label in dict.fromkeys(labels[np.argsort(unit, kind="stable")].tolist()):
            some = labels == label
            lead = (gains[POLICY] - gains[best])[some]
            _, inverse = np.unique(unit[some], return_inverse=True)
            means = np.bincount(inverse, lead) / np.bincount(inverse)
            known = means.size >= LEAST_PERIODS
            found = _mean_interval(means, confidence, seed) if known else None
            out.append(
                Group(
                    by=by,
                    label=str(label),
                    count=int(some.sum()),
                    policy=float(gains[POLICY][some].mean()),
                    baseline=float(gains[best][some].mean()),
                    low=math.nan if found is None else found.low,
                    high=math.nan if found is None else found.high,
                )
            )
    return tuple(out)


def _overfitting(gains: Mapping[str, Floats]) -> Overfitting | None:
    """PBO with as many blocks as there is time for; None of too little."""
    panel = significance.columns_of(list(gains.values()))
    blocks = min(significance.BLOCKS, len(panel) // LEAST_PERIODS // 2 * 2)
    return significance.overfitting(panel, blocks) if blocks >= _LEAST_BLOCKS else None


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
