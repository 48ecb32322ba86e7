"""The isotonic fit against brute force and scipy, and that it sees training bars alone."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from configs.errors import ArtefactError, DataError
from market.kernels import kernel
from market.splits import Fold, SplitRange
from signals.expected_return import ReturnMap, read_return_map, return_map, return_of, score
from trainers.isotonic import (
    LEAST_AT_AN_END,
    LEAST_SAMPLES,
    ends_pooled,
    fit_on,
    fit_return_map,
    forward_returns,
    pool_adjacent_violators,
    walk_forward,
)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_against_scipy(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    values, weights = rng.normal(size=count).round(1), rng.uniform(0.1, 3.0, count)
    wanted = isotonic_regression(values, weights=weights).x
    assert pool_adjacent_violators(values, weights) == pytest.approx(wanted, abs=1e-12)


def test_against_every_partition() -> None:
    """The best rising step function is among the means of the partitions into blocks."""
    rng = np.random.default_rng(1)
    for _ in range(30):
        y, w = rng.normal(size=6), rng.uniform(0.5, 2.0, 6)
        best = np.inf
        for cuts in product([False, True], repeat=5):
            blocks = np.split(np.arange(6), np.flatnonzero(cuts) + 1)
            means = [np.average(y[b], weights=w[b]) for b in blocks]
            if (np.diff(means) >= 0).all():
                fit = np.concatenate(
                    [np.full(len(b), m) for b, m in zip(blocks, means, strict=True)]
                )
                best = min(best, float(w @ (y - fit) ** 2))
        found = pool_adjacent_violators(y, w)
        assert float(w @ (y - found) ** 2) == pytest.approx(best)


def sample(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and returns whose mean is 1e-3 tanh(2 s) in noise of 2e-3."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(-1, 1, count)
    return scores, 1e-3 * np.tanh(2 * scores) + 2e-3 * rng.normal(size=count)


def test_the_map_is_the_fit_and_finds_the_truth() -> None:
    scores, returns = sample(40_000)
    made = fit_return_map(scores, returns, 6)
    order, ends = np.argsort(scores), LEAST_AT_AN_END
    low, inner, high = np.split(returns[order], [ends, -ends])
    values = np.concatenate([[low.mean()], inner, [high.mean()]])
    weights = np.concatenate([[ends], np.ones(len(inner)), [ends]])
    fitted = pool_adjacent_violators(values, weights)
    assert made.of(scores[order][ends - 1 : 1 - ends]) == pytest.approx(fitted, abs=1e-15)
    inside = np.linspace(-0.9, 0.9, 50)
    assert made.of(inside) == pytest.approx(1e-3 * np.tanh(2 * inside), abs=4e-4)
    assert made.sigma == pytest.approx(2e-3, rel=0.02)
    assert made.of([-5.0, 5.0]).tolist() == [made.returns[0], made.returns[-1]]


@pytest.mark.parametrize("sign", [1, -1])
def test_one_extreme_return_at_an_end_is_no_expectation(sign: int) -> None:
    scores, returns = np.linspace(-1, 1, 300), np.zeros(300)
    returns[-1 if sign > 0 else 0] = sign
    made = fit_return_map(scores, returns, 1)
    assert made.of([float(sign)])[0] == pytest.approx(sign / LEAST_AT_AN_END, rel=0.05)
    assert made.of([0.0])[0] == 0.0


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 60))
def test_ends_hold_enough_and_others_stand_alone(seed: int, count: int, least: int) -> None:
    counts = np.random.default_rng(seed).integers(1, 6, count)
    groups = ends_pooled(counts, least)
    held = np.bincount(groups, weights=counts)
    assert set(np.diff(groups)) <= {0, 1} and groups[0] == 0
    assert min(held[0], held[-1]) >= min(least, counts.sum())
    if len(held) > 1:  # no more than enough
        assert held[0] - counts[groups == 0][-1] < least
        assert held[-1] - counts[groups == groups[-1]][0] < least
        assert np.bincount(groups)[1:-1].tolist() == [1] * (len(held) - 2)


def test_equal_scores_are_one() -> None:
    scores = np.repeat([0.1, 0.2], 100)
    returns = np.concatenate([np.linspace(0, 2, 100), np.linspace(1, 5, 100)])
    made = fit_return_map(scores, returns, 1)
    assert made.scores.tolist() == [0.1, 0.2] and made.returns == pytest.approx([1.0, 3.0])
    flat = fit_return_map(scores, -returns, 1)
    assert flat.returns == pytest.approx([-2.0, -2.0])  # a score that pays the wrong way: no slope


@kernel
def mapped(values: Any, scores: Any, returns: Any, out: Any) -> None:
    for index in range(len(values)):
        out[index] = return_of(values[index], scores, returns)


def test_kernels_apply_the_same_map() -> None:
    made = fit_return_map(*sample(2_000), 6)
    asked = np.concatenate([np.linspace(-1.5, 1.5, 501), made.scores])
    out = np.zeros(len(asked))
    mapped(asked, made.scores, made.returns, out)
    assert out == pytest.approx(made.of(asked), abs=1e-15)
    mapped(np.array([np.nan]), made.scores, made.returns, out)
    assert np.isnan(out[0])
    one = ReturnMap(np.zeros(1), np.full(1, 0.5), 0.1, 1, 100)
    mapped(np.array([-1.0, 0.0, 1.0]), one.scores, one.returns, out)
    assert out[:3].tolist() == [0.5, 0.5, 0.5]


def bars(split: Any, first: int, after: int) -> SplitRange:
    return SplitRange(split, first, after, first, after)


def test_only_bars_of_training_are_seen() -> None:
    """What lies outside the ranges, or reaches out of them, may be anything."""
    scores, returns = sample(1_000)
    made = fit_on(scores, returns, [bars("train", 100, 400), bars("train", 600, 900)], 5)
    hidden = np.ones(1_000, bool)
    hidden[100:395] = hidden[600:895] = False
    other = fit_on(
        np.where(hidden, np.nan, scores), np.where(hidden, 99.0, returns),
        [bars("train", 100, 400), bars("train", 600, 900)], 5,
    )  # fmt: skip
    assert np.array_equal(made.returns, other.returns) and made.samples == 590
    with pytest.raises(DataError, match="split 'validation', expected 'train'"):
        fit_on(scores, returns, [bars("validation", 0, 500)], 5)


def test_returns_look_ahead_by_the_horizon_and_bars_without_a_word_are_left_out() -> None:
    close = np.array([100.0, 110.0, 99.0, 120.0])
    found = forward_returns(close, 2)
    assert found[:2] == pytest.approx([-0.01, 120 / 110 - 1]) and np.isnan(found[2:]).all()
    assert np.isnan(forward_returns(close, 9)).all()
    for bad, horizon in (([1.0, 0.0], 1), ([1.0, np.nan], 1), ([1.0, 2.0], 0)):
        with pytest.raises(DataError, match="forward returns"):
            forward_returns(bad, horizon)
    scores, returns = sample(500)
    scores[:50] = np.nan
    assert fit_on(scores, returns, [bars("train", 0, 500)], 1).samples == 449
    scores[60] = np.inf
    with pytest.raises(DataError, match="expected finite"):
        fit_on(scores, returns, [bars("train", 0, 500)], 1)


def test_walking_forward_tells_a_signal_from_noise() -> None:
    edges = [(2_000, 4_000), (4_000, 6_000), (6_000, 8_000)]
    folds = [Fold(bars("train", 0, a), bars("validation", a, b)) for a, b in edges]
    scores, returns = sample(8_000)
    found = walk_forward(scores, returns, folds, 1)
    explained = np.var(1e-3 * np.tanh(2 * scores)) / np.var(returns)
    assert found.gain == pytest.approx(explained, abs=0.02)
    assert found.slope == pytest.approx(1.0, abs=0.15)
    assert len(found.maps) == 3 and found.samples == 3 * 1_999
    noise = walk_forward(scores, np.random.default_rng(5).permutation(returns), folds, 1)
    assert noise.gain < 0.005
    later = returns.copy()
    later[4_000:] = 7.0
    again = walk_forward(scores, later, folds[:1], 1)
    assert np.array_equal(again.maps[0].returns, found.maps[0].returns)


def test_a_map_is_kept_as_json(tmp_path: Path) -> None:
    made = fit_return_map(*sample(500), 6)
    path = tmp_path / "map.json"
    path.write_text(json.dumps(made.as_dict()))
    again = read_return_map(path)
    assert again.as_dict() == made.as_dict()


def test_a_score_is_what_is_said_beyond_even_odds() -> None:
    assert score([[0.2, 0.3, 0.5], [1, 0, 0]]) == pytest.approx([0.3, -1.0])


GOOD = {"format": 1, "scores": [0.0, 1.0], "returns": [0.0, 1.0], "sigma": 0.1,
        "horizon_bars": 1, "samples": 100}  # fmt: skip
BAD_MAPS = [
    {"format": 2}, {"scores": [1.0, 0.0]}, {"scores": [0.0, 0.0]}, {"returns": [1.0, 0.0]},
    {"returns": [0.0]}, {"scores": [], "returns": []}, {"returns": [0.0, float("nan")]},
    {"sigma": -1.0}, {"sigma": float("inf")}, {"sigma": None}, {"samples": 0}, {"samples": 1.5},
    {"horizon_bars": "x"}, {"scores": "no"}, {"scores": None},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_MAPS)
def test_what_is_no_map_is_refused(bad: dict[str, Any]) -> None:
    assert return_map(GOOD, "here").samples == 100
    with pytest.raises(ArtefactError, match="here: "):
        return_map(GOOD | bad, "here")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="cannot be read"):
        read_return_map(tmp_path / "none.json")
    for text in ("{", "[]", '{"format": 1}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ArtefactError, match=r"bad\.json"):
            read_return_map(tmp_path / "bad.json")
    with pytest.raises(DataError, match=f"expected {LEAST_SAMPLES} or more"):
        fit_return_map(np.zeros(9), np.zeros(9), 1)
    with pytest.raises(DataError, match="not finite"):
        fit_return_map(*sample(500), 6).of([np.nan])
    with pytest.raises(DataError, match="weight is not above 0"):
        pool_adjacent_violators([1.0], [0.0])
