"""Rollouts: what is recorded, cut, reset and counted; and that they resume to the bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from configs.actors import ActorConfig
from configs.errors import TrainingError
from configs.mappo import MappoConfig
from policies.sequential import SequentialPolicy
from tests.trainers.toy_env import ToyEnv, make, toy_layout
from trainers.mappo.plan import POLICY, plan_training
from trainers.mappo.rollout import EpisodeStats, Rollout
from trainers.mappo.sampler import Actors, Sampler, make_environment

N, T = 6, 20
PLAN = plan_training(toy_layout(), MappoConfig())


@pytest.fixture
def actors() -> Actors:
    return {POLICY: SequentialPolicy(toy_layout(), ActorConfig(hidden=(8,)))}


def sampler(seed: int = 0, worker: int = 0, stagger: int = 0, **kwargs: int) -> Sampler:
    return Sampler(make(N, seed, **kwargs), PLAN, seed, worker, stagger)


def equal(first: Rollout, second: Rollout) -> bool:
    decided = ("rows", "latent", "log_prob", "targets", "memory")
    seen = ("states", "rewards", "begins", "alive", "cut_states")
    a, b = first.decisions[POLICY], second.decisions[POLICY]
    return all(np.array_equal(getattr(first, n), getattr(second, n)) for n in seen) and all(
        np.array_equal(getattr(a, n), getattr(b, n)) for n in decided
    )


def test_a_rollout_holds_what_the_environment_said(actors: Actors):
    env = ToyEnv(N, 0)
    rollout = Sampler(env, PLAN, 0).sample(actors, T)
    assert rollout.decisions[POLICY].rows.shape == (T, N, env.layout.row_width)
    assert (rollout.env_steps(), rollout.agent_steps(), len(rollout)) == (T * N, T * N * 4, T * N)
    # Step 3, decided on the recorded row with the recorded latent, pays the recorded reward.
    decided = rollout.decisions[POLICY]
    rows, latent = torch.from_numpy(decided.rows[3]), torch.from_numpy(decided.latent[3])
    evaluated = actors[POLICY].evaluate(rows, latent)
    np.testing.assert_allclose(
        evaluated.log_prob.detach().numpy(),
        decided.log_prob[3],
        rtol=1e-5,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        decided.targets[..., 0],
        decided.rows[..., 0] ** 2,
        rtol=1e-6,
    )


def test_episodes_end_and_begin_inside_a_rollout(actors: Actors):
    rollout = sampler().sample(actors, 60)
    ended = (rollout.terminations | rollout.truncations).any(axis=2)
    assert (ended.sum(axis=0) >= 4).all()
    assert rollout.terminations.any()
    assert rollout.truncations.any()
    rows = rollout.decisions[POLICY].rows
    begun = rows[1:, :, 1][ended[:-1]]  # time left, in the row after an end
    np.testing.assert_array_equal(begun, 1.0)
    assert rollout.stats.episodes == ended.sum()
    lengths = rollout.stats.episode_means()["length"]
    assert 5 <= lengths <= 12


def test_cut_states_are_those_before_the_reset(actors: Actors):
    rollout = sampler().sample(actors, 40)
    cuts = np.argwhere((rollout.truncations & ~rollout.terminations).any(axis=2))
    np.testing.assert_array_equal(rollout.cut_index, cuts)
    assert len(rollout.cut_states) == len(cuts) > 0
    np.testing.assert_allclose(rollout.cut_states[:, 1], 0.0, atol=1e-6)  # no time left
    # The privileged column names the next signal: the cut state goes on, the next row does not.
    t, n = cuts[0]
    assert rollout.cut_states[0, 0] == pytest.approx(rollout.states[t, n, -1])
    assert rollout.decisions[POLICY].rows[t + 1, n, 0] != pytest.approx(rollout.states[t, n, -1])


def test_statistics_are_sums_of_what_happened(actors: Actors):
    rollout = sampler().sample(actors, T)
    stats = rollout.stats
    assert stats.step_means()["reward/scout"] == pytest.approx(rollout.rewards[..., 0].mean())
    terms = sum(v for k, v in stats.step_means().items() if k.startswith("term/"))
    assert terms == pytest.approx(rollout.rewards[..., 0].mean(), rel=1e-5)
    total = EpisodeStats()
    total.add(stats)
    total.add(stats)
    assert total.episodes == 2 * stats.episodes
    assert total.episode_means() == pytest.approx(stats.episode_means())
    assert EpisodeStats().episode_means() == EpisodeStats().step_means() == {}


def test_same_seed_same_rollout_and_workers_differ(actors: Actors):
    assert equal(sampler().sample(actors, T), sampler().sample(actors, T))
    first = sampler().sample(actors, T)
    for other in (sampler(seed=1), sampler(worker=1)):
        rollout = other.sample(actors, T)
        mine, its = (found.decisions[POLICY].rows[0, :, 0] for found in (first, rollout))
        assert not np.isin(its, mine).any()


def test_a_restored_sampler_goes_on_to_the_bit(actors: Actors):
    whole = sampler(stagger=4)
    whole.sample(actors, 7)
    state = copy.deepcopy(whole.state_dict())
    expected = whole.sample(actors, T)
    fresh = sampler(stagger=4)
    fresh.load_state(state)
    found = fresh.sample(actors, T)
    assert equal(found, expected)
    assert found.stats == expected.stats
    early = sampler(stagger=4)
    early.load_state(sampler(stagger=4).state_dict())
    assert equal(early.sample(actors, T), sampler(stagger=4).sample(actors, T))


def test_a_state_of_another_size_is_refused(actors: Actors):
    state = sampler().state_dict()
    with pytest.raises(TrainingError, match="checkpoint of 6 environments, this run has 3"):
        Sampler(make(3, 0), PLAN, 0).load_state(state)


def test_stagger_spreads_the_phases(actors: Actors):
    together = sampler().sample(actors, 1).decisions[POLICY].rows[0, :, 1]
    spread = sampler(stagger=5).sample(actors, 1).decisions[POLICY].rows[0, :, 1]
    assert (together == 1.0).all()
    assert len(np.unique(np.round(spread, 3))) > 2


def test_without_exploration_the_mode_is_taken(actors: Actors):
    rollout = sampler().sample(actors, 3, explore=False)
    decided = rollout.decisions[POLICY]
    mode = actors[POLICY].act(torch.from_numpy(decided.rows[2]), None)
    np.testing.assert_allclose(decided.latent[2], mode.latent.detach().numpy(), rtol=1e-6)


def test_slices_and_concatenation_are_inverse(actors: Actors):
    rollout = sampler().sample(actors, 40)
    parts = rollout.split(3)
    assert [part.num_envs for part in parts] == [2, 2, 2]
    joined = Rollout.concatenate(parts)
    assert equal(joined, Rollout.concatenate([rollout])) or len(joined.cut_index)
    for name in ("states", "rewards", "last_states", "truncations"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(rollout, name))
    for part in (*parts, joined):
        for (t, n), state in zip(part.cut_index, part.cut_states, strict=True):
            assert part.truncations[t, n].all()
            assert state[0] == pytest.approx(part.states[t, n, -1])
    assert len(joined.cut_index) == len(rollout.cut_index)
    with pytest.raises(ValueError, match="do not divide into 4"):
        rollout.split(4)


def test_a_nan_is_placed(actors: Actors):
    with pytest.raises(TrainingError, match=r"agent 'follower' is nan in .* row 1 at step 3"):
        sampler(spoil_at=3).sample(actors, T)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tests.trainers.toy_env", "expected 'package.module:function'"),
        ("tests.trainers.no_such:make", "there is no module 'tests.trainers.no_such'"),
        ("tests.trainers.toy_env:nothing", "has no such function"),
        ("tests.trainers.toy_env:toy_layout", None),
    ],
)
def test_a_wrong_environment_is_named(name: str, message: str | None):
    if message is None:  # an error of the function's own is not ours to rewrite
        with pytest.raises(TypeError):
            make_environment(name, 2, 0, {})
        return
    with pytest.raises(TrainingError, match=message):
        make_environment(name, 2, 0, {})


def test_a_runner_built_anew_replays_nothing_and_resumes_to_the_bit(
    actors: Actors,
):
    first, rebuilt = sampler(), sampler()
    rebuilt.begin_at(3)
    begun = first.sample(actors, T)
    assert not equal(begun, rebuilt.sample(actors, T))
    first.begin_at(3)  # it has begun already: nothing changes
    untouched = sampler()
    untouched.begin_at(0)
    assert equal(untouched.sample(actors, T), begun)
    assert equal(untouched.sample(actors, T), first.sample(actors, T))
    resumed = sampler()
    resumed.load_state(copy.deepcopy(rebuilt.state_dict()))
    resumed.begin_at(9)
    assert equal(resumed.sample(actors, T), rebuilt.sample(actors, T))
