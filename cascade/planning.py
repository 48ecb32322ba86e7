"""From what the layers say at a bar's close to a parent order that the rules let through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cascade.events import Event
from cascade.health import Health, Sink
from cascade.risk import Guard
from cascade.rows import allowed_at
from cascade.sizing import Market, Sizer
from cascade.upper import STRATEGIC, TACTICAL, Upper
from configs.cascade import CascadeConfig
from market.working import WAIT

_AUDIT = "audit"


@dataclass(frozen=True)
class Plan:
    """The parent order for the bar that begins; `signed` 0 lets it pass.

    Attributes:
        start: of that bar, ns since 1970 UTC.
        signed: units, sells below 0.
        reduces_risk: whether it brings the position toward flat, and not beyond.
    """

    start: int
    signed: int
    reduces_risk: bool = False


class Planner:
    """Plans parent orders: the target within drawdown, Kelly and what is left in a fault."""

    def __init__(self, upper: Upper, health: Health, sink: Sink, config: CascadeConfig) -> None:
        self._upper, self._health, self._sink, self._config = upper, health, sink, config
        self._sizer = Sizer(config.orders)

    def plan(self, clock: int, account: NDArray[Any], guard: Guard | None, recording: bool) -> Plan:
        """The parent order over the next bar; breakers cut positions though no layer decides.

        Args:
            clock: ns since 1970 UTC, of the bar's close.
            account: ACCOUNT [1], marked at it.
            recording: whether anything may be ordered.
        """
        assert guard is not None  # opened at the first good bar
        decided = self._upper.decide(clock, account)
        wanted = guard.bounded(self._wanted(clock, account, guard) if decided else 0)
        if not wanted:
            return Plan(clock, 0)
        signed, why = guard.parent(wanted, clock)
        tell_watch(guard, guard.standing, self._health, self._sink, clock)
        if not recording:
            signed, why = 0, {"reason": _AUDIT}
        if why is not None:
            self._sink.tell(Event.TRADE_REJECTED, clock, wanted=wanted, allowed=signed, **why)
        if not signed:
            return Plan(clock, 0)
        position = int(account["position"][0])
        reduces = toward_flat(position, signed)
        confidence, entanglement, spread_bp = self._upper.urgent
        self._sink.tell(
            Event.TRADE_QUALIFIED,
            clock,
            signed=signed,
            target=self._upper.target,
            reduces_risk=reduces,
            **self._sizer.urgency(confidence, guard.annual_volatility, spread_bp, entanglement),
        )
        return Plan(clock, signed, reduces)

    def _wanted(self, clock: int, account: NDArray[Any], guard: Guard) -> int:
        """Signed units from the position to the target."""
        limit, upper = int(account["limit"][0]), self._upper
        position = int(account["position"][0])
        target, held = upper.target, position / limit
        if self._health.holding & {STRATEGIC, TACTICAL}:
            # Toward the little that risk allocates, never away from flat.
            most = min(abs(held), self._config.fallback.risk_share)
            target = min(max(held, -most), most)
        elif upper.style == WAIT:
            return 0
        elif self._config.kelly:
            target = self._sized(target, clock, account, guard)
        if upper.fast is not None:
            allowed = float(allowed_at(account, upper.fast.limits, False))
            target = min(max(target, -allowed), allowed)
        return round(target * limit) - position

    def _sized(self, target: float, clock: int, account: NDArray[Any], guard: Guard) -> float:
        """The part of a target that Kelly leaves, where it is known what scores are worth."""
        worth = self._upper.worth
        if worth is None:
            return target
        score, returns, bars = worth
        market = Market(guard.tick, float(guard.volume[0]) * bars)
        sized = self._sizer.sized(target, score, returns, account, market)
        self._sink.tell(Event.KELLY_SIZING, clock, **sized.told)
        return sized.target


def toward_flat(position: int, signed: int) -> bool:
    """Whether an order of `signed` units brings a position toward flat, and not beyond."""
    return signed * position < 0 and abs(signed) <= abs(position)


def tell_watch(guard: Guard, standing: int, health: Health, sink: Sink, clock: int) -> None:
    """RISK_BREACH where limits bind otherwise than before, EMERGENCY_STOP where rules stop.

    standing: what binds now; see `cascade.hot.standing`.
    """
    breach, stopped = guard.news(standing)
    if breach:
        sink.tell(Event.RISK_BREACH, clock, **guard.described())
    if stopped:
        sink.tell(Event.EMERGENCY_STOP, clock, by="risk", reason="value at risk")
        health.alarm("emergency stop by the rules: value at risk is beyond stop_use")
