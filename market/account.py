"""The account of a layer above execution: position, cash, equity, drawdown.

Prices are ticks, money is ticks x units. Positions are marked at the reference path F, and
equity changes by what is held, by what is traded, and by costs:

    equity' - equity = position (F' - F) + sum side q (F' - F then) - costs

with F' the bar's close, F the close before, and costs the fills' miss of the mid, standing
own impact, and fees.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from configs.barwise import BreakerConfig
from market.kernels import inlined

ACCOUNT = np.dtype(
    [
        ("limit", np.int64),  # units, of a full position
        ("position", np.int64),  # units, short below 0
        ("cash", np.float64),
        ("mark", np.float64),  # F, ticks
        ("initial", np.float64),  # equity at the episode's begin
        ("equity", np.float64),
        ("peak", np.float64),  # of equity
        ("drawdown", np.float64),  # share of the peak, now
        ("worst_drawdown", np.float64),
        ("entry", np.float64),  # mean price of what is held, ticks
        ("halted", np.int64),
        # Of the last bar.
        ("holding", np.float64),
        ("trading", np.float64),
        ("costs", np.float64),
        ("fees", np.float64),
        ("turnover", np.float64),  # units traded over the limit
        ("before", np.float64),  # equity
        # Over the episode.
        ("all_costs", np.float64),
        ("all_fees", np.float64),
        ("all_turnover", np.float64),
        ("exposure", np.float64),  # sum over bars of |position| over the limit
    ]
)

BREAKERS = np.dtype(
    [("halve", np.float64), ("quarter", np.float64), ("halt", np.float64)],
)


def breakers(config: BreakerConfig) -> Any:
    """BREAKERS [1] of a configuration."""
    out = np.zeros(1, BREAKERS)
    out["halve"] = config.halve_drawdown
    out["quarter"] = config.quarter_drawdown
    out["halt"] = config.halt_drawdown
    return out


@inlined
def open_account(account: Any, limit: int, leverage: float, mark: float) -> None:
    """A flat account whose equity a full position at `mark` is `leverage` times of."""
    account.limit = limit
    account.position = 0
    account.mark = mark
    account.initial = limit * mark / leverage
    account.cash = account.initial
    account.equity = account.initial
    account.before = account.initial
    account.peak = account.initial
    account.drawdown = 0.0
    account.worst_drawdown = 0.0
    account.entry = 0.0
    account.halted = 0
    account.holding = 0.0
    account.trading = 0.0
    account.costs = 0.0
    account.fees = 0.0
    account.turnover = 0.0
    account.all_costs = 0.0
    account.all_fees = 0.0
    account.all_turnover = 0.0
    account.exposure = 0.0


@inlined
def _renew_entry(account: Any, signed: int, value: float) -> None:
    """The mean price of what is held after `signed` units for `value` (ticks x units, signed)."""
    after = account.position + signed
    if after == 0:
        account.entry = 0.0
    elif account.position == 0 or (account.position > 0) != (after > 0):
        account.entry = value / signed
    elif (signed > 0) == (account.position > 0):
        account.entry = (account.entry * account.position + value) / after


@inlined
def settle(account: Any, worked: Any, close: float) -> None:
    """Book what an order came to (a WORKED record) and mark at the bar's close."""
    signed = worked.side * worked.quantity
    value = worked.side * worked.reference_value
    account.before = account.equity
    account.holding = account.position * (close - account.mark)
    account.trading = signed * close - value
    account.costs = worked.impact_value + worked.slippage + worked.fees
    account.fees = worked.fees
    account.turnover = worked.quantity / account.limit
    if signed != 0:
        _renew_entry(account, signed, value + account.costs)
    account.position += signed
    account.cash -= value + account.costs
    account.mark = close
    account.equity = account.cash + account.position * close
    account.peak = max(account.peak, account.equity)
    account.drawdown = 1.0 - account.equity / account.peak
    account.worst_drawdown = max(account.worst_drawdown, account.drawdown)
    account.all_costs += account.costs
    account.all_fees += account.fees
    account.all_turnover += account.turnover
    account.exposure += abs(account.position) / account.limit


@inlined
def allowed_share(account: Any, breakers: Any) -> float:
    """The share of the limit that drawdown leaves: 1, a half, a quarter or nothing.

    What was once halted stays flat: a breaker that let go again would be paid for by luck.
    """
    if account.halted == 1 or account.drawdown >= breakers.halt:
        return 0.0
    if account.drawdown >= breakers.quarter:
        return 0.25
    return 0.5 if account.drawdown >= breakers.halve else 1.0
