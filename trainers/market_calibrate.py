"""What `grandmodel market calibrate` does: a file's market as a configuration to train on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from configs.bars import BarsConfig
from configs.errors import ConfigError
from configs.execution import ExecutionConfig
from configs.loading import load_config
from configs.messages import MessagesConfig
from configs.train import TrainConfig, load_train_config
from configs.yaml_text import dump
from market.bars import Bars, load_bars
from market.calibrate.bars import BarFigures, calibrate_bars, figures_of
from market.calibrate.figures import FIGURES, SPREAD, figures, ladder_for, simulate
from market.calibrate.findings import Calibration, Finding, rounded
from market.calibrate.messages import calibrate_messages
from market.calibrate.search import TOLERANCE, PlacementSearch
from market.facts.sample import pooled
from market.history_record import record_messages
from market.messages import Messages, load_messages
from market.record import DISTANCES
from market.recording import Recording
from trainers.report import replace

Kind = Literal["messages", "bars"]

REACHED_SECONDS = 1800.0
REACHED_RECORDINGS = 24
BAR_TOLERANCE = 0.20
BAR_RECORDINGS = 40  # of two bars, of each regime
RETURN_SECONDS = 300.0
_WIDTH = 100
_HEADER_BYTES = 4096
_PRICES = {"open", "high", "low", "close"}
_LETTERS = {"o", "h", "l", "c"}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One figure: in the file, and in the market simulated with the configuration written."""

    name: str
    unit: str
    wanted: float
    reached: float
    tolerance: float | None

    @property
    def ratio(self) -> float:
        """Reached over wanted."""
        return self.reached / self.wanted if self.wanted else float("nan")

    @property
    def met(self) -> bool | None:
        """Whether reached lies within the tolerance; None where none is set."""
        if self.tolerance is None:
            return None
        return bool(np.isfinite(self.ratio) and abs(self.ratio - 1.0) <= self.tolerance)


@dataclass(frozen=True)
class CalibrateReport:
    """What was found, the configuration that holds it, and how near its market comes."""

    kind: Kind
    calibration: Calibration
    config: ExecutionConfig
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """Every figure that misses its tolerance, in words, and what else could not be had."""
        missed = [
            f"{row.name}: wanted {row.wanted:.4g} {row.unit}, reached {row.reached:.4g}"
            for row in self.rows
            if row.met is False
        ]
        return (*missed, *self.notes)


