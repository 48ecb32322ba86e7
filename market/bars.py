"""Real bars from CSV or Parquet: read, settled, localised, validated, roll-adjusted.

The steps, in order: read; settle day-first or month-first; localise to UTC;
leave out the excluded windows (what is wrong inside them concerns nobody);
validate the rows; adjust the rolls. `on_bad: error` refuses a file with a bad
row and says which; `drop` leaves bad rows out and counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.bars import BarsConfig
from configs.errors import DataError

if TYPE_CHECKING:
    from datetime import date

    from market.bar_table import BadRows, BarTable
    from market.bar_text import TextLayout


@dataclass(frozen=True)
class BarsReport:
    """What became of a file's rows. `read` = `kept` + `excluded` + `zero_volume` + dropped."""

    read: int
    kept: int
    dropped: dict[str, int]
    excluded: int
    zero_volume: int
    rolls_adjusted: int
    dayfirst: bool | None


@dataclass(frozen=True)
class Bars:
    """Bars in order of time; the arrays are read-only and of one length n.

    Attributes:
        start: int64 [n], start of each bar, ns since 1970 UTC, strictly rising.
        open, high, low, close: float64 [n], currency, adjusted for rolls.
        volume: float64 [n], units traded in the bar.
        source: path of the file, as configured.
        fingerprint: SHA-256 of the file's content.
        report: what became of its rows.
    """

    start: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    source: str
    fingerprint: str
    report: BarsReport

    def __len__(self) -> int:
        return len(self.start)


def load_bars(config: BarsConfig) -> Bars:
    """Load the bars that `config` describes.

    Raises:
        DataError: the file cannot be read, its dates cannot be settled, rows of it
            are bad (with `on_bad: error`), or no bar is left.
    """
    # pandas and pandera take a second to import, which only real bars should cost.
    from market.bar_table import BadRows

    bad = BadRows(str(config.path))
    table, fingerprint = read_table(config, bad)
    return clean_bars(table, config, bad, fingerprint)


def clean_bars(table: BarTable, config: BarsConfig, bad: BadRows, fingerprint: str) -> Bars:
    """The bars among the rows that were read: all steps of `load_bars` but the reading.

    Args:
        table: rows as read.
        config: what `load_bars` was given.
        bad: counts of the reading, which go on here.
        fingerprint: SHA-256 of the file's content.

    Raises:
        DataError: see `load_bars`.
    """
    from market.bar_checks import check_spacing

    rows, outside, dayfirst = good_rows(table, config, bad)
    if bad.total and config.on_bad == "error":
        raise bad.error(table.read)
    still = (rows.values[:, -1] == 0.0) & config.drop_zero_volume
    rows = rows.where(~still)
    if not len(rows.start):
        raise DataError(_nothing_left(table, bad, outside, int(still.sum())))
    check_spacing(rows.start, rows.lines, config, table.unit, bad.name)
    report = BarsReport(
        read=table.read,
        kept=len(rows.start),
        dropped=dict(bad.counts),
        excluded=outside,
        zero_volume=int(still.sum()),
        rolls_adjusted=_adjust_rolls(rows.start, rows.values, config),
        dayfirst=dayfirst,
    )
    return _bars(rows, bad.name, fingerprint, report)


def good_rows(table: BarTable, config: BarsConfig, bad: BadRows) -> tuple[Rows, int, bool | None]:
    """The rows that hold bars, how many lay in excluded windows, and the order of the dates.

    Rows that hold none are counted in `bad`.

    Raises:
        DataError: the dates cannot be settled.
    """
    from market.bar_checks import judge_order, judge_values
    from market.bar_dates import localise, settle
    from market.bar_table import MISSING

    wall, dayfirst = settle(table, config.dayfirst, bad.name)
    start = localise(wall, table.aware, config.timezone, table.lines, bad)
    rows = Rows(start, table.lines, table.values).where(start != MISSING)
    inside = excluded(rows.start, config)
    rows = rows.where(~inside)
    rows = rows.where(judge_values(rows.values, rows.lines, config, bad))
    rows = rows.where(judge_order(rows.start, rows.lines, bad))
    return rows, int(inside.sum()), dayfirst


@dataclass(frozen=True)
class Rows:
    """Rows that are still in: start int64 [n], lines int64 [n], values float64 [n, 5]."""

    start: NDArray[np.int64]
    lines: NDArray[np.int64]
    values: NDArray[np.float64]

    def where(self, rows: NDArray[np.bool_]) -> Rows:
        return Rows(self.start[rows], self.lines[rows], self.values[rows])


