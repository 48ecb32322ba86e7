"""One contract over the layers above execution: PettingZoo's own tests, and what they leave out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pettingzoo.test import (
    api_test,
    parallel_api_test,
    parallel_seed_test,
    seed_test,
    state_test,
)

from configs.errors import ActionError, SimulatorError
from envs.batched import BatchedEnv
from tests.envs.layers import CHOICES, LAYERS, Layer

pytestmark = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())


def test_pettingzoo_accepts_both_faces(layer: Layer) -> None:
    parallel_api_test(layer.parallel_env(seed=1), num_cycles=40)
    api_test(layer.env(seed=1), num_cycles=60)


def test_pettingzoo_finds_seeds_honoured(layer: Layer) -> None:
    parallel_seed_test(lambda **_: layer.parallel_env(), num_cycles=15)
    seed_test(lambda **_: layer.env(), num_cycles=30)


def test_pettingzoo_finds_the_declared_state(layer: Layer) -> None:
    env = layer.parallel_env(seed=1)
    state_test(layer.env(seed=1), env, num_cycles=5)
    assert env.state_space.contains(env.state())
    assert env.state_space.shape == (layer.layout.state_width,)


def test_the_batched_form_fits_its_protocol(layer: Layer) -> None:
    assert isinstance(layer.batched(2), BatchedEnv)


def play(layer: Layer, seed: int, episodes: int = 2) -> list[NDArray[np.float32]]:
    """States and rewards of episodes of `seed` under random choices."""
    env, rng = layer.parallel_env(), np.random.default_rng(seed)
    trace: list[NDArray[np.float32]] = []
    for episode in range(episodes):
        env.reset(seed=seed if episode == 0 else None, options={"unknown": 1})
        trace.append(env.state())
        while env.agents:
            _, rewards, *_ = env.step(layer.dicts(layer.random(rng, 1)[0]))
            trace.append(np.append(env.state(), np.float32(rewards[layer.agents[0]])))
    return trace


@pytest.mark.parametrize("seed", [0, 7, 2**63])
def test_whole_episodes_repeat_to_the_bit(layer: Layer, seed: int) -> None:
    """Seed 0 is a seed; the second episode of a seed repeats as well as the first."""
    first, second = play(layer, seed), play(layer, seed)
    assert len(first) == len(second) == 2 * (layer.config.horizon_bars + 1)
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)


def test_other_seeds_and_later_episodes_differ(layer: Layer) -> None:
    env, states = layer.parallel_env(), []
    for seed in (0, 1, None):
        env.reset(seed=seed)
        states.append(env.state())
    assert not np.array_equal(states[0], states[1])
    assert not np.array_equal(states[1], states[2])


def test_alone_equals_batched_in_any_order(layer: Layer) -> None:
    seeds, order = np.array([11, 3, 2**40, 0], np.uint64), np.array([3, 2, 0, 1])
    rng = np.random.default_rng(5)
    batch, shuffled = layer.batched(4), layer.batched(4)
    batch.reset(seeds=seeds)
    shuffled.reset(seeds=seeds[order])
    alone = [layer.batched(1) for _ in seeds]
    for single, seed in zip(alone, seeds, strict=True):
        single.reset(seeds=np.array([seed]))
    while not batch.terminations.all():
        action = layer.random(rng, 4)
        batch.step(action)
        shuffled.step(action[order])
        for row, single in enumerate(alone):
            single.step(action[row : row + 1])
            assert np.array_equal(single.states[0], batch.states[row])
            assert np.array_equal(single.rewards[0], batch.rewards[row])
        assert np.array_equal(shuffled.states, batch.states[order])
    assert np.array_equal(shuffled.episode_metrics, batch.episode_metrics[order])


def test_a_row_that_has_ended_is_left_alone(layer: Layer) -> None:
    batch, rng = layer.batched(2, seed=4), np.random.default_rng(4)
    batch.reset()
    while not batch.terminations.all():
        batch.step(layer.random(rng, 2))
    batch.reset(mask=np.array([True, False]))
    before, reward = batch.states[1].copy(), batch.rewards[1].copy()
    for _ in range(3):
        batch.step(layer.random(rng, 2))
        assert np.array_equal(batch.states[1], before)
        assert np.array_equal(batch.rewards[1], reward)
    assert batch.terminations.tolist() == [False, True]


def test_turns_equal_the_parallel_face(layer: Layer) -> None:
    parallel, turns = layer.parallel_env(), layer.env()
    parallel.reset(seed=4)
    turns.reset(seed=4)
    rng = np.random.default_rng(4)
    while parallel.agents:
        action = layer.dicts(layer.random(rng, 1)[0])
        before = turns.state()
        assert np.array_equal(before, parallel.state())
        for agent in layer.agents:
            assert turns.agent_selection == agent
            assert np.array_equal(turns.state(), before)  # constant within a step
            turns.step(action[agent])
        _, rewards, terminations, _, infos = parallel.step(action)
        assert np.array_equal(turns.state(), parallel.state())
        assert (turns.rewards, turns.terminations) == (rewards, terminations)
        assert turns.infos == infos


def test_observe_shows_what_was_chosen_before_and_no_more(layer: Layer) -> None:
    env, layout = layer.env(), layer.layout
    env.reset(seed=2)
    action = layer.random(np.random.default_rng(2), 1)[0]
    last = len(layer.agents) - 1
    flags = slice(layout.chosen_flag(0), layout.chosen_flag(last - 1) + 1)
    for turn, agent in enumerate(layer.agents):
        seen = env.observe(agent)
        assert ("upstream" in seen) == (turn > 0 and layout.agents[turn].follows)
        if "upstream" in seen:
            assert seen["upstream"][flags].tolist() == [1.0] * turn + [0.0] * (last - turn)
            for earlier in range(last):
                shown = seen["upstream"][layout.upstream_slice(earlier)]
                wanted = np.eye(CHOICES)[int(action[earlier])] * (earlier < turn)
                assert np.array_equal(shown, wanted)
        env.step(int(action[turn]))


def test_observations_stay_inside_their_space(layer: Layer) -> None:
    env, rng = layer.parallel_env(), np.random.default_rng(8)
    corners = [np.full(len(layer.agents), c) for c in range(CHOICES)]
    for seed in range(8):
        observations, _ = env.reset(seed=seed)
        while env.agents:
            for agent, seen in observations.items():
                assert env.observation_space(agent).contains(seen)
                if "action_mask" in seen:
                    assert seen["action_mask"].any()
            state = env.state()
            assert state.dtype == np.float32 and np.isfinite(state).all()
            assert state.shape == (layer.layout.state_width,)
            assert env.state_space.contains(state)
            row = layer.random(rng, 1)[0] if seed >= CHOICES else corners[seed]
            observations, *_ = env.step(layer.dicts(row))
        for agent, seen in observations.items():
            assert env.observation_space(agent).contains(seen)


def test_observations_belong_to_whoever_has_them(layer: Layer) -> None:
    """What one agent does to its arrays changes neither another's nor the environment."""
    env = layer.parallel_env()
    observations, _ = env.reset(seed=3)
    arrays = [(a, k, v) for a, seen in observations.items() for k, v in seen.items()]
    kept = {(agent, key): value.copy() for agent, key, value in arrays}
    state = env.state()
    for index, (agent, key, value) in enumerate(arrays):
        value[...] = -1
        for other, name, array in arrays[index + 1 :]:
            assert np.array_equal(array, kept[other, name]), (agent, key, other, name)
    assert np.array_equal(env.state(), state)
    again = env.observations()
    assert all(np.array_equal(again[a][k], value) for (a, k), value in kept.items())


