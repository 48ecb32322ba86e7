"""A market's configuration from a file of order messages, all but what a simulation must find."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.execution import ExecutionConfig
from configs.market import MarketConfig
from market.book import BUY
from market.calibrate.arrivals import fit_arrivals
from market.calibrate.findings import Calibration, Finding, rounded
from market.calibrate.orders import (
    SIGN_LAGS,
    PlacementLaw,
    fit_lives,
    fit_placement,
    fit_signs,
    fit_sizes,
)
from market.facts import prices, quotes
from market.facts.sample import Sample, pooled
from market.history import HistoricalMarket
from market.history_record import record_messages
from market.history_truth import quotes_of
from market.message_table import ADD, DELETE, REDUCE
from market.messages import Messages
from market.recording import Recording

DEFAULT_SPREAD = 1.2  # ticks, of the default market, for which its leans were chosen
REGIME = "OBSERVED"
_LEAST_DISPERSION = 0.01

# What messages of one venue cannot tell, and why.
KEPT = {
    "market.flow.arrivals.activity_seconds": "the dispersion was fitted with these memories",
    "market.flow.metaorders.longest": "no hour shows the longest metaorder",
    "market.flow.metaorders.informed_share": "messages do not say why they were sent",
    "market.flow.impact": "whose orders moved the price is not in the file",
    "market.flow.patient_distance": "populations are told apart by age alone",
    "market.flow.local_share": "the file is of one venue",
    "market.flow.arbitrage_seconds": "the file is of one venue",
    "market.flow.knot_seconds": "the reference path is not observed",
    "market.venues": "latencies and fees are not in the file",
    "market.reference.mean_regime_minutes": "one regime was observed",
    "schedule.impact_slope_bp": "measured by a study: python -m experiments.impact",
}


def distances(messages: Messages) -> NDArray[np.float64]:
    """Ticks from the opposite best of every add that found one, at least 1."""
    market = HistoricalMarket(messages, own_orders=0, record=True)
    market.advance()
    best = quotes_of(market)
    rows = np.flatnonzero(messages.kind == ADD)
    rows = rows[rows > 0]
    bid, ask = best[rows - 1, 0], best[rows - 1, 2]
    buys = messages.side[rows] == BUY
    away = np.where(buys, ask - messages.price[rows], messages.price[rows] - bid)
    quoted = np.where(buys, ask, bid) > 0
    return np.asarray(away[quoted & (away >= 1.0)], dtype=np.float64)


def calibrate_messages(messages: Messages) -> Calibration:
    """Everything that the messages tell by themselves.

    `market.flow.placement_scale` and `market.flow.resting_orders` are first guesses, from
    which `PlacementSearch` goes on.

    Raises:
        DataError: too few messages, trades or cancels for a fit.
    """
    placement = fit_placement(distances(messages))
    recording = record_messages(messages, depth_ticks=max(placement.limit, 20))
    sample = pooled([recording])
    parts: tuple[Callable[[], list[Finding]], ...] = (
        lambda: _price(messages, recording, sample),
        lambda: _arrivals(recording),
        lambda: _shares(messages, recording, sample),
        lambda: _sizes(messages, sample),
        lambda: _signs(sample),
        lambda: _population(recording, placement, sample),
    )
    findings = [finding for part in parts for finding in part()]
    findings += [Finding(key, None, why) for key, why in KEPT.items()]
    return Calibration(messages.source, messages.fingerprint, tuple(findings))


def _price(messages: Messages, recording: Recording, sample: Sample) -> list[Finding]:
    """Tick, price, and the volatility of the one regime that the file shows."""
    mid = recording.mid[np.isfinite(recording.mid)]
    price = float(mid.mean()) * recording.tick
    year = ExecutionConfig().market.reference
    seconds = year.trading_seconds_per_year if year.kind == "generator" else 0.0
    swing = prices.volatility(sample).value
    if not swing > 0.0:
        raise DataError(
            f"{messages.source}: the mid never moved over a minute: expected some volatility; give"
            " a longer file"
        )
    volatility = swing * recording.tick / price * np.sqrt(seconds)
    orders = np.unique(messages.price[messages.kind == ADD]).astype(np.int64)
    step = int(np.gcd.reduce(np.diff(orders))) if len(orders) > 1 else 1
    same = "prices use every tick" if step == 1 else f"prices are all multiples of {step} ticks"
    spread = quotes.spread_mean(sample).value
    half = 0.5 * spread * recording.tick / price * 1e4
    regime = {"name": REGIME, "volatility": rounded(float(volatility)), "drift": 0.0}
    count = int(recording.seconds / 60.0)
    return [
        Finding("market.tick", recording.tick, f"{same}", "prices of adds", len(orders)),
        Finding("market.reference.kind", "generator", "the built-in reference"),
        Finding(
            "market.reference.price",
            rounded(price, 6),
            "mean mid",
            "quotes of the replay",
            len(mid),
        ),
        Finding(
            "market.reference.regimes",
            [regime],
            f"one regime: {volatility:.1%} a year, {swing:.3g} ticks/sqrt(s)",
            "changes of the mid over 60 s",
            count,
        ),
        Finding(
            "schedule.half_spread_bp",
            rounded(half),
            f"half the mean spread of {spread:.2f} ticks",
            "quotes, by time",
            len(mid),
        ),
    ]


def _arrivals(recording: Recording) -> list[Finding]:
    fit = fit_arrivals(recording.message_time, recording.seconds)
    law, base = fit.law, "market.flow.arrivals."
    source = f"variance of counts in windows of {fit.windows[0]:g} to {fit.windows[-1]:.0f} s"
    off = f"fitted to {fit.misfit:.0%} of the curve"
    rate = fit.count / recording.seconds
    return [
        Finding(
            base + "messages_per_second", rounded(rate), f"{rate:.2f} a second",
            f"adds, cancels and incoming orders over {recording.seconds:.0f} s", fit.count,
        ),
        Finding(
            base + "branching", rounded(law.branching, 3), f"{law.branching:.2f}, {off}",
            source, fit.count,
        ),
        Finding(
            base + "excitation_rates", [rounded(float(r), 3) for r in law.rates],
            f"{law.slowest:.2g} to {law.fastest:.3g} a second", source, fit.count,
        ),
        Finding(
            base + "activity_dispersion", rounded(law.dispersion, 3),
            f"{law.dispersion:.2f}; excitation and activity are told apart weakly by one hour",
            source, fit.count,
        ),
    ]  # fmt: skip


def _shares(messages: Messages, recording: Recording, sample: Sample) -> list[Finding]:
    """Shares of limit orders, market orders and cancels among all messages."""
    limits = int((messages.kind == ADD).sum())
    cancels = int(((messages.kind == REDUCE) | (messages.kind == DELETE)).sum())
    markets = len(recording.message_time) - limits - cancels
    total = limits + cancels + markets
    market, limit = rounded(markets / total, 3), rounded(limits / total, 3)
    base = "market.flow."
    return [
        Finding(base + "limit_share", limit, f"{limits:,} adds", "messages", total),
        Finding(
            base + "market_share", market, f"{markets:,} incoming orders that traded",
            "executions of one time and side", total,
        ),
        Finding(
            base + "cancel_share", round(1.0 - market - limit, 6),
            f"{cancels:,} deletes and reductions", "messages", total,
        ),
    ]  # fmt: skip


def _sizes(messages: Messages, sample: Sample) -> list[Finding]:
    """One law for all orders: the simulator draws limit and market orders from one table."""
    traded = fit_sizes(np.concatenate([orders.quantity for orders in sample.orders]))
    placed = float(messages.size[messages.kind == ADD].mean())
    dispersion = max(traded.dispersion, _LEAST_DISPERSION)
    return [
        Finding(
            "market.flow.mean_size", rounded(traded.mean),
            f"{traded.mean:.1f} units (limit orders: {placed:.1f}; one law serves both)",
            "quantity that incoming orders traded", traded.count,
        ),
        Finding(
            "market.flow.size_dispersion", rounded(dispersion, 3),
            f"sigma of the logarithm {traded.dispersion:.2f}",
            "quantity that incoming orders traded", traded.count,
        ),
    ]  # fmt: skip


def _signs(sample: Sample) -> list[Finding]:
    law = fit_signs(np.concatenate([orders.side for orders in sample.orders]))
    shown = ", ".join(
        f"{lag}: {value:.2f}" for lag, value in zip(SIGN_LAGS, law.measured, strict=True)
    )
    base, source = "market.flow.metaorders.", f"correlations of signs by lag ({shown})"
    return [
        Finding(base + "at_work", law.at_work, f"{law.at_work} at once", source, law.count),
        Finding(
            base + "exponent", rounded(law.exponent, 3), f"tail exponent {law.exponent:.2f}",
            source, law.count,
        ),
    ]  # fmt: skip


def _population(recording: Recording, placement: PlacementLaw, sample: Sample) -> list[Finding]:
    """Who rests, where and for how long; and how hard the flow leans toward the reference."""
    lives = fit_lives(recording.cancel_age)
    spread = quotes.spread_mean(sample).value
    mean = float(np.mean(np.concatenate([orders.quantity for orders in sample.orders])))
    depth = 2.0 * float(np.nansum(recording.depth[: placement.limit]))
    resting = max(round(depth / mean), 2)
    flow = MarketConfig().flow
    scale = DEFAULT_SPREAD / spread
    base, ages = "market.flow.", "ages at cancel, two exponential laws"
    told = f"{lives.patient_share:.0%} live {lives.slow_seconds:.3g} s, the others "
    told += f"{lives.fast_seconds:.3g} s"
    leans = f"the default's, scaled to a spread of {spread:.1f} ticks: it acts beyond half a spread"
    return [
        Finding(
            base + "resting_orders", resting,
            f"{depth:,.0f} units within {placement.limit} ticks of the quotes",
            "depth each second, over the mean size", int(recording.seconds),
        ),
        Finding(
            base + "placement_exponent", rounded(placement.exponent, 3),
            f"tail exponent {placement.exponent:.2f}",
            "distance of adds from the opposite best", placement.count,
        ),
        Finding(
            base + "placement_limit", placement.limit, "95% of adds lie nearer",
            "distance of adds from the opposite best", placement.count,
        ),
        Finding(
            base + "placement_scale", rounded(placement.scale),
            f"{placement.scale:.3g} ticks by placement alone",
            "distance of adds from the opposite best", placement.count,
        ),
        Finding(base + "patient_share", rounded(lives.patient_share, 3), told, ages, lives.count),
        Finding(
            base + "patience", rounded(lives.patience, 3), f"{lives.patience:.1f} times as long",
            ages, lives.count,
        ),
        Finding(base + "lean", rounded(flow.lean * scale, 3), leans),
        Finding(base + "metaorders.lean", rounded(flow.metaorders.lean * scale, 3), leans),
    ]  # fmt: skip
