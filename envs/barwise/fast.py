"""The five-minute bars that tactical episodes are cut from, with what agents read of them.

Bars of the built-in market are generated at the layer's own length. A file's bars may be as
long, or a whole number of times longer: then shorter ones emerge from them (`finer_bars`).
Splits are cut on the file's bars, at the same times as for every other layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.barwise import LayerConfig
from configs.errors import DataError
from configs.market import BarReference
from configs.signals import SignalsConfig
from configs.splits import Split
from envs.barwise.copies import with_copies
from envs.barwise.data import (
    Keyed,
    built_in,
    content_key,
    data_key,
    starts_in,
    with_augmentation,
)
from market.bar_tape import BarTape, bar_tape
from market.bars import Bars, load_bars
from market.finer_bars import finer_bars
from market.kept import kept, key_of
from market.splits import SplitRange, hull, split_ranges
from market.synthetic import expected_moves
from signals.bars.fvg import SPAN
from signals.bars.matrices import TACTICAL_COLUMNS, TACTICAL_ROWS, FeatureTable, tactical_table
from signals.bars.ranges import average_ranges


@dataclass(frozen=True)
class FastData:
    """Bars of one split, and the table of the tactical matrix over all bars.

    Attributes:
        tape: of all bars.
        tactical: rows of the matrix, one a bar.
        ranges: float64 [n], the average true range at each close, ticks; NaN until warm.
        starts: int64 [m], bars at whose close an episode may begin: windows are whole there
            and at every bar that it plays, and all of them lie in the split.
        fingerprint: of the bars.
        rows: the split's range of the bars as they are given.
        parts: into how many each of these was cut.
        bars: all bars.
        expected: float64 [n], ticks, see `market.synthetic.expected_moves`; 0 where nothing
            tells, of a file's bars and of copies.
    """

    tape: BarTape
    tactical: FeatureTable
    ranges: NDArray[np.float64]
    starts: NDArray[np.int64]
    fingerprint: str
    rows: SplitRange
    parts: int
    bars: Bars
    expected: NDArray[np.float64]

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Bool [n]: bars at whose close the window is whole."""
        return _whole(self.tactical, self.ranges)


@dataclass(frozen=True)
class _Tables:
    """What all splits share; `stamps` are those of the given bars, each cut into `parts`."""

    tape: BarTape
    tactical: FeatureTable
    ranges: NDArray[np.float64]
    stamps: NDArray[np.int64]
    parts: int
    fingerprint: str
    bars: Bars
    expected: NDArray[np.float64]


def fast_data(config: LayerConfig, split: Split) -> FastData:
    """The data of one split; computed once for a configuration and kept.

    Raises:
        DataError: the split holds no episode, or a file's bars are no multiple of the layer's.
    """
    tables = _tables(Keyed(data_key(config), config))
    ranges = _ranges(tables, config, split)
    rows = hull(ranges)
    played = [(part.first * tables.parts, part.after * tables.parts) for part in ranges]
    if split == "train" and config.augmentation.copies:
        tables, copies = _copied(Keyed(with_augmentation(data_key(config), config), config))
        played += copies
    whole = _whole(tables.tactical, tables.ranges)
    starts = starts_in(whole, played, config.horizon_bars, str(rows))
    return FastData(
        tables.tape,
        tables.tactical,
        tables.ranges,
        starts,
        tables.fingerprint,
        rows,
        tables.parts,
        tables.bars,
        tables.expected,
    )


def fast_rows(config: LayerConfig, split: Split) -> tuple[SplitRange, str]:
    """The split's range of the bars as they are given, and the fingerprint of those played.

    Raises:
        DataError: see `fast_data`.
    """
    tables = _tables(Keyed(data_key(config), config))
    return hull(_ranges(tables, config, split)), tables.fingerprint


def _whole(tactical: FeatureTable, ranges: NDArray[np.float64]) -> NDArray[np.bool_]:
    return tactical.usable(TACTICAL_ROWS) & np.isfinite(ranges)


