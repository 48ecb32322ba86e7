"""Whether the layers learn: full trainings against the best of their baselines.

    python -m experiments.learning [LAYER|all]

Trains a layer's own settings for every seed, a folder each under OUTPUT, and plays all on the
same held-out episodes as every baseline. Finished trainings are kept, stopped ones gone on with:
the same command again, until all is done. `--seeds` below what is done already gives the result
so far. The best baseline is chosen on the episodes that it is compared on, in its favour.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments import studies
from experiments.learning.results import LayerResult, table, write
from experiments.learning.settings import layers_named, learning
from experiments.learning.study import baselines, seed_result

ALL = "all"
PUBLISHED = Path(__file__).parent.parent / "results" / "learning"


def run(given: argparse.Namespace) -> list[LayerResult]:
    """Train what is not there yet; the results of the layers asked for.

    Raises:
        GrandmodelError: whatever stops a training.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    study = learning()
    found = []
    for layer in layers_named(given.layer, study, ALL):
        folder = Path(given.output) / layer
        count = given.seeds or study.layers[layer].seeds
        rules = baselines(study, layer, folder / "baselines")
        trainings = (
            seed_result(study, layer, seed, folder / f"seed-{seed}") for seed in range(count)
        )
        found.append(LayerResult(layer, tuple(trainings), rules))
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = studies.parser("experiments.learning", __doc__, "layer", tuple(learning().layers), ALL)
    out.add_argument("--seeds", type=studies.positive, help="0 to this less one")
    return out


def _write(results: Sequence[LayerResult], folder: Path) -> None:
    for found in results:
        write(found, folder)


def _show(results: Sequence[LayerResult]) -> None:
    for found in results:
        Console().print(table(found))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study. Returns the exit code."""
    return studies.conclude(parser().parse_args(arguments), run, _write, PUBLISHED, _show)


if __name__ == "__main__":
    sys.exit(main())
