"""The records that the risk rules read and write, and the table of their reasons.

Money and prices are in the account's currency, quantities in units, times in seconds of the
bar clock. Arrays inside records run over instruments, `count` of which are in use.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from configs.errors import ConfigError
from configs.risk import MAX_RATE, RiskConfig, VarConfig

MAX_INSTRUMENTS = 8
LEVELS = (0.95, 0.99)  # of value at risk

# What becomes of an order, in the order of severity: as the risk agent's (`market.decode`).
VERDICTS = ("APPROVE", "REDUCE_SIZE", "DELAY", "CANCEL", "EMERGENCY_STOP")
APPROVE, REDUCE_SIZE, DELAY, CANCEL, EMERGENCY_STOP = range(len(VERDICTS))


class Reason(NamedTuple):
    """Why a verdict is what it is."""

    name: str
    says: str


REASONS = (
    Reason("NONE", "no rule objects"),
    Reason("LOWERS_RISK", "passes since the trade lowers value at risk"),
    Reason("MALFORMED", "side, instrument, kind or time in force is none of the table's"),
    Reason("BAD_QUANTITY", "quantity or displayed quantity is not finite, or under one unit"),
    Reason("BAD_PRICE", "a price that its kind needs is missing, or not finite and above 0"),
    Reason("CLOCK", "its time is not finite, or lies before an earlier order or mark"),
    Reason("EXPIRED", "good till a time that has passed"),
    Reason("BAD_DATA", "a mark, the equity, the volume or the covariance is no usable number"),
    Reason("STALE_DATA", "the mark of an instrument is too old"),
    Reason("COLLAR", "the price lies outside the collar about the mark or the stop"),
    Reason("RATE", "too many orders within the rate's window"),
    Reason("POSITION", "the position would pass its limit"),
    Reason("GROSS", "the notional of all positions would pass its limit"),
    Reason("DRAWDOWN", "the position would pass what drawdown leaves of its limit"),
    Reason("STOPPED", "after an emergency stop only what lowers the risk passes"),
    Reason("ORDER_SIZE", "more units than one order may have"),
    Reason("ORDER_NOTIONAL", "more notional than one order may have"),
    Reason("PARTICIPATION", "too large a share of the bar's expected volume"),
    Reason("VAR", "value at risk after the trade would pass its limit"),
)
(
    NONE, LOWERS_RISK, MALFORMED, BAD_QUANTITY, BAD_PRICE, CLOCK, EXPIRED, BAD_DATA, STALE_DATA,
    COLLAR, RATE, POSITION, GROSS, DRAWDOWN, STOPPED, ORDER_SIZE, ORDER_NOTIONAL, PARTICIPATION,
    VAR,
) = range(len(REASONS))  # fmt: skip
REASON_NAMES = tuple(reason.name for reason in REASONS)

EXPOSURE = np.dtype(
    [
        ("count", np.int64),
        ("time", np.float64),  # of the latest mark
        ("cash", np.float64),
        ("equity", np.float64),
        ("peak", np.float64),  # of equity
        ("drawdown", np.float64),  # share of the peak
        ("halted", np.int64),  # by drawdown, for good
        ("use", np.float64),  # of value at risk, at the latest mark
        ("position", np.int64, MAX_INSTRUMENTS),  # units, short below 0
        ("open_buys", np.int64, MAX_INSTRUMENTS),  # units in flight or resting
        ("open_sells", np.int64, MAX_INSTRUMENTS),
        ("traded", np.int64, MAX_INSTRUMENTS),  # units filled in this bar, both sides
        ("price", np.float64, MAX_INSTRUMENTS),  # marks
        ("mark_time", np.float64, MAX_INSTRUMENTS),
        ("suspect", np.float64, MAX_INSTRUMENTS),  # a mark that jumped, not yet believed; else 0
        ("unit_value", np.float64, MAX_INSTRUMENTS),  # of one unit at a price of 1
        ("volume", np.float64, MAX_INSTRUMENTS),  # units that the market is expected to trade in it
        ("covariance", np.float64, (MAX_INSTRUMENTS, MAX_INSTRUMENTS)),  # of a day's returns
    ]
)

LIMITS = np.dtype(
    [
        ("var_scale", np.float64),  # use over the deviation of a day's result, share of equity
        ("reduce_use", np.float64),
        ("delay_use", np.float64),
        ("cancel_use", np.float64),
        ("stop_use", np.float64),
        ("halve", np.float64),
        ("quarter", np.float64),
        ("halt", np.float64),
        ("position_units", np.float64),
        ("position_share", np.float64),
        ("gross_share", np.float64),
        ("order_units", np.float64),
        ("order_share", np.float64),
        ("worked_share", np.float64),
        ("participation", np.float64),
        ("collar", np.float64),
        ("rate_orders", np.int64),
        ("rate_reserve", np.int64),
        ("rate_seconds", np.float64),
        ("mark_jump", np.float64),
        ("stale_seconds", np.float64),
    ]
)

STATE = np.dtype(
    [
        ("stopped", np.int64),  # by an emergency stop, until a person lets go
        ("sent", np.int64),  # orders so far
        ("last_time", np.float64),  # of the last order
        ("times", np.float64, MAX_RATE),  # of the last orders, a ring
    ]
)

VERDICT = np.dtype(
    [
        ("action", np.int64),
        ("reason", np.int64),  # the one that decided
        ("reasons", np.int64),  # one bit of each that spoke
        ("quantity", np.int64),  # units that may be sent; 0 where none
        ("price", np.float64),  # currency, the worst at which it may trade
        ("use_before", np.float64),
        ("use_after", np.float64),  # with `quantity`
        ("lowers", np.int64),
    ]
)


def var_scale(config: VarConfig) -> float:
    """u over the deviation of a day's result: max of z95 / limit95 and z99 / limit99, sqrt(h)."""
    quantile = NormalDist().inv_cdf
    limits = (config.var95_limit, config.var99_limit)
    shares = (quantile(level) / limit for level, limit in zip(LEVELS, limits, strict=True))
    return max(shares) * math.sqrt(config.horizon_days)


