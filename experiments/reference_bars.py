"""Indicators in pandas and numpy, as one would write them first: what ours are held against."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from configs.signals import SignalsConfig
from market.bars import Bars

GAP_COLUMNS = ("bullish", "bearish", "level", "age", "mitigation")
Floats = NDArray[np.float64]


def fair_value_gaps(bars: Bars, opens: NDArray[np.bool_], config: SignalsConfig) -> pd.DataFrame:
    """GAP_COLUMNS of every bar, without a Python loop: gaps are found by shifts, aged in a
    table of (gap, bar) pairs, and summed up by bar. Means as of `signals.bars.fvg`.
    """
    frame = pd.DataFrame({"low": bars.low, "high": bars.high, "close": bars.close})
    frame["session"] = np.cumsum(opens)
    body = pd.Series(np.abs(bars.close - bars.open))
    mean = body.shift(2).rolling(config.fvg.body_bars).mean()
    formed = (body.shift() > config.fvg.body_ratio * mean) & (
        frame["session"] == frame["session"].shift(2)
    )
    low, high = frame["low"].shift(2), frame["high"].shift(2)
    bull, bear = formed & (frame["low"] > high), formed & (frame["high"] < low)
    gaps = pd.DataFrame(
        {
            "side": np.where(bull, 1.0, -1.0),
            "lower": np.where(bull, high, frame["high"]),
            "upper": np.where(bull, frame["low"], low),
            "born": frame.index,
        }
    )[bull | bear].reset_index(names="gap")
    pairs = gaps.merge(pd.DataFrame({"age": np.arange(config.fvg.expiry + 1)}), how="cross")
    pairs["bar"] = pairs["born"] + pairs["age"]
    pairs = pairs[pairs["bar"] < len(frame)].join(frame, on="bar")
    reached = np.where(
        pairs["side"] > 0, pairs["low"] <= pairs["lower"], pairs["high"] >= pairs["upper"]
    )
    pairs["reached"] = reached & (pairs["age"] > 0)
    before = pairs.groupby("gap")["reached"].cumsum() - pairs["reached"]
    pairs = pairs[before == 0]
    return _by_bar(pairs, len(frame))


def _by_bar(pairs: pd.DataFrame, count: int) -> pd.DataFrame:
    """Sum the pairs of gaps and bars up by bar."""
    newest = pairs[pairs["reached"]].sort_values("born").groupby("bar")["side"].last()
    active = pairs[~pairs["reached"]].copy()
    active["away"] = 0.5 * (active["lower"] + active["upper"]) - active["close"]
    active["level"] = 100.0 * active["away"] / active["close"]
    active["distance"] = active["away"].abs()
    nearest = active.sort_values(["distance", "age"]).groupby("bar").first()
    bars = pd.RangeIndex(count)
    side = active.groupby("bar")["side"]
    return pd.DataFrame(
        {
            "bullish": (side.max() > 0).reindex(bars, fill_value=False).astype(float),
            "bearish": (side.min() < 0).reindex(bars, fill_value=False).astype(float),
            "level": nearest["level"].reindex(bars),
            "age": nearest["age"].astype(float).reindex(bars, fill_value=np.inf),
            "mitigation": newest.reindex(bars, fill_value=0.0),
        }
    )


def discrepancy(bars: Bars, bar: int, config: SignalsConfig) -> float:
    """The maximum mean discrepancy at one bar, whole matrices of kernels at a time."""
    closes = pd.Series(np.log(bars.close[: bar + 1]))
    change = closes.diff()
    features = np.column_stack(
        [
            change,
            np.log(bars.high / bars.low)[: bar + 1],
            change.rolling(config.volatility_bars).std(),
            np.log1p(bars.volume[: bar + 1]),
        ]
    )
    size = config.mmd.recent + config.mmd.reference
    seen = features[-size:]
    reference = seen[: config.mmd.reference]
    points = (seen - reference.mean(axis=0)) / reference.std(axis=0)
    square = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    pairs = np.sort(square[np.triu_indices(size, 1)])
    kernel = np.exp(-square / (2.0 * pairs[(len(pairs) - 1) // 2]))
    y, x = slice(0, config.mmd.reference), slice(config.mmd.reference, size)
    value = kernel[x, x].mean() + kernel[y, y].mean() - 2.0 * kernel[x, y].mean()
    return float(np.sqrt(max(value, 0.0)))
