"""The matrices: every column against its reference and scale, masks, windows, no look-ahead."""

from __future__ import annotations

import numpy as np
import pytest

from configs.errors import ConfigError, DataError
from configs.signals import SignalsConfig
from market.bars import Bars
from signals.bars.clock import read_clock
from signals.bars.columns import REGIMES
from signals.bars.matrices import (
    REGIME_COLUMNS,
    REGIME_ROWS,
    STRATEGIC_COLUMNS,
    STRATEGIC_ROWS,
    TACTICAL_COLUMNS,
    TACTICAL_ROWS,
    FeatureTable,
    regime_table,
    slow_features,
    strategic_table,
    tactical_table,
)
from signals.regime import RegimeModel, regime_filter
from tests.signals.bars import reference
from tests.signals.bars.series import MINUTES, SHORT, TICK, part, walk

HOLE = 310
BARS = walk(640, seed=7, hole=HOLE)


def model(volatility_bars: int = 3) -> RegimeModel:
    """Four regimes by hand."""
    stay = 0.94
    return RegimeModel(
        start=(0.25,) * 4,
        transition=tuple(
            tuple(stay if i == j else (1 - stay) / 3 for j in range(4)) for i in range(4)
        ),
        mean=((2e-4, -8.6), (-2e-4, -8.4), (0.0, -8.8), (0.0, -8.1)),
        covariance=(((1e-6, 0.0), (0.0, 0.05)),) * 4,
        bar_minutes=MINUTES,
        return_bars=1,
        volatility_bars=volatility_bars,
        floor=1e-5,
        alarm=0.9,
        log_likelihood=0.0,
    )


def tables(bars: Bars, config: SignalsConfig = SHORT) -> dict[str, FeatureTable]:
    return {
        "strategic": strategic_table(bars, MINUTES, TICK, config),
        "tactical": tactical_table(bars, MINUTES, TICK, config),
        "regime": regime_table(bars, MINUTES, TICK, model(), config),
    }


TABLES = tables(BARS)


def test_the_shapes_are_those_of_the_definitions() -> None:
    assert (STRATEGIC_ROWS, len(STRATEGIC_COLUMNS)) == (48, 13)
    assert (TACTICAL_ROWS, len(TACTICAL_COLUMNS)) == (60, 7)
    assert (REGIME_ROWS, len(REGIME_COLUMNS)) == (96, 9)
    strategic = "mlmi_value mlmi_signal nwrqk_value nwrqk_slope lvn_distance lvn_strength"
    strategic += " hour_sin hour_cos momentum_20 momentum_50 mmd_score volatility_30"
    tactical = "fvg_bullish_active fvg_bearish_active fvg_nearest_level fvg_age"
    tactical += " fvg_mitigation_signal momentum_5 volume_ratio"
    for columns, names in (
        (STRATEGIC_COLUMNS, strategic + " volume_profile_skew"),
        (TACTICAL_COLUMNS, tactical),
    ):
        assert " ".join(column.name for column in columns) == names


@pytest.mark.parametrize("name", TABLES)
def test_values_are_finite_and_within_their_ranges(name: str) -> None:
    table = TABLES[name]
    assert table.values.dtype == np.float32 and table.values.flags["C_CONTIGUOUS"]
    assert table.values.shape == (len(BARS), len(table.columns))
    assert np.isfinite(table.values).all()
    assert (table.values >= [column.low for column in table.columns]).all()
    assert (table.values <= [column.high for column in table.columns]).all()
    assert 0.4 < table.warm.mean() < 1.0
    assert table.values[table.warm].std(axis=0).min() > 0.001


def wanted(bars: Bars) -> dict[str, np.ndarray]:
    """Every column of a stretch without a hole, from the slow references."""
    config, scaling = SHORT, SHORT.scaling
    opens = read_clock(bars.start, MINUTES, config.clock).opens
    value, signal = reference.mlmi(bars, config.mlmi)
    fit, slope, _ = reference.nwrqk(bars, config.nwrqk, 14)
    distance, strength, skew = reference.profile(bars, config.profile, TICK, 100.0)
    hour = bars.start / 3.6e12 % 24
    gaps = reference.fvg(bars, opens, config.fvg)
    known = np.arange(len(bars)) >= 61
    volatility = reference.volatility(bars, 30)
    scores = {
        "momentum_20": reference.momentum(bars, 20),
        "momentum_50": reference.momentum(bars, 50),
        "mmd_score": reference.mmd(bars, opens, config.mmd, 30, 48),
        "volatility_30": volatility,
        "volume_profile_skew": skew,
        "price_acceleration": reference.acceleration(bars, 5),
        "momentum_divergence": reference.momentum(bars, 5) / 5 - reference.momentum(bars, 20) / 20,
    }
    filtered = regime_filter(model(), bars, MINUTES).posterior
    return {
        "mlmi_value": (value - 50) / 50,
        "mlmi_signal": signal,
        "nwrqk_value": np.clip(100 * (fit - bars.close) / bars.close, -5, 5) / 5,
        "nwrqk_slope": np.clip(slope, -2, 2) / 2,
        "lvn_distance": np.exp(-100 * distance),
        "lvn_strength": strength / 100,
        "hour_sin": np.sin(2 * np.pi * hour / 24),
        "hour_cos": np.cos(2 * np.pi * hour / 24),
        "fvg_bullish_active": np.where(known, gaps.bullish, np.nan),
        "fvg_bearish_active": np.where(known, gaps.bearish, np.nan),
        "fvg_nearest_level": np.where(known, np.clip(gaps.level.fillna(0), -2, 2) / 2, np.nan),
        "fvg_age": np.where(known, np.exp(-0.1 * gaps.age), np.nan),
        "fvg_mitigation_signal": np.where(known, gaps.mitigation, np.nan),
        "momentum_5": np.clip(reference.momentum(bars, 5) / 5, -1, 1),
        "volume_ratio": reference.volume_ratio(bars, 20),
        **{
            name: reference.robust(raw, scaling.zscore_window, scaling.zscore_least, 3.0) / 3
            for name, raw in scores.items()
        },
        **{f"regime_{name.lower()}": filtered[:, k] for k, name in enumerate(REGIMES)},
    }


