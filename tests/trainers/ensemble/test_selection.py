"""Greedy selection with replacement, on scores that are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from configs.errors import TrainingError
from trainers.ensemble.selection import Counts, alone, greedy, lowest


class Squares:
    """Members miss a target by vectors; the score is the square of their weighted mean."""

    def __init__(self, misses: Sequence[Sequence[float]]) -> None:
        self.misses = np.array(misses, dtype=np.float64)
        self.asked: list[Counts] = []

    def __call__(self, candidates: Sequence[Counts]) -> list[float]:
        self.asked += candidates
        shares = np.array(candidates, dtype=np.float64)
        mean = shares / shares.sum(1, keepdims=True) @ self.misses
        return (mean**2).sum(1).tolist()


def test_members_that_err_in_opposite_ways_are_taken_and_the_wild_one_is_not() -> None:
    score = Squares([[1.0, 0.0], [-2.0, 0.0], [0.0, 30.0]])
    found = greedy(3, score, lower_is_better=True, rounds=6)
    assert found.counts == (2, 1, 0) and found.score == 0.0
    assert found.tried[(1, 0, 0)] == 1.0 and found.tried[(0, 0, 1)] == 900.0
    assert len(score.asked) == len(set(score.asked)) == len(found.tried)  # each scored once


def test_a_gain_is_as_good_as_a_loss() -> None:
    score = Squares([[1.0], [-2.0], [5.0]])
    negated = greedy(3, lambda c: [-s for s in score(c)], lower_is_better=False, rounds=6)
    assert negated.counts == greedy(3, score, lower_is_better=True, rounds=6).counts == (2, 1, 0)


def test_where_no_average_is_better_the_best_stays_alone() -> None:
    found = greedy(3, Squares([[2.0], [1.0], [3.0]]), lower_is_better=True, rounds=6)
    assert found.counts == (0, 1, 0)
    assert set(found.tried) == {*alone(3), (1, 1, 0), (0, 1, 1)}


def test_rounds_are_a_bound() -> None:
    score = Squares([[1.0], [-9.0]])
    assert greedy(2, score, lower_is_better=True, rounds=1).counts == (1, 0)
    assert greedy(2, Squares([[1.0], [-1.5]]), lower_is_better=True, rounds=1).counts == (1, 1)


def test_shares_are_told_by_the_smallest_counts() -> None:
    assert lowest((2, 0, 4)) == (1, 0, 2) and lowest((3, 0)) == (1, 0)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"members counted \[0, 1\] times is nan"):
        greedy(2, lambda c: [1.0, float("nan")], lower_is_better=True, rounds=2)
