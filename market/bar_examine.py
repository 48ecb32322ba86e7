"""Checking a file of bars: guess what is not said, look for what is wrong, give a verdict.

What the configuration sets is known; the rest is guessed and said. The verdict is
proven: the settings suggested are those under which the rows were loaded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.bars import BarsConfig, Window
from configs.errors import DataError
from market.bar_dates import more_plausible, settle, wall_clock
from market.bar_findings import (
    Located,
    clock,
    fault_findings,
    gap_findings,
    in_the_future,
    no_line_end,
    outlier_finding,
    overlapping,
    roll_finding,
    splice_finding,
    zero_volume,
)
from market.bar_layout import LayoutGuess, guess_layout
from market.bar_parquet import MAGIC
from market.bar_report import DataReport, Finding, Kind, SessionFigures, Verdict, settings_of
from market.bar_sessions import Gaps, Sessions, find_gaps, find_sessions
from market.bar_suspects import (
    Jump,
    Stretch,
    find_jumps,
    level_stretches,
    outliers,
    volume_stretches,
)
from market.bar_table import BadRows, BarTable
from market.bar_zones import FILE_ZONES, NS_PER_MINUTE, ZoneGuess, guess_zone
from market.bars import clean_bars, good_rows, midnight, read_table

_LEAST_KEPT = 0.5
"""A file of which less is bars is none of bars."""


@dataclass
class _Study:
    """What is known so far of a file."""

    config: BarsConfig
    table: BarTable
    bad: BadRows
    fingerprint: str
    changed: dict[str, Any] = field(default_factory=dict)
    guesses: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def guess(self, key: str, value: Any, said: str) -> None:
        """Assume a setting that the configuration leaves open."""
        self.changed[key] = value
        self.guesses.append(said)

    @property
    def assumed(self) -> BarsConfig:
        """The configuration with what was found so far laid over it."""
        return self.config.model_copy(update=self.changed)


def check_bars(config: BarsConfig, now: int | None = None) -> DataReport:
    """Check the file of `config`; keys that it does not set are guessed.

    Args:
        config: at least a path.
        now: ns since 1970; later bars are faults. The machine's clock by default.

    Raises:
        DataError: the path names no regular file. Whatever a file holds is reported.
    """
    path = config.path
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}: expected a CSV or Parquet file of bars; check the path")
    try:
        study = _read(config)
        return _examine(study, time.time_ns() if now is None else now)
    except DataError as error:
        return DataReport(str(path), Verdict.NOT_USABLE, _one_line(str(error), str(path)))


def _one_line(message: str, path: str) -> str:
    """A message about the file on one line, which does not name its path again."""
    text = " ".join(message.removeprefix(path).split())
    if message.startswith(f"{path}:") and text[1:2].isdigit():
        return f"line {text[1:]}"
    return f"it {text}" if message.startswith(f"{path} ") else text.removeprefix(":").strip()


def _read(config: BarsConfig) -> _Study:
    name = str(config.path)
    bad = BadRows(name)
    guess: LayoutGuess | None = None
    try:
        with config.path.open("rb") as file:
            parquet = file.read(len(MAGIC)) == MAGIC
        if not parquet and config.path.suffix.lower() not in (".parquet", ".pq"):
            guess = guess_layout(config.path, config, name)
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror}): check its rights") from None
    table, fingerprint = read_table(config, bad, guess.layout if guess else None)
    study = _Study(config, table, bad, fingerprint)
    if guess is not None:
        study.guesses += guess.said
        if guess.columns:
            study.changed["columns"] = {**config.columns, **guess.columns}
        if guess.problem:
            study.problems.append(guess.problem)
    return study


def _examine(study: _Study, now: int) -> DataReport:
    wall = _settle_dates(study)
    minutes = _settle_length(study, wall)
    zone = _settle_zone(study, wall, minutes)
    before = study.bad.copy()
    rows, excluded, _ = good_rows(study.table, study.assumed, study.bad)
    study.findings += [*fault_findings(study.bad), no_line_end(study.table, study.bad)]
    figures: dict[str, Any] = {
        "path": str(study.config.path),
        "read": study.table.read,
        "kept": len(rows.start),
        "excluded": excluded,
        "unit": study.table.unit,
        "fingerprint": study.fingerprint,
        "bar_minutes": minutes,
    }
    if len(rows.start):
        at = zone.hours.zone if zone.hours else study.assumed.timezone
        bars = Located(rows, at, study.assumed.timezone)
        sessions = _look(study, bars, zone, now, max(int(minutes), 1))
        figures["sessions"] = sessions
        ends = rows.start[[0, -1]]
        figures["utc"] = tuple(clock(int(ns)) for ns in ends)
        figures["local"] = tuple(clock(int(ns)) for ns in wall_clock(ends, at))
    verdict, why = _verdict(study, before, len(rows.start), excluded)
    settings = settings_of(study.config, study.changed) if len(rows.start) else {}
    return DataReport(
        verdict=verdict,
        why=why,
        findings=tuple(study.findings),
        guesses=tuple(study.guesses),
        settings=settings,
        **figures,
    )


def _settle_dates(study: _Study) -> NDArray[np.int64]:
    """Wall-clock stamps in the order of dates that stands, or is likelier."""
    config, table = study.config, study.table
    try:
        wall, dayfirst = settle(table, config.dayfirst, study.bad.name)
    except DataError as error:
        dayfirst, sure = more_plausible(table)
        wall = table.day_first if dayfirst else table.month_first
        study.guess("dayfirst", dayfirst, f"dates: {_order(dayfirst)} is likelier, not certain")
        if not sure:
            study.problems.append(_one_line(str(error), study.bad.name))
    else:
        if dayfirst is not None and config.dayfirst is None:
            study.guess(
                "dayfirst",
                dayfirst,
                f"dates: {_order(dayfirst)}, the other order goes back in time",
            )
    return wall


def _order(dayfirst: bool) -> str:
    return "day-first" if dayfirst else "month-first"


def _settle_length(study: _Study, wall: NDArray[np.int64]) -> float:
    """The commonest step between stamps, in minutes; the configured length where none is."""
    known = "bar_minutes" in study.config.model_fields_set
    steps = np.diff(wall[wall > np.iinfo(np.int64).min])
    steps = steps[steps > 0]
    if not len(steps):
        return float(study.config.bar_minutes)
    sizes, counts = np.unique(steps, return_counts=True)
    minutes = float(sizes[counts.argmax()] / NS_PER_MINUTE)
    if minutes < 1.0 or minutes != int(minutes):
        study.problems.append(
            f"its bars are {minutes * 60:g} seconds long: expected whole minutes; resample it"
        )
    elif not known:
        study.guess("bar_minutes", int(minutes), f"bar length: {minutes:g} minutes, the usual step")
    elif minutes != study.config.bar_minutes:
        study.guesses.append(
            f"bar length: {minutes:g} minutes is the usual step, against"
            f" bar_minutes={study.config.bar_minutes} as configured"
        )
    return minutes


def _settle_zone(study: _Study, wall: NDArray[np.int64], minutes: float) -> ZoneGuess:
    """The zone of the stamps, and where they trade."""
    known = "timezone" in study.config.model_fields_set
    zones = (study.config.timezone,) if known else FILE_ZONES
    guess = guess_zone(wall, study.table.aware, max(int(minutes), 1), zones)
    if guess.hours is not None:
        hours = guess.hours
        study.guesses.append(f"exchange: hours as of {hours.name}, {hours.zone}")
    if len(study.table.aware) and study.table.aware.all():
        return guess
    if known:
        _doubt_zone(study, wall, minutes, guess)
        return guess
    if guess.zone is None:
        study.guesses.append(
            "time zone: unknown, for the stamps carry no offset and keep no known hours; taken"
            " as UTC; set timezone"
        )
        return guess
    others = f"; {' and '.join(guess.others)} fits as well" if guess.others else ""
    said = f"time zone: {guess.zone}, in which the hours hold all year{others}; set timezone"
    study.guess("timezone", guess.zone, said)
    return guess


def _doubt_zone(study: _Study, wall: NDArray[np.int64], minutes: float, guess: ZoneGuess) -> None:
    """Say so where another zone than the configured one keeps known hours."""
    if guess.hours is not None:
        return
    other = guess_zone(wall, study.table.aware, max(int(minutes), 1))
    if other.hours is not None:
        study.guesses.append(
            f"time zone: {study.config.timezone} as configured, in which the bars keep no known"
            f" hours; in {other.zone} they keep those of {other.hours.name}; check timezone"
        )


def _look(study: _Study, bars: Located, zone: ZoneGuess, now: int, minutes: int) -> SessionFigures:
    """Add the findings about bars that are whole, and the windows and rolls to suggest."""
    rows = bars.rows
    future = rows.start > now
    sessions = find_sessions(
        rows.start, minutes, bars.zone, zone.hours.open if zone.hours else None
    )
    joined = _joined(bars, study.config)
    left_out = future.copy()
    stretches = volume_stretches(rows.values, sessions)
    _mark(left_out, stretches)
    jumps = find_jumps(rows.values, sessions, _follows(left_out, joined))
    levels = level_stretches(jumps, rows.values)
    ends = {row for s in levels for row in (s.first, s.last + 1)}
    _mark(left_out, levels)
    stretches = sorted(stretches + levels, key=lambda s: s.first)
    rolls = [j for j in jumps if j.quiet and j.session and j.row not in ends]
    rolls = [j for j in rolls if bars.file_day(j.row) not in study.config.rolls]
    follows = _follows(left_out, joined)
    gaps = find_gaps(sessions, left_out, follows)
    follows[[jump.row for jump in jumps if jump.session and jump.quiet]] = False
    study.findings += [
        in_the_future(bars, np.flatnonzero(future)),
        overlapping(bars, minutes),
        zero_volume(bars),
        *gap_findings(bars, sessions, gaps),
        splice_finding(bars, stretches),
        roll_finding(bars, rolls),
        outlier_finding(bars, outliers(rows.values, sessions, follows)),
    ]
    _suggest(study, bars, stretches + _runs(future), rolls)
    return _session_figures(sessions, gaps, zone)


def _session_figures(sessions: Sessions, gaps: Gaps, zone: ZoneGuess) -> SessionFigures:
    return SessionFigures(
        count=len(sessions.first),
        zone=sessions.zone,
        exchange=zone.hours.name if zone.hours else None,
        open=_time(sessions.open),
        close=_time(sessions.close),
        bars_of_a_full_session=sessions.full,
        open_late=gaps.late,
        close_early=gaps.early,
    )


def _joined(bars: Located, config: BarsConfig) -> NDArray[np.bool_]:
    """Bars [n] before which an excluded window was left out, and the first."""
    joined = np.zeros(len(bars.rows.start) + 1, dtype=np.bool_)
    joined[0] = True
    for window in config.exclude:
        after = midnight(window.end, bars.file_zone)
        joined[np.searchsorted(bars.rows.start, after)] = True
    return joined[:-1]


def _follows(left_out: NDArray[np.bool_], joined: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bars [n] before which nothing is left out."""
    before = np.r_[True, left_out[:-1]]
    return ~(left_out | before | joined)


