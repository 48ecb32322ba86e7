"""A parent at work: what is filled, what it costs, what it sees and what it cannot move."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from configs.market import VENUE_COUNT
from envs.execution import BatchedExecution
from market import book as lob
from market import decode, own, state
from market.desk import desk_at
from signals.execution import EXECUTION
from tests.market.episodes import (
    Actions,
    by_path,
    configured,
    own_trades,
    paired_seeds,
    parent_of,
    play,
    random_actions,
    walk_book,
)
from trainers.baselines import ScheduleBaseline, neutral_action

ROWS = 12
COLUMN = {column.name: index for index, column in enumerate(EXECUTION.columns)}


def policies() -> list[Any]:
    """(name, step -> actions): random ones and the corners of the action space."""
    rng = np.random.default_rng(6)

    def everything(step: int) -> Actions:
        action = neutral_action(ROWS)
        action[:, [decode.SHARE, decode.CONFIDENCE, decode.CHILDREN, decode.SPACING]] = 1.0
        action[:, decode.STEALTH] = step % 3 / 2
        action[:, decode.DELAY] = step % 2
        action[:, decode.CANCEL_THRESHOLD] = step % 5 / 4
        return action

    return [
        ("random", lambda _: random_actions(rng, ROWS, stop=0.01)),
        ("extreme", lambda _: random_actions(rng, ROWS, stop=0.005, extreme=True)),
        ("everything", everything),
        ("idle", lambda _: idle(ROWS)),
    ]


def idle(rows: int) -> Actions:
    action = neutral_action(rows)
    action[:, decode.SHARE] = 0.0
    return action


@pytest.mark.parametrize(("name", "policy"), policies())
def test_books_of_account_hold(name: str, policy: Any) -> None:
    """Quantities add up, costs follow from the tape alone, own orders are in no feature."""
    env = BatchedExecution(num_envs=ROWS, seed=9)
    env.reset()
    step = 0
    while not env.terminations.all():
        before = [parent_of(env, n) for n in range(ROWS)]
        running = np.flatnonzero(~env.terminations)
        env.step(policy(step))
        step += 1
        for n in running:
            after = parent_of(env, n)
            _check_quantities(env, n, after)
            _check_costs(env, n, before[n], after)
            if n < 4 and step % 5 == 0:
                _check_view(env, n, after)
    assert step <= env.config.parent.horizon_steps


def _check_quantities(env: BatchedExecution, n: int, parent: dict[str, Any]) -> None:
    filled = parent["filled_passive"] + parent["filled_aggressive"]
    assert parent["quantity"] == filled + parent["remaining"] + parent["abandoned"]
    assert 0 <= parent["resting"] <= parent["remaining"]
    assert parent["in_flight"] >= 0
    owned = env.simulator.market.owned[n]
    active = owned[:, state.ACTIVE] == 1
    assert parent["resting"] == owned[active, state.OWN_QUANTITY].sum()
    assert parent["resting_orders"] == active.sum()
    assert np.all(owned[active, state.OWN_QUANTITY] > 0)
    if env.terminations[n]:
        assert parent["remaining"] == parent["resting"] == parent["in_flight"] == 0


def _check_costs(
    env: BatchedExecution, n: int, before: dict[str, Any], after: dict[str, Any]
) -> None:
    market = env.config.market
    cost, fees, filled = 0.0, 0.0, 0
    for trade in own_trades(env, n):
        venue = market.venues[trade[lob.TRADE_BOOK] % VENUE_COUNT]
        made = trade[lob.MAKER] > 0
        fee = (venue.maker_fee if made else venue.taker_fee) / market.tick
        quantity = int(trade[lob.TRADE_QUANTITY])
        assert trade[lob.TAKER_SIDE] == (-after["side"] if made else after["side"])
        assert not (made and trade[lob.TAKER] == -1)  # never against itself
        cost += (after["side"] * (trade[lob.TRADE_PRICE] - after["arrival"]) + fee) * quantity
        fees += fee * quantity
        filled += quantity
    total = after["filled_passive"] + after["filled_aggressive"]
    assert total - before["filled_passive"] - before["filled_aggressive"] == filled
    assert after["fees"] - before["fees"] == pytest.approx(fees, abs=1e-6)
    if after["abandoned"] == 0:
        assert after["cost"] - before["cost"] == pytest.approx(cost, abs=1e-5)
    episode = env.simulator.market.episodes[n]
    mid = 0.0 if after["remaining"] == 0 else episode["last_mid"] - after["arrival"]
    marked = (after["cost"] + after["side"] * mid * after["remaining"]) / after["quantity"]
    price = episode["base"] + after["arrival"]
    assert after["shortfall"] == pytest.approx(marked / price * 1e4, abs=1e-9)


def _check_view(env: BatchedExecution, n: int, parent: dict[str, Any]) -> None:
    """The view against a walk of the books that leaves own orders out; no quotes cross."""
    market = env.simulator.market
    best = {lob.BUY: [], lob.SELL: []}
    visible = {lob.BUY: [], lob.SELL: []}
    own_quantity = 0
    for venue in range(VENUE_COUNT):
        for half, side in ((state.BID, lob.BUY), (state.ASK, lob.SELL)):
            levels = walk_book(env, n, venue, side)
            own_quantity += sum(own for _, _, own in levels)
            best[side] += [levels[0][0]] if levels else []
            others = [(price, quantity) for price, quantity, _ in levels if quantity > 0]
            visible[side] += [others[0][0]] if others else []
            seen = market.depth[n, venue, half]
            expected = np.full((state.LEVELS_SEEN, 2), (-1, 0))
            for row, level in zip(expected, others, strict=False):
                row[:] = level
            # At an episode's end the forced crossing comes after the last view.
            if not env.terminations[n]:
                assert np.array_equal(seen, expected)
    if best[lob.BUY] and best[lob.SELL]:
        # Venues lock or cross only until the arbitrageur who is on the way has come.
        crossed = max(best[lob.BUY]) >= min(best[lob.SELL])
        assert not crossed or np.isfinite(market.episodes[n]["next_arbitrage"])
    assert own_quantity == parent["resting"]
    if not env.terminations[n] and visible[lob.BUY] and visible[lob.SELL]:
        mid = (max(visible[lob.BUY]) + min(visible[lob.SELL])) / 2
        assert market.episodes[n]["last_mid"] == mid


def test_exogenous_arrivals_are_the_same_whatever_is_done() -> None:
    """And on both sides of a path, which share their reference too."""
    first = BatchedExecution(num_envs=8, paired_sides=True)
    second = BatchedExecution(num_envs=8, paired_sides=True)
    for env in (first, second):
        env.reset(seeds=paired_seeds(8, 3))
    rng = np.random.default_rng(0)
    for _ in range(30):
        first.step(random_actions(rng, 8))
        second.step(idle(8))
        a, b = first.simulator.market.episodes, second.simulator.market.episodes
        running = ~first.terminations
        for name in ("arrivals", "next_arrival", "flow_key", "clock"):
            assert np.array_equal(a[name][running], b[name][running])
            assert np.array_equal(b[name][::2], b[name][1::2])
    market = second.simulator.market
    assert np.array_equal(market.path[::2], market.path[1::2])
    assert np.array_equal(market.parents["side"], np.tile([1, -1], 4))
    for name in ("quantity", "reduces_risk", "arrival"):
        assert np.array_equal(market.parents[name][::2], market.parents[name][1::2])
    # Who does nothing moves nothing: the two sides still see the same books.
    assert np.array_equal(market.depth[::2], market.depth[1::2])
    assert len(np.unique(market.episodes["next_arrival"])) == 4


@numba.njit
def advance_in_chunks(market: Any, n: int, until: float, chunks: int) -> None:
    desk = desk_at(market, n)
    start = market.episodes[n].clock
    for chunk in range(chunks):
        share = (chunk + 1) / chunks
        time = until if chunk == chunks - 1 else start + share * (until - start)
        own.advance(desk, market.flow[0], time)


def test_advance_in_chunks_equals_the_whole() -> None:
    """With own orders resting and children in flight over the boundaries."""
    env = BatchedExecution(num_envs=6, seed=5)
    env.reset()
    action = neutral_action(6)
    action[:, [decode.DELAY, decode.SPACING, decode.SHARE]] = 1.0
    action[:, decode.CHILDREN] = 0.6
    action[:, decode.URGENCY] = 0.4
    for _ in range(4):
        env.step(action)
    market = env.simulator.market
    assert (market.episodes["pending_count"] > 0).any()
    assert (market.parents["resting"] > 0).any()
    saved, ends = env.state_dict(), []
    for chunks in (1, 7, 1000):
        env.load_state(saved)
        for n in range(6):
            advance_in_chunks(market, n, float(market.episodes[n]["clock"]) + 9.0, chunks)
        ends.append(env.simulator.state_dict())
    for other in ends[1:]:
        for name, value in ends[0].items():
            assert np.array_equal(value.view(np.uint8), other[name].view(np.uint8)), name


@pytest.mark.parametrize("dispersion", [0.0, 0.2])
def test_a_message_takes_its_venues_latency(dispersion: float) -> None:
    """Sent as late as a step allows, so that the messages in flight can be looked at."""
    names = ("ARCA", "NASDAQ", "NYSE", "BATS")
    latencies = (0.9, 0.6, 0.8, 0.7)
    venues = (
        "["
        + ",".join(
            f"{{name: {n}, latency_seconds: {t}, latency_dispersion: {dispersion}}}"
            for n, t in zip(names, latencies, strict=True)
        )
        + "]"
    )
    config = configured(
        step_seconds=1.0,
        child__max_delay_seconds=1.0,
        market__venues=venues,
        market__router_latency_seconds=0.05,
        parent__participation_low=0.1,
    )
    env = BatchedExecution(config, 8, seed=1)
    env.reset()
    rng = np.random.default_rng(2)
    action = random_actions(rng, 8)
    action[:, decode.RISK_DECISION] = decode.APPROVE
    action[:, decode.SHARE] = 1.0
    action[:, decode.DELAY] = 1.0
    env.step(action)
    market = env.simulator.market
    taken = []
    for n in range(8):
        count = market.episodes[n]["pending_count"]
        children = env.simulator.children[n][: env.simulator.decisions[n]["children"]]
        assert count == len(children)
        for row, time, child in zip(
            market.pending[n, :count], market.pending_time[n, :count], children, strict=True
        ):
            router = child["venue"] == state.SMART
            latency = 0.05 + max(latencies) if router else latencies[child["venue"]]
            assert row[state.TO_VENUE] == child["venue"]
            taken.append((time - child["offset"]) / latency)
    assert len(taken) > 8
    if dispersion == 0.0:
        assert taken == pytest.approx(np.ones(len(taken)))
        assert np.all(market.parents["last_filled"] == 0)
        assert np.all(market.parents["resting"] == 0)
    else:
        logs = np.log(taken)
        assert abs(logs.mean()) < 4 * dispersion / np.sqrt(len(logs))
        assert logs.std() == pytest.approx(dispersion, rel=0.5)


def test_a_crossing_child_finds_what_the_cancels_of_its_step_free() -> None:
    """Resting everything and then crossing everything leaves nothing for the horizon."""
    env = BatchedExecution(num_envs=16, seed=12)
    env.reset()
    rest = neutral_action(16)
    rest[:, [decode.SHARE, decode.CONFIDENCE]] = 1.0
    cross = rest.copy()
    cross[:, decode.URGENCY] = 1.0
    cross[:, decode.CANCEL_THRESHOLD] = 0.0
    env.step(rest)
    resting = env.simulator.market.parents["resting"].copy()
    parent = env.simulator.market.parents.copy()
    assert (resting > 0).sum() > 8
    env.step(cross)
    after = env.simulator.market.parents
    asked = after["last_asked"]
    behind = after["last_cancelled"] > 0
    assert behind.any()
    assert np.all(after["last_filled"][behind] >= np.minimum(asked, parent["remaining"])[behind])


@numba.njit
def cancel_after_reuse(market: Any, n: int, price: int) -> None:
    """Send a cancel, lose its order at once, rest another in its place, let the cancel arrive."""
    desk, flow = desk_at(market, n), market.flow[0]
    own.post(desk, flow, 0, price, 10, 0)
    own.send_cancel(desk, flow, market.episodes[n].clock + 0.001, 0)
    own.cancel_own(desk, flow, 0)
    own.post(desk, flow, 0, price, 20, 0)
    own.advance(desk, flow, market.episodes[n].clock + 0.002)


def test_a_late_cancel_never_hits_the_order_that_came_after() -> None:
    env = BatchedExecution(configured(parent__participation_low=0.1), 1, seed=5)
    env.reset()
    market = env.simulator.market
    side = int(market.parents[0]["side"])
    far = int(market.parents[0]["arrival"]) - 30 * side
    cancel_after_reuse(market, 0, far)
    assert market.parents[0]["resting"] == 20
    assert market.episodes[0]["pending_count"] == 0


def test_the_horizon_crossing_walks_the_book() -> None:
    env = BatchedExecution(configured(parent__participation_low=0.05), 8, seed=2)
    env.reset()
    while not env.terminations.all():
        before = [
            [walk_book(env, n, v, -int(env.simulator.market.parents[n]["side"])) for v in range(4)]
            for n in range(8)
        ]
        env.step(idle(8))
    assert before
    for n in range(8):
        parent, trades = parent_of(env, n), own_trades(env, n)
        assert parent["forced"] == parent["quantity"] == trades[:, lob.TRADE_QUANTITY].sum()
        assert np.all(trades[:, lob.TAKER] == -1)
        assert np.all(np.diff(trades[:, lob.TRADE_PRICE]) * parent["side"] >= 0)
        assert len(np.unique(trades[:, lob.TRADE_PRICE])) > 1
        # Nothing better than the last price paid is left on any venue.
        last = trades[-1, lob.TRADE_PRICE]
        for venue in range(VENUE_COUNT):
            left = walk_book(env, n, venue, -parent["side"])
            assert not left or parent["side"] * (left[0][0] - last) >= 0


def test_a_book_that_is_too_thin_charges_the_rest_beyond_its_worst_price() -> None:
    config = configured(
        parent__participation_low=1.0, parent__participation_high=1.0, parent__horizon_steps=40
    )
    env = BatchedExecution(config, 4, seed=2)
    env.reset()
    while not env.terminations.all():
        env.step(idle(4))
    fee = config.market.venues[0].taker_fee / config.market.tick
    for n in range(4):
        parent, trades = parent_of(env, n), own_trades(env, n)
        quantities = trades[:, lob.TRADE_QUANTITY].astype(float)
        left = parent["quantity"] - quantities.sum()
        assert left > 0
        beyond = trades[-1, lob.TRADE_PRICE] + parent["side"] * config.child.sweep_ticks
        cost = parent["side"] * (
            (trades[:, lob.TRADE_PRICE] * quantities).sum()
            + beyond * left
            - parent["arrival"] * parent["quantity"]
        )
        assert parent["cost"] == pytest.approx(cost + fee * parent["quantity"], rel=1e-12)
        assert parent["remaining"] == 0


def spoof(step: int, rows: NDArray[np.float32]) -> Actions:
    """Show as much as may be at and inside the best, and cancel all of it at each decision."""
    action = neutral_action(len(rows))
    action[:, [decode.SHARE, decode.CONFIDENCE, decode.CHILDREN]] = 1.0
    action[:, decode.STEALTH] = 1.0 if step % 2 else 0.6
    action[:, decode.CANCEL_THRESHOLD] = 0.0
    return action


def test_shown_orders_do_not_move_the_market_their_own_way() -> None:
    """The mid without own orders must not come toward who shows a large order."""
    shown, quiet = (
        BatchedExecution(configured(parent__participation_low=0.05), 768, paired_sides=True)
        for _ in range(2)
    )
    for env in (shown, quiet):
        env.reset(seeds=paired_seeds(768, 7))
    favour = []
    for step in range(8):
        shown.step(spoof(step, shown.rows))
        quiet.step(idle(768))
        mids = [e.simulator.market.episodes["last_mid"] for e in (shown, quiet)]
        side = quiet.simulator.market.parents["side"]
        favour.append(side * (mids[1] - mids[0]))
    gain, error = by_path(np.mean(favour, axis=0))
    assert gain < 2.0 * error


def test_spoofing_a_crossing_costs_more_than_an_honest_queue() -> None:
    """Crossing every other step with orders shown and pulled between, against resting them."""
    config = configured()
    twap = ScheduleBaseline(config, risk_averse=False)
    honest = ScheduleBaseline(config, risk_averse=False, slice_steps=5)

    def crossing(step: int, rows: NDArray[np.float32]) -> Actions:
        action = twap.act(rows)
        if step % 2 == 0:
            action = spoof(1, rows)
        action[:, decode.CANCEL_THRESHOLD] = 0.0
        return action

    spoofed, _ = play(crossing, config, rows=768)
    plain, _ = play(lambda _, rows: honest.act(rows), config, rows=768)
    gain, error = by_path(plain["shortfall_bp"] - spoofed["shortfall_bp"])
    assert gain < 2.0 * error


def pump(step: int, rows: NDArray[np.float32]) -> Actions:
    """Push the price with a burst, then walk away from the rest."""
    action = neutral_action(len(rows))
    action[:, [decode.SHARE, decode.CONFIDENCE, decode.URGENCY]] = 1.0
    stop = step >= 2
    action[:, decode.RISK_DECISION] = decode.EMERGENCY_STOP if stop else decode.APPROVE
    return action


def wait_for_the_mid(step: int, rows: NDArray[np.float32]) -> Actions:
    """Cross whenever the mid strays from its mean in the parent's favour."""
    action = neutral_action(len(rows))
    action[:, decode.URGENCY] = 1.0
    cheap = rows[:, COLUMN["reversion"]] < -0.7
    action[:, decode.SHARE] = np.where(cheap, 1.0, 0.25)
    return action


