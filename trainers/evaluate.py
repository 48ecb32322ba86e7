"""Policies compared in one environment on common random numbers.

Every policy plays the same episodes, each exactly once; of parent orders both sides of
every path. Episodes are added until the paired differences are known well enough. What
the reports call parents are a layer's episodes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, TrainingError, nearest
from configs.evaluation import MAX_PARENTS, EvaluationConfig
from envs.batched import BatchedEnv
from trainers.objective import SHORTFALL, Objective
from trainers.statistics import MeanResult, PairedResult, enough, mean_interval, paired

EVALUATION_SEEDS = 1 << 60  # training draws its seeds from 64 bits: they do not meet


class Actor(Protocol):
    """What evaluation drives: a trained policy, an exported one, or a schedule."""

    def reset(self, num_envs: int) -> None:
        """Begin `num_envs` new episodes."""
        ...

    def act(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Joint actions float32 [N, action_width] for rows float32 [N, row_width]."""
        ...


@runtime_checkable
class Watcher(Protocol):
    """An actor that knows more than rows: a desk that counts the market's volume, a recorder."""

    def watch(self, env: BatchedEnv) -> None:
        """Told, before its episodes begin, which environment it is to play in."""
        ...


@dataclass(frozen=True)
class PolicySummary:
    """One policy's own figures: the objective's mean and interval, the mean of every metric."""

    name: str
    objective: MeanResult
    metrics: dict[str, float]

    @property
    def cost(self) -> MeanResult:
        """The objective, where it is one."""
        return self.objective


@dataclass(frozen=True)
class Comparison:
    """The candidate's objective minus another policy's, on the same episodes."""

    candidate: str
    other: str
    result: PairedResult


@dataclass(frozen=True)
class EvaluationReport:
    """What was measured.

    Attributes:
        objective: what decides.
        summaries: per policy, in the order given.
        comparisons: the candidate against each other policy.
        best_baseline: the baseline of the best mean objective.
        beats_baseline: the candidate's objective is better than the best baseline's and
            the interval of the paired difference excludes zero.
        verdict: the same as one sentence.
        parents: episodes that each policy played, such as parent orders.
        steps: environment steps of all policies together.
        seconds: wall-clock time of the whole evaluation.
        precise: the stop rule was met; False where `max_parents` came first.
        samples: policy -> metric -> float64 [parents], in the order of `seeds`.
        seeds: uint64 [parents].
        clusters: int64 [parents], equal where episodes share what chance drew.
    """

    candidate: str
    baselines: tuple[str, ...]
    summaries: dict[str, PolicySummary]
    comparisons: dict[str, Comparison]
    best_baseline: str
    beats_baseline: bool
    verdict: str
    parents: int
    steps: int
    seconds: float
    precise: bool
    confidence: float
    samples: dict[str, dict[str, NDArray[np.float64]]] = field(repr=False)
    seeds: NDArray[np.uint64] = field(repr=False)
    clusters: NDArray[np.int64] = field(repr=False)
    objective: Objective = SHORTFALL

    def against(self, other: str) -> PairedResult:
        """The paired result of the candidate against `other`."""
        if other not in self.comparisons:
            raise ConfigError(f"no comparison with '{other}'; {nearest(other, self.comparisons)}")
        return self.comparisons[other].result

    def as_dict(self) -> dict[str, Any]:
        """The report without its samples, as plain JSON data (a missing number is None)."""
        return {
            "candidate": self.candidate,
            "objective": self.objective.metric,
            "baselines": list(self.baselines),
            "parents": self.parents,
            "steps": self.steps,
            "seconds": self.seconds,
            "confidence": self.confidence,
            "precise": self.precise,
            "best_baseline": self.best_baseline,
            "beats_baseline": self.beats_baseline,
            "verdict": self.verdict,
            "policies": {
                name: {
                    self.objective.name: _plain(vars(s.objective)),
                    "metrics": _plain(s.metrics),
                }
                for name, s in self.summaries.items()
            },
            "paired": {
                name: _plain(vars(comparison.result))
                for name, comparison in self.comparisons.items()
            },
        }


