"""Consensus by hand, and that f faulty voices of n >= 3f + 1 move nothing out of honest bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.consensus import (
    CONSENSUS,
    MAX_VOICES,
    REASONS,
    Council,
    consensus_rules,
    tolerated,
    trimmed_mean,
    trusted_venues,
)
from configs.coordination import CoordinationConfig
from configs.errors import RequestError
from configs.market import VENUE_COUNT
from market.state import ASK, BID, LEVELS_SEEN
from market.view import EMPTY_PRICE
from signals.superposition import BUY, HOLD, SELL

CONFIG = CoordinationConfig()
NAN, INF = math.nan, math.inf


def decided(
    votes: Any, weights: Any = None, stamps: Any = None, now: float = 0.0
) -> tuple[int, str, Any]:
    said = np.asarray(votes, np.float64)
    count = len(said)
    council = Council(CONFIG, count)
    action = council.decide(
        said,
        np.ones(count) if weights is None else np.asarray(weights, np.float64),
        np.full(count, now) if stamps is None else np.asarray(stamps, np.float64),
        now,
    )
    outcome = council.outcome[0]
    assert action == outcome["action"] and council.outcome.dtype == CONSENSUS
    return action, REASONS[outcome["reason"]], outcome


B8, S6, H5 = (0.1, 0.1, 0.8), (0.6, 0.2, 0.2), (0.2, 0.5, 0.3)


def test_the_share_is_weight_times_confidence() -> None:
    action, reason, found = decided([B8, B8, S6])
    assert found["share"] == pytest.approx(1.6 / 2.2)
    assert (action, reason) == (BUY, "AGREED")
    action, reason, found = decided([B8, S6, H5])
    assert found["share"] == pytest.approx(0.8 / 1.9)
    assert (action, reason) == (HOLD, "NO_MAJORITY")
    action, reason, found = decided([S6, S6, B8], [2.0, 2.0, 1.0])
    assert found["share"] == pytest.approx(2.4 / 3.2) and action == SELL
    # The threshold itself is enough; a hair less is not.
    whole, other = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)
    assert decided([whole, other], [0.65, 0.35])[0] == BUY
    assert decided([whole, other], [0.6499, 0.3501])[:2] == (HOLD, "NO_MAJORITY")


def test_holding_can_win_and_nobody_is_followed_without_weight() -> None:
    hold = (0.1, 0.8, 0.1)
    assert decided([hold, hold, B8])[:2] == (HOLD, "AGREED")
    assert decided([B8, B8, B8], [0.0, 0.0, 0.0])[:2] == (HOLD, "NOBODY")
    assert decided([B8, S6, S6], [1.0, 0.0, 0.0])[0] == BUY
    tie = (0.4, 0.2, 0.4)
    assert decided([tie, tie, tie])[:2] == (HOLD, "AGREED")


def test_three_voices_tolerate_no_fault_and_four_tolerate_one() -> None:
    assert [tolerated.py_func(n) for n in range(1, 11)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    lost = (NAN, 0.0, 1.0)
    assert decided([B8, B8, lost])[:2] == (HOLD, "TOO_FEW")
    assert decided([B8, B8, B8, lost])[:2] == (BUY, "AGREED")
    assert decided([B8, B8, lost, lost])[:2] == (HOLD, "TOO_FEW")


BAD_VOTES = [
    (NAN, 0.5, 0.5), (INF, 0.0, 0.0), (-0.5, 0.5, 1.0), (0.0, 0.0, 2.0), (0.2, 0.2, 0.2),
    (1e300, 1e300, -1e300), (0.0, 0.0, 0.0),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_VOTES)
def test_what_is_no_vote_is_not_heard(bad: tuple[float, float, float]) -> None:
    action, _, found = decided([S6, S6, S6, bad])
    assert (action, found["heard"], found["faulty"]) == (SELL, 3, 1)
    assert decided([S6, S6, bad])[:2] == (HOLD, "TOO_FEW")


def test_stale_votes_weights_and_votes_of_the_future_are_not_heard() -> None:
    now, late = 10_000.0, 10_000.0 - CONFIG.vote_seconds - 1.0
    for stamp in (late, now + 1.0, NAN, -INF):
        found = decided([B8] * 4, stamps=[now, now, now, stamp], now=now)[2]
        assert (found["heard"], found["faulty"]) == (3, 1)
        assert decided([B8] * 3, stamps=[now, now, stamp], now=now)[1] == "TOO_FEW"
    assert decided([B8] * 4, stamps=[late + 1.0] * 4, now=now)[0] == BUY
    for weight in (NAN, INF, -1.0):
        assert decided([B8] * 3, weights=[1.0, 1.0, weight])[1] == "TOO_FEW"


def test_loud_voices_do_not_carry_what_no_honest_one_leans_to() -> None:
    """One certain voice of a large weight has the share, not the lean."""
    mild = (0.36, 0.35, 0.29)
    certain = (0.0, 0.0, 1.0)
    action, reason, found = decided([mild] * 3 + [certain], [1.0, 1.0, 1.0, 9.0])
    assert found["share"] > CONFIG.consensus
    assert (action, reason) == (HOLD, "NOT_BACKED")


anything = st.one_of(
    st.floats(),
    st.floats(-1.0, 1.0),
    st.sampled_from([NAN, INF, -INF, 1e308, -1e308, 0.0, 5e-324]),
)
counts = st.integers(0, 4).flatmap(
    lambda f: st.tuples(st.just(f), st.integers(max(3 * f + 1, 1), 3 * f + 4))
)


@given(counts, st.data())
@settings(max_examples=300)
def test_the_aggregate_stays_between_the_honest_ones(
    sizes: tuple[int, int], data: st.DataObject
) -> None:
    """Whatever f of n >= 3f + 1 say, when, and under whatever weights of the listener."""
    faults, voices = sizes
    now = 100.0
    honest = data.draw(
        st.lists(st.floats(-1e6, 1e6), min_size=voices - faults, max_size=voices - faults)
    )
    lies = data.draw(st.lists(anything, min_size=faults, max_size=faults))
    times = data.draw(st.lists(st.one_of(anything, st.just(now)), min_size=faults, max_size=faults))
    weights = data.draw(st.lists(st.floats(0.0, 10.0), min_size=voices, max_size=voices))
    order = data.draw(st.permutations(range(voices)))
    values = np.array([*honest, *lies])[order]
    stamps = np.array([now] * len(honest) + times)[order]
    found = trimmed_mean(values, np.array(weights), stamps, now, 50.0)
    assert min(honest) <= found <= max(honest)


@given(counts, st.data())
@settings(max_examples=300)
def test_faulty_agents_move_no_decision_against_the_honest_ones(
    sizes: tuple[int, int], data: st.DataObject
) -> None:
    """Conviction lies between honest ones; no side is taken that none of them leans to."""
    faults, voices = sizes
    honest = []
    for _ in range(voices - faults):
        raw = data.draw(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3))
        honest.append(np.array(raw) / sum(raw))
    lies = data.draw(
        st.lists(
            st.one_of(
                st.lists(anything, min_size=3, max_size=3),
                st.sampled_from([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
            ),
            min_size=faults,
            max_size=faults,
        )
    )
    weights = data.draw(st.lists(st.floats(0.0, 5.0), min_size=voices, max_size=voices))
    order = data.draw(st.permutations(range(voices)))
    votes = np.array([*honest, *lies], np.float64)[order]
    action, reason, found = decided(votes, weights)
    assert reason != "TOO_FEW"
    convictions = [float(p[BUY] - p[SELL]) for p in honest]
    if reason != "NOBODY":
        slack = 1e-9
        assert min(convictions) - slack <= found["conviction"] <= max(convictions) + slack
    if action == BUY:
        assert max(convictions) > 0.0
    if action == SELL:
        assert min(convictions) < 0.0
    assert 0.0 <= found["share"] <= 1.0 + 1e-12
    assert found["heard"] + found["faulty"] == voices


@given(st.lists(st.lists(anything, min_size=3, max_size=3), min_size=1, max_size=9), anything)
def test_whatever_all_say_something_is_decided(votes: list[list[float]], now: float) -> None:
    action, _, found = decided(votes, now=now)
    assert action in (SELL, HOLD, BUY)
    if action != HOLD:
        assert found["share"] >= CONFIG.consensus


def test_the_aggregate_by_hand() -> None:
    assert trimmed_mean([1.0, 2.0, 4.0]) == pytest.approx(7.0 / 3.0)  # f = 0 trims none
    assert trimmed_mean([1.0, 2.0, 4.0, 99.0]) == pytest.approx(3.0)
    assert trimmed_mean([1.0, 2.0, NAN, 99.0]) == 2.0
    assert math.isnan(trimmed_mean([1.0, NAN, NAN, 99.0]))
    assert trimmed_mean([1.0, 2.0, 4.0, 99.0], [5.0, 3.0, 1.0, 5.0]) == pytest.approx(2.5)
    assert trimmed_mean([1.0, 2.0, 4.0, 99.0], [5.0, 0.0, 0.0, 5.0]) == pytest.approx(3.0)
    assert math.isnan(trimmed_mean([1.0, 2.0, 3.0], stamps=[0.0, 0.0, -9.0], most=5.0))


def quotes(mids: list[int | None], half: int = 2) -> Any:
    depth = np.zeros((VENUE_COUNT, 2, LEVELS_SEEN, 2), np.int32)
    depth[..., 0] = EMPTY_PRICE
    for venue, mid in enumerate(mids):
        if mid is not None:
            depth[venue, BID, 0] = mid - half, 10
            depth[venue, ASK, 0] = mid + half, 10
    return depth


def trust(depth: Any, stamps: Any = (0.0,) * 4, now: float = 0.0) -> tuple[float, list[int]]:
    out = np.full(VENUE_COUNT, 7, np.int8)
    rules = consensus_rules(CONFIG)
    mid = trusted_venues(depth, np.asarray(stamps, np.float64), now, rules, 9_000.0, out)
    return mid, out.tolist()


def test_venues_that_disagree_get_no_orders() -> None:
    """50 bp of a mid of 10,000 ticks are 50 of them."""
    assert trust(quotes([1_000, 1_001, 1_002, 1_049])) == (10_001.5, [1, 1, 1, 1])
    mid, trusted = trust(quotes([1_000, 1_001, 1_002, 2_000]))
    assert (mid, trusted) == (10_001.5, [1, 1, 1, 0])
    assert trust(quotes([1_000, 1_001, None, 1_002]))[1] == [1, 1, 0, 1]
    mid, trusted = trust(quotes([1_000, None, None, 1_002]))
    assert math.isnan(mid) and trusted == [0, 0, 0, 0]


def test_crossed_and_stale_venues_do_not_quote() -> None:
    depth = quotes([1_000, 1_000, 1_000, 1_000])
    depth[1, ASK, 0, 0] = 990
    assert trust(depth)[1] == [1, 0, 1, 1]
    stale = (0.0, 100.0 - CONFIG.quote_seconds, 100.0, 101.0)
    fresh = quotes([1_000] * 4)
    assert trust(fresh, stale, 100.0)[1] == [0, 0, 0, 0]  # two are not in time
    assert trust(fresh, (NAN, 100.0, 100.0, 100.0), 100.0)[1] == [0, 1, 1, 1]


@given(
    st.lists(st.integers(900, 1_100), min_size=3, max_size=3),
    st.one_of(st.none(), st.integers(2, 2**31 - 10)),
    anything,
    st.integers(0, 3),
)
def test_one_faulty_venue_moves_the_mid_out_of_no_honest_bounds(
    honest: list[int], lie: int | None, stamp: float, place: int
) -> None:
    mids: list[int | None] = [*honest]
    mids.insert(place, lie)
    stamps = [0.0, 0.0, 0.0]
    stamps.insert(place, stamp)
    mid, _ = trust(quotes(mids), stamps)
    assert 9_000.0 + min(honest) <= mid <= 9_000.0 + max(honest)


def test_misuse_is_said() -> None:
    for call, message in (
        (lambda: Council(CONFIG, 0), "consensus of 0 agents"),
        (lambda: Council(CONFIG, MAX_VOICES + 1), "expected 1 to 64"),
        (lambda: decided(np.zeros((3, 2))), r"expected \(3, 3\)"),
        (lambda: trimmed_mean([]), "values have shape"),
        (lambda: trimmed_mean([1.0], [1.0, 2.0]), r"weights have shape \(2,\)"),
    ):
        with pytest.raises(RequestError, match=message):
            call()
