"""Sizes by the machine: which profile, and sequences and minibatches that divide a rollout."""

from __future__ import annotations

import pytest

from configs.actors import ActorConfig
from configs.errors import TrainingError
from configs.mappo import MappoConfig
from experiments.toy_team import LAYOUT
from trainers.mappo.machine import described, profile_of, sized
from trainers.mappo.plan import plan_training

GIB = 2**30


@pytest.mark.parametrize(
    ("gib", "sequences", "length"),
    [(None, 32, 16), (8, 8, 32), (15.7, 16, 32), (31.4, 32, 48), (39.5, 64, 48), (141, 64, 48)],
)
def test_the_profile_is_that_of_the_memory(gib: float | None, sequences: int, length: int):
    profile = profile_of(None if gib is None else int(gib * GIB))
    assert (profile.sequences, profile.sequence_length) == (sequences, length)


def settings(**changes: object) -> MappoConfig:
    options = {"policy": ActorConfig(memory="gru"), "sizes": "machine", "num_envs": 64}
    return MappoConfig(**(options | {"rollout_length": 100} | changes))


def test_sequences_divide_the_rollout_and_minibatches_the_sequences():
    for changes in ({}, {"rollout_length": 30}, {"runners": 3}, {"learners": 2}, {"num_envs": 7}):
        asked = settings(**({"minibatches": 1} | changes))
        plan = plan_training(LAYOUT, asked)
        for gib in (None, 16, 80):
            profile = profile_of(None if gib is None else gib * GIB)
            found = sized(asked, plan, profile)
            assert asked.rollout_length % found.sequence_length == 0
            assert found.sequence_length <= profile.sequence_length
            rows = asked.iteration_env_steps // max(1, asked.learners)
            units = rows // found.sequence_length
            assert units % found.minibatches == 0
            assert units // found.minibatches <= profile.sequences


def test_a_hundred_steps_on_a_cpu():
    asked = settings()
    plan = plan_training(LAYOUT, asked)
    found = sized(asked, plan, profile_of(None))
    assert (found.sequence_length, found.minibatches) == (10, 20)  # 640 sequences, 32 at a time
    assert "32 sequences of 10 steps a minibatch" in described(found, plan, profile_of(None))


def test_what_is_given_or_has_no_memory_stays_as_it_is():
    for asked in (settings(sizes="given"), settings(policy=ActorConfig())):
        assert sized(asked, plan_training(LAYOUT, asked), profile_of(16 * GIB)) == asked


def test_less_than_a_sequence_for_each_learner_is_refused():
    asked = settings(num_envs=2, rollout_length=16, learners=2)
    plan = plan_training(LAYOUT, asked)
    found = sized(asked, plan, profile_of(None))
    assert found.minibatches == 1
    starved = asked.model_copy(update={"num_envs": 1})
    with pytest.raises(TrainingError, match="hold less than one sequence of 16 steps"):
        sized(starved, plan, profile_of(None))
