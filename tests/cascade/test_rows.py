"""Rows that the cascade writes are the environments' to the bit, and so are targets."""

from __future__ import annotations

import numpy as np
import pytest

from cascade import rows
from configs.barwise import SeriesConfig, TacticalSeriesConfig
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from envs.strategic import BatchedStrategic
from envs.tactical import BatchedTactical
from signals.strategic import MATRIX as SLOW
from signals.strategic import REGIMES, STRATEGIC
from signals.tactical import MATRIX as FAST
from signals.tactical import TACTICAL

STEPS = 40


def test_the_limit_is_the_environments() -> None:
    for config, env in (
        (StrategicConfig(series=SeriesConfig(bars=6000)), BatchedStrategic),
        (TacticalConfig(series=TacticalSeriesConfig(bars=6000)), BatchedTactical),
    ):
        made = env(config, 1)
        assert rows.position_limit(config) == int(made.arrays.rules["limit"][0])


def test_tactical_rows_and_targets_are_the_environments() -> None:
    config = TacticalConfig(series=TacticalSeriesConfig(bars=6000))
    env, rng = BatchedTactical(config, 2, seed=3), np.random.default_rng(0)
    env.reset()
    arrays, rules = env.arrays, rows.tactical_rules(config)
    limits, scale = rows.account_breakers(config), rows.risk_scale(config.risk)
    out = np.zeros(TACTICAL.row_width, np.float32)
    checked = 0
    for _ in range(STEPS):
        action = rng.integers(0, 5, (2, 3)).astype(np.float32)
        expected, choices = [], np.zeros((2, 3), np.float32)
        for n in range(2):
            place = arrays.world.places[n]
            bar, end = int(place["bar"]), int(arrays.last_bars[n])
            account = arrays.accounts[n : n + 1]
            said = np.array([*arrays.strategic[n], arrays.strategic_targets[n], arrays.phases[n]])
            sigma = float(arrays.world.tape.sigma[min(bar, end)])
            use = rows.risk_use(account, sigma, scale, config.risk.day_bars)
            window = env.rows[n, : len(FAST)].copy()
            args = (account, limits, bar >= end)
            left, range_ = (end - bar + 1) / config.horizon_bars, float(arrays.ranges[bar - 1])
            rows.write_tactical(
                window, *args, left, said, range_, use, rules, arrays.choices[n], out
            )
            assert out.tobytes() == env.rows[n].tobytes()
            target, _ = rows.take_tactical(
                action[n], *args, float(arrays.strategic_targets[n]), range_, rules, choices[n]
            )
            limit, style = int(account["limit"][0]), int(choices[n, 2])
            held = int(account["position"][0])
            expected.append(held if style == 0 else round(target * limit))
            checked += 1
        env.step(action)
        assert (arrays.choices == choices).all()
        assert arrays.accounts["position"].tolist() == expected
        if env.terminations.any():
            break
    assert checked > STEPS


def test_strategic_rows_and_targets_are_the_environments() -> None:
    config = StrategicConfig(series=SeriesConfig(bars=6000))
    env, rng = BatchedStrategic(config, 2, seed=4), np.random.default_rng(1)
    env.reset()
    arrays, rules = env.arrays, rows.strategic_rules(config)
    limits = rows.account_breakers(config)
    out, wide = np.zeros(STRATEGIC.row_width, np.float32), len(SLOW) + len(REGIMES)
    for _ in range(STEPS):
        action = rng.integers(0, 5, (2, 4)).astype(np.float32)
        expected, choices = [], np.zeros((2, 4), np.float32)
        for n in range(2):
            bar, end = int(arrays.world.places[n]["bar"]), int(arrays.last_bars[n])
            account, windows = arrays.accounts[n : n + 1], env.rows[n, :wide].copy()
            args = (account, limits, bar >= end)
            left = (end - bar + 1) / config.horizon_bars
            rows.write_strategic(windows, *args, left, arrays.sharpe[n], arrays.choices[n], out)
            assert out.tobytes() == env.rows[n].tobytes()
            target = rows.take_strategic(action[n], *args, rules, choices[n])
            expected.append(round(target * int(account["limit"][0])))
        env.step(action)
        assert (arrays.choices == choices).all()
        assert arrays.accounts["position"].tolist() == expected


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_limit_grows_with_participation(share: float) -> None:
    config = TacticalConfig()
    account = config.account.model_copy(update={"limit_participation": share})
    larger = config.model_copy(update={"account": account})
    wanted = rows.position_limit(config) * share / config.account.limit_participation
    assert rows.position_limit(larger) == pytest.approx(wanted, abs=1)
