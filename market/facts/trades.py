"""Trades: memory of signs, sizes, the mid's response, and who pays for the spread.

Fills of one time and side are one incoming order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from market.facts.intervals import (
    Estimate,
    correlation,
    fit_exponent,
    of_quantile,
    of_sums,
    of_tail,
    ratio,
)
from market.facts.sample import Sample, mid_at, mid_before
from market.recording import Recording

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NO_TRADES = "no trades"


def orders_per_second(sample: Sample) -> Estimate:
    """Incoming orders that trade, a second."""
    return sample.rate([orders.time for orders in sample.orders], "trades")


def sign_memory(sample: Sample, lag: int) -> Estimate:
    """Correlation of the signs of incoming orders `lag` orders apart."""
    reason = f"fewer than two pairs of orders {lag} apart, or all on one side"
    return of_sums(_sign_sums(sample, lag), correlation, sample.config, reason)


def sign_memory_decay(sample: Sample) -> Estimate:
    """g of the fit C(lag) = c lag^-g to the correlations of orders' signs, by least squares."""
    lags = np.arange(1, sample.config.sign_lags + 1)
    if max(orders.side.size for orders in sample.orders) <= lags[-1] + 1:
        raise DataError(f"no recording of more than {lags[-1] + 1} orders")
    sums = np.concatenate([_sign_sums(sample, int(lag)) for lag in lags], axis=1)

    def decay(totals: Floats) -> Floats:
        memory = [correlation(part) for part in np.split(totals, lags.size, axis=1)]
        at = np.stack(memory, axis=1)
        known = np.isfinite(at).all(axis=1)
        fitted = -fit_exponent(lags.astype(np.float64), np.nan_to_num(at), np.ones((1, lags.size)))
        return np.where(known, fitted, np.nan)

    return of_sums(sums, decay, sample.config, "the signs' correlations follow no power law")


def trade_size_mean(sample: Sample) -> Estimate:
    """Mean quantity that an incoming order trades, units."""
    size, blocks = sizes(sample)
    sums = sample.block_sums(blocks, np.ones_like(size), size)
    return of_sums(sums, ratio, sample.config, NO_TRADES)


def trade_size_median(sample: Sample) -> Estimate:
    """Median quantity that an incoming order trades, units."""
    size, blocks = sizes(sample)
    return of_quantile(size, np.ones_like(size), blocks, 0.5, sample.config)


def trade_size_tail(sample: Sample) -> Estimate:
    """Hill's exponent of the largest quantities traded by an order: P(size > x) ~ x^-a."""
    size, blocks = sizes(sample)
    return of_tail(size, blocks, sample.config, "orders")


def response(sample: Sample, lag: int) -> Estimate:
    """Mean change of the mid, in an order's direction, from before it to `lag` orders on, ticks."""
    sums = np.zeros((sample.blocks, 2))
    for index, orders in enumerate(sample.orders):
        if orders.time.size <= lag:
            continue
        move = orders.side[:-lag] * (orders.mid_before[lag:] - orders.mid_before[:-lag])
        sums += sample.finite_sums(index, orders.time[:-lag], np.ones_like(move), move)
    return of_sums(sums, ratio, sample.config, f"no two orders {lag} apart with a mid before both")


def effective_spread(sample: Sample) -> Estimate:
    """Twice what a unit traded pays beyond the mid before its order, ticks."""
    return _markout(sample, None)


def realised_spread(sample: Sample, seconds: float) -> Estimate:
    """Twice what a unit traded pays beyond the mid `seconds` after it, ticks.

    It is what the passive side keeps: the effective spread less what the mid moved.
    """
    return _markout(sample, seconds)


def sizes(sample: Sample) -> tuple[Floats, Integers]:
    """The quantity that every incoming order traded, units, and its block."""
    parts = [
        (orders.quantity, sample.block_of(index, orders.time))
        for index, orders in enumerate(sample.orders)
    ]
    quantity, blocks = (np.concatenate(column) for column in zip(*parts, strict=True))
    return quantity, blocks


def _sign_sums(sample: Sample, lag: int) -> Floats:
    sums = np.zeros((sample.blocks, 6))
    for index, orders in enumerate(sample.orders):
        sums += sample.pair_sums(index, orders.time, orders.side, lag)
    return sums


def _markout(sample: Sample, seconds: float | None) -> Estimate:
    sums = np.zeros((sample.blocks, 2))
    for index, recording in enumerate(sample.recordings):
        paid = recording.trade_side * (recording.trade_price - _mark(recording, seconds))
        quantity = recording.trade_quantity.astype(np.float64)
        sums += sample.finite_sums(index, recording.trade_time, quantity, 2.0 * quantity * paid)
    when = "before it" if seconds is None else f"{seconds:g} s after it"
    return of_sums(sums, ratio, sample.config, f"no trade with a mid {when}")


def _mark(recording: Recording, seconds: float | None) -> Floats:
    if seconds is None:
        return mid_before(recording, recording.trade_time)
    later = recording.trade_time + seconds
    return np.where(later <= recording.seconds, mid_at(recording, later), np.nan)
