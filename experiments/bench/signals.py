"""`bench signals`: the matrices of a whole data set, one live update, and gaps against pandas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import islice
from statistics import mean, median

import numpy as np

from configs.signals import SignalsConfig
from experiments.bar_series import TICK, bar_series
from experiments.bench.report import Figure
from experiments.bench.timing import cpu_seconds
from experiments.reference_bars import GAP_COLUMNS, discrepancy, fair_value_gaps
from market.bars import Bars
from signals.bars import fvg
from signals.bars.clock import read_clock
from signals.bars.columns import REGIMES
from signals.bars.matrices import regime_table, slow_features, strategic_table, tactical_table
from signals.bars.streams import Bar, RegimeStream, StrategicStream, TacticalStream
from signals.regime import RegimeModel

SLOW_MINUTES = 30
SECONDS_TARGET = 5.0
UPDATE_TARGET = 500.0  # microseconds
GAP_TARGET = 50.0
_MICRO = 1e6


@dataclass(frozen=True)
class SignalSizes:
    """How much the benchmark computes. The defaults are the sizes the figures' names give."""

    bars: int = 56_000
    repeats: int = 3
    reference_bars: int = 60  # at which the reference computes a discrepancy
    updates: int = 2_000  # timed, after as many as warm everything up
    warm_up: int = 1_500
    seed: int = 5


def figures(sizes: SignalSizes | None = None) -> list[Figure]:
    """Every figure of the benchmark."""
    sizes = sizes or SignalSizes()
    bars = bar_series(sizes.bars, SLOW_MINUTES, sizes.seed)
    return [_matrices(sizes, bars), *_updates(sizes, bars), *_gaps(sizes, bars)]


def model() -> RegimeModel:
    """Regimes of bars of `bar_series`, by hand: a benchmark of the filter needs no fit."""
    stay, count = 0.99, len(REGIMES)
    leave = (1.0 - stay) / (count - 1)
    return RegimeModel(
        start=(1.0 / count,) * count,
        transition=tuple(
            tuple(stay if row == column else leave for column in range(count))
            for row in range(count)
        ),
        mean=((2e-4, -6.6), (-2e-4, -6.4), (0.0, -7.0), (0.0, -6.0)),
        covariance=(((1e-4, 0.0), (0.0, 0.05)),) * count,
        bar_minutes=SLOW_MINUTES,
        return_bars=48,
        volatility_bars=48,
        floor=1e-6,
        alarm=0.95,
        log_likelihood=0.0,
    )


def _all_matrices(bars: Bars) -> None:
    """The three tables; what the slow two share is computed once."""
    features = slow_features(bars, SLOW_MINUTES, TICK)
    strategic_table(bars, SLOW_MINUTES, TICK, features=features)
    regime_table(bars, SLOW_MINUTES, TICK, model(), features=features)
    tactical_table(bars, SLOW_MINUTES, TICK)


def _matrices(sizes: SignalSizes, bars: Bars) -> Figure:
    config = SignalsConfig()
    first = config.mmd.recent + config.mmd.reference + config.volatility_bars
    chosen = np.linspace(first, len(bars) - 1, sizes.reference_bars).astype(int)

    def slow() -> None:
        for bar in chosen:
            discrepancy(bars, int(bar), config)

    ours, theirs = [], []
    cpu_seconds(partial(_all_matrices, bars))
    for _ in range(sizes.repeats):
        theirs.append(cpu_seconds(slow) / len(chosen) * len(bars))
        ours.append(cpu_seconds(partial(_all_matrices, bars)))
    reference = "s, numpy, the discrepancy alone, from a sample of bars"
    ratio = median(theirs) / median(ours)
    return Figure(
        "matrices_seconds_56k",
        median(ours),
        "CPU s",
        reference,
        median(theirs),
        ratio,
        SECONDS_TARGET,
        at_most=True,
        of_value=True,
    )


def _updates(sizes: SignalSizes, bars: Bars) -> list[Figure]:
    """One bar through all three streams, each on its own; the mean holds session openings."""
    streams = (
        StrategicStream(SLOW_MINUTES, TICK),
        TacticalStream(SLOW_MINUTES, TICK),
        RegimeStream(SLOW_MINUTES, TICK, model()),
    )

    def update(bar: Bar) -> None:
        for stream in streams:
            stream.update(bar)

    columns = (bars.start, bars.open, bars.high, bars.low, bars.close, bars.volume)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    source = (Bar(*row) for row in rows)
    for bar in islice(source, sizes.warm_up):
        update(bar)
    taken = [cpu_seconds(partial(update, bar)) for bar in islice(source, sizes.updates)]
    return [
        Figure("update_us", mean(taken) * _MICRO, "CPU us", target=UPDATE_TARGET, at_most=True),
        Figure("update_p50_us", median(taken) * _MICRO, "CPU us"),
        Figure("update_session_open_us", max(taken) * _MICRO, "CPU us"),
    ]


def _gaps(sizes: SignalSizes, bars: Bars) -> list[Figure]:
    config = SignalsConfig()
    opens = read_clock(bars.start, SLOW_MINUTES, config.clock).opens
    out = np.zeros(len(bars), fvg.GAPS)
    prices = (bars.open, bars.high, bars.low, bars.close)
    settings = fvg.fvg_settings(config.fvg)

    def ours() -> None:
        fvg.fvg_series(fvg.new_fvg(config.fvg), settings, opens, *prices, out)

    cpu_seconds(ours)
    fast, slow = [], []
    for _ in range(sizes.repeats):
        slow.append(cpu_seconds(partial(fair_value_gaps, bars, opens, config)))
        # Many short runs: a single one is near the clock's grain.
        fast += [cpu_seconds(ours) for _ in range(5)]
    theirs = fair_value_gaps(bars, opens, config)
    equal = all(
        np.allclose(out[name], theirs[name], rtol=1e-9, equal_nan=True) for name in GAP_COLUMNS
    )
    ratio = median(slow) / median(fast)
    return [
        Figure(
            "fvg_ratio_pandas",
            ratio,
            "x",
            "CPU s, pandas without a Python loop",
            median(slow),
            ratio,
            GAP_TARGET,
        ),
        Figure("fvg_equal_pandas", float(equal), "(1 = equal)", "pandas", target=1.0),
    ]
