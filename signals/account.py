"""What agents above execution know of their account, their episode and their last choices."""

from __future__ import annotations

import math
from typing import Any

from market.kernels import generic, inlined
from signals.layout import Column

_ACCOUNT, _EPISODE = "account", "episode"

ACCOUNT_COLUMNS = (
    Column("position", "share of the limit, long above 0", -1, 1, _ACCOUNT),
    Column("unrealised", "100 bp of equity", -10, 10, _ACCOUNT),
    Column("result", "100 bp of the equity at the start", -10, 10, _ACCOUNT),
    Column("drawdown", "over the drawdown that halts", 0, 4, _ACCOUNT),
    Column("worst_drawdown", "over the drawdown that halts", 0, 4, _ACCOUNT),
    Column("cash", "share of equity", -20, 20, _ACCOUNT),
    Column("allowed", "share of the limit that drawdown leaves", 0, 1, _ACCOUNT),
    Column("last_cost", "10 bp of equity", -10, 10, _ACCOUNT),
    Column("bars_left", "share of the episode", 0, 1, _EPISODE),
)

_BP = 1e4
_HUNDRED_BP = 1e-2


@inlined
def _clipped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


@inlined
def write_account(account: Any, halt: float, allowed: float, left: float, out: Any, at: int) -> int:
    """Write ACCOUNT_COLUMNS from place `at`; the place after them.

    Args:
        account: an ACCOUNT record.
        halt: the drawdown that halts, share of the peak.
        allowed: `market.account.allowed_share` now.
        left: share of the episode's bars that are left.
    """
    equity = max(account.equity, 1.0)
    unrealised = account.position * (account.mark - account.entry) if account.position else 0.0
    out[at] = _clipped(account.position / account.limit, -1.0, 1.0)
    out[at + 1] = _clipped(unrealised / equity / _HUNDRED_BP, -10.0, 10.0)
    result = (account.equity - account.initial) / account.initial
    out[at + 2] = _clipped(result / _HUNDRED_BP, -10.0, 10.0)
    out[at + 3] = _clipped(account.drawdown / halt, 0.0, 4.0)
    out[at + 4] = _clipped(account.worst_drawdown / halt, 0.0, 4.0)
    out[at + 5] = _clipped(account.cash / equity, -20.0, 20.0)
    out[at + 6] = allowed
    out[at + 7] = _clipped(account.costs / equity * _BP / 10.0, -10.0, 10.0)
    out[at + 8] = left
    return at + 9


def window_columns(columns: tuple[Column, ...], rows: int, prefix: str = "") -> tuple[Column, ...]:
    """The columns of a window of `rows` bars, oldest bar first: NAME@LAG, LAG 0 the newest."""
    return tuple(
        Column(f"{prefix}{c.name}@{lag}", c.unit, c.low, c.high, c.source)
        for lag in range(rows - 1, -1, -1)
        for c in columns
    )


# For critics alone: the path to come is exogenous, so that a baseline may know it (Mao et
# al., "Variance reduction for reinforcement learning in input-driven environments", 2019). It
# takes off what the path pays on what is held (of the tactical layer beside its benchmark), and
# adds what it pays on a change of it, to the path's end.
AHEAD = (1, 3, 8, 24)  # bars over which the path to come is summed
AHEAD_COLUMNS = tuple(
    column
    for n in (*AHEAD, "all")
    for column in (
        Column(f"move_{n}", "bars' sigmas x root of bars", -10, 10, "path to come", True),
        Column(f"held_move_{n}", "100 bp of equity", -10, 10, "path to come", True),
    )
)


@generic
def write_ahead(
    tape: Any, bar: int, last: int, account: Any, held: float, out: Any, at: int
) -> int:
    """Write AHEAD_COLUMNS from place `at`; the place after them.

    Args:
        tape: `market.bar_tape.Tape`.
        bar: the bar to be played next.
        last: the last bar that the episode plays.
        account: an ACCOUNT record, marked at the close before `bar`.
        held: what the path's moves are paid on, units, long above 0.
    """
    equity = max(account.equity, 1.0)
    for ahead in (AHEAD[0], AHEAD[1], AHEAD[2], AHEAD[3], 0):
        until = last if ahead == 0 else min(bar + ahead - 1, last)
        move, bars = 0.0, until - bar + 1
        if bars > 0:
            move = tape.ohlc[until, 3] - account.mark
            scale = tape.sigma[bar] * math.sqrt(bars)
            out[at] = _clipped(move / scale, -10.0, 10.0)
        else:
            out[at] = 0.0
        out[at + 1] = _clipped(held * move / equity / _HUNDRED_BP, -10.0, 10.0)
        at += 2
    return at
