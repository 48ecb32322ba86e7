"""Kelly with impact: closed forms, and a search over the whole interval."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.orders.kelly import (
    cap_of_limit,
    impact_coefficient,
    kelly_objective,
    kelly_of,
    participation_room,
    risk_coefficient,
)

CAP = 0.2
FREE = 1e9


def test_without_impact_it_is_half_kelly() -> None:
    """f* = mu / (2 sigma^2): half of mu / sigma^2, whatever is held."""
    assert risk_coefficient(0.5) == 1.0 and risk_coefficient(1.0) == 0.5
    for held in (-0.1, 0.0, 0.15):
        found = kelly_of(2e-5, 1e-4, held, risk_coefficient(0.5), 0.0, CAP, FREE)
        assert found == pytest.approx(0.1, rel=1e-12)
    assert kelly_of(2e-5, 1e-4, 0.0, risk_coefficient(1.0), 0.0, CAP, FREE) == pytest.approx(0.2)


def test_impact_alone_by_hand() -> None:
    """mu x - c x^{3/2} is greatest at x = (2 mu / 3 c)^2."""
    assert kelly_of(3e-4, 0.0, 0.0, 1.0, 2e-3, CAP, FREE) == pytest.approx(0.01)
    assert kelly_of(-3e-4, 0.0, 0.0, 1.0, 2e-3, CAP, FREE) == pytest.approx(-0.01)


def test_the_impact_coefficient_is_the_square_root_law() -> None:
    """The cost of Q = x E / P units, Y sigma sqrt(Q / V) of each unit's price, is c x^{3/2}."""
    sigma, equity, price, volume, x = 0.01, 1e6, 50.0, 2e5, 0.13
    units = x * equity / price
    paid = units * price * 0.8 * sigma * math.sqrt(units / volume)
    c = impact_coefficient(0.8, sigma, equity, price, volume)
    assert c * x**1.5 == pytest.approx(paid / equity, rel=1e-12)
    room = participation_room(0.1, volume, equity, price)
    assert room * equity / price == pytest.approx(0.1 * volume)


numbers = st.floats(-0.01, 0.01)


@given(
    numbers,
    st.floats(1e-4, 0.05),
    st.floats(-0.3, 0.3),
    st.floats(0.0, 0.05),
    st.sampled_from([0.5, 1.0, 0.25]),
    st.floats(0.0, 0.5),
)
def test_against_a_search(
    mu: float, sigma: float, held: float, impact: float, fraction: float, room: float
) -> None:
    """No f of a fine grid within the cap and the room is better, nor any near the one found."""
    risk = risk_coefficient(fraction)
    found = kelly_of(mu, sigma**2, held, risk, impact, CAP, room)
    low, high = max(-CAP, held - room), min(CAP, held + room)
    assert abs(found - held) <= room + 1e-15
    if low > high:  # the cap is out of reach: as near to it as the room lets
        assert found == pytest.approx(held - math.copysign(room, held))
        return
    assert low - 1e-15 <= found <= high + 1e-15
    grid = np.unique(np.clip(np.concatenate([
        np.linspace(low, high, 2_001), found + np.linspace(-1e-3, 1e-3, 201), [held],
    ]), low, high))  # fmt: skip
    values = mu * grid - risk * sigma**2 * grid**2 - impact * np.abs(grid - held) ** 1.5
    best = kelly_objective(mu, sigma**2, held, risk, impact, found)
    assert best >= values.max() - 1e-12 * max(1.0, abs(mu))


def test_more_impact_moves_less_and_the_gain_is_never_below_staying() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        mu, sigma, held = rng.normal() * 1e-3, rng.uniform(1e-3, 0.03), rng.uniform(-CAP, CAP)
        costs = np.sort(rng.uniform(0.0, 0.05, 5))
        moved = [abs(kelly_of(mu, sigma**2, held, 1.0, cost, CAP, FREE) - held) for cost in costs]
        assert all(more <= less + 1e-15 for less, more in itertools.pairwise(moved))
        for cost in costs:
            to = kelly_of(mu, sigma**2, held, 1.0, cost, CAP, FREE)
            stay = kelly_objective(mu, sigma**2, held, 1.0, cost, held)
            assert kelly_objective(mu, sigma**2, held, 1.0, cost, to) >= stay - 1e-18


BAD = [
    {"mu": math.nan}, {"mu": math.inf}, {"variance": math.nan}, {"variance": -1.0},
    {"impact": math.nan}, {"impact": -1.0}, {"room": math.nan}, {"room": -0.1},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_number_changes_nothing(bad: dict[str, float]) -> None:
    told = {"mu": 1e-3, "variance": 1e-4, "impact": 1e-3, "room": 1.0} | bad
    found = kelly_of(told["mu"], told["variance"], 0.07, 1.0, told["impact"], CAP, told["room"])
    assert found == 0.07


def test_a_free_return_goes_to_the_cap() -> None:
    assert kelly_of(1e-9, 0.0, 0.0, 1.0, 0.0, CAP, FREE) == CAP
    assert kelly_of(-1e-9, 0.0, 0.05, 1.0, 0.0, CAP, FREE) == -CAP
    assert kelly_of(0.0, 0.0, 0.05, 1.0, 0.0, CAP, FREE) == 0.05


def test_a_holding_as_a_share_of_the_position_limit() -> None:
    """A fifth of a million at 50 is 4,000 units: two fifths of a limit of 10,000."""
    assert cap_of_limit(-0.2, 1e6, 50.0, 10_000) == pytest.approx(0.4)
    assert cap_of_limit(0.2, 1e6, 50.0, 1_000) == 1.0
    for holding, equity in ((math.nan, 1e6), (0.2, math.nan), (0.2, -1.0)):
        assert cap_of_limit(holding, equity, 50.0, 10_000) == 0.0
