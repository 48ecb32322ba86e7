"""The columns of the three matrices: the one place where their order is written."""

from __future__ import annotations

from signals.layout import Column

_CLOSE, _STAMP = "closes", "the bar's start, UTC"
_PRICES, _TRADES = "open, high, low, close", "prices and volume"
_SCORE = "rolling robust z-score / 3"

MOMENTA = (5, 20, 50)
SHORT, MIDDLE, LONG = MOMENTA  # bars; the columns are named by them

_SHARED = {
    "mmd_score": Column("mmd_score", _SCORE, -1, 1, "last 100 bars against 500 before"),
    "volatility_30": Column("volatility_30", _SCORE, -1, 1, "30 log returns"),
    "volume_profile_skew": Column("volume_profile_skew", _SCORE, -1, 1, "20-bar volume profile"),
}

STRATEGIC_COLUMNS = (
    Column("mlmi_value", "(points - 50) / 50", -1, 1, "Heikin-Ashi closes"),
    Column("mlmi_signal", "-1, 0 or 1", -1, 1, "Heikin-Ashi closes"),
    Column("nwrqk_value", "5% of the price, signed", -1, 1, _CLOSE),
    Column("nwrqk_slope", "2 ATR a bar", -1, 1, _PRICES),
    Column("lvn_distance", "exp(-100 x share of the price)", 0, 1, "20-bar volume profile"),
    Column("lvn_strength", "points / 100", 0, 1, "20-bar volume profile"),
    Column("hour_sin", "sine", -1, 1, _STAMP),
    Column("hour_cos", "cosine", -1, 1, _STAMP),
    Column(f"momentum_{MIDDLE}", _SCORE, -1, 1, _CLOSE),
    Column(f"momentum_{LONG}", _SCORE, -1, 1, _CLOSE),
    *_SHARED.values(),
)

TACTICAL_COLUMNS = (
    Column("fvg_bullish_active", "0 or 1", 0, 1, _PRICES),
    Column("fvg_bearish_active", "0 or 1", 0, 1, _PRICES),
    Column("fvg_nearest_level", "2% of the price, signed; 0 without a gap", -1, 1, _PRICES),
    Column("fvg_age", "exp(-bars / 10); 0 without a gap", 0, 1, _PRICES),
    Column("fvg_mitigation_signal", "-1, 0 or 1", -1, 1, _PRICES),
    Column(f"momentum_{SHORT}", "5% of the price, signed", -1, 1, _CLOSE),
    Column("volume_ratio", "tanh(log of the ratio to its average)", -1, 1, "volumes"),
)

REGIMES = ("BULL", "BEAR", "SIDEWAYS", "VOLATILE")
POSTERIORS = tuple(
    Column(f"regime_{name.lower()}", "probability, filtered", 0, 1, "hidden Markov model")
    for name in REGIMES
)

REGIME_COLUMNS = (
    _SHARED["volatility_30"],
    _SHARED["volume_profile_skew"],
    _SHARED["mmd_score"],
    Column("price_acceleration", _SCORE, -1, 1, _CLOSE),
    Column("momentum_divergence", _SCORE, -1, 1, _CLOSE),
    *POSTERIORS,
)

SLOW_COLUMNS = STRATEGIC_COLUMNS + tuple(
    column for column in REGIME_COLUMNS if column not in (*STRATEGIC_COLUMNS, *POSTERIORS)
)
"""What is computed of a slow bar but for the posteriors: both slow matrices are cut from it."""

STRATEGIC_ROWS, TACTICAL_ROWS, REGIME_ROWS = 48, 60, 96


def places(columns: tuple[Column, ...], among: tuple[Column, ...]) -> list[int]:
    """Where each of `columns` stands among others, by name."""
    names = [column.name for column in among]
    return [names.index(column.name) for column in columns]
