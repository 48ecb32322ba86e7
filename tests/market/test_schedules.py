"""Almgren-Chriss: closed form, limits, and the base case of the paper."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from market.decode import share_factor
from market.schedules import almgren_chriss_share, almgren_chriss_urgency
from trainers.baselines import share_component


def holdings(urgency: float, steps: int) -> NDArray[np.float64]:
    """What is left of 1 after each step when every step trades its share, [steps + 1]."""
    left = [1.0]
    for step in range(steps):
        left.append(left[-1] * (1.0 - almgren_chriss_share(urgency, steps - step)))
    return np.array(left)


@pytest.mark.parametrize("urgency", [1e-5, 1e-3, 0.05, 0.7, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 75])
def test_shares_compound_to_the_closed_form(urgency: float, steps: int) -> None:
    j = np.arange(steps + 1)
    closed = np.sinh(urgency * (steps - j)) / np.sinh(urgency * steps)
    assert holdings(urgency, steps) == pytest.approx(closed, rel=1e-7, abs=1e-14)


def test_no_urgency_is_twap() -> None:
    assert holdings(0.0, 75) == pytest.approx(1.0 - np.arange(76) / 75, abs=1e-14)
    # No jump where the straight line takes over from the curve.
    assert holdings(0.99e-6, 75) == pytest.approx(holdings(1.01e-6, 75), abs=1e-7)


@pytest.mark.parametrize("urgency", [10.0, 800.0, 1e6, 1e300])
def test_great_urgency_trades_at_once_without_overflow(urgency: float) -> None:
    for steps in (1, 2, 75, 1000):
        share = almgren_chriss_share(urgency, steps)
        assert np.isfinite(share)
        assert share == pytest.approx(1.0, abs=1e-4)


def test_the_last_step_trades_all() -> None:
    for urgency in (0.0, 0.3, 50.0):
        assert almgren_chriss_share(urgency, 1) == 1.0
        assert almgren_chriss_share(urgency, 0) == 1.0


def test_no_aversion_no_variance_is_no_urgency() -> None:
    assert almgren_chriss_urgency(0.0, 4.0, 0.1) == 0.0
    assert almgren_chriss_urgency(1e-3, 0.0, 0.1) == 0.0
    rising = [almgren_chriss_urgency(a, 4.0, 0.1) for a in (1e-4, 1e-3, 1e-2)]
    assert rising == sorted(rising)


# Almgren and Chriss (2000), table 1: a million shares over five days.
SHARES, STEPS, TAU = 1e6, 5, 1.0
SIGMA, EPSILON, GAMMA, ETA, AVERSION = 0.95, 0.0625, 2.5e-7, 2.5e-6, 1e-6
ETA_TILDE = ETA - 0.5 * GAMMA * TAU


def utility_cost(left: NDArray[np.float64]) -> float:
    """E + lambda V of a schedule given by its holdings, dollars."""
    traded = -np.diff(left)
    expected = 0.5 * GAMMA * SHARES**2 + EPSILON * np.abs(traded).sum()
    expected += ETA_TILDE / TAU * (traded**2).sum()
    variance = SIGMA**2 * TAU * (left[1:] ** 2).sum()
    return float(expected + AVERSION * variance)


def test_the_papers_base_case() -> None:
    urgency = almgren_chriss_urgency(AVERSION, SIGMA**2 * TAU, ETA_TILDE / TAU)
    best = utility_cost(SHARES * holdings(urgency, STEPS))
    twap = utility_cost(SHARES * holdings(0.0, STEPS))
    assert best == pytest.approx(1.275e6, rel=2e-3)
    assert twap == pytest.approx(1.746e6, rel=2e-3)
    for other in (0.9 * urgency, 1.1 * urgency):
        assert utility_cost(SHARES * holdings(other, STEPS)) > best


def test_a_share_component_asks_for_its_factor() -> None:
    factors = np.array([0.0, 0.2, 0.999, 1.0, 1.5, 4.0, 8.0])
    components = share_component(factors, 8.0)
    assert np.all((components >= 0.0) & (components <= 1.0))
    assert [share_factor(c, 8.0) for c in components] == pytest.approx(factors)
    assert share_component(np.array([50.0]), 8.0) == 1.0
