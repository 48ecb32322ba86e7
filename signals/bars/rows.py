"""The kernels that fill a row of the matrices: one bar of every indicator, scaled.

NaN stands for a column that is not warmed up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.signals import ScalingConfig, SignalsConfig
from market.kernels import inlined, kernel
from signals.bars.clock import bars_per_day
from signals.bars.columns import LONG, MIDDLE, SHORT, SLOW_COLUMNS, TACTICAL_COLUMNS
from signals.bars.fvg import (
    FVGSettings,
    FVGState,
    fvg_settings,
    fvg_update,
    fvg_warm,
    new_fvg,
)
from signals.bars.mlmi import MIDDLE as TIED
from signals.bars.mlmi import MLMISettings, MLMIState, mlmi_settings, mlmi_update, new_mlmi
from signals.bars.mmd import MMDSettings, MMDState, mmd_settings, mmd_update, new_mmd
from signals.bars.nwrqk import NWRQKSettings, NWRQKState, new_nwrqk, nwrqk_settings, nwrqk_update
from signals.bars.profile import (
    ProfileSettings,
    ProfileState,
    new_profile,
    profile_settings,
    profile_update,
)
from signals.bars.robust import RobustState, new_robust, robust_update
from signals.bars.trend import (
    AVERAGE,
    PERCENT,
    Scalars,
    VolatilityState,
    acceleration,
    divergence,
    momentum,
    new_volatility,
    volatility_update,
    volume_ratio_update,
)
from signals.bars.windows import Floats, Ring, new_ring, push

_S = {column.name: place for place, column in enumerate(SLOW_COLUMNS)}
_T = {column.name: place for place, column in enumerate(TACTICAL_COLUMNS)}
MLMI_VALUE, MLMI_SIGNAL = _S["mlmi_value"], _S["mlmi_signal"]
NWRQK_VALUE, NWRQK_SLOPE = _S["nwrqk_value"], _S["nwrqk_slope"]
LVN_DISTANCE, LVN_STRENGTH = _S["lvn_distance"], _S["lvn_strength"]
HOUR_SIN, HOUR_COS = _S["hour_sin"], _S["hour_cos"]
MOMENTUM_MIDDLE, MOMENTUM_LONG = _S[f"momentum_{MIDDLE}"], _S[f"momentum_{LONG}"]
MMD_SCORE, VOLATILITY, SKEW = _S["mmd_score"], _S["volatility_30"], _S["volume_profile_skew"]
ACCELERATION, DIVERGENCE = _S["price_acceleration"], _S["momentum_divergence"]
BULLISH, BEARISH = _T["fvg_bullish_active"], _T["fvg_bearish_active"]
LEVEL, AGE, MITIGATION = _T["fvg_nearest_level"], _T["fvg_age"], _T["fvg_mitigation_signal"]
MOMENTUM_SHORT, VOLUME_RATIO = _T[f"momentum_{SHORT}"], _T["volume_ratio"]


class Scales(NamedTuple):
    """See `ScalingConfig`; `most` is the strength of the strongest node."""

    value: float
    slope: float
    decay: float
    level: float
    age: float
    momentum: float
    least: int
    score: float
    most: float


class SlowSettings(NamedTuple):
    """Of the indicators that the slow matrices hold."""

    mlmi: MLMISettings
    nwrqk: NWRQKSettings
    profile: ProfileSettings
    mmd: MMDSettings
    scales: Scales


class SlowState(NamedTuple):
    """Of the same, with one robust score for each column that is one."""

    mlmi: MLMIState
    nwrqk: NWRQKState
    profile: ProfileState
    mmd: MMDState
    volatility: VolatilityState
    closes: Ring
    middle: RobustState
    long: RobustState
    mmd_score: RobustState
    spread: RobustState
    skew: RobustState
    acceleration: RobustState
    divergence: RobustState


class FastSettings(NamedTuple):
    """Of the indicators that the tactical matrix holds."""

    fvg: FVGSettings
    volume_average: int
    scales: Scales


class FastState(NamedTuple):
    """Of the same."""

    fvg: FVGState
    closes: Ring
    volume: Scalars


def _scales(config: ScalingConfig, most: float) -> Scales:
    return Scales(
        config.value_clip,
        config.slope_clip,
        config.distance_decay,
        config.level_clip,
        config.age_decay,
        config.momentum_clip,
        config.zscore_least,
        config.zscore_clip,
        most,
    )


def slow_settings(config: SignalsConfig, bar_minutes: int, tick: float) -> SlowSettings:
    """What `slow_update` is told beside the bar."""
    scaling = config.scaling
    return SlowSettings(
        mlmi_settings(config.mlmi),
        nwrqk_settings(config.nwrqk, config.atr_bars),
        profile_settings(config.profile, tick, scaling.distance_decay),
        mmd_settings(config.mmd, bars_per_day(bar_minutes)),
        _scales(scaling, config.profile.most),
    )


def new_slow(config: SignalsConfig) -> SlowState:
    """The state before the first bar."""
    score = config.scaling.zscore_window
    return SlowState(
        new_mlmi(config.mlmi),
        new_nwrqk(config.nwrqk),
        new_profile(config.profile),
        new_mmd(config.mmd),
        new_volatility(config.volatility_bars),
        new_ring(LONG + 1),
        *(new_robust(score) for _ in range(7)),
    )


def fast_settings(config: SignalsConfig) -> FastSettings:
    """What `fast_update` is told beside the bar."""
    scales = _scales(config.scaling, config.profile.most)
    return FastSettings(fvg_settings(config.fvg), config.volume_average, scales)


def new_fast(config: SignalsConfig) -> FastState:
    """The state before the first bar."""
    return FastState(new_fvg(config.fvg), new_ring(SHORT + 1), np.zeros(1, AVERAGE))


@inlined
def _within(value: float, limit: float) -> float:
    """value / limit, clipped to +-1; NaN stays."""
    return min(max(value / limit, -1.0), 1.0) if not np.isnan(value) else np.nan


@inlined
def _score(state: RobustState, scales: Scales, value: float) -> float:
    return robust_update(state, scales.least, scales.score, value) / scales.score


@kernel
def _scores(
    state: SlowState, scales: Scales, mmd: float, spread: float, skew: float, row: Any
) -> None:
    """The columns that are robust scores."""
    closes = state.closes
    row[MOMENTUM_MIDDLE] = _score(state.middle, scales, momentum(closes, MIDDLE))
    row[MOMENTUM_LONG] = _score(state.long, scales, momentum(closes, LONG))
    row[MMD_SCORE] = _score(state.mmd_score, scales, mmd)
    row[VOLATILITY] = _score(state.spread, scales, spread)
    row[SKEW] = _score(state.skew, scales, skew)
    row[ACCELERATION] = _score(state.acceleration, scales, acceleration(closes, SHORT))
    row[DIVERGENCE] = _score(state.divergence, scales, divergence(closes, SHORT, MIDDLE))


@kernel
def slow_update(
    state: SlowState,
    settings: SlowSettings,
    opens: bool,
    angle: float,
    open_: float,
    high: float,
    low: float,
    close: float,
    volume: float,
    row: NDArray[np.float32],
) -> None:
    """One bar into `row`, in the order of SLOW_COLUMNS.

    Args:
        opens: whether it is the first of its session.
        angle: 2 pi h / 24, of the hour.
    """
    scales = settings.scales
    value, signal = mlmi_update(state.mlmi, settings.mlmi, open_, high, low, close)
    row[MLMI_VALUE] = _within(value - TIED, TIED)
    row[MLMI_SIGNAL] = signal
    value, slope, _ = nwrqk_update(state.nwrqk, settings.nwrqk, high, low, close)
    row[NWRQK_VALUE] = _within(PERCENT * (value - close) / close, scales.value)
    row[NWRQK_SLOPE] = _within(slope, scales.slope)
    distance, strength, skew = profile_update(
        state.profile, settings.profile, open_, high, low, close, volume
    )
    row[LVN_DISTANCE] = np.exp(-scales.decay * distance)
    row[LVN_STRENGTH] = strength / scales.most
    row[HOUR_SIN] = np.sin(angle)
    row[HOUR_COS] = np.cos(angle)
    push(state.closes, close)
    change, spread = volatility_update(state.volatility, close)
    mmd = mmd_update(
        state.mmd, settings.mmd, opens, change, np.log(high / low), spread, np.log(1.0 + volume)
    )
    _scores(state, scales, mmd, spread, skew, row)


@kernel
def slow_series(
    state: SlowState,
    settings: SlowSettings,
    opens: NDArray[np.bool_],
    angle: Floats,
    open_: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    volume: Floats,
    out: NDArray[np.float32],
) -> None:
    """Every bar of a stretch without a hole into `out` [n, len(SLOW_COLUMNS)]."""
    for t in range(len(close)):
        slow_update(
            state,
            settings,
            opens[t],
            angle[t],
            open_[t],
            high[t],
            low[t],
            close[t],
            volume[t],
            out[t],
        )


@kernel
def fast_update(
    state: FastState,
    settings: FastSettings,
    opens: bool,
    open_: float,
    high: float,
    low: float,
    close: float,
    volume: float,
    row: NDArray[np.float32],
) -> None:
    """One bar into `row`, in the order of TACTICAL_COLUMNS."""
    scales = settings.scales
    bull, bear, level, age, mitigation = fvg_update(
        state.fvg, settings.fvg, opens, open_, high, low, close
    )
    push(state.closes, close)
    row[MOMENTUM_SHORT] = _within(momentum(state.closes, SHORT), scales.momentum)
    row[VOLUME_RATIO] = volume_ratio_update(state.volume, settings.volume_average, volume)
    if fvg_warm(state.fvg, settings.fvg):
        row[BULLISH] = bull
        row[BEARISH] = bear
        row[LEVEL] = _within(level, scales.level) if not np.isnan(level) else 0.0
        row[AGE] = np.exp(-scales.age * age)
        row[MITIGATION] = mitigation
    else:
        for place in (BULLISH, BEARISH, LEVEL, AGE, MITIGATION):
            row[place] = np.nan


@kernel
def fast_series(
    state: FastState,
    settings: FastSettings,
    opens: NDArray[np.bool_],
    open_: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    volume: Floats,
    out: NDArray[np.float32],
) -> None:
    """Every bar of a stretch without a hole into `out` [n, len(TACTICAL_COLUMNS)]."""
    for t in range(len(close)):
        fast_update(
            state, settings, opens[t], open_[t], high[t], low[t], close[t], volume[t], out[t]
        )
