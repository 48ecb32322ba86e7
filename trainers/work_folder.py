"""Folders of work that may be gone on with: dated names, and whether what they hold is done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Self

from configs.errors import TrainingError
from trainers.report import replace

_STAMP = "%Y%m%d-%H%M%S-%f"
_STAMP_LENGTH = len("20260101-000000-000000")


def dated(root: str | Path, stem: str) -> Path:
    """A folder of now: the stem, and the time to the microsecond."""
    return Path(root) / f"{stem}-{datetime.now().astimezone().strftime(_STAMP)}"


def by_time(path: Path) -> tuple[str, str]:
    """Sorts dated folders by the time in their names, whatever their stems."""
    return path.name[-_STAMP_LENGTH:], path.name


@dataclass
class WorkFolder:
    """One work on disk. Derived classes say what it is.

    Attributes:
        family: how the names of its folders begin.
        what: it is called in messages.
        file: in which its state is kept.
        tracking_run: the run in MLflow that is gone on with; None without tracking.
    """

    family: ClassVar[str]
    what: ClassVar[str]
    file: ClassVar[str]

    path: Path
    tracking_run: str | None = None
    finished: bool = False

    @classmethod
    def fresh(cls, root: str | Path, stem: str, output: str | None) -> Self:
        """A folder for new work: `output`, or a dated one of the family and `stem` under `root`.

        Raises:
            TrainingError: `output` holds one already.
        """
        if output is None:
            return cls(dated(root, f"{cls.family}-{stem}"))
        if (Path(output) / cls.file).exists():
            raise TrainingError(
                f"{output} holds a {cls.what} already: add --resume to go on with it, or choose "
                "another folder with --output"
            )
        return cls(Path(output))

    @classmethod
    def begun(cls, root: str | Path, output: str | None, layer: str | None = None) -> Self:
        """The work to go on with: `output`, or the latest unfinished one under `root`.

        layer: whose; None of work on all of them.

        Raises:
            TrainingError: there is none, or it is damaged.
        """
        if output is not None:
            return cls.read(Path(output))
        stem = cls.family if layer is None else f"{cls.family}-{layer}"
        paths = sorted((p.parent for p in Path(root).glob(f"{stem}-*/{cls.file}")), key=by_time)
        unfinished = [found for found in map(cls.read, paths) if not found.finished]
        if not unfinished:
            of = "" if layer is None else f" of the {layer} layer"
            raise TrainingError(
                f"no unfinished {cls.what}{of} under {root}: nothing to resume; run without "
                "--resume, or name its folder with --output"
            )
        return unfinished[-1]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The work in a folder.

        Raises:
            TrainingError: there is none, or it is damaged.
        """
        file = path / cls.file
        try:
            fields = json.loads(file.read_text(encoding="utf-8"))
            return cls(path, fields["tracking_run"], bool(fields["finished"]))
        except FileNotFoundError:
            raise TrainingError(
                f"{path} holds no {cls.what} ({cls.file} is missing); run without --resume to "
                "begin one there"
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise TrainingError(
                f"{file} cannot be read ({error}): expected an object with tracking_run and "
                "finished; name another folder with --output, or begin anew"
            ) from error

    def save(self) -> None:
        """Write the state down, atomically."""
        fields = {"tracking_run": self.tracking_run, "finished": self.finished}
        replace(self.path / self.file, (json.dumps(fields, indent=2) + "\n").encode())

    def finish(self) -> None:
        """Mark it as done: there is nothing left to resume."""
        self.finished = True
        self.save()
