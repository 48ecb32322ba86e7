"""What the layers above execution read of bars as they close, and the strategic layer's account.

Streams give one row a bar; windows keep the last of them. Longer bars are put together from
shorter ones by the clock, as `market.coarser_bars` does, and close with their last part.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade import rows
from cascade.models import LayerModel
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from market.account import ACCOUNT, open_account, settle
from market.kernels import kernel
from market.working import WORKED
from rewards.strategic import equity_term, sharpe_step
from signals.bars.clock import HOLE, NS_PER_MINUTE, pause
from signals.bars.columns import (
    REGIME_COLUMNS,
    REGIME_ROWS,
    STRATEGIC_COLUMNS,
    STRATEGIC_ROWS,
    TACTICAL_COLUMNS,
    TACTICAL_ROWS,
)
from signals.bars.streams import Bar, RegimeStream, StrategicStream, TacticalStream
from signals.bars.trend import ATR, atr_update

_PARKINSON = 4.0 * math.log(2.0)
_HALF = 0.5
_BP = 1e-4


class Window:
    """The last `rows` rows of a stream, and whether all of them are warm."""

    def __init__(self, rows_: int, columns: int) -> None:
        self._rows = rows_
        self._values = np.zeros((rows_, columns), np.float32)
        self._warm = 0

    def push(self, row: NDArray[np.float32], warm: bool) -> None:
        """Take in the newest row."""
        self._values[:-1] = self._values[1:]
        self._values[-1] = row
        self._warm = self._warm + 1 if warm else 0

    @property
    def whole(self) -> bool:
        return self._warm >= self._rows

    @property
    def lacks(self) -> int:
        """Warm rows until it is whole."""
        return max(self._rows - self._warm, 0)

    @property
    def flat(self) -> NDArray[np.float32]:
        """Oldest row first, a view."""
        return self._values.reshape(-1)


class Cells:
    """Longer bars from shorter ones, counted from the first bar's stamp."""

    def __init__(self, minutes: float, longer: float) -> None:
        self._step, self._length = round(minutes * NS_PER_MINUTE), round(longer * NS_PER_MINUTE)
        self._origin: int | None = None
        self._begun, self._parts = 0, list[Bar]()

    def push(self, bar: Bar) -> list[tuple[Bar, float]]:
        """Longer bars that are complete with this one's close, and the mean open of their parts.

        One whose last parts are missing closes with the first bar of a later one.
        """
        if self._origin is None:
            self._origin = bar.start % self._length
            self._begun = self.begin(bar.start)
        closed = []
        if self.begin(bar.start) != self._begun:
            closed.append(self._close())
            self._begun = self.begin(bar.start)
        self._parts.append(bar)
        if self.begin(bar.start + self._step) != self._begun:
            closed.append(self._close())
            self._begun = self.begin(bar.start + self._step)
        return [found for found in closed if found is not None]

    def begin(self, start: int) -> int:
        """The begin of the longer bar that `start` lies in."""
        origin = self._origin or 0
        return (start - origin) // self._length * self._length + origin

    def phase(self, start: int) -> float:
        """The share of its longer bar that is gone by at `start`."""
        return (start - self.begin(start)) / self._length

    def _close(self) -> tuple[Bar, float] | None:
        parts, self._parts = self._parts, []
        if not parts:
            return None
        whole = Bar(
            self._begun,
            parts[0].open,
            max(part.high for part in parts),
            min(part.low for part in parts),
            parts[-1].close,
            sum(part.volume for part in parts),
        )
        return whole, sum(part.open for part in parts) / len(parts)


@kernel
def _open_account(account: Any, limit: int, leverage: float, mark: float) -> None:
    open_account(account[0], limit, leverage, mark)


@kernel
def settle_account(account: Any, worked: Any, close: float, limits: Any) -> None:
    """Book what an order came to, mark at a close, and halt where drawdown says so.

    Args:
        account, worked, limits: ACCOUNT [1], WORKED [1] and BREAKERS [1].
    """
    settle(account[0], worked[0], close)
    if account[0].drawdown >= limits[0].halt:
        account[0].halted = 1


