"""How often the verdict finds evidence in panels that hold none, and in panels that hold some.

    python -m experiments.evidence [WORLD|all]

Draws 1,000 panels of 20 candidates over five years of days for each world, pure noise and one
planted Sharpe ratio of 2 among them, and counts what the verdict of `trainers.evaluation` says.
The exit code is 1 where a share is not what is asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments import studies
from experiments.evidence import study
from experiments.evidence.results import table, write

ALL = "all"
PUBLISHED = Path(__file__).parent.parent / "results" / "evidence"


def run(given: argparse.Namespace) -> list[study.Counted]:
    """The results of the worlds asked for.

    Raises:
        RegistryError: no such world.
    """
    names = studies.named(given.world, tuple(study.WORLDS), ALL, "world")
    size = study.Size(given.panels, given.candidates, given.years, given.planted, given.seed)
    return [study.counted(name, size) for name in names]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = studies.parser("experiments.evidence", __doc__, "world", tuple(study.WORLDS), ALL)
    out.add_argument("--panels", type=studies.positive, default=study.PANELS)
    out.add_argument("--candidates", type=_three, default=study.CANDIDATES, help="of a panel")
    out.add_argument("--years", type=_years, default=study.YEARS, help="of 252 days")
    out.add_argument(
        "--planted", type=float, default=study.PLANTED, help="Sharpe ratio a year that is planted"
    )
    out.add_argument("--seed", type=int, default=0)
    return out


def _three(text: str) -> int:
    value = int(text)
    if value < 3:
        raise argparse.ArgumentTypeError(f"got {value}, expected 3 at least: one and its rivals")
    return value


def _years(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 100.0:
        raise argparse.ArgumentTypeError(f"got {value}, expected .1 to 100")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study. Returns the exit code."""
    met: list[bool] = []

    def counted(given: argparse.Namespace) -> list[study.Counted]:
        results = run(given)
        met.extend(result.figure.met is True for result in results)
        return results

    code = studies.conclude(
        parser().parse_args(arguments),
        counted,
        PUBLISHED,
        lambda results: Console(width=130).print(table(results)),
        write,
    )
    return code or (0 if all(met) else 1)


if __name__ == "__main__":
    sys.exit(main())
