"""Counter-based noise: keyed by (seed, step, agent, component), and of the right law."""

from __future__ import annotations

import numpy as np
import pytest

from configs.errors import ConfigError
from signals.noise import JointNoise, TeamNoise, derive_seeds, joint_noise, mix
from signals.sequence import sequential_layout
from signals.team import Factor, GroupLayout, TeamLayout
from tests.trainers.toy_env import toy_layout

LAYOUT = toy_layout()
BOX = [0, 1, 5, 6, 7]  # lanes of the toy's boxes; the chooser's three lie between
DISCRETE = [2, 3, 4]
RECORDED = [
    [
        0.776121318,
        0.830835879,
        1.47771204,
        0.118744887,
        3.51153255,
        -1.13300538,
        1.11980331,
        -0.834683537,
    ],
    [
        2.26454139,
        -0.421616018,
        0.200659901,
        -0.425847054,
        0.518394709,
        0.442232966,
        0.153516129,
        -0.92212683,
    ],
]


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


def test_a_layers_numbers_never_change():
    """Recorded runs are replayed on these."""
    found = joint_noise(LAYOUT, derive_seeds(3, count=2), np.array([0, 7]))
    np.testing.assert_allclose(found, RECORDED, rtol=1e-6)


WALKERS = GroupLayout(
    "walkers",
    ("walker_0", "walker_1"),
    ("x",),
    (
        Factor("push", "bounded", 2),
        Factor("move", "categorical", 3),
        Factor("turn", "unbounded", 1),
    ),
)
TALKERS = GroupLayout("talkers", ("talker_0",), ("x", "y"), (Factor("tone", "bounded", 1),))
TEAM = TeamLayout("team", (WALKERS, TALKERS))


def test_a_teams_lanes_have_the_laws_of_their_factors():
    seeds, steps = derive_seeds(3, count=100_000), np.arange(100_000)
    noise = TeamNoise(TEAM, uniform=("walkers",))(seeds, steps)
    assert noise.dtype == np.float32 and noise.shape == (100_000, TEAM.noise_width)
    walkers = noise[:, TEAM.noise_slices[0]].reshape(-1, 6)
    bounded, moves, turns = walkers[:, :2], walkers[:, 2:5], walkers[:, 5]
    assert bounded.min() > 0.0 and bounded.max() < 1.0
    np.testing.assert_allclose(bounded.mean(0), 0.5, atol=0.005)
    np.testing.assert_allclose(bounded.var(0), 1 / 12, atol=0.001)
    np.testing.assert_allclose(moves.mean(0), np.euler_gamma, atol=0.02)
    np.testing.assert_allclose(moves.var(0), np.pi**2 / 6, atol=0.05)
    normal = np.stack([turns[::2], turns[1::2], noise[:, -1]], axis=1)
    np.testing.assert_allclose(normal.mean(0), 0.0, atol=0.015)
    np.testing.assert_allclose(normal.var(0), 1.0, atol=0.025)
    lanes = np.corrcoef(noise.T) - np.eye(TEAM.noise_width)
    assert np.abs(lanes).max() < 0.02


def test_a_lanes_law_leaves_the_other_lanes_alone():
    seeds, steps = derive_seeds(3, count=50), np.arange(50)
    plain, changed = TeamNoise(TEAM)(seeds, steps), TeamNoise(TEAM, ("talkers",))(seeds, steps)
    np.testing.assert_array_equal(plain[:, :-1], changed[:, :-1])
    assert (plain[:, -1] != changed[:, -1]).all()


def test_a_group_in_sequence_gets_its_layers_numbers():
    team = TeamLayout("team", (TALKERS, WALKERS))
    seeds, steps = derive_seeds(3, count=50), np.arange(50)
    layer = joint_noise(sequential_layout(TALKERS), seeds, steps)
    np.testing.assert_array_equal(TeamNoise(team)(seeds, steps)[:, team.noise_slices[0]], layer)


def test_a_uniform_single_stays_below_one():
    assert np.float32(1.0 - 2.0**-53) == 1.0  # what rounding alone would give
    noise = TeamNoise(TeamLayout("team", (TALKERS,)), ("talkers",))
    seeds = derive_seeds(1, count=2_000_000)
    drawn = noise(seeds, np.zeros(len(seeds), dtype=np.int64))
    assert 0.999999 < drawn.max() < 1.0


def test_an_unknown_group_is_named():
    with pytest.raises(ConfigError, match=r"group 'talker' of team 'team'.*did you mean 'talkers'"):
        TeamNoise(TEAM, uniform=("talker",))
