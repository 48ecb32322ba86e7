"""Commands about markets and data files: replay, stylised facts, calibration, a file's check."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from trainers.cli_options import AsJson, ConfigFiles, Overrides, Presets, console, need

FileConfigs = Annotated[
    list[Path], typer.Option("--config", help="YAML file of columns, codes, units; repeatable.")
]


class FileKind(StrEnum):
    """What a file of market data holds."""

    AUTO = "auto"
    MESSAGES = "messages"
    BARS = "bars"


def add_market(app: typer.Typer) -> None:
    """Add them to the command line."""
    market_app = typer.Typer(help="Markets, real and simulated.", no_args_is_help=True)
    app.add_typer(market_app, name="market")
    _add_replay(market_app)
    _add_report(market_app)
    _add_calibrate(market_app)
    data_app = typer.Typer(help="Look at data files.", no_args_is_help=True)
    app.add_typer(data_app, name="data")
    _add_check(data_app)


def _add_replay(market_app: typer.Typer) -> None:
    @market_app.command("replay")
    def market_replay(
        file: Annotated[
            Path,
            typer.Argument(help="LOBSTER messages, or rows of time, type, id, size, price, side."),
        ],
        book: Annotated[
            Path | None,
            typer.Option(help="LOBSTER's order book file of the same rows, to compare."),
        ] = None,
        config: FileConfigs = [],  # noqa: B006
        override: Overrides = [],  # noqa: B006
        as_json: AsJson = False,
    ) -> None:
        """Replay a file of order messages through the book and say how far it agrees."""

        from configs.loading import load_config
        from configs.messages import MessagesConfig
        from trainers.market_commands import run_replay

        settings = load_config(MessagesConfig, *config, {"path": str(file)}, overrides=override)
        run_replay(settings, book, console(), as_json)


def _add_report(market_app: typer.Typer) -> None:
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
        as_json: AsJson = False,
    ) -> None:
        """Measure the stylised facts of the simulated market and write them to one HTML page."""
        need("train", ("matplotlib",))

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
        run_report(request, console(), as_json)


def _add_calibrate(market_app: typer.Typer) -> None:
    @market_app.command("calibrate")
    def market_calibrate(
        file: Annotated[
            Path,
            typer.Argument(help="Order messages (LOBSTER's, or rows), or bars with their header."),
        ],
        output: Annotated[Path, typer.Option(help="The configuration to write.")] = Path(
            "market.yaml"
        ),
        force: Annotated[bool, typer.Option("--force", help="Replace the output.")] = False,
        kind: Annotated[
            FileKind, typer.Option(help="What the file holds; told by its header by default.")
        ] = FileKind.AUTO,
        name: Annotated[str, typer.Option(help="Of the market, in model names.")] = "calibrated",
        config: FileConfigs = [],  # noqa: B006
        override: Overrides = [],  # noqa: B006
        as_json: AsJson = False,
    ) -> None:
        """Fit the simulated market to a file and write the configuration that trains on it."""

        from configs.bars import BarsConfig
        from configs.loading import load_config
        from configs.messages import MessagesConfig
        from trainers.market_calibrate import kind_of, run_calibrate

        found = kind_of(file) if kind is FileKind.AUTO else kind.value
        model: type[BarsConfig | MessagesConfig] = BarsConfig if found == "bars" else MessagesConfig
        settings = load_config(model, *config, {"path": str(file)}, overrides=override)
        run_calibrate(settings, output, force, name, console(), as_json)


def _add_check(data_app: typer.Typer) -> None:
    @data_app.command("check")
    def data_check(
        file: Annotated[Path, typer.Argument(help="Bars, as CSV or Parquet.")],
        config: ConfigFiles = [],  # noqa: B006
        preset: Presets = [],  # noqa: B006
        override: Overrides = [],  # noqa: B006
        as_json: AsJson = False,
    ) -> None:
        """Say whether a file of bars can be used, what is wrong with it, and where.

        Without a configuration everything is guessed, and the guesses are said; --set takes the
        bars' own keys too, such as timezone=UTC. Exit code 0 where the file can be used, else 1.
        """
        from trainers import data_commands

        report = data_commands.check_data(file, preset, config, override)
        typer.echo(data_commands.as_json(report) if as_json else data_commands.as_text(report))
        raise typer.Exit(data_commands.exit_code(report))