def lookback(config: SignalsConfig) -> int:
    """Bars behind a decision that its window and the gaps and averages in it go back."""
    gaps = config.fvg.expiry + config.fvg.body_bars + SPAN
    return TACTICAL_ROWS + max(gaps, config.volume_average, config.atr_bars)


@lru_cache(maxsize=4)
def _tables(keyed: Keyed) -> _Tables:
    config = keyed.config
    given, parts, expected = _given(config)
    bars = given
    if parts > 1:
        length, tick = config.bar_minutes * parts, config.market.tick
        bars = finer_bars(given, length, parts, tick, config.series.seed, config.market.flow)
    return _computed(bars, given.start, parts, config, content_key(config), expected)


@lru_cache(maxsize=2)
def _copied(keyed: Keyed) -> tuple[_Tables, tuple[tuple[int, int], ...]]:
    """The bars with copies of the training split behind them, and where these lie."""
    config = keyed.config
    tables = _tables(Keyed(data_key(config), config))
    rows, parts = max(_ranges(tables, config, "train"), key=len), tables.parts
    train = SplitRange("train", rows.first * parts, rows.after * parts, rows.begins, rows.ends)
    joined = with_copies(tables.bars, train, config)
    key = with_augmentation(content_key(config), config)
    nothing = np.zeros(len(joined.bars))
    return _computed(joined.bars, tables.stamps, parts, config, key, nothing), joined.copies


def _computed(
    bars: Bars,
    stamps: NDArray[np.int64],
    parts: int,
    config: LayerConfig,
    key: str,
    expected: NDArray[np.float64],
) -> _Tables:
    """Tape and tables of `bars`, kept on disk under `key`."""
    tick, minutes = config.market.tick, int(config.bar_minutes)

    def make() -> dict[str, NDArray[Any]]:
        table = tactical_table(bars, minutes, tick, config.signals)
        ranges = average_ranges(bars, minutes, config.signals) / tick
        return {"tactical": table.values, "warm": table.warm, "hole": table.hole, "ranges": ranges}

    expected.flags.writeable = False
    found = kept("fast", key_of(__file__, key, bars.fingerprint), make)
    return _Tables(
        bar_tape(bars, config.bar_minutes, tick, config.past_bars),
        FeatureTable(found["tactical"], found["warm"], TACTICAL_COLUMNS, found["hole"]),
        found["ranges"],
        stamps,
        parts,
        bars.fingerprint,
        bars,
        expected,
    )


def _given(config: LayerConfig) -> tuple[Bars, int, NDArray[np.float64]]:
    """The bars as they are given, into how many each is to be cut, and `FastData.expected`."""
    reference = config.market.reference
    if not isinstance(reference, BarReference):
        series = built_in(config, reference)
        moves = expected_moves(series, reference, config.bar_minutes) / config.market.tick
        return series.bars, 1, moves
    parts = reference.bars.bar_minutes / config.bar_minutes
    if parts != int(parts):
        raise DataError(
            f"{reference.bars.path}: bars of {reference.bars.bar_minutes} min, but the layer "
            f"decides every {config.bar_minutes:g}; expected a whole multiple, set bar_minutes to "
            "a whole part of the file's"
        )
    bars = load_bars(reference.bars)
    return bars, int(parts), np.zeros(len(bars) * int(parts))


def _ranges(tables: _Tables, config: LayerConfig, split: Split) -> tuple[SplitRange, ...]:
    """The split's parts of given bars; nothing that is read at one looks across its border."""
    behind = math.ceil(lookback(config.signals) / tables.parts)
    embargo = max(config.splits.embargo_bars, behind)
    told = config.splits.model_copy(update={"embargo_bars": embargo})
    least = math.ceil((config.horizon_bars + 1) / tables.parts)
    stamps = tables.stamps
    return split_ranges(split, len(stamps), stamps, told, least=least, source="bars")
