"""What every component of a joint action does to orders, and what decode never does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.market import VENUE_COUNT
from envs.execution import BatchedExecution
from market import book as lob
from market import decode
from market.state import AGGRESSIVE, ASK, BID, FIRST_OWN, PASSIVE, SMART
from market.view import quote
from signals.execution import AGENTS, EXECUTION
from tests.market.episodes import (
    by_path,
    configured,
    decode_row,
    paired_seeds,
    parent_of,
    play,
    random_actions,
)
from trainers.baselines import ScheduleBaseline, neutral_action

ROWS = 48
SAMPLED_STEPS = (3, 17, 36, 55, 70)
LEAST_EFFECT = 0.05


@pytest.fixture(scope="module")
def states() -> tuple[BatchedExecution, list[dict[str, Any]]]:
    """An environment, and states of it along the trajectories of a random policy."""
    env = BatchedExecution(num_envs=ROWS, seed=8)
    env.reset()
    rng = np.random.default_rng(8)
    saved = []
    for step in range(SAMPLED_STEPS[-1] + 1):
        if step in SAMPLED_STEPS:
            saved.append(env.state_dict())
        env.step(random_actions(rng, ROWS))
    return env, saved


def components() -> list[tuple[str, int, bool]]:
    """(name, position in a joint action, supervised) of every component of a box."""
    out = []
    for index, agent in enumerate(AGENTS):
        if agent.kind == "box":
            start = EXECUTION.action_slice(index).start
            out += [
                (f"{agent.name}.{c.name}", start + i, c.supervised)
                for i, c in enumerate(agent.components)
            ]
    return out


@pytest.mark.parametrize(("name", "position", "supervised"), components())
def test_every_component_changes_orders_but_the_prediction(
    states: Any, name: str, position: int, supervised: bool
) -> None:
    env, saved = states
    rng = np.random.default_rng(position)
    changed, count = 0, 0
    for state in saved:
        env.load_state(state)
        base = random_actions(rng, ROWS)
        other = base.copy()
        other[:, position] = (base[:, position] + rng.uniform(0.25, 0.75, ROWS)) % 1.0
        running = np.flatnonzero(~env.terminations)
        if position == decode.URGENCY_SHIFT:
            pairs = _next_orders(env, state, running, base, other, rng)
        else:
            pairs = [(decode_row(env, n, base[n]), decode_row(env, n, other[n])) for n in running]
        changed += sum(a != b for a, b in pairs)
        count += len(pairs)
    assert count > 3 * ROWS
    if supervised:
        assert changed == 0, name
    else:
        assert changed / count >= LEAST_EFFECT, f"{name} changes orders in {changed} of {count}"


def _next_orders(
    env: BatchedExecution, state: Any, running: Any, base: Any, other: Any, rng: Any
) -> list[tuple[Any, Any]]:
    """Orders of one same action after a step under `base` and under `other`."""
    after = random_actions(rng, ROWS)
    orders = []
    for action in (base, other):
        env.load_state(state)
        env.step(action)
        orders.append({n: decode_row(env, n, after[n]) for n in running if not env.terminations[n]})
    assert orders[0].keys() == orders[1].keys()  # this step's orders are the same
    return [(orders[0][n], orders[1][n]) for n in orders[0]]


@pytest.mark.parametrize("choice", range(1, 5))
def test_every_risk_decision_differs_from_approval(states: Any, choice: int) -> None:
    env, saved = states
    rng = np.random.default_rng(choice)
    changed, count = 0, 0
    for state in saved:
        env.load_state(state)
        base = random_actions(rng, ROWS)
        base[:, decode.RISK_DECISION] = decode.APPROVE
        other = base.copy()
        other[:, decode.RISK_DECISION] = choice
        for n in np.flatnonzero(~env.terminations):
            changed += decode_row(env, n, base[n]) != decode_row(env, n, other[n])
            count += 1
    assert changed / count >= LEAST_EFFECT


def test_orders_are_lawful_and_never_more_than_available(states: Any) -> None:
    env, saved = states
    rng = np.random.default_rng(0)
    limits = env.config.child
    for state in saved:
        env.load_state(state)
        market = env.simulator.market
        for extreme in (False, True):
            actions = random_actions(rng, ROWS, extreme=extreme)
            for n in np.flatnonzero(~env.terminations):
                orders, parent = decode_row(env, n, actions[n]), parent_of(env, n)
                freed = sum(
                    int(owned[5])
                    for owned, flag in zip(market.owned[n], orders.cancels, strict=True)
                    if flag
                )
                quantities = [child[3] for child in orders.children]
                free = parent["remaining"] - parent["resting"] - parent["in_flight"] + freed
                assert sum(quantities) == orders.asked <= max(free, 0)
                assert all(q >= 1 for q in quantities)
                assert len(quantities) <= limits.max_children
                assert 0.0 <= orders.carry <= 1.0
                _check_children(env, n, orders.children, parent["side"])


def _check_children(env: BatchedExecution, n: int, children: Any, side: int) -> None:
    depth = env.simulator.market.depth[n]
    opposite = quote(depth, ASK if side > 0 else BID)
    for kind, venue, price, _, offset in children:
        assert kind in (AGGRESSIVE, PASSIVE)
        assert 0 <= venue <= SMART
        assert 0.0 <= offset <= env.config.step_seconds
        if kind == PASSIVE:
            assert side * (price - opposite) < 0
        else:
            assert price == opposite + side * env.config.child.sweep_ticks


def fresh(rows: int = 8, **overrides: Any) -> BatchedExecution:
    env = BatchedExecution(configured(**overrides), rows, seed=3)
    env.reset()
    return env


def test_venue_weights_are_normalised() -> None:
    env = fresh()
    action = neutral_action(8)
    action[:, decode.CHILDREN] = 1.0
    action[:, decode.SHARE] = 1.0
    weights = np.array([0.5, 0.25, 0.125, 0.0, 1.0], np.float32)
    for n in range(8):
        action[n, decode.FIRST_WEIGHT :][: len(weights)] = weights
        whole = decode_row(env, n, action[n])
        action[n, decode.FIRST_WEIGHT :][: len(weights)] = weights / 4
        assert decode_row(env, n, action[n]) == whole
        placed = np.zeros(VENUE_COUNT + 1)
        for _, venue, _, quantity, _ in whole.children:
            placed[0 if venue == SMART else venue + 1] += quantity
        largest = max(child[3] for child in whole.children)
        assert np.abs(placed - weights / weights.sum() * whole.asked).max() <= largest
        assert placed[3] == 0.0


def test_no_weight_at_all_goes_to_the_router() -> None:
    env = fresh()
    action = neutral_action(8)
    action[:, decode.FIRST_WEIGHT : decode.FIRST_WEIGHT + decode.VENUE_WEIGHTS] = 0.0
    action[:, decode.CHILDREN] = 1.0
    action[:, decode.SHARE] = 1.0
    for n in range(8):
        children = decode_row(env, n, action[n]).children
        assert children
        assert all(child[1] == SMART for child in children)


@pytest.mark.parametrize("venue", range(VENUE_COUNT))
def test_one_weight_alone_takes_everything(venue: int) -> None:
    env = fresh(1)
    action = neutral_action(1)
    action[:, decode.FIRST_WEIGHT] = 0.0
    action[:, decode.FIRST_WEIGHT + 1 + venue] = 0.01
    action[:, decode.CHILDREN] = 0.5
    assert {child[1] for child in decode_row(env, 0, action[0]).children} == {venue}


def twap_action(rows: int) -> NDArray[np.float32]:
    action = neutral_action(rows)
    action[:, decode.URGENCY] = 1.0
    action[:, decode.VOLATILITY_ADJUSTMENT] = 0.0
    return action


@pytest.mark.parametrize("largest", [0.0001, 0.1])
def test_the_neutral_action_is_twap_to_the_unit(largest: float) -> None:
    """Also where a step's slice is a part of a unit, which `carry` keeps."""
    config = configured(parent__participation_low=largest / 100, parent__participation_high=largest)
    env = BatchedExecution(config, 64, seed=2)
    env.reset()
    parents = env.simulator.market.parents
    quantity, horizon = parents["quantity"].copy(), config.parent.horizon_steps
    for step in range(1, horizon + 1):
        env.step(twap_action(64))
        filled = quantity - parents["remaining"]
        assert np.array_equal(filled, quantity * step // horizon), step
    assert parents["forced"].max() == 0


def test_volatility_adjustment_front_loads() -> None:
    env = fresh()
    action = twap_action(8)
    asked = []
    for adjustment in (0.0, 0.5, 1.0):
        action[:, decode.VOLATILITY_ADJUSTMENT] = adjustment
        asked.append([decode_row(env, n, action[n]).asked for n in range(8)])
    assert np.all(np.diff(asked, axis=0) >= 0)
    assert np.all(np.array(asked[2]) > np.array(asked[0]))


def resting_env() -> BatchedExecution:
    """Parents with resting orders and children in flight."""
    env = fresh(32)
    action = neutral_action(32)
    action[:, decode.SHARE] = 0.9
    action[:, decode.CHILDREN] = 0.5
    action[:, decode.SPACING] = 1.0
    action[:, decode.DELAY] = 1.0
    for _ in range(3):
        env.step(action)
    parents = env.simulator.market.parents
    assert (parents["resting"] > 0).sum() > 20
    assert (parents["in_flight"] > 0).sum() > 20
    return env


def choice(env: BatchedExecution, decision: int) -> NDArray[np.float32]:
    action = neutral_action(env.num_envs)
    action[:, decode.RISK_DECISION] = decision
    return action


def test_delay_sends_nothing_and_keeps_what_rests() -> None:
    env = resting_env()
    before = env.simulator.market.parents.copy()
    for n in range(env.num_envs):
        orders = decode_row(env, n, choice(env, decode.HOLD_CHILDREN)[n])
        assert not orders.children
        assert orders.carry == before[n]["carry"]
    env.step(choice(env, decode.HOLD_CHILDREN))
    after = env.simulator.market.parents
    # What was in flight arrives and rests, or takes; only the monitor's threshold cancels.
    kept = after["resting"] + after["last_filled"] + after["last_cancelled"]
    assert np.all(kept >= before["resting"])
    assert np.all(after["in_flight"] == 0)
    assert not after["stopped"].any()


def test_cancel_removes_children_only() -> None:
    env = resting_env()
    env.step(choice(env, decode.CANCEL_CHILDREN))
    parents = env.simulator.market.parents
    assert np.all(parents["resting"] == 0)
    assert np.all(parents["in_flight"] == 0)
    assert not env.terminations.any()
    assert np.all(parents["remaining"] > 0)
    assert np.all(parents["abandoned"] == 0)


def test_a_stop_completes_what_reduces_risk_and_abandons_the_rest() -> None:
    env = resting_env()
    reduces = env.simulator.market.parents["reduces_risk"] == 1
    assert reduces.any()
    assert not reduces.all()
    env.step(choice(env, decode.EMERGENCY_STOP))
    parents = env.simulator.market.parents
    assert env.terminations.all()
    assert np.all(parents["remaining"] == 0)
    assert np.all(parents["stopped"] == 1)
    assert np.all(parents["abandoned"][reduces] == 0)
    assert np.all(parents["forced"][reduces] > 0)
    assert np.all(parents["abandoned"][~reduces] > 0)
    filled = parents["filled_passive"] + parents["filled_aggressive"]
    assert np.array_equal(filled + parents["abandoned"], parents["quantity"])
    orders = env.simulator.market.books.orders
    own = (orders[:, :, lob.OWNER] >= FIRST_OWN) & (orders[:, :, lob.QUANTITY] > 0)
    assert not own.any()  # no own order is left in a book


def test_an_abandoned_remainder_is_charged_the_horizons_price_and_a_crossing() -> None:
    config = configured(parent__reducing_share=0.0)
    env = BatchedExecution(config, 16, seed=4)
    env.reset()
    env.step(choice(env, decode.EMERGENCY_STOP))
    market, rules = env.simulator.market, config.schedule
    for n in range(16):
        parent, episode = market.parents[n], market.episodes[n]
        quantity = parent["quantity"]
        price = episode["base"] + parent["arrival"]
        crossing = rules.half_spread_bp + rules.impact_slope_bp * quantity / episode["step_volume"]
        moved = parent["side"] * (market.path[n, parent["horizon"]] - parent["arrival"])
        fee = config.market.venues[0].taker_fee / config.market.tick
        impact = episode["impact_scale"] * np.sqrt(quantity)
        expected = (moved + impact + fee) / price * 1e4 + crossing
        assert env.episode_metrics[n][0] == pytest.approx(expected, rel=1e-9)


def stop_when_cheap(step: int, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Wait for the mid to stray below its own mean in the parent's favour, then stop."""
    names = [c.name for c in EXECUTION.columns]
    action = neutral_action(len(rows))
    action[:, decode.SHARE] = 0.0
    cheap = rows[:, names.index("reversion")] < -1.0
    action[:, decode.RISK_DECISION] = np.where(cheap, decode.EMERGENCY_STOP, decode.HOLD_CHILDREN)
    return action


def stop_at_once(step: int, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    action = neutral_action(len(rows))
    action[:, decode.RISK_DECISION] = decode.EMERGENCY_STOP
    return action


@pytest.mark.parametrize("aversion", [1e-3, 2e-2])
def test_a_stop_is_never_paid_for_by_itself(aversion: float) -> None:
    """Abandoning parents earns less than plain TWAP does, whatever the price of risk."""
    config = configured(parent__reducing_share=0.0, reward__risk_aversion=aversion)
    twap = ScheduleBaseline(config, risk_averse=False)
    worked, _ = play(lambda _, rows: twap.act(rows), config, rows=768)
    for policy in (stop_at_once, stop_when_cheap):
        stopped, _ = play(policy, config, rows=768)
        gain, error = by_path(stopped["reward"] - worked["reward"])
        assert gain < -2.0 * error
        cheaper, error = by_path(worked["shortfall_bp"] - stopped["shortfall_bp"])
        assert cheaper < 2.0 * error


def test_decoding_is_pure(states: Any) -> None:
    env, saved = states
    env.load_state(saved[1])
    rng = np.random.default_rng(1)
    actions = random_actions(rng, ROWS)
    before = env.state_dict()
    first = [decode_row(env, n, actions[n]) for n in range(ROWS)]
    assert first == [decode_row(env, n, actions[n]) for n in range(ROWS)]
    after = env.state_dict()
    assert all(
        np.array_equal(after["simulator"][k].view(np.uint8), v.view(np.uint8))
        for k, v in before["simulator"].items()
    )


def test_seeds_pair_both_sides() -> None:
    seeds = paired_seeds(8, 1)
    assert len(set(seeds.tolist())) == 8
    assert np.array_equal(seeds[::2] >> np.uint64(1), seeds[1::2] >> np.uint64(1))
