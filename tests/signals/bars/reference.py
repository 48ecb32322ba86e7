"""The indicators once more, written to be read: slow, in pandas and plain Python.

Each takes a stretch of bars without a hole and returns a series over all of it, NaN
where nothing is known. Nothing here is shared with what it checks.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from configs.signals import FVGConfig, MLMIConfig, MMDConfig, NWRQKConfig, ProfileConfig
from market.bars import Bars

Values = np.ndarray


def heikin_ashi(bars: Bars) -> Values:
    return (bars.open + bars.high + bars.low + bars.close) / 4


def rsi(prices: Values, length: int) -> Values:
    out = np.full(len(prices), np.nan)
    changes = np.diff(prices)
    gains, losses = np.maximum(changes, 0), np.maximum(-changes, 0)
    if len(changes) < length:
        return out
    gain, loss = gains[:length].mean(), losses[:length].mean()
    for t in range(length, len(prices)):
        if t > length:
            gain = (gain * (length - 1) + gains[t - 1]) / length
            loss = (loss * (length - 1) + losses[t - 1]) / length
        if loss == 0:
            out[t] = 50 if gain == 0 else 100
        else:
            out[t] = 100 - 100 / (1 + gain / loss)
    return out


def atr(bars: Bars, length: int) -> Values:
    before = pd.Series(bars.close).shift()
    ranges = pd.concat(
        [pd.Series(bars.high - bars.low), (bars.high - before).abs(), (bars.low - before).abs()],
        axis=1,
    ).max(axis=1)
    out = np.full(len(bars), np.nan)
    for t in range(length - 1, len(bars)):
        if t == length - 1:
            out[t] = ranges[:length].mean()
        else:
            out[t] = (out[t - 1] * (length - 1) + ranges[t]) / length
    return out


def wma(values: Values, length: int) -> Values:
    weights = np.arange(1, length + 1)
    rolled = pd.Series(values).rolling(length)
    return rolled.apply(lambda w: (w * weights).sum() / weights.sum(), raw=True).to_numpy()


def mlmi(bars: Bars, config: MLMIConfig) -> tuple[Values, Values]:
    price = heikin_ashi(bars)
    gap = wma(price, config.fast_average) - wma(price, config.slow_average)
    slow = wma(rsi(price, config.slow_rsi), config.smoothing)
    fast = wma(rsi(price, config.fast_rsi), config.smoothing)
    value, signal = np.full(len(bars), np.nan), np.full(len(bars), np.nan)
    crosses: list[int] = []
    labels: list[float] = []
    now, above, side = np.nan, None, 0.0
    for t in range(len(bars)):
        beat = 0.0
        if not np.isnan(gap[t]) and gap[t] != 0:
            crossed = above is not None and above != (gap[t] > 0)
            above = bool(gap[t] > 0)
            if crossed and not (np.isnan(slow[t]) or np.isnan(fast[t])):
                if crosses:
                    labels.append(float(np.sign(price[t] - price[crosses[-1]])))
                crosses.append(t)
                known = list(zip(crosses, labels, strict=False))[-config.history :]
                if known:
                    # Sorting is stable: among equally near ones the newer come first.
                    known.sort(key=lambda item: -item[0])
                    known.sort(
                        key=lambda item, t=t: (
                            (slow[item[0]] - slow[t]) ** 2 + (fast[item[0]] - fast[t]) ** 2
                        )
                    )
                    votes = [label for _, label in known[: config.neighbours]]
                    now = 50 + 50 * sum(votes) / len(votes)
                    new = np.sign(now - 50)
                    beat = new if new * side < 0 else 0.0
                    side = new or side
        value[t] = now
        signal[t] = beat if not np.isnan(now) else np.nan
    return value, signal


def nwrqk(bars: Bars, config: NWRQKConfig, atr_bars: int) -> tuple[Values, Values, Values]:
    fit = np.full(len(bars), np.nan)
    for t in range(config.least - 1, len(bars)):
        seen = bars.close[max(0, t + 1 - config.window) : t + 1][::-1]
        i = np.arange(len(seen))
        w = (1 + i**2 / (2 * config.relative_weight * config.bandwidth**2)) ** (
            -config.relative_weight
        )
        fit[t] = (w * seen).sum() / w.sum()
    change = pd.Series(fit).diff().to_numpy()
    slope = change / atr(bars, atr_bars)
    signs = pd.Series(np.sign(slope)).replace(0.0, np.nan).ffill().shift().to_numpy()
    signal = np.where(np.sign(slope) * signs < 0, np.sign(slope), 0.0)
    return fit, slope, np.where(np.isnan(slope), np.nan, signal)


def fvg(bars: Bars, opens: Values, config: FVGConfig) -> pd.DataFrame:
    body = np.abs(bars.close - bars.open)
    session = np.cumsum(opens)
    gaps = []
    for t in range(config.body_bars + 1, len(bars)):
        mean = body[t - 1 - config.body_bars : t - 1].mean()
        if session[t] != session[t - 2] or not body[t - 1] > config.body_ratio * mean:
            continue
        if bars.low[t] > bars.high[t - 2]:
            gaps.append((t, 1.0, bars.high[t - 2], bars.low[t]))
        elif bars.high[t] < bars.low[t - 2]:
            gaps.append((t, -1.0, bars.high[t], bars.low[t - 2]))
    rows = []
    for t in range(len(bars)):
        active, mitigated = [], 0.0
        for born, side, lower, upper in gaps:
            if not born <= t <= born + config.expiry:
                continue
            after = slice(born + 1, t + 1)
            reached = bars.low[after] <= lower if side > 0 else bars.high[after] >= upper
            if reached.any():
                if reached[-1] and not reached[:-1].any():
                    mitigated = side
            else:
                active.append((side, (lower + upper) / 2, t - born))
        nearest = min(
            active, key=lambda gap, t=t: (abs(gap[1] - bars.close[t]), gap[2]), default=None
        )
        rows.append(
            {
                "bullish": float(any(gap[0] > 0 for gap in active)),
                "bearish": float(any(gap[0] < 0 for gap in active)),
                "level": 100 * (nearest[1] - bars.close[t]) / bars.close[t] if nearest else np.nan,
                "age": float(nearest[2]) if nearest else np.inf,
                "mitigation": mitigated,
            }
        )
    return pd.DataFrame(rows)


def _profile_at(bars: Bars, t: int, window: int, tick: float) -> dict[int, float]:
    """Volume on each tick from the lowest low to the highest high of the window."""
    rows = range(t + 1 - window, t + 1)
    low = [round(float(bars.low[s]) / tick) for s in rows]
    high = [round(float(bars.high[s]) / tick) for s in rows]
    held = dict.fromkeys(range(min(low), max(high) + 1), 0.0)
    for s, bottom, top in zip(rows, low, high, strict=True):
        for price in range(bottom, top + 1):
            held[price] += bars.volume[s] / (top - bottom + 1)
    return held


def _node(held: dict[int, float], close: float, share: float) -> tuple[float, float] | None:
    """The nearest node: its tick and its share of the point of control."""
    control = max(held.values())
    nodes: list[list[int]] = []
    for price, volume in held.items():
        if volume < share * control:
            if nodes and nodes[-1][-1] == price - 1:
                nodes[-1].append(price)
            else:
                nodes.append([price])
    best = None
    for node in nodes:
        least = min(held[price] for price in node)
        thin = [price for price in node if held[price] == least]
        pieces: list[list[int]] = []
        for price in thin:
            if pieces and pieces[-1][-1] == price - 1:
                pieces[-1].append(price)
            else:
                pieces.append([price])
        middles = [(piece[0] + piece[-1]) / 2 for piece in pieces]
        middle = min(middles, key=lambda m: (abs(m - close), m))
        if best is None or abs(middle - close) < abs(best[0] - close):
            best = (middle, least / control)
    return best


def profile(
    bars: Bars, config: ProfileConfig, tick: float, decay: float
) -> tuple[Values, Values, Values]:
    """Distance and strength of the nearest low-volume node, and the skew."""
    distance, strength, skew = (np.full(len(bars), np.nan) for _ in range(3))
    for t in range(config.window - 1, len(bars)):
        held = _profile_at(bars, t, config.window, tick)
        prices, volumes = np.array(list(held)), np.array(list(held.values()))
        skew[t] = 0.0
        if volumes.sum() > 0:
            mean = np.average(prices, weights=volumes)
            deviation = math.sqrt(np.average((prices - mean) ** 2, weights=volumes))
            if deviation > 0:
                skew[t] = np.average((prices - mean) ** 3, weights=volumes) / deviation**3
        node = _node(held, bars.close[t] / tick, config.low_share)
        if node is None:
            distance[t], strength[t] = np.inf, 0.0
            continue
        price, share = node[0] * tick, node[1]
        distance[t] = abs(price - bars.close[t]) / bars.close[t]
        rows = np.arange(t + 1 - config.window, t + 1)
        tests = rows[(bars.low[rows] <= price) & (price <= bars.high[rows])]
        sides = np.sign(bars.open[tests] - price) * np.sign(bars.close[tests] - price)
        strength[t] = config.thinness * (1 - share)
        strength[t] += config.proximity * math.exp(-decay * distance[t])
        if len(tests):
            strength[t] += min(config.per_test * len(tests), config.most_tests)
            strength[t] += config.rejection * (sides > 0).mean()
            strength[t] += config.recency * (1 - (t - tests[-1]) / config.window)
    return distance, strength, skew


def volatility(bars: Bars, length: int) -> Values:
    return pd.Series(np.log(bars.close)).diff().rolling(length).std().to_numpy()


def mmd(bars: Bars, opens: Values, config: MMDConfig, volatility_bars: int, day: int) -> Values:
    features = np.column_stack(
        [
            pd.Series(np.log(bars.close)).diff(),
            np.log(bars.high / bars.low),
            volatility(bars, volatility_bars),
            np.log1p(bars.volume),
        ]
    )
    out = np.full(len(bars), np.nan)
    size = config.recent + config.reference
    standards, taken = None, 0
    for t in range(size - 1, len(bars)):
        seen = features[t + 1 - size : t + 1]
        if np.isnan(seen).any():
            continue
        if standards is None or opens[t] or t - taken >= day:
            reference = seen[: config.reference]
            mean, spread = reference.mean(axis=0), reference.std(axis=0)
            points = (seen - mean) / spread
            apart = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=-1))
            pairs = np.sort(apart[np.triu_indices(size, 1)])
            standards, taken = (mean, spread, pairs[(len(pairs) - 1) // 2]), t
        mean, spread, sigma = standards
        points = (seen - mean) / spread
        square = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
        kernel = np.exp(-square / (2 * sigma**2))
        y, x = slice(0, config.reference), slice(config.reference, size)
        value = kernel[x, x].mean() + kernel[y, y].mean() - 2 * kernel[x, y].mean()
        out[t] = math.sqrt(max(value, 0.0))
    return out


def robust(values: Values, window: int, least: int, clip: float) -> Values:
    out = np.full(len(values), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    for count, t in enumerate(known, start=1):
        if count < least:
            continue
        seen = values[known[max(0, count - window) : count]]
        centre = np.median(seen)
        spread = 1.4826 * np.median(np.abs(seen - centre))
        if spread == 0:
            out[t] = clip * np.sign(values[t] - centre)
        else:
            out[t] = np.clip((values[t] - centre) / spread, -clip, clip)
    return out


def momentum(bars: Bars, length: int) -> Values:
    return 100 * pd.Series(bars.close).pct_change(length).to_numpy()


def acceleration(bars: Bars, length: int) -> Values:
    moves = 100 * pd.Series(np.log(bars.close)).diff(length)
    return (moves - moves.shift(length)).to_numpy()


def volume_ratio(bars: Bars, length: int) -> Values:
    volume = pd.Series(bars.volume)
    average = volume.ewm(span=length, adjust=False).mean()
    with np.errstate(divide="ignore"):
        out = np.tanh(np.log(volume / average))
    out[: length - 1] = np.nan
    return out.to_numpy()