def _mark(left_out: NDArray[np.bool_], stretches: Sequence[Stretch]) -> None:
    for stretch in stretches:
        left_out[stretch.first : stretch.last + 1] = True


def _runs(rows: NDArray[np.bool_]) -> list[Stretch]:
    edges = np.flatnonzero(np.diff(np.r_[False, rows, False]))
    return [Stretch(int(a), int(b) - 1, "") for a, b in edges.reshape(-1, 2)]


def _time(minutes: int | None) -> str | None:
    return None if minutes is None else f"{minutes // 60:02d}:{minutes % 60:02d}"


def _suggest(
    study: _Study, bars: Located, stretches: Sequence[Stretch], rolls: Sequence[Jump]
) -> None:
    """Windows to leave out, rolls to adjust, bad rows to drop."""
    spans = [(w.start, w.end) for w in study.config.exclude]
    spans += [
        (bars.file_day(s.first), bars.file_day(s.last) + timedelta(days=1)) for s in stretches
    ]
    if stretches:
        windows = tuple(Window(start=a, end=b) for a, b in _merged(spans))
        study.changed["exclude"] = windows
    days = {bars.file_day(jump.row) for jump in rolls if bars.opens_its_day(jump.row)}
    if days:
        study.changed["rolls"] = tuple(sorted(days | set(study.config.rolls)))
    if study.bad.total:
        study.changed["on_bad"] = "drop"


