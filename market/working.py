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
    desk, flow = desk_at(market, n), market.flow[0]
    slices = market.path.shape[1] - 1
    market.parents[n] = blank[0]
    parent, episode = record(desk.parent), record(desk.episode)
    parent.horizon = slices
    parent.side = lob.SELL if signed < 0 else lob.BUY
    parent.quantity = abs(signed) if style != WAIT else 0
    parent.remaining = parent.quantity
    parent.arrival = episode.reference
    worked.side, worked.quantity = parent.side, parent.quantity
    worked.reference_value, worked.impact_value = 0.0, 0.0
    worked.slippage, worked.fees = 0.0, 0.0
    worked.volume, worked.volume_value = 0.0, 0.0
    posted, open_before, reference, impact = lob.NONE, 0, 0.0, 0.0
    for step in range(slices):
        parent.step = step
        desk.tape.count[0] = 0
        episode.buy_volume, episode.sell_volume = 0.0, 0.0
        advance(desk, flow, step * flow.step_seconds + reaction)
        renew_reference(desk, flow)
        if parent.remaining > 0:
            if style == TWAP or style == MARKET:
                due = parent.remaining
                if style == TWAP:
                    done = parent.quantity - parent.remaining
                    due = parent.quantity * (step + 1) // slices - done
                if due > 0:
                    _take(desk, flow, due, worked)
            else:
                _add_fills(desk, worked, open_before - parent.remaining, reference, impact)
                open_before = parent.remaining
                price = _passive_price(desk, flow, parent.side, style)
                if price >= 0 and (price != posted or parent.resting < parent.remaining):
                    cancel_all_own(desk, flow)
                    twice_mid = _twice_mid(desk, flow)
                    reference, impact = episode.reference, episode.impact
                    post(desk, flow, SMART, price, parent.remaining, twice_mid)
                    posted = price
        advance(desk, flow, (step + 1) * flow.step_seconds)
        renew_reference(desk, flow)
        taken = episode.buy_volume + episode.sell_volume
        worked.volume += taken
        worked.volume_value += taken * episode.reference
    if style == JOIN or style == IMPROVE:
        _add_fills(desk, worked, open_before - parent.remaining, reference, impact)
    _finish(desk, flow, worked)


@inlined
def _finish(desk: Desk, flow: Any, worked: Any) -> None:
    """Cross what is left at the bar's end, and close the order's account."""
    parent, episode = record(desk.parent), record(desk.episode)
    worked.forced = parent.remaining
    if parent.remaining > 0:
        impact = episode.impact
        cross_remainder(desk, flow, _twice_mid(desk, flow), flow.sweep_ticks)
        _add_fills(desk, worked, worked.forced, episode.reference, impact)
    worked.passive = parent.filled_passive
    worked.slippage = parent.slippage
    worked.fees = parent.fees
