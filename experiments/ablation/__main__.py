"""What parts of the policies' networks buy, by trainings paired by seed.

    python -m experiments.ablation [LAYER|all]

Trains every arm of arms.yaml for every seed, a folder each under OUTPUT, and plays all on the
same held-out episodes. Finished trainings are kept, stopped ones gone on with: the same command
again, until all is done. A seed's arms are trained one after the other: `--seeds` below what is
done already gives the paired result so far.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import studies
from experiments.ablation.results import LayerResult, table
from experiments.ablation.settings import SEEDS, ablation
from experiments.ablation.study import seed_result
from trainers.cli_options import console

ALL = "all"
PUBLISHED = Path(__file__).parent.parent / "results" / "ablation"


def run(given: argparse.Namespace) -> list[LayerResult]:
    """Train what is not there yet; the results of the layers asked for.

    Raises:
        GrandmodelError: whatever stops a training.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    study = ablation()
    layers = studies.named(given.layer, tuple(study.layers), ALL, "layer")
    return [
        LayerResult(
            layer,
            tuple(
                seed_result(study, layer, arm, seed, _folder(given, layer, arm, seed))
                for seed in range(given.seeds)
                for arm in study.arms
            ),
        )
        for layer in layers
    ]


def _folder(given: argparse.Namespace, layer: str, arm: str, seed: int) -> Path:
    return Path(given.output) / layer / arm / f"seed-{seed}"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = studies.parser("experiments.ablation", __doc__, "layer", tuple(ablation().layers), ALL)
    out.add_argument("--seeds", type=studies.positive, default=SEEDS, help="0 to this less one")
    return out


def _show(results: Sequence[LayerResult]) -> None:
    console().print(*(table(found) for found in results))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study. Returns the exit code."""
    return studies.conclude(parser().parse_args(arguments), run, PUBLISHED, _show)


if __name__ == "__main__":
    sys.exit(main())
