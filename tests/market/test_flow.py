"""Background flow: its arrivals, its memory, and the facts that a real market shows."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from configs.execution import ExecutionConfig
from configs.facts import FactsConfig
from market.arrivals import decayed, draw_activity, exponential
from market.desk import best_ask, best_bid, desk_at
from market.facts import facts
from market.own import advance
from market.pointers import pointer
from market.random import hash64
from market.record import record_market
from market.simulator import Simulator
from market.state import ARBITRAGEUR, FIRST_OWN, PATIENT, exponential_table
from tests.market.episodes import configured

HOURS = 12


@pytest.fixture(scope="module")
def hours() -> list[Any]:
    """Recordings of the built-in market, an hour each."""
    return [record_market(ExecutionConfig(), 3600.0, seed) for seed in range(HOURS)]


@pytest.mark.slow
def test_every_stylised_fact_lies_in_its_range(hours: list[Any]) -> None:
    found = facts(hours, FactsConfig())
    judged = [fact for fact in found if fact.met is not None]
    assert len(judged) >= 7
    assert not [(fact.name, fact.value) for fact in judged if not fact.met]
    assert next(fact for fact in found if fact.name == "locked_or_crossed").value


def test_the_rate_of_messages_is_what_was_asked(hours: list[Any]) -> None:
    rates = [len(hour.message_time) / hour.seconds for hour in hours]
    assert np.mean(rates) == pytest.approx(25.0, rel=0.15)
    # Self-excitation bunches them: a Poisson process has 1.
    gaps = np.concatenate([np.diff(hour.message_time) for hour in hours])
    assert gaps.std() / gaps.mean() > 1.15


def test_makers_gain_little_from_being_hit(hours: list[Any]) -> None:
    """Ten seconds after a trade most of the half spread is gone: who waits is picked off."""
    effective, realised = [], []
    for hour in hours:
        times, first = np.unique(hour.trade_time, return_index=True)
        side, price = hour.trade_side[first], hour.trade_price[first]
        before = np.maximum(np.searchsorted(hour.quote_time, times, side="left") - 1, 0)
        after = np.searchsorted(hour.quote_time, times + 10.0, side="right") - 1
        effective.append(side * (price - hour.mid[before]))
        realised.append(side * (price - hour.mid[after]))
    half_spread = np.nanmean(np.concatenate(effective))
    assert half_spread > 0.4
    assert abs(np.nanmean(np.concatenate(realised))) < 0.35 * half_spread


@numba.njit
def exponentials(table: Any, count: int) -> Any:
    out = np.empty(count)
    for index in range(count):
        out[index] = exponential(pointer(table), hash64(np.uint64(5), index))
    return out


def test_exponential_numbers_have_their_law() -> None:
    drawn = exponentials(exponential_table(), 1_000_000)
    assert drawn.min() > 0.0
    for power, moment in ((1, 1.0), (2, 2.0), (3, 6.0)):
        assert np.mean(drawn**power) == pytest.approx(moment, rel=0.02)
    for share in (1e-4, 1e-2, 0.3, 0.9):
        assert np.mean(drawn > -np.log(share)) == pytest.approx(
            share, rel=0.25 if share < 1e-3 else 0.02
        )


def test_decay_is_the_exponential() -> None:
    exponents = np.concatenate([np.linspace(0.0, 1.5, 400), [3.0, 20.0, 700.0, 1e4]])
    found = np.array([decayed(x) for x in exponents])
    assert found == pytest.approx(np.exp(-exponents), rel=2e-6, abs=1e-300)


def test_activity_has_mean_one_and_remembers() -> None:
    memories = np.array([20.0, 120.0, 900.0])
    paths = np.empty((3000, 75))
    for row, path in enumerate(paths):
        draw_activity(np.uint64(row), 4.0, memories, 0.7, path)
    assert paths.mean() == pytest.approx(1.0, abs=0.04)
    logs = np.log(paths)
    assert logs[:, 0].std() == pytest.approx(0.7, rel=0.05)
    assert logs[:, -1].std() == pytest.approx(0.7, rel=0.05)
    lags = np.array([1, 5, 30])
    expected = np.mean(np.exp(-4.0 * lags / memories[:, None]), axis=0)
    found = [np.corrcoef(logs[:, 0], logs[:, lag])[0, 1] for lag in lags]
    assert found == pytest.approx(expected, abs=0.05)


@numba.njit
def run_alone(market: Any, n: int, until: float) -> int:
    """Advance in steps of .1 s; the times at which venues were locked or crossed."""
    crossed = 0
    desk, flow = desk_at(market, n), market.flow[0]
    time = 0.0
    while time < until:
        time += 0.1
        advance(desk, flow, time)
        if best_bid(desk) >= best_ask(desk, flow):
            crossed += 1
    return crossed


def test_arbitrageurs_take_what_is_locked_or_crossed() -> None:
    config = configured(market__flow__local_share=0.2, market__flow__arbitrage_seconds=0.05)
    slow = configured(market__flow__local_share=0.2, market__flow__arbitrage_seconds=5.0)
    crossed = []
    for settings in (config, slow):
        simulator = Simulator(settings, 1)
        simulator.reset(np.arange(1), np.array([3], np.uint64))
        crossed.append(run_alone(simulator.market, 0, 300.0))
        takers = simulator.market.tape[0, : min(simulator.market.tape_count[0], 4096), 1]
        assert np.any(takers == ARBITRAGEUR)
    assert crossed[0] < 0.1 * 3000
    assert crossed[1] > 3 * crossed[0]


def test_patient_orders_live_longer_and_further_off() -> None:
    simulator = Simulator(ExecutionConfig(), 64)
    simulator.reset(np.arange(64), np.arange(64, dtype=np.uint64))
    market = simulator.market
    for n in range(64):
        run_alone(market, n, 200.0)
    orders = market.books.orders.reshape(64, 4, -1, market.books.orders.shape[-1])
    mid = market.episodes["last_mid"]
    distance: dict[bool, list[float]] = {True: [], False: []}
    resting = 0
    for n in range(64):
        for venue in range(4):
            count = market.books.header[n * 4 + venue, 4]
            live = market.books.live[n * 4 + venue, :count]
            rows = orders[n, venue, live]
            assert np.all(rows[:, 5] < FIRST_OWN)
            for row in rows:
                distance[bool(row[5] == PATIENT)].append(abs(row[2] - mid[n]))
            resting += count
    patient, impatient = len(distance[True]), len(distance[False])
    # A quarter of what comes, and several times as large a share of what rests.
    assert patient / (patient + impatient) > 0.45
    assert np.mean(distance[True]) > 1.2 * np.mean(distance[False])
    assert 150 < resting / 64 < 800
