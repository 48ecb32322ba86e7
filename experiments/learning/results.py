"""Trainings against the best baseline: over seeds and over what chance drew, both at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from experiments.learning.settings import EVIDENCE
from experiments.learning.study import Baselines, Played, SeedResult
from trainers.evaluation.significance import Verdict, verdict
from trainers.layers import LAYERS

CONFIDENCE = 0.95
SAMPLES = 4_000  # of the bootstrap
_SEED = 0
_AGGRESSIVE = "twap"
_FILLED, _SLIPPAGE = "filled_before_cross", "slippage_bp"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """The policy's objective less a baseline's, a mean over seeds and episodes.

    Attributes:
        low, high: by resampling seeds and clusters of episodes, each with replacement, together
            (the crossed bootstrap: Owen, "The pigeonhole bootstrap", 2007); None of one seed.
        probability: of the resamples, in how many the policy is better.
        seeds_better: of the seeds, in how many it is.
    """

    baseline: str
    mean: float
    low: float | None
    high: float | None
    probability: float | None
    seeds_better: int


@dataclass(frozen=True)
class LayerResult:
    """All trainings of one part, and the baselines on the same episodes.

    Attributes:
        wanted: of `figures`, by name, what is asked of them.
    """

    part: str
    layer: str
    trainings: tuple[SeedResult, ...]
    baselines: Baselines
    wanted: Mapping[str, str] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """What is compared."""
        return LAYERS[self.layer].objective.metric

    @property
    def best(self) -> str:
        """The baseline whose mean is best on these episodes: chosen in its favour."""
        sign = 1.0 if LAYERS[self.layer].objective.lower_is_better else -1.0
        played = self.baselines.played
        return min(played, key=lambda name: sign * mean(played[name], self.metric))

    @property
    def differences(self) -> tuple[Difference, ...]:
        """To every baseline, the best first."""
        names = [self.best, *(name for name in self.baselines.played if name != self.best)]
        return tuple(self._difference(name) for name in names)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Of each training alone: what `grandmodel evaluate` would say of its lead on the best.

        The periods are the clusters of episodes that share chance.
        """
        clusters = np.array(self.baselines.played[self.best].clusters)
        _, labels = np.unique(clusters, return_inverse=True)
        sizes = np.bincount(labels)
        gains = self._gains(self.best)
        leads = (np.bincount(labels, gain) / sizes for gain in gains)
        return tuple(verdict(lead[:, None], 1.0, periods=1.0) for lead in leads)

    def _apart(self, baseline: str) -> Floats:
        """The policies' objective less a baseline's, [seeds, episodes]."""
        other = np.array(self.baselines.played[baseline].metrics[self.metric])
        return np.array([found.played.metrics[self.metric] for found in self.trainings]) - other

    def _gains(self, baseline: str) -> Floats:
        """As `_apart`, higher for better."""
        lower = LAYERS[self.layer].objective.lower_is_better
        return -self._apart(baseline) if lower else self._apart(baseline)

    def _difference(self, baseline: str) -> Difference:
        clusters = np.array(self.baselines.played[baseline].clusters)
        apart, gains = self._apart(baseline), self._gains(baseline)
        lower = LAYERS[self.layer].objective.lower_is_better
        low = high = probability = None
        if len(apart) > 1:
            draws = crossed_draws(apart, clusters)
            tail = 100.0 * (1.0 - CONFIDENCE) / 2.0
            low, high = (float(edge) for edge in np.percentile(draws, [tail, 100.0 - tail]))
            probability = float(((draws < 0.0) if lower else (draws > 0.0)).mean())
        return Difference(
            baseline=baseline,
            mean=float(apart.mean()),
            low=low,
            high=high,
            probability=probability,
            seeds_better=int((gains.mean(axis=1) > 0.0).sum()),
        )

    def figure(self, metric: str) -> tuple[float, float, float]:
        """(mean over seeds, lowest, highest seed) of a metric of the policies."""
        values = [mean(found.played, metric) for found in self.trainings]
        return float(np.mean(values)), min(values), max(values)

    def figures(self) -> dict[str, float]:
        """What a layer is held to besides its objective, by name."""
        best = self.baselines.played[self.best]
        found = {
            self.metric: self.figure(self.metric)[0],
            "best_baseline": mean(best, self.metric),
            EVIDENCE: float(np.mean([told.is_evidence for told in self.verdicts])),
        }
        if _FILLED in best.metrics:
            slipped = self.figure(_SLIPPAGE)[0]
            aggressive = mean(self.baselines.played[_AGGRESSIVE], _SLIPPAGE)
            shares = [found.played.violations or 0.0 for found in self.trainings]
            found |= {
                "filled_before_cross": self.figure(_FILLED)[0],
                "filled_before_cross_lowest": self.figure(_FILLED)[1],
                "slippage_bp": slipped,
                "slippage_of_aggressive_twap": slipped / aggressive,
                "violations": float(np.mean(shares)),
                "violations_highest": max(shares),
            }
        else:
            for name in ("costs_bp", "turnover", "exposure", "worst_drawdown_bp"):
                found[name] = self.figure(name)[0]
            found |= self._wins()
        return found

    def _wins(self) -> dict[str, float]:
        """Of the episodes that won or lost anything, how many won, and the mean win over loss."""
        earned = np.array([found.played.metrics[self.metric] for found in self.trainings])
        won, lost = earned[earned > 0.0], earned[earned < 0.0]
        if not (won.size and lost.size):
            return {}
        share = won.size / (won.size + lost.size)
        return {"win_rate": share, "payoff_ratio": float(-won.mean() / lost.mean())}

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it; of the episodes' values their means."""
        objective = LAYERS[self.layer].objective
        trainings = []
        for found, told in zip(self.trainings, self.verdicts, strict=True):
            plain = {k: v for k, v in vars(found).items() if k != "played"}
            plain["evidence"] = {"says": told.says, "probability": told.probability}
            plain["metrics"] = {name: mean(found.played, name) for name in found.played.metrics}
            plain["violations"] = found.played.violations
            trainings.append(plain)
        played = self.baselines.played
        return {
            "part": self.part,
            "layer": self.layer,
            "objective": {
                "name": objective.metric,
                "unit": objective.unit,
                "lower_is_better": objective.lower_is_better,
            },
            "episodes": len(played[self.best].clusters),
            "clusters": len(set(played[self.best].clusters)),
            "differences": [asdict(found) for found in self.differences],
            "figures": self.figures(),
            "wanted": dict(self.wanted),
            "baselines": {name: mean(found, self.metric) for name, found in played.items()},
            "baselines_made": self.baselines.made,
            "trainings": trainings,
        }


