"""Whether the layers learn: full trainings against the best of their baselines.

    python -m experiments.learning [PART|all]

Parts are layers on markets (learning.yaml). Trains a layer's own settings for every seed, a folder
each under OUTPUT, and plays all on the same held-out episodes as every baseline. Finished trainings
are kept, stopped ones gone on with: the same command again, until all is done. `--only SEED` trains
one, such as beside another process that trains the next; the result is of those that are done. The
best baseline is chosen on the episodes that it is compared on, in its favour.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import studies
from experiments.learning.results import LayerResult, table
from experiments.learning.settings import learning
from experiments.learning.study import baselines, kept_result, prepare, seed_result
from trainers.cli_options import console

ALL = "all"
PUBLISHED = Path(__file__).parent.parent / "results" / "learning"


def run(given: argparse.Namespace) -> list[LayerResult]:
    """Train what is not there yet; the results of the parts asked for.

    Raises:
        GrandmodelError: whatever stops a training.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    study, output = learning(), Path(given.output)
    found = []
    for part in studies.named(given.part, tuple(study.parts), ALL, "part"):
        told = study.parts[part]
        seeds = range(given.seeds or told.seeds)
        prepare(study, part, output)
        for seed in seeds if given.only is None else (given.only,):
            seed_result(study, part, seed, output)
        kept = (kept_result(study, part, seed, output) for seed in seeds)
        if done := tuple(each for each in kept if each is not None):
            rules = baselines(study, part, output)
            found.append(LayerResult(part, told.layer, done, rules, told.wanted))
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = studies.parser("experiments.learning", __doc__, "part", tuple(learning().parts), ALL)
    out.add_argument("--seeds", type=studies.positive, help="0 to this less one")
    out.add_argument("--only", type=int, help="train this seed alone, such as beside another")
    return out


def _show(results: Sequence[LayerResult]) -> None:
    console().print(*(table(found) for found in results))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study. Returns the exit code."""
    return studies.conclude(parser().parse_args(arguments), run, PUBLISHED, _show)


if __name__ == "__main__":
    sys.exit(main())
