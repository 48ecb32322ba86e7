"""Commands about many trainings at once: sweeps, walks forward, comparisons of runs."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from trainers.cli_options import (
    TRAINING,
    ConfigFiles,
    LayerName,
    Overrides,
    Presets,
    Seed,
    console,
    need,
)


class Scheme(StrEnum):
    """How the folds of a walk forward are laid."""

    ANCHORED = "anchored"
    ROLLING = "rolling"
    COMBINATORIAL = "combinatorial"


class CompareSplit(StrEnum):
    """Held-out bars that runs may be compared on."""

    TEST = "test"
    VALIDATION = "validation"


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    _add_sweep(app)
    _add_walk_forward(app)
    _add_compare(app)


def _add_sweep(app: typer.Typer) -> None:
    @app.command()
    def sweep(
        layer: LayerName,
        trials: Annotated[
            int | None,
            typer.Option(help="Trials in all; the sweep's own number by default.", min=1),
        ] = None,
        workers: Annotated[
            int, typer.Option(help="Processes that share the study.", min=1, max=256)
        ] = 1,
        space: Annotated[
            str | None,
            typer.Option(
                help="What to search: a shipped sweep such as execution-front, or a file."
            ),
        ] = None,
        sweep_override: Annotated[
            list[str],
            typer.Option("--sweep", metavar="A.B=C", help="Set a key of the sweep; repeatable."),
        ] = [],  # noqa: B006  typer copies its defaults
        storage: Annotated[
            str | None,
            typer.Option(help="Of the study: postgresql+psycopg://...; a file by default."),
        ] = None,
        name: Annotated[
            str | None, typer.Option(help="Of the study; the same name in a storage joins it.")
        ] = None,
        config: ConfigFiles = [],  # noqa: B006
        preset: Presets = [],  # noqa: B006
        override: Overrides = [],  # noqa: B006
        output: Annotated[
            str | None, typer.Option(help="The sweep's folder; a dated one by default.")
        ] = None,
        resume: Annotated[
            bool, typer.Option("--resume", help="Go on with the sweep in --output, or the latest.")
        ] = False,
        seed: Seed = None,
    ) -> None:
        """Search a layer's settings by Optuna: trials scored on validation data, never the test."""
        need("train", (*TRAINING, "optuna", "sqlalchemy"))
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

        from trainers.sweeps.commands import SweepRequest, run_sweep

        request = SweepRequest(
            layer=layer,
            presets=preset,
            files=config,
            overrides=override,
            seed=seed,
            space=space,
            sweep_overrides=sweep_override,
            trials=trials,
            workers=workers,
            storage=storage,
            name=name,
            output=output,
            resume=resume,
        )
        run_sweep(request, console())


def _add_walk_forward(app: typer.Typer) -> None:
    @app.command("walk-forward")
    def walk_forward(
        layer: LayerName,
        scheme: Annotated[
            Scheme | None, typer.Option(help="What each fold trains on; as configured by default.")
        ] = None,
        folds: Annotated[
            int | None,
            typer.Option(
                help="How many; blocks, two of them held out, where combinatorial.", min=1
            ),
        ] = None,
        config: ConfigFiles = [],  # noqa: B006
        preset: Presets = [],  # noqa: B006
        override: Overrides = [],  # noqa: B006
        output: Annotated[
            str | None, typer.Option(help="The walk's folder; a dated one by default.")
        ] = None,
        resume: Annotated[
            bool, typer.Option("--resume", help="Go on with the walk in --output, or the latest.")
        ] = False,
        seed: Seed = None,
    ) -> None:
        """Retrain a layer on each purged and embargoed fold; judge it on what comes after."""
        need("train", TRAINING)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

        from trainers.walk_forward.commands import WalkRequest, run_walk_forward

        request = WalkRequest(
            layer=layer,
            presets=preset,
            files=config,
            overrides=override,
            seed=seed,
            scheme=None if scheme is None else scheme.value,
            folds=folds,
            output=output,
            resume=resume,
        )
        run_walk_forward(request, console())


def _add_compare(app: typer.Typer) -> None:
    @app.command()
    def compare(
        runs: Annotated[
            list[Path], typer.Argument(help="Folders of runs; the first is compared to.")
        ],
        split: Annotated[
            CompareSplit, typer.Option(help="Whose episodes are played.")
        ] = CompareSplit.TEST,
        episodes: Annotated[
            int | None, typer.Option(help="How many; the first run's by default.", min=4)
        ] = None,
        output: Annotated[
            Path | None, typer.Option(help="Folder of plot and figures; a dated one by default.")
        ] = None,
    ) -> None:
        """Play runs again on the same held-out episodes: paired test, curves, settings."""
        need("train", TRAINING)

        from trainers.compare import CompareRequest, run_compare

        run_compare(CompareRequest(runs, split.value, episodes, output), console())
