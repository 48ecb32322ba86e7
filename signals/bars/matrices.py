"""The matrices of the layers above execution, computed once per data set.

A table holds one row a bar; what an agent sees at bar t is the window of the last R
rows, a view. A row depends on its bar and those before it, back to the last hole. What
is not warmed up is masked: `warm` says which rows are whole, `usable` at which bars a
window is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from configs.signals import SignalsConfig
from market.bars import Bars
from signals.bars import rows
from signals.bars.clock import Clock, day_angle, read_clock
from signals.bars.columns import (
    POSTERIORS,
    REGIME_COLUMNS,
    REGIME_ROWS,
    SLOW_COLUMNS,
    STRATEGIC_COLUMNS,
    STRATEGIC_ROWS,
    TACTICAL_COLUMNS,
    TACTICAL_ROWS,
    places,
)
from signals.layout import Column
from signals.regime import RegimeModel, regime_filter

__all__ = [
    "REGIME_COLUMNS",
    "REGIME_ROWS",
    "STRATEGIC_COLUMNS",
    "STRATEGIC_ROWS",
    "TACTICAL_COLUMNS",
    "TACTICAL_ROWS",
    "FeatureTable",
    "SlowFeatures",
    "regime_table",
    "slow_features",
    "strategic_table",
    "tactical_table",
]

Row = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureTable:
    """One row of columns for each bar; the arrays are read-only.

    Attributes:
        values: float32 [n, columns], finite and within the columns' ranges; what is not
            warmed up is 0 and means nothing.
        warm: bool [n], rows whose every column is warmed up.
        columns: names, units and ranges, in the order of `values`.
        hole: bool [n], the first bars after holes.
    """

    values: NDArray[np.float32]
    warm: NDArray[np.bool_]
    columns: tuple[Column, ...]
    hole: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.values)

    def usable(self, rows: int) -> NDArray[np.bool_]:
        """Bool [n]: bars at which the last `rows` rows are warm, with no hole among them.

        Raises:
            ConfigError: `rows` is not positive.
        """
        if rows < 1:
            raise ConfigError(f"rows={rows}: expected the length of a window, at least 1")
        index = np.arange(len(self.warm))
        # The last row that breaks a window from behind it, or opens one after a hole.
        broken = np.maximum.accumulate(np.where(self.warm, -1, index))
        broken = np.maximum(broken, np.maximum.accumulate(np.where(self.hole, index - 1, -1)))
        return index - broken >= rows

    def window(self, t: int, rows: int) -> Row:
        """A view of the last `rows` rows at bar `t`, newest last, float32 [rows, columns].

        Raises:
            DataError: there are not as many.
        """
        if rows < 1 or not rows - 1 <= t < len(self.values):
            raise DataError(
                f"no window of {rows} rows at bar {t} of {len(self.values)}: expected a bar from "
                f"{max(rows - 1, 0)} to {len(self.values) - 1}; ask usable({rows}) where one is"
            )
        return self.values[t - rows + 1 : t + 1]


@dataclass(frozen=True)
class SlowFeatures:
    """What both slow matrices are cut from: float32 [n, len(SLOW_COLUMNS)] with NaN where a
    column is not warmed up, and the clock that it was computed on."""

    values: NDArray[np.float32]
    clock: Clock


def slow_features(
    bars: Bars, bar_minutes: int, tick: float, config: SignalsConfig | None = None
) -> SlowFeatures:
    """The columns of the strategic and the regime matrix but for the posteriors.

    Args:
        bars: of one length.
        bar_minutes: that length.
        tick: price increment, currency.
        config: windows, scales and what a hole is; the defaults without one.

    Raises:
        ConfigError: `bar_minutes` or `tick` is not positive.
        DataError: bars overlap.
    """
    config = config or SignalsConfig()
    check_tick(tick)
    clock = read_clock(bars.start, bar_minutes, config.clock)
    angle = day_angle(bars.start)
    settings = rows.slow_settings(config, bar_minutes, tick)
    out = np.empty((len(bars), len(SLOW_COLUMNS)), np.float32)
    for first, after in clock.segments:
        part = slice(first, after)
        rows.slow_series(
            rows.new_slow(config),
            settings,
            clock.opens[part],
            angle[part],
            bars.open[part],
            bars.high[part],
            bars.low[part],
            bars.close[part],
            bars.volume[part],
            out[part],
        )
    return SlowFeatures(out, clock)


def check_tick(tick: float) -> None:
    """Raise ConfigError where a tick is not positive and finite."""
    if not (tick > 0.0 and np.isfinite(tick)):
        raise ConfigError(f"tick={tick}: expected the price increment, above 0")


def strategic_table(
    bars: Bars,
    bar_minutes: int,
    tick: float,
    config: SignalsConfig | None = None,
    features: SlowFeatures | None = None,
) -> FeatureTable:
    """The strategic matrix's rows. See `slow_features`; `features` are those, if at hand."""
    features = features or slow_features(bars, bar_minutes, tick, config)
    cut = features.values[:, places(STRATEGIC_COLUMNS, SLOW_COLUMNS)]
    return _table(cut, STRATEGIC_COLUMNS, features.clock)


def tactical_table(
    bars: Bars, bar_minutes: int, tick: float, config: SignalsConfig | None = None
) -> FeatureTable:
    """The tactical matrix's rows. Arguments and errors as of `slow_features`.

    No column depends on the tick; it is checked, as the other tables' is.
    """
    config = config or SignalsConfig()
    check_tick(tick)
    clock = read_clock(bars.start, bar_minutes, config.clock)
    settings = rows.fast_settings(config)
    out = np.empty((len(bars), len(TACTICAL_COLUMNS)), np.float32)
    for first, after in clock.segments:
        part = slice(first, after)
        rows.fast_series(
            rows.new_fast(config),
            settings,
            clock.opens[part],
            bars.open[part],
            bars.high[part],
            bars.low[part],
            bars.close[part],
            bars.volume[part],
            out[part],
        )
    return _table(out, TACTICAL_COLUMNS, clock)


def regime_table(
    bars: Bars,
    bar_minutes: int,
    tick: float,
    model: RegimeModel,
    config: SignalsConfig | None = None,
    features: SlowFeatures | None = None,
) -> FeatureTable:
    """The regime matrix's rows. See `slow_features`.

    Args:
        model: fitted on the training split; its filter starts again at holes.
        features: of the same bars, if at hand.

    Raises:
        ConfigError: the model is of bars of another length.
    """
    config = config or SignalsConfig()
    features = features or slow_features(bars, bar_minutes, tick, config)
    posterior = regime_filter(model, bars, bar_minutes, config).posterior
    own = REGIME_COLUMNS[: -len(POSTERIORS)]
    cut = features.values[:, places(own, SLOW_COLUMNS)]
    whole = np.concatenate([cut, posterior.astype(np.float32)], axis=1)
    return _table(whole, REGIME_COLUMNS, features.clock)


def _table(values: Row, columns: tuple[Column, ...], clock: Clock) -> FeatureTable:
    """Mask what is not warmed up."""
    known = np.isfinite(values)
    warm = np.asarray(known.all(axis=1))
    values = np.ascontiguousarray(np.where(known, values, np.float32(0.0)))
    for array in (values, warm, clock.hole):
        array.flags.writeable = False
    return FeatureTable(values, warm, columns, clock.hole)
