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
from trainers.cli_learning import add_commands
from trainers.cli_serve import add_serve
from trainers.evaluation.cli import add_evaluate

INTERRUPTED = 130  # 128 + SIGINT, as shells count
OPTION_DEBUG = "--debug"
MAX_EPISODE_SEED = (1 << 63) - 1
_TRAINING = (
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
market_app = typer.Typer(help="Markets, real and simulated.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(market_app, name="market")
data_app = typer.Typer(help="Look at data files.", no_args_is_help=True)
app.add_typer(data_app, name="data")
cascade_app = typer.Typer(help="Run what was trained: paper trading.", no_args_is_help=True)
app.add_typer(cascade_app, name="cascade")

_ON_BAD_KEY = "env.market.reference.bars.on_bad"


class OnBad(StrEnum):
    """What to do about rows of a bars file that are wrong."""

    ERROR = "error"
    DROP = "drop"


class FileKind(StrEnum):
    """What a file of market data holds."""

    AUTO = "auto"
    MESSAGES = "messages"
    BARS = "bars"


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
        _need("train", _TRAINING)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from rich.console import Console

        from trainers.runs import load_run

        if on_bad is not None:
            override = [*override, f"{_ON_BAD_KEY}={on_bad.value}"]
        settings, folder = load_run(layer, preset, config, override, seed, output, resume)
        from trainers.commands import train_layer

        train_layer(settings, folder, resume=resume, console=Console())


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
    _need("train", _TRAINING)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from rich.console import Console

    from trainers.cascade_run import load_cascade_run

    if on_bad is not None:
        override = [*override, f"{_ON_BAD_KEY}={on_bad.value}"]
    settings, folder = load_cascade_run(preset, config, override, seed, output, resume)
    from trainers.cascade_commands import train_cascade

    train_cascade(settings, folder, override, console=Console())


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
    _need("train", _TRAINING)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    sys.path.insert(0, os.getcwd())  # a module beside the user, as `python -m` would find it
    from rich.console import Console

    from trainers.registry import location
    from trainers.runs import load_team_run

    place = location("environments", env)
    settings, folder = load_team_run(place, config, override, seed, output, resume)
    from trainers.team_commands import train_team

    train_team(settings, folder, resume=resume, console=Console())


@app.command()
def decide(
    layer: Annotated[str, typer.Option(help="The layer that decides.")] = "execution",
    models: Annotated[
        str, typer.Option(help="Artefact's folder, folder of models, or models:/NAME@ALIAS.")
    ] = "models",
    market: Annotated[
        str | None, typer.Option(help="Whose champion; the latest promoted by default.")
    ] = None,
    book: Annotated[
        str | None, typer.Option(help="Book state as JSON file, '-' for standard input.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    seed: Annotated[
        int, typer.Option(help="Of the simulated episode.", min=0, max=MAX_EPISODE_SEED)
    ] = 0,
    steps: Annotated[
        int, typer.Option(help="Steps of it to work before the decision shown.", min=0)
    ] = 0,
    override: Overrides = [],  # noqa: B006
) -> None:
    """Let a layer's champion decide for a book state, or for one from the simulator."""
    from rich.console import Console

    from cascade.commands import DecideRequest, run_decide
    from configs.tracking import URI_VARIABLE, TrackingConfig

    request = DecideRequest(
        layer=layer,
        models=models,
        tracking_uri=os.environ.get(URI_VARIABLE) or TrackingConfig().uri,
        market=market,
        book=book,
        seed=seed,
        steps=steps,
        overrides=override,
    )
    run_decide(request, Console(), as_json)


@cascade_app.command("run")
def cascade_run(
    models: Annotated[str, typer.Option(help="Folder of models, whose champions run.")] = "models",
    model: Annotated[
        list[str],
        typer.Option("--model", metavar="LAYER=FOLDER", help="One layer's artefact; repeatable."),
    ] = [],  # noqa: B006
    market: Annotated[
        str | None, typer.Option(help="Whose champions; the latest promoted by default.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Hot decisions, at most.", min=1)] = 3_000,
    bars: Annotated[
        Path | None, typer.Option(help="A file of bars; the built-in market without one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the session.", min=0)] = 0,
    log: Annotated[Path | None, typer.Option(help="The audit log's folder; a dated one.")] = None,
    config: ConfigFiles = [],  # noqa: B006
    override: Overrides = [],  # noqa: B006
    plain: Annotated[bool, typer.Option("--plain", help="No live view.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run the cascade on paper: champions decide, simulated books fill, all of it is recorded."""
    from rich.console import Console

    from cascade.run import RunRequest, run_cascade
    from configs.cascade import CascadeRunConfig
    from configs.loading import load_config
    from configs.tracking import URI_VARIABLE, TrackingConfig

    told: list[str] = [f"cascade.seed={seed}"]
    if bars is not None:
        told.append(f"bars.path={bars}")
    request = RunRequest(
        models=models,
        tracking_uri=os.environ.get(URI_VARIABLE) or TrackingConfig().uri,
        config=load_config(CascadeRunConfig, *config, overrides=[*told, *override]),
        layers=model,
        market=market,
        steps=steps,
        log=log,
    )
    console = Console()
    run_cascade(request, console, console.is_terminal and not (plain or as_json), as_json)


_RunningLog = Annotated[Path, typer.Argument(help="Folder of the running cascade's audit log.")]
_Reason = Annotated[str, typer.Option(help="For the log.")]


@cascade_app.command("stop")
def cascade_stop(log: _RunningLog, reason: _Reason = "operator") -> None:
    """Stop a running cascade: nothing goes but toward flat, until it is let go."""
    from cascade.control import send

    send(log, "stop", reason=reason)


@cascade_app.command("let-go")
def cascade_let_go(log: _RunningLog, reason: _Reason = "operator") -> None:
    """Lift an emergency stop of a running cascade, whoever stopped it."""
    from cascade.control import send

    send(log, "let-go", reason=reason)


@cascade_app.command("rollback")
def cascade_rollback(
    log: _RunningLog,
    layer: Annotated[str, typer.Argument(help="strategic, tactical or execution.")],
) -> None:
    """Have a running cascade's layer go back to the artefact before its present one."""
    from cascade.control import send

    send(log, "rollback", layer)


@app.command()
def replay(
    log: Annotated[Path, typer.Argument(help="Folder of a session's audit log.")],
    model: Annotated[
        list[str],
        typer.Option("--model", metavar="LAYER=FOLDER", help="Where an artefact lies now."),
    ] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Decide a logged session again, and say where it first differs; exit code 1 where it does."""
    from rich.console import Console

    from cascade.run import run_replay

    if not run_replay(log, model, Console(), as_json):
        raise typer.Exit(1)


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
    _need("train", ("captum", "matplotlib"))
    from rich.console import Console

    from trainers.explain import ExplainRequest, run_explain

    run_explain(ExplainRequest(run, agent, rows, top, output=output), Console())


@app.command()
def warm() -> None:
    """Compile every kernel once, so that no later command waits for it."""
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


@market_app.command("replay")
def market_replay(
    file: Annotated[
        Path, typer.Argument(help="LOBSTER messages, or rows of time, type, id, size, price, side.")
    ],
    book: Annotated[
        Path | None, typer.Option(help="LOBSTER's order book file of the same rows, to compare.")
    ] = None,
    config: Annotated[
        list[Path], typer.Option("--config", help="YAML file of columns, codes, units; repeatable.")
    ] = [],  # noqa: B006
    override: Overrides = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Replay a file of order messages through the book and say how far it agrees."""
    from rich.console import Console

    from configs.loading import load_config
    from configs.messages import MessagesConfig
    from trainers.market_commands import run_replay

    settings = load_config(MessagesConfig, *config, {"path": str(file)}, overrides=override)
    run_replay(settings, book, Console(), as_json)


@market_app.command("report")
def market_report(
    real: Annotated[
        Path | None, typer.Option(help="Messages of a real market, to stand beside.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The HTML page.")] = Path("market-report.html"),
    hours: Annotated[int, typer.Option(help="Hours to simulate.", min=1, max=1000)] = 16,
    paths: Annotated[
        int, typer.Option(help="Paths of the impact curves; 0 leaves them out.", min=0)
    ] = 256,
    config: ConfigFiles = [],  # noqa: B006
    preset: Presets = [],  # noqa: B006
    override: Overrides = [],  # noqa: B006
    facts: Annotated[
        list[str], typer.Option("--facts", metavar="A.B=C", help="Set a range; repeatable.")
    ] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(help="Of the first hour.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the stylised facts of the simulated market and write them to one HTML page."""
    _need("train", ("matplotlib",))
    from rich.console import Console

    from configs.facts import FactsConfig
    from configs.loading import load_config
    from configs.messages import MessagesConfig
    from configs.train import load_train_config
    from trainers.market_survey import SurveyRequest, run_report

    request = SurveyRequest(
        env=load_train_config("execution", preset, config, override, None).env,
        facts=load_config(FactsConfig, overrides=facts),
        real=None if real is None else load_config(MessagesConfig, {"path": str(real)}),
        output=output,
        hours=hours,
        paths=paths,
        seed=seed,
    )
    run_report(request, Console(), as_json)


@market_app.command("calibrate")
def market_calibrate(
    file: Annotated[
        Path, typer.Argument(help="Order messages (LOBSTER's, or rows), or bars with their header.")
    ],
    output: Annotated[Path, typer.Option(help="The configuration to write.")] = Path("market.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the output.")] = False,
    kind: Annotated[
        FileKind, typer.Option(help="What the file holds; told by its header by default.")
    ] = FileKind.AUTO,
    name: Annotated[str, typer.Option(help="Of the market, in model names.")] = "calibrated",
    config: Annotated[
        list[Path], typer.Option("--config", help="YAML file of columns, codes, units; repeatable.")
    ] = [],  # noqa: B006
    override: Overrides = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit the simulated market to a file and write the configuration that trains on it."""
    from rich.console import Console

    from configs.bars import BarsConfig
    from configs.loading import load_config
    from configs.messages import MessagesConfig
    from trainers.market_calibrate import kind_of, run_calibrate

    found = kind_of(file) if kind is FileKind.AUTO else kind.value
    model: type[BarsConfig | MessagesConfig] = BarsConfig if found == "bars" else MessagesConfig
    settings = load_config(model, *config, {"path": str(file)}, overrides=override)
    run_calibrate(settings, output, force, name, Console(), as_json)


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


@data_app.command("check")
def data_check(
    file: Annotated[Path, typer.Argument(help="Bars, as CSV or Parquet.")],
    config: ConfigFiles = [],  # noqa: B006
    preset: Presets = [],  # noqa: B006
    override: Overrides = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say whether a file of bars can be used, what is wrong with it, and where.

    Without a configuration everything is guessed, and the guesses are said; --set takes the
    bars' own keys too, such as timezone=UTC. Exit code 0 where the file can be used, else 1.
    """
    from trainers import data_commands

    report = data_commands.check_data(file, preset, config, override)
    typer.echo(data_commands.as_json(report) if as_json else data_commands.as_text(report))
    raise typer.Exit(data_commands.exit_code(report))


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


def _need(extra: str, packages: tuple[str, ...]) -> None:
    """Say which extra is missing before an import fails deep inside."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"this command needs {', '.join(missing)}, not installed here; "
            f"install grandmodel[{extra}]"
        )


add_evaluate(app, _need, (*_TRAINING, "arch"))
add_commands(app, _need, _TRAINING)
add_serve(app, _need)


if __name__ == "__main__":
    main()
