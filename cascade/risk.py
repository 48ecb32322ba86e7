"""The rules that every order passes after the networks: nothing that these say opens them.

`Guard` is one session's `market.risk.gate.RiskGate` with what the engine needs of it. All that
moves it is in the log: bars and the account at their close, quotes, what venues report, and
people's stops. A parent order is judged when it is planned; its children are judged, and booked
as open, when they are sent (`cascade.hot`), and so is what would cross at its horizon.

The account of whoever keeps it is the truth at every bar: the gate takes position and cash over
from it. Between bars it books fills itself, but for their fees, which come with the account.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.hot import STOPPED, WATCHED, Judging, standing_of
from configs.barwise import LayerConfig
from configs.risk import RiskConfig, SampleConfig
from configs.tactical import TacticalConfig
from market.kernels import inlined, kernel
from market.orders.layout import BUY, DAY, IS, ORDER, SELL
from market.risk.covariance import DAYS_A_YEAR
from market.risk.gate import RiskGate
from market.risk.layout import (
    APPROVE,
    EMERGENCY_STOP,
    REASON_NAMES,
    REDUCE_SIZE,
    VERDICT,
    VERDICTS,
    reason_names,
)
from market.risk.ledger import QUIET, WATCHES, book_fill, release
from signals.bars.streams import Bar

_NS = 1_000_000_000
_FORGOTTEN = 1e-9  # weight of a bar in a moving average that is none any more
_ONE = 0  # the instrument of a cascade
_DAY_BARS = "day_bars"
_DAY_MINUTES = 390.0  # 6.5 hours


@inlined
def _open(account: Any, side: int, units: int) -> None:
    if side == BUY:
        account.open_buys[0] += units
    else:
        account.open_sells[0] += units


@kernel
def _book_report(
    accounts: Any, side: int, base: float, tick: float, fills: Any, cancelled: Any,
    rejected: Any, forced: int,
) -> None:  # fmt: skip
    """Book what venues report of a step: FILL and ENDED arrays, prices in ladder ticks.

    The order that crosses the rest (number `forced`) was never open: it is booked as if it was.
    """
    account = accounts[0]
    for index in range(len(cancelled)):
        release(account, 0, side, cancelled[index].quantity)
    for index in range(len(rejected)):
        release(account, 0, side, rejected[index].quantity)
    for index in range(len(fills)):
        fill = fills[index]
        if fill.id == forced:
            _open(account, side, fill.quantity)
        book_fill(account, 0, side, fill.quantity, (base + fill.price) * tick, 0.0)


def day_rules(config: RiskConfig, layer: LayerConfig, minutes: float) -> RiskConfig:
    """The rules, with as many bars in a day as the artefact was trained for, unless one set it.

    Value at risk is of a day: in a market that trades 23 hours one of 6.5 would be told half.

    Args:
        layer: of the artefact that sets the bars; minutes: their length.
    """
    if _DAY_BARS in config.var.model_fields_set:
        return config
    bars = round(_DAY_MINUTES / minutes)
    if isinstance(layer, TacticalConfig):
        bars = layer.risk.day_bars
    var = config.var.model_copy(update={_DAY_BARS: max(bars, 1)})
    return config.model_copy(update={"var": var})


class Guard:
    """One session's rules.

    Attributes:
        gate: the account, limits and memory of the rules.
        tick: currency.
        volume: float64 [1], units that the market is expected to trade in a bar.
        side: of the parent order that is worked.
        told: what binds, as it was last told (`cascade.hot.standing`).
    """

    def __init__(
        self, config: RiskConfig, account: NDArray[Any], tick: float, volume: float, bar_ns: int
    ) -> None:
        """Begin with an account, flat and unmarked.

        Args:
            account: ACCOUNT [1], in ticks; its limit is one of the rules' too.
            volume: units that the market is expected to trade in a bar.
            bar_ns: length of a bar.
        """
        most = min(config.limits.position_units, int(account["limit"][0]))
        limits = config.limits.model_copy(update={"position_units": most})
        config = config.model_copy(update={"limits": limits})
        self.tick, self.side, self._watched = tick, BUY, QUIET
        self.volume, self._bar_ns, self._last = np.array([volume]), bar_ns, (0, math.nan)
        self._price = np.zeros(1)
        self._initial = float(account["initial"][0]) * tick
        self.gate = RiskGate(config, self._initial)
        self._order, self._verdict = np.zeros(1, ORDER), np.zeros(1, VERDICT)
        self._kept = self.gate.account.copy(), self.gate.state.copy()
        self.told, self._kept_told = QUIET, (QUIET, QUIET)

    def past(self, bars: NDArray[Any]) -> None:
        """Learn the variance of returns from BAR [k] that closed before the first `bar`."""
        follows = np.diff(bars["start"]) == self._bar_ns
        returns = (np.diff(bars["close"]) / bars["close"][:-1])[follows]
        for each in returns[-self._remembered :]:
            self.gate.covariance.add((each,))
        self._last = int(bars["start"][-1]) + self._bar_ns, float(bars["close"][-1])

    @property
    def _remembered(self) -> int:
        """Bars after which the variance knows nothing of one any more."""
        var = self.gate.config.var
        law = var.covariance
        if isinstance(law, SampleConfig):
            return max(var.history_bars, law.bars)
        return max(var.history_bars, math.ceil(math.log(_FORGOTTEN) / math.log(law.decay)))

    def apart(self, position: int, price: float) -> RiskGate:
        """A gate of the same rules, variance and stop over an account of its own.

        Args:
            position: signed units held; price: at which they were bought, currency.
        """
        gate = RiskGate(self.gate.config, self._initial)
        gate.covariance = self.gate.covariance
        gate.begin_bar(self.volume)
        gate.reconcile(_ONE, position, self._initial - position * price, False)
        if self.stopped:
            gate.stop()
        return gate

    def bar(self, bar: Bar, clock: int, account: NDArray[Any]) -> None:
        """A bar has closed: take over the account that its keeper has marked, and watch it.

        Args:
            clock: its end, ns since 1970 UTC. account: ACCOUNT [1].
        """
        gate, (last, close) = self.gate, self._last
        follows = clock - last == self._bar_ns
        gate.begin_bar(self.volume, [bar.close / close - 1.0] if follows else None)
        self._last = clock, bar.close
        gate.reconcile(
            _ONE, int(account["position"][0]), float(account["cash"][0]) * self.tick,
            bool(account["halted"][0]),
        )  # fmt: skip
        self._price[0] = bar.close
        self._watched = gate.mark(clock / _NS, self._price)

    def judging(self, rules: NDArray[Any]) -> Judging:
        """The arrays by which a step's orders are judged; `rules`: market.decode.RULES [1]."""
        gate = self.gate
        return Judging(gate.account, gate.limits, gate.state, *self._kept, rules)

    @property
    def standing(self) -> int:
        """What binds now; see `cascade.hot.standing`."""
        gate = self.gate
        return int(standing_of(self._watched, gate.account, gate.limits, gate.state))

    @property
    def stopped(self) -> bool:
        """Whether an emergency stop holds."""
        return bool(self.gate.state["stopped"][0])

    def bounded(self, wanted: int) -> int:
        """A wish of signed units, such that the position ends within what breakers leave of it."""
        excess = self.gate.excess(_ONE)
        if not excess:
            return wanted
        held = int(self.gate.account["position"][0, _ONE])
        most = abs(held + excess)
        return min(max(held + wanted, -most), most) - held

    def parent(self, wanted: int, clock: int) -> tuple[int, dict[str, Any] | None]:
        """What of a parent order of `wanted` signed units may go, and what the rules object.

        An order that would stop the session stops it, and what is left is the way to flat.

        Returns:
            (signed units, what the log is told; None where nobody objects).
        """
        allowed, told = self._parent(wanted, clock)
        if told is not None and told["verdict"] == VERDICTS[EMERGENCY_STOP]:
            # Reported as it was asked; what brings the position toward flat goes.
            allowed, _ = self._parent(self.bounded(0), clock)
        return allowed, told

    def _parent(self, wanted: int, clock: int) -> tuple[int, dict[str, Any] | None]:
        if not wanted:
            return 0, None
        order, verdict, side = self._order, self._verdict, BUY if wanted > 0 else SELL
        order["time"], order["instrument"], order["side"] = clock / _NS, _ONE, side
        order["kind"], order["life"], order["quantity"] = IS, DAY, abs(wanted)
        self.gate.consider(order, verdict)
        action = int(verdict["action"][0])
        allowed = side * int(verdict["quantity"][0]) if action <= REDUCE_SIZE else 0
        if action == APPROVE:
            return allowed, None
        return allowed, {
            "verdict": VERDICTS[action],
            "reason": REASON_NAMES[int(verdict["reason"][0])],
            "reasons": list(reason_names(int(verdict["reasons"][0]))),
            "use": finite(float(verdict["use_after"][0])),
        }

    def report(
        self, base: float, fills: NDArray[Any], cancelled: NDArray[Any], rejected: NDArray[Any],
        forced: int,
    ) -> None:  # fmt: skip
        """Book what venues report of the parent; `base` is that of its ladder, ticks."""
        _book_report(
            self.gate.account, self.side, base, self.tick, fills, cancelled, rejected, forced
        )

    def stop(self) -> None:
        """A person's stop: nothing goes but toward flat, until one lets go."""
        self.gate.stop()
        self.told |= STOPPED

    def let_go(self) -> None:
        """A person lifts the stop; what caused one stops again at the next mark."""
        self.gate.let_go()
        self.told &= ~STOPPED

    def news(self, now: int) -> tuple[bool, bool]:
        """(whether anything binds, otherwise than was told; whether the rules have stopped), once.

        now: what binds; see `cascade.hot.standing`.
        """
        was, self.told, self._watched = self.told, now, now & WATCHED
        breach = (now & ~STOPPED) != QUIET
        return breach and bool((now ^ was) & ~STOPPED), bool(now & ~was & STOPPED)

    def keep(self) -> None:
        """A step begins: `undo` goes back to here. Its kernel keeps the account itself."""
        self._kept_told = self.told, self._watched

    def undo(self) -> None:
        """Go back to what was kept: the decision since was never made."""
        self.gate.account[...], self.gate.state[...] = self._kept
        self.told, self._watched = self._kept_told

    @property
    def annual_volatility(self) -> float:
        """Of the instrument, by the covariance that value at risk rests on."""
        return math.sqrt(float(self.gate.account["covariance"][0, _ONE, _ONE]) * DAYS_A_YEAR)

    def described(self) -> dict[str, Any]:
        """The account as the log is told it at a bar."""
        held = self.gate.account[0]
        return {
            "use": finite(float(held["use"])),
            "equity": finite(float(held["equity"])),
            "drawdown": finite(float(held["drawdown"])),
            "position": int(held["position"][_ONE]),
            "watch": WATCHES[self._watched],
        }


def finite(number: float) -> float | None:
    """A number as JSON has it."""
    return number if math.isfinite(number) else None
