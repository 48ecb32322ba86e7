"""Thinner flow has the spread, depth, volume and cost of the full one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.execution import ExecutionConfig
from configs.market import FlowConfig
from configs.thinning import THIN_TABLE, ThinPoint
from experiments.thin import SHARES, ThinFigures, measure
from market import book as lob
from market.record import record_market
from market.simulator import Simulator
from market.state import size_table
from market.thin import point_at, thin

PATHS = 1500
HOURS = 24


def test_a_factor_of_one_changes_nothing() -> None:
    flow = FlowConfig()
    assert thin(flow, 1.0) == flow
    assert point_at(1.0) == THIN_TABLE[0]


@pytest.mark.parametrize("factor", [1.3, 3.0, 7.0, 10.0])
def test_expected_volume_stays_and_shares_sum_to_one(factor: float) -> None:
    flow = FlowConfig()
    thinned = FlowConfig.model_validate(thin(flow, factor).model_dump())
    rates = [f.arrivals.messages_per_second * f.market_share for f in (flow, thinned)]
    sizes = [size_table(f.mean_size, f.size_dispersion).mean() for f in (flow, thinned)]
    assert rates[1] * sizes[1] == pytest.approx(rates[0] * sizes[0], rel=0.01)
    assert thinned.arrivals.messages_per_second == pytest.approx(25.0 / factor)


def test_the_table_is_read_between_its_rows_on_logarithms() -> None:
    factors = [point.factor for point in THIN_TABLE]
    assert factors == sorted(set(factors)) and factors[0] == 1.0 and factors[-1] >= 10.0
    for low, high in itertools.pairwise(THIN_TABLE):
        middle = point_at(float(np.sqrt(low.factor * high.factor)))
        for name in ThinPoint.model_fields:
            known = np.sqrt(getattr(low, name) * getattr(high, name))
            assert getattr(middle, name) == pytest.approx(known)


@pytest.mark.parametrize("factor", [0.5, 10.5, float("nan")])
def test_a_factor_that_was_not_measured_is_refused(factor: float) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 10"):
        thin(FlowConfig(), factor)


def test_a_flow_without_room_for_more_market_orders_is_refused() -> None:
    flow = FlowConfig(limit_share=0.55, market_share=0.4, cancel_share=0.05)
    with pytest.raises(ConfigError, match="to cancels, expected more than 0"):
        thin(flow, 5.0)


def test_a_book_that_runs_empty_on_one_side_never_crosses() -> None:
    """Orders that meet an empty side are priced from the reference, and stay uncrossed."""
    config = ExecutionConfig()
    arrivals = config.market.flow.arrivals.model_copy(update={"messages_per_second": 1.0})
    flow = config.market.flow.model_copy(
        update={"arrivals": arrivals, "mean_size": 2500.0, "resting_orders": 8}
    )
    config = config.model_copy(update={"market": config.market.model_copy(update={"flow": flow})})
    empty = 0
    for seed in range(4):
        recording = record_market(config, 3600.0, seed)
        empty += int(np.isnan(recording.mid).sum())
    assert empty > 100
    simulator = Simulator(config, 16)
    simulator.reset(np.arange(16), np.arange(16, dtype=np.uint64))
    headers = simulator.market.books.header
    assert (headers[:, lob.BEST_BID] < headers[:, lob.BEST_ASK]).all()


@pytest.fixture(scope="module")
def full() -> ThinFigures:
    config = ExecutionConfig()
    return measure(config, config.market.flow, HOURS, PATHS)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2.0, 5.0, 10.0])
def test_spread_depth_volume_and_cost_are_the_full_flows(full: ThinFigures, factor: float) -> None:
    config = ExecutionConfig()
    found = measure(config, thin(config.market.flow, factor), HOURS, PATHS)
    for name in ("spread", "depth", "volume"):
        assert getattr(found, name) == pytest.approx(getattr(full, name), rel=0.10), name
    for share, cost, error, wanted in zip(
        SHARES, found.cost, found.cost_error, full.cost, strict=True
    ):
        assert error < 0.04 * wanted
        assert cost == pytest.approx(wanted, rel=0.10), f"cost of {share:.0%}"
