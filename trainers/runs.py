"""The folder of a run: its configuration, its curves, what a resume needs to know."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import TrainingError
from configs.loading import dump_yaml, load_config
from configs.mappo import MappoConfig
from configs.team import TeamConfig, load_team_config
from configs.train import LayerTraining, load_train_config, load_training
from market.kernels import kernel_digest
from trainers.budget import limits_reached
from trainers.mappo.checkpoint import latest_checkpoint, load_meta
from trainers.mappo.plan import TeamPlan
from trainers.report import replace
from trainers.work_folder import by_time, dated

RunConfig = LayerTraining | TeamConfig

CONFIG_FILE = "config.yaml"
HISTORY_FILE = "history.jsonl"
RUN_FILE = "run.json"
ARTEFACT_FOLDER = "artefact"
REPORT_FOLDER = "report"
UPSTREAM_FOLDER = "upstream"


@dataclass
class RunFolder:
    """One run on disk. `history` holds one row of figures per iteration."""

    path: Path
    history: list[dict[str, float]]
    tracking_run: str | None = None
    finished: bool = False

    @property
    def artefact(self) -> Path:
        return self.path / ARTEFACT_FOLDER

    @property
    def report(self) -> Path:
        return self.path / REPORT_FOLDER

    @property
    def upstream(self) -> Path:
        """The artefacts of layers above that it is trained under, by layer."""
        return self.path / UPSTREAM_FOLDER

    def check_resumable(self, config: MappoConfig, make: str, plan: TeamPlan) -> None:
        """Refuse what the run cannot go on with, while it is yet as it was left.

        Raises:
            TrainingError: see `trainers.mappo.checkpoint.CheckpointMeta.check_resumable`.
        """
        checkpoint = latest_checkpoint(self.path)
        if checkpoint is not None:
            load_meta(checkpoint).check_resumable(config, make, plan, kernel_digest(), checkpoint)

    def begin(self, config: RunConfig, tracking_run: str | None) -> None:
        """Write down what the run is, before its first step or before it goes on."""
        self.tracking_run = tracking_run
        self.finished = False
        replace(self.path / CONFIG_FILE, dump_yaml(config).encode())
        self._save()

    def finish(self) -> None:
        """Mark the run as done: there is nothing left to resume."""
        self.finished = True
        self._save()

    def record(self, row: Mapping[str, float]) -> None:
        """Add one iteration's figures.

        Raises:
            TrainingError: they cannot be written.
        """
        self.history.append(dict(row))
        path = self.path / HISTORY_FILE
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dict(row)) + "\n")
        except OSError as error:  # a full disk says so without the file's name
            raise TrainingError(
                f"{path}: cannot be written ({error.strerror or error}); make room and go on from "
                "the last checkpoint with --resume"
            ) from error

    def forget_after(self, iteration: int) -> None:
        """Drop what was recorded after the checkpoint that a resume goes on from.

        The file is written anew, so that a line which a kill has torn goes as well.
        """
        self.history = [row for row in self.history if row.get("iteration", 0.0) <= iteration]
        text = "".join(json.dumps(row) + "\n" for row in self.history)
        replace(self.path / HISTORY_FILE, text.encode())

    def _save(self) -> None:
        fields = {"tracking_run": self.tracking_run, "finished": self.finished}
        replace(self.path / RUN_FILE, (json.dumps(fields, indent=2) + "\n").encode())


def new_run(config: RunConfig, output: str | None) -> RunFolder:
    """A folder for a new run: `output` itself, or a dated one under the configured folder.

    A folder whose run was killed before its first checkpoint is taken for a new one.

    Raises:
        TrainingError: `output` holds a run already.
    """
    if output is not None:
        run = RunFolder(Path(output), [])
        kept = latest_checkpoint(run.path) is not None
        if kept and (run.path / RUN_FILE).exists():
            raise TrainingError(
                f"{output} holds a run already: add --resume to go on with it, or choose another "
                "folder with --output"
            )
        if kept or run.artefact.exists():
            raise TrainingError(
                f"{output} holds what is left of a run that cannot be resumed: choose another "
                "folder with --output"
            )
        return run
    return RunFolder(dated(config.output, config.run_stem), [])


def resumed_run(config: RunConfig, output: str | None, any_market: bool = False) -> RunFolder:
    """The run to go on with: `output`, or the latest unfinished one of what `config` trains.

    Of the market that it names, too, unless `any_market`. Runs that were killed before
    their first checkpoint have nothing to go on from.

    Raises:
        TrainingError: there is none.
    """
    if output is not None:
        run = _read(Path(output))
        if latest_checkpoint(run.path) is None:
            remedy = (
                "its checkpoints are gone; begin a new run in another folder"
                if run.artefact.exists()
                else "run without --resume to begin anew there"
            )
            raise TrainingError(f"{output}: no checkpoint to resume from; {remedy}")
        return run
    root = Path(config.output)
    stem = config.run_family if any_market else config.run_stem
    folders = [path.parent for path in root.glob(f"{stem}-*/{RUN_FILE}")]
    found = [_read(path) for path in folders if latest_checkpoint(path) is not None]
    unfinished = sorted(
        (run for run in found if not run.finished), key=lambda run: by_time(run.path)
    )
    if not unfinished:
        raise TrainingError(
            f"no unfinished run of {stem} with a checkpoint under {root}: nothing to "
            "resume; run without --resume, or name the run's folder with --output"
        )
    return unfinished[-1]


def load_run(
    layer: str,
    presets: Sequence[str],
    files: Sequence[Path],
    overrides: Sequence[str],
    seed: int | None,
    output: str | None,
    resume: bool,
) -> tuple[LayerTraining, RunFolder]:
    """The configuration and the folder of a run to begin or, with `resume`, to go on with.

    A resumed run keeps the configuration that it was begun with, whatever is given
    laid over it; its environment cannot change.

    Raises:
        ConfigError: see `configs.train.load_train_config`.
        TrainingError: nothing to resume, a finished run with the settings that it has, or another
            environment than the run's.
    """
    config = load_train_config(layer, presets, files, overrides, seed)
    if not resume:
        return config, new_run(config, output)
    given = bool(presets or files or overrides)
    folder = resumed_run(config, output, any_market=not given)
    base = folder.path / CONFIG_FILE
    begun = load_training(layer, base)
    config = load_train_config(layer, presets, files, overrides, seed, base)
    check_environment(config, begun, folder)
    _refuse_nothing_to_do(config, begun, folder)
    return config, folder


def check_environment(config: LayerTraining, begun: LayerTraining, folder: RunFolder) -> None:
    """Refuse to go on in another environment than a run was begun in.

    Raises:
        TrainingError: `config` has another than `begun`.
    """
    if config.env != begun.env:
        raise TrainingError(
            f"{folder.path} was begun in another environment than these settings give; resume it "
            f"without changing env (its settings are in {folder.path / CONFIG_FILE}), or begin a "
            "new run"
        )


def load_team_run(
    env: str,
    files: Sequence[Path],
    overrides: Sequence[str],
    seed: int | None,
    output: str | None,
    resume: bool,
) -> tuple[TeamConfig, RunFolder]:
    """The same for a training on any PettingZoo environment.

    Raises:
        ConfigError: see `configs.team.load_team_config`.
        TrainingError: as `load_run`.
    """
    config = load_team_config(env, files, overrides, seed)
    if not resume:
        return config, new_run(config, output)
    folder = resumed_run(config, output)
    base = folder.path / CONFIG_FILE
    begun = load_config(TeamConfig, base)
    config = load_team_config(env, files, overrides, seed, base)
    if (config.env, config.kwargs) != (begun.env, begun.kwargs):
        raise TrainingError(
            f"{folder.path} was begun in {begun.env} with {begun.kwargs}, not in {config.env} with "
            f"{config.kwargs}: resume it with the same environment, or begin a new run"
        )
    _refuse_nothing_to_do(config, begun, folder)
    return config, folder


def _refuse_nothing_to_do(config: RunConfig, begun: RunConfig, folder: RunFolder) -> None:
    """Leave a finished run alone, unless its settings now ask for more than it has done."""
    checkpoint = latest_checkpoint(folder.path)
    if not folder.finished or checkpoint is None:
        return
    meta = load_meta(checkpoint)
    done = limits_reached(config.mappo.stop, meta.env_steps, meta.minutes, meta.iteration)
    if config == begun or done:
        told = f", with mappo.stop.{' and mappo.stop.'.join(done)}" if done else ""
        raise TrainingError(
            f"{folder.path} is finished: trained for {meta.env_steps:,} steps in "
            f"{meta.minutes:.1f} minutes{told}; expected more to do, such as a larger "
            "mappo.stop.env_steps and, where it is set, mappo.stop.minutes; or run without "
            "--resume to begin a new one"
        )


def read_run(path: Path) -> RunFolder | None:
    """The run in a folder, finished or not; None where there is none.

    Raises:
        TrainingError: it is damaged.
    """
    return _read(path) if (path / RUN_FILE).is_file() else None


def resumable(path: Path) -> bool:
    """Whether a run's folder holds a checkpoint to go on from."""
    return latest_checkpoint(path) is not None


