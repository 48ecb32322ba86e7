"""What `grandmodel data check` does: look at a file of bars, and say what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from configs.bars import BarsConfig
from configs.errors import ConfigError
from configs.loading import load_config, preset_files, shipped
from configs.market import BarReference
from configs.train import TrainConfig
from market.bar_examine import check_bars
from market.bar_report import KEYS, DataReport, Finding, Place, Verdict

EXIT_NOT_USABLE = 1
_LAYER = "execution"
_INDENT = "  "
_FINGERPRINT_SHOWN = 12


def check_data(
    path: Path, presets: Sequence[str], files: Sequence[Path], overrides: Sequence[str]
) -> DataReport:
    """The report of the file at `path`.

    Args:
        path: CSV or Parquet.
        presets, files, overrides: configuration as `grandmodel train` takes it; only that of
            the bars counts, and an override may name its keys alone (`timezone=UTC`).

    Raises:
        ConfigError: the configuration is wrong.
        DataError: the path names no regular file.
    """
    return check_bars(bars_config(path, presets, files, overrides))


def bars_config(
    path: Path, presets: Sequence[str], files: Sequence[Path], overrides: Sequence[str]
) -> BarsConfig:
    """The configuration of the bars at `path`; only what is given counts as set."""
    if not (presets or files or overrides):
        return BarsConfig(path=path)
    tree: dict[str, Any] = {"kind": "bars", "bars": {"path": str(path)}}
    for key in reversed(KEYS):
        tree = {key: tree}
    config = load_config(
        TrainConfig,
        shipped("layers", _LAYER),
        *(path for name in presets for path in preset_files(name, _LAYER)),
        *files,
        tree,
        overrides=[_whole_key(override) for override in overrides],
    )
    reference = config.env.market.reference
    if not isinstance(reference, BarReference):
        raise ConfigError(
            f"{'.'.join(KEYS)}.kind={reference.kind}: expected bars, which a file is checked as;"
            " leave that override out"
        )
    return reference.bars.model_copy(update={"path": path})


def _whole_key(override: str) -> str:
    """An override of a key of the bars alone, with the path to it put before."""
    name, equals, _ = override.partition("=")
    known = name.strip().split(".")[0] in TrainConfig.model_fields
    return override if known or not equals else f"{'.'.join(KEYS)}.bars.{override}"


def exit_code(report: DataReport) -> int:
    """0 where the file can be used, else 1."""
    return EXIT_NOT_USABLE if report.verdict is Verdict.NOT_USABLE else 0


def as_json(report: DataReport) -> str:
    """The report as one JSON object."""
    return json.dumps(report.as_dict(), indent=2, allow_nan=False)


def as_text(report: DataReport) -> str:
    """The report for people, the verdict first."""
    return "\n".join(_lines(report))


def _lines(report: DataReport) -> Iterator[str]:
    yield f"{report.verdict}: {report.why}"
    yield f"file:      {report.path}"
    if report.fingerprint is not None:
        yield f"content:   sha256 {report.fingerprint[:_FINGERPRINT_SHOWN]}"
        excluded = f", {report.excluded} in excluded windows" if report.excluded else ""
        yield f"rows:      {report.read} read, {report.kept} kept{excluded}"
    yield from _figures(report)
    if report.guesses:
        yield "guessed:"
        yield from (_INDENT + guess for guess in report.guesses)
    found = [finding for finding in report.findings if finding.count]
    if found:
        yield "found:"
        for finding in found:
            yield from _finding(finding, report.unit)
    missed = [finding.title for finding in report.findings if not finding.count]
    if missed:
        yield "not found: " + "; ".join(missed)
    if report.settings:
        yield "settings that suit this file (a configuration for --config):"
        yield from (_INDENT + line for line in report.yaml.splitlines())


def _figures(report: DataReport) -> Iterator[str]:
    sessions = report.sessions
    if report.utc is None or report.local is None or sessions is None:
        return
    yield f"range:     {report.utc[0]} to {report.utc[1]} UTC"
    yield f"           {report.local[0]} to {report.local[1]} {sessions.zone}"
    yield f"bars:      {report.bar_minutes:g} minutes"
    hours = ""
    if sessions.open is not None:
        exchange = f" ({sessions.exchange})" if sessions.exchange else ""
        hours = f", {sessions.open} to {sessions.close} {sessions.zone}{exchange}"
    yield f"sessions:  {sessions.count}{hours}, {sessions.bars_of_a_full_session} bars a full one"
    yield f"           {sessions.open_late} open late, {sessions.close_early} close early"


def _finding(finding: Finding, unit: str) -> Iterator[str]:
    remedy = f" ({finding.remedy})" if finding.remedy else ""
    yield f"{_INDENT}{finding.title}: {finding.count}{remedy}"
    for place in finding.places:
        yield f"{_INDENT * 2}{_where(place, unit)}: {place.what}"
    more = finding.count - len(finding.places)
    if more and finding.places:
        yield f"{_INDENT * 2}and {more} more"


def _where(place: Place, unit: str) -> str:
    if place.last_line is None:
        return f"{unit} {place.line}"
    return f"{unit}s {place.line} to {place.last_line}"