def test_state_is_the_row_and_the_privileged_tail(layer: Layer) -> None:
    batch, layout = layer.batched(3), layer.layout
    batch.reset()
    assert np.array_equal(batch.states[:, : layout.row_width], batch.rows)
    assert sum(c.privileged for c in layout.state_columns) == layout.state_width - layout.row_width
    assert not any(c.privileged for c in layout.columns)
    names = [column.name for column in layout.state_columns]
    assert len(set(names)) == len(names)
    assert all(np.isfinite([c.low, c.high]).all() and c.low < c.high for c in layout.state_columns)


def test_masked_choices_do_nothing_and_are_counted(layer: Layer) -> None:
    """What is not allowed gives the episode, to the bit, that the layer's do-nothing gives."""
    free, bound = layer.batched(6, seed=2), layer.batched(6, seed=2)
    rng, nothing = np.random.default_rng(2), np.array(layer.nothing, np.float32)
    free.reset()
    bound.reset()
    masked = np.zeros(6)
    while not free.terminations.all():
        allowed = layer.allowed(free.rows)
        assert allowed.any(axis=2).all()
        action = layer.random(rng, 6)
        chosen = np.take_along_axis(allowed, action.astype(int)[:, :, None], axis=2)[:, :, 0]
        masked += (~chosen).sum(axis=1)
        free.step(action)
        bound.step(np.where(chosen, action, nothing))
        assert np.array_equal(free.states, bound.states)
        assert np.array_equal(free.rewards, bound.rewards)
    assert masked.min() > 0
    at = free.metric_names.index("masked")
    deciders = sum(bool(agent.mask) for agent in layer.layout.agents)
    share = masked / (layer.config.horizon_bars * deciders)
    assert free.episode_metrics[:, at] == pytest.approx(share)
    assert not bound.episode_metrics[:, at].any()


