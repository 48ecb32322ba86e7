"""What studies share: results that are kept by training, and the command that goes on with them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from configs.errors import EXIT_CODE, GrandmodelError, RegistryError, TrainingError, nearest
from experiments.bench.report import machine
from trainers.provenance import commit, versions
from trainers.report import replace

RESULT_FILE = "result.json"
INTERRUPTED = 130  # 128 + SIGINT, as shells count

Result = TypeVar("Result")


class Report(Protocol):
    """All results of one of a study's parts."""

    @property
    def part(self) -> str:
        """Its name."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        ...


def made() -> dict[str, Any]:
    """The commit, the machine and the versions that a result is made with."""
    return {
        "commit": commit().told,
        "machine": machine(),
        "versions": versions(),
    }


def keep(path: Path, result: Mapping[str, Any]) -> None:
    """Write a training's result to its folder, whole or not at all."""
    replace(path / RESULT_FILE, (json.dumps(result) + "\n").encode())


def kept(path: Path, read: Callable[[dict[str, Any]], Result], remedy: str) -> Result | None:
    """The finished result in a training's folder; None where there is none.

    Args:
        read: makes it of plain data.
        remedy: what to do about one that cannot be read.

    Raises:
        TrainingError: it cannot be read.
    """
    file = path / RESULT_FILE
    if not file.is_file():
        return None
    try:
        return read(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{file} cannot be read ({type(error).__name__}: {error}); {remedy}"
        ) from error


def named(name: str, parts: Sequence[str], everything: str, what: str) -> tuple[str, ...]:
    """The parts that a command asks for: all of them by the word `everything`.

    Raises:
        RegistryError: there is none of that name; `what` says what a part is.
    """
    if name == everything:
        return tuple(parts)
    if name not in parts:
        known = [*parts, everything]
        hint = nearest(name, known)
        meant = f"; {hint}" if hint.startswith("did") else ""
        raise RegistryError(f"unknown {what} '{name}': expected one of {', '.join(known)}{meant}")
    return (name,)


def part_file(folder: Path, part: str) -> Path:
    """Where the results of a part lie in `folder`."""
    return folder / f"{part}.json"


def write_parts(results: Sequence[Report], folder: Path) -> list[Path]:
    """Write a file for each part, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for found in results:
        path = part_file(folder, found.part)
        replace(path, (json.dumps(found.as_dict(), separators=(",", ":")) + "\n").encode())
        written.append(path)
    return written


def parser(
    command: str, doc: str | None, part: str, parts: Sequence[str], everything: str
) -> argparse.ArgumentParser:
    """The command line of a study; it takes further arguments of its own.

    Args:
        command: the module.
        doc: what it says of itself.
        part: what one of `parts` is called.
        everything: the word for all of them.
    """
    out = argparse.ArgumentParser(
        prog=f"python -m {command}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument(
        part, nargs="?", default=everything, help=f"{', '.join(parts)} or {everything}"
    )
    out.add_argument("--output", help="where runs and results go", default=default_output(command))
    out.add_argument("--publish", action="store_true", help="write the results to results/, too")
    out.add_argument("--json", action="store_true", help="one JSON object, for machines")
    return out


def default_output(command: str) -> str:
    """Where a study's trainings go: runs/NAME."""
    return f"runs/{command.rpartition('.')[2]}"


def positive(text: str) -> int:
    """A whole number from 1, as an argument."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {value}, expected 1 at least")
    return value


def conclude(
    given: argparse.Namespace,
    run: Callable[[argparse.Namespace], Sequence[Any]],
    published: Path,
    show: Callable[[Sequence[Any]], None],
    write: Callable[[Sequence[Any], Path], object] = write_parts,
) -> int:
    """Run a study, write its results and show them. Returns the exit code.

    Args:
        run: the results, a `Report` of each part.
        published: the folder that is kept with the code.
        show: prints them for people.
        write: writes them to a folder.
    """
    try:
        results = run(given)
        if results:
            write(results, Path(given.output))
            if given.publish:
                write(results, published)
    except GrandmodelError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    except KeyboardInterrupt:
        again = "the same command (without --force)" if "force" in given else "the same command"
        print(f"stopped; {again} goes on from there", file=sys.stderr)
        return INTERRUPTED
    if given.json:
        print(json.dumps([found.as_dict() for found in results], indent=2))
    else:
        show(results)
    return 0
