"""The account that orders are judged against: marks, fills, what is open, and the watch over it.

The bar clock alone moves it. A fill is booked whatever it says of what was open, since a
position is what it is; a mark that is no price, or jumps alone, is not taken, and the old one
grows stale.
"""

from __future__ import annotations

import math
from typing import Any

from market.account import allowed_share
from market.kernels import inlined, kernel
from market.orders.layout import BUY
from market.risk.exposure import position_limit, use_with
from market.risk.judge import MAX_PRICE

# What a watch over the account found, the gravest last.
QUIET, BOUND, HALTED, STOPPED_NOW = range(4)
WATCHES = ("QUIET", "BOUND", "HALTED", "STOPPED_NOW")


@inlined
def _near(price: float, other: float, share: float) -> bool:
    return abs(price - other) <= share * other


@inlined
def take_mark(account: Any, limits: Any, instrument: int, time: float, price: float) -> bool:
    """A new mark; False, and the old one kept, where it or its time is none.

    One that jumps is taken when the next one agrees with it: a single bad tick would otherwise
    raise the peak of equity, or halt the account, for good.
    """
    good = 0 <= instrument < account.count and 0.0 < price < MAX_PRICE
    if not good or not max(account.time, account.mark_time[instrument]) <= time < math.inf:
        return False
    known, suspect = account.price[instrument], account.suspect[instrument]
    jumps = known > 0.0 and not _near(price, known, limits.mark_jump)
    if jumps and not (suspect > 0.0 and _near(price, suspect, limits.mark_jump)):
        account.suspect[instrument] = price
        return False
    account.suspect[instrument] = 0.0
    account.price[instrument] = price
    account.mark_time[instrument] = time
    account.time = time
    return True


@inlined
def value_account(account: Any) -> None:
    """Equity at the marks, its peak and its drawdown."""
    equity = account.cash
    for one in range(account.count):
        if account.position[one] != 0:
            equity += account.position[one] * account.price[one] * account.unit_value[one]
    account.equity = equity
    account.peak = max(account.peak, equity)
    account.drawdown = 1.0 - equity / account.peak


@inlined
def watch(account: Any, limits: Any, state: Any) -> int:
    """What drawdown and value at risk of the positions as they stand come to.

    Drawdown of `halt` halts for good, use above `stop_use` stops until a person lets go.
    """
    account.use = use_with(account, limits, 0, float(account.position[0]))
    if account.drawdown >= limits.halt:
        account.halted = 1
    if account.use > limits.stop_use:
        state.stopped = 1
    if state.stopped != 0:
        return STOPPED_NOW
    if account.halted != 0:
        return HALTED
    return BOUND if allowed_share(account, limits) < 1.0 else QUIET


@inlined
def book_fill(
    account: Any, instrument: int, side: int, units: int, price: float, fees: float
) -> None:
    """A fill of an open order: `fees` in currency, below 0 for a rebate."""
    signed = side * units
    account.position[instrument] += signed
    account.cash -= signed * price * account.unit_value[instrument] + fees
    account.traded[instrument] += units
    release(account, instrument, side, units)


@inlined
def release(account: Any, instrument: int, side: int, units: int) -> None:
    """Units that are open no longer: filled, cancelled, refused by the venue, expired."""
    if side == BUY:
        account.open_buys[instrument] = max(account.open_buys[instrument] - units, 0)
    else:
        account.open_sells[instrument] = max(account.open_sells[instrument] - units, 0)


@inlined
def excess(account: Any, limits: Any, state: Any, instrument: int) -> float:
    """Signed whole units to trade so that the position is within what is left of its limit."""
    allowed = 0.0 if state.stopped != 0 else allowed_share(account, limits)
    held = float(account.position[instrument])
    over = abs(held) - position_limit(account, limits, instrument, allowed)
    return -math.copysign(math.ceil(over), held) if over > 0.0 else 0.0


@inlined
def open_excess(account: Any, limits: Any, state: Any, instrument: int, side: int) -> int:
    """Units that are open on a side and would take the position past what is left of its limit.

    What was let through under a wider limit: cancel so many when a breaker or a stop binds.
    """
    allowed = 0.0 if state.stopped != 0 else allowed_share(account, limits)
    opened = account.open_buys[instrument] if side == BUY else account.open_sells[instrument]
    end = side * account.position[instrument] + opened
    over = math.ceil(end - position_limit(account, limits, instrument, allowed))
    return int(min(max(over, 0), opened))


@kernel
def mark_all(accounts: Any, limits: Any, states: Any, time: float, prices: Any) -> int:
    """Mark every instrument at `prices` [count or more] and watch; one of WATCHES."""
    account = accounts[0]
    for instrument in range(account.count):
        take_mark(account, limits[0], instrument, time, prices[instrument])
    value_account(account)
    return watch(account, limits[0], states[0])


@kernel
def fill_one(
    accounts: Any, instrument: int, side: int, units: int, price: float, fees: float
) -> None:
    """`book_fill` on accounts[0]."""
    book_fill(accounts[0], instrument, side, units, price, fees)


@kernel
def release_one(accounts: Any, instrument: int, side: int, units: int) -> None:
    """`release` on accounts[0]."""
    release(accounts[0], instrument, side, units)


@kernel
def excess_of(accounts: Any, limits: Any, states: Any, instrument: int) -> float:
    """`excess` on records [1]."""
    return excess(accounts[0], limits[0], states[0], instrument)


@kernel
def open_excess_of(accounts: Any, limits: Any, states: Any, instrument: int, side: int) -> int:
    """`open_excess` on records [1]."""
    return open_excess(accounts[0], limits[0], states[0], instrument, side)


@kernel
def begin_bar(accounts: Any, volumes: Any, covariance: Any) -> None:
    """A new bar: nothing traded in it yet.

    Args:
        volumes: float64 [count], units that the market is expected to trade in it.
        covariance: float64 [count, count], of a day's returns.
    """
    account = accounts[0]
    for one in range(account.count):
        account.traded[one] = 0
        account.volume[one] = volumes[one]
        for other in range(account.count):
            account.covariance[one, other] = covariance[one, other]
