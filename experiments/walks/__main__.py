"""Whether the layers earn on real bars: each retrained fold by fold, judged on what comes after.

    python -m experiments.walks [PART|all]

Parts are layers on the sample of real bars (walks.yaml), which is a vendor's and not shipped. A
part is what `grandmodel walk-forward` does by its settings, in a folder under OUTPUT, where its
report lies, too. A walk that was stopped is gone on with: the same command again. The best baseline
is chosen on the episodes that it is compared on, in its favour.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments import studies
from experiments.walks.study import WalkReport, walked, walks
from trainers.walk_forward.results import TEXT_FILE

ALL = "all"
PUBLISHED = Path(__file__).parent.parent / "results" / "walks"


def run(given: argparse.Namespace) -> list[WalkReport]:
    """Walk what is not done yet; the reports of the parts asked for.

    Raises:
        GrandmodelError: whatever stops a walk.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the fold's run checkpointed.
    """
    study, console = walks(), Console(stderr=True)
    parts = studies.named(given.part, tuple(study.parts), ALL, "part")
    output = Path(given.output)
    return [walked(part, study.parts[part], output, console, given.data) for part in parts]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = studies.parser("experiments.walks", __doc__, "part", tuple(walks().parts), ALL)
    out.add_argument("--data", help="the file of bars; by default where sample-bars looks for it")
    return out


def _show(reports: Sequence[WalkReport]) -> None:
    for report in reports:
        print(f"{report.part}: {report.found['verdict']}")
        print(f"{report.part}: {report.folder / TEXT_FILE}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study. Returns the exit code."""
    return studies.conclude(parser().parse_args(arguments), run, PUBLISHED, _show)


if __name__ == "__main__":
    sys.exit(main())
