"""What share of the optimum MAPPO reaches on markets whose best policy is known.

    python -m experiments.analytic [TASK|all]

Tasks: ar1, ar1_cost, regime, almgren_chriss, neutral, oracle, random_walk; over the order book
strategic_oracle, strategic_random_walk.

Trains by the YAML files beside this one, a folder each seed under OUTPUT, and plays whole
episodes by the actors' modes beside the best policy, on the same chance. Finished seeds are
kept, stopped ones gone on with: the same command again, until all is done.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from configs.errors import EXIT_CODE, GrandmodelError
from experiments.analytic.results import TaskResult, table, verdicts, write
from experiments.analytic.settings import ALL, SEEDS, TASKS, settings, tasks_named
from experiments.analytic.study import kept_result, seed_result

OUTPUT = "runs/analytic"
PUBLISHED = Path(__file__).parent.parent / "results" / "analytic"
INTERRUPTED = 130  # 128 + SIGINT, as shells count


def run(given: argparse.Namespace) -> list[TaskResult]:
    """Train what is not there yet; the results of the tasks asked for.

    Raises:
        GrandmodelError: whatever stops a training.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    tasks = tasks_named(given.task)
    wanted = range(given.seeds) if given.only is None else (given.only,)
    for task in tasks:
        for seed in wanted:
            config = settings(task, seed, given.frames, given.episodes)
            seed_result(task, config, _folder(given, task, seed), given.force)
    return [found for task in tasks if (found := _finished(given, task)) is not None]


def _folder(given: argparse.Namespace, task: str, seed: int) -> Path:
    return Path(given.output) / task / f"seed-{seed}"


def _finished(given: argparse.Namespace, task: str) -> TaskResult | None:
    """All seeds below --seeds that are done, whoever trained them."""
    wanted = {*range(given.seeds)} | ({given.only} if given.only is not None else set())
    kept = [kept_result(_folder(given, task, seed)) for seed in sorted(wanted)]
    done = tuple(result for result in kept if result is not None)
    return TaskResult(task, done) if done else None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m experiments.analytic",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("task", nargs="?", default=ALL, help=f"{', '.join(TASKS)} or {ALL}")
    out.add_argument("--seeds", type=_positive, default=SEEDS, help="0 to this less one")
    out.add_argument("--only", type=int, help="train this seed alone, such as beside another")
    out.add_argument("--frames", type=int, help="of each training; by default the files'")
    out.add_argument("--episodes", type=int, help="to judge it on; by default the files'")
    out.add_argument("--output", default=OUTPUT, help="where runs and results go")
    out.add_argument("--force", action="store_true", help="train finished seeds anew")
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
        print("stopped; the same command (without --force) goes on from there", file=sys.stderr)
        return INTERRUPTED
    if given.json:
        print(json.dumps([found.as_dict() for found in results], indent=2))
    else:
        Console().print(table(results))
        print(*verdicts(results), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
