"""A market's configuration from bars: volatility by regime, its memory, price and tick.

The file's own rhythm by time of day is taken out of returns and volume first: it is known
in advance and no regime. Days are then ranked by realised volatility and split into as many
equal classes as the generator has regimes, which visits all of them alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.execution import ExecutionConfig
from configs.market import GeneratorReference, RegimeConfig
from market.bars import Bars
from market.calibrate.findings import Calibration, Finding, rounded

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NS = 1_000_000_000
DAY_NS = 86_400 * NS
FEWEST_DAYS = 20
_LEAST_BARS_OF_DAY = 4
_PRICE_UNIT = 1e-6  # currency; finer than any tick, coarser than rounding of floats
_LONGEST_MEMORY = 8.0  # bars: with the mean of the day taken out, nothing longer is left to see
_MOST_DISPERSION = 2.0  # of the configuration

KEPT = {
    "market.flow.arrivals.messages_per_second": (
        "bars count no messages, and one message's size and rate cannot be told from volume"
    ),
    "market.flow.arrivals.branching": "clustering shows within seconds, bars do not",
    "market.flow.arrivals.excitation_rates": "clustering shows within seconds, bars do not",
    "market.flow.metaorders": "bars hold no signs of orders",
    "market.flow.impact": "whose orders moved the price is not in bars",
    "market.flow.limit_share": "bars hold no orders",
    "market.flow.resting_orders": "bars hold no orders",
    "market.flow.placement_scale": "bars hold no quotes, so no spread",
    "market.flow.patient_share": "bars hold no orders",
    "market.flow.mean_size": "bars hold no orders; only volume, their number times their size",
    "market.flow.size_dispersion": "bars hold no orders",
    "market.venues": "latencies and fees are not in bars",
    "schedule": "bars hold no quotes, so no cost of crossing",
}


@dataclass(frozen=True)
class BarFigures:
    """What bars show of a market, its daily rhythm taken out where that is said.

    All per class are ordered from the calmest days to the wildest.
    """

    volatility: Floats  # [classes], of the log price, a year
    activity: Floats  # [classes], volume over the usual one
    regime_days: float  # mean stay in one class
    volume_dispersion: float  # sigma of log volume within days
    volume_memory: float  # seconds in which its correlation falls to 1 / e
    year_seconds: float  # trading time a year
    days: int
    returns: int


def tick_of(bars: Bars) -> float:
    """The largest step of which all prices are multiples, currency.

    Raises:
        DataError: prices share no step of a millionth or more, or all are one.
    """
    prices = np.concatenate([bars.open, bars.high, bars.low, bars.close])
    whole = np.unique(np.rint(prices / _PRICE_UNIT).astype(np.int64))
    step = int(np.gcd.reduce(np.diff(whole))) if len(whole) > 1 else 0
    if step <= 1:
        raise DataError(
            f"{bars.source}: prices share no step (were they adjusted?): expected multiples of a"
            " tick; give it by --set tick=..."
        )
    return rounded(step * _PRICE_UNIT, 9)


def figures_of(bars: Bars, minutes: int, classes: int) -> BarFigures:
    """What `bars` of `minutes` show, days split into `classes`.

    Raises:
        DataError: fewer full days than classes need, or bars without any volume.
    """
    day = bars.start // DAY_NS
    returns, inside = _returns(bars, minutes)
    phase = (bars.start % DAY_NS) // (minutes * 60 * NS)
    flat = returns / np.maximum(_by_phase(returns**2, inside, phase) ** 0.5, 1e-12)
    days, number = np.unique(day, return_inverse=True)
    counts = np.bincount(number, weights=inside.astype(float), minlength=len(days))
    kept = np.flatnonzero(counts >= max(_LEAST_BARS_OF_DAY, 0.5 * np.median(counts)))
    if len(kept) < FEWEST_DAYS:
        raise DataError(
            f"{bars.source}: {len(kept)} full days: expected at least {FEWEST_DAYS} to tell"
            " regimes of volatility; give a longer file"
        )
    if not bars.volume.sum() > 0.0:
        raise DataError(f"{bars.source}: no bar has volume: expected some, to tell its memory")
    power = np.bincount(number, weights=np.where(inside, flat**2, 0.0), minlength=len(days))
    ranked = _classes(power[kept] / counts[kept], classes)
    label = np.full(len(days), -1)
    label[kept] = ranked
    year = _year_seconds(bars, minutes)
    of_bar = label[number]
    per_bar = year / (minutes * 60.0)
    volume = bars.volume / np.maximum(_by_phase(bars.volume, bars.volume > 0, phase), 1e-12)
    dispersion, memory = _volume_memory(volume, number, minutes * 60.0)
    return BarFigures(
        volatility=np.array(
            [
                np.sqrt(np.mean(returns[inside & (of_bar == k)] ** 2) * per_bar)
                for k in range(classes)
            ]
        ),
        activity=np.array([volume[of_bar == k].mean() for k in range(classes)]) / volume.mean(),
        regime_days=_mean_stay(ranked, classes),
        volume_dispersion=dispersion,
        volume_memory=memory,
        year_seconds=year,
        days=len(kept),
        returns=int(inside.sum()),
    )


def calibrate_bars(bars: Bars, minutes: int, tick: float | None = None) -> Calibration:
    """Everything that bars tell of the generator, the tick (unless given) and the activity.

    Raises:
        DataError: too few days, no volume, or no tick to be told.
    """
    default = GeneratorReference()
    order = np.argsort([regime.volatility for regime in default.regimes])
    seen = figures_of(bars, minutes, len(order))
    regimes: list[RegimeConfig | None] = [None] * len(order)
    for rank, index in enumerate(order):
        regimes[index] = default.regimes[index].model_copy(
            update={
                "volatility": rounded(float(seen.volatility[rank])),
                "activity": rounded(float(seen.activity[rank]), 3),
            }
        )
    plain = [regime.model_dump(mode="json") for regime in regimes if regime is not None]
    findings = [*_prices(bars, seen, plain, tick or tick_of(bars)), *_activity(seen)]
    findings += [Finding(key, None, why) for key, why in KEPT.items()]
    return Calibration(bars.source, bars.fingerprint, tuple(findings))


def _prices(
    bars: Bars, seen: BarFigures, regimes: list[dict[str, object]], tick: float
) -> list[Finding]:
    low, high = float(seen.volatility[0]), float(seen.volatility[-1])
    days = f"{seen.days} days in {len(regimes)} classes by realised volatility"
    base = "market.reference."
    return [
        Finding("market.tick", tick, "every price is a multiple", "prices of bars", 4 * len(bars)),
        Finding(base + "kind", "generator", "the built-in reference"),
        Finding(
            base + "price", rounded(float(bars.close.mean()), 6), "mean close", "bars", len(bars)
        ),
        Finding(
            base + "regimes", regimes,
            f"volatility {low:.1%} to {high:.1%} a year; drifts are the default's: those of days"
            " picked by what they did would be hindsight",
            days, seen.returns,
        ),
        Finding(
            base + "mean_regime_minutes",
            rounded(seen.regime_days * seen.year_seconds / 252.0 / 60.0, 3),
            f"{seen.regime_days:.2f} days; days told apart with error make stays look shorter",
            days, seen.days,
        ),
        Finding(
            base + "trading_seconds_per_year", round(seen.year_seconds),
            f"{seen.year_seconds / 3600.0:,.0f} hours of bars a year", "stamps", len(bars),
        ),
    ]  # fmt: skip


def _activity(seen: BarFigures) -> list[Finding]:
    """The slowest of the three memories from bars; the two shorter ones bars cannot show."""
    default = ExecutionConfig().market.flow.arrivals
    # The default's law gives each process a third of the variance; bars show one of them.
    whole = seen.volume_dispersion * np.sqrt(len(default.activity_seconds))
    dispersion = min(float(whole), _MOST_DISPERSION)
    seconds = [*default.activity_seconds[:-1], rounded(seen.volume_memory, 3)]
    note = "" if whole <= _MOST_DISPERSION else f"; {whole:.2f} is beyond what may be set"
    base = "market.flow.arrivals."
    return [
        Finding(
            base + "activity_seconds", sorted(seconds),
            f"log volume forgets in {seen.volume_memory:,.0f} s; shorter ones are the default's",
            "volume of bars, rhythm and mean of the day taken out", seen.returns,
        ),
        Finding(
            base + "activity_dispersion", rounded(dispersion, 3),
            f"sigma of log volume within days {seen.volume_dispersion:.2f}, one of three"
            f" processes of equal variance{note}",
            "volume of bars, rhythm and mean of the day taken out", seen.returns,
        ),
    ]  # fmt: skip


def _returns(bars: Bars, minutes: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Log returns from bar to bar [n], and which of them span no gap."""
    returns = np.zeros(len(bars))
    returns[1:] = np.diff(np.log(bars.close))
    inside = np.zeros(len(bars), np.bool_)
    inside[1:] = np.diff(bars.start) == minutes * 60 * NS
    return returns, inside


