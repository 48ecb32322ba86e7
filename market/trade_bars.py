"""Trades as bars of any length, and bars as a CSV file that `load_bars` reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from market.bars import Bars, BarsReport
from market.recording import Recording

NS_PER_SECOND = 1_000_000_000
_MINUTE = 60.0
HEADER = "Timestamp,Open,High,Low,Close,Volume"


def bars_of_trades(
    recording: Recording, start: int, minutes: float, volume_scale: float = 1.0
) -> Bars:
    """Open, high, low, close and volume of the trades in each `minutes`.

    Bars are counted from the recording's first moment; one in which nothing traded is
    left out, as vendors do.

    Args:
        recording: of one stretch without a gap.
        start: its first moment, ns since 1970 UTC.
        minutes: length of a bar.
        volume_scale: recorded units to one unit of the bars' volume.

    Raises:
        ConfigError: `minutes` is not above zero.
        DataError: nothing traded.
    """
    if not minutes > 0.0:
        raise ConfigError(f"minutes={minutes:g}: expected a length of bars above zero")
    if not recording.trade_time.size:
        raise DataError(f"{recording.source}: nothing traded, so that there is no bar to make")
    seconds = _MINUTE * minutes
    last = np.ceil(recording.seconds / seconds) - 1
    bar = np.minimum(recording.trade_time // seconds, last).astype(np.int64)
    first = np.flatnonzero(np.diff(bar, prepend=-1))
    price = recording.trade_price * recording.tick
    return _read_only(
        start + np.rint(bar[first] * (seconds * NS_PER_SECOND)).astype(np.int64),
        price[first],
        np.maximum.reduceat(price, first),
        np.minimum.reduceat(price, first),
        price[np.append(first[1:], price.size) - 1],
        np.add.reduceat(recording.trade_quantity, first) / volume_scale,
        recording.source,
    )


def joined(parts: Sequence[Bars]) -> Bars:
    """Bars of successive stretches as one series.

    Raises:
        DataError: none is given, or they do not follow each other in time.
    """
    if not parts:
        raise DataError("no bars to join: expected those of one stretch or more")
    names = ("start", "open", "high", "low", "close", "volume")
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
    if (np.diff(columns[0]) <= 0).any():
        raise DataError(f"{parts[0].source}: stretches of bars overlap, expected rising stamps")
    return _read_only(*columns, parts[0].source)


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
    open_: NDArray[np.float64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    volume: NDArray[np.float64],
    source: str,
) -> Bars:
    for column in (start, open_, high, low, close, volume):
        column.flags.writeable = False
    report = BarsReport(len(start), len(start), {}, 0, 0, 0, None)
    return Bars(start, open_, high, low, close, volume, source, "", report)
