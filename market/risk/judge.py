"""The rules that every order passes after the networks: one pure function, `judge`.

Nothing an order holds can switch a rule off: what is not finite, not of a table or out of its
bounds is refused, and every comparison is written so that NaN fails it. A trade is judged as
if it and all that is open on its side filled, so that whatever fills of what was let through
stays within the limits.

What lowers value at risk passes the rules about it and about size (SPEC section 7); its price
is brought into the collar instead of refused, and a reserve of the order rate is its own. The
limits of positions hold for it too, but none binds on the way to a flat position.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from configs.risk import MAX_RATE
from market.account import allowed_share
from market.kernels import inlined, kernel
from market.orders.layout import (
    BUY,
    GTD,
    ICEBERG,
    KINDS,
    LIVES,
    NEEDS_PRICE,
    NEEDS_STOP,
    SELL,
    WORKED_KINDS,
)
from market.risk.exposure import (
    marginal,
    position_limit,
    unit_share,
    use_with,
    variance_with,
)
from market.risk.layout import (
    APPROVE,
    BAD_DATA,
    BAD_PRICE,
    BAD_QUANTITY,
    CANCEL,
    CLOCK,
    COLLAR,
    DELAY,
    DRAWDOWN,
    EMERGENCY_STOP,
    EXPIRED,
    GROSS,
    LOWERS_RISK,
    MALFORMED,
    NONE,
    ORDER_NOTIONAL,
    ORDER_SIZE,
    PARTICIPATION,
    POSITION,
    RATE,
    REDUCE_SIZE,
    STALE_DATA,
    STOPPED,
    VAR,
)

MAX_PRICE = 1e12  # of anything that is traded
MAX_UNITS = 1e15  # beyond, a double does not tell units apart
_KINDS, _LIVES = len(KINDS), len(LIVES)


@inlined
def _priced(price: float) -> bool:
    return 0.0 < price < MAX_PRICE  # NaN and inf are not


@inlined
def _malformed(order: Any, account: Any, state: Any) -> int:
    """The reason for which an order makes no sense by itself, or NONE."""
    known = 0 <= order.kind < _KINDS and 0 <= order.life < _LIVES
    known = known and 0 <= order.instrument < account.count
    if not known or (order.side != BUY and order.side != SELL):
        return MALFORMED
    if not 1.0 <= order.quantity < math.inf:
        return BAD_QUANTITY
    if order.kind == ICEBERG and not 1.0 <= order.displayed <= order.quantity:
        return BAD_QUANTITY
    if NEEDS_PRICE[order.kind] and not _priced(order.price):
        return BAD_PRICE
    if NEEDS_STOP[order.kind] and not _priced(order.stop_price):
        return BAD_PRICE
    if not max(account.time, state.last_time) <= order.time < math.inf:
        return CLOCK
    if order.life == GTD and not order.expires > order.time:
        return EXPIRED
    return NONE


@inlined
def _unusable(order: Any, account: Any, limits: Any) -> int:
    """The reason for which nothing can be judged now, or NONE."""
    if not (math.isfinite(account.equity) and math.isfinite(account.drawdown)):
        return BAD_DATA
    for one in range(account.count):
        idle = account.position[one] == 0
        idle = idle and account.open_buys[one] == 0 and account.open_sells[one] == 0
        if idle and one != order.instrument:
            continue
        good = _priced(account.price[one]) and 0.0 < account.unit_value[one] < math.inf
        good = good and 0.0 < account.covariance[one, one] < math.inf
        if not good or not 0.0 <= account.volume[one] < math.inf:
            return BAD_DATA
        for other in range(account.count):
            if not math.isfinite(account.covariance[one, other]):
                return BAD_DATA
        if not order.time - account.mark_time[one] <= limits.stale_seconds:
            return STALE_DATA
    return NONE


@inlined
def _protect(order: Any, account: Any, limits: Any, verdict: Any) -> bool:
    """Write the worst price at which it may trade; False where its own lies off the collar.

    An order without a price of its own gets the collar's end.
    """
    stops = NEEDS_STOP[order.kind]
    about = order.stop_price if stops else account.price[order.instrument]
    low, high = about * (1.0 - limits.collar), about * (1.0 + limits.collar)
    verdict.price = high if order.side == BUY else low
    if not NEEDS_PRICE[order.kind]:
        return True
    verdict.price = min(max(order.price, low), high)
    return low <= order.price <= high


@inlined
def _same_side_open(order: Any, account: Any) -> float:
    """Signed position once everything that is open on the order's side has filled."""
    held = account.position[order.instrument]
    if order.side == BUY:
        return float(held + account.open_buys[order.instrument])
    return float(held - account.open_sells[order.instrument])