def _by_phase(values: Floats, kept: NDArray[np.bool_], phase: Integers) -> Floats:
    """The mean of the kept `values` [n] at the same time of day; of all where none is kept."""
    total = np.bincount(phase, weights=np.where(kept, values, 0.0))
    count = np.bincount(phase, weights=kept.astype(float))
    usual = float(values[kept].mean()) if kept.any() else 0.0
    mean = np.where(count > 0, total / np.maximum(count, 1.0), usual)
    return np.asarray(mean[phase])


def _classes(values: Floats, classes: int) -> Integers:
    """The class of each value [n], from the lowest: as many values in one as in another."""
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return rank * classes // len(values)


def _mean_stay(labels: Integers, classes: int) -> float:
    """Mean length of a stay in one class, days, of labels [days].

    Staying by chance alone, 1 in `classes`, is a change that no one saw.
    """
    stays = float(np.mean(labels[1:] == labels[:-1]))
    leaves = (1.0 - stays) / (1.0 - 1.0 / classes)
    return 1.0 / max(leaves, 1.0 / len(labels))


def _year_seconds(bars: Bars, minutes: int) -> float:
    """Trading time a year: bars a calendar year, from the first to the last."""
    years = (bars.start[-1] - bars.start[0]) / (365.25 * DAY_NS)
    return len(bars) * minutes * 60.0 / max(years, 1e-9)


def _volume_memory(volume: Floats, day: Integers, seconds: float) -> tuple[float, float]:
    """Sigma of log volume about its day's mean, and the memory of it, seconds."""
    log = np.log(np.maximum(volume, 1e-12))
    kept = volume > 0.0
    count = np.maximum(np.bincount(day[kept], minlength=day[-1] + 1), 1)
    mean = np.bincount(day[kept], weights=log[kept], minlength=day[-1] + 1) / count
    rest = np.where(kept, log - mean[day], 0.0)
    pairs = kept[1:] & kept[:-1] & (day[1:] == day[:-1])
    variance = float(np.mean(rest[kept] ** 2))
    memory = (
        float(np.mean((rest[1:] * rest[:-1])[pairs])) / max(variance, 1e-12) if pairs.any() else 0.0
    )
    longest = np.exp(-1.0 / _LONGEST_MEMORY)
    return np.sqrt(variance), -seconds / float(np.log(np.clip(memory, 1e-3, longest)))
