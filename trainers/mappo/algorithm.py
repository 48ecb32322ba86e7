"""`MAPPO(PPO)`: owns the movement of rollouts and weights, and what a resume needs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
import structlog
import torch
from ray.rllib.algorithms.ppo.ppo import PPO
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MEAN,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
)

from configs.errors import GrandmodelError, TrainingError
from policies.actor import Actor
from trainers.mappo.config import MAPPOConfig
from trainers.mappo.curriculum import Curriculum
from trainers.mappo.plan import CRITIC, TeamPlan
from trainers.mappo.rollout import EpisodeStats, Rollout, RolloutFailure

_SIMULATORS = "simulators"
_COUNTERS = "mappo_counters"
_CURRICULUM = "curriculum"
_WITHIN = "actor."  # where RLlib's module keeps the actor

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class IterationStats:
    """What one iteration sampled, learnt and took.

    env_steps: sampled in this iteration; env_steps_total: in the whole run.
    learner: means over the iteration's minibatches, by name.
    seconds: by phase (sample, learn, sync).
    """

    env_steps: int
    env_steps_total: int
    episodes: EpisodeStats
    learner: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)


class MAPPO(PPO):
    """Multi-agent PPO with a centralized critic (Yu et al., 2022) on batched environments.

    `progress`, the share of the budget used, is set by whoever drives the training, who
    also tells the `curriculum` its scores.
    `last` holds the figures of the last iteration.
    """

    progress: float = 0.0
    curriculum: Curriculum | None = None
    env_steps_total: int = 0
    last: IterationStats | None = None
    _scratch: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def get_default_config(cls) -> MAPPOConfig:
        return MAPPOConfig()

    def setup(self, config: Any) -> None:
        """RLlib's set-up, and the curriculum at its first stage."""
        super().setup(config)
        wanted = self.config.settings.curriculum
        self.curriculum = None if wanted is None else Curriculum(wanted)

    def _setup_logdir(self) -> None:
        """Outside Tune, log into a folder that goes with the algorithm, not the user's home."""
        if self._storage is not None:
            super()._setup_logdir()
            return
        self._scratch = tempfile.TemporaryDirectory(prefix="grandmodel-mappo-")
        self._logdir = self._scratch.name

    def cleanup(self) -> None:
        super().cleanup()
        if self._scratch is not None:
            self._scratch.cleanup()

    def training_step(self) -> None:
        """Sample, learn, send the actor's weights out."""
        started = time.perf_counter()
        rollouts = self._collect()
        sampled = time.perf_counter()
        learner = self._learn(rollouts)
        learnt = time.perf_counter()
        # Wait for remote runners to have the weights: what they sample next must not
        # depend on when a message arrives.
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group,
            policies=[actor.name for actor in self.plan.actors],
            timeout_seconds=None,
            inference_only=True,
        )
        seconds = {
            "sample": sampled - started,
            "learn": learnt - sampled,
            "sync": time.perf_counter() - learnt,
        }
        self._record(rollouts, learner, seconds)

    def _collect(self) -> list[Rollout]:
        """One iteration's rollouts, of every runner that lives.

        Raises:
            TrainingError: no runner sampled anything, or a runner's environment is wrong.
        """
        done = self.iteration
        stage = 0 if self.curriculum is None else self.curriculum.stage
        if self.config.num_env_runners:
            results = self.env_runner_group.foreach_env_runner(
                lambda runner: runner.sample_at(done, stage),
                local_env_runner=False,
                timeout_seconds=self.config.sample_timeout_s,
            )
        else:
            results = [self.env_runner.sample_at(done, stage)]
        rollouts: list[Rollout] = []
        for found, _ in results:
            for rollout in found:
                if isinstance(rollout, RolloutFailure):
                    raise TrainingError(rollout.message)
                rollouts.append(rollout)
        if not sum(rollout.env_steps() for rollout in rollouts):
            raise TrainingError(
                f"iteration {self.iteration + 1} sampled nothing: all "
                f"{self.config.num_env_runners} runners failed or took longer than "
                f"sample_timeout_s={self.config.sample_timeout_s}; see the workers' log"
            )
        if len(rollouts) < self.config.num_env_runners:
            log.warning(
                "runners missing", sampled=len(rollouts), expected=self.config.num_env_runners
            )
        self.metrics.aggregate([metrics for _, metrics in results], key=ENV_RUNNER_RESULTS)
        return rollouts

    def _learn(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Update all learners, each on an equal shard of every rollout's environments."""
        timesteps = {
            NUM_ENV_STEPS_SAMPLED_LIFETIME: self.env_steps_total,
            "progress": self.progress,
        }
        try:
            if self.config.num_learners == 0:
                results = self.learner_group.update(episodes=list(rollouts), timesteps=timesteps)
            else:
                shards = zip(*(r.split(self.config.num_learners) for r in rollouts), strict=True)
                references = [ray.put(list(shard)) for shard in shards]
                results = self.learner_group.update(episodes_refs=references, timesteps=timesteps)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, GrandmodelError):
                raise TrainingError(str(error.cause)) from error
            raise
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        names = [name for name in results[0][CRITIC] if not name.startswith("num_")]
        return {name: _mean([result[CRITIC][name] for result in results]) for name in names}

    def _record(
        self, rollouts: Sequence[Rollout], learner: dict[str, float], seconds: dict[str, float]
    ) -> None:
        stats = EpisodeStats()
        for rollout in rollouts:
            stats.add(rollout.stats)
        steps = sum(rollout.env_steps() for rollout in rollouts)
        self.env_steps_total += steps
        self.last = IterationStats(steps, self.env_steps_total, stats, learner, seconds)
        means = stats.episode_means()
        # RLlib's names, for Tune's schedulers; absent, not NaN, where no episode ended.
        for key, name in ((EPISODE_RETURN_MEAN, "return"), (EPISODE_LEN_MEAN, "length")):
            if name in means:
                self.metrics.log_value((ENV_RUNNER_RESULTS, key), means[name], window=1)
        self.metrics.log_value((ENV_RUNNER_RESULTS, NUM_EPISODES), stats.episodes, window=1)

    @property
    def plan(self) -> TeamPlan:
        """Who acts by which module."""
        plan: TeamPlan = self.config.plan
        return plan

    def actors(self) -> dict[str, Actor]:
        """The actors with the learner's present weights, on the CPU, apart from training."""
        weights = self.learner_group.get_weights([actor.name for actor in self.plan.actors])
        built = {}
        for plan in self.plan.actors:
            actor = plan.build()
            actor.load_state_dict(
                {
                    name.removeprefix(_WITHIN): _tensor(value)
                    for name, value in weights[plan.name].items()
                }
            )
            built[plan.name] = actor.eval()
        return built

    # ------------------------------------------------------------ checkpoints

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """RLlib's state, the simulators' and the counters': a resume goes on to the bit.

        Arrays may be the live ones: write or copy them before training on.
        """
        state: dict[str, Any] = super().get_state(
            components, not_components=not_components, **kwargs
        )
        if self._check_component(_SIMULATORS, components, not_components):
            state[_SIMULATORS] = self.env_runner_group.foreach_env_runner(
                lambda runner: (runner.worker_index, runner.simulator_state())
            )
            state[_COUNTERS] = {"env_steps_total": self.env_steps_total}
            if self.curriculum is not None:
                state[_CURRICULUM] = self.curriculum.state_dict()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if _COUNTERS in state:
            self.env_steps_total = state[_COUNTERS]["env_steps_total"]
        if self.curriculum is not None and _CURRICULUM in state:
            self.curriculum.load_state(state[_CURRICULUM])
        if _SIMULATORS not in state:
            return
        simulators = {index: found for index, found in state[_SIMULATORS] if found is not None}
        workers = range(1, self.config.num_env_runners + 1) or range(1)
        if set(simulators) != set(workers):
            raise TrainingError(
                f"checkpoint of runners {sorted(simulators)}, this run has {list(workers)}: "
                "resume with the number of runners it was begun with"
            )
        self.env_runner_group.foreach_env_runner(
            lambda runner: (
                runner.load_simulator_state(simulators[runner.worker_index])
                if runner.worker_index in simulators
                else None
            )
        )


def _mean(values: Sequence[Any]) -> float:
    """The mean of RLlib's reduced values, which are numbers or objects that peek at one."""
    numbers = [float(v.peek()) if hasattr(v, "peek") else float(v) for v in values]
    return sum(numbers) / len(numbers)


def _tensor(array: Any) -> torch.Tensor:
    return torch.tensor(array)  # a copy: the learner's arrays are its live weights
