"""Policies of an analytic market on the same episodes, and their share of the optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.analytic import AnalyticConfig
from envs.analytic import make_batched
from envs.analytic.kernel import METRICS
from experiments.analytic.policies import Decides
from trainers.evaluate import EVALUATION_SEEDS

Floats = NDArray[np.float64]
_AT_ONCE = 4096  # episodes in memory together


@dataclass(frozen=True)
class Played:
    """Metrics of whole episodes, float64 [episodes, len(METRICS)], in the order of their seeds."""

    metrics: Floats

    def of(self, name: str) -> Floats:
        return self.metrics[:, METRICS.index(name)]

    def mean(self, name: str) -> float:
        return float(self.of(name).mean())


@dataclass(frozen=True)
class Share:
    """A ratio of means and its bootstrap interval over episodes."""

    value: float
    low: float
    high: float


def play(config: AnalyticConfig, policy: Decides, episodes: int, seed: int) -> Played:
    """Play `episodes` whole episodes; the same `seed` gives every policy the same ones."""
    found = []
    for first in range(0, episodes, _AT_ONCE):
        count = min(_AT_ONCE, episodes - first)
        env = make_batched(count, config=config)
        start = EVALUATION_SEEDS + seed * episodes + first
        env.reset(seeds=np.uint64(start) + np.arange(count, dtype=np.uint64))
        for _ in range(config.horizon_bars):
            env.step(policy.act(env.rows))
        found.append(env.episode_metrics.copy())
    return Played(np.concatenate(found))


def share_of(gained: Floats, possible: Floats, confidence: float, samples: int, seed: int) -> Share:
    """mean(gained) / mean(possible), both float64 [episodes] of the same episodes.

    Percentile bootstrap, a pair drawn as one (Efron 1979).
    """
    generator = np.random.default_rng(seed)
    ratios = np.empty(samples)
    for k in range(samples):
        drawn = generator.integers(0, len(gained), len(gained))
        ratios[k] = gained[drawn].mean() / possible[drawn].mean()
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    return Share(float(gained.mean() / possible.mean()), float(low), float(high))
