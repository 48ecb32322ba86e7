"""A backtest of the execution layer: many parent orders, each worked by every policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.evaluation import EvaluationConfig
from envs.batched import BatchedEnv
from signals.execution import EXECUTION
from signals.layout import LayerLayout
from trainers.evaluate import Actor, EvaluationReport, evaluate
from trainers.evaluation.bars import thirds
from trainers.evaluation.subject import POLICY
from trainers.objective import SHORTFALL

Floats = NDArray[np.float64]

MOST_DECISIONS = 20_000  # of the policy, kept for histogram and calibration
_COLUMN = {column.name: index for index, column in enumerate(EXECUTION.columns)}


@dataclass
class Recorder:
    """Plays another actor's part and keeps what it saw first, did, and predicted.

    Attributes:
        begins: rows at the begin of every episode, [episodes, row width] together.
        actions: of at most `MOST_DECISIONS` decisions.
        predicted, came: supervised components of these decisions, and what then happened.
    """

    actor: Actor
    layout: LayerLayout
    begins: list[NDArray[np.float32]] = field(default_factory=list)
    actions: list[NDArray[np.float32]] = field(default_factory=list)
    predicted: list[NDArray[np.float32]] = field(default_factory=list)
    came: list[NDArray[np.float32]] = field(default_factory=list)
    _env: BatchedEnv | None = field(default=None, repr=False)
    _fresh: bool = field(default=True, repr=False)
    _kept: int = field(default=0, repr=False)

    def watch(self, env: BatchedEnv) -> None:
        """See `trainers.evaluate.Watcher`."""
        self._env = env

    def reset(self, num_envs: int) -> None:
        """Begin `num_envs` episodes."""
        self.actor.reset(num_envs)
        self._fresh = True
        # Where every episode was stopped at once, what came of the last decision was not seen.
        del self.predicted[len(self.came) :]

    def act(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the actor does."""
        if self._fresh:
            self.begins.append(rows.copy())
        elif len(self.predicted) > len(self.came) and self._env is not None:
            self.came.append(self._env.targets.copy())
        self._fresh = False
        done = self.actor.act(rows)
        # A decision is kept with what came of it, which the next call tells: but for the last.
        if self._kept < MOST_DECISIONS and self._env is not None and not self._ending():
            self.actions.append(done.copy())
            self.predicted.append(done[:, self._supervised()].copy())
            self._kept += len(rows)
        return done

    def _ending(self) -> bool:
        """Whether an episode may end with this step: its rows are then stale at the next."""
        env = self._env
        if env is None or env.terminations.any():
            return True
        left = env.rows[:, _COLUMN["time_left"]] * env.config.parent.horizon_steps  # type: ignore[attr-defined]
        return bool((left < 1.5).any())

    def _supervised(self) -> list[int]:
        place, out = 0, []
        for agent in self.layout.agents:
            width = agent.action_width
            for index, component in enumerate(agent.components[:width]):
                if component.supervised:
                    out.append(place + index)
            place += width
        return out


@dataclass(frozen=True)
class Orders:
    """Parent orders worked by every policy.

    Attributes:
        report: the paired comparison, with every metric of every order.
        cluster: int64 [n], orders that share a path (or a day of bars).
        day: int64 [n], since 1970 UTC, on which each began, where they are worked inside bars.
        regimes: grouping -> label of each order, known at its arrival.
        actions: float32 [decisions, action width] of the policy.
        predicted, came: float [decisions], the monitor's prediction and what then happened.
    """

    report: EvaluationReport
    cluster: NDArray[np.int64]
    day: NDArray[np.int64]
    regimes: dict[str, NDArray[np.str_]]
    actions: NDArray[np.float32]
    predicted: Floats
    came: Floats

    def by_path(self, policy: str, metric: str = SHORTFALL.metric) -> Floats:
        """The mean of a metric over the orders of each path, in the order they were played."""
        _, first, inverse = np.unique(self.cluster, return_index=True, return_inverse=True)
        values = self.report.samples[policy][metric]
        means = np.bincount(inverse, values) / np.bincount(inverse)
        return np.asarray(means[np.argsort(first)])


def play_orders(
    make_env: Callable[[int], Any],
    policy: Actor,
    baselines: Mapping[str, Actor],
    config: EvaluationConfig,
    *,
    parents: int | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> Orders:
    """Work the same parent orders by the policy and every baseline.

    Args:
        parents: exactly so many, up to a whole batch; by the precision of `config` where None.
    """
    recorder = Recorder(policy, EXECUTION)
    if parents is not None:
        even = max(2, min(config.batch_size, parents + parents % 2))
        size = {"min_parents": parents, "max_parents": parents, "batch_size": even}
        config = config.model_copy(update=size)
    report = evaluate(
        make_env,
        {POLICY: recorder, **baselines},
        config,
        objective=SHORTFALL,
        candidate=POLICY,
        baselines=list(baselines),
        reference=config.reference,
        on_batch=on_batch,
    )
    rows = np.concatenate(recorder.begins)[: report.parents]
    kept = min(len(recorder.predicted), len(recorder.came))
    return Orders(
        report=report,
        cluster=report.clusters,
        day=report.clusters * config.cluster_days,
        regimes={
            "volatility": thirds(rows[:, _COLUMN["volatility_long"]].astype(np.float64)),
            "size": _sizes(rows[:, _COLUMN["parent_size"]].astype(np.float64)),
        },
        actions=np.concatenate(recorder.actions),
        predicted=np.concatenate(recorder.predicted[:kept])[:, 0].astype(np.float64),
        came=np.concatenate(recorder.came[:kept])[:, 0].astype(np.float64),
    )


def _sizes(values: Floats) -> NDArray[np.str_]:
    names = np.array(("small", "medium", "large"))
    low, high = np.quantile(values, [1.0 / 3.0, 2.0 / 3.0])
    return np.asarray(names[np.digitize(values, [low, high], right=True)])