def _merged(spans: Sequence[tuple[date, date]]) -> list[tuple[date, date]]:
    merged: list[tuple[date, date]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _verdict(study: _Study, before: BadRows, kept: int, excluded: int) -> tuple[Verdict, str]:
    """The verdict in one line, after loading under the suggested settings."""
    total = study.table.read
    if kept + excluded < _LEAST_KEPT * total:
        worst = max(study.bad.counts, key=lambda reason: study.bad.counts[reason])
        study.problems.append(
            f"{total - kept - excluded} of {total} rows are no bars (most often: {worst})"
        )
    if study.problems:
        return Verdict.NOT_USABLE, "; ".join(study.problems)
    settings = study.assumed.model_copy(update={"on_bad": "drop"})
    try:
        bars = clean_bars(study.table, settings, before, study.fingerprint)
    except DataError as error:
        return Verdict.NOT_USABLE, _one_line(str(error), study.bad.name)
    parts = []
    if study.bad.total:
        parts.append(f"bad rows: {study.bad.total}")
    if "exclude" in study.changed:
        parts.append(f"rows of days to leave out: {bars.report.excluded - excluded}")
    drops = bool(parts)
    parts += [
        f"{finding.title}: {finding.count}"
        for finding in study.findings
        if finding.kind is Kind.SUSPECT and finding.count
    ]
    verdict = Verdict.WITH_DROPS if drops else Verdict.USABLE
    return verdict, f"{len(bars)} of {total} rows; " + ("; ".join(parts) or "nothing found wrong")
