"""Own impact: it fades, it follows the square root, and no round trip lives off it."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.execution import ExecutionConfig
from configs.facts import FactsConfig
from configs.market import ImpactConfig
from market.desk import desk_at
from market.facts import impact_facts
from market.impact import add_own_volume
from market.simulator import Simulator
from market.trips import pump_and_dump, random_trip, round_trips
from tests.market.episodes import configured
from trainers.impact_curve import fixed_horizon, fixed_participation


@pytest.mark.slow
def test_impact_grows_with_the_square_root_of_volume() -> None:
    config = ExecutionConfig()
    curves = {"horizon": fixed_horizon(config, 256), "share": fixed_participation(config, 128)}
    for fact in impact_facts(curves, FactsConfig()):
        assert fact.met, (fact.name, fact.value)
        assert fact.low is not None and fact.high is not None
        assert fact.high - fact.low < 0.1


@pytest.mark.parametrize("plan", [random_trip, pump_and_dump])
def test_round_trips_lose(plan: Any) -> None:
    profit = round_trips(ExecutionConfig(), plan, 768)
    error = profit.std() / np.sqrt(len(profit))
    assert profit.mean() + 3.0 * error < 0.0


def test_without_impact_a_round_trip_still_pays_the_spread() -> None:
    profit = round_trips(configured(market__flow__impact__scale=0.0), random_trip, 512)
    assert -3.0 < profit.mean() < -0.5


@numba.njit
def impact_after(market: Any, times: Any, volumes: Any, out: Any) -> None:
    """The impact right after each fill of `volumes` at `times`."""
    desk = desk_at(market, 0)
    for index in range(len(times)):
        market.episodes[0].clock = times[index]
        add_own_volume(desk, volumes[index])
        out[index] = market.episodes[0].impact


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(ExecutionConfig(), 1)


def impacts(simulator: Simulator, times: list[float], volumes: list[float]) -> Any:
    simulator.reset(np.arange(1), np.zeros(1, np.uint64))
    out = np.empty(len(times))
    impact_after(simulator.market, np.array(times), np.array(volumes), out)
    return out


def test_impact_follows_its_formula(simulator: Simulator) -> None:
    times, volumes = [0.0, 3.0, 40.0, 41.0, 4000.0], [500.0, 1500.0, -700.0, 0.0, 0.0]
    found = impacts(simulator, times, volumes)
    law, episode = ImpactConfig(), simulator.market.episodes[0]
    state, now = np.zeros(5), 0.0
    scale = law.scale * np.sqrt(simulator.source.prior_sigma**2 / episode["step_volume"])
    for time, volume, impact in zip(times, volumes, found, strict=True):
        state = state * np.exp(-(time - now) / np.array(law.seconds)) + volume
        now = time
        expected = np.sum(np.array(law.weights) * np.sign(state) * np.sqrt(np.abs(state)))
        # The scale is of the volatility known when the episode began.
        ratio = impact / expected
        assert ratio == pytest.approx(found[0] / np.sqrt(500.0), rel=1e-5)
    assert found[0] / np.sqrt(500.0) == pytest.approx(scale, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.05, 600.0), st.integers(-3000, 3000)), min_size=2, max_size=30)
)
def test_no_round_trip_in_small_fills_profits_from_impact(
    simulator: Simulator, legs: list[tuple[float, int]]
) -> None:
    """Each leg in a hundred fills, so that it pays the impact it makes; at the end, flat."""
    parts = 100
    closing = -sum(volume for _, volume in legs)
    time, times, volumes = 0.0, [], []
    for gap, volume in [*legs, (1.0, closing)]:
        time += gap
        times += [time + 1e-6 * k for k in range(parts)]
        volumes += [volume / parts] * parts
    found = impacts(simulator, times, volumes)
    # Paid at the mean of the impact before and after each fill.
    before = np.concatenate([[0.0], found[:-1]])
    cost = float(np.sum(np.array(volumes) * 0.5 * (before + found)))
    traded = float(np.sum(np.abs(volumes)))
    assert cost >= -2e-3 * max(traded, 1.0)
