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
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import studies
from experiments.analytic.results import TaskResult, table, verdicts
from experiments.analytic.settings import ALL, SEEDS, TASKS, settings
from experiments.analytic.study import kept_result, seed_result
from trainers.cli_options import console

PUBLISHED = Path(__file__).parent.parent / "results" / "analytic"


def run(given: argparse.Namespace) -> list[TaskResult]:
    """Train what is not there yet; the results of the tasks asked for.

    Raises:
        GrandmodelError: whatever stops a training.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    tasks = studies.named(given.task, TASKS, ALL, "task")
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
    out = studies.parser("experiments.analytic", __doc__, "task", TASKS, ALL)
    out.add_argument("--seeds", type=studies.positive, default=SEEDS, help="0 to this less one")
    out.add_argument("--only", type=int, help="train this seed alone, such as beside another")
    out.add_argument("--frames", type=int, help="of each training; by default the files'")
    out.add_argument("--episodes", type=int, help="to judge it on; by default the files'")
    out.add_argument("--force", action="store_true", help="train finished seeds anew")
    return out


def _show(results: Sequence[TaskResult]) -> None:
    console().print(table(results))
    print(*verdicts(results), sep="\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study. Returns the exit code."""
    return studies.conclude(parser().parse_args(arguments), run, PUBLISHED, _show)


if __name__ == "__main__":
    sys.exit(main())
