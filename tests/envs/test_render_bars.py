"""Pictures of the layers that live on bars: what is drawn is what happened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.errors import ActionError, ConfigError
from envs.barwise import drawing
from envs.barwise.drawing import draw
from envs.barwise.scene import BEFORE, Scene
from envs.drawing import HEIGHT, RGB, WIDTH
from tests.envs.layers import LAYERS, Layer

pytest.importorskip("matplotlib", reason="pictures need the `train` extra")
MODE = "rgb_array"
Picture = NDArray[np.uint8]
of_every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())


def scene_of(**changes: Any) -> Scene:
    """Four bars of an episode of eight, after two before it: long, then flat."""
    closes = 100.0 + np.array([0.0, 1.0, 2.0, 1.0, 2.0, 3.0])
    opens = closes - np.array([1.0, 1.0, 1.0, -1.0, 1.0, 1.0])
    bars = np.stack(
        [opens, np.maximum(opens, closes) + 0.5, np.minimum(opens, closes) - 0.5, closes], axis=1
    )
    base = Scene(
        bars=bars,
        before=2,
        horizon=8,
        positions=np.array([0.0, 0.5, 0.5, 0.0, 0.0]),
        equity=np.array([0.0, 5.0, -5.0, 3.0, 3.0]),
        drawdown=0.001,
        costs=1.0,
        ended=False,
    )
    return replace(base, **changes)


def count(picture: Picture, colour: RGB) -> int:
    return int((picture == np.array(colour, np.uint8)).all(axis=2).sum())


def test_a_picture_has_the_documented_form() -> None:
    picture = draw(scene_of())
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, draw(scene_of()))


def test_bars_that_rise_and_fall_have_their_colours() -> None:
    mixed, scene = draw(scene_of()), scene_of()
    risen = draw(scene_of(bars=scene.bars[scene.bars[:, 3] >= scene.bars[:, 0]]))
    assert count(mixed, drawing.DOWN_COLOUR) > count(risen, drawing.DOWN_COLOUR)
    assert count(mixed, drawing.UP_COLOUR) > 100


def test_a_position_shows_its_side_and_its_size() -> None:
    flat = draw(scene_of(positions=np.zeros(5)))
    half = draw(scene_of(positions=np.array([0, 0.5, 0.5, 0.5, 0.5])))
    full = draw(scene_of(positions=np.array([0, 1.0, 1.0, 1.0, 1.0])))
    short = draw(scene_of(positions=np.array([0, -0.5, -0.5, -0.5, -0.5])))
    assert count(flat, drawing.LONG_COLOUR) == count(flat, drawing.SHORT_COLOUR) == 0
    legend = 2 * count(half, drawing.LONG_COLOUR) - count(full, drawing.LONG_COLOUR)
    assert 0 <= legend < count(half, drawing.LONG_COLOUR) / 2
    assert count(short, drawing.LONG_COLOUR) == 0 < count(short, drawing.SHORT_COLOUR)


def test_an_episode_that_has_not_begun_to_play_is_drawn() -> None:
    scene = scene_of(
        bars=np.zeros((0, 4)), before=0, positions=np.zeros(1), equity=np.zeros(1), ended=False
    )
    assert draw(scene).shape == (HEIGHT, WIDTH, 3)


@of_every_layer
def test_the_scene_is_what_the_account_says(layer: Layer) -> None:
    env, rng = layer.parallel_env(seed=5, render_mode=MODE), np.random.default_rng(5)
    env.reset()
    arrays = env.batch.arrays
    first = int(arrays.world.places["bar"][0])
    positions, equity = [0.0], [0.0]
    while env.agents:
        env.step(layer.dicts(layer.random(rng, 1)[0]))
        account = arrays.accounts[0]
        positions.append(account["position"] / account["limit"])
        equity.append(1e4 * (account["equity"] - account["initial"]) / account["initial"])
    scene = env._history.scene(env.batch, 0.5)
    assert scene.ended and scene.played == scene.horizon == layer.config.horizon_bars
    assert scene.before == BEFORE
    played = arrays.world.tape.ohlc[first - BEFORE : first + layer.config.horizon_bars]
    assert np.array_equal(scene.bars, 0.5 * played)
    assert np.allclose(scene.positions, positions)
    assert np.allclose(scene.equity, equity)
    assert np.any(scene.positions != 0.0)


@of_every_layer
def test_rendering_does_not_change_the_trajectory(layer: Layer) -> None:
    shown, plain = layer.parallel_env(seed=7, render_mode=MODE), layer.parallel_env(seed=7)
    shown.reset()
    plain.reset()
    rng = np.random.default_rng(7)
    pictures = [shown.render()]
    for _ in range(3):
        actions = layer.dicts(layer.random(rng, 1)[0])
        assert shown.step(actions)[1] == plain.step(actions)[1]
        pictures.append(shown.render())
        assert np.array_equal(shown.state(), plain.state())
    assert not any(np.array_equal(pictures[0], picture) for picture in pictures[1:])


@of_every_layer
def test_both_faces_draw_the_same_picture_and_a_restored_one_goes_on(layer: Layer) -> None:
    parallel = layer.parallel_env(seed=4, render_mode=MODE)
    turns = layer.env(seed=4, render_mode=MODE)
    parallel.reset()
    turns.reset()
    actions = layer.dicts(layer.random(np.random.default_rng(1), 1)[0])
    parallel.step(actions)
    for agent in layer.agents:
        turns.step(actions[agent])
    assert np.array_equal(parallel.render(), turns.render())
    restored = layer.parallel_env(seed=1, render_mode=MODE)
    restored.reset()
    restored.load_state(parallel.state_dict())
    assert restored.render().shape == (HEIGHT, WIDTH, 3)
    restored.step(actions)
    assert np.isnan(restored._history.scene(restored.batch, 1.0).positions).sum() == 1


@of_every_layer
def test_modes_that_are_not_offered_and_pictures_that_are_not_there(layer: Layer) -> None:
    with pytest.raises(ConfigError, match=r"'human'.*rgb_array"):
        layer.parallel_env(render_mode="human")
    with pytest.raises(ActionError, match="reset"):
        layer.parallel_env(render_mode=MODE).render()
    env = layer.parallel_env(seed=0)
    env.reset()
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None
