"""How closely trades along given bars become those bars again, and what that costs in realism.

    python -m experiments.tracking [PRESET ...]

With a preset whose market has bars, days of these are played; without one, synthetic days.
Errors are shares of the driving bar's range. Facts are measured within hours, as the ranges
of `configs.facts` are meant. The frontier: the harder flow leans toward the path, the closer
the mid keeps to it, and the more of its own noise the mid puts on short horizons.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import EXIT_CODE, GrandmodelError
from configs.execution import ExecutionConfig
from configs.facts import FactsConfig
from configs.market import BarReference
from configs.train import load_train_config
from experiments.synthetic_bars import synthetic_bars
from market.bars import Bars, load_bars
from market.facts import prices, trades
from market.facts.sample import Sample, mid_before, pooled
from market.playback import Playback, Played
from market.recording import Recording

Floats = NDArray[np.float64]

SESSIONS = 8
DAYS = 16  # of synthetic bars; those played are spread over all
SHORT_MINUTES = 5
LEAN_FACTORS = (1 / 3, 5 / 9, 1.0, 5 / 3, 25 / 9)  # of the configured lean; .6 to 5 of 1.8
LONG, MIDDLE = 300.0, 4.0  # horizons of variance ratios, seconds
SEED = 0
_PRICES = ("open", "high", "low", "close")
_HOUR = 3600.0
_KURTOSIS = (1.0, 10.0, 60.0)


@dataclass(frozen=True)
class BarErrors:
    """Bars that came out against those that drove them."""

    bars: int
    missing: int  # bars in which nothing traded
    open: float  # medians of |error| over the bar's range
    high: float
    low: float
    close: float
    volume_correlation: float
    volume_ratio: float  # all volume that came out over all that was given


@dataclass(frozen=True)
class Tracking:
    """One market along one set of sessions."""

    long: BarErrors  # against the given bars
    short: BarErrors  # against the path inside them
    error: float  # root mean square of mid - path, over the path's deviation over 5 minutes
    ratios: tuple[float, float]  # variance of the mid at 300 s over 1 s and over 4 s, a second
    path_ratios: tuple[float, float]  # of the path, over one knot and over 4 s
    facts: dict[str, float]


def measure(
    config: ExecutionConfig,
    bars: Bars,
    bar_minutes: float,
    sessions: int = SESSIONS,
    short_minutes: float = SHORT_MINUTES,
    seed: int = SEED,
) -> Tracking:
    """Play `sessions` days spread evenly over `bars`.

    Raises:
        ConfigError, DataError: see `market.playback.Playback`.
    """
    playback = Playback(config, bars, bar_minutes, seed)
    chosen = np.unique(np.linspace(0, len(playback.sessions) - 1, sessions).astype(int))
    long: list[tuple[Bars, Bars]] = []
    short: list[tuple[Bars, Bars]] = []
    hours: list[Recording] = []
    squares, path = [], []
    for number in chosen:
        played = playback.play(int(number))
        rows = playback.sessions[number]
        long.append((_rows(bars, rows), playback.trade_bars(played, bar_minutes)))
        short.append(
            (playback.path_bars(played, short_minutes), playback.trade_bars(played, short_minutes))
        )
        hours += list(_hours(played.recording))
        squares.append(_squares(played))
        path.append(played.reference)
    knot = playback.knot_seconds
    sample = pooled(hours, FactsConfig())
    growth = [_growth(path, knot, seconds) for seconds in (knot, MIDDLE, LONG)]
    ratio = prices.variance_ratio(sample, round(LONG)).value
    middle = prices.variance_growth(sample, MIDDLE).value
    overall = prices.variance_growth(sample, LONG).value
    return Tracking(
        long=_errors(long),
        short=_errors(short),
        error=float(np.sqrt(np.nanmean(np.concatenate(squares)) / (LONG * growth[2]))),
        ratios=(ratio, overall / middle),
        path_ratios=(growth[2] / growth[0], growth[2] / growth[1]),
        facts=_facts(sample),
    )


def frontier(
    config: ExecutionConfig,
    bars: Bars,
    bar_minutes: float,
    sessions: int = SESSIONS,
    factors: Sequence[float] = LEAN_FACTORS,
) -> list[tuple[float, Tracking]]:
    """(lean, what came of it) for each factor of the configured lean."""
    out = []
    for factor in factors:
        lean = factor * config.market.flow.lean
        flow = config.market.flow.model_copy(update={"lean": lean})
        market = config.market.model_copy(update={"flow": flow})
        leaning = config.model_copy(update={"market": market})
        out.append((lean, measure(leaning, bars, bar_minutes, sessions)))
    return out


def _rows(bars: Bars, rows: slice) -> Bars:
    names = ("start", *_PRICES, "volume")
    return replace(bars, **{name: getattr(bars, name)[rows] for name in names})


def _errors(pairs: Sequence[tuple[Bars, Bars]]) -> BarErrors:
    """Of (given, made) bars of each session; bars without range have no share of it."""
    shares, volumes, count = [], [], 0
    for given, made in pairs:
        count += len(given)
        at = np.searchsorted(given.start, made.start)
        span = (given.high - given.low)[at]
        moved = span > 0.0
        error = [np.abs(getattr(made, p) - getattr(given, p)[at])[moved] for p in _PRICES]
        shares.append(np.stack(error) / span[moved])
        volumes.append(np.stack([given.volume[at], made.volume]))
    share, volume = np.concatenate(shares, axis=1), np.concatenate(volumes, axis=1)
    medians = dict(zip(_PRICES, np.median(share, axis=1).tolist(), strict=True))
    return BarErrors(
        bars=count,
        missing=count - volume.shape[1],
        **medians,
        volume_correlation=float(np.corrcoef(volume)[0, 1]),
        volume_ratio=float(volume[1].sum() / sum(g.volume.sum() for g, _ in pairs)),
    )


def _squares(played: Played) -> Floats:
    """Squared distance of mid and path at the end of each knot, ticks^2."""
    ends = np.arange(1.0, len(played.reference) + 1.0) * played.knot_seconds
    return np.asarray((mid_before(played.recording, ends) - played.reference) ** 2)


def _growth(paths: Sequence[Floats], knot_seconds: float, seconds: float) -> float:
    """Mean squared change of the paths over `seconds`, a second, ticks^2 / s."""
    lag = max(round(seconds / knot_seconds), 1)
    squares = np.concatenate([(path[lag:] - path[:-lag]) ** 2 for path in paths])
    return float(squares.mean() / (lag * knot_seconds))


def _hours(recording: Recording) -> list[Recording]:
    """The whole hours of a recording, each a recording of its own."""
    return [_part(recording, hour * _HOUR, _HOUR) for hour in range(int(recording.seconds / _HOUR))]


def _part(recording: Recording, begin: float, seconds: float) -> Recording:
    """`seconds` of a recording from `begin` on, but for ages at cancel, which have no time."""

    def of(clock: str, *columns: str) -> dict[str, Any]:
        times = getattr(recording, clock)
        first, after = np.searchsorted(times, [begin, begin + seconds])
        rows = slice(first, after)
        return {clock: times[rows] - begin} | {c: getattr(recording, c)[rows] for c in columns}

    return replace(
        recording,
        seconds=seconds,
        cancel_age=np.zeros(0),
        **of("message_time"),
        **of("trade_time", "trade_price", "trade_quantity", "trade_side"),
        **of("quote_time", "bid", "ask", "bid_quantity", "ask_quantity"),
    )


def _facts(hours: Sample) -> dict[str, float]:
    """Kurtosis is the mean over hours: pooled, their different volatilities would be in it."""
    each = [pooled([hour], hours.config) for hour in hours.recordings]
    tails = {
        f"kurtosis_{horizon:g}s": float(np.mean([prices.kurtosis(h, horizon).value for h in each]))
        for horizon in _KURTOSIS
    }
    return tails | {
        "volatility_clustering": prices.absolute_memory(hours, prices.CLUSTERING_SECONDS).value,
        "variance_ratio": prices.variance_ratio(hours).value,
        "sign_memory_1": trades.sign_memory(hours, 1).value,
        "sign_memory_10": trades.sign_memory(hours, 10).value,
    }


def _print_errors(name: str, errors: BarErrors) -> None:
    medians = "  ".join(f"{p} {getattr(errors, p):6.1%}" for p in _PRICES)
    print(
        f"{name}: {errors.bars} bars, {errors.missing} without a trade; median error  {medians}  "
        f"volume correlation {errors.volume_correlation:.4f}, ratio {errors.volume_ratio:.3f}"
    )


def _print(rows: Sequence[tuple[float, Tracking]], configured: float, minutes: float) -> None:
    """The configured market in full, then the frontier."""
    found = dict(rows)[configured]
    _print_errors(f"{minutes:g} m bars against the file", found.long)
    _print_errors(f"{SHORT_MINUTES} m bars against the path", found.short)
    for name, value in found.facts.items():
        target = getattr(FactsConfig().targets, name)
        wanted = f"  wanted {target.low} to {target.high}" if target.is_set else ""
        print(f"{name:>24} {value:8.3f}{wanted}")
    print("   lean  RMS/sigma5m    open    high     low   close  VR 300/1  VR 300/4")
    for lean, row in rows:
        medians = " ".join(f"{getattr(row.long, p):7.1%}" for p in _PRICES)
        ratios = "".join(f"{ratio:10.3f}" for ratio in row.ratios)
        mark = "  <- configured" if lean == configured else ""
        print(f"{lean:7.2f} {row.error:12.3f} {medians}{ratios}{mark}")
    ratios = "".join(f"{ratio:10.3f}" for ratio in found.path_ratios)
    print(f"the path itself (of one knot, not 1 s){'':15}{ratios}")


def _bars(config: ExecutionConfig, folder: Path) -> tuple[Bars, float]:
    """The bars of the configuration and their minutes; synthetic ones where it has none."""
    reference = config.market.reference
    if isinstance(reference, BarReference):
        return load_bars(reference.bars), reference.bars.bar_minutes
    path = folder / "synthetic.csv"
    minutes = 30
    return synthetic_bars(path, DAYS, SEED, minutes, reference.price, config.market.tick), minutes


def main(presets: list[str]) -> int:
    """Print tracking, facts and the frontier for the execution layer's market under `presets`."""
    try:
        config = load_train_config("execution", presets, [], [], None).env
        with TemporaryDirectory() as folder:
            bars, minutes = _bars(config, Path(folder))
            rows = frontier(config, bars, minutes)
        _print(rows, config.market.flow.lean, minutes)
    except GrandmodelError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
