"""Pictures: every thing drawn changes its own pixels, and drawing changes nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.errors import ActionError, ConfigError
from envs import execution_v1
from envs.drawing import HEIGHT, RGB, WIDTH
from envs.execution import drawing
from envs.execution.drawing import draw
from envs.execution.scene import Fill, Scene
from market import decode
from tests.envs.test_execution_contract import AGENTS, as_dict, random_actions

pytest.importorskip("matplotlib", reason="pictures need the `train` extra")
Picture = NDArray[np.uint8]
MODE = "rgb_array"


def scene_of(**changes: Any) -> Scene:
    """A buyer of 100 after 4 of 8 steps, between two levels a side."""
    nan = np.nan
    base = Scene(
        side=1,
        quantity=100,
        step=4,
        ended=False,
        shortfall_bp=1.5,
        base=9500.0,
        tick=0.01,
        bids={499: 300, 498: 400},
        asks={501: 200, 502: 100},
        own={},
        arrival=500.0,
        mids=np.array([500.0, 501.0, 499.5, 500.5, 500.0, nan, nan, nan, nan]),
        remaining=np.array([1.0, 0.9, 0.9, 0.6, 0.5, nan, nan, nan, nan]),
        twap=1.0 - np.arange(9) / 8,
        schedule=(1.0 - np.arange(9) / 8) ** 2,
        fills=(),
    )
    return replace(base, **changes)


def pixels(picture: Picture, colour: RGB) -> NDArray[np.bool_]:
    return np.asarray((picture == np.array(colour, np.uint8)).all(axis=2))


def count(picture: Picture, colour: RGB) -> int:
    return int(pixels(picture, colour).sum())


def widest(picture: Picture, colour: RGB) -> int:
    """Pixels of a colour in the row that has most of them."""
    return int(pixels(picture, colour).sum(axis=1).max())


def test_a_picture_has_the_documented_form() -> None:
    picture = draw(scene_of())
    assert picture.shape == (HEIGHT, WIDTH, 3) == (480, 800, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, draw(scene_of()))


@pytest.mark.parametrize(
    ("name", "prices", "colour"),
    [("bids", (499, 498), drawing.BID_COLOUR), ("asks", (501, 502), drawing.ASK_COLOUR)],
)
def test_a_level_is_as_long_as_its_quantity(
    name: str, prices: tuple[int, int], colour: RGB
) -> None:
    best, behind = prices
    one = draw(scene_of(**{name: {best: 200, behind: 40}}))
    half = draw(scene_of(**{name: {best: 100, behind: 40}}))
    # The other side's largest level sets the scale, as long as it stays the largest.
    assert widest(half, colour) == pytest.approx(widest(one, colour) / 2, abs=2)
    gone = draw(scene_of(**{name: {best: 200}}))
    assert count(gone, colour) < count(one, colour)


def test_an_own_order_shows_at_its_level() -> None:
    without, resting = draw(scene_of()), draw(scene_of(own={498: 100}))
    added = pixels(resting, drawing.OWN_COLOUR) & ~pixels(without, drawing.OWN_COLOUR)
    rows, columns = np.nonzero(added)
    levels, _ = np.nonzero(pixels(resting, drawing.BID_COLOUR)[:, : int(columns.min())])
    assert added.sum() > 100
    # Behind the 400 of others on the lower of two bids, in the book's half of the picture.
    assert rows.mean() > levels.mean()
    assert columns.max() < WIDTH / 2
    tiny = draw(scene_of(own={498: 1}))
    assert count(tiny, drawing.OWN_COLOUR) > count(without, drawing.OWN_COLOUR)


@pytest.mark.parametrize(
    ("passive", "colour", "other"),
    [
        (True, drawing.PASSIVE_COLOUR, drawing.AGGRESSIVE_COLOUR),
        (False, drawing.AGGRESSIVE_COLOUR, drawing.PASSIVE_COLOUR),
    ],
)
def test_a_fill_is_marked_at_its_step_and_price(passive: bool, colour: RGB, other: RGB) -> None:
    without = draw(scene_of())
    places = []
    for step, price in ((2, 500), (6, 501)):
        picture = draw(scene_of(fills=(Fill(step, price, 10, passive),)))
        assert count(picture, other) == count(without, other)
        changed = (picture != without).any(axis=2)
        assert np.array_equal(
            pixels(picture, colour) & changed,
            pixels(picture, colour) & ~pixels(without, colour),
        )
        rows, columns = np.nonzero(pixels(picture, colour) & changed)
        assert len(rows) > 10
        assert (columns > WIDTH / 2).all() and (rows > HEIGHT / 2).all()
        places.append((rows.mean(), columns.mean()))
    assert places[1][0] < places[0][0]  # a higher price is further up
    assert places[1][1] > places[0][1]  # a later step is further right


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("remaining", drawing.REMAINING_COLOUR),
        ("twap", drawing.TWAP_COLOUR),
        ("schedule", drawing.SCHEDULE_COLOUR),
    ],
)
def test_each_schedule_is_a_line_of_its_own(name: str, colour: RGB) -> None:
    shown = draw(scene_of())
    hidden = draw(scene_of(**{name: np.full(9, np.nan)}))
    assert count(shown, colour) > count(hidden, colour) + 20


def played(env: Any, steps: int, seed: int = 3) -> list[dict[str, Any]]:
    """The joint actions that were taken; a stop is never among them."""
    rng = np.random.default_rng(seed)
    taken = []
    for _ in range(steps):
        row = random_actions(rng, 1)[0]
        row[decode.RISK_DECISION] %= decode.CANCEL_CHILDREN
        taken.append(as_dict(row))
        env.step(taken[-1])
        if not env.agents:
            break
    return taken


def test_the_history_is_what_the_parent_record_says() -> None:
    env = execution_v1.parallel_env(seed=5, render_mode=MODE)
    env.reset()
    parents = env.batch.simulator.market.parents
    for _ in range(30):
        played(env, 1, int(parents["step"][0]))
        scene = env._history.scene(env.batch)
        parent = parents[0]
        assert scene.remaining[parent["step"]] == parent["remaining"] / parent["quantity"]
        for passive in (True, False):
            name = "filled_passive" if passive else "filled_aggressive"
            fills = [fill for fill in scene.fills if fill.passive == passive]
            assert sum(fill.quantity for fill in fills) == parent[name]
        assert sum(scene.own.values()) == parent["resting"]
        paid = sum(scene.side * (f.price - scene.arrival) * f.quantity for f in scene.fills)
        assert paid + parent["fees"] == pytest.approx(parent["cost"])
    assert scene.fills and {fill.passive for fill in scene.fills} == {True, False}


def test_the_schedule_is_the_one_that_actions_are_read_by() -> None:
    env = execution_v1.parallel_env(seed=5, render_mode=MODE)
    env.reset()
    market, rules = env.batch.simulator.market, env.batch.simulator.rules
    scene = env._history.scene(env.batch)
    first = decode.schedule_share(0.5, market.parents[0], market.episodes[0], rules[0])
    assert scene.schedule[1] == pytest.approx(1.0 - first)
    assert scene.schedule[0] == 1.0
    assert scene.schedule[-1] == 0.0
    assert (np.diff(scene.schedule) <= 0).all()


def test_rendering_does_not_change_the_trajectory() -> None:
    shown = execution_v1.parallel_env(seed=7, render_mode=MODE)
    plain = execution_v1.parallel_env(seed=7)
    shown.reset()
    plain.reset()
    rng = np.random.default_rng(7)
    pictures = []
    while plain.agents:
        action = as_dict(random_actions(rng, 1)[0])
        if len(pictures) < 8:  # drawing is slow, and one picture more or less changes nothing
            pictures.append(shown.render())
        assert shown.step(action)[1] == plain.step(action)[1]
        assert np.array_equal(shown.state(), plain.state())
    ended = shown.render()
    assert np.array_equal(ended, shown.render())
    assert not np.array_equal(ended, pictures[-1])
    shown.reset()
    assert not np.array_equal(shown.render(), ended)


def test_both_faces_draw_the_same_picture() -> None:
    parallel = execution_v1.parallel_env(seed=4, render_mode=MODE)
    turns = execution_v1.env(seed=4, render_mode=MODE)
    parallel.reset()
    turns.reset()
    assert np.array_equal(parallel.render(), turns.render())
    for actions in played(parallel, 5):
        for agent in AGENTS:
            turns.step(actions[agent])
    assert np.array_equal(parallel.render(), turns.render())
    restored = execution_v1.env(seed=1, render_mode=MODE)
    restored.reset()
    restored.load_state(turns.state_dict())
    assert restored.render().shape == (HEIGHT, WIDTH, 3)


def test_a_mode_that_is_not_offered_is_refused() -> None:
    for make in (execution_v1.parallel_env, execution_v1.env):
        assert make().metadata["render_modes"] == [MODE]
        with pytest.raises(ConfigError, match=r"'human'.*rgb_array"):
            make(render_mode="human")


def test_without_a_mode_a_warning_and_no_picture() -> None:
    for make in (execution_v1.parallel_env, execution_v1.env):
        env = make(seed=0)
        env.reset()
        with pytest.warns(UserWarning, match="render_mode"):
            assert env.render() is None


def test_nothing_to_draw_before_the_first_episode() -> None:
    with pytest.raises(ActionError, match="reset"):
        execution_v1.parallel_env(render_mode=MODE).render()
