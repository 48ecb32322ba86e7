"""The command `grandmodel evaluate`; what it does is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli_options import TRAINING, AsJson, console, need

MAX_SEED = 1 << 24


def add_evaluate(app: typer.Typer) -> None:
    """Add it to the command line."""

    @app.command()
    def evaluate(
        policy: Annotated[
            str,
            typer.Argument(
                metavar="RUN|ARTEFACT|champion",
                help="Folder of a run or artefact, 'champion' with --layer, or models:/NAME@ALIAS.",
            ),
        ],
        layer: Annotated[str | None, typer.Option(help="Whose champion.")] = None,
        split: Annotated[str, typer.Option(help="Never one that it was trained on.")] = "test",
        episodes: Annotated[
            int | None,
            typer.Option(help="Parent orders, or episodes one after another; or all.", min=2),
        ] = None,
        seed: Annotated[int, typer.Option(help="Of the evaluation.", min=0, max=MAX_SEED)] = 0,
        trials: Annotated[
            int | None, typer.Option(help="Configurations tried before it was chosen.", min=1)
        ] = None,
        storage: Annotated[
            str | None, typer.Option(help="Database of the study whose trials are counted.")
        ] = None,
        study: Annotated[str | None, typer.Option(help="Name of that study.")] = None,
        models: Annotated[str, typer.Option(help="Folder of champions.")] = "models",
        output: Annotated[
            Path | None, typer.Option(help="Folder of the report; in the run's by default.")
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        """Backtest a policy on a split that it never saw and say whether it is any good."""
        need("train", (*TRAINING, "arch"))

        from trainers.evaluation.commands import EvaluateRequest, run_evaluate

        request = EvaluateRequest(
            place=policy,
            layer=layer,
            split=split,
            episodes=episodes,
            seed=seed,
            trials=trials,
            storage=storage,
            study=study,
            output=output,
            models=models,
        )
        run_evaluate(request, console(), as_json)