def risk_limits(config: RiskConfig) -> Any:
    """LIMITS [1] of a configuration, read-only."""
    out = np.zeros(1, LIMITS)
    values = {
        "var_scale": var_scale(config.var),
        "halve": config.drawdown.halve_drawdown,
        "quarter": config.drawdown.quarter_drawdown,
        "halt": config.drawdown.halt_drawdown,
        **{name: getattr(config.limits, name) for name in type(config.limits).model_fields},
        **{name: getattr(config.var, name) for name in LIMITS.names or () if name.endswith("_use")},
    }
    for name, value in values.items():
        out[name] = value
    out.setflags(write=False)
    return out


def open_exposure(cash: float, unit_values: tuple[float, ...], prior_variance: float) -> Any:
    """EXPOSURE [1] of a flat account, before its first mark.

    Args:
        cash: its equity, above 0.
        unit_values: of each instrument, the worth of one unit at a price of 1.
        prior_variance: of a day's return, of each, until bars say better.

    Raises:
        ConfigError: cash, a unit value or the number of instruments is none.
    """
    if not 1 <= len(unit_values) <= MAX_INSTRUMENTS:
        raise ConfigError(f"{len(unit_values)} instruments, expected 1 to {MAX_INSTRUMENTS}")
    for name, value in (("cash", cash), *(("unit value", value) for value in unit_values)):
        if not (math.isfinite(value) and value > 0.0):
            raise ConfigError(f"risk account: {name} is {value}, expected a number above 0")
    out = np.zeros(1, EXPOSURE)
    out["count"], out["time"], out["mark_time"] = len(unit_values), -math.inf, -math.inf
    out["cash"] = out["equity"] = out["peak"] = cash
    out["unit_value"][0, : len(unit_values)] = unit_values
    out["covariance"][0] = np.eye(MAX_INSTRUMENTS) * prior_variance
    return out


def open_state() -> Any:
    """STATE [1]: nothing sent yet."""
    out = np.zeros(1, STATE)
    out["last_time"] = -math.inf
    return out


def reason_names(bits: int) -> tuple[str, ...]:
    """The names of the reasons in a verdict's `reasons`."""
    return tuple(name for place, name in enumerate(REASON_NAMES) if bits >> place & 1)