def _read(path: Path) -> RunFolder:
    run_file = path / RUN_FILE
    try:
        fields = json.loads(run_file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingError(
            f"{path} holds no run ({RUN_FILE} is missing); run without --resume to begin one, "
            "there or, where checkpoints are left, in another folder"
        ) from error
    except (OSError, ValueError) as error:
        raise TrainingError(_unreadable(run_file, str(error))) from error
    if not isinstance(fields, dict):
        raise TrainingError(
            _unreadable(run_file, f"got a {type(fields).__name__}, expected an object")
        )
    tracking_run, finished = fields.get("tracking_run"), fields.get("finished", False)
    if not isinstance(tracking_run, str | None) or not isinstance(finished, bool):
        raise TrainingError(
            _unreadable(run_file, "expected tracking_run as text or null and finished as a boolean")
        )
    return RunFolder(path, _history(path / HISTORY_FILE), tracking_run, finished)


def _unreadable(run_file: Path, reason: str) -> str:
    return (
        f"{run_file} cannot be read ({reason}); name another run's folder with --output, or "
        "move this one away and begin a new run"
    )


def _history(path: Path) -> list[dict[str, float]]:
    """The rows of a run's curves; a kill may have torn the last one, which is left out."""
    rows: list[dict[str, float]] = []
    try:
        lines = path.read_bytes().splitlines() if path.is_file() else []
        for line in lines:
            try:
                row = json.loads(line.decode())
            except json.JSONDecodeError:
                break
            if not isinstance(row, dict) or not isinstance(row.get("iteration", 0.0), int | float):
                raise ValueError("expected an object with a number as its iteration")
            rows.append(row)
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path}, line {len(rows) + 1}: damaged ({error}); remove that line and those after "
            "it, only curves are lost"
        ) from error
    return rows
