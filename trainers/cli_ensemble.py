"""The command `grandmodel ensemble`; what it does is imported when it runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from trainers.cli_options import TRAINING, LayerName, console, need


class Average(StrEnum):
    """What of the members is averaged."""

    WEIGHTS = "weights"
    PROBABILITIES = "probabilities"


def add_ensemble(app: typer.Typer) -> None:
    """Add it to the command line."""

    @app.command()
    def ensemble(
        layer: LayerName,
        runs: Annotated[
            list[Path],
            typer.Argument(metavar="RUN RUN...", help="Folders of runs, or of checkpoints."),
        ],
        by: Annotated[
            Average,
            typer.Option(
                help="weights: of checkpoints of one lineage (of independent seeds it usually "
                "harms); probabilities: of any."
            ),
        ] = Average.PROBABILITIES,
        select: Annotated[
            bool,
            typer.Option("--select", help="Choose members on validation, one after another."),
        ] = False,
        rounds: Annotated[
            int | None,
            typer.Option(help="Of the selection; twice the members by default.", min=1),
        ] = None,
        episodes: Annotated[
            int | None,
            typer.Option(help="Validation episodes that scores are taken on.", min=2),
        ] = None,
        output: Annotated[
            str | None, typer.Option(help="The ensemble's folder; a dated one by default.")
        ] = None,
    ) -> None:
        """Average trained policies of a layer into one, which is then run like any.

        Members are scored and chosen on the validation split; the test split is met once, by
        what comes out.
        """
        need("train", TRAINING)

        from trainers.ensemble.commands import EnsembleRequest, run_ensemble

        request = EnsembleRequest(layer, runs, by.value, select, rounds, episodes, output)
        run_ensemble(request, console())
