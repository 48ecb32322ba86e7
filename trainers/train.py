"""Runs one training: a budget, checkpoints, a clean stop on Ctrl-C, and a report per iteration."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import ray
import torch

from configs.errors import TrainingError
from configs.mappo import MappoConfig, StopConfig
from market.kernels import kernel_digest
from policies.actor import Actor
from policies.sequential import SequentialPolicy
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
from trainers.stages import Baselines, StageScorer

_MEGABYTE = 1 << 20
_SECONDS_PER_MINUTE = 60.0
_MEMORY_EVERY_S = 1.0
_CLIENT = "ray://"
_KNOCK_S = 5.0
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, KiB elsewhere


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
        grad_norm_critic, epochs, progress.
    curriculum: the stage it was sampled in and, where it was scored, score and its returns.
    minutes: of training over all sittings. peak_rss_bytes: see `peak_rss`.
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


@dataclass(frozen=True)
class TrainResult:
    """How a training ended. `interrupted`: by Ctrl-C or SIGTERM, after a checkpoint.

    last: the last report, None where a resumed run's budget was already used up.
    """

    actors: Mapping[str, Actor]
    checkpoint: Path
    iterations: int
    env_steps: int
    minutes: float
    interrupted: bool
    peak_rss_bytes: int
    last: IterationReport | None

    @property
    def policy(self) -> SequentialPolicy:
        """The one actor of a layer.

        Raises:
            TrainingError: a team was trained, whose actors are several.
        """
        policy = self.actors.get(POLICY)
        if not isinstance(policy, SequentialPolicy):
            raise TrainingError(f"no layer was trained but the groups {', '.join(self.actors)}")
        return policy


def train(
    config: MappoConfig,
    make: str,
    env_kwargs: Mapping[str, Any],
    output: Path,
    resume: bool = False,
    on_iteration: Callable[[IterationReport], None] | None = None,
    baselines: Baselines | None = None,
) -> TrainResult:
    """Train MAPPO on the environment `make` until the budget `config.stop` is used up.

    make: "package.module:function", called as function(num_envs, seed, **env_kwargs),
    returning a `BatchedEnv` or a `TeamEnv`. baselines: who sets the score of 1 in a stage of
    the curriculum, given the environment's keyword arguments there. Checkpoints go to
    `output`/checkpoints; with `resume` the run goes on from the latest one, its minutes
    counted.

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
    with _torch_threads(config.torch_threads), _ray(config), _deferred_signals() as stop:
        algorithm = _build(rllib_config)
        try:
            if checkpoint is not None and state is not None:
                _restore(algorithm, state, checkpoint)
            scorer = _scorer(rllib_config, make, baselines)
            run = _Run(algorithm, config, make, plan, output, spent, checkpoint, kernels, scorer)
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
    memory: PeakMemory = field(default_factory=lambda: PeakMemory())
    started: float = field(default_factory=time.perf_counter)

    @property
    def minutes(self) -> float:
        return self.minutes_before + (time.perf_counter() - self.started) / _SECONDS_PER_MINUTE

    def until_done(
        self, stop: threading.Event, on_iteration: Callable[[IterationReport], None] | None
    ) -> TrainResult:
        algorithm = self.algorithm
        saved_at = algorithm.iteration if self.checkpoint is not None else -1
        report: IterationReport | None = None
        while self._share_used() < 1.0 and not stop.is_set():
            report = self._iterate()
            if on_iteration is not None:
                on_iteration(report)
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
        )

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


def budget_used(stop: StopConfig, env_steps: int, minutes: float, iterations: int) -> float:
    """The largest share used of any limit in `stop`; 1 or more means that it is used up."""
    shares = [
        used / limit
        for used, limit in (
            (env_steps, stop.env_steps),
            (minutes, stop.minutes),
            (iterations, stop.iterations),
        )
        if limit is not None
    ]
    return max(shares)


def decay_progress(stop: StopConfig, env_steps: int, minutes: float, iterations: int) -> float:
    """The share of the budget that decays follow: the clock's only where nothing else bounds it."""
    if stop.env_steps is not None or stop.iterations is not None:
        stop = stop.model_copy(update={"minutes": None})
    return budget_used(stop, env_steps, minutes, iterations)


class PeakMemory:
    """The largest resident memory seen, of this process and all below it.

    A sum of resident sets: pages that processes share count once for each, so it
    is an upper bound of each look. What came and went between two looks is known of
    this process and of the largest child that ended, by the kernel's own record.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._peak = 0
        self._measured = -float("inf")

    def measure(self, every_s: float = 0.0) -> int:
        """The peak in bytes, looked at anew if the last look is `every_s` old."""
        now = time.perf_counter()
        if now - self._measured < every_s:
            return self._peak
        self._measured = now
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended as we looked
                total += process.memory_info().rss
        own, ended = (
            resource.getrusage(who).ru_maxrss * _MAXRSS_BYTES
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        self._peak = max(self._peak, total, own, ended)
        return self._peak


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


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _knock(address: str) -> None:
    """Connect to "HOST:PORT" or "ray://HOST:PORT" and hang up: Ray itself would try for minutes.

    Raises:
        OSError: nothing answers there.
    """
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


@contextlib.contextmanager
def _ray(config: MappoConfig) -> Iterator[None]:
    """Ray for the length of a run: on this machine, or a cluster's; one that runs is used.

    Raises:
        TrainingError: the cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's own note about devices hidden from workers without any; it has no meaning here.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    local: dict[str, Any] = {}
    if config.ray_address is not None:
        local = {"address": config.ray_address}
    elif "RAY_ADDRESS" not in os.environ:
        local = {
            "num_cpus": max(1, config.runners + config.learners),
            "object_store_memory": config.object_store_mb * _MEGABYTE,
            "include_dashboard": False,
        }
    address = config.ray_address or os.environ.get("RAY_ADDRESS", "")
    try:
        _knock(address)
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **local)
    except OSError as error:  # ConnectionError is one
        raise TrainingError(
            f"Ray at '{address}' cannot be reached ({error}): start it there, give another "
            "mappo.ray_address, or leave it out to run on this machine alone"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _deferred_signals() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into an event; the second acts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python delivers signals to the main thread alone
        return

    def remember(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, remember)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