def kind_of(path: Path) -> Kind:
    """Bars where the file's header names open, high, low and close; messages otherwise.

    Parquet is told by its schema. A file that cannot be read is taken for messages,
    whose loader says what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
        if head.startswith(b"PAR1"):
            import pyarrow.parquet as parquet

            cells = [str(name).lower() for name in parquet.read_schema(path).names]
        else:
            line = head.decode("utf-8-sig", "replace").partition("\n")[0].lower()
            cells = [cell.strip(" \"'\r") for cell in re.split(r"[,;\t]", line)]
    except (OSError, ValueError):
        return "messages"
    return "bars" if _PRICES.issubset(cells) or _LETTERS.issubset(cells) else "messages"


def run_calibrate(
    settings: MessagesConfig | BarsConfig,
    output: Path,
    force: bool,
    name: str,
    console: Console,
    as_json: bool,
) -> None:
    """Fit, simulate, write the configuration and print wanted beside reached.

    Raises:
        ConfigError: the output is there already and `force` was not given.
        DataError: from the file, or too little in it for a fit.
    """
    if output.exists() and not force:
        raise ConfigError(
            f"{output} exists: expected a new file to write; name another by --output, or give"
            " --force to replace it"
        )
    if not output.parent.is_dir():
        raise ConfigError(f"{output.parent} is no folder: make it, or name another by --output")
    say = _silent if as_json else lambda text: console.print(escape(text), style="dim")
    report = calibrate(settings, name, say)
    text = as_yaml(report)
    replace(output, text.encode())
    # What was written must read back to what was measured.
    written = load_train_config("execution", [], [output], [], None)
    if written.env.market != report.config.market:
        raise ConfigError(f"{output} reads back to another market; please report this")
    if as_json:
        console.print_json(json.dumps(as_object(report) | {"output": str(output)}))
    else:
        _print(report, output, console)


def calibrate(settings: MessagesConfig | BarsConfig, name: str, say: Say) -> CalibrateReport:
    """The report of a file; `say` is told how far it is."""
    if isinstance(settings, MessagesConfig):
        return _from_messages(load_messages(settings), name, say)
    return _from_bars(load_bars(settings), settings, name, say)


def _from_messages(messages: Messages, name: str, say: Say) -> CalibrateReport:
    say(f"{messages.source}: {len(messages):,} messages over {messages.seconds:,.0f} s")
    found = calibrate_messages(messages).with_findings(_name(name, messages.source))
    real = record_messages(messages, depth_ticks=DISTANCES)
    wanted = figures([real])
    config = with_ladder(config_of(found))
    search = PlacementSearch(config, wanted[SPREAD], wanted["depth"], say)
    config = search.run()
    flow, book = config.market.flow, config.market.book
    notes = []
    if not search.met:
        notes.append(
            f"no placement scale gives a mean spread of {wanted[SPREAD]:.2f} ticks with this flow;"
            f" the nearest is {search.reached[SPREAD]:.2f} ticks. A larger tick (such as"
            f" --set tick={max(wanted[SPREAD] / 2.0, 2.0) * messages.tick:.2g}) may fit better"
        )
    found = found.with_findings(
        Finding(
            "market.flow.placement_scale", flow.placement_scale,
            f"simulated mean spread {search.reached[SPREAD]:.2f} ticks, wanted"
            f" {wanted[SPREAD]:.2f} to {TOLERANCE:.0%}",
            f"bracketed search of {search.simulations} simulations",
        ),
        Finding(
            "market.flow.resting_orders", flow.resting_orders,
            f"simulated {search.reached['depth']:,.0f} units a side within {DISTANCES} ticks,"
            f" wanted {wanted['depth']:,.0f}",
            f"bracketed search of {search.simulations} simulations",
        ),
        *_book(book.ladder_levels, book.slots),
    )  # fmt: skip
    say(f"simulating {REACHED_RECORDINGS} x {REACHED_SECONDS:.0f} s with what was found")
    reached = figures(simulate(config, REACHED_SECONDS, REACHED_RECORDINGS, seed=1000))
    rows = tuple(Row(f.name, f.unit, wanted[f.name], reached[f.name], f.tolerance) for f in FIGURES)
    return CalibrateReport("messages", found, config_of(found), rows, tuple(notes))


def _from_bars(bars: Bars, settings: BarsConfig, name: str, say: Say) -> CalibrateReport:
    minutes = settings.bar_minutes
    say(f"{bars.source}: {len(bars):,} bars of {minutes} min")
    found = calibrate_bars(bars, minutes, settings.tick).with_findings(_name(name, bars.source))
    config = with_ladder(config_of(found))
    book = config.market.book
    found = found.with_findings(*_book(book.ladder_levels, book.slots))
    config = config_of(found)
    regimes = config.market.reference.regimes if config.market.reference.kind == "generator" else ()
    wanted = figures_of(bars, minutes, len(regimes))
    say(f"simulating {BAR_RECORDINGS} recordings of each regime with what was found")
    rows = _bar_rows(config, wanted, minutes)
    return CalibrateReport("bars", found, config, rows, ())


def _bar_rows(config: ExecutionConfig, wanted: BarFigures, minutes: int) -> tuple[Row, ...]:
    """Each regime on its own, simulated over two bars at a time."""
    reference = config.market.reference
    if reference.kind != "generator":
        return ()
    seconds = minutes * 60.0
    order = np.argsort([regime.volatility for regime in reference.regimes])
    price = reference.price / config.market.tick
    rows, volumes = [], []
    for rank, index in enumerate(order):
        alone = reference.model_copy(update={"regimes": (reference.regimes[index],)})
        market = config.market.model_copy(update={"reference": alone})
        seed = 2000 + rank * BAR_RECORDINGS
        made = simulate(
            config.model_copy(update={"market": market}), 2.0 * seconds, BAR_RECORDINGS, seed
        )
        moves = np.concatenate([np.diff(mid) for mid in pooled(made).mids(RETURN_SECONDS)])
        year = reference.trading_seconds_per_year / RETURN_SECONDS
        reached = float(np.sqrt(np.nanmean(moves**2) * year)) / price
        name = f"volatility of {reference.regimes[index].name}"
        rows.append(Row(name, "a year", float(wanted.volatility[rank]), reached, BAR_TOLERANCE))
        volumes += [_halves(recording, seconds) for recording in made]
    logs = np.log(np.maximum(np.array(volumes), 1.0))
    # The rate differs from regime to regime, which is no dispersion within days.
    within = logs.reshape(len(order), -1)
    spread = float(np.sqrt(np.mean(within.var(axis=1))))
    volume = Row("sigma of log volume", "1", wanted.volume_dispersion, spread, BAR_TOLERANCE)
    return (*rows, volume)


def _halves(recording: Recording, seconds: float) -> list[float]:
    """Quantity traded in each of two bars."""
    later = recording.trade_time >= seconds
    quantity = recording.trade_quantity
    return [float(quantity[~later].sum()), float(quantity[later].sum())]


def _name(name: str, source: str) -> Finding:
    return Finding("market.name", name, f"the market of {source}")


def _book(levels: int, slots: int) -> list[Finding]:
    why = "room for six deviations of an episode's path"
    return [
        Finding("market.book.ladder_levels", levels, why),
        Finding("market.book.slots", slots, "room for twice the resting orders on one venue"),
    ]


def with_ladder(config: ExecutionConfig) -> ExecutionConfig:
    """The configuration with a ladder that holds the path of one episode."""
    seconds = config.parent.horizon_steps * config.step_seconds
    slots = min(max(config.market.book.slots, 2 * config.market.flow.resting_orders), 1 << 16)
    update = {"ladder_levels": ladder_for(config, seconds), "slots": slots}
    book = config.market.book.model_copy(update=update)
    return config.model_copy(update={"market": config.market.model_copy(update={"book": book})})


def config_of(calibration: Calibration) -> ExecutionConfig:
    """The execution layer's configuration with what was found laid over it.

    Raises:
        ConfigError: a value lies outside what the configuration allows; names it.
    """
    base = load_train_config("execution", [], [], [], None)
    plain = {"env": calibration.tree()}
    return load_config(TrainConfig, base.model_dump(mode="json"), plain).env


def as_yaml(report: CalibrateReport) -> str:
    """The configuration file: each field under the comment that says where it comes from."""
    lines = [
        f"# Written by `grandmodel market calibrate` from {report.calibration.source}",
        f"# (SHA-256 {report.calibration.fingerprint}).",
        "# Train on it: grandmodel train execution --config THIS_FILE",
        "#",
        "# Wanted (the file) and reached (simulated with this configuration):",
    ]
    for row in report.rows:
        verdict = {None: "", True: " ok", False: " MISSED"}[row.met]
        lines.append(f"#   {row.name}: {row.wanted:.4g}, {row.reached:.4g} {row.unit}{verdict}")
    for note in report.notes:
        lines += _comment(note, "")
    lines.append("env:")
    lines += _fields(report.calibration.findings)
    kept = [finding for finding in report.calibration.findings if finding.value is None]
    lines.append("# What the file cannot tell, and so stays as it is:")
    for finding in kept:
        lines += _comment(f"env.{finding.key} {finding.comment}", "")
    return "\n".join(lines) + "\n"


def _fields(findings: tuple[Finding, ...]) -> list[str]:
    """The values as nested YAML, every one under its comment."""
    tree: dict[str, Any] = {}
    for finding in findings:
        if finding.value is not None:
            *parents, last = finding.key.split(".")
            place = tree
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = finding
    return _nested(tree, "  ")


def _nested(tree: dict[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for key, below in tree.items():
        if isinstance(below, dict):
            lines += [f"{indent}{key}:", *_nested(below, indent + "  ")]
            continue
        lines += _comment(below.comment, indent)
        lines += [indent + line for line in dump({key: below.value}).splitlines()]
    return lines


def _comment(text: str, indent: str) -> list[str]:
    """Text as comment lines of readable width."""
    lines, line = [], f"{indent}#"
    for word in text.split():
        if len(line) + 1 + len(word) > _WIDTH and line.strip() != "#":
            lines.append(line)
            line = f"{indent}#"
        line += f" {word}"
    return [*lines, line]


def as_object(report: CalibrateReport) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "kind": report.kind,
        "source": report.calibration.source,
        "fingerprint": report.calibration.fingerprint,
        "findings": [
            {"key": f.key, "value": f.value, "measured": f.measured, "source": f.source}
            | {"observations": f.count}
            for f in report.calibration.findings
        ],
        "figures": [
            {"name": row.name, "unit": row.unit, "wanted": _known(row.wanted)}
            | {"reached": _known(row.reached), "tolerance": row.tolerance, "met": row.met}
            for row in report.rows
        ],
        "shortfalls": list(report.shortfalls),
    }


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _silent(text: str) -> None:
    del text


def _print(report: CalibrateReport, output: Path, console: Console) -> None:
    table = Table("key", "value", "measured", title="found", title_justify="left")
    for finding in report.calibration.findings:
        if finding.value is not None:
            table.add_row(finding.key, escape(_short(finding.value)), escape(finding.comment))
    console.print(table)
    figures_table = Table(
        "figure", "wanted", "reached", "ratio", "", title="file and simulation",
        title_justify="left",
    )  # fmt: skip
    for row in report.rows:
        verdict = {None: "", True: "ok", False: "missed"}[row.met]
        figures_table.add_row(
            f"{row.name} ({row.unit})", f"{row.wanted:.4g}", f"{row.reached:.4g}",
            f"{row.ratio:.2f}", verdict,
        )  # fmt: skip
    console.print(figures_table)
    for shortfall in report.shortfalls:
        console.print(f"not reached: {escape(shortfall)}")
    console.print(f"written: {output}")
    console.print(f"next: grandmodel train execution --config {output}")


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(rounded_list(value))
    return text if len(text) <= 60 else text[:57] + "..."


def rounded_list(value: Any) -> Any:
    """A list of numbers to four digits, anything else as it is."""
    if isinstance(value, list) and all(isinstance(item, float) for item in value):
        return [rounded(item) for item in value]
    return value
