"""Backward induction with the next return shown: brute force, closed form, and play."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from configs.analytic import AnalyticConfig
from configs.errors import ConfigError
from configs.strategic import DecisionConfig
from market.analytic.foresight import Charges, Foreseen, Foresight, solve_foresight
from market.analytic.lattice import NONE, Lattice, free_lattice, lattice_of

CHARGES = Charges(np.array([0.0, 0.25, 0.5, 1.0]), np.array([0.0, 0.4, 1.0, 2.6]))
FREE = Charges(np.array([0.0, 1.0]), np.zeros(2))
GAIN, DEVIATION, DURING = 3.0, 0.9, 0.5


def tiny_lattice() -> Lattice:
    """Thirteen positions, under the agents' own choices with steps of half the limit."""
    decision = DecisionConfig(step=0.5, small_step=0.25)
    return lattice_of(AnalyticConfig(limit_units=6, decision=decision))


def problem(
    lattice: Lattice, bars: int, during: float = DURING, spacing: float = 0.125
) -> Foresight:
    return Foresight(lattice, bars, GAIN, DEVIATION, during, CHARGES, spacing)


def by_hand(told: Foresight) -> Callable[[int, int, float], float]:
    """V_t(x, a) as its definition reads, every return and every move tried."""
    positions = told.lattice.positions

    def value(bar: int, place: int, a: float) -> float:
        held = positions[place]
        if bar == told.bars - 1:
            return float(-told.during * GAIN * held * a - np.interp(abs(held), *knots))
        total = 0.0
        for b, weight in zip(told.points, told.weights, strict=True):
            best = -np.inf
            for after in told.lattice.successors[place]:
                if after != NONE:
                    move = positions[after] - held
                    own = told.during * GAIN * move * a + GAIN * positions[after] * b
                    found = own - np.interp(abs(move), *knots) + value(bar + 1, int(after), b)
                    best = max(best, found)
            total += weight * best
        return total

    knots = (told.charges.quantity, told.charges.cost)
    return value


@pytest.mark.parametrize("during", [0.0, DURING])
def test_it_is_what_brute_force_finds(during: float) -> None:
    lattice = tiny_lattice()
    told = problem(lattice, 3, during, spacing=0.5)
    solution, value = solve_foresight(told), by_hand(told)
    assert solution.expected == pytest.approx(value(0, lattice.flat, 0.0), rel=1e-6)
    later = problem(lattice, 2, during, spacing=0.5)
    value = by_hand(later)
    for place in (0, 4, lattice.flat, 11):
        for index in range(0, len(told.seen), 5):
            wanted = value(0, place, told.seen[index])
            assert solution.ahead[0][place, index] == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_without_costs_and_limits_of_change_it_is_a_mean_absolute_value() -> None:
    """Two decisions: long or short what is shown, less what leaving gives back of it."""
    told = replace(problem(free_lattice(4), 2), charges=FREE)
    wanted = (1.0 - DURING) * GAIN * DEVIATION * (2.0 / np.pi) ** 0.5
    assert solve_foresight(told).expected == pytest.approx(wanted, rel=2e-3)


def played(solution: Foreseen, told: Foresight, episodes: int) -> np.ndarray:
    """What the policy of `solution` earns on drawn returns, by the account of a market that pays
    `told`, bp [episodes]."""
    rng, lattice = np.random.default_rng(0), told.lattice
    shown = rng.normal(0.0, DEVIATION, (told.bars + 1, episodes))
    places, before = np.full(episodes, lattice.flat), np.zeros(episodes)
    earned = np.zeros(episodes)
    for bar in range(told.bars):
        if bar < told.bars - 1:
            slots = solution.slots(bar, places, before, shown[bar + 1])
            after = lattice.successors[places, slots]
        else:
            after = np.full(episodes, lattice.flat)
        held, move = lattice.positions[places], lattice.positions[after] - lattice.positions[places]
        earned += GAIN * (held + DURING * move) * before * (bar > 0)
        earned -= told.charges.of(move)
        places, before = after, shown[bar + 1]
    return earned


def test_the_policy_earns_what_it_is_worth_and_forgetting_costs() -> None:
    told = problem(tiny_lattice(), 8)
    best, forgetful = solve_foresight(told), solve_foresight(replace(told, during=0.0))
    full, less = played(best, told, 40_000), played(forgetful, told, 40_000)
    error = full.std() / len(full) ** 0.5
    assert full.mean() == pytest.approx(best.expected, abs=4.5 * error)
    assert less.mean() < full.mean() - 4.5 * error


def test_charges_are_linear_between_and_beyond_knots() -> None:
    found = CHARGES.of(np.array([0.0, 0.125, -0.25, 0.75, -1.5]))
    assert found == pytest.approx([0.0, 0.2, 0.4, 1.8, 4.2])


def test_charges_begin_at_nothing() -> None:
    with pytest.raises(ConfigError, match="rise from 0"):
        Charges(np.array([0.1, 0.2]), np.array([0.0, 1.0]))
    with pytest.raises(ConfigError, match="rise from 0"):
        Charges(np.array([0.0, 0.2, 0.2]), np.array([0.0, 1.0, 1.0]))
