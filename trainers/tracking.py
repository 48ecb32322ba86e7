"""Runs in MLflow: configuration, curves, reports, artefacts, and the registry of champions.

mlflow is imported when a run starts, so that importing this module costs nothing.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlparse

from configs.errors import TrackingError
from configs.tracking import URI_VARIABLE, TrackingConfig
from trainers.objective import SHORTFALL, Objective
from trainers.statistics import PairedResult

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

CHAMPION: Literal["champion"] = "champion"
CHALLENGER: Literal["challenger"] = "challenger"
PARENT_TAG = "mlflow.parentRunId"  # MLflow's own, by which runs are shown below another
PARAM_LENGTH = 6_000  # of a value; MLflow's own limit
PARAMS_AT_ONCE = 100  # in one request; MLflow's own limit
METRICS_AT_ONCE = 1_000
_NOT_IN_NAMES = re.compile(r"[^\w.\-/ :]")  # MLflow's rule for keys, which agents' names may break
_SERVERS = ("http", "https")
_PORTS = {"http": 80, "https": 443}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promotion:
    """Which alias a new version gets, and why, in one sentence."""

    alias: Literal["champion", "challenger"]
    reason: str


@dataclass(frozen=True)
class ModelVersion:
    """A registered version: its model's name, number and the folder of its artefact."""

    name: str
    version: str
    source: str


def promotion(
    champion: str | None,
    comparison: PairedResult | None,
    unusable: str | None = None,
    other_environment: str | None = None,
    objective: Objective = SHORTFALL,
    beats_baseline: bool = True,
) -> Promotion:
    """The alias of a new version (DESIGN, decision 6).

    Args:
        champion: the version that holds the alias now; None where there is none.
        comparison: the objective of the new minus that of the champion, run again now
            on the same episodes; None where it was not compared.
        unusable: why the champion could not be run again: it was made for other
            columns, say, so that the cascade refuses it too.
        other_environment: the settings in which the champion was trained otherwise: off
            its own distribution it is not judged.
        objective: what was compared.
        beats_baseline: the new version is shown to be better than its best baseline; where it
            is not, a first champion says so.
    """
    if champion is None:
        unproven = "" if beats_baseline else ", not shown to beat its best baseline"
        return Promotion(CHAMPION, f"the first of its name{unproven}")
    if unusable is not None:
        return Promotion(CHAMPION, f"champion v{champion} can no longer be run: {unusable}")
    if other_environment is not None:
        return Promotion(
            CHALLENGER,
            f"champion v{champion} was trained in another environment and is not judged in "
            f"this one: {other_environment}; give the environments markets of their own "
            "(env.market.name) to keep a champion of each",
        )
    if comparison is None:
        return Promotion(CHALLENGER, f"not compared with champion v{champion}")
    interval = (
        f"{comparison.mean_difference:+.3f} {objective.unit} against champion v{champion}, "
        f"interval [{comparison.low:+.3f}, {comparison.high:+.3f}]"
    )
    if objective.gained(comparison):
        return Promotion(CHAMPION, f"{objective.better}: {interval} excludes zero")
    return Promotion(CHALLENGER, f"not shown to be {objective.better}: {interval}")


def model_name(layer_env: str, market: str) -> str:
    """The registered name of a layer's policies in one market."""
    return f"grandmodel-{layer_env}-{market}"


def flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested configuration as dotted names and text values, as MLflow's params want it."""
    flat: dict[str, str] = {}
    for key, value in fields.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = str(value)[:PARAM_LENGTH]
    return flat


def tracking_uri(config: TrackingConfig) -> str:
    """The store in force: MLFLOW_TRACKING_URI, else the configured one."""
    return os.environ.get(URI_VARIABLE) or config.uri


