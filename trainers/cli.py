"""The `grandmodel` command. Each command imports what it needs when it runs.

Errors that a user can mend end in one message on standard error and exit code 2;
`--debug` shows the traceback as well.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import configs
from configs.errors import EXIT_CODE, ConfigError, GrandmodelError
from trainers.cli_cascade import add_cascade
from trainers.cli_ensemble import add_ensemble
from trainers.cli_learning import add_commands
from trainers.cli_market import add_market
from trainers.cli_options import TRAINING, ConfigFiles, Overrides, Presets, Seed, console, need
from trainers.cli_serve import add_serve
from trainers.evaluation.cli import add_evaluate

INTERRUPTED = 130  # 128 + SIGINT, as shells count
OPTION_DEBUG = "--debug"
_ENVIRONMENT = "env"


class _TrainGroup(TyperGroup):
    """Takes `train package.module:function`, or a registered name, for `train env ...`."""

    def _is_registered(self, name: str) -> bool:
        if name in self.commands or name.startswith("-"):
            return False
        from trainers.registry import registered

        return name in registered("environments")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and (":" in args[0] or self._is_registered(args[0])):
            args = [_ENVIRONMENT, *args]
        if args and args[0] not in self.commands:
            layers = sorted(name for name in self.commands if name != _ENVIRONMENT)
            raise ConfigError(
                f"train {args[0]}: there is no such layer (layers: {', '.join(layers)}); to train "
                "a PettingZoo environment name what makes it, as package.module:function"
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="grandmodel",
    help="Train, compare and run hierarchical multi-agent trading policies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
train_app = typer.Typer(
    cls=_TrainGroup,
    help="Train a layer, or any PettingZoo environment: train package.module:function.",
    no_args_is_help=True,
)
config_app = typer.Typer(help="Look at configurations.", no_args_is_help=True)
app.add_typer(train_app, name="train")
app.add_typer(config_app, name="config")

_ON_BAD_KEY = "env.market.reference.bars.on_bad"


class OnBad(StrEnum):
    """What to do about rows of a bars file that are wrong."""

    ERROR = "error"
    DROP = "drop"


Output = Annotated[str | None, typer.Option(help="The run's folder; a dated one by default.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --output, or the latest.")
]

BadRows = Annotated[
    OnBad | None,
    typer.Option("--on-bad", help="Bad rows of a bars file: an error, or dropped and counted."),
]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option(OPTION_DEBUG, help="Show tracebacks.")] = False,
) -> None:
    """Train, compare and run hierarchical multi-agent trading policies."""
    del debug  # read by main(), which also reports errors of option parsing


def _layer_command(layer: str) -> None:
    """Add `train LAYER`."""

    @train_app.command(
        layer,
        help=f"Train the {layer} layer, compare it with the baselines, export and register it.",
    )
    def train(
        config: ConfigFiles = [],  # noqa: B006  typer copies its defaults
        preset: Presets = [],  # noqa: B006
        override: Overrides = [],  # noqa: B006
        output: Output = None,
        resume: Resume = False,
        seed: Seed = None,
        on_bad: BadRows = None,
    ) -> None:
        need("train", TRAINING)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

        from trainers.runs import load_run

        if on_bad is not None:
            override = [*override, f"{_ON_BAD_KEY}={on_bad.value}"]
        settings, folder = load_run(layer, preset, config, override, seed, output, resume)
        from trainers.commands import train_layer

        train_layer(settings, folder, resume=resume, console=console())


# A layer is what has a file of settings: to read the schema would cost every command its time.
for _path in sorted((Path(configs.__path__[0]) / "layers").glob("*.yaml")):
    _layer_command(_path.stem)


@train_app.command("cascade")
def train_all(
    config: ConfigFiles = [],  # noqa: B006
    preset: Presets = [],  # noqa: B006
    override: Overrides = [],  # noqa: B006
    output: Output = None,
    resume: Resume = False,
    seed: Seed = None,
    on_bad: BadRows = None,
) -> None:
    """Train strategic, tactical and execution layer in order, each under those before it.

    --set LAYER.A.B=C sets one layer's key, --set A.B=C the key of all three.
    """
    need("train", TRAINING)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

    from trainers.cascade_run import load_cascade_run

    if on_bad is not None:
        override = [*override, f"{_ON_BAD_KEY}={on_bad.value}"]
    settings, folder = load_cascade_run(preset, config, override, seed, output, resume)
    from trainers.cascade_commands import train_cascade

    train_cascade(settings, folder, console=console())


@train_app.command(_ENVIRONMENT)
def train_environment(
    env: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FUNCTION", help="What returns a ParallelEnv, or its registered name."
        ),
    ],
    config: ConfigFiles = [],  # noqa: B006
    override: Overrides = [],  # noqa: B006
    output: Output = None,
    resume: Resume = False,
    seed: Seed = None,
) -> None:
    """Train any PettingZoo environment by MAPPO; `--set kwargs.KEY=VALUE` reaches its function."""
    need("train", TRAINING)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    sys.path.insert(0, os.getcwd())  # a module beside the user, as `python -m` would find it

    from trainers.registry import location
    from trainers.runs import load_team_run

    place = location("environments", env)
    settings, folder = load_team_run(place, config, override, seed, output, resume)
    from trainers.team_commands import train_team

    train_team(settings, folder, resume=resume, console=console())


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or of the artefact in it.")],
    agent: Annotated[str | None, typer.Option(help="The agent to explain; all by default.")] = None,
    rows: Annotated[int, typer.Option(help="Decisions to look at.", min=2, max=4096)] = 64,
    top: Annotated[int, typer.Option(help="Columns to show of each output.", min=1)] = 10,
    output: Annotated[
        Path | None, typer.Option(help="The plot; in the run's report by default.")
    ] = None,
) -> None:
    """Say which columns a trained layer decides by and at which bars its encoders look.

    Integrated gradients, agent by agent, and maps of attention: printed, drawn into the run's
    report, and added to its run in MLflow.
    """
    need("train", ("captum", "matplotlib"))

    from trainers.explain import ExplainRequest, run_explain

    run_explain(ExplainRequest(run, agent, rows, top, output=output), console())


@app.command()
def warm() -> None:
    """Compile the kernels of trainings and decisions once, so that no later command waits.

    Those of the cascade alone are compiled at its first run.
    """
    began = time.perf_counter()
    from cascade.decide import warm as warm_cascade
    from configs.execution import ExecutionConfig
    from market.kernels import cache_folder
    from market.warm import warm as warm_market

    warm_market()
    warm_cascade(ExecutionConfig())
    if find_spec("pettingzoo") is not None and find_spec("gymnasium") is not None:
        from configs.train import load_train_config
        from trainers.layers import LAYERS

        for name, layer in LAYERS.items():
            layer.probe(load_train_config(name, [], [], [], None))
    typer.echo(f"kernels ready in {time.perf_counter() - began:.1f} s, kept in {cache_folder()}")


@config_app.command("show")
def config_show(
    layer: Annotated[str, typer.Argument(help="The layer.")] = "execution",
    config: ConfigFiles = [],  # noqa: B006
    preset: Presets = [],  # noqa: B006
    override: Overrides = [],  # noqa: B006
    seed: Seed = None,
) -> None:
    """Print the configuration that a training would run with, merged, as YAML."""
    from configs.loading import dump_yaml
    from configs.train import load_train_config

    typer.echo(dump_yaml(load_train_config(layer, preset, config, override, seed)), nl=False)


def main() -> None:
    """Run the command line; never returns."""
    try:
        app(prog_name="grandmodel")
    except GrandmodelError as error:
        _fail(str(error))
    except OSError as error:
        # A full disk, a folder without permission: the place and the system's own words.
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}")
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _fail(message: str) -> None:
    if OPTION_DEBUG in sys.argv:
        traceback.print_exc()
    typer.echo(f"error: {message}", err=True)
    sys.exit(EXIT_CODE)


for _add in (add_cascade, add_market, add_evaluate, add_commands, add_ensemble, add_serve):
    _add(app)


if __name__ == "__main__":
    main()
