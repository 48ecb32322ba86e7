"""`grandmodel serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli_options import Market, Overrides, need, tracking_store

_PACKAGES = ("starlette", "uvicorn", "httptools", "uvloop", "websockets", "prometheus_client")


def add_serve(app: typer.Typer) -> None:
    """Add it to the command line."""

    @app.command()
    def serve(
        models: Annotated[str, typer.Option(help="Folder of models, whose champions decide.")] = (
            "models"
        ),
        model: Annotated[
            list[str],
            typer.Option("--model", metavar="LAYER=FOLDER", help="One artefact; repeatable."),
        ] = [],  # noqa: B006
        market: Market = None,
        host: Annotated[
            str | None, typer.Option(help="127.0.0.1; any other address demands a token.")
        ] = None,
        port: Annotated[int | None, typer.Option(help="8000; 0 takes a free one.")] = None,
        workers: Annotated[int | None, typer.Option(help="Processes, on ports in a row.")] = None,
        token_file: Annotated[
            Path | None, typer.Option(help="Its first line is the token; or GRANDMODEL_TOKEN.")
        ] = None,
        log: Annotated[Path | None, typer.Option(help="Folder of audit logs; a dated one.")] = None,
        on_ray: Annotated[
            bool, typer.Option("--ray", help="On Ray Serve: a replica an instrument, at /NAME.")
        ] = False,
        haproxy: Annotated[
            bool,
            typer.Option(
                "--haproxy",
                help="Ray Serve behind HAProxy, whose statistics ALL may see; demands a token.",
            ),
        ] = False,
        config: Annotated[
            list[Path], typer.Option("--config", help="YAML file of the service; repeatable.")
        ] = [],  # noqa: B006
        override: Overrides = [],  # noqa: B006
    ) -> None:
        """Serve decisions over HTTP: /decide, /health, /ready, /metrics, /events, /docs.

        With a token also /stop, /let-go, /models/reload and /models/rollback.
        """
        need("serve", _PACKAGES)
        from cascade.serve.server import ServeRequest
        from cascade.serve.server import serve as run
        from configs.loading import load_config
        from configs.serve import ServeConfig

        given = {"host": host, "port": port, "workers": workers}
        told = [f"{key}={value}" for key, value in given.items() if value is not None]
        request = ServeRequest(
            config=load_config(ServeConfig, *config, overrides=[*told, *override]),
            tracking_uri=tracking_store(),
            models=models,
            layers=model,
            market=market,
            token_file=token_file,
            log=log,
        )
        if not (on_ray or haproxy):
            raise typer.Exit(run(request, typer.echo))
        need("train", ("ray",))
        from trainers.ray_serving import serve_on_ray

        raise typer.Exit(serve_on_ray(request, typer.echo, haproxy))
