"""Paper execution: the environments' market to the bit, and every order accounted for."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.execution import ExecutionConfig
from configs.market import GeneratorReference
from market.bar_tape import BarTape, bar_tape
from market.decode import ACTION_WIDTH, CHILD, RISK_DECISION, decode
from market.kernels import kernel
from market.paper import PaperMarket
from market.simulator import Simulator
from market.synthetic import synthetic_bars

CONFIG = ExecutionConfig()
MINUTES = 5.0


@cache
def tape() -> BarTape:
    tick = CONFIG.market.tick
    bars = synthetic_bars(GeneratorReference(), 200, MINUTES, tick, 3, CONFIG.market.flow)
    return bar_tape(bars, MINUTES, tick, 46)


@kernel
def _decode(
    action: Any, market: Any, rules: Any, children: Any, cancels: Any, decision: Any
) -> None:
    decode(
        action,
        market.parents[0],
        market.episodes[0],
        market.depth[0],
        market.owned[0],
        rules[0],
        children,
        cancels,
        decision[0],
    )


def decide(venue: PaperMarket, action: NDArray[np.float32]) -> None:
    paper = venue.paper
    _decode(
        action,
        venue.simulator.market,
        paper.rules,
        paper.children,
        paper.cancels,
        paper.decision,
    )


def actions(seed: int, stops: bool = False) -> Any:
    rng = np.random.default_rng(seed)
    while True:
        action = rng.uniform(0.0, 1.0, ACTION_WIDTH).astype(np.float32)
        action[RISK_DECISION] = rng.choice([0, 0, 0, 1, 2, 3, 4 if stops else 0])
        yield action


def settled(venue: PaperMarket) -> None:
    """Every unit and every order that was sent is filled, cancelled, rejected or open."""
    tally = {name: int(venue.paper.tally[name][0]) for name in venue.paper.tally.dtype.names}
    ends = ("filled", "cancelled", "rejected")
    units = sum(tally[f"units_{how}"] for how in ends)
    orders = sum(tally[f"orders_{how}"] for how in ends)
    assert tally["units_sent"] == units + venue.open_units
    assert tally["orders_sent"] == orders + venue.open_orders


@pytest.mark.parametrize("bar", [60, 61, 99])
def test_paper_is_the_simulator_to_the_bit(bar: int) -> None:
    venue = PaperMarket(CONFIG, tape(), seed=5)
    venue.begin(bar, 4000 if bar % 2 else -4000, reduces_risk=False)
    twin = Simulator(venue.config, 1, source=venue._source)
    twin.load_state(venue.simulator.state_dict())
    rows, drawn = np.zeros(1, np.int64), actions(bar)
    steps = 0
    while not venue.done:
        action = next(drawn)
        decide(venue, action)
        venue.step(action)
        twin.step(rows, action[None])
        settled(venue)
        steps += 1
        mine, theirs = venue.simulator.state_dict(), twin.state_dict()
        for name in theirs:
            assert mine[name].tobytes() == theirs[name].tobytes(), (name, steps)
    parent = venue.simulator.market.parents[0]
    worked = venue.worked()[0]
    assert worked["quantity"] == parent["quantity"] == 4000
    assert worked["slippage"] == pytest.approx(float(parent["slippage"]))
    assert worked["passive"] == parent["filled_passive"]
    assert worked["forced"] == parent["forced"]
    assert steps > 1


def test_fills_and_ends_add_up_by_order() -> None:
    venue = PaperMarket(CONFIG, tape(), seed=6)
    drawn = actions(1, stops=True)
    sent: dict[int, int] = {}
    for bar in range(60, 75):
        venue.begin(bar, 3000 if bar % 2 else -3000, reduces_risk=bar % 3 == 0)
        while not venue.done:
            action = next(drawn)
            decide(venue, action)
            first = int(venue.paper.report["next_id"][0])
            children = int(venue.paper.decision["children"][0])
            for index in range(children):
                sent[first + index] = int(venue.paper.children["quantity"][index])
            venue.step(action)
            forced = int(venue.paper.report["forced_id"][0])
            if forced >= 0:
                mine = venue.fills["id"] == forced
                sent[forced] = int(venue.fills["quantity"][mine].sum())
            for fill in venue.fills:
                sent[int(fill["id"])] -= int(fill["quantity"])
            for end in venue.ended:
                sent[int(end["id"])] -= int(end["quantity"])
            settled(venue)
        assert venue.open_orders == 0
        assert venue.open_units == 0
    assert sent
    assert not any(sent.values())


def test_refused_children_are_not_sent_and_an_unfinished_parent_is_given_up() -> None:
    venue = PaperMarket(CONFIG, tape(), seed=7)
    venue.begin(80, 5000, reduces_risk=False)
    action = np.full(ACTION_WIDTH, 0.5, np.float32)
    action[RISK_DECISION] = 0
    while not venue.done:
        decide(venue, action)
        refused = int(venue.paper.children["quantity"].sum())
        venue.paper.children[...] = np.zeros((), CHILD)
        venue.step(action, refused, complete=False)
    parent = venue.simulator.market.parents[0]
    assert parent["abandoned"] == 5000
    assert int(venue.paper.tally["orders_sent"][0]) == 0
    assert int(venue.worked()["quantity"][0]) == 0
