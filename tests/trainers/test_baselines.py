"""TWAP and Almgren-Chriss as policies: they execute the schedules that they are named after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.execution import ExecutionConfig
from envs.execution import BatchedExecution
from market import decode
from market.schedules import almgren_chriss_urgency
from signals.execution import EXECUTION
from tests.market.episodes import by_path, configured, play
from trainers.baselines import ScheduleBaseline, execution_baselines, share_component

ROWS = 32
SLICE = 5


def trajectory(
    policy: ScheduleBaseline, config: ExecutionConfig, rows: int = ROWS
) -> tuple[BatchedExecution, dict[str, NDArray[Any]]]:
    """The parents' records after each step, [steps, rows] by field."""
    env = BatchedExecution(config, rows, seed=31)
    env.reset()
    fields = ("remaining", "filled_passive", "filled_aggressive", "resting", "forced")
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in fields}
    for _ in range(config.parent.horizon_steps):
        env.step(policy.act(env.rows))
        for name in fields:
            found[name].append(env.simulator.market.parents[name].copy())
    assert env.terminations.all()
    return env, {name: np.array(values) for name, values in found.items()}


def test_twap_executes_evenly() -> None:
    config = configured()
    env, found = trajectory(ScheduleBaseline(config, risk_averse=False), config)
    quantity = env.simulator.market.parents["quantity"]
    steps = np.arange(1, config.parent.horizon_steps + 1)[:, None]
    done = quantity - found["remaining"]
    # float32 observations carry the share; the unit that rounding withholds comes a step later.
    assert np.abs(done - quantity * steps / config.parent.horizon_steps).max() < 1.5
    assert found["forced"][-1].max() == 0
    assert found["filled_passive"][-1].max() == 0


@pytest.mark.parametrize("aversion", [1e-3, 3e-2])
def test_almgren_chriss_keeps_the_closed_forms_holdings(aversion: float) -> None:
    """sinh(k left) / sinh(k horizon) of the parent, k from the variance known at its arrival."""
    config = configured(reward__risk_aversion=aversion, parent__participation_low=0.02)
    policy = ScheduleBaseline(config, risk_averse=True)
    env = BatchedExecution(config, ROWS, seed=31)
    env.reset()
    horizon, multiple = config.parent.horizon_steps, config.child.share_multiple
    parents, episodes = env.simulator.market.parents, env.simulator.market.episodes
    impact = config.schedule.impact_slope_bp * parents["quantity"] / episodes["step_volume"]
    variance = episodes["variance_slow"] * (1e4 / (episodes["base"] + parents["arrival"])) ** 2
    kappa = np.array(
        [almgren_chriss_urgency(aversion, v, i) for v, i in zip(variance, impact, strict=True)]
    )
    for left in range(horizon, 1, -1):
        before = parents["remaining"].copy()
        planned = parents["quantity"] * np.sinh(kappa * (left - 1)) / np.sinh(kappa * horizon)
        owed = np.clip(before - planned, 0.0, before * multiple / left)
        env.step(policy.act(env.rows))
        traded = before - parents["remaining"]
        # A unit for whole lots, the rest for the float32 of what the policy reads.
        assert np.abs(traded - owed).max() < 1.1 + 1e-4 * parents["quantity"].max()
    assert parents["forced"].max() == 0


def test_more_aversion_trades_earlier() -> None:
    half = []
    for aversion in (1e-4, 1e-3, 1e-2):
        config = configured(reward__risk_aversion=aversion)
        env, found = trajectory(ScheduleBaseline(config, risk_averse=True), config)
        half.append((found["remaining"][37] / env.simulator.market.parents["quantity"]).mean())
    assert half[0] > half[1] > half[2]


@pytest.mark.parametrize("risk_averse", [False, True])
def test_passive_forms_rest_and_cross_at_slice_ends(risk_averse: bool) -> None:
    config = configured(parent__participation_low=0.01)
    policy = ScheduleBaseline(config, risk_averse, slice_steps=SLICE)
    env, found = trajectory(policy, config)
    quantity = env.simulator.market.parents["quantity"]
    crossed = np.diff(found["filled_aggressive"], axis=0, prepend=0)
    ends = np.arange(config.parent.horizon_steps) % SLICE == SLICE - 1
    # Between slice ends nothing crosses, and something rests.
    assert crossed[~ends].max() == 0
    assert crossed[ends].max() > 0
    assert (found["resting"][~ends] > 0).mean() > 0.2
    assert found["filled_passive"][-1].sum() > found["filled_aggressive"][-1].sum()
    # What the slice's queue left is crossed at its end, but for orders alone at the best quote.
    if not risk_averse:
        steps = np.arange(1, config.parent.horizon_steps + 1)[:, None]
        due = quantity * (1 - steps / config.parent.horizon_steps)
        late = (found["remaining"] - found["resting"] - due) / quantity
        assert late[ends].max() < 0.02
    assert found["forced"][-1].mean() / quantity.mean() < 0.02


def test_all_forms_complete_every_parent() -> None:
    config = configured()
    for name, policy in execution_baselines(config, SLICE).items():
        _, found = trajectory(policy, config)
        assert np.all(found["remaining"][-1] == 0), name


def test_waiting_in_the_queue_is_cheaper_than_crossing_here() -> None:
    config = configured()
    baselines = execution_baselines(config, SLICE)
    cost = {}
    for name in ("twap", "twap_passive"):
        policy = baselines[name]
        metrics, _ = play(lambda _, rows, p=policy: p.act(rows), config, rows=256)
        cost[name] = metrics["shortfall_bp"]
    gain, error = by_path(cost["twap"] - cost["twap_passive"])
    assert gain > 2.0 * error


def test_extreme_urgency_neither_overflows_nor_stalls() -> None:
    config = configured(reward__risk_aversion=1e6)
    row = np.zeros((3, EXECUTION.row_width), np.float32)
    names = [column.name for column in EXECUTION.columns]
    row[:, names.index("time_left")] = [1.0, 0.5, 1 / 75]
    row[:, names.index("remaining_share")] = 1.0
    row[:, names.index("volatility_long")] = 2.0
    for slice_steps in (1, SLICE):
        policy = ScheduleBaseline(config, risk_averse=True, slice_steps=slice_steps)
        with np.errstate(all="raise", under="ignore"):
            action = policy.act(row)
        assert np.all(np.isfinite(action))
        wanted = np.array([1.0, share_component(np.array([38.0]), 8.0)[0], 0.5])
        assert action[:, decode.SHARE] == pytest.approx(wanted, abs=1e-6)


def test_actions_lie_in_their_space() -> None:
    rng = np.random.default_rng(0)
    low = np.array([c.low for c in EXECUTION.columns])
    high = np.array([c.high for c in EXECUTION.columns])
    rows = (low + rng.random((500, EXECUTION.row_width)) * (high - low)).astype(np.float32)
    for policy in execution_baselines(ExecutionConfig(), SLICE).values():
        action = policy.act(rows)
        assert action.shape == (500, EXECUTION.action_width)
        assert np.all(np.isfinite(action))
        assert np.all(action >= 0.0)
        assert np.all(np.delete(action, decode.RISK_DECISION, axis=1) <= 1.0)
