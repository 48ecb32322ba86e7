"""Live: one bar in, one row of a matrix out, equal to the bit to the row of the table.

A stream keeps its state in plain arrays: `state_dict()` and `load_state()` carry it in
checkpoints. Bars come in order of time; a stream finds sessions and holes by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.signals import SignalsConfig
from signals.bars import rows
from signals.bars.clock import FOLLOWS, HOLE, check_minutes, day_angle, pause
from signals.bars.columns import (
    POSTERIORS,
    REGIME_COLUMNS,
    SLOW_COLUMNS,
    STRATEGIC_COLUMNS,
    TACTICAL_COLUMNS,
    places,
)
from signals.bars.matrices import Row, check_tick
from signals.bars.states import clear, load_state, state_dict
from signals.layout import Column
from signals.regime import RegimeModel, check_length, filter_settings, filter_update, new_filter

_ROUNDING = 1e-9  # share of a price by which a rounded one may leave its bar's range


class Bar(NamedTuple):
    """One finished bar: start in ns since 1970 UTC, prices in currency, units traded."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float


def check_bar(bar: Bar) -> None:
    """Raise DataError where the numbers of a bar are none or contradict each other."""
    prices = (bar.open, bar.high, bar.low, bar.close)
    if not (np.isfinite(prices).all() and min(prices) > 0.0):
        raise DataError(f"{bar}: expected finite prices above 0; leave the bar out")
    if not (np.isfinite(bar.volume) and bar.volume >= 0.0):
        raise DataError(f"{bar}: expected a finite volume, 0 or more; leave the bar out")
    slack = _ROUNDING * bar.high
    if not bar.low - slack <= min(prices) <= max(prices) <= bar.high + slack:
        raise DataError(f"{bar}: expected low <= open, close <= high; leave the bar out")


class Last(NamedTuple):
    """Start of the last bar [1], ns, and whether there was one [1]."""

    start: NDArray[np.int64]
    seen: NDArray[np.int64]


class Stream(ABC):
    """A matrix, row by row.

    Attributes:
        columns: of a row.
        warm: whether every column of the last row is warmed up.
    """

    columns: tuple[Column, ...]

    def __init__(self, bar_minutes: int, tick: float, config: SignalsConfig | None = None) -> None:
        """Arguments and errors as of `signals.bars.matrices.slow_features`."""
        check_minutes(bar_minutes)
        check_tick(tick)
        self.config = config or SignalsConfig()
        self.bar_minutes = bar_minutes
        self.warm = False
        self._last = Last(np.zeros(1, np.int64), np.zeros(1, np.int64))

    @abstractmethod
    def _states(self) -> dict[str, Any]:
        """The states of the indicators, by name."""

    @abstractmethod
    def _fill(self, bar: Bar, opens: bool) -> Row:
        """The row of a bar, NaN where a column is not warmed up."""

    def update(self, bar: Bar) -> Row:
        """The row of a bar that has ended, float32 [columns]; what is not warmed up is 0.

        Raises:
            DataError: the bar is none, or does not follow the last one. Nothing changed.
        """
        check_bar(bar)
        opens = self._turn(int(bar.start))
        row = self._fill(bar, opens)
        known = np.isfinite(row)
        self.warm = bool(known.all())
        return np.where(known, row, np.float32(0.0))

    def _turn(self, start: int) -> bool:
        """Move the clock on, clear everything at a hole; whether a session begins."""
        last, seen = self._last
        opens = True
        if seen[0]:
            between = pause(int(last[0]), start, self.bar_minutes, self.config.clock)
            opens = between != FOLLOWS
            if between == HOLE:
                for state in self._states().values():
                    clear(state)
        last[0], seen[0] = start, 1
        return opens

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Copies of every array of the stream, by name."""
        return state_dict({"clock": self._last, **self._states()})

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a saved state.

        Raises:
            SimulatorError: it is of another stream or configuration.
        """
        load_state({"clock": self._last, **self._states()}, saved)


class SlowStream(Stream):
    """Both slow matrices but for the posteriors: rows of SLOW_COLUMNS."""

    columns = SLOW_COLUMNS

    def __init__(self, bar_minutes: int, tick: float, config: SignalsConfig | None = None) -> None:
        super().__init__(bar_minutes, tick, config)
        self._settings = rows.slow_settings(self.config, bar_minutes, tick)
        self._state = rows.new_slow(self.config)

    def _states(self) -> dict[str, Any]:
        return {"slow": self._state}

    def _fill(self, bar: Bar, opens: bool) -> Row:
        row = np.empty(len(SLOW_COLUMNS), np.float32)
        angle = day_angle(np.array([bar.start], np.int64))
        rows.slow_update(
            self._state,
            self._settings,
            opens,
            float(angle[0]),
            float(bar.open),
            float(bar.high),
            float(bar.low),
            float(bar.close),
            float(bar.volume),
            row,
        )
        return row


class StrategicStream(SlowStream):
    """The strategic matrix, row by row."""

    columns = STRATEGIC_COLUMNS
    _cut = places(STRATEGIC_COLUMNS, SLOW_COLUMNS)

    def _fill(self, bar: Bar, opens: bool) -> Row:
        return super()._fill(bar, opens)[self._cut]


class RegimeStream(SlowStream):
    """The regime matrix, row by row, with the regime in force and its alarm.

    Attributes:
        confidence: the largest posterior; NaN before there is one.
        regime: place in REGIMES of the regime in force; -1 before there is one.
        alarm: whether this bar changed it.
    """

    columns = REGIME_COLUMNS
    _cut = places(REGIME_COLUMNS[: -len(POSTERIORS)], SLOW_COLUMNS)

    def __init__(
        self,
        bar_minutes: int,
        tick: float,
        model: RegimeModel,
        config: SignalsConfig | None = None,
    ) -> None:
        """See `Stream`.

        Raises:
            ConfigError: the model is of bars of another length.
        """
        super().__init__(bar_minutes, tick, config)
        check_length(model, bar_minutes)
        self.confidence, self.regime, self.alarm = np.nan, -1, False
        self._model = filter_settings(model)
        self._filter = new_filter(model)

    def _states(self) -> dict[str, Any]:
        return {**super()._states(), "filter": self._filter}

    def _fill(self, bar: Bar, opens: bool) -> Row:
        row = super()._fill(bar, opens)[self._cut]
        prices = float(bar.high), float(bar.low), float(bar.close)
        self.confidence, self.regime, self.alarm = filter_update(self._filter, self._model, *prices)
        known = self._filter.posterior if self.regime >= 0 else np.full(len(POSTERIORS), np.nan)
        return np.concatenate([row, known.astype(np.float32)])


class TacticalStream(Stream):
    """The tactical matrix, row by row."""

    columns = TACTICAL_COLUMNS

    def __init__(self, bar_minutes: int, tick: float, config: SignalsConfig | None = None) -> None:
        super().__init__(bar_minutes, tick, config)
        self._settings = rows.fast_settings(self.config)
        self._state = rows.new_fast(self.config)

    def _states(self) -> dict[str, Any]:
        return {"fast": self._state}

    def _fill(self, bar: Bar, opens: bool) -> Row:
        row = np.empty(len(TACTICAL_COLUMNS), np.float32)
        rows.fast_update(
            self._state,
            self._settings,
            opens,
            float(bar.open),
            float(bar.high),
            float(bar.low),
            float(bar.close),
            float(bar.volume),
            row,
        )
        return row
