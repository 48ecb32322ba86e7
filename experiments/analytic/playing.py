"""Policies on the same episodes, of an analytic market or of the book, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.analytic import AnalyticConfig
from configs.splits import Split
from configs.strategic import StrategicConfig
from envs import analytic, strategic
from envs.analytic.kernel import METRICS
from envs.barwise.batched import BatchedBars
from envs.strategic.kernel import METRICS as STRATEGIC_METRICS
from experiments.analytic.policies import Decides
from trainers.evaluate import EVALUATION_SEEDS

Floats = NDArray[np.float64]
_AT_ONCE = 4096  # episodes in memory together
_BOOKS_AT_ONCE = 256  # with their order books
HELD_OUT: Split = "test"  # what policies are judged on, where prices are bars


@dataclass(frozen=True)
class Played:
    """Metrics of whole episodes, in the order of their seeds.

    Attributes:
        metrics: float64 [episodes, metrics].
        clusters: int64 [episodes], labels of what was drawn together; None where each episode
            has a chance of its own.
        names: of the metrics.
    """

    metrics: Floats
    clusters: NDArray[np.int64] | None = None
    names: tuple[str, ...] = METRICS

    def of(self, name: str) -> Floats:
        return self.metrics[:, self.names.index(name)]

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
        env = analytic.make_batched(count, config=config)
        _play_whole(env, policy, config.horizon_bars, EVALUATION_SEEDS + seed * episodes + first)
        found.append(env.episode_metrics.copy())
    return Played(np.concatenate(found))


def play_strategic(
    config: StrategicConfig, policy: Decides, episodes: int, seed: int, cluster_days: int
) -> Played:
    """The same of `strategic_v0`, on bars that no training saw.

    cluster_days: episodes that begin within so many days are one cluster.
    """
    found, days = [], []
    for first in range(0, episodes, _BOOKS_AT_ONCE):
        count = min(_BOOKS_AT_ONCE, episodes - first)
        env = strategic.make_batched(count, config=config, split=HELD_OUT)
        _play_whole(env, policy, config.horizon_bars, EVALUATION_SEEDS + seed * episodes + first)
        found.append(env.episode_metrics.copy())
        days.append(env.clusters)
    clusters = np.concatenate(days) // cluster_days
    return Played(np.concatenate(found), clusters, STRATEGIC_METRICS)


def _play_whole(env: BatchedBars, policy: Decides, bars: int, start: int) -> None:
    env.reset(seeds=np.uint64(start) + np.arange(env.num_envs, dtype=np.uint64))
    for _ in range(bars):
        env.step(policy.act(env.rows))


def share_of(
    gained: Floats,
    possible: Floats,
    confidence: float,
    samples: int,
    seed: int,
    clusters: NDArray[np.int64] | None = None,
) -> Share:
    """mean(gained) / mean(possible), both float64 [episodes] of the same episodes.

    Percentile bootstrap, a pair drawn as one (Efron 1979), of a cluster all pairs as one.
    """
    generator = np.random.default_rng(seed)
    value = float(gained.mean() / possible.mean())
    if clusters is not None:
        _, labels = np.unique(clusters, return_inverse=True)
        gained = np.asarray(np.bincount(labels, weights=gained), np.float64)
        possible = np.asarray(np.bincount(labels, weights=possible), np.float64)
    ratios = np.empty(samples)
    for k in range(samples):
        drawn = generator.integers(0, len(gained), len(gained))
        ratios[k] = gained[drawn].sum() / possible[drawn].sum()
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    return Share(value, float(low), float(high))
