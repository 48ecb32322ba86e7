"""Bars of any length made of prices in time, and bars as a CSV file that `load_bars` reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from market.bars import Bars, BarsReport

Floats = NDArray[np.float64]

NS_PER_SECOND = 1_000_000_000
_MINUTE = 60.0
HEADER = "Timestamp,Open,High,Low,Close,Volume"


def bars_of(
    source: str,
    start: int,
    minutes: float,
    seconds: float,
    time: Floats,
    price: Floats,
    quantity: NDArray[Any],
) -> Bars:
    """Open, high, low, close and volume of what happened in each `minutes`.

    Bars are counted from `start`; one in which nothing happened is left out, as
    vendors do.

    Args:
        source: what the bars came from, for messages.
        start: ns since 1970 UTC.
        minutes: length of a bar.
        seconds: length of the whole stretch, which has no gap.
        time: [n], seconds since `start`, ascending.
        price, quantity: [n], in the units of the bars.

    Raises:
        ConfigError: `minutes` is not above zero.
        DataError: n is 0.
    """
    if not minutes > 0.0:
        raise ConfigError(f"minutes={minutes:g}: expected a length of bars above zero")
    if not time.size:
        raise DataError(
            f"{source}: nothing traded in {seconds:g} s, so that there is no bar to make; expected "
            "volume in at least one bar"
        )
    length = _MINUTE * minutes
    # What happens at the very end belongs to the last bar.
    bar = np.minimum(time // length, np.ceil(seconds / length) - 1.0)
    first = np.flatnonzero(np.diff(bar, prepend=-1.0))
    return _read_only(
        start + np.rint(bar[first] * (length * NS_PER_SECOND)).astype(np.int64),
        price[first],
        np.maximum.reduceat(price, first),
        np.minimum.reduceat(price, first),
        price[np.append(first[1:], price.size) - 1],
        np.add.reduceat(quantity, first).astype(np.float64),
        source,
    )


def joined(parts: Sequence[Bars]) -> Bars:
    """Bars of successive stretches as one series.

    Raises:
        DataError: none is given, or they do not follow each other in time.
    """
    if not parts:
        raise DataError("no bars to join: expected those of one stretch or more")
    start = np.concatenate([part.start for part in parts])
    if (np.diff(start) <= 0).any():
        raise DataError(f"{parts[0].source}: stretches of bars overlap, expected rising stamps")
    return _read_only(
        start,
        np.concatenate([part.open for part in parts]),
        np.concatenate([part.high for part in parts]),
        np.concatenate([part.low for part in parts]),
        np.concatenate([part.close for part in parts]),
        np.concatenate([part.volume for part in parts]),
        parts[0].source,
    )


def write_bars(bars: Bars, path: Path) -> None:
    """Write `bars` as CSV with stamps in UTC; an existing file is replaced as a whole."""
    stamps = np.datetime_as_string(bars.start.view("datetime64[ns]"), unit="s")
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    rows = zip(stamps, *columns, strict=True)
    with NamedTemporaryFile(
        "w", dir=path.parent, prefix=path.name, suffix=".part", delete=False
    ) as file:
        file.write(HEADER + "\n")
        for stamp, *values in rows:
            # repr of a float is the shortest text that reads back as the same number.
            file.write(f"{stamp}Z," + ",".join(repr(float(value)) for value in values) + "\n")
    os.replace(file.name, path)


def _read_only(
    start: NDArray[np.int64],
    open_: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    volume: Floats,
    source: str,
) -> Bars:
    for column in (start, open_, high, low, close, volume):
        column.flags.writeable = False
    report = BarsReport(len(start), len(start), {}, 0, 0, 0, None)
    return Bars(start, open_, high, low, close, volume, source, "", report)
