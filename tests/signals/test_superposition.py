"""Superpositions: closed forms, ranges, collapse by key, and one error for bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ActionError
from signals import superposition as sp
from signals.superposition import BUY, CONFIDENT, HOLD, SELL

Floats = np.ndarray
LN2, LN3 = np.log(2.0), np.log(3.0)
MEASURES: dict[str, Callable[[Any], Floats]] = {
    "amplitudes": sp.amplitudes,
    "confidence": sp.confidence,
    "entropy": sp.entropy,
    "coherence": sp.coherence,
    "purity": sp.purity,
    "participation": sp.participation,
}


def drawn(seed: int, *shape: int, spread: float = 2.0) -> Floats:
    """Random distributions over the last axis, from nearly even to nearly certain."""
    logits = spread * np.random.default_rng(seed).normal(size=shape)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def product(p: Floats, lower: Floats) -> Floats:
    """q [N, K, L] that does not look at the upper layer."""
    return np.repeat(lower[:, None, :], p.shape[1], axis=1)


def test_the_uniform_distribution() -> None:
    p = np.full((2, 3), 1.0 / 3.0)
    assert sp.coherence(p) == pytest.approx([0.0, 0.0], abs=1e-15)
    assert sp.entropy(p) == pytest.approx([LN3, LN3])
    assert sp.confidence(p) == pytest.approx([1 / 3, 1 / 3])
    assert sp.purity(p) == pytest.approx([1 / 3, 1 / 3])
    assert sp.participation(p) == pytest.approx([3.0, 3.0])
    assert sp.amplitudes(p) == pytest.approx(np.full((2, 3), 3.0**-0.5))


def test_a_certain_action() -> None:
    p = np.eye(3)
    for name, value in (("coherence", 1.0), ("confidence", 1.0), ("purity", 1.0)):
        assert np.array_equal(MEASURES[name](p), np.full(3, value))
    assert np.array_equal(sp.entropy(p), np.zeros(3))
    assert np.array_equal(sp.participation(p), np.ones(3))


def test_values_in_between() -> None:
    p = [[0.5, 0.25, 0.25]]
    assert sp.entropy(p) == pytest.approx([1.5 * LN2])
    assert sp.coherence(p) == pytest.approx([1.0 - 1.5 * LN2 / LN3])
    assert sp.purity(p) == pytest.approx([0.375])
    assert sp.participation(p) == pytest.approx([8.0 / 3.0])
    assert sp.confidence(p) == pytest.approx([0.5])


def test_amplitudes_have_unit_norm_whatever_their_phase() -> None:
    p = drawn(1, 50, 5)
    psi = sp.amplitudes(p)
    assert np.linalg.norm(psi, axis=1) == pytest.approx(np.ones(50))
    turned = psi * np.exp(1j * np.random.default_rng(0).uniform(0, 6, psi.shape))
    assert sp.probabilities(turned) == pytest.approx(p)


def test_a_product_is_not_entangled() -> None:
    p, lower = drawn(2, 40, 3), drawn(3, 40, 4)
    q = product(p, lower)
    assert sp.schmidt_entropy(sp.joint_amplitudes(p, q)) == pytest.approx(np.zeros(40), abs=1e-12)
    assert sp.entanglement(p, q) == pytest.approx(np.zeros(40), abs=1e-9)


def test_full_dependence_is_1_even_or_not() -> None:
    p = np.array([[1 / 3, 1 / 3, 1 / 3], [0.7, 0.2, 0.1], [0.5, 0.5, 0.0]])
    q = np.repeat(np.eye(3)[None, [2, 0, 1]], 3, axis=0)
    assert sp.schmidt_entropy(sp.joint_amplitudes(p, q)) == pytest.approx(sp.entropy(p))
    assert sp.entanglement(p, q) == pytest.approx(np.ones(3))


def test_two_by_two_by_hand() -> None:
    """The upper layer even, the lower one following it with probability c.

    Psi is symmetric with diagonal sqrt(c / 2) and corner sqrt((1 - c) / 2): its eigenvalues
    are their sum and difference, squared 1/2 +- sqrt(c (1 - c)).
    """
    c = 0.9
    q = np.array([[[c, 1 - c], [1 - c, c]]])
    high = 0.5 + np.sqrt(c * (1 - c))
    s = -high * np.log(high) - (1 - high) * np.log(1 - high)
    assert sp.schmidt_entropy(sp.joint_amplitudes([[0.5, 0.5]], q)) == pytest.approx([s])
    assert sp.entanglement([[0.5, 0.5]], q) == pytest.approx([s / LN2])


def test_where_either_layer_is_certain_nothing_is_entangled() -> None:
    even, sure = np.full((1, 3), 1 / 3), np.array([[0.0, 1.0, 0.0]])
    assert np.array_equal(sp.entanglement(sure, drawn(5, 1, 3, 3)), [0.0])
    assert np.array_equal(sp.entanglement(even, product(even, sure)), [0.0])
    for crumb in (1e-6, 1e-10, 1e-14, 1e-18, 1e-30):
        p = np.array([[1.0 - crumb, crumb, 0.0]])
        found = sp.entanglement(p, np.eye(3)[None])[0]
        assert found == pytest.approx(1.0, abs=1e-5) or found == 0.0


@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(2, 6), st.floats(0.0, 12.0))
def test_entanglement_lies_between_0_and_1(seed: int, k: int, m: int, spread: float) -> None:
    p, q = drawn(seed, 8, k, spread=spread), drawn(seed + 1, 8, k, m, spread=spread)
    psi = sp.joint_amplitudes(p, q)
    assert (psi**2).sum(axis=2) == pytest.approx(p)
    least = np.minimum(sp.entropy(p), sp.entropy((psi**2).sum(axis=1)))
    # The bound itself, before anything is clipped.
    assert np.all(sp.schmidt_entropy(psi) <= least + 1e-9)
    e = sp.entanglement(p, q)
    assert np.all((e >= 0.0) & (e <= 1.0))
    told = least > 1e-6  # below, the ratio is of roundings
    by_svd = sp.schmidt_entropy(psi)[told] / least[told]
    assert e[told] == pytest.approx(by_svd, abs=1e-7)
    assert np.all((sp.coherence(p) >= 0.0) & (sp.coherence(p) <= 1.0))
    assert np.all((sp.participation(p) >= 1.0 - 1e-12) & (sp.participation(p) <= k + 1e-9))


@given(st.integers(0, 2**32))
def test_entanglement_knows_neither_names_nor_which_layer_is_above(seed: int) -> None:
    p, q = drawn(seed, 4, 3), drawn(seed + 1, 4, 3, 4)
    joint = sp.joint_amplitudes(p, q) ** 2
    e = sp.entanglement(p, q)
    assert sp.entanglement(p[:, [2, 0, 1]], q[:, [2, 0, 1]][:, :, [3, 1, 0, 2]]) == pytest.approx(e)
    lower = joint.sum(axis=1)
    upward = np.swapaxes(joint, 1, 2) / lower[:, :, None]
    assert sp.entanglement(lower, upward) == pytest.approx(e)


def test_a_batch_gives_what_its_rows_give() -> None:
    p, q = drawn(7, 33, 3), drawn(8, 33, 3, 4)
    seeds, steps = np.arange(33, dtype=np.uint64) * 977, np.arange(33) % 7
    change = np.random.default_rng(0).integers(-1, 2, (33, 3)).astype(float)
    together = {
        **{name: measure(p) for name, measure in MEASURES.items()},
        "entanglement": sp.entanglement(p, q),
        "collapse": sp.collapse(p, seeds, steps),
        "directions": sp.directions(q[:, :, :3] / q[:, :, :3].sum(2)[..., None], change, [1, 2, 3]),
    }
    for n in range(33):
        row = slice(n, n + 1)
        three = q[row, :, :3] / q[row, :, :3].sum(2)[..., None]
        alone = {
            **{name: measure(p[row]) for name, measure in MEASURES.items()},
            "entanglement": sp.entanglement(p[row], q[row]),
            "collapse": sp.collapse(p[row], seeds[row], steps[row]),
            "directions": sp.directions(three, change[row], [1, 2, 3]),
        }
        for name, value in together.items():
            assert np.array_equal(alone[name][0], value[n]), name


def test_a_temperature_moves_the_confidence_and_leaves_the_likeliest() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5], [0.0, 1.0, 0.0]])
    assert np.array_equal(sp.confidence(p, 1.0), sp.confidence(p))
    roots = np.sqrt(p)
    assert sp.confidence(p, 2.0) == pytest.approx((roots / roots.sum(1, keepdims=True)).max(1))
    assert sp.confidence(p, 1e-3) == pytest.approx([1.0, 0.5, 1.0])
    assert sp.confidence(p, 1e6) == pytest.approx([1 / 3, 1 / 2, 1.0], abs=1e-5)
    for temperature in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ActionError, match=r"temperature is .*: expected a finite number above"):
            sp.confidence(p, temperature)


def test_a_confident_layer_collapses_to_its_likeliest_action() -> None:
    p = np.array([[0.2, CONFIDENT, 0.2], [0.0, 0.1, 0.9]])
    for seed in range(50):
        assert sp.collapse(p, seed, 0).tolist() == [1, 2]


def test_an_unsure_layer_collapses_to_a_sample_of_its_law() -> None:
    count = 20_000
    p = np.tile([[0.5, 0.0, 0.3, 0.2]], (count, 1))
    by_seed = sp.collapse(p, np.arange(count, dtype=np.uint64), 3)
    by_step = sp.collapse(p, 3, np.arange(count))
    for drawn_actions in (by_seed, by_step):
        shares = np.bincount(drawn_actions, minlength=4) / count
        assert shares == pytest.approx([0.5, 0.0, 0.3, 0.2], abs=0.015)
    assert np.mean(by_seed == by_step) < 0.5
    again = np.random.default_rng(0).permutation(count)
    seeds = np.arange(count, dtype=np.uint64)
    assert np.array_equal(sp.collapse(p, seeds[again], 3), by_seed[again])


RECORDED = [0, 2, 0, 1, 2, 1, 1, 1]


def test_collapses_are_those_of_the_past() -> None:
    """A recorded decision must be found again by later versions."""
    p = np.tile([[0.4, 0.35, 0.25]], (8, 1))
    assert sp.collapse(p, 11, np.arange(8)).tolist() == RECORDED


def test_directions_of_one_agent_by_hand() -> None:
    """BUY, SELL, HOLD, REDUCE, INCREASE: the last two by the side that is held."""
    p = np.array([[[0.4, 0.1, 0.2, 0.05, 0.25]]])
    long, short = [0.1, -0.1, 0.0, -0.05, 0.05], [0.1, -0.1, 0.0, 0.05, -0.05]
    at_limit = [0.0, -0.1, 0.0, -0.05, 0.0]
    assert sp.directions(p, [long], [1.0])[0] == pytest.approx([0.15, 0.2, 0.65])
    assert sp.directions(p, [short], [1.0])[0] == pytest.approx([0.35, 0.2, 0.45])
    # At the limit BUY buys nothing, and INCREASE is masked: the rest is scaled up by 1 / .75.
    legal = [[True, True, True, True, False]]
    found = sp.directions(p, [at_limit], [1.0], legal)[0]
    assert found == pytest.approx([0.15 / 0.75, 0.6 / 0.75, 0.0])


def test_directions_are_the_weighted_mean_of_agents() -> None:
    p = np.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6]]])
    change = [[1.0, 0.0, -1.0]]
    third = sp.directions(p, change, [1 / 3, 1 / 3, 1 / 3])
    assert third[0, [BUY, HOLD, SELL]] == pytest.approx([1.2 / 3, 1.2 / 3, 0.2])
    backed = sp.directions(p, change, [[2.0, 1.0, 1.0]])
    assert backed[0, [BUY, HOLD, SELL]] == pytest.approx([2.2 / 4, 1.2 / 4, 0.15])
    aside = sp.directions(p, change, [0.0, 0.0, 0.0])
    assert np.array_equal(aside[0, [BUY, HOLD, SELL]], [0.0, 1.0, 0.0])


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(2, 6))
def test_directions_are_a_distribution(seed: int, agents: int, actions: int) -> None:
    rng = np.random.default_rng(seed)
    legal = rng.random((6, actions)) < 0.6
    legal[:, 0] = True
    change = rng.integers(-1, 2, (6, actions)) * rng.random((6, actions))
    weights = rng.random((6, agents))
    out = sp.directions(drawn(seed, 6, agents, actions), change, weights, legal)
    assert np.all(out >= 0.0)
    assert out.sum(axis=1) == pytest.approx(np.ones(6))


def test_single_precision_is_taken() -> None:
    p = drawn(4, 200, 5).astype(np.float32)
    assert np.abs(p.sum(axis=1, dtype=np.float64) - 1.0).max() > 0.0
    assert sp.purity(p) == pytest.approx((p.astype(np.float64) ** 2).sum(axis=1), rel=1e-5)
    assert sp.distributions(p).sum(axis=1) == pytest.approx(np.ones(200), abs=1e-15)


BAD_ROWS = {
    "not a distribution": ([[0.5, 0.6]], r"\[0\] sum to 1\.1, expected 1"),
    "logits": ([[0.5, 0.5], [-1.0, 2.0]], r"\[1, 0\] is -1\.0: expected a number from 0 to 1"),
    "nan": ([[float("nan"), 1.0]], r"\[0, 0\] is nan: expected"),
    "infinite": ([[0.5, 0.5], [0.5, float("inf")]], r"\[1, 1\] is inf"),
    "flat": ([0.5, 0.5], r"shape \(2,\), expected \[N, K\]"),
    "one action": ([[1.0]], r"shape \(1, 1\), expected \[N, K\] with K >= 2"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
@pytest.mark.parametrize("measure", [*MEASURES, "collapse", "joint_amplitudes", "entanglement"])
def test_what_is_no_distribution_is_refused(name: str, measure: str) -> None:
    values, message = BAD_ROWS[name]
    rest: dict[str, Any] = {"collapse": (0, 0)}
    rest |= dict.fromkeys(("joint_amplitudes", "entanglement"), (np.eye(2)[None],))
    with pytest.raises(ActionError, match=message):
        getattr(sp, measure)(values, *rest.get(measure, ()))


EVEN = [[0.5, 0.5]]
CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "q of another shape": (
        lambda: sp.entanglement(EVEN, np.eye(3)[None]),
        r"q has shape \(1, 3, 3\), expected \(1, 2, 'L'\)",
    ),
    "q no distribution": (
        lambda: sp.entanglement(EVEN, [[[0.5, 0.5], [0.5, 0.4]]]),
        r"q, by rows of \[N K, L\],\[1\] sum to 0\.9",
    ),
    "joint of norm 2": (lambda: sp.schmidt_entropy(np.eye(2)[None]), r"squares.*sum to 2"),
    "flat joint": (lambda: sp.schmidt_entropy(np.eye(2)), r"shape \(2, 2\), expected \[N, K, L\]"),
    "seeds that are not whole": (lambda: sp.collapse(EVEN, [0.5], 0), r"seeds are float64"),
    "too many seeds": (lambda: sp.collapse(EVEN, [1, 2], 0), r"seeds are int64 of shape \(2,\)"),
    "steps below 0": (lambda: sp.collapse(EVEN, 0, -1), r"steps hold -1"),
    "flat agents": (lambda: sp.directions(EVEN, EVEN, [1.0]), r"expected \[N, A, K\]"),
    "change of another shape": (
        lambda: sp.directions([EVEN], [[1.0, 0.0, 0.0]], [1.0]),
        r"change has shape \(1, 3\)",
    ),
    "negative weights": (lambda: sp.directions([EVEN], [[1.0, 0.0]], [-1.0]), r"weights are"),
    "weights of another shape": (
        lambda: sp.directions([EVEN], [[1.0, 0.0]], [1.0, 1.0]),
        r"weights have shape \(2,\), expected \(1,\) or \(1, 1\)",
    ),
    "mask of numbers": (lambda: sp.directions([EVEN], EVEN, [1.0], [[1, 0]]), r"mask is int64"),
    "mask of another shape": (
        lambda: sp.directions([EVEN], EVEN, [1.0], [True, True]),
        r"legal has shape \(2,\), expected \(1, 2\)",
    ),
    "nothing legal": (
        lambda: sp.directions([EVEN], EVEN, [1.0], [[False, False]]),
        r"row \[0, 0\]: none is above 0 among the legal actions",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_bad_arguments_are_refused(name: str) -> None:
    call, message = CALLS[name]
    with pytest.raises(ActionError, match=message):
        call()