@inlined
def _too_fast(order: Any, limits: Any, state: Any, lowers: bool) -> bool:
    """Whether the rate's window already holds as many orders as may be."""
    most = limits.rate_orders + (limits.rate_reserve if lowers else 0)
    if state.sent < most:
        return False
    oldest = state.times[(state.sent - most) % MAX_RATE]
    return not order.time - oldest >= limits.rate_seconds


@inlined
def _gross_of_others(account: Any, instrument: int) -> float:
    """Notional over equity of all other instruments, whatever of theirs is open filled."""
    total = 0.0
    for other in range(account.count):
        if other != instrument:
            held = account.position[other]
            most = max(abs(held + account.open_buys[other]), abs(held - account.open_sells[other]))
            if most > 0:
                total += most * unit_share(account, other)
    return total


@inlined
def _cap(left: float, cap: float, reason: int, verdict: Any) -> float:
    """The smaller of what is left and a cap; where the cap binds its reason is noted."""
    if cap >= left:
        return left
    verdict.reasons |= 1 << reason
    verdict.reason = reason
    return float(cap) if cap > 0.0 else 0.0


@inlined
def _capped_position(
    order: Any, account: Any, limits: Any, state: Any, quantity: float, verdict: Any
) -> float:
    """Whole units that the limits of positions leave; none binds on the way to flat."""
    instrument = order.instrument
    share = unit_share(account, instrument)
    # Signed so that more is always further in the order's direction.
    from_here = order.side * _same_side_open(order, account)
    others = _gross_of_others(account, instrument)
    held = position_limit(account, limits, instrument, 1.0)
    left = _cap(quantity, held - from_here, POSITION, verdict)
    gross = max(limits.gross_share - others, 0.0) / share
    left = _cap(left, gross - from_here, GROSS, verdict)
    allowed = 0.0 if state.stopped != 0 else allowed_share(account, limits)
    gross = max(limits.gross_share * allowed - others, 0.0) / share
    bound = min(position_limit(account, limits, instrument, allowed), gross)
    why = STOPPED if state.stopped != 0 else DRAWDOWN
    return float(np.floor(_cap(left, bound - from_here, why, verdict)))


@inlined
def _capped_size(order: Any, account: Any, limits: Any, quantity: float, verdict: Any) -> float:
    """Whole units that the limits of one order, and of what is done in a bar, leave."""
    instrument = order.instrument
    left = _cap(quantity, limits.order_units, ORDER_SIZE, verdict)
    worked = WORKED_KINDS[order.kind]
    most = (limits.worked_share if worked else limits.order_share) / unit_share(account, instrument)
    left = _cap(left, most, ORDER_NOTIONAL, verdict)
    used = account.traded[instrument]
    used += account.open_buys[instrument] + account.open_sells[instrument]
    volume = limits.participation * account.volume[instrument]
    return float(np.floor(_cap(left, volume - used, PARTICIPATION, verdict)))


@kernel
def _within_var(order: Any, account: Any, limits: Any, quantity: float) -> float:
    """The most whole units, up to `quantity`, after which use is `reduce_use` at most.

    The variance is a quadratic of the units traded: its larger root, in closed form. What it
    gives is tried, since rounding may leave it a unit too high.
    """
    instrument, side = order.instrument, order.side
    start = _same_side_open(order, account)
    unit = unit_share(account, instrument)
    square = unit * unit * account.covariance[instrument, instrument]
    cross = side * unit * marginal(account, instrument, start)
    room = (limits.reduce_use / limits.var_scale) ** 2 - variance_with(account, instrument, start)
    inside = cross * cross + square * room
    if not inside >= 0.0:
        return 0.0
    root = float(np.floor(min((math.sqrt(inside) - cross) / square, quantity)))
    for units in (root, root - 1.0):
        use = use_with(account, limits, instrument, start + side * units)
        if units >= 1.0 and use <= limits.reduce_use:
            return units
    return 0.0


@inlined
def _refuse(verdict: Any, action: int, reason: int) -> None:
    verdict.action = action
    verdict.reason = reason
    verdict.reasons |= 1 << reason
    verdict.quantity = 0


@inlined
def _judge_use(order: Any, account: Any, limits: Any, quantity: float, verdict: Any) -> None:
    """SPEC section 7 on `quantity` units: what the use after the trade comes to."""
    start = _same_side_open(order, account)
    use = use_with(account, limits, order.instrument, start + order.side * quantity)
    verdict.use_after = use
    if use > limits.stop_use:
        _refuse(verdict, EMERGENCY_STOP, VAR)
    elif use > limits.cancel_use:
        _refuse(verdict, CANCEL, VAR)
    elif use > limits.delay_use:
        _refuse(verdict, DELAY, VAR)
    elif use > limits.reduce_use:
        left = _within_var(order, account, limits, quantity)
        if left < 1.0:
            _refuse(verdict, CANCEL, VAR)
            return
        verdict.action, verdict.reason = REDUCE_SIZE, VAR
        verdict.reasons |= 1 << VAR
        verdict.quantity = int(left)
        verdict.use_after = use_with(account, limits, order.instrument, start + order.side * left)
    elif use >= 0.0:
        verdict.quantity = int(quantity)
    else:
        _refuse(verdict, CANCEL, BAD_DATA)


