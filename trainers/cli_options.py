"""What the commands share: their common options, and which packages they cannot do without."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configs.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

# Columns of what is written to a file or a pipe: no table is cut there.
PIPE_WIDTH = 120

# Of the extra `train`: every training, and whatever trains.
TRAINING = (
    "torch",
    "ray",
    "gymnasium",
    "pettingzoo",
    "mlflow",
    "onnx",
    "onnxscript",
    "matplotlib",
    "psutil",
    "scipy",
    "structlog",
)

ConfigFiles = Annotated[
    list[Path], typer.Option("--config", help="YAML file laid over the layer's own; repeatable.")
]
Presets = Annotated[
    list[str], typer.Option("--preset", help="Shipped preset, such as sample-bars; repeatable.")
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="A.B=C", help="Set one key; repeatable.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of the whole run.", min=0)]
LayerName = Annotated[str, typer.Argument(help="strategic, tactical or execution.")]
Market = Annotated[
    str | None, typer.Option(help="Whose champions; the latest promoted by default.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def need(extra: str, packages: tuple[str, ...]) -> None:
    """Say which extra is missing before an import fails deep inside.

    Raises:
        ConfigError: a package that it brings is not installed.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"this command needs {', '.join(missing)}, not installed here; "
            f"install grandmodel[{extra}]"
        )


def console() -> Console:
    """Where a command prints: as wide as the terminal is, or as COLUMNS says."""
    from rich.console import Console

    told = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if told else PIPE_WIDTH)


def tracking_store() -> str:
    """Where models of a registry are looked for: what the environment says, or the default."""
    from configs.tracking import URI_VARIABLE, TrackingConfig

    return os.environ.get(URI_VARIABLE) or TrackingConfig().uri
