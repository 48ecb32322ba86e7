"""Each indicator against its slow reference; and what it is there for, on bars drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from configs.signals import MLMIConfig, MMDConfig, SignalsConfig
from signals.bars import fvg, mlmi, mmd, nwrqk, profile, robust, trend
from signals.bars.clock import read_clock
from signals.bars.windows import new_ring, push
from tests.signals.bars import reference
from tests.signals.bars.series import MINUTES, NS_PER_MINUTE, TICK, bars_of, walk

CONFIG = SignalsConfig()
BARS = walk(420, seed=1)
OPENS = read_clock(BARS.start, MINUTES, CONFIG.clock).opens
OHLC = (BARS.open, BARS.high, BARS.low, BARS.close)


def assert_same(ours: np.ndarray, theirs: np.ndarray, within: float = 1e-9) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=within, atol=within)
    assert np.isfinite(theirs).sum() > 100


def run_mlmi(config: MLMIConfig, bars=BARS) -> tuple[np.ndarray, np.ndarray]:
    value, signal = np.empty(len(bars)), np.empty(len(bars))
    prices = (bars.open, bars.high, bars.low, bars.close)
    mlmi.mlmi_series(mlmi.new_mlmi(config), mlmi.mlmi_settings(config), *prices, value, signal)
    return value, signal


@pytest.mark.parametrize("length", [5, 20])
def test_strength_index(length: int) -> None:
    state = np.zeros(1, trend.RSI)
    ours = np.array([trend.rsi_update(state, length, price) for price in BARS.close])
    assert_same(ours, reference.rsi(BARS.close, length))


def test_strength_index_without_losses_or_moves() -> None:
    for prices, wanted in (([1.0, 2.0, 3.0, 4.0], 100.0), ([2.0] * 4, 50.0), ([4.0, 3, 2, 1], 0.0)):
        state = np.zeros(1, trend.RSI)
        assert [trend.rsi_update(state, 3, price) for price in prices][-1] == wanted


def test_true_range() -> None:
    state = np.zeros(1, trend.ATR)
    bars = zip(BARS.high, BARS.low, BARS.close, strict=True)
    assert_same(
        np.array([trend.atr_update(state, 14, *bar) for bar in bars]), reference.atr(BARS, 14)
    )


def test_volume_ratio() -> None:
    state = np.zeros(1, trend.AVERAGE)
    ours = np.array([trend.volume_ratio_update(state, 20, v) for v in BARS.volume])
    assert_same(ours, reference.volume_ratio(BARS, 20))
    assert (ours[20:][BARS.volume[20:] == 0] == -1.0).any()


def test_momentum_and_its_changes() -> None:
    closes = new_ring(51)
    rows = []
    for close in BARS.close:
        push(closes, close)
        rows.append(
            (
                trend.momentum(closes, 50),
                trend.acceleration(closes, 5),
                trend.divergence(closes, 5, 20),
            )
        )
    slow, pace, apart = np.array(rows).T
    assert_same(slow, reference.momentum(BARS, 50))
    assert_same(pace, reference.acceleration(BARS, 5))
    assert_same(apart, reference.momentum(BARS, 5) / 5 - reference.momentum(BARS, 20) / 20)


def test_volatility() -> None:
    state = trend.new_volatility(30)
    ours = np.array([trend.volatility_update(state, close)[1] for close in BARS.close])
    assert_same(ours, reference.volatility(BARS, 30))


@pytest.mark.parametrize(
    "config", [MLMIConfig(), MLMIConfig(neighbours=3), MLMIConfig(neighbours=4, history=7)]
)
def test_mlmi(config: MLMIConfig) -> None:
    value, signal = run_mlmi(config)
    wanted, crossed = reference.mlmi(BARS, config)
    assert_same(value, wanted)
    np.testing.assert_array_equal(signal, crossed)


def test_mlmi_crosses_its_middle_in_turns() -> None:
    value, signal = run_mlmi(MLMIConfig(neighbours=3), walk(1500, seed=3))
    beats = signal[np.abs(signal) == 1.0]
    assert len(beats) > 10
    assert (beats[1:] == -beats[:-1]).all()
    assert (np.sign(value[np.abs(signal) == 1.0] - 50.0) == beats).all()


def test_nwrqk() -> None:
    n = len(BARS)
    value, slope, signal = np.empty(n), np.empty(n), np.empty(n)
    settings = nwrqk.nwrqk_settings(CONFIG.nwrqk, 14)
    state = nwrqk.new_nwrqk(CONFIG.nwrqk)
    nwrqk.nwrqk_series(state, settings, BARS.high, BARS.low, BARS.close, value, slope, signal)
    fit, steep, flip = reference.nwrqk(BARS, CONFIG.nwrqk, 14)
    assert_same(value, fit)
    assert_same(slope, steep)
    np.testing.assert_array_equal(signal, flip)
    assert np.abs(flip[30:]).sum() > 5


def run_fvg(bars=BARS, opens=OPENS) -> np.ndarray:
    out = np.zeros(len(bars), fvg.GAPS)
    prices = (bars.open, bars.high, bars.low, bars.close)
    state, settings = fvg.new_fvg(CONFIG.fvg), fvg.fvg_settings(CONFIG.fvg)
    fvg.fvg_series(state, settings, opens, *prices, out)
    return out


def test_fvg() -> None:
    ours, theirs = run_fvg(), reference.fvg(BARS, OPENS, CONFIG.fvg)
    for name in fvg.GAPS.names:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12, err_msg=name)
    assert {-1.0, 0.0, 1.0} == set(theirs.mitigation)
    assert theirs.bullish.any() and theirs.bearish.any()


def staircase(gap_at: int, after: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Quiet bars, a jump upward with its middle bar at `gap_at`, then bars at given lows."""
    quiet = [(100.0, 100.5, 99.5, 100.25)] * gap_at
    up = [(100.25, 106.0, 100.0, 105.5), (105.5, 107.0, 104.0, 106.0)]
    prices = np.array(quiet + up + [(low + 1, low + 2, low, low + 1) for low in after])
    return prices, np.arange(len(prices)) * MINUTES * NS_PER_MINUTE


