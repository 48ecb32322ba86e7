"""`MAPPO(PPO)`: owns the movement of rollouts and weights, and what a resume needs."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import ray
import structlog
import torch
from ray.rllib.algorithms import algorithm as rllib
from ray.rllib.algorithms.ppo.ppo import PPO
from ray.rllib.env.env_runner_group import EnvRunnerGroup
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
from trainers.mappo.constraints import Multipliers
from trainers.mappo.curriculum import Curriculum
from trainers.mappo.plan import CRITIC, TeamPlan
from trainers.mappo.rollout import OUTDATED, EpisodeStats, Rollout, RolloutFailure

_SIMULATORS = "simulators"
_COUNTERS = "mappo_counters"
_CURRICULUM = "curriculum"
_MULTIPLIERS = "multipliers"
_LOOK_S = 1.0  # between two looks at learners that are at work
_WITHIN = "actor."  # where RLlib's module keeps the actor

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class IterationStats:
    """What one iteration sampled, learnt and took.

    env_steps: sampled in this iteration; env_steps_total: in the whole run.
    learner: means over the iteration's minibatches, by name.
    constraints: figures of the multipliers (`trainers.mappo.constraints`), as they were moved by
        this iteration's costs: the next one is paid by them.
    seconds: by phase (sample, learn, sync).
    """

    env_steps: int
    env_steps_total: int
    episodes: EpisodeStats
    learner: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)
    constraints: dict[str, float] = field(default_factory=dict)


class _RunnerGroup(EnvRunnerGroup):
    """RLlib's, which sends runners their config by value.

    By reference, as it does, Ray prints an error line at every start: a runner that is built
    anew would need what the reference points to. A layer's config is small enough to be sent.
    """

    def _make_worker(self, *, config: Any, **told: Any) -> Any:
        given = self._remote_config if isinstance(config, ray.ObjectRef) else config
        return super()._make_worker(config=given, **told)


@contextlib.contextmanager
def _configs_by_value() -> Iterator[None]:
    """Algorithms that are set up within have their runners in a `_RunnerGroup`."""
    before = rllib.EnvRunnerGroup
    rllib.EnvRunnerGroup = _RunnerGroup
    try:
        yield
    finally:
        rllib.EnvRunnerGroup = before


class MAPPO(PPO):
    """Multi-agent PPO with a centralized critic (Yu et al., 2022) on batched environments.

    `progress`, the share of the budget used, is set by whoever drives the training, who
    also tells the `curriculum` its scores.
    `last` holds the figures of the last iteration.
    """

    progress: float = 0.0
    curriculum: Curriculum | None = None
    multipliers: Multipliers = Multipliers(())
    env_steps_total: int = 0
    last: IterationStats | None = None
    _said: frozenset[tuple[str, str]] = frozenset()  # warnings given
    _scratch: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def get_default_config(cls) -> MAPPOConfig:
        return MAPPOConfig()

    def setup(self, config: Any) -> None:
        """RLlib's set-up, and the curriculum at its first stage."""
        with _configs_by_value():
            super().setup(config)
        wanted = self.config.settings.curriculum
        self.curriculum = None if wanted is None else Curriculum(wanted)
        self.multipliers = Multipliers(self.config.settings.constraints)

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
        # Not waited for: a remote runner takes its calls in order, so it has the weights
        # before it samples again.
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
            results = self._sample_remote(done, stage)
        else:
            paid = self.multipliers.values
            results = [(0, *self.env_runner.sample_at(done, stage, None, paid))]
        rollouts: list[Rollout] = []
        for worker, found, _ in results:
            for rollout in found:
                if isinstance(rollout, RolloutFailure):
                    raise TrainingError(f"runner {worker}: {rollout.message}")
                rollouts.append(rollout)
        if not sum(rollout.env_steps() for rollout in rollouts):
            raise TrainingError(
                f"iteration {done + 1} sampled nothing: all {self.config.num_env_runners} runners "
                "died (killed, or out of memory: the machine's log says which) or took longer than "
                f"mappo.sample_timeout_s={self.config.sample_timeout_s:g}; mend the cause, or "
                "raise that time, and go on with --resume"
            )
        self.metrics.aggregate([metrics for *_, metrics in results], key=ENV_RUNNER_RESULTS)
        return rollouts

    def _sample_remote(self, done: int, stage: int) -> list[tuple[int, list[Any], Any]]:
        """What every remote runner that lives sampled, with its number.

        One that was lost is not waited for: RLlib brings it back before a later iteration.
        """
        group, limit = self.env_runner_group, self.config.sample_timeout_s
        number, paid = self.env_runner.weights_seq_no, self.multipliers.values
        asked = set(group.healthy_env_runner_ids())
        results: list[tuple[int, list[Any], Any]] = group.foreach_env_runner(
            lambda runner: (runner.worker_index, *runner.sample_at(done, stage, number, paid)),
            local_env_runner=False,
            timeout_seconds=limit,
        )
        self._end_hung(asked - {worker for worker, *_ in results})
        # A runner that died between two iterations and is back already has its first weights.
        outdated = [worker for worker, found, _ in results if found == [OUTDATED]]
        if outdated:
            results = [result for result in results if result[0] not in outdated]
            state = ray.put(self.env_runner.get_state())
            results += group.foreach_env_runner(
                lambda runner: (runner.worker_index, *runner.sample_anew(state, done, stage, paid)),
                local_env_runner=False,
                remote_worker_ids=outdated,
                timeout_seconds=limit,
            )
            self._end_hung(set(outdated) - {worker for worker, *_ in results})
        missing = set(self._workers()) - {worker for worker, *_ in results}
        if missing or outdated:
            log.warning(
                "runners were lost: they come back with the present weights and new episodes",
                iteration=done + 1,
                without=sorted(missing),
                restarted=outdated,
            )
        return results

    def _end_hung(self, silent: set[int]) -> None:
        """End the runners that live and did not answer in time, so that RLlib starts them anew.

        Left alone, each later call would wait behind the one that hangs.
        """
        manager = self.env_runner_group._worker_manager
        for worker in sorted(silent & set(manager.healthy_actor_ids())):
            log.warning(
                "a runner took longer than mappo.sample_timeout_s and is started anew",
                runner=worker,
                sample_timeout_s=self.config.sample_timeout_s,
            )
            ray.kill(manager.actors()[worker], no_restart=False)
            manager.set_actor_state(worker, healthy=False)

    def _workers(self) -> range:
        """The numbers of the runners that sample."""
        return range(1, self.config.num_env_runners + 1) or range(1)

    def _learn(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Update all learners, each on an equal shard of every rollout's environments.

        Raises:
            TrainingError: a learner failed; its weights may be halfway through the update.
        """
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
                results = self._update_remote(references, timesteps)
        except Exception as error:
            raise self._learner_failure(error) from error
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        names = [name for name in results[0][CRITIC] if not name.startswith("num_")]
        return {name: _mean([result[CRITIC][name] for result in results]) for name in names}

    def _update_remote(self, references: list[Any], timesteps: dict[str, Any]) -> list[Any]:
        """What every remote learner found in its update; the first failure ends the wait.

        The others would wait half an hour for the gradients of the one that failed.
        """
        group = self.learner_group
        results: list[Any] = group.update(
            episodes_refs=references, timesteps=timesteps, async_update=True
        )
        manager = group._worker_manager
        while manager.num_outstanding_async_reqs():
            ready = list(manager.fetch_ready_async_reqs(timeout_seconds=_LOOK_S))
            if errors := [result.get() for result in ready if not result.ok]:
                # None of them may be asked for its weights again.
                for learner in manager.actors().values():
                    ray.kill(learner)
                # Of a death the others say no more than that they lost a connection.
                died = [e for e in errors if isinstance(e, ray.exceptions.RayActorError)]
                raise (died or errors)[0]
            results += [result.get() for result in ready]
        if len(results) != self.config.num_learners:
            raise TrainingError(
                f"{len(results)} of {self.config.num_learners} learners did the update: one was "
                "lost before; go on from the last checkpoint with --resume"
            )
        return results

    def _learner_failure(self, error: Exception) -> TrainingError:
        # Ray's error is of the cause's class as well, with the remote traceback as its text.
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        if isinstance(cause, GrandmodelError):
            return TrainingError(str(cause))
        said = (str(cause).strip() or "without a message").splitlines()[0]
        return TrainingError(
            f"the update of iteration {self.iteration + 1} failed with {type(cause).__name__}: "
            f"{said}; nothing of it was saved: mend the cause and go on from the last checkpoint "
            "with --resume"
        )

    def _record(
        self, rollouts: Sequence[Rollout], learner: dict[str, float], seconds: dict[str, float]
    ) -> None:
        stats = EpisodeStats()
        for rollout in rollouts:
            stats.add(rollout.stats)
        steps = sum(rollout.env_steps() for rollout in rollouts)
        self.env_steps_total += steps
        moved = self.multipliers.move(stats)
        self.last = IterationStats(steps, self.env_steps_total, stats, learner, seconds, moved)
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
            state[_SIMULATORS] = self._simulators()
            state[_COUNTERS] = {"env_steps_total": self.env_steps_total}
            if self.curriculum is not None:
                state[_CURRICULUM] = self.curriculum.state_dict()
            if self.multipliers.each:
                state[_MULTIPLIERS] = self.multipliers.state_dict()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if _COUNTERS in state:
            self.env_steps_total = state[_COUNTERS]["env_steps_total"]
        if self.curriculum is not None and _CURRICULUM in state:
            self.curriculum.load_state(state[_CURRICULUM])
        if _MULTIPLIERS in state:
            self.multipliers.load_state(state[_MULTIPLIERS])
        if _SIMULATORS not in state:
            return
        self._restore_simulators(dict(state[_SIMULATORS]))

    def _simulators(self) -> list[tuple[int, dict[str, Any] | None]]:
        """Every runner's number and the state of its episodes; None of one that was lost."""
        remote = self.config.num_env_runners > 0
        found = dict(
            self.env_runner_group.foreach_env_runner(
                lambda runner: (runner.worker_index, runner.simulator_state()),
                local_env_runner=not remote,
                timeout_seconds=self.config.sample_timeout_s,
            )
        )
        simulators = [(worker, found.get(worker)) for worker in self._workers()]
        self._say_once("a resume from this checkpoint will begin episodes anew", simulators)
        return simulators

    def _restore_simulators(self, simulators: dict[int, dict[str, Any] | None]) -> None:
        workers = self._workers()
        if set(simulators) != set(workers):
            raise TrainingError(
                f"checkpoint of runners {sorted(simulators)}, this run has {list(workers)}: "
                "resume with the number of runners it was begun with"
            )
        self._say_once("episodes are begun anew", simulators.items())
        remote = self.config.num_env_runners > 0
        kept = {worker: found for worker, found in simulators.items() if found is not None}
        failures = dict(
            self.env_runner_group.foreach_env_runner(
                lambda runner: (
                    runner.worker_index,
                    runner.load_simulator_state(kept[runner.worker_index])
                    if runner.worker_index in kept
                    else None,
                ),
                local_env_runner=not remote,
                timeout_seconds=self.config.sample_timeout_s,
            )
        )
        for worker in workers:
            if worker not in failures:
                raise TrainingError(f"runner {worker} was lost while its episodes were restored")
            if (failure := failures[worker]) is not None:
                raise TrainingError(f"runner {worker}: {failure.message}")

    def _say_once(self, what: str, simulators: Iterable[tuple[int, dict[str, Any] | None]]) -> None:
        """Warn of episodes that are in no checkpoint, and why; of each reason once."""
        for worker, found in simulators:
            problem = "the runner was lost" if found is None else found.get("problem", "")
            if problem and (what, problem) not in self._said:
                self._said |= {(what, problem)}
                log.warning(what, runner=worker, reason=problem)


def _mean(values: Sequence[Any]) -> float:
    """The mean of RLlib's reduced values, which are numbers or objects that peek at one."""
    numbers = [float(v.peek()) if hasattr(v, "peek") else float(v) for v in values]
    return fmean(numbers)  # exact, whatever order learners finish in


def _tensor(array: Any) -> torch.Tensor:
    return torch.tensor(array)  # a copy: the learner's arrays are its live weights
