"""What `grandmodel sweep` does: plan a study, work on it, and say what was found."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from configs.errors import ConfigError, TrainingError
from configs.loading import dump_yaml, load_config
from configs.sweep import SweepConfig, load_sweep_config
from configs.train import LayerTraining, load_train_config
from trainers.layers import LAYERS
from trainers.mappo.costs import check_costs
from trainers.provenance import commit, versions
from trainers.session import ray_session
from trainers.sweeps import report as reports
from trainers.sweeps.folder import SweepFolder
from trainers.sweeps.space import check_space
from trainers.sweeps.study import REASON, masked, open_storage
from trainers.sweeps.trial import MINUTES, LayerTrials, check_goals, fold_settings
from trainers.sweeps.work import Worker
from trainers.tracking import Run, tracking_uri
from trainers.upstream.artefacts import resolved

PARENT = "tracking_run"
_WORKER = "trainers.sweeps.worker"
_CHILD_STOPS_S = 60.0
_LOG_TAIL = 1_000


@dataclass(frozen=True)
class SweepRequest:
    """What was asked for on the command line; see `trainers.cli_learning`."""

    layer: str
    presets: Sequence[str] = ()
    files: Sequence[Path] = ()
    overrides: Sequence[str] = ()
    seed: int | None = None
    space: str | None = None
    sweep_overrides: Sequence[str] = ()
    trials: int | None = None
    workers: int = 1
    storage: str | None = None
    name: str | None = None
    output: str | None = None
    resume: bool = False


@dataclass(frozen=True)
class Assignment:
    """What a worker needs to know; told to a process of its own as JSON."""

    storage: str
    name: str
    folder: str
    parent: str | None

    def worker(self, on_trial: Any = None) -> tuple[Worker, LayerTraining]:
        """The worker, and the configuration that its trials are laid over.

        Raises:
            GrandmodelError: the study or the settings cannot be read.
        """
        folder = SweepFolder(Path(self.folder))
        sweep = load_config(SweepConfig, folder.sweep)
        config = load_train_config(sweep.layer, [], [], [], None, folder.base)
        cache = folder.path / "upstream"
        env = resolved(config.env, cache, tracking_uri(config.tracking), cache)
        trials = LayerTrials(sweep, folder.base, env, folder.trials, self.name, self.parent)
        storage = open_storage(self.storage, sweep.storage)
        settings = {
            "sweep": sweep.model_dump(mode="json"),
            "training": config.model_dump(mode="json"),
        }
        return Worker(storage, self.name, sweep, settings, trials, on_trial), config


def run_sweep(request: SweepRequest, console: Console) -> SweepFolder:
    """Search, beginning or going on, to the last trial.

    Raises:
        GrandmodelError: whatever stops it, in one message.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the running trials put back.
    """
    folder, config, sweep = _settings(request)
    if request.resume:
        _say(console, f"resuming:  {folder.path}")
    _check(config, sweep, console)
    folder.begin(config, sweep)
    name = request.name or folder.path.name
    assignment = Assignment(request.storage or folder.storage, name, str(folder.path), None)

    def on_trial(study: Study, trial: FrozenTrial) -> None:
        _say(console, _line(sweep, study, trial))

    try:
        with _terminated_as_interrupted():
            worker, _ = assignment.worker(on_trial)
            with _parent(config, folder, name, worker) as parent:
                _work(assignment, worker, config, request.workers, parent, console)
                _conclude(sweep, worker.studies, folder, assignment.storage, parent, console)
    except KeyboardInterrupt:
        again = f"grandmodel sweep {sweep.layer} --resume --output {folder.path}"
        more = "" if request.storage is None else f" --storage {masked(request.storage)}"
        more += "" if request.name is None else f" --name {request.name}"
        _say(console, f"stopped; finished trials are kept; go on with: {again}{more}")
        raise
    folder.finish()
    return folder


def _settings(request: SweepRequest) -> tuple[SweepFolder, LayerTraining, SweepConfig]:
    told = (request.presets, request.files, request.overrides, request.seed)
    if not request.resume:
        _refuse_budget(request.overrides)
        config = load_train_config(request.layer, *told)
        sweep = load_sweep_config(
            request.layer, request.space, request.sweep_overrides, request.trials, None
        )
        folder = SweepFolder.fresh(config.output, config.run_stem, request.output)
        return folder, config, sweep
    if any((*told[:3], request.seed is not None, request.space, request.sweep_overrides)):
        raise ConfigError(
            "--resume goes on with the settings that the sweep was begun with: give no others "
            "but --trials, --workers and --storage"
        )
    root = load_train_config(request.layer, [], [], [], None).output
    folder = SweepFolder.begun(root, request.output, request.layer)
    config = load_train_config(request.layer, [], [], [], None, folder.base)
    more = [] if request.trials is None else [f"trials={request.trials}"]
    return folder, config, load_config(SweepConfig, folder.sweep, overrides=more)


def _refuse_budget(overrides: Sequence[str]) -> None:
    """Say where a trial's budget is set, rather than leave one that was given out of account."""
    told = [each for each in overrides if each.startswith("mappo.stop")]
    if told:
        raise ConfigError(
            f"--set {told[0]}: trials are trained to the sweep's own budget, whatever the "
            "training's is; expected --sweep env_steps=N or --sweep minutes=M (what trains the "
            "best settings then, `grandmodel train --config`, takes mappo.stop)"
        )