def _bars(rows: Rows, source: str, fingerprint: str, report: BarsReport) -> Bars:
    start = rows.start
    open_, high, low, close, volume = (np.ascontiguousarray(c) for c in rows.values.T)
    for column in (start, open_, high, low, close, volume):
        column.flags.writeable = False
    return Bars(start, open_, high, low, close, volume, source, fingerprint, report)


def read_table(
    config: BarsConfig, bad: BadRows, layout: TextLayout | None = None
) -> tuple[BarTable, str]:
    """The rows of the configured file before anything is judged, and its SHA-256.

    `layout` says how the rows of a text file are laid out; else its header does.

    Raises:
        DataError: there is no such file, or it is none of bars.
    """
    from market.bar_parquet import MAGIC, read_parquet
    from market.bar_text import read_text

    path = config.path
    try:
        if not path.exists():
            raise DataError(
                f"{path} does not exist: expected a CSV or Parquet file of bars; name yours as the "
                "bars' path (--set env.market.reference.bars.path=FILE, or make ... DATA=FILE)"
            )
        if not path.is_file():
            raise DataError(f"{path} is no regular file: expected a CSV or Parquet file of bars")
        with path.open("rb") as file:
            parquet = file.read(len(MAGIC)) == MAGIC
        if not parquet and path.suffix.lower() in (".parquet", ".pq"):
            raise DataError(f"{path} does not begin as Parquet does: write or fetch it again")
        if parquet:
            table, fingerprint = read_parquet(path, config, bad)
        else:
            table, fingerprint = read_text(path, config, bad, layout)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} cannot be read ({reason}): check the path and its rights"
        ) from None
    if not table.read:
        raise DataError(f"{path} holds a header and no bar: expected at least one row")
    return table, fingerprint


def excluded(start: NDArray[np.int64], config: BarsConfig) -> NDArray[np.bool_]:
    """Which bars [n] start inside an excluded window."""
    inside = np.zeros(len(start), dtype=np.bool_)
    for window in config.exclude:
        first, after = (midnight(day, config.timezone) for day in (window.start, window.end))
        inside |= (start >= first) & (start < after)
    return inside


def _adjust_rolls(start: NDArray[np.int64], values: NDArray[np.float64], config: BarsConfig) -> int:
    """Scale prices from each roll on, in place, so that its gap closes; rolls adjusted.

    From the first bar of a roll day on, prices are multiplied by (last close before)
    / (first open after), and rounded to the tick where one is given: the gap of that
    one bar, a real overnight move included, goes. A roll before the first bar, after
    the last, or inside an excluded window joins no two contracts that are here.
    """
    if config.adjust == "none":
        return 0
    prices = values[:, :-1]
    raw = prices.copy()
    factor, adjusted, first = 1.0, 0, len(start)
    for day in config.rolls:
        row = int(np.searchsorted(start, midnight(day, config.timezone)))
        if row in (0, len(start)) or any(w.start <= day < w.end for w in config.exclude):
            continue
        factor *= raw[row - 1, -1] / raw[row, 0]
        prices[row:] = raw[row:] * factor
        adjusted += 1
        first = min(first, row)
    if config.tick is not None:
        # Rounding keeps low <= open, close <= high: it never crosses two prices.
        prices[first:] = np.round(prices[first:] / config.tick) * config.tick
    if not (np.isfinite(prices) & (prices > 0)).all():
        raise DataError(
            f"{config.path}: adjusting the {adjusted} rolls leaves prices that are not positive:"
            " check the dates in rolls, or set adjust: none"
        )
    return adjusted


def midnight(day: date, zone: str) -> int:
    """The first moment of a day in a zone, ns since 1970 UTC."""
    import pandas as pd

    local = pd.DatetimeIndex([day]).as_unit("ns")
    moment = local.tz_localize(zone, ambiguous=np.array([True]), nonexistent="shift_forward")
    return int(moment.asi8[0])


def _nothing_left(table: BarTable, bad: BadRows, excluded: int, still: int) -> str:
    return (
        f"{bad.name}: no bar is left of {table.read} rows ({bad.total} bad, {excluded} in excluded"
        f" windows, {still} without volume): expected at least one; check the file, exclude and"
        " drop_zero_volume in the bars' configuration"
    )
