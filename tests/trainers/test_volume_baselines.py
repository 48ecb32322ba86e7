"""VWAP and POV follow the volume that the market trades, and see none of what is to come."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.errors import TrainingError
from configs.execution import ExecutionConfig
from envs.execution import BatchedExecution
from market.worker import SLOW
from tests.market.episodes import configured
from trainers.baselines import ScheduleBaseline
from trainers.volume_baselines import VolumeBaseline, volume_baselines

ROWS = 24


def _played(
    policy: ScheduleBaseline, config: ExecutionConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64], BatchedExecution]:
    """Share done and the market's volume over the expected one after each step, [steps, N]."""
    env = BatchedExecution(config, ROWS, seed=31)
    env.reset()
    if isinstance(policy, VolumeBaseline):
        policy.watch(env)
    policy.reset(ROWS)
    market = env.simulator.market
    expected = market.episodes["step_volume"] * config.parent.horizon_steps
    done, counted = [], []
    for _ in range(config.parent.horizon_steps):
        actions = policy.act(env.rows)
        if isinstance(policy, VolumeBaseline):
            counted.append(policy._volume / expected)
        env.step(actions)
        parents = market.parents
        done.append(1.0 - parents["remaining"] / parents["quantity"])
    assert env.terminations.all()
    return np.array(done), np.array(counted), env


@pytest.fixture(scope="module")
def config() -> ExecutionConfig:
    # Parents of many units, so that lots hide nothing of the schedule.
    return configured(parent__participation_low=0.05)


def test_the_volume_counted_is_the_markets(config: ExecutionConfig) -> None:
    _, counted, _ = _played(volume_baselines(config, 5)["vwap"], config)
    assert (counted[0] == 0.0).all()
    assert (np.diff(counted, axis=0) >= -1e-9).all()
    # Of what was expected over the horizon, about all by its last step.
    assert 0.5 < counted[-1].mean() < 2.0


def test_pov_keeps_its_rate_of_the_volume_so_far(config: ExecutionConfig) -> None:
    done, counted, _ = _played(volume_baselines(config, 5)["pov"], config)
    before = slice(5, -1)  # the last step crosses what is left
    ahead = done[:-1][before] - np.minimum(counted[1:], 1.0)[before]
    assert np.abs(ahead).mean() < 0.05
    twap, _, _ = _played(ScheduleBaseline(config, risk_averse=False), config)
    assert np.abs(done - twap)[before].mean() > np.abs(ahead).mean()
    assert done[-1] == pytest.approx(1.0)


def test_vwap_ends_with_the_share_of_volume_that_came(config: ExecutionConfig) -> None:
    done, counted, _ = _played(volume_baselines(config, 5)["vwap"], config)
    share = counted[1:] / counted[-1]
    assert np.abs(done[:-1] - share)[5:-1].mean() < 0.06
    assert done[-1] == pytest.approx(1.0)


def test_where_volume_comes_late_vwap_waits_and_pov_waits_longer(config: ExecutionConfig) -> None:
    """A planted market: nothing trades in the first half, then three times the usual volume."""
    horizon, usual = config.parent.horizon_steps, 100.0
    market = SimpleNamespace(
        episodes={"step_volume": np.array([usual]), "volume_mean": np.array([usual])}
    )
    plans = {}
    for name in ("vwap", "pov"):
        policy = volume_baselines(config, 5)[name]
        policy.watch(SimpleNamespace(simulator=SimpleNamespace(market=market)))
        policy.reset(1)
        market.episodes["volume_mean"][:] = usual
        open_ = []
        for step in range(horizon):
            if step > 0:
                came = 0.0 if step <= horizon // 2 else 3.0 * usual
                market.episodes["volume_mean"] += SLOW * (came - market.episodes["volume_mean"])
            left = np.array([float(horizon - step)])
            open_.append(policy._open(np.zeros((1, 1)), left, left - 1.0)[0])
        plans[name] = np.array(open_)
    half, late = horizon // 2 - 1, int(0.9 * horizon)
    clock = 1.0 - (np.arange(horizon) + 1.0) / horizon
    assert plans["pov"][half] > plans["vwap"][half] > clock[half] + 0.3
    assert plans["vwap"][late] < 0.3
    assert plans["vwap"][-1] == plans["pov"][-1] == 0.0


def test_the_passive_forms_wait_in_the_queue(config: ExecutionConfig) -> None:
    for name in ("vwap_passive", "pov_passive"):
        _, _, env = _played(volume_baselines(config, 5)[name], config)
        assert env.simulator.market.parents["filled_passive"].sum() > 0


def test_without_an_environment_there_is_no_volume_to_follow(config: ExecutionConfig) -> None:
    env = BatchedExecution(config, 2, seed=1)
    env.reset()
    policy = volume_baselines(config, 5)["pov"]
    policy.reset(2)
    with pytest.raises(TrainingError, match="watch"):
        policy.act(env.rows)
