"""The folder of a run: its configuration, its curves, what a resume needs to know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from configs.errors import TrainingError
from configs.loading import dump_yaml
from configs.train import TrainConfig
from trainers.report import replace

CONFIG_FILE = "config.yaml"
HISTORY_FILE = "history.jsonl"
RUN_FILE = "run.json"
ARTEFACT_FOLDER = "artefact"
REPORT_FOLDER = "report"


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

    def begin(self, config: TrainConfig, tracking_run: str | None) -> None:
        """Write down what the run is, before its first step."""
        self.tracking_run = tracking_run
        replace(self.path / CONFIG_FILE, dump_yaml(config).encode())
        self._save()

    def finish(self) -> None:
        """Mark the run as done: there is nothing left to resume."""
        self.finished = True
        self._save()

    def record(self, row: Mapping[str, float]) -> None:
        """Add one iteration's figures."""
        self.history.append(dict(row))
        with (self.path / HISTORY_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")

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


def new_run(config: TrainConfig, output: str | None) -> RunFolder:
    """A folder for a new run: `output` itself, or a dated one under the configured folder."""
    if output is not None:
        return RunFolder(Path(output), [])
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    root, stem = Path(config.output), f"{_prefix(config)}{stamp}"
    path = root / stem
    number = 1
    while path.exists():
        number += 1
        path = root / f"{stem}-{number}"
    return RunFolder(path, [])


def resumed_run(config: TrainConfig, output: str | None) -> RunFolder:
    """The run to go on with: `output`, or the latest unfinished one of layer and market.

    Raises:
        TrainingError: there is none.
    """
    if output is not None:
        return _read(Path(output))
    root = Path(config.output)
    found = [_read(path.parent) for path in root.glob(f"{_prefix(config)}*/{RUN_FILE}")]
    unfinished = sorted((run for run in found if not run.finished), key=lambda run: run.path.name)
    if not unfinished:
        raise TrainingError(
            f"no unfinished run of {_prefix(config).rstrip('-')} under {root}: nothing to resume; "
            "run without --resume, or name the run's folder with --output"
        )
    return unfinished[-1]


def _prefix(config: TrainConfig) -> str:
    return f"{config.layer}-{config.env.market.name}-"


def _read(path: Path) -> RunFolder:
    run_file = path / RUN_FILE
    try:
        fields = json.loads(run_file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingError(
            f"{path} holds no run ({RUN_FILE} is missing); run without --resume to begin one there"
        ) from error
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{run_file} cannot be read ({error}); begin a new run in another folder"
        ) from error
    history: list[dict[str, float]] = []
    history_file = path / HISTORY_FILE
    for line in history_file.read_text().splitlines() if history_file.is_file() else []:
        try:
            history.append(json.loads(line))
        except ValueError:
            break  # a kill may have torn the last line
    return RunFolder(path, history, fields.get("tracking_run"), bool(fields.get("finished")))
