"""What makes a row a bar, as pandera schemas, and the rows that are none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from numpy.typing import NDArray

from configs.bars import BarsConfig
from configs.errors import DataError
from market.bar_table import PRICES, VALUES, BadRows

TICK_TOLERANCE = 1e-4
"""Share of a tick by which a price may miss the grid: rounding of decimals, no more."""

_CHUNK = 1 << 17
"""Rows judged at once: pandera lists every failure, some hundred bytes each."""

ORDER = "stamp out of order"
REPEATED = "stamp given twice"
NOT_FINITE = "not a finite number"
NOT_POSITIVE = "price not positive"
NEGATIVE_VOLUME = "volume negative"
LOW_ABOVE = "low above open, high or close"
HIGH_BELOW = "high below open or close"

Judge = Callable[[pd.DataFrame], Any]
"""Given the frame, a boolean Series: True where the row passes."""


def judge_values(
    values: NDArray[np.float64], lines: NDArray[np.int64], config: BarsConfig, bad: BadRows
) -> NDArray[np.bool_]:
    """Which rows [n] hold a bar: finite, positive, low <= open, close <= high, on tick.

    Args:
        values: float64 [n, 5], open, high, low, close, volume.
        lines: int64 [n], line of each row in the file.
        bad: counts the rows that hold none, each under the first reason met.
    """
    frame = pd.DataFrame(values, columns=list(VALUES))
    judges = _value_judges(config.tick)
    good, reason = _judge(frame, judges)
    for name in judges:
        rows = np.flatnonzero(reason == name)
        shown = (_row_text(values[row]) for row in rows)
        bad.add_many(name, lines[rows], shown)
    return good


def judge_order(
    start: NDArray[np.int64], lines: NDArray[np.int64], bad: BadRows
) -> NDArray[np.bool_]:
    """Which rows [n] rise in time, no stamp twice. Of rows out of order the fewer go."""
    astray = _astray(start)
    in_place = start[~astray]
    repeated = np.zeros(len(start), dtype=np.bool_)
    repeated[np.flatnonzero(~astray)[1:]] = in_place[1:] == in_place[:-1]
    judges: dict[str, Judge] = {
        ORDER: lambda f: ~f["astray"],
        REPEATED: lambda f: ~f["repeated"],
    }
    good, reason = _judge(pd.DataFrame({"astray": astray, "repeated": repeated}), judges)
    for name in judges:
        rows = np.flatnonzero(reason == name)
        bad.add_many(name, lines[rows], (_utc(start[row]) for row in rows))
    return good


def check_spacing(
    start: NDArray[np.int64], lines: NDArray[np.int64], config: BarsConfig, unit: str, name: str
) -> None:
    """Refuse bars that overlap: their length is then not what the configuration says."""
    minutes = np.diff(start) / 60e9
    close = np.flatnonzero(minutes < config.bar_minutes)
    if len(close):
        row = close[0]
        raise DataError(
            f"{name}: {unit} {lines[row + 1]} starts {minutes[row]:g} minutes after the bar before"
            f" it ({len(close)} such bars): expected at least bar_minutes={config.bar_minutes};"
            " set bar_minutes to the length of the file's bars"
        )


def _value_judges(tick: float | None) -> dict[str, Judge]:
    """The checks of a row in order; each returns True where a row passes."""
    prices, values = list(PRICES), list(VALUES)
    judges: dict[str, Judge] = {
        NOT_FINITE: lambda f: np.isfinite(f[values]).all(axis=1),
        NOT_POSITIVE: lambda f: ~(f[prices] <= 0).any(axis=1),
        NEGATIVE_VOLUME: lambda f: ~(f["volume"] < 0),
        LOW_ABOVE: lambda f: ~(f["low"] > f[["open", "high", "close"]].min(axis=1)),
        HIGH_BELOW: lambda f: ~(f["high"] < f[["open", "close"]].max(axis=1)),
    }
    if tick is not None:
        judges[f"price off the tick of {tick:g}"] = lambda f: ~off_tick(f[prices], tick).any(axis=1)
    return judges


def off_tick(prices: pd.DataFrame, tick: float) -> pd.DataFrame:
    """Which prices lie off the grid of `tick`; not finite ones are judged elsewhere."""
    steps = prices.where(np.isfinite(prices), 0.0) / tick
    return (steps - steps.round()).abs() > TICK_TOLERANCE


def _judge(
    frame: pd.DataFrame, judges: dict[str, Judge]
) -> tuple[NDArray[np.bool_], NDArray[np.object_]]:
    """Run the checks as one pandera schema: rows that pass all, and the first one failed."""
    schema = pa.DataFrameSchema(
        checks=[pa.Check(judge, name=name, ignore_na=False) for name, judge in judges.items()]
    )
    good = np.ones(len(frame), dtype=np.bool_)
    reason = np.full(len(frame), "", dtype=object)
    for first in range(0, len(frame), _CHUNK):
        try:
            schema.validate(frame.iloc[first : first + _CHUNK], lazy=True)
        except pa.errors.SchemaErrors as errors:
            cases = errors.failure_cases
            for name in reversed(judges):
                rows = cases.loc[cases["check"] == name, "index"].dropna().unique().astype(np.int64)
                good[rows] = False
                reason[rows] = name
    return good, reason


def _astray(start: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows out of order: those below a row before them, or those above a row after
    them, whichever are fewer. Without either set what remains rises."""
    below, above = np.zeros((2, len(start)), dtype=np.bool_)
    below[1:] = start[1:] < np.maximum.accumulate(start)[:-1]
    above[:-1] = start[:-1] > np.minimum.accumulate(start[::-1])[::-1][1:]
    return below if below.sum() <= above.sum() else above


def _row_text(values: NDArray[np.float64]) -> str:
    cells = zip(VALUES, values, strict=True)
    return ", ".join(f"{n} {'?' if math.isnan(v) else format(v, 'g')}" for n, v in cells)


def _utc(ns: np.int64) -> str:
    return str(np.datetime64(int(ns), "ns").astype("datetime64[s]")) + " UTC"
