"""What a check of a bars file says: a verdict, figures, findings, and settings to give."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from configs.bars import BarsConfig
from configs.yaml_text import dump

KEYS = ("env", "market", "reference")
"""Where a training's configuration holds its reference path."""


class Verdict(StrEnum):
    """Whether a file can be trained on."""

    USABLE = "usable"
    WITH_DROPS = "usable with drops"
    NOT_USABLE = "not usable"


class Kind(StrEnum):
    """What a finding means for the verdict."""

    FAULT = "fault"  # rows that hold no bar and must go
    SUSPECT = "suspect"  # bars that look wrong; a person decides
    NOTE = "note"  # bars that are as they may be


@dataclass(frozen=True, order=True)
class Place:
    """Where something was found: a line (row, of Parquet) of the file, or several."""

    line: int
    what: str
    last_line: int | None = None


@dataclass(frozen=True)
class Finding:
    """One thing looked for: how often it is there, the first places, and the remedy.

    name: in JSON; title: for people, in the plural.
    """

    name: str
    title: str
    kind: Kind
    count: int
    places: tuple[Place, ...] = ()
    remedy: str = ""


@dataclass(frozen=True)
class SessionFigures:
    """The sessions of a file; open and close are HH:MM in the exchange's zone."""

    count: int
    zone: str
    exchange: str | None
    open: str | None
    close: str | None
    bars_of_a_full_session: int
    open_late: int
    close_early: int


@dataclass(frozen=True)
class DataReport:
    """The report of one file.

    Attributes:
        path: of the file, as given.
        verdict, why: in one line.
        read, kept: rows of the file, and those of them that hold bars.
        excluded: rows in windows that the configuration leaves out.
        utc, local: start of the first and the last bar, in UTC and at the exchange.
        bar_minutes: length of a bar as found.
        sessions: None where there are no bars.
        findings: everything that was looked for, found or not.
        guesses: what was assumed, and from what.
        settings: of the bars' configuration, as suggested.
        fingerprint: SHA-256 of the file's content.
    """

    path: str
    verdict: Verdict
    why: str
    read: int = 0
    kept: int = 0
    excluded: int = 0
    unit: str = "line"
    utc: tuple[str, str] | None = None
    local: tuple[str, str] | None = None
    bar_minutes: float | None = None
    sessions: SessionFigures | None = None
    findings: tuple[Finding, ...] = ()
    guesses: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None

    def finding(self, name: str) -> Finding:
        """The finding of that name.

        Raises:
            KeyError: nothing of that name was looked for.
        """
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    @property
    def yaml(self) -> str:
        """The suggested settings as a configuration file of `grandmodel train`."""
        tree: dict[str, Any] = {"kind": "bars", "bars": self.settings}
        for key in reversed(KEYS):
            tree = {key: tree}
        return dump(tree)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data, ready for JSON."""
        return {**asdict(self), "yaml": self.yaml if self.settings else None}


def settings_of(config: BarsConfig, changed: dict[str, Any]) -> dict[str, Any]:
    """What was set in `config`, with what the check found laid over it, as plain data."""
    given = config.model_dump(mode="json", include=config.model_fields_set | {"path"})
    laid = config.model_copy(update=changed).model_dump(mode="json", include=set(changed))
    return {**given, **laid}
