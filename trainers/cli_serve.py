"""`grandmodel serve`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

Need = Callable[[str, tuple[str, ...]], None]
_PACKAGES = ("starlette", "uvicorn", "httptools", "uvloop", "websockets", "prometheus_client")


def add_serve(app: typer.Typer, need: Need) -> None:
    """Give `app` the command; `need` says which extra is missing."""

    @app.command()
    def serve(
        models: Annotated[str, typer.Option(help="Folder of models, whose champions decide.")] = (
            "models"
        ),
        model: Annotated[
            list[str],
            typer.Option("--model", metavar="LAYER=FOLDER", help="One artefact; repeatable."),
        ] = [],  # noqa: B006
        market: Annotated[
            str | None, typer.Option(help="Whose champions; the latest promoted by default.")
        ] = None,
        host: Annotated[
            str | None, typer.Option(help="127.0.0.1; any other address demands a token.")
        ] = None,
        port: Annotated[int | None, typer.Option(help="8000; 0 takes a free one.")] = None,
        workers: Annotated[int | None, typer.Option(help="Processes, on ports in a row.")] = None,
        token_file: Annotated[
            Path | None, typer.Option(help="Its first line is the token; or GRANDMODEL_TOKEN.")
        ] = None,
        log: Annotated[Path | None, typer.Option(help="Folder of audit logs; a dated one.")] = None,
        config: Annotated[
            list[Path], typer.Option("--config", help="YAML file of the service; repeatable.")
        ] = [],  # noqa: B006
        override: Annotated[
            list[str], typer.Option("--set", metavar="A.B=C", help="Set one key; repeatable.")
        ] = [],  # noqa: B006
    ) -> None:
        """Serve decisions over HTTP: /decide, /health, /ready, /metrics, /events, /docs."""
        need("serve", _PACKAGES)
        from rich.console import Console

        from cascade.serve.server import ServeRequest
        from cascade.serve.server import serve as run
        from configs.loading import load_config
        from configs.serve import ServeConfig
        from configs.tracking import URI_VARIABLE, TrackingConfig

        given = {"host": host, "port": port, "workers": workers}
        told = [f"{key}={value}" for key, value in given.items() if value is not None]
        request = ServeRequest(
            config=load_config(ServeConfig, *config, overrides=[*told, *override]),
            tracking_uri=os.environ.get(URI_VARIABLE) or TrackingConfig().uri,
            models=models,
            layers=model,
            market=market,
            token_file=token_file,
            log=log,
        )
        raise typer.Exit(run(request, Console()))
