"""How an order of each kind is worked: schedules, triggers, what shows, and when it ends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import ConfigError
from market.kernels import inlined, kernel
from market.orders.layout import (
    BUY,
    DAY,
    FOK,
    GTD,
    ICEBERG,
    IOC,
    IS,
    LIMIT,
    MARKET,
    STOP,
    STOP_LIMIT,
    TWAP,
    VWAP,
)
from market.schedules import almgren_chriss_share

_WHOLE = 1e-9  # what a product of shares may fall short of a whole unit by rounding


@inlined
def share_now(kind: int, slot: int, slots: int, profile: Any, urgency: float) -> float:
    """Share of what remains of a parent that its schedule sends in this slot.

    TWAP sends 1 / m of it with m slots left; VWAP by the share that the slot has of the volume
    still expected (Konishi, 2002, under a fixed profile); IS by Almgren and Chriss. Any other
    kind is sent whole.

    Args:
        slot: number of this one, from 0.
        slots: of the horizon.
        profile: [slots or more], volume expected in each, 0 or above; of VWAP alone.
        urgency: kappa tau of a slot; of IS alone.
    """
    left = slots - slot
    if left <= 1 or kind in (MARKET, LIMIT, STOP, ICEBERG):
        return 1.0
    if kind == IS:
        return almgren_chriss_share(urgency, left)
    if kind == VWAP:
        ahead = 0.0
        for later in range(slot, slots):
            ahead += profile[later]
        return profile[slot] / ahead if ahead > 0.0 else 1.0 / left
    return 1.0 / left if kind == TWAP else 1.0


@inlined
def units_now(remaining: int, share: float, carry: float) -> float:
    """Whole units to send of what remains; what is cut off is `carry` of the next slot.

    Args:
        carry: units in parts that earlier slots asked for and lots withheld, from 0 to 1.
    """
    wanted = min((remaining - carry) * share + carry, float(remaining))
    return float(np.floor(wanted + _WHOLE))


@kernel
def schedule(kind: int, quantity: int, slots: int, profile: Any, urgency: float, out: Any) -> None:
    """Write the units of each slot, int64 [slots]; they sum to the quantity."""
    remaining, carry = quantity, 0.0
    for slot in range(slots):
        share = share_now(kind, slot, slots, profile, urgency)
        wanted = (remaining - carry) * share + carry
        units = int(units_now(remaining, share, carry))
        carry = min(max(wanted - units, 0.0), 1.0)
        out[slot] = units
        remaining -= units


@inlined
def triggered(side: int, stop_price: float, last: float) -> bool:
    """Whether a stop goes off at the last trade: a buy's at or above it, a sale's at or below."""
    if not (0.0 < last < math.inf and 0.0 < stop_price < math.inf):
        return False
    return last >= stop_price if side == BUY else last <= stop_price


@inlined
def kind_after_trigger(kind: int) -> int:
    """What a stop becomes: MARKET, or LIMIT of STOP_LIMIT; the rules judge it again then."""
    if kind == STOP:
        return MARKET
    return LIMIT if kind == STOP_LIMIT else kind


@inlined
def shown(kind: int, remaining: int, displayed: float) -> int:
    """Units that rest in the book: an iceberg's tip, renewed once it has filled; all of others."""
    if kind != ICEBERG:
        return remaining
    return min(remaining, int(min(max(displayed, 1.0), float(remaining))))


@inlined
def may_begin(life: int, quantity: int, available: int) -> bool:
    """Whether an order may meet the book: FOK where all of it fills at once, others always.

    Args:
        available: units that the books offer within its limit, now.
    """
    return life != FOK or available >= quantity


@inlined
def over(life: int, met: bool, now: float, session_end: float, expires: float) -> bool:
    """Whether what is open of an order is to be cancelled.

    IOC and FOK end once they have met the book, DAY at the session's end, GTD at its time, GTC
    by its owner alone. A clock that is no number ends all but GTC.

    Args:
        met: whether it has met the book.
    """
    if life in (IOC, FOK):
        return met
    if life == DAY:
        return not now < session_end
    return life == GTD and not now < expires


@kernel
def is_triggered(side: int, stop_price: float, last: float) -> bool:
    """`triggered`, for callers that are not kernels; so are those below."""
    return triggered(side, stop_price, last)


@kernel
def is_over(life: int, met: bool, now: float, session_end: float, expires: float) -> bool:
    """See `over`."""
    return over(life, met, now, session_end, expires)


@kernel
def units_shown(kind: int, remaining: int, displayed: float) -> int:
    """See `shown`."""
    return shown(kind, remaining, displayed)


def volume_profile(volumes: ArrayLike) -> NDArray[np.float64]:
    """Mean volume of each slot of a horizon over past ones, [slots], of volumes [past, slots].

    Raises:
        ConfigError: none of them, or a volume that is not finite or below 0.
    """
    values = np.asarray(volumes, np.float64)
    if values.ndim != 2 or not values.size or not (np.isfinite(values) & (values >= 0.0)).all():
        raise ConfigError(
            f"volume profile: shape {values.shape}, expected [past horizons, slots] of finite "
            "numbers, 0 or above"
        )
    return np.asarray(values.mean(axis=0))
