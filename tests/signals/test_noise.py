"""Counter-based noise: keyed by (seed, step, agent, component), and of the right law."""

from __future__ import annotations

import numpy as np
import pytest

from signals.noise import JointNoise, derive_seeds, joint_noise, mix
from tests.trainers.toy_env import toy_layout

LAYOUT = toy_layout()
BOX = [0, 1, 5, 6, 7]  # lanes of the toy's boxes; the chooser's three lie between
DISCRETE = [2, 3, 4]


def draw(count: int, seed: int = 3) -> np.ndarray:
    return joint_noise(LAYOUT, derive_seeds(seed, count=count), np.arange(count))


def test_a_row_depends_on_its_own_key_alone():
    noise = JointNoise(LAYOUT)
    seeds, steps = derive_seeds(1, count=37), np.arange(37, dtype=np.int64) * 5
    together = noise(seeds, steps)
    order = np.random.default_rng(0).permutation(37)
    np.testing.assert_array_equal(noise(seeds[order], steps[order]), together[order])
    for count in (1, 2, 3, 5, 8, 17):
        np.testing.assert_array_equal(noise(seeds[:count], steps[:count]), together[:count])


def test_every_part_of_the_key_counts():
    seeds, steps = derive_seeds(1, count=1), np.zeros(1, dtype=np.int64)
    base = joint_noise(LAYOUT, seeds, steps)
    assert (joint_noise(LAYOUT, seeds, steps + 1) != base).all()
    assert (joint_noise(LAYOUT, seeds + np.uint64(1), steps) != base).all()
    assert len(np.unique(base)) == LAYOUT.noise_width


def test_boxes_are_standard_normal_and_choices_standard_gumbel():
    noise = draw(200_000)
    assert noise.dtype == np.float32
    assert noise.shape == (200_000, LAYOUT.noise_width)
    normal, gumbel = noise[:, BOX], noise[:, DISCRETE]
    np.testing.assert_allclose(normal.mean(0), 0.0, atol=0.01)
    np.testing.assert_allclose(normal.var(0), 1.0, atol=0.02)
    np.testing.assert_allclose((normal**4).mean(0), 3.0, atol=0.1)
    np.testing.assert_allclose(gumbel.mean(0), np.euler_gamma, atol=0.02)
    np.testing.assert_allclose(gumbel.var(0), np.pi**2 / 6, atol=0.04)


def test_lanes_steps_and_seeds_are_uncorrelated():
    noise = draw(100_000)
    lanes = np.corrcoef(noise.T) - np.eye(LAYOUT.noise_width)
    assert np.abs(lanes).max() < 0.02
    seeds = np.full(100_000, 9, dtype=np.uint64)
    series = joint_noise(LAYOUT, seeds, np.arange(100_000))
    assert abs(np.corrcoef(series[1:, 0], series[:-1, 0])[0, 1]) < 0.02


def test_derived_seeds_are_distinct_and_depend_on_all_parts():
    first = derive_seeds(0, 1, count=10_000)
    assert len(np.unique(first)) == 10_000
    assert not np.isin(derive_seeds(1, 0, count=10_000), first).any()
    np.testing.assert_array_equal(derive_seeds(0, 1, count=10_000), first)


@pytest.mark.parametrize("value", [0, 1, 2**63, 2**64 - 1])
def test_mix_is_the_reference_finaliser(value: int):
    z = (value + 0x9E3779B97F4A7C15) % 2**64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    assert int(mix(np.array([value], dtype=np.uint64))[0]) == z ^ (z >> 31)
