"""Potential-based shaping leaves the optimum alone; other bonuses do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rewards.shaping import shaping_term

Floats = np.ndarray
Bonus = Callable[[int, int, int], float]

STATES, ACTIONS = 7, 3
TERMINAL = STATES - 1
SWEEPS = 4_000
GAMMAS = (0.9, 1.0)


def random_mdp(seed: int) -> tuple[Floats, Floats]:
    """P [S, A, S] and R [S, A, S]; the last state ends the episode, and is always reached."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(STATES, 0.4), (STATES, ACTIONS))
    p[:, :, TERMINAL] += 0.05
    p[TERMINAL] = 0.0
    p[TERMINAL, :, TERMINAL] = 1.0
    p /= p.sum(axis=2, keepdims=True)
    r = rng.normal(0.0, 1.0, (STATES, ACTIONS, STATES))
    r[TERMINAL] = 0.0
    return p, r


def solved(p: Floats, r: Floats, gamma: float, bonus: Bonus | None = None) -> Floats:
    """Q [S - 1, A] by value iteration; `bonus` is added to the reward of (s, a, s')."""
    paid = r.copy()
    if bonus is not None:
        for s in range(TERMINAL):
            for a in range(ACTIONS):
                for after in range(STATES):
                    paid[s, a, after] += bonus(s, a, after)
    value = np.zeros(STATES)
    q = np.zeros((STATES, ACTIONS))
    for _ in range(SWEEPS):
        q = (p * (paid + gamma * value)).sum(axis=2)
        q[TERMINAL] = 0.0
        value = q.max(axis=1)
    assert np.abs(value - (p * (paid + gamma * value)).sum(axis=2).max(axis=1)).max() < 1e-9
    return q[:TERMINAL]


def by_potential(phi: Floats, gamma: float) -> Bonus:
    return lambda s, _, after: shaping_term(gamma, phi[s], phi[after], after == TERMINAL)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("seed", range(5))
def test_shaping_keeps_the_optimum(seed: int, gamma: float) -> None:
    """Even where the hint is wrong, and where Phi of the last state was never set to 0."""
    p, r = random_mdp(seed)
    phi = np.random.default_rng(100 + seed).normal(0.0, 20.0, STATES)
    plain = solved(p, r, gamma)
    shaped = solved(p, r, gamma, by_potential(phi, gamma))
    assert np.array_equal(shaped.argmax(axis=1), plain.argmax(axis=1))
    # Not the policy alone: every action is worth the same, less the potential of its state.
    assert shaped == pytest.approx(plain - phi[:TERMINAL, None], abs=1e-6)


def changed(bonus: Callable[[Floats, float], Bonus], gamma: float) -> int:
    """In how many of five problems the best policy changes."""
    count = 0
    for seed in range(5):
        p, r = random_mdp(seed)
        phi = np.random.default_rng(100 + seed).normal(0.0, 20.0, STATES)
        best = solved(p, r, gamma, bonus(phi, gamma)).argmax(axis=1)
        count += not np.array_equal(best, solved(p, r, gamma).argmax(axis=1))
    return count


@pytest.mark.parametrize("gamma", GAMMAS)
def test_other_bonuses_change_the_optimum(gamma: float) -> None:
    """So that the test above could fail."""

    def good_states(phi: Floats, _: float) -> Bonus:
        return lambda s, a, t: phi[t]

    def progress(phi: Floats, _: float) -> Bonus:
        return lambda s, a, t: max(phi[t] - phi[s], 0.0)

    def an_action(phi: Floats, _: float) -> Bonus:
        return lambda s, a, t: 5.0 * (a == 0)

    for bonus in (good_states, progress, an_action):
        assert changed(bonus, gamma) >= 3


@pytest.mark.parametrize("gamma", GAMMAS)
def test_a_potential_that_outlives_the_episode_changes_the_optimum(gamma: float) -> None:
    """Two ways out, one paid 1 and one paid 2: Phi of the ends must not count.

    The ends are two states here, which one terminal state cannot tell apart.
    """
    paid, phi_start, phi_ends = np.array([1.0, 2.0]), 3.0, np.array([9.0, 4.0])
    right = [paid[a] + shaping_term(gamma, phi_start, phi_ends[a], True) for a in range(2)]
    wrong = [paid[a] + shaping_term(gamma, phi_start, phi_ends[a], False) for a in range(2)]
    assert int(np.argmax(right)) == 1 == int(np.argmax(paid))
    assert int(np.argmax(wrong)) == 0


def test_shaping_by_hand() -> None:
    assert shaping_term(0.9, 2.0, 5.0, False) == pytest.approx(2.5)
    assert shaping_term(0.9, 2.0, 5.0, True) == -2.0
    assert shaping_term(1.0, 2.0, 5.0, False) == 3.0
