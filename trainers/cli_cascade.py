"""Commands that run what was trained: decisions, paper trading, steering, replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli_options import (
    AsJson,
    ConfigFiles,
    LayerName,
    Market,
    Overrides,
    console,
    tracking_store,
)

MAX_EPISODE_SEED = (1 << 63) - 1

_RunningLog = Annotated[Path, typer.Argument(help="Folder of the running cascade's audit log.")]
_Reason = Annotated[str, typer.Option(help="For the log.")]


def add_cascade(app: typer.Typer) -> None:
    """Add them to the command line."""
    _add_decide(app)
    cascade_app = typer.Typer(help="Run what was trained: paper trading.", no_args_is_help=True)
    app.add_typer(cascade_app, name="cascade")
    _add_run(cascade_app)
    _add_steering(cascade_app)
    _add_replay(app)


def _add_decide(app: typer.Typer) -> None:
    @app.command()
    def decide(
        layer: Annotated[str, typer.Option(help="The layer that decides.")] = "execution",
        models: Annotated[
            str, typer.Option(help="Artefact's folder, folder of models, or models:/NAME@ALIAS.")
        ] = "models",
        market: Market = None,
        book: Annotated[
            str | None, typer.Option(help="Book state as JSON file, '-' for standard input.")
        ] = None,
        as_json: AsJson = False,
        seed: Annotated[
            int, typer.Option(help="Of the simulated episode.", min=0, max=MAX_EPISODE_SEED)
        ] = 0,
        steps: Annotated[
            int, typer.Option(help="Steps of it to work before the decision shown.", min=0)
        ] = 0,
        override: Overrides = [],  # noqa: B006
    ) -> None:
        """Let a layer's champion decide for a book state, or for one from the simulator."""

        from cascade.commands import DecideRequest, run_decide

        request = DecideRequest(
            layer=layer,
            models=models,
            tracking_uri=tracking_store(),
            market=market,
            book=book,
            seed=seed,
            steps=steps,
            overrides=override,
        )
        run_decide(request, console(), as_json)


def _add_run(cascade_app: typer.Typer) -> None:
    @cascade_app.command("run")
    def cascade_run(
        models: Annotated[
            str, typer.Option(help="Folder of models, whose champions run.")
        ] = "models",
        model: Annotated[
            list[str],
            typer.Option(
                "--model", metavar="LAYER=FOLDER", help="One layer's artefact; repeatable."
            ),
        ] = [],  # noqa: B006
        market: Market = None,
        steps: Annotated[int, typer.Option(help="Hot decisions, at most.", min=1)] = 3_000,
        bars: Annotated[
            Path | None, typer.Option(help="A file of bars; the built-in market without one.")
        ] = None,
        seed: Annotated[int, typer.Option(help="Of the session.", min=0)] = 0,
        log: Annotated[
            Path | None, typer.Option(help="The audit log's folder; a dated one.")
        ] = None,
        config: ConfigFiles = [],  # noqa: B006
        override: Overrides = [],  # noqa: B006
        plain: Annotated[bool, typer.Option("--plain", help="No live view.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Run the cascade on paper: champions decide, simulated books fill, all is recorded."""

        from cascade.run import RunRequest, run_cascade
        from configs.cascade import CascadeRunConfig
        from configs.loading import load_config

        told: list[str] = [f"cascade.seed={seed}"]
        if bars is not None:
            told.append(f"bars.path={bars}")
        request = RunRequest(
            models=models,
            tracking_uri=tracking_store(),
            config=load_config(CascadeRunConfig, *config, overrides=[*told, *override]),
            layers=model,
            market=market,
            steps=steps,
            log=log,
        )
        out = console()
        run_cascade(request, out, out.is_terminal and not (plain or as_json), as_json)


def _add_steering(cascade_app: typer.Typer) -> None:
    @cascade_app.command("stop")
    def cascade_stop(log: _RunningLog, reason: _Reason = "operator") -> None:
        """Stop a running cascade: nothing goes but toward flat, until it is let go."""
        from cascade.control import send

        typer.echo(send(log, "stop", reason=reason))

    @cascade_app.command("let-go")
    def cascade_let_go(log: _RunningLog, reason: _Reason = "operator") -> None:
        """Lift an emergency stop of a running cascade, whoever stopped it."""
        from cascade.control import send

        typer.echo(send(log, "let-go", reason=reason))

    @cascade_app.command("rollback")
    def cascade_rollback(
        log: _RunningLog,
        layer: LayerName,
    ) -> None:
        """Have a running cascade's layer go back to the artefact before its present one."""
        from cascade.control import send

        typer.echo(send(log, "rollback", layer))


def _add_replay(app: typer.Typer) -> None:
    @app.command()
    def replay(
        log: Annotated[Path, typer.Argument(help="Folder of a session's audit log.")],
        model: Annotated[
            list[str],
            typer.Option(
                "--model",
                metavar="LAYER=FOLDER",
                help="Where an artefact lies now; repeatable, for a layer too.",
            ),
        ] = [],  # noqa: B006
        as_json: AsJson = False,
    ) -> None:
        """Decide a logged session again; say where it first differs, with exit code 1."""

        from cascade.run import run_replay

        if not run_replay(log, model, console(), as_json):
            raise typer.Exit(1)