def test_a_state_restores_the_middle_of_an_episode_to_the_bit(layer: Layer) -> None:
    rng = np.random.default_rng(3)
    original, other = layer.batched(3, seed=3), layer.batched(3, seed=77)
    original.reset()
    for _ in range(5):
        original.step(layer.random(rng, 3))
    other.load_state(original.state_dict())
    while not original.terminations.all():
        action = layer.random(rng, 3)
        original.step(action)
        other.step(action)
        assert np.array_equal(original.states, other.states)
        assert np.array_equal(original.rewards, other.rewards)
    assert np.array_equal(original.episode_metrics, other.episode_metrics)
    for env in (original, other):
        env.reset(mask=np.ones(3, np.bool_))
    assert np.array_equal(original.states, other.states)


def test_a_foreign_state_is_refused_whole(layer: Layer) -> None:
    small, large = layer.batched(1), layer.batched(2)
    small.reset()
    large.reset()
    before = large.states.copy()
    with pytest.raises(SimulatorError, match="expected"):
        large.load_state(small.state_dict())
    with pytest.raises(SimulatorError, match="'places' is missing"):
        large.load_state({k: v for k, v in large.state_dict().items() if k != "places"})
    assert np.array_equal(large.states, before)


@pytest.mark.parametrize("bad", [CHOICES, -1, 0.5, np.nan, "much", None, np.array([1, 2])])
def test_actions_outside_their_space_are_refused(layer: Layer, bad: Any) -> None:
    env, turns = layer.parallel_env(), layer.env()
    for face in (env, turns):
        face.reset(seed=1)
    before = env.state()
    actions = layer.dicts(layer.random(np.random.default_rng(0), 1)[0])
    for agent in layer.agents:
        with pytest.raises(ActionError, match=f"{agent}.*expected an integer from 0 to 4"):
            env.step(actions | {agent: bad})
        assert np.array_equal(env.state(), before)
    with pytest.raises(ActionError, match=layer.agents[0]):
        turns.step(bad)
    assert np.array_equal(turns.state(), before)
    assert turns.agent_selection == layer.agents[0]


@pytest.mark.parametrize("bad", [CHOICES, -1.0, 0.5, np.nan, np.inf])
def test_a_batch_refuses_whole_what_one_row_gives_wrongly(layer: Layer, bad: float) -> None:
    batch = layer.batched(3)
    batch.reset()
    before = {name: value.copy() for name, value in batch.state_dict().items()}
    action = layer.random(np.random.default_rng(1), 3)
    action[2, 1] = bad
    with pytest.raises(ActionError, match=f"{layer.agents[1]} chose .* in environment 2"):
        batch.step(action)
    after = batch.state_dict()
    changed = [name for name, value in before.items() if not np.array_equal(value, after[name])]
    assert changed == ["actions"]  # what was refused, and nothing else


def test_a_missing_or_unknown_agent_is_named(layer: Layer) -> None:
    env = layer.parallel_env()
    env.reset(seed=1)
    actions = layer.dicts(layer.random(np.random.default_rng(0), 1)[0])
    name = layer.agents[-1]
    with pytest.raises(ActionError, match=f"lacks '{name}'"):
        env.step({k: v for k, v in actions.items() if k != name})
    with pytest.raises(ActionError, match=f"did you mean '{name}'"):
        env.step(actions | {name[:-1]: 0})
    with pytest.raises(ActionError, match="whole number"):
        env.reset(seed=-1)
    with pytest.raises(ActionError, match=r"call reset\(\) first"):
        layer.parallel_env().step(actions)


def test_terms_add_up_to_the_reward(layer: Layer) -> None:
    env, rng = layer.parallel_env(), np.random.default_rng(6)
    env.reset(seed=6)
    total = 0.0
    while env.agents:
        _, rewards, _, _, infos = env.step(layer.dicts(layer.random(rng, 1)[0]))
        for agent in layer.agents:
            assert sum(infos[agent]["reward_terms"].values()) == pytest.approx(
                rewards[agent], abs=1e-4
            )
        total += rewards[layer.agents[0]]
    episode = infos[layer.agents[0]]["episode"]
    assert episode["reward"] == pytest.approx(total, abs=1e-3)
    assert episode["steps"] == layer.config.horizon_bars


def test_the_path_to_come_is_kept_from_critics_where_asked(layer: Layer) -> None:
    told, blind = (layer.batched(6, seed=4, critic_sees_path=sees) for sees in (True, False))
    path = np.array([column.privileged for column in layer.layout.state_columns])
    rng = np.random.default_rng(4)
    for batch in (told, blind):
        batch.reset()
    for _ in range(5):
        action = layer.random(rng, 6)
        for batch in (told, blind):
            batch.step(action)
        assert np.array_equal(told.rows, blind.rows)
        assert np.array_equal(told.states[:, ~path], blind.states[:, ~path])
        assert told.states[:, path].any() and not blind.states[:, path].any()