def test_a_gap_lives_from_its_third_bar_until_its_far_edge_is_reached() -> None:
    prices, start = staircase(12, [103.0, 101.0, 100.5, 100.5])
    opens = np.zeros(len(start), np.bool_)
    opens[0] = True
    out = run_fvg(bars_of(start, prices, np.ones(len(start))), opens)
    # Bar 13 leaves a gap from 100.5 to 104.0; bar 16 is the first whose low is at 100.5.
    assert out["bullish"].tolist() == [0.0] * 13 + [1.0, 1.0, 1.0, 0.0, 0.0]
    assert out["mitigation"].tolist() == [0.0] * 16 + [1.0, 0.0]
    assert out["age"][13:16].tolist() == [0.0, 1.0, 2.0]
    assert out["level"][13] == pytest.approx(100 * (102.25 - 106.0) / 106.0)
    assert np.isinf(out["age"][16]) and np.isnan(out["level"][16])


def test_no_gap_spans_a_session_break() -> None:
    prices, start = staircase(12, [103.0])
    for opened, wanted in ((11, 1.0), (12, 0.0), (13, 0.0)):
        opens = np.zeros(len(start), np.bool_)
        opens[[0, opened]] = True
        out = run_fvg(bars_of(start, prices, np.ones(len(start))), opens)
        assert out["bullish"][13] == wanted


def test_a_gap_expires() -> None:
    prices, start = staircase(12, [103.0] * 60)
    opens = np.zeros(len(start), np.bool_)
    out = run_fvg(bars_of(start, prices, np.ones(len(start))), opens)
    alive = np.flatnonzero(out["bullish"])
    assert (alive.min(), alive.max()) == (13, 13 + CONFIG.fvg.expiry)
    assert not out["mitigation"].any()


@pytest.mark.parametrize("scale", [1.0, 8.0, 60.0])
def test_volume_profile(scale: float) -> None:
    bars = walk(220, seed=2, scale=scale)
    decay = CONFIG.scaling.distance_decay
    out = np.zeros(len(bars), profile.NODES)
    profile.profile_series(
        profile.new_profile(CONFIG.profile),
        profile.profile_settings(CONFIG.profile, TICK, decay),
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        out,
    )
    theirs = reference.profile(bars, CONFIG.profile, TICK, decay)
    for name, wanted in zip(profile.NODES.names, theirs, strict=True):
        np.testing.assert_allclose(out[name], wanted, rtol=1e-8, atol=1e-8, err_msg=name)
    assert out["strength"][19:].max() <= CONFIG.profile.most
    assert np.ptp(out["skew"][19:]) > 0.5