def _check(config: LayerTraining, sweep: SweepConfig, console: Console) -> None:
    """What the settings or the data have against this sweep, before anything is written."""
    with tempfile.TemporaryDirectory(prefix="grandmodel-") as scratch:
        base = Path(scratch) / "config.yaml"
        base.write_text(dump_yaml(config), encoding="utf-8")
        check_space(sweep, base)
        _say(console, "preparing: a first run of a version compiles its kernels, about a minute")
        env = resolved(config.env, None, tracking_uri(config.tracking), Path(scratch) / "upstream")
        for part in fold_settings(config, env, sweep.score.folds):
            probe = LAYERS[config.layer].judging_env(2, config.seed, part.env, "validation")
            check_goals(sweep.goals, probe.metric_names)
            check_costs(config.mappo.constraints, probe)


def _work(
    assignment: Assignment,
    worker: Worker,
    config: LayerTraining,
    workers: int,
    parent: Run | None,
    console: Console,
) -> None:
    worker.begin()
    sweep = worker.sweep
    _say(
        console,
        f"{sweep.trials} trials of {sweep.budgets[0]:,} steps, study '{assignment.name}' in "
        f"{masked(assignment.storage)}",
    )
    told = Assignment(
        assignment.storage,
        assignment.name,
        assignment.folder,
        parent.run_id if parent else None,
    )
    measure = worker.measure
    if isinstance(measure, LayerTrials):
        measure.parent = told.parent
    with _children(told, workers - 1), ray_session(config.mappo):
        worker.run()


@contextlib.contextmanager
def _children(assignment: Assignment, count: int) -> Iterator[None]:
    """So many further workers, each a process; stopped where this one is.

    Raises:
        TrainingError: one of them failed.
    """
    running: list[tuple[subprocess.Popen[bytes], Path]] = []
    try:
        for number in range(1, count + 1):
            log = Path(assignment.folder) / f"worker-{number}.log"
            with log.open("ab") as file:
                child = subprocess.Popen(
                    [sys.executable, "-m", _WORKER],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=file,
                )
            running.append((child, log))
            if child.stdin is not None:  # by a pipe: the address may hold a password
                child.stdin.write(json.dumps(vars(assignment)).encode())
                child.stdin.close()
        yield
        for child, log in running:
            if child.wait() != 0:
                tail = log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:].strip()
                raise TrainingError(f"a worker failed ({log}): {tail}")
    finally:
        for child, _ in running:
            if child.poll() is None:
                child.terminate()
        for child, _ in running:
            try:
                child.wait(_CHILD_STOPS_S)
            except subprocess.TimeoutExpired:
                child.kill()


@contextlib.contextmanager
def _parent(
    config: LayerTraining, folder: SweepFolder, name: str, worker: Worker
) -> Iterator[Run | None]:
    """The run that those of the trials lie below; None where tracking is off."""
    if not config.tracking.enabled:
        yield None
        return
    made = commit()
    tags = {
        "layer": config.layer,
        "market": config.env.market.name,
        "sweep": name,
        "seed": str(worker.sweep.seed),
        "commit": made.name,
        "dirty": str(made.dirty).lower(),
        **{f"version.{package}": text for package, text in versions().items()},
    }
    first = worker.studies[0]
    params = {"sweep": worker.sweep.model_dump(mode="json")}
    known = first.user_attrs.get(PARENT)
    with Run(config.tracking, name=folder.path.name, params=params, tags=tags, resume=known) as run:
        first.set_user_attr(PARENT, run.run_id)
        folder.tracking_run = run.run_id
        folder.save()
        yield run


def _conclude(
    sweep: SweepConfig,
    studies: Sequence[Study],
    folder: SweepFolder,
    storage: str,
    parent: Run | None,
    console: Console,
) -> None:
    written = reports.write(sweep, studies, folder.base, folder.path, storage)
    for table in reports.tables(sweep, studies):
        console.print(table)
    for line in reports.failures(studies):
        _say(console, line)
    best = reports.best_trials(studies[-1])
    if parent is not None:
        with tempfile.TemporaryDirectory(prefix="grandmodel-") as scratch:
            for path in written:
                (Path(scratch) / path.name).write_bytes(path.read_bytes())
            parent.log_folder(Path(scratch), "sweep")
        figures = (
            dict(zip((g.name for g in sweep.goals), best[0].values, strict=True)) if best else {}
        )
        found = reports.counts(studies[0])
        parent.log({f"best/{k}": v for k, v in figures.items()}, 0)
        parent.log({f"trials/{k.replace(' ', '_')}": float(v) for k, v in found.items()}, 0)
        _say(console, f"tracked:    {parent.uri}, run {parent.run_id}, one child for each trial")
    _say(console, f"sweep:      {folder.path}")
    if not best:
        _say(console, "no trial was scored: nothing can be said of the best settings")
        return
    path = folder.path / reports.BEST_FILE
    _say(console, f"next:       grandmodel train {sweep.layer} --config {path}")


def _line(sweep: SweepConfig, study: Study, trial: FrozenTrial) -> str:
    """One trial as it ended."""
    minutes = trial.user_attrs.get(MINUTES)
    took = "" if minutes is None else f", {minutes:.1f} min of training"
    if trial.state == TrialState.COMPLETE:
        told = ", ".join(
            f"{goal.name} {value:.4g}"
            for goal, value in zip(sweep.goals, trial.values, strict=True)
        )
    elif trial.state == TrialState.PRUNED:
        told = f"pruned after {len(trial.intermediate_values)} reports"
    else:
        told = f"failed: {trial.user_attrs.get(REASON, 'cut short')}"
    return f"trial {trial.number} of {study.study_name}: {told}{took}"


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM as Ctrl-C, so that the running trial is put back."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
