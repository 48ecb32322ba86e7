"""A parent order worked inside one bar, and what it came to.

The layers above execution trade on the reference path F: a child order costs F plus what
its fill missed the book's mid by, plus own impact. Mid and F are those just before the order
was sent, for a resting order too: what the market does to it while it rests is its own cost.
So the mid's wandering about F earns nobody anything. Impact is what stands midway through
the fills, as of continuous trading, from which no round trip profits (`ImpactConfig`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from market import book as lob
from market.desk import Desk, background_quote, best_opposite, desk_at
from market.kernels import inlined, kernel
from market.own import (
    advance,
    any_price,
    cancel_all_own,
    cross_remainder,
    post,
    renew_reference,
    take_now,
)
from market.pointers import record
from market.state import SMART

# How an order is worked. TWAP takes equal slices, MARKET all at once; JOIN rests at the own
# side's best quote and IMPROVE one tick inside the spread, both moved with the quote at
# every slice; what is left at the bar's end crosses.
WAIT, MARKET, JOIN, IMPROVE, TWAP = range(5)
STYLES = 5

# What an order came to. Prices are ladder ticks, values ticks x units without a sign.
WORKED = np.dtype(
    [
        ("side", np.int64),
        ("quantity", np.int64),  # as ordered; all of it fills
        ("reference_value", np.float64),  # sum of F q, F when each child was sent
        ("impact_value", np.float64),  # sum of side x own impact x q: what it cost
        ("slippage", np.float64),  # sum of side (fill - mid then) q
        ("fees", np.float64),
        ("passive", np.int64),  # units that were filled while they rested
        ("forced", np.int64),  # units that crossed at the bar's end
        # Of the bar, own fills left out.
        ("volume", np.float64),  # units that others took
        ("volume_value", np.float64),  # sum of F x their units, F at the end of each slice
        # Of the child that rests: its price (NONE where none does), what was open when it was
        # sent, and F and own impact then.
        ("posted", np.int64),
        ("open_then", np.int64),
        ("reference_then", np.float64),
        ("impact_then", np.float64),
    ]
)


@inlined
def _twice_mid(desk: Desk, flow: Any) -> int:
    """Twice the mid without own orders; twice the reference where a side is empty."""
    bid, ask = background_quote(desk, flow, lob.BUY), background_quote(desk, flow, lob.SELL)
    if bid < 0 or ask >= flow.ladder:
        return round(2.0 * (record(desk.episode).reference + record(desk.episode).impact))
    return int(bid + ask)


@inlined
def _add_fills(desk: Desk, worked: Any, filled: int, reference: float, impact: float) -> None:
    """Account for units that were sent at F = `reference` and met `impact` when they began."""
    worked.reference_value += reference * filled
    # Midway between before and after: a fill that paid the price before its own impact alone
    # would leave some of it to whoever trades back.
    met = 0.5 * (impact + record(desk.episode).impact)
    worked.impact_value += record(desk.parent).side * met * filled


@inlined
def _take(desk: Desk, flow: Any, quantity: int, worked: Any) -> None:
    """Cross the spread for up to `quantity` by the router."""
    if quantity <= 0:
        return
    parent, episode = record(desk.parent), record(desk.episode)
    reference, impact = episode.reference, episode.impact
    worst = flow.ladder - 1 if parent.side == lob.BUY else 0
    best = best_opposite(desk, flow, parent.side, worst)
    if best < 0:
        return
    limit = best + parent.side * flow.sweep_ticks
    limit = min(max(limit, 0), flow.ladder - 1)
    left = take_now(desk, flow, SMART, limit, quantity, _twice_mid(desk, flow))
    _add_fills(desk, worked, quantity - left, reference, impact)


@inlined
def _passive_price(desk: Desk, flow: Any, side: int, style: int) -> int:
    """Where a resting order belongs now, or -1 where the own side has no quote."""
    own, other = background_quote(desk, flow, side), background_quote(desk, flow, -side)
    if not 0 <= own < flow.ladder:
        return lob.NONE
    inside = 0 <= other < flow.ladder and abs(other - own) > 1
    return int(own + side) if style == IMPROVE and inside else int(own)


@inlined
def _begin(market: Any, n: int, signed: int, style: int, blank: Any, worked: Any) -> None:
    """A new parent order, and nothing yet of what it comes to."""
    market.parents[n] = blank[0]
    parent = market.parents[n]
    parent.horizon = market.path.shape[1] - 1
    parent.side = lob.SELL if signed < 0 else lob.BUY
    parent.quantity = abs(signed) if style != WAIT else 0
    parent.remaining = parent.quantity
    parent.arrival = market.episodes[n].reference
    worked.side, worked.quantity = parent.side, parent.quantity
    worked.reference_value, worked.impact_value = 0.0, 0.0
    worked.volume, worked.volume_value = 0.0, 0.0
    worked.posted, worked.open_then = lob.NONE, parent.quantity
    worked.reference_then, worked.impact_then = 0.0, 0.0


@inlined
def _due(parent: Any, style: int, step: int) -> int:
    """Units to be taken in slice number `step`."""
    if style == MARKET:
        return parent.remaining
    done = parent.quantity - parent.remaining
    return parent.quantity * (step + 1) // parent.horizon - done


@inlined
def _count_rested(desk: Desk, worked: Any) -> None:
    """Account for what has been filled at rest since the child was sent."""
    remaining = record(desk.parent).remaining
    filled = worked.open_then - remaining
    _add_fills(desk, worked, filled, worked.reference_then, worked.impact_then)
    worked.open_then = remaining


@inlined
def _rest(desk: Desk, flow: Any, style: int, worked: Any) -> None:
    """Keep what is open resting where it belongs now."""
    parent, episode = record(desk.parent), record(desk.episode)
    price = _passive_price(desk, flow, parent.side, style)
    if price < 0 or (price == worked.posted and parent.resting == parent.remaining):
        return
    cancel_all_own(desk, flow)
    worked.reference_then, worked.impact_then = episode.reference, episode.impact
    post(desk, flow, SMART, price, parent.remaining, _twice_mid(desk, flow))
    worked.posted = price


@kernel
def work_bar(
    market: Any, n: int, signed: int, style: int, reaction: float, blank: Any, worked: Any
) -> None:
    """Run episode `n`'s market through its bar while an order of `signed` units is worked.

    Args:
        market: `market.state.Market`, its bar begun: the clock at 0.
        signed: units, sells below 0; 0 lets the bar pass.
        style: WAIT (no order), MARKET, JOIN, IMPROVE or TWAP.
        reaction: seconds from the start of a slice to its order.
        blank: PARENT [1], zeros.
        worked: a WORKED record, written.
    """
    _begin(market, n, signed, style, blank, worked)
    desk, flow = desk_at(market, n), market.flow[0]
    parent, episode = record(desk.parent), record(desk.episode)
    takes = style in (TWAP, MARKET)
    for step in range(parent.horizon):
        parent.step = step
        desk.tape.count[0] = 0
        episode.buy_volume, episode.sell_volume = 0.0, 0.0
        advance(desk, flow, step * flow.step_seconds + reaction)
        renew_reference(desk, flow)
        if not takes:
            _count_rested(desk, worked)
        if parent.remaining > 0:
            if takes:
                _take(desk, flow, _due(parent, style, step), worked)
            else:
                _rest(desk, flow, style, worked)
        advance(desk, flow, (step + 1) * flow.step_seconds)
        renew_reference(desk, flow)
        taken = episode.buy_volume + episode.sell_volume
        worked.volume += taken
        worked.volume_value += taken * episode.reference
    if not takes:
        _count_rested(desk, worked)
    _finish(desk, flow, worked)


@inlined
def _finish(desk: Desk, flow: Any, worked: Any) -> None:
    """Cross what is left at the bar's end, and close the order's account."""
    parent, episode = record(desk.parent), record(desk.episode)
    worked.forced = parent.remaining
    if parent.remaining > 0:
        impact = episode.impact
        limit = any_price(flow, parent.side)
        cross_remainder(desk, flow, _twice_mid(desk, flow), flow.sweep_ticks, limit)
        _add_fills(desk, worked, worked.forced, episode.reference, impact)
    worked.passive = parent.filled_passive
    worked.slippage = parent.slippage
    worked.fees = parent.fees
