"""The folder of a sweep: its settings, its study's file, its trials' runs and its results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from configs.errors import TrainingError
from configs.loading import dump_yaml
from configs.sweep import SweepConfig
from configs.train import LayerTraining
from trainers.report import replace

FAMILY = "sweep"
STATE_FILE = "state.json"
_STAMP = "%Y%m%d-%H%M%S-%f"


@dataclass
class SweepFolder:
    """One sweep on disk."""

    path: Path
    finished: bool = False

    @property
    def base(self) -> Path:
        """The configuration that trials are laid over."""
        return self.path / "config.yaml"

    @property
    def sweep(self) -> Path:
        """What is searched."""
        return self.path / "sweep.yaml"

    @property
    def trials(self) -> Path:
        """Where trials leave their runs."""
        return self.path / "trials"

    @property
    def storage(self) -> str:
        """The study's own file, where no other storage is given."""
        return f"sqlite:///{(self.path / 'study.db').resolve()}"

    def begin(self, config: LayerTraining, sweep: SweepConfig) -> None:
        """Write down what is to be searched."""
        self.finished = False
        replace(self.base, dump_yaml(config).encode())
        replace(self.sweep, dump_yaml(sweep).encode())
        self._save()

    def finish(self) -> None:
        """Mark it as done."""
        self.finished = True
        self._save()

    def _save(self) -> None:
        fields = {"finished": self.finished}
        replace(self.path / STATE_FILE, (json.dumps(fields, indent=2) + "\n").encode())


def new_folder(config: LayerTraining, output: str | None) -> SweepFolder:
    """A folder for a new sweep: `output`, or a dated one under the configured folder.

    Raises:
        TrainingError: `output` holds one already.
    """
    if output is None:
        stamp = datetime.now().astimezone().strftime(_STAMP)
        return SweepFolder(Path(config.output) / f"{FAMILY}-{config.run_stem}-{stamp}")
    if (Path(output) / STATE_FILE).exists():
        raise TrainingError(
            f"{output} holds a sweep already: add --resume to go on with it, or choose another "
            "folder with --output"
        )
    return SweepFolder(Path(output))


def begun_folder(layer: str, root: str, output: str | None) -> SweepFolder:
    """The sweep to go on with: `output`, or the latest unfinished one of the layer under `root`.

    Raises:
        TrainingError: there is none, or it is damaged.
    """
    if output is not None:
        return _read(Path(output))
    paths = sorted(p.parent for p in Path(root).glob(f"{FAMILY}-{layer}-*/{STATE_FILE}"))
    unfinished = [found for found in map(_read, paths) if not found.finished]
    if not unfinished:
        raise TrainingError(
            f"no unfinished sweep of the {layer} layer under {root}: nothing to resume; run "
            "without --resume, or name the sweep's folder with --output"
        )
    return unfinished[-1]


def _read(path: Path) -> SweepFolder:
    file = path / STATE_FILE
    try:
        return SweepFolder(path, bool(json.loads(file.read_text(encoding="utf-8"))["finished"]))
    except FileNotFoundError:
        raise TrainingError(
            f"{path} holds no sweep ({STATE_FILE} is missing); run without --resume to begin one"
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainingError(
            f"{file} cannot be read ({error}): expected an object with finished; name another "
            "folder with --output, or begin a new sweep"
        ) from error