def test_a_profile_without_volume_has_no_node() -> None:
    bars = walk(30, seed=2)
    out = np.zeros(len(bars), profile.NODES)
    none = np.zeros(len(bars))
    profile.profile_series(
        profile.new_profile(CONFIG.profile),
        profile.profile_settings(CONFIG.profile, TICK, 100.0),
        *(bars.open, bars.high, bars.low, bars.close, none),
        out,
    )
    assert np.isinf(out["distance"][19:]).all()
    assert not out["strength"][19:].any() and not out["skew"][19:].any()


def run_mmd(bars, opens, config: MMDConfig, day: int) -> np.ndarray:
    state = trend.new_volatility(30)
    pairs = np.array([trend.volatility_update(state, close) for close in bars.close])
    out = np.empty(len(bars))
    mmd.mmd_series(
        mmd.new_mmd(config),
        mmd.mmd_settings(config, day),
        opens,
        np.ascontiguousarray(pairs[:, 0]),
        np.log(bars.high / bars.low),
        np.ascontiguousarray(pairs[:, 1]),
        np.log1p(bars.volume),
        out,
    )
    return out


@pytest.mark.parametrize(
    ("recent", "reference_bars", "day"), [(12, 40, 48), (7, 31, 9), (40, 12, 48)]
)
def test_mmd(recent: int, reference_bars: int, day: int) -> None:
    config = MMDConfig(recent=recent, reference=reference_bars)
    ours = run_mmd(BARS, OPENS, config, day)
    assert_same(ours, reference.mmd(BARS, OPENS, config, 30, day), within=1e-7)


def test_mmd_at_its_default_size() -> None:
    bars = walk(700, seed=4)
    opens = read_clock(bars.start, MINUTES, CONFIG.clock).opens
    ours = run_mmd(bars, opens, CONFIG.mmd, 48)
    theirs = reference.mmd(bars, opens, CONFIG.mmd, 30, 48)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert np.isfinite(theirs).sum() == 700 - 629


def test_mmd_sees_a_change_of_volatility() -> None:
    """A hundred bars at three times the range stand out from what calm bars ever show."""
    prices = walk(900, seed=5)
    closes = np.log(prices.close)
    returns = np.diff(closes, prepend=closes[:1])
    returns[800:] *= 3.0
    close = 1e4 * np.exp(np.cumsum(returns))
    span = np.where(np.arange(900) < 800, 1.0, 3.0) * np.log(prices.high / prices.low)
    ohlc = np.column_stack([close, close * np.exp(span), close, close])
    bars = bars_of(prices.start, ohlc, prices.volume)
    opens = read_clock(bars.start, MINUTES, CONFIG.clock).opens
    score = run_mmd(bars, opens, CONFIG.mmd, 48)
    assert score[-1] > 2.0 * np.nanmax(score[:800])


def test_kernels_decay_as_the_exponential_does() -> None:
    values = np.r_[0.0, np.random.default_rng(0).exponential(3.0, 1000), 700.0, 1e9]
    ours = values.copy()
    mmd.decay_all(ours, 0.7)
    np.testing.assert_allclose(ours, np.exp(-0.7 * values), rtol=2e-11, atol=1e-280)


@pytest.mark.parametrize("kind", ["spread", "equal", "two", "sorted", "heavy"])
def test_a_rank_is_exact(kind: str) -> None:
    rng = np.random.default_rng(1)
    values = {
        "spread": rng.random(20_001),
        "equal": np.full(5000, 2.5),
        "two": (rng.random(9000) < 0.3).astype(float),
        "sorted": np.arange(7000.0),
        "heavy": np.abs(rng.standard_cauchy(30_000)),
    }[kind]
    ordered = np.sort(values)
    for rank in (0, 1, len(values) // 3, (len(values) - 1) // 2, len(values) - 1):
        assert mmd.ranked(values, rank) == ordered[rank]


@pytest.mark.parametrize(("window", "least"), [(2, 2), (7, 3), (60, 20), (61, 61)])
def test_robust_score(window: int, least: int) -> None:
    rng = np.random.default_rng(6)
    values = rng.standard_t(2, 400)
    values[rng.random(400) < 0.4] = 0.0  # ties, up to a spread of nothing
    values[:5] = np.nan
    values[100] = np.nan
    out = np.empty(400)
    robust.robust_series(robust.new_robust(window), least, 3.0, values, out)
    assert_same(out, reference.robust(values, window, least, 3.0))