def mean(played: Played, metric: str) -> float:
    """Of a metric over episodes."""
    return float(np.mean(played.metrics[metric]))


def crossed_draws(values: Floats, clusters: NDArray[np.int64]) -> Floats:
    """Means [SAMPLES] of `values` [seeds, episodes], seeds and clusters of episodes redrawn."""
    _, labels = np.unique(clusters, return_inverse=True)
    count = int(labels.max()) + 1
    sums = np.stack([np.bincount(labels, row, count) for row in values])
    sizes = np.bincount(labels, minlength=count).astype(np.float64)
    generator = np.random.default_rng(_SEED)
    seeds = generator.multinomial(len(values), np.full(len(values), 1.0 / len(values)), SAMPLES)
    drawn = generator.multinomial(count, np.full(count, 1.0 / count), SAMPLES)
    return np.asarray(
        np.einsum("ds,sc,dc->d", seeds.astype(np.float64), sums, drawn, optimize=True)
        / (len(values) * (drawn @ sizes))
    )


def table(found: LayerResult) -> Table:
    """The policy against every baseline, the best first; figures below."""
    objective = LAYERS[found.layer].objective
    word = "lower" if objective.lower_is_better else "higher"
    out = Table(
        title=f"{found.part}, {len(found.trainings)} seeds: {objective.header}, "
        f"{objective.unit}; {word} is better",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption=", ".join(f"{name} {value:.4g}" for name, value in found.figures().items()),
        caption_justify="left",
    )
    for name in ("baseline", "its mean", "policy less it", "95% interval", "P(better)", "seeds"):
        out.add_column(name, justify="left" if name == "baseline" else "right", no_wrap=True)
    for told in found.differences:
        interval = "" if told.low is None else f"[{told.low:+.3f}, {told.high:+.3f}]"
        out.add_row(
            told.baseline,
            f"{mean(found.baselines.played[told.baseline], found.metric):.3f}",
            f"{told.mean:+.3f}",
            interval,
            "" if told.probability is None else f"{told.probability:.3f}",
            f"{told.seeds_better} of {len(found.trainings)}",
        )
    return out