@pytest.fixture(scope="module")
def stretches() -> list[tuple[slice, dict[str, np.ndarray]]]:
    cuts = [slice(0, HOLE), slice(HOLE, len(BARS))]
    return [(cut, wanted(part(BARS, cut))) for cut in cuts]


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_its_indicator_scaled(
    name: str, stretches: list[tuple[slice, dict[str, np.ndarray]]]
) -> None:
    """On either side of the hole alone: nothing is carried across it."""
    table = TABLES[name]
    for cut, columns in stretches:
        theirs = np.column_stack([columns[column.name] for column in table.columns])
        known = np.isfinite(theirs)
        np.testing.assert_array_equal(table.warm[cut], known.all(axis=1))
        np.testing.assert_allclose(
            table.values[cut], np.where(known, theirs, 0.0), rtol=2e-5, atol=2e-5
        )


@pytest.mark.parametrize("rows", [640, 639, 402, HOLE + 1, HOLE, 77, 1])
def test_a_prefix_has_the_prefix_of_the_features(rows: int) -> None:
    for name, table in tables(part(BARS, slice(0, rows))).items():
        np.testing.assert_array_equal(table.values, TABLES[name].values[:rows])
        np.testing.assert_array_equal(table.warm, TABLES[name].warm[:rows])


def test_no_bar_reads_a_later_one() -> None:
    """Whatever comes after any of several bars, drawn anew, changes nothing up to it."""
    rng = np.random.default_rng(8)
    for cut in rng.integers(50, len(BARS) - 50, 4):
        other = walk(len(BARS), seed=9, hole=HOLE)
        arrays = {
            name: np.r_[getattr(BARS, name)[:cut], getattr(other, name)[cut:]]
            for name in ("start", "open", "high", "low", "close", "volume")
        }
        mixed = part(BARS, slice(None))
        for name, array in arrays.items():
            object.__setattr__(mixed, name, array)
        for name, table in tables(mixed).items():
            np.testing.assert_array_equal(table.values[:cut], TABLES[name].values[:cut])


def test_usable_windows_are_warm_and_hold_no_hole() -> None:
    for table in TABLES.values():
        for rows in (1, 2, 48, 300):
            usable = table.usable(rows)
            for t in range(len(table)):
                inside = slice(t - rows + 1, t + 1)
                whole = t >= rows - 1 and table.warm[inside].all()
                whole = whole and not table.hole[inside][1:].any()
                assert usable[t] == whole
        assert table.usable(48).any() and not table.usable(len(table)).any()


def test_a_hole_among_warm_rows_ends_windows() -> None:
    """Windows are judged by the hole itself, not by the warm-up that follows it here."""
    hole = np.zeros(10, np.bool_)
    hole[4] = True
    values = np.zeros((10, len(TACTICAL_COLUMNS)), np.float32)
    table = FeatureTable(values, np.ones(10, np.bool_), TACTICAL_COLUMNS, hole)
    assert table.usable(3).tolist() == [False] * 2 + [True] * 2 + [False] * 2 + [True] * 4


def test_windows_are_views() -> None:
    table = TABLES["strategic"]
    t = int(np.flatnonzero(table.usable(STRATEGIC_ROWS))[0])
    window = table.window(t, STRATEGIC_ROWS)
    assert window.shape == (48, 13) and np.shares_memory(window, table.values)
    np.testing.assert_array_equal(window[-1], table.values[t])
    with pytest.raises(ValueError, match="read-only"):
        window[0, 0] = 1.0
    for bad in (46, len(BARS), -1):
        with pytest.raises(DataError, match=f"no window of 48 rows at bar {bad} of 640"):
            table.window(bad, 48)
    with pytest.raises(ConfigError, match="rows=0"):
        table.usable(0)


def test_features_at_hand_give_the_same_tables() -> None:
    features = slow_features(BARS, MINUTES, TICK, SHORT)
    strategic = strategic_table(BARS, MINUTES, TICK, SHORT, features)
    regime = regime_table(BARS, MINUTES, TICK, model(), SHORT, features)
    np.testing.assert_array_equal(strategic.values, TABLES["strategic"].values)
    np.testing.assert_array_equal(regime.values, TABLES["regime"].values)


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(ConfigError, match=r"tick=0.0: expected the price increment"):
        strategic_table(BARS, MINUTES, 0.0)
    with pytest.raises(DataError, match="at least bar_minutes=60"):
        tactical_table(BARS, 60, TICK)
    with pytest.raises(ConfigError, match="30-minute bars on 5-minute bars"):
        regime_table(BARS, 5, TICK, model(), SHORT)