@kernel
def _paid(account: Any, averages: Any, eta: float) -> None:
    held = account[0]
    change = equity_term(held.before, held.equity, held.initial)
    averages[0] = sharpe_step(averages[0], change, eta)
    averages[1] = sharpe_step(averages[1], change * change, eta)


def opened_account(limit: int, leverage: float, mark: float) -> NDArray[Any]:
    """A flat ACCOUNT [1]; `mark` in ticks."""
    account = np.zeros(1, ACCOUNT)
    _open_account(account, limit, leverage, mark)
    return account


class SlowSide:
    """The strategic layer's windows, and the account that it was trained to see: its own.

    What it holds there follows its targets, bought evenly over each bar at the path's mean
    open of its parts and half a spread; the position of the layers below it never sees, as in
    training (`trainers.upstream`). Episodes follow each other, each flat at its begin and end.
    """

    def __init__(
        self, model: LayerModel[StrategicConfig], minutes: float, half_spread_bp: float
    ) -> None:
        config = model.config
        self.config, self._spread = config, half_spread_bp * _BP
        self.cells = Cells(minutes, config.bar_minutes)
        length, tick = int(config.bar_minutes), config.market.tick
        self._tick = tick
        self._matrix = StrategicStream(length, tick, config.signals)
        assert model.regimes is not None
        self._regimes = RegimeStream(length, tick, model.regimes, config.signals)
        self._windows = (
            Window(STRATEGIC_ROWS, len(STRATEGIC_COLUMNS)),
            Window(REGIME_ROWS, len(REGIME_COLUMNS)),
        )
        self.rules, self.limits = rows.strategic_rules(config), rows.account_breakers(config)
        self.limit = rows.position_limit(config)
        self.account: NDArray[Any] | None = None
        self.choices = np.full(len(model.layout.agents), -1.0, np.float32)
        self._sharpe, self._worked = np.zeros(2), np.zeros(1, WORKED)
        self._signed, self._played = 0, 0
        self.regime, self.regime_confidence = -1, math.nan

    @property
    def whole(self) -> bool:
        """Whether a decision can be taken."""
        return all(window.whole for window in self._windows)

    @property
    def lacks(self) -> int:
        """Longer bars until a decision can be taken, at the least."""
        return max(window.lacks for window in self._windows)

    def feed(self, bar: Bar, mean_open: float) -> None:
        """Take in a longer bar that has closed: windows, and what the last target came to.

        Raises:
            DataError: the bar is none, or does not follow the last one.
        """
        self.read(bar)
        close = bar.close / self._tick
        if self.account is None or self._played >= self.config.horizon_bars:
            self.account = opened_account(self.limit, self.config.account.leverage, close)
            self.choices[:] = -1.0
            self._sharpe[:] = 0.0
            self._signed = self._played = 0
            return
        price, quantity = mean_open / self._tick, abs(self._signed)
        worked = self._worked
        worked["side"] = -1 if self._signed < 0 else 1
        worked["quantity"] = quantity
        worked["reference_value"] = price * quantity
        worked["slippage"] = self._spread * price * quantity
        settle_account(self.account, worked, close, self.limits)
        _paid(self.account, self._sharpe, self.config.reward.eta)
        self._signed = 0

    def read(self, bar: Bar) -> None:
        """Take in a longer bar into the windows alone.

        Raises:
            DataError: see `feed`.
        """
        self._windows[0].push(self._matrix.update(bar), self._matrix.warm)
        self._windows[1].push(self._regimes.update(bar), self._regimes.warm)
        self.regime, self.regime_confidence = self._regimes.regime, self._regimes.confidence

    def keep_account(self, other: SlowSide) -> None:
        """Go on with the account and the choices of another side of the same settings."""
        self.account, self.choices, self._sharpe = other.account, other.choices, other._sharpe
        self._signed, self._played = other._signed, other._played

    @property
    def last(self) -> bool:
        """Whether the next bar is the episode's last, to be closed flat."""
        return self._played + 1 >= self.config.horizon_bars

    def write_row(self, out: NDArray[np.float32]) -> None:
        """The row that the agents decide on."""
        windows = np.concatenate([window.flat for window in self._windows])
        left = (self.config.horizon_bars - self._played) / self.config.horizon_bars
        rows.write_strategic(
            windows, self.account, self.limits, self.last, left, self._sharpe, self.choices, out
        )

    def take(self, actions: NDArray[np.float32]) -> float:
        """The target of a joint action, share of the limit; it is bought over the next bar."""
        target = rows.take_strategic(
            actions, self.account, self.limits, self.last, self.rules, self.choices
        )
        self.order(float(target))
        return float(target)

    def order(self, target: float) -> None:
        """Buy toward `target`, share of the limit, over the next bar."""
        assert self.account is not None
        self._signed = round(target * self.limit) - int(self.account["position"][0])
        self._played += 1

    @property
    def held(self) -> float:
        """What the layer's own account holds, share of the limit."""
        return 0.0 if self.account is None else int(self.account["position"][0]) / self.limit


