"""What is the tactical layer's own: its bars, the layer above it, targets, stops, entry prices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from configs.loading import load_config
from configs.market import GeneratorReference
from configs.splits import Split
from configs.tactical import TacticalConfig
from envs.barwise.fast import FastData, fast_data, lookback
from envs.tactical import BatchedTactical
from market.synthetic import synthetic_bars
from market.trade_bars import write_bars
from signals.superposition import coherence, collapse, confidence
from signals.tactical import SHARES, STYLES, TACTICAL, TILTS
from tests.envs.layers import SMALL

COLUMN = {column.name: index for index, column in enumerate(TACTICAL.columns)}
HOLD, WHOLE, TWAP, WAIT = (
    TILTS.index("HOLD"), SHARES.index("WHOLE"), STYLES.index("TWAP"), STYLES.index("WAIT"),
)  # fmt: skip
BUY_LARGE, MARKET = TILTS.index("BUY_LARGE"), STYLES.index("MARKET")


def small(**changes: Any) -> TacticalConfig:
    return load_config(TacticalConfig, {**SMALL, **changes})


def joint(rows: int, tilt: int = HOLD, share: int = WHOLE, style: int = TWAP) -> Any:
    return np.tile(np.array([tilt, share, style], np.float32), (rows, 1))


def column(env: BatchedTactical, name: str) -> NDArray[np.float32]:
    return env.rows[:, COLUMN[name]]


@pytest.fixture
def half_hours(tmp_path: Path) -> Path:
    path = tmp_path / "half-hours.csv"
    write_bars(synthetic_bars(GeneratorReference(), 1200, 30, 0.01, 3), path)
    return path


def of_file(path: Path, minutes: int, **reference: Any) -> TacticalConfig:
    bars = {"path": str(path), "bar_minutes": minutes}
    market = SMALL["market"] | {"reference": {"kind": "bars", "bars": bars, **reference}}
    return small(market=market)


def test_short_bars_emerge_from_a_files_longer_ones(half_hours: Path) -> None:
    config = of_file(half_hours, 30)
    data = fast_data(config, "train")
    ohlc = data.tape.tape.ohlc.reshape(-1, 6, 4)
    given = synthetic_bars(GeneratorReference(), 1200, 30, 0.01, 3)
    assert ohlc[:, 0, 0] == pytest.approx(given.open * 100)
    assert ohlc[:, :, 1].max(axis=1) == pytest.approx(given.high * 100)
    assert ohlc[:, :, 2].min(axis=1) == pytest.approx(given.low * 100)
    assert ohlc[:, -1, 3] == pytest.approx(given.close * 100)
    assert data.tape.bar_seconds == 300.0
    assert fast_data(config, "train").tape is data.tape  # computed once


def test_a_file_of_the_layers_own_bars_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "five-minutes.csv"
    bars = synthetic_bars(GeneratorReference(), 3000, 5, 0.01, 4)
    write_bars(bars, path)
    data = fast_data(of_file(path, 5), "train")
    for index, name in enumerate(("open", "high", "low", "close")):
        assert data.tape.tape.ohlc[:, index] == pytest.approx(getattr(bars, name) * 100)


def test_a_file_of_other_bars_is_refused(half_hours: Path) -> None:
    with pytest.raises(DataError, match=r"whole multiple.*set bar_minutes"):
        fast_data(of_file(half_hours, 12), "train")


@pytest.mark.parametrize("cut", [True, False])
def test_splits_lie_apart_and_see_nothing_of_each_other(half_hours: Path, cut: bool) -> None:
    """By time, on the borders that the given bars have for every layer."""
    config = of_file(half_hours, 30) if cut else small()
    bars, parts = (1200, 6) if cut else (3000, 1)
    data: dict[str, FastData] = {
        split: fast_data(config, split)  # type: ignore[arg-type]
        for split in ("train", "validation", "test")
    }
    borders = {"validation": int(bars * 0.7) * parts, "test": int(bars * 0.8) * parts}
    # The last bar that an episode plays; the first that anything it reads goes back to.
    last = {split: found.starts.max() + config.horizon_bars for split, found in data.items()}
    first = {split: found.starts.min() - lookback(config.signals) for split, found in data.items()}
    assert last["train"] < borders["validation"] <= first["validation"] + 1
    assert last["validation"] < borders["test"] <= first["test"] + 1
    assert last["test"] < bars * parts


def test_the_sampled_signal_has_the_configured_coefficient_and_persistence() -> None:
    """Correlation with the standardised move of F over the strategic bar to come."""
    count, bars = 600, 30
    found = {}
    for coefficient in (0.0, 0.1):
        above = {"information_coefficient": coefficient, "persistence": 0.9}
        quiet = {"flow": {"arrivals": {"messages_per_second": 0.1}}}
        config = small(upstream=above, horizon_bars=bars, series={"bars": 6000}, market=quiet)
        env = BatchedTactical(config, count, seed=8)
        env.reset()
        signals, moves = [], []
        tape, places = env.arrays.world.tape, env.arrays.world.places
        for step in range(bars):
            if step % 6 == 0:
                p = env.arrays.strategic[:, :3]
                bar = places["bar"]
                signals.append(0.5 * np.log(p[:, 2] / p[:, 0]) / 0.8)
                moves.append((tape.ohlc[bar + 5, 3] - tape.ohlc[bar - 1, 3]) / tape.sigma[bar])
            # Nothing is traded: the market is played, and that is all.
            env.step(joint(count, share=0, style=WAIT))
        found[coefficient] = np.corrcoef(np.ravel(signals), np.ravel(moves))[0, 1]
        along = np.array(signals)
        kept = np.corrcoef(along[:-1].ravel(), along[1:].ravel())[0, 1]
        assert kept == pytest.approx(0.9, abs=0.02)
        assert along.std() == pytest.approx(1.0, abs=0.05)
    # Common random numbers: the two differ by the coefficient alone.
    assert found[0.1] - found[0.0] == pytest.approx(0.1, abs=0.02)
    assert abs(found[0.0]) < 0.08  # a signal that persists strays further than white noise


def test_on_real_bars_the_signal_knows_no_path(half_hours: Path) -> None:
    env = BatchedTactical(of_file(half_hours, 30), 1)
    assert env.config.upstream.information_coefficient > 0.0
    assert env.arrays.rules["coefficient"][0] == 0.0
    assert BatchedTactical(small(), 1).arrays.rules["coefficient"][0] == 0.05


def test_the_strategic_target_follows_its_collapsed_superpositions() -> None:
    env, rows = BatchedTactical(small(horizon_bars=30), 40, seed=3), 40
    env.reset()
    target, changes = np.zeros(rows), 0
    for step in range(30):
        p = env.arrays.strategic[:, :3].copy()
        if step % 6 == 0:
            assert p.sum(axis=1) == pytest.approx(1.0)
            moved = np.rint((env.arrays.strategic_targets - target) * 10).astype(int)
            sure = confidence(p) >= 0.6
            assert np.array_equal(moved[sure], p.argmax(axis=1)[sure] - 1)
            assert set(np.unique(moved)) == {-1, 0, 1}
            changes += int((moved[~sure] != p.argmax(axis=1)[~sure] - 1).sum())
        else:
            assert np.array_equal(env.arrays.strategic_targets, target)
        target = env.arrays.strategic_targets.copy()
        for index, name in enumerate(("sell", "hold", "buy")):
            assert column(env, f"strategic_{name}") == pytest.approx(p[:, index], abs=1e-6)
        assert column(env, "strategic_confidence") == pytest.approx(confidence(p), abs=1e-6)
        assert column(env, "strategic_coherence") == pytest.approx(coherence(p), abs=1e-6)
        assert column(env, "strategic_target") == pytest.approx(target, abs=1e-6)
        assert column(env, "strategic_phase") == pytest.approx(step % 6 / 6)
        env.step(joint(rows))
    assert changes > 0  # the unsure ones are drawn, not taken by the largest
    drawn = collapse(np.tile([0.3, 0.4, 0.3], (rows, 1)), np.arange(rows), 0)
    assert len(np.unique(drawn)) == 3


def test_positions_are_what_was_decided_and_wait_keeps_them() -> None:
    env, rows = BatchedTactical(small(tilt={"kelly_cap": 0.3, **NO_EXITS}), 12, seed=6), 12
    env.reset()
    rng, limit = np.random.default_rng(6), env.arrays.accounts["limit"].copy()
    for _ in range(10):
        action = rng.integers(0, 5, (rows, 3)).astype(np.float32)
        held = env.arrays.accounts["position"].copy()
        tilts = np.array([0.0, 0.1, 0.25, -0.1, -0.25])[action[:, 0].astype(int)]
        target = np.clip(env.arrays.strategic_targets + tilts, -0.3, 0.3) * action[:, 1] / 4
        env.step(action)
        waits = action[:, 2] == WAIT
        wanted = np.where(waits, held, np.rint(target * limit))
        assert np.array_equal(env.arrays.accounts["position"], wanted)
    assert not env.arrays.masked.any()


NO_EXITS = {"stop_atr": 1e6, "target_atr": 1e6}


def test_a_close_beyond_the_stop_or_the_target_is_followed_by_a_flat_bar() -> None:
    near = {"stop_atr": 0.7, "target_atr": 0.9}
    env, rows = BatchedTactical(small(tilt=near, horizon_bars=30), 30, seed=7), 30
    env.reset()
    accounts, world = env.arrays.accounts, env.arrays.world
    exits = np.zeros(2, int)
    for step in range(29):
        atr = env.arrays.ranges[world.places["bar"] - 1]
        sign = np.sign(accounts["position"])
        gain = sign * (accounts["mark"] - accounts["entry"]) / atr * (sign != 0)
        stopped, taken = gain <= -0.7, gain >= 0.9
        assert column(env, "stop_distance") == pytest.approx(
            np.clip(1 + gain / 0.7, -2, 4), abs=1e-5
        )
        assert column(env, "target_distance") == pytest.approx(
            np.clip(1 - gain / 0.9, -2, 4), abs=1e-5
        )
        over = stopped | taken
        may_buy = column(env, "may_tactical_agent_buy_large") == 1.0
        may_wait = column(env, "may_execution_agent_wait") == 1.0
        assert np.array_equal(may_buy, ~over) and np.array_equal(may_wait, ~over)
        # Waiting is no way out of a stop.
        env.step(joint(rows, BUY_LARGE, style=WAIT) if step % 3 == 2 else joint(rows, BUY_LARGE))
        assert not accounts["position"][over].any()
        exits += [stopped.sum(), taken.sum()]
    assert (exits > 5).all()
    env.step(joint(rows))
    names = list(env.metric_names)
    for name, count in zip(("stopped", "taken"), exits, strict=True):
        assert env.episode_metrics[:, names.index(name)].sum() == count


def test_in_training_a_tilt_stands_as_long_as_is_told_and_judged_every_bar_is_free() -> None:
    commitment, rows = 3, 20
    far = {"stop_atr": 50.0, "target_atr": 50.0, "commitment_bars": commitment}
    names = [f"may_tactical_agent_{tilt.lower()}" for tilt in TILTS]
    config = small(tilt=far, horizon_bars=12)
    splits: tuple[tuple[Split, bool, bool], ...] = (
        ("train", False, True),
        ("train", True, False),
        ("validation", False, False),
        ("test", False, False),
    )
    for split, judged, bound in splits:
        env = BatchedTactical(config, rows, seed=7, split=split, judged=judged)
        env.reset()
        for step in range(9):
            standing = bound and step % commitment > 0
            may = np.stack([column(env, name) for name in names], 1)
            wanted = [float(not standing or tilt == BUY_LARGE) for tilt in range(len(TILTS))]
            assert np.array_equal(may, np.tile(np.float32(wanted), (rows, 1)))
            # What is not allowed does nothing: the tilt stands, and goes on to do so no longer.
            env.step(joint(rows, HOLD if step % commitment == 1 else BUY_LARGE))
            tilted = not (step % commitment == 1 and not bound)
            assert (column(env, "last_tactical_agent_buy_large") == tilted).all()
        assert (env.arrays.masked == (3 if bound else 0)).all()
        env.step(joint(rows))
        assert (column(env, "last_tactical_agent_hold") == 1.0).all()
        # No tilt is none to be held to.
        assert (column(env, "may_tactical_agent_buy_large") == 1.0).all()


def test_a_stop_ends_what_a_tilt_was_committed_to() -> None:
    near = {"stop_atr": 0.7, "target_atr": 0.9, "commitment_bars": 1000}
    env, rows, stops = BatchedTactical(small(tilt=near, horizon_bars=30), 30, seed=7), 30, 0
    env.reset()
    for _ in range(28):
        over = column(env, "may_risk_agent_whole") == 0.0
        env.step(joint(rows, BUY_LARGE))
        assert not env.arrays.accounts["position"][over].any()
        closed = over & (column(env, "may_risk_agent_whole") == 1.0)
        assert (column(env, "may_tactical_agent_sell_large")[closed] == 1.0).all()
        stops += closed.sum()
    assert stops > 10


def test_entry_is_paid_against_the_bar_without_own_fills() -> None:
    """The reward's terms, once more from the fills' record."""
    env, rows = BatchedTactical(small(), 20, seed=9), 20
    env.reset()
    rng, pay = np.random.default_rng(9), env.config.reward
    seen = 0
    while not env.terminations.all():
        bar = env.arrays.world.places["bar"].copy()
        env.step(rng.integers(0, 5, (rows, 3)).astype(np.float32))
        worked, accounts = env.arrays.world.worked, env.arrays.accounts
        for n in np.flatnonzero((worked["quantity"] > 0) & (worked["volume"] > 0)):
            order, base = worked[n], accounts["initial"][n]
            cost = order["impact_value"] + order["slippage"]
            vwap = order["volume_value"] / order["volume"]
            ohlc = env.arrays.world.tape.ohlc[bar[n]]
            assert ohlc[2] - 1e-6 <= vwap <= ohlc[1] + 1e-6
            better = order["side"] * (vwap * order["quantity"] - order["reference_value"]) - cost
            assert env.reward_terms[n, 1] == pytest.approx(pay.entry * 1e4 * better / base)
            seen += 1
        # 1.645 sigmas of a day over 2% of equity, or 2.326 over 2.83%, whichever is more.
        sigma = env.arrays.world.tape.sigma[bar] * np.sqrt(78)
        day = np.abs(accounts["position"]) * sigma / accounts["equity"]
        use = day * max(1.6448536 / 0.02, 2.3263479 / 0.0283)
        wanted = -pay.limit * pay.limit_bp * np.maximum(use - 1, 0)
        assert env.reward_terms[:, 2] == pytest.approx(wanted, abs=1e-6)
    assert seen > rows


HALTING = {
    "leverage": 20.0,
    "halve_drawdown": 0.001,
    "quarter_drawdown": 0.002,
    "halt_drawdown": 0.003,
}


@pytest.mark.parametrize("account", [{}, HALTING])
def test_the_benchmark_is_the_strategic_targets_own_gain_whatever_is_chosen(
    account: dict[str, float],
) -> None:
    found = {}
    for seed in (1, 2):  # of the choices alone
        env, rows = BatchedTactical(small(account=account), 10, seed=9), 10
        env.reset()
        rng, paid, wanted = np.random.default_rng(seed), [], []
        before = np.zeros(rows)
        limit, base = env.arrays.accounts["limit"].copy(), env.arrays.accounts["initial"].copy()
        while not env.terminations.all():
            bar = env.arrays.world.places["bar"].copy()
            last = bar == env.arrays.last_bars
            target = np.where(last, 0.0, column(env, "strategic_target"))
            env.step(rng.integers(0, 5, (rows, 3)).astype(np.float32))
            opened, close = env.arrays.world.tape.ohlc[:, 0], env.arrays.world.tape.ohlc[:, 3]
            gain = before * (opened[bar] - close[bar - 1])
            gain += 0.5 * (before + target) * (close[bar] - opened[bar])
            wanted.append(-1e4 * gain * limit / base)
            paid.append(env.reward_terms[:, 3].copy())
            before = target
        assert np.array(paid) == pytest.approx(np.array(wanted), rel=1e-5, abs=1e-9)
        assert np.abs(paid).max() > 0.0
        assert env.arrays.accounts["halted"].any() == bool(account)
        found[seed] = paid
    assert np.array_equal(found[1], found[2])


# Nobody may know the path where chance is taken off.
BLIND: dict[str, Any] = {
    "critic_sees_path": False,
    "upstream": {"information_coefficient": 0.0},
}


@pytest.mark.parametrize("benchmark", [0.0, 0.5])
def test_chance_is_taken_off_what_is_paid_and_off_nothing_else(benchmark: float) -> None:
    rows, share = 10, 0.75
    found, paid = {}, {}
    for chance in (0.0, share):
        reward = {"benchmark": benchmark, "chance": chance}
        env = BatchedTactical(small(reward=reward, **BLIND), rows, seed=9)
        env.reset()
        rng, paid[chance], wanted = np.random.default_rng(3), [], []
        accounts, tape = env.arrays.accounts, env.arrays.world.tape
        limit, base = accounts["limit"].copy(), accounts["initial"].copy()
        before = np.zeros(rows)
        while not env.terminations.all():
            bar = env.arrays.world.places["bar"].copy()
            held = accounts["position"] - benchmark * before * limit
            before = column(env, "strategic_target").astype(float)
            env.step(rng.integers(0, 5, (rows, 3)).astype(np.float32))
            chanced = tape.ohlc[bar, 3] - tape.ohlc[bar - 1, 3] - env.data.expected[bar]
            wanted.append(-share * 1e4 * held * chanced / base)
            paid[chance].append(env.rewards[:, 0].copy())
        found[chance] = env.episode_metrics[:, list(env.metric_names).index("return_bp")].copy()
    assert np.abs(env.data.expected).max() > 0.0
    taken = np.array(paid[share]) - np.array(paid[0.0])
    assert taken == pytest.approx(np.array(wanted), rel=1e-3, abs=1e-4)
    assert np.abs(taken).max() > 0.1
    # Results are never told without it.
    assert np.array_equal(found[0.0], found[share])


@pytest.mark.parametrize(
    ("what", "remedy"),
    [
        ({}, "bars of a file.*reward.chance=0"),
        ({"augmentation": {"copies": 1}}, "augmentation.copies=1.*reward.chance=0"),
        (
            {"upstream": {}},
            "reward.chance=0, or an artefact, or upstream.information_coefficient=0",
        ),
        ({"critic_sees_path": True}, "reward.chance=0, or critic_sees_path=false"),
    ],
)
def test_where_chance_cannot_be_told_apart_it_is_refused(
    half_hours: Path, what: dict[str, Any], remedy: str
) -> None:
    market = SMALL["market"] if what else of_file(half_hours, 30).market.model_dump()
    told = {**BLIND, **what, "market": market}
    small(reward={"chance": 0.0}, **told)
    with pytest.raises(ConfigError, match=f"reward.chance is 1 with .*{remedy}"):
        small(reward={"chance": 1.0}, **told)


@pytest.mark.parametrize("benchmark", [0.0, 1.0])
def test_the_critic_knows_what_the_path_pays_on_the_active_position(benchmark: float) -> None:
    env, rows = BatchedTactical(small(reward={"benchmark": benchmark}), 10, seed=9), 10
    env.reset()
    rng, place = np.random.default_rng(3), [c.name for c in TACTICAL.state_columns].index
    seen = []
    for _ in range(8):
        env.step(rng.integers(0, 5, (rows, 3)).astype(np.float32))
        accounts, bar = env.arrays.accounts, env.arrays.world.places["bar"]
        followed = benchmark * column(env, "strategic_target") * accounts["limit"]
        move = env.arrays.world.tape.ohlc[bar, 3] - accounts["mark"]
        gain = (accounts["position"] - followed) * move / accounts["equity"]
        told = env.states[:, place("held_move_1")]
        assert told == pytest.approx(np.clip(gain / 0.01, -10, 10), rel=1e-4, abs=1e-6)
        seen.append(np.abs(told).max())
    assert max(seen) > 0.0


def test_market_trades_at_once_and_twap_over_the_bar() -> None:
    """By F when the orders were sent: all at the bar's begin, or spread over it."""
    spread = {}
    for style in (MARKET, TWAP):
        env = BatchedTactical(small(tilt=NO_EXITS), 30, seed=5)
        env.reset()
        close = env.arrays.world.tape.ohlc[env.arrays.world.places["bar"] - 1, 3]
        env.step(joint(30, BUY_LARGE, style=style))
        worked = env.arrays.world.worked
        some = worked["quantity"] > 0
        sent = worked["reference_value"][some] / worked["quantity"][some]
        spread[style] = np.abs(sent - close[some]).mean()
    assert spread[TWAP] > 2.0 * spread[MARKET]
