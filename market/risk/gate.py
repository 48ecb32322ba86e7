"""The gate that every order passes: the account, the limits and the rules' memory in one place.

Hot calls are one kernel each on arrays of this object; nothing is allocated.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import RequestError
from configs.risk import RiskConfig
from market.orders.layout import BUY, ORDER, SELL
from market.risk.covariance import DAYS_A_YEAR, Covariance
from market.risk.judge import MAX_UNITS, judge_one, send_all
from market.risk.layout import (
    EMERGENCY_STOP,
    EXPOSURE,
    STATE,
    VERDICT,
    open_exposure,
    open_state,
    risk_limits,
)
from market.risk.ledger import (
    begin_bar,
    excess_of,
    fill_one,
    mark_all,
    open_excess_of,
    release_one,
)

Records = NDArray[Any]


class RiskGate:
    """Judges orders against one account.

    Attributes:
        account: EXPOSURE [1].
        limits: LIMITS [1], read-only.
        state: STATE [1].
        orders: ORDER [most], the caller's to fill before `send`.
        verdicts: VERDICT [most], written by `send`.
        covariance: of the instruments' returns.
    """

    def __init__(
        self,
        config: RiskConfig,
        cash: float,
        unit_values: tuple[float, ...] = (1.0,),
        most: int = 64,
    ) -> None:
        self.config = config
        prior = config.var.prior_volatility**2 / DAYS_A_YEAR
        self.account: Records = open_exposure(cash, unit_values, prior)
        self.limits: Records = risk_limits(config)
        self.state: Records = open_state()
        self.orders: Records = np.zeros(most, ORDER)
        self.verdicts: Records = np.zeros(most, VERDICT)
        self.covariance = Covariance(config.var, len(unit_values))

    @property
    def count(self) -> int:
        """Instruments."""
        return int(self.account["count"][0])

    def begin_bar(self, volumes: ArrayLike, returns: ArrayLike | None = None) -> None:
        """A new bar: the volume expected in it, and the returns of the bar that ended.

        Raises:
            DataError: returns that are not finite; the bar has begun on the old covariance.
            RequestError: volumes of another shape.
        """
        expected = np.asarray(volumes, np.float64)
        if expected.shape != (self.count,):
            raise RequestError(
                f"risk gate: volumes have shape {expected.shape}, expected {(self.count,)}"
            )
        try:
            if returns is not None:
                self.covariance.add(returns)
        finally:
            begin_bar(self.account, expected, self.covariance.of_a_day())

    def mark(self, time: float, prices: NDArray[np.float64]) -> int:
        """Mark at `prices` float64 [count]; what the watch found (`ledger.WATCHES`).

        A price that is none leaves the old mark, which grows stale.
        """
        if prices.shape != (self.count,) or prices.dtype != np.float64:
            raise RequestError(
                f"risk gate: prices are {prices.dtype} of shape {prices.shape}, expected float64 "
                f"of shape {(self.count,)}"
            )
        return int(mark_all(self.account, self.limits, self.state, time, prices))

    def judge(self, order: Records, verdict: Records) -> None:
        """The verdict on ORDER [1] into VERDICT [1], were it sent now; nothing is booked."""
        judge_one(order, self.account, self.limits, self.state, verdict)

    def consider(self, order: Records, verdict: Records) -> None:
        """As `judge`, of a parent whose children are sent one by one; what stops, stops."""
        self.judge(order, verdict)
        if verdict["action"][0] == EMERGENCY_STOP:
            self.stop()

    def send(self, count: int) -> int:
        """Judge `orders[:count]` one after the other and book what passes as open.

        Returns:
            How many pass; `verdicts` say what may be sent of each.
        """
        if not 0 <= count <= len(self.orders):
            raise RequestError(
                f"risk gate: {count} orders at once, expected 0 to {len(self.orders)}"
            )
        return int(
            send_all(self.orders, count, self.account, self.limits, self.state, self.verdicts)
        )

    def filled(self, instrument: int, side: int, units: int, price: float, fees: float) -> None:
        """Book a fill of an order that was let through.

        Raises:
            RequestError: numbers that no fill has; nothing is booked then.
        """
        self._check(instrument, side, units)
        if not (math.isfinite(price) and math.isfinite(fees)):
            raise RequestError(f"risk gate: a fill at {price} with fees {fees}, expected numbers")
        fill_one(self.account, instrument, side, units, price, fees)

    def released(self, instrument: int, side: int, units: int) -> None:
        """Units of an order that are open no longer: cancelled, expired, or never arrived."""
        self._check(instrument, side, units)
        release_one(self.account, instrument, side, units)

    def reconcile(self, instrument: int, position: int, cash: float, halted: bool) -> None:
        """Take over what the account's keeper says of it: after fees, and between sessions.

        Args:
            position: units, short below 0.
            cash: currency; a number that is none has every order refused until a mark after it.
            halted: whether the keeper has halted it; what was once halted here stays so.
        """
        self.account["position"][0, instrument] = position
        self.account["cash"] = cash
        self.account["halted"] |= halted

    def excess(self, instrument: int) -> int:
        """Signed units to trade so that the position is within what is left of its limit."""
        return int(excess_of(self.account, self.limits, self.state, instrument))

    def open_excess(self, instrument: int, side: int) -> int:
        """Open units of a side to cancel, lest they fill past what is left of the limit."""
        return int(open_excess_of(self.account, self.limits, self.state, instrument, side))

    def stop(self) -> None:
        """An emergency stop: only what lowers the risk passes, until `let_go`."""
        self.state["stopped"] = 1

    def let_go(self) -> None:
        """Lift an emergency stop: a person's decision, which no network and no order can take."""
        self.state["stopped"] = 0

    def state_dict(self) -> dict[str, Any]:
        """Everything that a restart needs; `load_state` takes it back."""
        return {
            "account": self.account.copy(),
            "state": self.state.copy(),
            "covariance": self.covariance.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave.

        Raises:
            RequestError: of other records.
        """
        for name, kind in (("account", EXPOSURE), ("state", STATE)):
            found = np.asarray(state.get(name))
            if found.dtype != kind or found.shape != (1,):
                raise RequestError(
                    f"risk state: {name} is {found.dtype} of shape {found.shape}, expected the "
                    "records of this version; start from a flat account"
                )
        self.covariance.load_state(state["covariance"])
        self.account[:], self.state[:] = state["account"], state["state"]

    def _check(self, instrument: int, side: int, units: int) -> None:
        known = 0 <= instrument < self.count and side in (BUY, SELL)
        if not known or not 0 < units <= MAX_UNITS:
            raise RequestError(
                f"risk gate: instrument {instrument}, side {side}, {units} units; expected an "
                f"instrument below {self.count}, side {BUY} or {SELL} and units above 0"
            )
