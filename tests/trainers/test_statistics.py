"""Paired comparisons: closed forms, seeding, coverage by simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from configs.errors import DataError
from trainers.statistics import enough, mean_interval, paired

SETTINGS: dict[str, Any] = {"confidence": 0.95, "samples": 1_000, "seed": 0}


def test_a_constant_difference_has_no_width() -> None:
    b = np.random.default_rng(0).normal(size=100)
    result = paired(b - 0.5, b, clusters=np.arange(100) // 2, **SETTINGS)
    assert result.mean_difference == pytest.approx(-0.5)
    assert [result.low, result.high] == pytest.approx([-0.5, -0.5])
    assert result.correlation == pytest.approx(1.0)
    assert result.below_zero and not result.above_zero
    assert (result.n, result.clusters) == (100, 50)


def test_the_interval_agrees_with_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=4_000)
    result = mean_interval(values, clusters=np.arange(4_000), **SETTINGS)
    closed = 1.96 * values.std() / math.sqrt(4_000)
    assert result.mean == pytest.approx(values.mean())
    assert result.half_width == pytest.approx(closed, rel=0.08)


def test_opposite_sides_of_a_path_cancel() -> None:
    """Two sides that mirror each other carry half the parents and no path noise."""
    noise = np.random.default_rng(2).normal(size=500)
    values = np.stack([1.0 + noise, 1.0 - noise], axis=1).ravel()
    together = mean_interval(values, clusters=np.arange(1_000) // 2, **SETTINGS)
    apart = mean_interval(values, clusters=np.arange(1_000), **SETTINGS)
    assert together.half_width < 1e-9 < 0.05 < apart.half_width


def test_common_noise_widens_a_clusters_interval() -> None:
    """Copies of one draw are one draw: the interval is wider by sqrt(copies)."""
    draws = np.random.default_rng(3).normal(size=1_000)
    values = np.repeat(draws, 4)
    clustered = mean_interval(values, clusters=np.arange(4_000) // 4, **SETTINGS)
    naive = mean_interval(values, clusters=np.arange(4_000), **SETTINGS)
    assert clustered.half_width / naive.half_width == pytest.approx(2.0, rel=0.15)


def test_pairing_pays_by_its_correlation() -> None:
    generator = np.random.default_rng(4)
    common, first, second = generator.normal(size=(3, 20_000))
    a, b = common + 0.5 * first, common + 0.5 * second
    result = paired(a, b, clusters=np.arange(20_000), **SETTINGS)
    assert result.correlation == pytest.approx(0.8, abs=0.01)
    alone = mean_interval(a, clusters=np.arange(20_000), **SETTINGS).half_width
    unpaired = alone * math.sqrt(2.0)
    assert result.half_width / unpaired == pytest.approx(math.sqrt(1.0 - 0.8), rel=0.1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    trials, clusters = 400, 200
    covered = 0
    for trial in range(trials):
        path = np.repeat(generator.normal(size=clusters), 2)
        values = path + generator.standard_exponential(2 * clusters)
        result = mean_interval(
            values,
            clusters=np.arange(2 * clusters) // 2,
            confidence=0.95,
            samples=400,
            seed=trial,
        )
        covered += result.low <= 1.0 <= result.high
    # Three standard errors of 400 trials at .95 are .033.
    assert 0.915 <= covered / trials <= 0.985


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(6).normal(size=300)

    def interval(seed: int) -> tuple[float, float]:
        r = mean_interval(values, clusters=np.arange(300), confidence=0.9, samples=200, seed=seed)
        return r.low, r.high

    assert interval(0) == interval(0) != interval(1)


def test_labels_need_not_be_consecutive_nor_clusters_equal() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    result = mean_interval(values, clusters=[70, 70, 70, 3, 3], **SETTINGS)
    # Two clusters with sums 6 of 3 and 9 of 2: a resample has mean 2, 3 or 4.5.
    assert (result.mean, result.low, result.high, result.clusters) == (3.0, 2.0, 4.5, 2)


def test_a_constant_series_has_no_correlation() -> None:
    result = paired([1.0, 1.0], [2.0, 3.0], clusters=[0, 1], **SETTINGS)
    assert math.isnan(result.correlation)


@pytest.mark.parametrize(
    ("values", "clusters", "said"),
    [
        ([], [], "non-empty"),
        ([1.0, 2.0], [0], "expected equal"),
        ([1.0, math.nan], [0, 1], "entry 1 of a series is nan"),
        ([1.0, 2.0], [0, 0], "single cluster"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    values: list[float], clusters: list[int], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        mean_interval(values, clusters=clusters, **SETTINGS)


def test_the_stop_rule_looks_at_the_width_alone() -> None:
    assert enough(0.1, reference_cost=-1.0, share=0.1)
    assert not enough(0.11, reference_cost=1.0, share=0.1)
    assert not enough(0.1, reference_cost=0.0, share=0.1)
