"""Commands about many trainings at once: sweeps, walks forward, comparisons of runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

ConfigFiles = Annotated[
    list[Path], typer.Option("--config", help="YAML file laid over the layer's own; repeatable.")
]
Presets = Annotated[
    list[str], typer.Option("--preset", help="Shipped preset, such as sample-bars; repeatable.")
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="A.B=C", help="Set one key; repeatable.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of every training.", min=0)]
LayerName = Annotated[str, typer.Argument(help="strategic, tactical or execution.")]

Need = Callable[[str, tuple[str, ...]], None]


def add_commands(app: typer.Typer, need: Need, packages: tuple[str, ...]) -> None:
    """Add them to the command line.

    need: says which extra is missing, given the extra and the packages that it brings.
    """
    _add_sweep(app, need, packages)


def _add_sweep(app: typer.Typer, need: Need, packages: tuple[str, ...]) -> None:
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
        need("train", (*packages, "optuna", "sqlalchemy"))
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from rich.console import Console

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
        run_sweep(request, Console())
