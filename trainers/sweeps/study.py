"""Studies in a database: opened, planned, joined, and what died in them put back.

A study holds its trials as a plan: as many waiting ones as are asked for, each with its place in
it. Workers take them, each place once, so that no number of workers makes more. A trial whose
process died is failed and put back with the same parameters, at once where that process was of
this machine, else when its heartbeat is overdue.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
import psutil
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner, PercentilePruner
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from configs.errors import ConfigError, TrainingError
from configs.sweep import StorageConfig, SweepConfig
from trainers.sweeps.sampler import NumberedTPE

SETTINGS = "settings"
READY = "ready"
PLANNED = "planned"
ORIGIN = "origin"
SURPLUS = "surplus"
TRIES = "tries"
REASON = "reason"
OWNER = "owner"
PUT_BACK = "put_back"
_JOIN_S = 60.0
_SQLITE_TIMEOUT_S = 60  # workers of one file wait for each other's locks
_log = logging.getLogger(__name__)

LIVE = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def masked(url: str) -> str:
    """A storage's address without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url


def open_storage(url: str, config: StorageConfig) -> RDBStorage:
    """The database at `url`, its tables made where they are missing.

    Raises:
        ConfigError: it is no address of one.
        TrainingError: it cannot be reached or opened, or its driver is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        dialect = make_url(url).get_backend_name()
    except ArgumentError as error:
        raise ConfigError(
            f"--storage '{url}': expected the address of a database, such as "
            "postgresql+psycopg://USER@HOST/NAME or sqlite:///FILE.db"
        ) from error
    engine = {"connect_args": {"timeout": _SQLITE_TIMEOUT_S}} if dialect == "sqlite" else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats, since Optuna 2
            return RDBStorage(
                url,
                engine_kwargs={"pool_pre_ping": True, **engine},
                heartbeat_interval=config.heartbeat_s,
                grace_period=config.grace_s,
                heartbeat_stale_trial_callback=_put_back_stale(config.retries),
            )
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrainingError(
            f"the study's storage {masked(url)} cannot be opened ({reason}): start the server or "
            "correct --storage; without it the study is a file in the sweep's folder"
        ) from error


def join_study(
    storage: BaseStorage, name: str, sweep: SweepConfig, rung: int, settings: Mapping[str, Any]
) -> Study:
    """The study of one rung, created by whoever comes first.

    Raises:
        TrainingError: it is of other settings, or nobody has finished creating it.
    """
    told = study_name(name, rung)
    goals = [goal.direction for goal in sweep.goals]
    try:
        study = optuna.create_study(
            storage=storage, study_name=told, directions=goals, pruner=_pruner(sweep)
        )
        study.set_user_attr(SETTINGS, dict(settings))
        study.set_user_attr(READY, True)
    except DuplicatedStudyError:
        study = optuna.load_study(study_name=told, storage=storage, pruner=_pruner(sweep))
        _wait_ready(study)
        _check_settings(study, settings)
    study.sampler = NumberedTPE(sweep.seed + rung, sweep.startup_trials)
    return study


def study_name(name: str, rung: int) -> str:
    """What the study of a rung is called in the database."""
    return name if rung == 0 else f"{name}/rung-{rung}"


def _pruner(sweep: SweepConfig) -> BasePruner:
    told = sweep.pruning
    if not told.enabled or len(sweep.goals) > 1:
        return NopPruner()
    return PercentilePruner(
        100.0 * told.keep_share,
        n_startup_trials=told.startup_trials,
        n_warmup_steps=told.warmup_reports,
    )


def _wait_ready(study: Study) -> None:
    until = time.monotonic() + _JOIN_S
    while not study.user_attrs.get(READY):
        if time.monotonic() > until:
            raise TrainingError(
                f"study '{study.study_name}' was begun and never made ready: choose another --name"
            )
        time.sleep(0.2)


def _check_settings(study: Study, settings: Mapping[str, Any]) -> None:
    known: Mapping[str, Any] = study.user_attrs[SETTINGS]
    differ = sorted(
        f"{part}.{key}" for part in settings for key in _differing(known[part], settings[part])
    )
    if differ:
        raise TrainingError(
            f"study '{study.study_name}' was begun with other settings than these, in "
            f"{', '.join(differ)}: trials of both would not compare; give the same settings, or "
            "another name (--name) or folder (--output)"
        )


def _differing(known: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    free = {"trials", "storage", "output", "models", "tracking"}  # what may change under a study
    keys = (known.keys() | told.keys()) - free
    return [key for key in keys if known.get(key) != told.get(key)]


def plan(study: Study, trials: int) -> None:
    """Leave as many trials waiting as are missing of `trials`; those put back do not count."""
    there = planned(study)
    for place in range(trials):
        if place not in there:
            study.enqueue_trial({}, user_attrs={PLANNED: place})


def planned(study: Study) -> set[int]:
    """Places of the plan that have a trial: on further rungs, numbers of those that go on."""
    found = (trial.user_attrs.get(PLANNED) for trial in study.get_trials(deepcopy=False))
    return {place for place in found if place is not None}


def is_surplus(study: Study, trial: optuna.Trial) -> bool:
    """Whether no plan asks for a trial, which is then marked, to be left out of all accounts.

    It was made for a worker that found none left, or by one that planned beside another: of
    trials in the same place the first counts.
    """
    told = trial.user_attrs
    if ORIGIN in told:
        return False
    before = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number]
    if PLANNED in told and all(t.user_attrs.get(PLANNED) != told[PLANNED] for t in before):
        return False
    trial.set_user_attr(SURPLUS, True)
    return True


def wanted(study: Study) -> list[FrozenTrial]:
    """The trials of a study, surplus ones left out."""
    return [t for t in study.get_trials(deepcopy=False) if SURPLUS not in t.user_attrs]


def own(trial: optuna.Trial) -> None:
    """Write down which process works on a trial."""
    trial.set_user_attr(OWNER, _owner(os.getpid()))


def _owner(pid: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": pid, "began": psutil.Process(pid).create_time()}


def _died(trial: FrozenTrial) -> bool:
    """Whether the process that works on a trial was of this machine and is gone."""
    owner = trial.user_attrs.get(OWNER)
    if owner is None or owner["host"] != socket.gethostname():
        return False
    try:
        return bool(_owner(owner["pid"]) != owner)
    except psutil.NoSuchProcess:
        return True


def bury(study: Study, config: StorageConfig) -> int:
    """Fail and put back the trials whose processes are known to be dead; returns how many."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    dead = [t for t in study.get_trials(states=(TrialState.RUNNING,)) if _died(t)]
    for trial in dead:
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, RuntimeError):  # another worker has buried it meanwhile
            continue
        put_back(study, trial, config.retries)
    return len(dead)


def put_back(study: Study, trial: FrozenTrial, retries: int) -> None:
    """Leave a trial that was cut short waiting again, with the parameters that it had."""
    tries = int(trial.user_attrs.get(TRIES, 0)) + 1
    if tries > retries:
        _log.warning("trial %d was cut short %d times and is given up", trial.number, tries)
        return
    origin = trial.user_attrs.get(ORIGIN, trial.number)
    study.enqueue_trial(dict(trial.params), user_attrs={ORIGIN: origin, TRIES: tries})


def cut_short(study: Study) -> set[int]:
    """Numbers of the trials that were put back: their successors stand for them."""
    out: set[int] = set()
    for trial in study.get_trials(deepcopy=False):
        if ORIGIN in trial.user_attrs:
            origin, tries = trial.user_attrs[ORIGIN], trial.user_attrs[TRIES]
            out |= {
                other.number
                for other in study.get_trials(deepcopy=False)
                if other.number == origin
                or (other.user_attrs.get(ORIGIN) == origin and other.user_attrs[TRIES] < tries)
            }
    return out


def _put_back_stale(retries: int) -> Any:
    def callback(study: Study, trial: FrozenTrial) -> None:
        put_back(study, trial, retries)

    return callback
