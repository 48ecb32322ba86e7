"""What parts of the policies' networks buy, by trainings paired by seed.

    python -m experiments.ablation [LAYER|all]

Trains every arm of arms.yaml for every seed, a folder each under OUTPUT, and plays all on the
same held-out episodes. Finished trainings are kept, stopped ones gone on with: the same command
again, until all is done. A seed's arms are trained one after the other, so that a study that is
not done yet is paired all the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from configs.errors import EXIT_CODE, GrandmodelError
from experiments.ablation.results import LayerResult, layer_result, table, write
from experiments.ablation.settings import SEEDS, ablation, layers_named
from experiments.ablation.study import kept_result, seed_result

ALL = "all"
OUTPUT = "runs/ablation"
PUBLISHED = Path(__file__).parent.parent / "results" / "ablation"
INTERRUPTED = 130  # 128 + SIGINT, as shells count


def run(given: argparse.Namespace) -> list[LayerResult]:
    """Train what is not there yet; the results of the layers asked for.

    Raises:
        GrandmodelError: whatever stops a training.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    study = ablation()
    layers = layers_named(given.layer, study, ALL)
    found = []
    for layer in layers:
        for seed in range(given.seeds):
            for arm in study.arms:
                seed_result(study, layer, arm, seed, _folder(given, layer, arm, seed))
        kept = (
            kept_result(_folder(given, layer, arm, seed))
            for arm in study.arms
            for seed in range(given.seeds)
        )
        result = layer_result(layer, [one for one in kept if one is not None])
        if result is not None:
            found.append(result)
    return found


def _folder(given: argparse.Namespace, layer: str, arm: str, seed: int) -> Path:
    return Path(given.output) / layer / arm / f"seed-{seed}"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m experiments.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("layer", nargs="?", default=ALL, help=f"a layer, or {ALL}")
    out.add_argument("--seeds", type=_positive, default=SEEDS, help="0 to this less one")
    out.add_argument("--output", default=OUTPUT, help="where runs and results go")
    out.add_argument(
        "--publish", action="store_true", help=f"write the results to {PUBLISHED.name}/, too"
    )
    out.add_argument("--json", action="store_true", help="one JSON object, for machines")
    return out


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {value}, expected 1 at least")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study. Returns the exit code."""
    given = parser().parse_args(arguments)
    try:
        results = run(given)
        for found in results:
            write(found, Path(given.output))
            if given.publish:
                write(found, PUBLISHED)
    except GrandmodelError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    if given.json:
        print(json.dumps([found.as_dict() for found in results], indent=2))
    else:
        for found in results:
            Console().print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