def evaluate(
    make_env: Callable[[int], BatchedEnv],
    policies: Mapping[str, Actor],
    config: EvaluationConfig,
    *,
    objective: Objective = SHORTFALL,
    candidate: str = "policy",
    baselines: Sequence[str] | None = None,
    reference: Sequence[str] | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Play every policy on the same episodes until the differences are known well enough.

    Args:
        make_env: `make_env(n)` gives a BatchedEnv of n rows whose metrics include the
            objective's; of parent orders, seeds 2k and 2k + 1 are the two sides of a path.
        policies: name -> actor; the candidate is one of them.
        config: size, precision and seed.
        objective: what decides.
        candidate: whose differences to all others are taken.
        baselines: names that the verdict is passed on; all others by default.
        reference: names whose objective sets the precision (its |mean| or its standard
            deviation, of several the lowest); by default the baselines with "twap" in
            their name, or all baselines.
        on_batch: called with (episodes so far, episodes at most).

    Raises:
        ConfigError: a name that is no policy, or no baseline.
        TrainingError: an episode that does not end, or a metric that is not finite.
    """
    rivals = _rivals(policies, candidate, baselines)
    anchors = _known(reference, policies) or [n for n in rivals if "twap" in n.lower()] or rivals
    started = time.perf_counter()
    match = Match(make_env, policies, config, objective)
    precise = False
    while not precise and match.parents < config.max_parents:
        match.play_batch()
        if on_batch is not None:
            on_batch(match.parents, config.max_parents)
        if match.parents >= config.min_parents:
            precise = _precise(match, candidate, rivals, anchors, config)
    return _report(match, candidate, rivals, config, precise, time.perf_counter() - started)


class Match:
    """The episodes played so far, the same ones by every policy; arguments as of `evaluate`."""

    def __init__(
        self,
        make_env: Callable[[int], BatchedEnv],
        policies: Mapping[str, Actor],
        config: EvaluationConfig,
        objective: Objective,
    ) -> None:
        self.policies = dict(policies)
        self.env = make_env(config.batch_size)
        if objective.metric not in self.env.metric_names:
            raise ConfigError(
                f"the environment measures {', '.join(self.env.metric_names)}; "
                f"evaluation needs '{objective.metric}' among them"
            )
        self.config = config
        self.objective = objective
        self.steps = 0
        self.parents = 0
        self._clusters: list[NDArray[np.int64]] = []
        self._metrics: dict[str, list[NDArray[np.float64]]] = {name: [] for name in policies}

    @property
    def seeds(self) -> NDArray[np.uint64]:
        return self._seeds(0, self.parents)

    @property
    def clusters(self) -> NDArray[np.int64]:
        """int64 [parents]: equal where episodes share what chance drew."""
        return np.concatenate(self._clusters) // self.config.cluster_days

    def objectives(self, policy: str) -> NDArray[np.float64]:
        """The objective of one policy, float64 [parents]."""
        return self.metric(policy, self.objective.metric)

    def metric(self, policy: str, metric: str) -> NDArray[np.float64]:
        """One metric of one policy, float64 [parents]."""
        column = self.env.metric_names.index(metric)
        return np.concatenate([block[:, column] for block in self._metrics[policy]])

    def play_batch(self) -> None:
        """One more batch of episodes, by every policy."""
        seeds = self._seeds(self.parents, self.parents + self.env.num_envs)
        for name, actor in self.policies.items():
            self._metrics[name].append(self._play(name, actor, seeds))
        self._clusters.append(self.env.clusters)  # the same for every policy: chance is
        self.parents += self.env.num_envs

    def _seeds(self, start: int, stop: int) -> NDArray[np.uint64]:
        first = EVALUATION_SEEDS + self.config.seed * MAX_PARENTS
        return np.uint64(first) + np.arange(start, stop, dtype=np.uint64)

    def _play(self, name: str, actor: Actor, seeds: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Each row's first episode, to its end; float64 [N, metrics]."""
        env = self.env
        env.reset(seeds=seeds)
        if isinstance(actor, Watcher):
            actor.watch(env)
        actor.reset(env.num_envs)
        measured = np.full((env.num_envs, len(env.metric_names)), np.nan)
        playing = np.ones(env.num_envs, dtype=np.bool_)
        for _ in range(self.config.max_steps):
            env.step(actor.act(env.rows))
            self.steps += int(playing.sum())
            ended = playing & (env.terminations | env.truncations)
            measured[ended] = env.episode_metrics[ended]
            playing &= ~ended
            if not playing.any():
                break
        else:
            raise TrainingError(
                f"policy '{name}': {int(playing.sum())} episodes did not end within "
                f"{self.config.max_steps} steps (evaluation.max_steps)"
            )
        if not np.isfinite(measured).all():
            row, column = (int(i) for i in np.argwhere(~np.isfinite(measured))[0])
            raise TrainingError(
                f"policy '{name}': metric '{env.metric_names[column]}' of the episode of seed "
                f"{seeds[row]} is {measured[row, column]}, expected a finite number"
            )
        return measured


def _rivals(
    policies: Mapping[str, Actor], candidate: str, baselines: Sequence[str] | None
) -> list[str]:
    _known([candidate], policies)
    names = _known(baselines, policies) or [name for name in policies if name != candidate]
    if not names or candidate in names:
        raise ConfigError(
            f"baselines {names} against candidate '{candidate}': expected at least one other policy"
        )
    return names


def _known(names: Sequence[str] | None, policies: Mapping[str, Actor]) -> list[str]:
    for name in names or ():
        if name not in policies:
            raise ConfigError(f"no policy '{name}' to evaluate; {nearest(name, policies)}")
    return list(names or ())


def _paired(match: Match, candidate: str, other: str, config: EvaluationConfig) -> PairedResult:
    return paired(
        match.objectives(candidate),
        match.objectives(other),
        clusters=match.clusters,
        confidence=config.confidence,
        samples=config.bootstrap_samples,
        seed=config.seed,
    )


def _precise(
    match: Match,
    candidate: str,
    rivals: Sequence[str],
    anchors: Sequence[str],
    config: EvaluationConfig,
) -> bool:
    bar = min(match.objective.width_unit(match.objectives(name)) for name in anchors)
    return all(
        enough(_paired(match, candidate, name, config).half_width, bar, config.half_width_share)
        for name in rivals
    )


def _report(
    match: Match,
    candidate: str,
    rivals: Sequence[str],
    config: EvaluationConfig,
    precise: bool,
    seconds: float,
) -> EvaluationReport:
    names = match.env.metric_names
    samples = {p: {m: match.metric(p, m) for m in names} for p in match.policies}
    summaries = {
        policy: PolicySummary(
            name=policy,
            objective=mean_interval(
                columns[match.objective.metric],
                clusters=match.clusters,
                confidence=config.confidence,
                samples=config.bootstrap_samples,
                seed=config.seed,
            ),
            metrics={metric: float(values.mean()) for metric, values in columns.items()},
        )
        for policy, columns in samples.items()
    }
    comparisons = {
        other: Comparison(candidate, other, _paired(match, candidate, other, config))
        for other in match.policies
        if other != candidate
    }
    best = match.objective.best(rivals, lambda name: summaries[name].objective.mean)
    result = comparisons[best].result
    return EvaluationReport(
        candidate=candidate,
        baselines=tuple(rivals),
        summaries=summaries,
        comparisons=comparisons,
        best_baseline=best,
        beats_baseline=match.objective.gained(result),
        verdict=_verdict(match.objective, candidate, best, result, config.confidence),
        parents=match.parents,
        steps=match.steps,
        seconds=seconds,
        precise=precise,
        confidence=config.confidence,
        samples=samples,
        seeds=match.seeds,
        clusters=match.clusters,
        objective=match.objective,
    )


def _verdict(
    objective: Objective, candidate: str, best: str, result: PairedResult, confidence: float
) -> str:
    if objective.gained(result):
        outcome = "beats the best baseline"
    elif objective.lost(result):
        outcome = "is worse than the best baseline"
    else:
        outcome = "cannot be told apart from the best baseline"
    return (
        f"'{candidate}' {outcome}, '{best}': difference {result.mean_difference:+.3f} "
        f"{objective.unit}, {confidence:.0%} interval [{result.low:+.3f}, {result.high:+.3f}], "
        f"{result.n} {objective.episodes}."
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