class Run:
    """One MLflow run as a context: finished on exit, failed or killed on an error.

    Metrics are kept and sent in batches. A store that goes away in the middle
    of training does not stop it; what is unsent is tried again, and closing
    raises TrackingError if it still cannot be sent.
    """

    def __init__(
        self,
        config: TrackingConfig,
        *,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        resume: str | None = None,
    ) -> None:
        """Open the store and start a run, or go on with the run `resume`.

        Args:
            config: the store.
            name: of the run, for people.
            params: nested configuration; it is flattened.
            tags: seed, commit, fingerprints, versions.
            resume: id of the run to go on with; one that is unknown is not an
                error, a new run is started.

        Raises:
            TrackingError: the store cannot be reached or opened.
        """
        self.uri = tracking_uri(config)
        self._flush_seconds = config.flush_seconds
        self._pending: list[Metric] = []
        self._flushed = time.monotonic()
        self._client = connect(self.uri, config.connect_seconds)
        with self._errors("start a run"):
            experiment = self._experiment(config)
            run = self._resumed(resume, experiment)
            if run is None:
                # With its tags at once: killed between the two, a trial's run would be a stray.
                run = self._client.create_run(experiment, run_name=name, tags=dict(tags))
                self.resumed = False
            else:
                self._client.update_run(run.info.run_id, status="RUNNING")
                for key, value in tags.items():
                    self._client.set_tag(run.info.run_id, key, value)
                self.resumed = True
            self.run_id: str = run.info.run_id
            self.experiment_id = experiment
            self._log_params(flatten(params), known=run.data.params)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.flush()
            self._end("FINISHED")
            return
        # The error under way is the one to report, not a store that fails after it.
        with contextlib.suppress(TrackingError):
            self.flush()
            self._end("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")

    def log(self, values: Mapping[str, float | None], step: int) -> None:
        """Keep metrics of one step; None and non-finite ones were not measured and are left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1_000)
        self._pending += [
            Metric(_NOT_IN_NAMES.sub("_", key), float(value), now, step)
            for key, value in values.items()
            if value is not None and math.isfinite(value)
        ]
        if time.monotonic() - self._flushed >= self._flush_seconds:
            try:
                self.flush()
            except TrackingError as error:
                _log.warning("metrics are kept and sent later: %s", error)

    def flush(self) -> None:
        """Send what is kept; raises TrackingError and keeps it where the store refuses."""
        self._flushed = time.monotonic()
        with self._errors("log metrics"):
            while self._pending:
                batch = self._pending[:METRICS_AT_ONCE]
                self._client.log_batch(self.run_id, metrics=batch)
                del self._pending[: len(batch)]

    def log_folder(self, folder: Path, name: str) -> None:
        """Store the files of `folder` under the artifact path `name`."""
        with self._errors(f"store {folder}"):
            self._client.log_artifacts(self.run_id, str(folder), name)

    def log_text(self, text: str, name: str) -> None:
        """Store `text` as the artifact `name`."""
        with self._errors(f"store {name}"):
            self._client.log_text(self.run_id, text, name)

    def tag(self, key: str, value: str) -> None:
        """Set a tag of the run."""
        with self._errors(f"set tag {key}"):
            self._client.set_tag(self.run_id, key, value)

    def champion(self, name: str) -> ModelVersion | None:
        """The version that holds the alias champion of the model `name`, if any."""
        from mlflow.exceptions import MlflowException

        with self._errors("read the registry"):
            try:
                found = self._client.get_model_version_by_alias(name, CHAMPION)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise
            return ModelVersion(name, str(found.version), str(found.source))

    def fetch(self, version: ModelVersion, folder: Path) -> Path:
        """Copy the artefact of `version` into `folder`; returns where it lies."""
        from mlflow.artifacts import download_artifacts

        with self._errors(f"fetch {version.name} v{version.version}"):
            folder.mkdir(parents=True, exist_ok=True)
            return Path(
                download_artifacts(
                    artifact_uri=version.source,
                    dst_path=str(folder),
                    tracking_uri=self.uri,
                )
            )

    def register(
        self, folder: Path, name: str, decided: Promotion, tags: Mapping[str, str]
    ) -> ModelVersion:
        """Store an artefact folder and register it as a new version under its alias."""
        from mlflow.exceptions import MlflowException

        path = "artefact"
        self.log_folder(folder, path)
        with self._errors(f"register {name}"):
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            source = f"{self._client.get_run(self.run_id).info.artifact_uri}/{path}"
            made = self._client.create_model_version(
                name,
                source,
                run_id=self.run_id,
                tags={**tags, "promotion": decided.reason},
                description=decided.reason,
            )
            self._client.set_registered_model_alias(name, decided.alias, made.version)
            return ModelVersion(name, str(made.version), source)

    def _experiment(self, config: TrackingConfig) -> str:
        found = self._client.get_experiment_by_name(config.experiment)
        if found is not None:
            return str(found.experiment_id)
        local = urlparse(self.uri).scheme not in _SERVERS
        location = Path(config.artifact_location).resolve().as_uri() if local else None
        return str(self._client.create_experiment(config.experiment, artifact_location=location))

    def _resumed(self, run_id: str | None, experiment: str) -> Any:
        from mlflow.exceptions import MlflowException

        if run_id is None:
            return None
        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            _log.warning("run %s is not in %s: a new run is started", run_id, self.uri)
            return None
        return run if run.info.experiment_id == experiment else None

    def _log_params(self, params: Mapping[str, str], known: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        # A param cannot be changed: what a resumed run was given anew shows in its config file.
        named = {_NOT_IN_NAMES.sub("_", key): value for key, value in params.items()}
        new = [Param(key, value) for key, value in named.items() if key not in known]
        for start in range(0, len(new), PARAMS_AT_ONCE):
            self._client.log_batch(self.run_id, params=new[start : start + PARAMS_AT_ONCE])

    def _end(self, status: str) -> None:
        with self._errors("end the run"):
            self._client.set_terminated(self.run_id, status)

    def _errors(self, doing: str) -> contextlib.AbstractContextManager[None]:
        return _tracking_errors(doing, self.uri)


def add_to_run(config: TrackingConfig, run_id: str, files: Sequence[Path], name: str) -> str:
    """Store files under the artifact path `name` of a run that there is; the store's address.

    Raises:
        TrackingError: no such store or run, or it refuses them. Nothing is made anew.
    """
    uri = tracking_uri(config)
    parsed = urlparse(uri)
    database = Path(parsed.path.removeprefix("/"))
    if parsed.scheme == "sqlite" and not database.is_file():
        raise TrackingError(_unreachable("open it", uri, f"{database} is not there"))
    client = connect(uri, config.connect_seconds)
    with _tracking_errors(f"add to run {run_id}", uri):
        client.get_run(run_id)
        for file in files:
            client.log_artifact(run_id, str(file), name)
    return uri


def connect(uri: str, seconds: float) -> MlflowClient:
    """A client of the store at `uri`, proven to answer.

    Raises:
        TrackingError: mlflow missing, a kind of store it refuses, a server that
            does not answer within `seconds`, a database that cannot be opened.
    """
    parsed = urlparse(uri)
    if parsed.scheme in _SERVERS:
        # MLflow itself would try again for minutes before it says so.
        try:
            port = parsed.port or _PORTS[parsed.scheme]
            socket.create_connection((parsed.hostname or "", port), timeout=seconds).close()
        except (OSError, ValueError) as error:
            raise TrackingError(_unreachable("reach it", uri, str(error))) from error
    elif parsed.scheme in ("", "file"):
        raise TrackingError(
            f"the tracking store '{uri}' is a folder, which MLflow 3 no longer takes; "
            "expected such as sqlite:///mlflow.db or http://host:5000 "
            f"(tracking.uri or {URI_VARIABLE})"
        )
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        from mlflow import MlflowClient
    except ModuleNotFoundError as error:
        raise TrackingError(
            f"tracking needs mlflow, and '{error.name}' is not installed; "
            "install grandmodel[train], or turn it off with --set tracking.enabled=false"
        ) from error
    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.tracking", "mlflow.utils"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with _tracking_errors("open it", uri):
        if parsed.scheme == "sqlite":
            Path(parsed.path.removeprefix("/")).parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


@contextlib.contextmanager
def _tracking_errors(doing: str, uri: str) -> Iterator[None]:
    """Whatever mlflow raises becomes one TrackingError that says what was being done."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrackingError(_unreachable(doing, uri, reason)) from error


def _unreachable(doing: str, uri: str, reason: str) -> str:
    return (
        f"the tracking store {uri} failed (could not {doing}): {reason}; "
        f"check tracking.uri or {URI_VARIABLE}, or turn it off with --set tracking.enabled=false"
    )