@inlined
def _lowers(order: Any, account: Any, limits: Any, quantity: float, verdict: Any) -> bool:
    """Whether trading `quantity` lowers value at risk; the uses are noted."""
    start = _same_side_open(order, account)
    verdict.use_before = use_with(account, limits, order.instrument, start)
    after = use_with(account, limits, order.instrument, start + order.side * quantity)
    verdict.use_after = after
    return after < verdict.use_before


@inlined
def _judge_sound(order: Any, account: Any, limits: Any, state: Any, verdict: Any) -> None:
    """The rules about size, risk, price and rate, for an order that is sound by itself."""
    asked = float(np.floor(min(order.quantity, MAX_UNITS)))
    quantity = _capped_position(order, account, limits, state, asked, verdict)
    lowers = _lowers(order, account, limits, quantity, verdict)
    if not lowers:
        quantity = _capped_size(order, account, limits, quantity, verdict)
        lowers = _lowers(order, account, limits, quantity, verdict)
    if not quantity >= 1.0:
        _refuse(verdict, CANCEL, verdict.reason)
        return
    verdict.action = APPROVE if quantity == asked else REDUCE_SIZE
    in_collar = _protect(order, account, limits, verdict)
    if lowers:
        verdict.lowers = 1
        verdict.quantity = int(quantity)
        verdict.reasons |= 1 << LOWERS_RISK
        if verdict.action == APPROVE:
            verdict.reason = LOWERS_RISK
    elif not in_collar:
        _refuse(verdict, CANCEL, COLLAR)
    else:
        _judge_use(order, account, limits, quantity, verdict)
    if verdict.action <= REDUCE_SIZE and _too_fast(order, limits, state, lowers):
        _refuse(verdict, DELAY, RATE)


@kernel
def judge(order: Any, account: Any, limits: Any, state: Any, verdict: Any) -> None:
    """Write what becomes of an order.

    Args:
        order: an ORDER record, of any content.
        account: an EXPOSURE record.
        limits: a LIMITS record.
        state: a STATE record; like the others, only read.
        verdict: a VERDICT record, written whole.
    """
    verdict.action, verdict.reason, verdict.reasons = APPROVE, NONE, 0
    verdict.quantity, verdict.price, verdict.lowers = 0, 0.0, 0
    verdict.use_before, verdict.use_after = 0.0, 0.0
    why = _malformed(order, account, state)
    if why == NONE:
        why = _unusable(order, account, limits)
    if why == NONE:
        _judge_sound(order, account, limits, state, verdict)
    else:
        _refuse(verdict, CANCEL, why)


@inlined
def book_verdict(order: Any, verdict: Any, account: Any, state: Any) -> None:
    """Count what was let through as sent and open; an emergency stop holds from now on."""
    if verdict.action == EMERGENCY_STOP:
        state.stopped = 1
    if verdict.action > REDUCE_SIZE or verdict.quantity <= 0:
        return
    state.times[state.sent % MAX_RATE] = order.time
    state.sent += 1
    state.last_time = order.time
    if order.side == BUY:
        account.open_buys[order.instrument] += verdict.quantity
    else:
        account.open_sells[order.instrument] += verdict.quantity


@kernel
def judge_one(orders: Any, accounts: Any, limits: Any, states: Any, verdicts: Any) -> None:
    """`judge` of orders[0]; each argument an array [1]. Only the verdict is written."""
    judge(orders[0], accounts[0], limits[0], states[0], verdicts[0])


@kernel
def send_all(
    orders: Any, count: int, accounts: Any, limits: Any, states: Any, verdicts: Any
) -> int:
    """Judge `count` orders one after the other, each as if those before it were sent.

    Args:
        orders: ORDER [count or more].
        accounts, states: EXPOSURE [1], STATE [1]; what passes is booked there as open and sent.
        verdicts: VERDICT [count or more], written.

    Returns:
        How many pass. After an emergency stop the rest is judged under it.
    """
    passed = 0
    for index in range(count):
        judge(orders[index], accounts[0], limits[0], states[0], verdicts[index])
        book_verdict(orders[index], verdicts[index], accounts[0], states[0])
        if verdicts[index].action <= REDUCE_SIZE:
            passed += 1
    return passed