@pytest.mark.parametrize("policy", [pump, wait_for_the_mid])
def test_scripts_that_push_or_chase_the_mid_do_not_earn(policy: Any) -> None:
    config = configured(parent__reducing_share=0.0)
    metrics, _ = play(policy, config, rows=512)
    cost, error = by_path(metrics["shortfall_bp"])
    assert cost > 2.0 * error


def test_the_mid_of_a_quiet_market_neither_trends_nor_swings() -> None:
    """Its variance ratio over an episode, and its correlation from step to step."""
    env = BatchedExecution(num_envs=768, seed=19)
    env.reset()
    mids = [env.simulator.market.episodes["last_mid"].copy()]
    for _ in range(env.config.parent.horizon_steps - 1):
        env.step(idle(768))
        mids.append(env.simulator.market.episodes["last_mid"].copy())
    moves = np.diff(mids, axis=0)
    one_step = np.mean(moves**2)
    ratio = np.mean((mids[-1] - mids[0]) ** 2) / len(moves) / one_step
    assert 0.8 < ratio < 1.25
    assert abs(np.mean(moves[1:] * moves[:-1]) / one_step) < 0.08
    path = np.diff(env.simulator.market.path, axis=1)
    assert np.sqrt(one_step / np.mean(path**2)) == pytest.approx(1.0, abs=0.15)