class FastSide:
    """The tactical layer's window, average true range, and the volatility of the next bar."""

    def __init__(self, model: LayerModel[TacticalConfig]) -> None:
        config = model.config
        self.config, self._tick = config, config.market.tick
        self._stream = TacticalStream(int(config.bar_minutes), self._tick, config.signals)
        self._window = Window(TACTICAL_ROWS, len(TACTICAL_COLUMNS))
        self._atr, self._range = np.zeros(1, ATR), math.nan
        self._sums = deque([0.0], maxlen=config.past_bars + 1)
        self._start: int | None = None
        self.rules, self.limits = rows.tactical_rules(config), rows.account_breakers(config)
        self.limit = rows.position_limit(config)
        self._scale = rows.risk_scale(config.risk)
        self.choices = np.full(len(model.layout.agents), -1.0, np.float32)
        self.played = 0

    @property
    def whole(self) -> bool:
        """Whether a decision can be taken."""
        return self._window.whole and math.isfinite(self._range)

    @property
    def lacks(self) -> int:
        """Bars until a decision can be taken, at the least."""
        return self._window.lacks

    def feed(self, bar: Bar) -> None:
        """Take in a bar that has closed.

        Raises:
            DataError: the bar is none, or does not follow the last one. Nothing changed.
        """
        row = self._stream.update(bar)
        config = self.config
        if self._start is not None:
            between = pause(self._start, bar.start, int(config.bar_minutes), config.signals.clock)
            if between == HOLE:
                self._atr[...] = np.zeros((), ATR)
        self._start = bar.start
        self._window.push(row, self._stream.warm)
        length = config.signals.atr_bars
        range_ = atr_update(self._atr, length, bar.high, bar.low, bar.close)
        self._range = float(range_) / self._tick
        span = bar.high / self._tick - bar.low / self._tick
        self._sums.append(self._sums[-1] + span * span / _PARKINSON)

    @property
    def sigma(self) -> float:
        """Deviation over the next bar by the ranges of those before it, ticks."""
        mean = (self._sums[-1] - self._sums[0]) / max(len(self._sums) - 1, 1)
        return math.sqrt(max(mean, 1.0))

    @property
    def last(self) -> bool:
        """Whether the next bar is the episode's last, to be closed flat."""
        return self.played + 1 >= self.config.horizon_bars

    def risk_use(self, account: NDArray[Any]) -> float:
        """VaR of the position over its limit."""
        return rows.risk_use(account, self.sigma, self._scale, self.config.risk.day_bars)

    def write_row(
        self, account: NDArray[Any], said: NDArray[np.float64], out: NDArray[np.float32]
    ) -> None:
        """The row that the agents decide on, under what the strategic layer says."""
        left = (self.config.horizon_bars - self.played) / self.config.horizon_bars
        rows.write_tactical(
            self._window.flat, account, self.limits, self.last, left, said, self._range,
            self.risk_use(account), self.rules, self.choices, out,
        )  # fmt: skip

    def take(
        self, actions: NDArray[np.float32], account: NDArray[Any], target: float
    ) -> tuple[float, int, int]:
        """(target, why it is flat, style) of a joint action under the strategic target."""
        found, closing = rows.take_tactical(
            actions, account, self.limits, self.last, target, self._range, self.rules,
            self.choices,
        )  # fmt: skip
        return float(found), int(closing), int(self.choices[-1])

    def passed(self) -> None:
        """Count a decision of the episode; the next one begins after its last."""
        self.played += 1
        if self.played >= self.config.horizon_bars:
            self.played = 0
            self.choices[:] = -1.0
