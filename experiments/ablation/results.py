"""The arms of a layer side by side: what each adds, paired by seed and by episode."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from scipy import stats

from experiments.ablation.settings import PLAIN
from experiments.ablation.study import SeedResult
from trainers.layers import LAYERS

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Effect:
    """What an arm adds to the plain one, in the objective's unit.

    low, high: Student's interval over seeds, each of whose values is a mean over the same
    episodes; None of a single seed. A training is drawn anew with its seed, which varies more
    than episodes do. better: of the seeds, in how many the arm did better.
    """

    arm: str
    seeds: tuple[int, ...]
    mean: float
    effect: float
    low: float | None
    high: float | None
    better: int


@dataclass(frozen=True)
class LayerResult:
    """All trainings of one layer."""

    layer: str
    trainings: tuple[SeedResult, ...]

    @property
    def part(self) -> str:
        """See `experiments.studies.Report`."""
        return self.layer

    def of(self, arm: str) -> dict[int, SeedResult]:
        """The arm's trainings by seed."""
        return {found.seed: found for found in self.trainings if found.arm == arm}

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Of every arm that was trained, on the seeds that the plain one has, too."""
        arms = dict.fromkeys(found.arm for found in self.trainings)
        found = (self._effect(arm) for arm in arms)
        return tuple(effect for effect in found if effect is not None)

    def _effect(self, arm: str) -> Effect | None:
        ours, plain = self.of(arm), self.of(PLAIN)
        seeds = tuple(sorted(ours.keys() & plain.keys()))
        if not seeds:
            return None
        gained = np.array([ours[seed].mean - plain[seed].mean for seed in seeds])
        low = high = None
        if len(seeds) > 1 and gained.any():
            error = gained.std(ddof=1) / np.sqrt(len(seeds))
            reach = stats.t.ppf(0.5 + CONFIDENCE / 2, len(seeds) - 1) * error
            low, high = float(gained.mean() - reach), float(gained.mean() + reach)
        better = -gained if LAYERS[self.layer].objective.lower_is_better else gained
        return Effect(
            arm=arm,
            seeds=seeds,
            mean=float(np.mean([ours[seed].mean for seed in seeds])),
            effect=float(gained.mean()),
            low=low,
            high=high,
            better=int((better > 0).sum()),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it; of the episodes' values their means."""
        trainings = []
        for found in self.trainings:
            plain = asdict(found)
            plain["mean"], plain["episodes"] = found.mean, len(plain.pop("values"))
            trainings.append(plain)
        objective = LAYERS[self.layer].objective
        return {
            "layer": self.layer,
            "objective": {"name": objective.name, "unit": objective.unit},
            "effects": [asdict(effect) for effect in self.effects],
            "trainings": trainings,
        }


def table(found: LayerResult) -> Table:
    """Every arm: its mean, and what it adds to the plain one."""
    objective = LAYERS[found.layer].objective
    word = "lower" if objective.lower_is_better else "higher"
    out = Table(
        title=f"{found.layer}: {objective.header}, {objective.unit}; {word} is better",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("arm", "seeds", "mean", "added to plain", "95% interval", "better in"):
        out.add_column(name, justify="left" if name == "arm" else "right", no_wrap=True)
    for effect in found.effects:
        is_plain = effect.arm == PLAIN
        interval = "" if effect.low is None else f"[{effect.low:+.3f}, {effect.high:+.3f}]"
        out.add_row(
            effect.arm,
            f"{len(effect.seeds)}",
            f"{effect.mean:.3f}",
            "" if is_plain else f"{effect.effect:+.3f}",
            interval,
            "" if is_plain else f"{effect.better} of {len(effect.seeds)}",
        )
    return out