def test_the_book_opens_about_as_deep_as_it_stays() -> None:
    """A deep opening would reward who crosses everything in the first step."""
    env = BatchedExecution(num_envs=256, seed=29)
    env.reset()
    quantity = env.simulator.market.depth[..., state.LEVEL_QUANTITY]
    opening = quantity.sum(axis=(1, 2, 3)).mean()
    for _ in range(40):
        env.step(idle(256))
    assert opening == pytest.approx(quantity.sum(axis=(1, 2, 3)).mean(), rel=0.3)


@pytest.mark.parametrize("column", ["reversion", "flow_fast", "imbalance_1"])
def test_following_or_fading_the_mid_earns_little(column: str) -> None:
    """Crossing sooner or later by a signal from the book cannot do away with what crossing costs.

    Order flow foretells the next move a little, as it does in real books; a book that
    trails its hidden reference would give away most of TWAP's cost.
    """
    config = configured()
    twap = ScheduleBaseline(config, risk_averse=False)

    def timed(sign: float, rows: NDArray[np.float32]) -> Actions:
        action = twap.act(rows)
        signal = sign * rows[:, COLUMN[column]]
        action[:, decode.SHARE] = np.where(signal > 0.4, 0.95, np.where(signal < -0.4, 0.15, 0.5))
        return action

    plain, _ = play(lambda _, rows: twap.act(rows), config, rows=512, seed=23)
    cost, _ = by_path(plain["shortfall_bp"])
    for sign in (1.0, -1.0):
        metrics, _ = play(lambda _, rows, s=sign: timed(s, rows), config, rows=512, seed=23)
        gain, error = by_path(plain["shortfall_bp"] - metrics["shortfall_bp"])
        assert gain - 2.0 * error < 0.15 * cost
