"""Runs one training: a budget, checkpoints, a clean stop on Ctrl-C, and a report per iteration."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from cascade.interrupts import deferred_signals
from configs.errors import TrainingError
from configs.mappo import MappoConfig
from market.kernels import kernel_digest
from policies.actor import Actor
from policies.ensemble import LayerPolicy
from trainers.budget import budget_used, decay_progress
from trainers.mappo.algorithm import MAPPO
from trainers.mappo.checkpoint import (
    EARLIER,
    CheckpointMeta,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from trainers.mappo.config import MAPPOConfig
from trainers.mappo.plan import POLICY, TeamPlan
from trainers.memory import PeakMemory
from trainers.monitoring import Alarms, Patience, Validation, patience_of
from trainers.session import ray_session, torch_threads
from trainers.stages import Baselines, StageScorer

OnIteration = Callable[["IterationReport"], str | None]

_SECONDS_PER_MINUTE = 60.0
_MEMORY_EVERY_S = 1.0


@dataclass(frozen=True)
class IterationReport:
    """One iteration, in figures that were measured.

    env_steps: of the whole run so far; all agents act once in one.
    seconds: of this iteration by phase: sample, learn, sync.
    metrics: means over the episodes that ended in it: return, length, return/AGENT
        and the environment's own; empty where none ended.
    rewards: means per environment step: reward/AGENT, and term/NAME where offered.
    losses: means over its minibatches: policy_loss, value_loss, supervised_loss,
        entropy (nats), kl, clip_fraction, explained_variance, grad_norm_policy,
        grad_norm_critic, epochs, progress; value_spread of a critic with dropout, the mean
        standard deviation of its values over its masks, in the reward's scale.
    curriculum: the stage it was sampled in and, where it was scored, score and its returns.
    constraints: mappo.constraint.NAME.cost, .multiplier and .limit; empty without constraints.
    watched: alarm_NAME, 1 while it is raised, and validation_score where one was due.
    minutes: of training over all sittings. peak_rss_bytes: see `PeakMemory`.
    """

    iteration: int
    env_steps: int
    steps_per_s: float
    seconds: Mapping[str, float]
    episodes: int
    metrics: Mapping[str, float]
    rewards: Mapping[str, float]
    losses: Mapping[str, float]
    curriculum: Mapping[str, float]
    progress: float
    minutes: float
    peak_rss_bytes: int
    watched: Mapping[str, float] = field(default_factory=dict)
    constraints: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainResult:
    """How a training ended. `interrupted`: by Ctrl-C or SIGTERM, after a checkpoint.

    last: the last report, None where a resumed run's budget was already used up.
    ended: why it ended before its budget, in words; None where it did not.
    """

    actors: Mapping[str, Actor]
    checkpoint: Path
    iterations: int
    env_steps: int
    minutes: float
    interrupted: bool
    peak_rss_bytes: int
    last: IterationReport | None
    ended: str | None = None

    @property
    def policy(self) -> LayerPolicy:
        """The one actor of a layer.

        Raises:
            TrainingError: a team was trained, whose actors are several.
        """
        policy = self.actors.get(POLICY)
        if not isinstance(policy, LayerPolicy):
            raise TrainingError(f"no layer was trained but the groups {', '.join(self.actors)}")
        return policy


def train(
    config: MappoConfig,
    make: str,
    env_kwargs: Mapping[str, Any],
    output: Path,
    resume: bool = False,
    on_iteration: OnIteration | None = None,
    baselines: Baselines | None = None,
    validation: Validation | None = None,
) -> TrainResult:
    """Train MAPPO on the environment `make` until the budget `config.stop` is used up.

    make: "package.module:function", called as function(num_envs, seed, **env_kwargs),
    returning a `BatchedEnv` or a `TeamEnv`. baselines: who sets the score of 1 in a stage of
    the curriculum, given the environment's keyword arguments there. Checkpoints go to
    `output`/checkpoints; with `resume` the run goes on from the latest one, its minutes
    counted. on_iteration: may return why the training should end now, as for lack of promise:
    it is checkpointed and ends as if its budget were used up. validation: scores it on its way,
    for `config.stop.patience`.

    On Ctrl-C or SIGTERM the running iteration is finished and checkpointed; a
    second signal interrupts at once.

    Raises:
        TrainingError: there is a run in `output` and `resume` is not set, or the other
            way about; the checkpoint is of other settings; or training failed.
    """
    checkpoint = _choose_checkpoint(output, resume)
    rllib_config = MAPPOConfig().mappo(config).batched_env(make, env_kwargs)
    rllib_config.validate()
    plan = rllib_config.training_plan
    kernels = kernel_digest()
    state: dict[str, Any] | None = None
    spent = 0.0
    if checkpoint is not None:
        meta, state = load_checkpoint(checkpoint)
        meta.check_resumable(config, make, plan, kernels, checkpoint)
        spent = meta.minutes
    scorer = _scorer(rllib_config, make, baselines)
    with torch_threads(config.torch_threads), ray_session(config), deferred_signals() as stop:
        algorithm = _build(rllib_config)
        try:
            if checkpoint is not None and state is not None:
                _restore(algorithm, state, checkpoint)
            patience = patience_of(config, validation, algorithm.iteration)
            run = _Run(
                algorithm,
                config,
                make,
                plan,
                output,
                spent,
                checkpoint,
                kernels,
                scorer,
                Alarms(config.alarms, plan),
                patience,
            )
            return run.until_done(stop, on_iteration)
        finally:
            algorithm.stop()


def _restore(algorithm: MAPPO, state: dict[str, Any], checkpoint: Path) -> None:
    try:
        algorithm.set_state(state)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise TrainingError(
            f"{checkpoint}: its state does not fit this version ({type(error).__name__}: {error}); "
            f"{EARLIER}"
        ) from error


def _choose_checkpoint(output: Path, resume: bool) -> Path | None:
    checkpoint = latest_checkpoint(output)
    if resume and checkpoint is None:
        raise TrainingError(f"{output}: no checkpoint to resume from; run without --resume")
    if not resume and checkpoint is not None:
        raise TrainingError(
            f"{output}: holds a run already ({checkpoint.name}); add --resume to go on with it, "
            "or choose another output folder"
        )
    return checkpoint


@dataclass
class _Run:
    """The loop over iterations and what it keeps between them."""

    algorithm: MAPPO
    config: MappoConfig
    make: str
    plan: TeamPlan
    output: Path
    minutes_before: float
    checkpoint: Path | None
    kernels: str
    scorer: StageScorer | None
    alarms: Alarms
    patience: Patience | None
    memory: PeakMemory = field(default_factory=PeakMemory)
    started: float = field(default_factory=time.perf_counter)

    @property
    def minutes(self) -> float:
        return self.minutes_before + (time.perf_counter() - self.started) / _SECONDS_PER_MINUTE

    def until_done(self, stop: threading.Event, on_iteration: OnIteration | None) -> TrainResult:
        algorithm = self.algorithm
        saved_at = algorithm.iteration if self.checkpoint is not None else -1
        report: IterationReport | None = None
        ended = self.patience.ended if self.patience else None
        while self._share_used() < 1.0 and not stop.is_set() and ended is None:
            report = self._iterate()
            ended = self.patience.ended if self.patience else None
            if on_iteration is not None:
                ended = on_iteration(report) or ended
            if algorithm.iteration % self.config.checkpoint_every == 0:
                self._save()
                saved_at = algorithm.iteration
        if saved_at != algorithm.iteration:
            self._save()
        if self.checkpoint is None:
            raise TrainingError(f"{self.output}: nothing was trained and nothing saved")
        return TrainResult(
            actors=algorithm.actors(),
            checkpoint=self.checkpoint,
            iterations=algorithm.iteration,
            env_steps=algorithm.env_steps_total,
            minutes=self.minutes,
            interrupted=stop.is_set(),
            peak_rss_bytes=self.memory.measure(),
            last=report,
            ended=ended,
        )

    def _share_used(self) -> float:
        """The share of the budget used: of the limit that is nearest."""
        return budget_used(
            self.config.stop,
            self.algorithm.env_steps_total,
            self.minutes,
            self.algorithm.iteration,
        )

    def _iterate(self) -> IterationReport:
        algorithm = self.algorithm
        algorithm.progress = decay_progress(
            self.config.stop, algorithm.env_steps_total, self.minutes, algorithm.iteration
        )
        began = time.perf_counter()
        algorithm.train()
        took = time.perf_counter() - began
        stats = algorithm.last
        if stats is None:
            raise TrainingError(f"iteration {algorithm.iteration} recorded nothing")
        return IterationReport(
            iteration=algorithm.iteration,
            env_steps=stats.env_steps_total,
            steps_per_s=stats.env_steps / took,
            seconds=stats.seconds,
            episodes=stats.episodes.episodes,
            metrics=stats.episodes.episode_means(),
            rewards=stats.episodes.step_means(),
            losses=stats.learner,
            curriculum=self._judge(),
            progress=min(1.0, self._share_used()),
            minutes=self.minutes,
            peak_rss_bytes=self.memory.measure(_MEMORY_EVERY_S),
            watched=self._watch(stats.learner),
            constraints=stats.constraints,
        )

    def _watch(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Alarms, and the validation score where one is due."""
        iteration = self.algorithm.iteration
        found = self.alarms.look(iteration, losses)
        if self.patience is not None:
            found |= self.patience.look(iteration, self.algorithm.actors)
        return found

    def _judge(self) -> dict[str, float]:
        """Score the policy where an evaluation is due, and move the curriculum by it."""
        curriculum, scorer = self.algorithm.curriculum, self.scorer
        if curriculum is None or scorer is None:
            return {}
        found = {"stage": float(curriculum.stage)}
        if self.algorithm.iteration % curriculum.config.evaluate_every == 0:
            score = scorer.score(curriculum.stage, self.algorithm.actors())
            curriculum.record(score.score)
            found |= score.figures()
        return found

    def _save(self) -> None:
        meta = CheckpointMeta(
            iteration=self.algorithm.iteration,
            env_steps=self.algorithm.env_steps_total,
            minutes=self.minutes,
            make=self.make,
            layout=self.plan.layout.digest,
            state_columns=list(self.plan.state_columns),
            kernels=self.kernels,
            config=self.config.model_dump(mode="json"),
        )
        self.checkpoint = save_checkpoint(
            self.output,
            self.algorithm.get_state(),
            self.plan,
            self.algorithm.actors(),
            meta,
            self.config.keep_checkpoints,
        )


def _build(config: MAPPOConfig) -> MAPPO:
    for name in ("ray.rllib", "ray.tune"):
        # What they call errors are tracebacks of runners and learners that this package reports.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        algorithm: MAPPO = config.build_algo()
    except ray.exceptions.RayError as error:
        raise TrainingError(_not_started(error)) from error
    return algorithm


def _scorer(config: MAPPOConfig, make: str, baselines: Baselines | None) -> StageScorer | None:
    curriculum = config.settings.curriculum
    if curriculum is None:
        return None
    stages = config.env_config["stages"]
    seed = config.settings.seed
    return StageScorer(curriculum, config.training_plan, make, stages, baselines, seed)


def _not_started(error: ray.exceptions.RayError) -> str:
    """What to tell of runners or learners that died as they were built."""
    lines = str(error).strip().splitlines() or ["without a message"]
    # Ray's text ends in the remote traceback, whose last line is the error itself.
    return (
        f"runners or learners could not be started ({type(error).__name__}: {lines[-1].strip()}); "
        "see --debug for where, or train with mappo.runners=0 and mappo.learners=0"
    )
