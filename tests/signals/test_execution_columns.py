"""The observation kernel against the column table and a plain recomputation by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.market import VENUE_COUNT
from envs.execution import BatchedExecution
from market.state import ASK, BID
from signals.execution import AGENTS, EXECUTION
from signals.execution_rows import observe, observe_privileged
from tests.market.episodes import configured, parent_of, play, random_actions

ROWS = 16
NAMES = [column.name for column in EXECUTION.state_columns]
VENUES = ("arca", "nasdaq", "nyse", "bats")
Levels = dict[int, int]


@pytest.fixture(scope="module")
def env() -> BatchedExecution:
    """Rows in the middle of episodes of a random policy."""
    env = BatchedExecution(num_envs=ROWS, seed=21)
    env.reset()
    rng = np.random.default_rng(21)
    for _ in range(23):
        env.step(random_actions(rng, ROWS))
    return env


def named(env: BatchedExecution, n: int) -> dict[str, float]:
    return dict(zip(NAMES, env.states[n].tolist(), strict=True))


def ladder(env: BatchedExecution, n: int, half: int) -> list[Levels]:
    """Price to quantity of each venue, from the view."""
    depth = env.simulator.market.depth[n, :, half]
    return [{int(p): int(q) for p, q in venue if p >= 0} for venue in depth]


def best(levels: list[Levels], half: int) -> int:
    prices = [price for venue in levels for price in venue]
    return max(prices) if half == BID else min(prices)


def total(levels: list[Levels], half: int, count: int) -> int:
    prices = sorted({p for venue in levels for p in venue}, reverse=half == BID)[:count]
    return sum(venue.get(price, 0) for venue in levels for price in prices)


def expected_market(env: BatchedExecution, n: int) -> dict[str, float]:
    parent, episode = parent_of(env, n), env.simulator.market.episodes[n]
    side = parent["side"]
    halves = {half: ladder(env, n, half) for half in (BID, ASK)}
    own, opposite = (BID, ASK) if side > 0 else (ASK, BID)
    bid, ask = best(halves[BID], BID), best(halves[ASK], ASK)
    volume = float(episode["step_volume"])

    def size(quantity: float) -> float:
        return math.log(1 + 10 * quantity / volume) / 3

    out = {"spread": math.log(1 + ask - bid) / 4}
    out["spread_smart"] = out["spread"]
    for levels in (1, 3, 5):
        bids, asks = total(halves[BID], BID, levels), total(halves[ASK], ASK, levels)
        out[f"imbalance_{levels}"] = side * (bids - asks) / (bids + asks)
    bid_size, ask_size = total(halves[BID], BID, 1), total(halves[ASK], ASK, 1)
    micro = (bid * ask_size + ask * bid_size) / (bid_size + ask_size)
    out["microprice_offset"] = side * (micro - (bid + ask) / 2)
    out["own_best_size"] = size(total(halves[own], own, 1))
    out["opposite_best_size"] = size(total(halves[opposite], opposite, 1))
    out["depth_smart"] = size(bid_size + ask_size)
    to_bp = 1e4 / (episode["base"] + parent["arrival"])
    out["volatility"] = math.log(1 + math.sqrt(episode["variance_fast"]) * to_bp) / 2
    out["volatility_long"] = math.log(1 + math.sqrt(episode["variance_slow"]) * to_bp) / 2
    out["arrival_move"] = side * ((bid + ask) / 2 - parent["arrival"]) * to_bp / 10
    offered = total(halves[opposite], opposite, 1)
    quote = best(halves[opposite], opposite)
    joined = best(halves[own], own)
    for venue, name in enumerate(VENUES):
        bids, asks = halves[BID][venue], halves[ASK][venue]
        out[f"spread_{name}"] = math.log(1 + min(asks) - max(bids)) / 4
        out[f"depth_{name}"] = size(bids[max(bids)] + asks[min(asks)])
        out[f"opposite_share_{name}"] = halves[opposite][venue].get(quote, 0) / offered
        out[f"queue_{name}"] = size(halves[own][venue].get(joined, 0))
    out["opposite_venues"] = sum(quote in venue for venue in halves[opposite]) / VENUE_COUNT
    out["own_venues"] = sum(joined in venue for venue in halves[own]) / VENUE_COUNT
    return out


def expected_parent(env: BatchedExecution, n: int) -> dict[str, float]:
    parent, episode = parent_of(env, n), env.simulator.market.episodes[n]
    rules = env.config
    open_share = parent["remaining"] / parent["quantity"]
    elapsed = parent["step"] / parent["horizon"]
    price = episode["base"] + parent["arrival"]
    sigma = math.sqrt(episode["variance_slow"]) / price * 1e4
    steps = parent["horizon"] - parent["step"]
    risk = 1.6448536 * sigma * open_share * math.sqrt(steps) / rules.reward.var_limit_bp
    asked = max(parent["last_asked"], 1)
    return {
        "remaining_share": open_share,
        "time_left": 1 - elapsed,
        "fill_rate": (1 - open_share) / elapsed,
        "schedule_gap": 1 - open_share - elapsed,
        "shortfall": parent["shortfall"] / 10,
        "resting_share": parent["resting"] / max(parent["remaining"], 1),
        "pending_share": parent["in_flight"] / max(parent["remaining"], 1),
        "var_use": risk,
        "limit_left": 1 - risk,
        "open_risk": rules.reward.risk_aversion * (sigma * open_share) ** 2,
        "parent_size": 1 + math.log10(parent["participation"]) / 3,
        "resting_orders": parent["resting_orders"] / rules.child.max_resting,
        "last_children": parent["last_children"] / rules.child.max_children,
        "carry": parent["carry"],
        "reduces_risk": parent["reduces_risk"],
        "worst_shortfall": parent["worst_shortfall"] / 10,
        "last_delay": parent["last_delay"] / min(rules.child.max_delay_seconds, 4.0),
        "last_urgency": parent["last_urgency"],
        "urgency_correction": parent["urgency_correction"],
        "last_restrained": float(parent["last_decision"] > 0),
        "predicted_last": parent["predicted_quality"],
        "prediction_error": parent["quality"] - parent["predicted_quality"],
        "quality_last": parent["quality"],
        "cancelled_last": parent["last_cancelled"] / parent["quantity"],
        "rejected_last": parent["last_rejected"] / asked,
        "oldest": parent["oldest_steps"] / parent["horizon"],
    }


@pytest.mark.parametrize("expected", [expected_market, expected_parent])
def test_columns_are_what_their_names_say(env: BatchedExecution, expected: Any) -> None:
    bounds = {c.name: (c.low, c.high) for c in EXECUTION.state_columns}
    checked = 0
    for n in np.flatnonzero(~env.terminations):
        row = named(env, n)
        for name, value in expected(env, n).items():
            low, high = bounds[name]
            clipped = min(max(value, low), high)
            assert row[name] == pytest.approx(clipped, rel=1e-5, abs=1e-6), name
            checked += 1
    assert checked > 100


def test_names_are_unique_and_sizes_those_of_the_specification() -> None:
    assert len(set(NAMES)) == len(NAMES)
    sizes = [len(EXECUTION.observation_columns(i)) for i in range(len(AGENTS))]
    assert sizes == [55, 57, 53, 55, 59]
    assert EXECUTION.upstream_width == 22


def test_the_kernel_writes_every_column_and_nothing_beyond(env: BatchedExecution) -> None:
    market = env.simulator.market
    width = EXECUTION.state_width
    for n in np.flatnonzero(~env.terminations)[:4]:
        out = np.full(width + 3, np.nan, np.float32)
        rules = env.simulator.rules[0]
        parent, episode = market.parents[n], market.episodes[n]
        observe(parent, episode, market.depth[n], env.context[n], rules, out)
        assert np.isfinite(out[: EXECUTION.row_width]).all()
        assert np.isnan(out[EXECUTION.row_width :]).all()
        observe_privileged(parent, episode, market.path[n], out)
        assert np.array_equal(out[:width], env.states[n])
        assert np.isnan(out[width:]).all()


def test_every_column_stays_in_its_bounds_and_moves() -> None:
    rng = np.random.default_rng(2)
    rows = []

    def policy(step: int, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        rows.append(seen.copy())
        return random_actions(rng, len(seen), extreme=step % 2 == 0)

    # So few that some children find no room, or their rejections would be a still column.
    play(policy, configured(child__max_resting=4), rows=64)
    table = np.concatenate(rows)
    low = np.array([c.low for c in EXECUTION.columns], np.float32)
    high = np.array([c.high for c in EXECUTION.columns], np.float32)
    assert np.all((table >= low) & (table <= high))
    still = [c.name for c, s in zip(EXECUTION.columns, table.std(axis=0), strict=True) if s < 1e-6]
    assert still == []


def test_no_two_columns_say_the_same() -> None:
    """But the router's spread, which is the consolidated one by definition."""
    rng = np.random.default_rng(3)
    rows = []

    def policy(_: int, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        rows.append(seen.copy())
        return random_actions(rng, len(seen))

    play(policy, rows=32)
    table = np.concatenate(rows)
    same = [
        (NAMES[i], NAMES[j])
        for i in range(table.shape[1])
        for j in range(i + 1, table.shape[1])
        if np.array_equal(table[:, i], table[:, j])
    ]
    assert same == [("spread", "spread_smart")]


def test_the_two_sides_of_a_mirrored_state_look_the_same(env: BatchedExecution) -> None:
    """Bids become asks, prices turn round, flow changes sign: every column stays."""
    market = env.simulator.market
    levels = int(market.flow[0]["ladder"])
    for n in np.flatnonzero(~env.terminations):
        parent, episode = market.parents[n : n + 1].copy(), market.episodes[n : n + 1].copy()
        depth = market.depth[n][:, ::-1].copy()
        prices = depth[..., 0]
        prices[prices >= 0] = levels - prices[prices >= 0]
        parent["side"] *= -1
        # The price above zero sets the scale of bp and stays.
        episode["base"] += 2 * parent["arrival"] - levels
        parent["arrival"] = levels - parent["arrival"]
        for name in ("last_mid", "mid_mean"):
            episode[name] = levels - episode[name]
        for name in ("flow_fast", "flow_slow", "imbalance", "imbalance_last", "impact"):
            episode[name] *= -1
        episode["buy_volume"], episode["sell_volume"] = 0.0, 0.0
        out = np.zeros(EXECUTION.state_width, np.float32)
        observe(parent[0], episode[0], depth, env.context[n], env.simulator.rules[0], out)
        observe_privileged(parent[0], episode[0], levels - market.path[n], out)
        assert out == pytest.approx(env.states[n], rel=1e-5, abs=1e-5)


def test_privileged_columns_reach_no_row() -> None:
    """Two futures with one past give one row and two states."""
    env = BatchedExecution(num_envs=4, seed=1)
    env.reset()
    market = env.simulator.market
    for n in range(4):
        path, rules = market.path[n].copy(), env.simulator.rules[0]
        path[1:] += 7.0
        out = np.zeros(EXECUTION.state_width, np.float32)
        observe(market.parents[n], market.episodes[n], market.depth[n], env.context[n], rules, out)
        observe_privileged(market.parents[n], market.episodes[n], path, out)
        assert np.array_equal(out[: EXECUTION.row_width], env.rows[n])
        assert not np.array_equal(out[EXECUTION.row_width :], env.states[n, EXECUTION.row_width :])
    privileged = {c.name for c in EXECUTION.privileged}
    assert privileged.isdisjoint(c.name for c in EXECUTION.columns)
    for index in range(len(AGENTS)):
        assert EXECUTION.observation_indices(index).max() < EXECUTION.row_width
