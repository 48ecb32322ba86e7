"""Counter-based random numbers: the published generator, its range, its independence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from market import random as draws
from market.kernels import kernel
from market.random import hash64, normal, stream_key, uniform

GOLDEN = 0x9E3779B97F4A7C15
WORD = 1 << 64
KEYS = st.integers(0, WORD - 1)
COUNTERS = st.integers(0, 2**62)
PURPOSES = sorted(value for name, value in vars(draws).items() if name.startswith("PURPOSE_"))
MANY = 200_000


@kernel
def _fill(key: np.uint64, uniforms: NDArray[np.float64], normals: NDArray[np.float64]) -> None:
    for counter in range(len(uniforms)):
        uniforms[counter] = uniform(key, counter)
        normals[counter] = normal(key, counter)


def sample(key: np.uint64) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    uniforms, normals = np.empty(MANY), np.empty(MANY)
    _fill(key, uniforms, normals)
    return uniforms, normals


def splitmix64(state: int) -> int:
    """The generator as published, in whole numbers."""
    z = state
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def _unshifted(value: int, shift: int) -> int:
    """z, given z ^ (z >> shift)."""
    z = value
    for _ in range(64 // shift):
        z = value ^ (z >> shift)
    return z


def key_of_draw(bits: int) -> np.uint64:
    """The key whose draw at counter 0 is `bits`: every value is some key's draw."""
    z = _unshifted(bits, 31) * pow(0x94D049BB133111EB, -1, WORD) % WORD
    z = _unshifted(z, 27) * pow(0xBF58476D1CE4E5B9, -1, WORD) % WORD
    return np.uint64((_unshifted(z, 30) - GOLDEN) % WORD)


def test_the_published_sequence() -> None:
    # The test vector of the generator's reference implementations, seed 1234567.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [int(hash64(np.uint64(1234567), n)) for n in range(5)] == expected


@given(KEYS, COUNTERS)
def test_a_draw_depends_on_key_and_counter_alone(key: int, counter: int) -> None:
    assert int(hash64(np.uint64(key), counter)) == splitmix64((key + (counter + 1) * GOLDEN) % WORD)


@given(KEYS, COUNTERS)
def test_numbers_lie_inside_their_range(key: int, counter: int) -> None:
    assert 0.0 < uniform(np.uint64(key), counter) < 1.0
    assert math.isfinite(normal(np.uint64(key), counter))


def test_the_smallest_draw_is_above_zero() -> None:
    key = key_of_draw(0)
    assert int(hash64(key, 0)) == 0
    assert 0.0 < uniform(key, 0) < 1e-15
    assert math.isfinite(normal(key, 0))


def test_the_largest_draw_is_below_one() -> None:
    key = key_of_draw(WORD - 1)
    assert int(hash64(key, 0)) == WORD - 1
    assert 1.0 - 1e-15 < uniform(key, 0) < 1.0


@pytest.mark.parametrize("seed", [0, 1, WORD - 1])
def test_moments(seed: int) -> None:
    uniforms, normals = sample(np.uint64(seed))
    error = 4.0 / math.sqrt(MANY)
    assert abs(uniforms.mean() - 0.5) < error * math.sqrt(1 / 12)
    assert abs(uniforms.var() - 1 / 12) < error * math.sqrt(1 / 180)
    assert abs(normals.mean()) < error
    assert abs(normals.var() - 1.0) < error * math.sqrt(2)
    assert abs((normals**3).mean()) < error * math.sqrt(15)
    assert abs((normals**4).mean() - 3.0) < error * math.sqrt(96)
    counts, _ = np.histogram(uniforms, bins=64, range=(0.0, 1.0))
    chi_squared = float(((counts - MANY / 64) ** 2 / (MANY / 64)).sum())
    assert abs(chi_squared - 63) < 4 * math.sqrt(2 * 63)


def test_neighbouring_streams_share_nothing() -> None:
    keys = [
        stream_key(np.uint64(seed), episode, purpose)
        for seed in range(3)
        for episode in range(3)
        for purpose in PURPOSES
    ]
    assert len(set(keys)) == len(keys)
    samples = np.stack([sample(np.uint64(key))[0] for key in keys[: 2 * len(PURPOSES)]])
    correlations = np.asarray(np.corrcoef(samples))[np.triu_indices(len(samples), 1)]
    assert np.abs(correlations).max() < 5.0 / math.sqrt(MANY)
    lagged = [np.asarray(np.corrcoef(row[:-1], row[1:]))[0, 1] for row in samples]
    assert np.abs(lagged).max() < 5.0 / math.sqrt(MANY)


def test_purposes_differ() -> None:
    names = [name for name in vars(draws) if name.startswith("PURPOSE_")]
    assert len(PURPOSES) == len(set(PURPOSES)) == len(names) > 1
