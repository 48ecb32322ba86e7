"""Spaces of gymnasium as columns and factors: what is written, decoded, allowed and refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from envs.vector_actions import acting, flags
from envs.vector_spaces import Unfit, observed
from signals.team import Factor

NESTED = spaces.Dict(
    sensors=spaces.Dict(
        position=spaces.Box(-1, 1, (2,)), doors=spaces.MultiBinary(2), level=spaces.Box(0, 9, ())
    ),
    hand=spaces.Tuple((spaces.Discrete(3, start=-1), spaces.MultiDiscrete([2, 3], start=[0, 4]))),
)
NESTED_VALUE = {
    "sensors": {
        "position": np.array([0.25, -0.5], np.float32),
        "doors": np.array([1, 0], np.int8),
        "level": np.float32(7.0),
    },
    "hand": (np.int64(1), np.array([1, 5])),
}


def written(space: Any, value: Any) -> list[float]:
    found = observed(space)
    out = np.full(len(found.columns), 7.0, np.float32)
    found.bind(out)(value)
    return out.tolist()


def test_nested_observations_are_flattened_in_their_order_and_named_by_their_path() -> None:
    assert dict(
        zip(observed(NESTED).columns, written(NESTED, NESTED_VALUE), strict=True)
    ) == {
        "hand[0]=-1": 0.0, "hand[0]=0": 0.0, "hand[0]=1": 1.0,
        "hand[1][0]=0": 0.0, "hand[1][0]=1": 1.0,
        "hand[1][1]=4": 0.0, "hand[1][1]=5": 1.0, "hand[1][1]=6": 0.0,
        "sensors.doors[0]": 1.0, "sensors.doors[1]": 0.0,
        "sensors.level": 7.0,
        "sensors.position[0]": 0.25, "sensors.position[1]": -0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("space", "value", "columns", "numbers"),
    [
        (
            spaces.Box(0, 255, (2, 2), np.uint8),
            np.array([[0, 1], [2, 255]], np.uint8),
            ("observation[0,0]", "observation[0,1]", "observation[1,0]", "observation[1,1]"),
            [0.0, 1.0, 2.0, 255.0],
        ),
        (spaces.Box(-1, 1, (2,), np.float64), [0.5, 1.0], None, [0.5, 1.0]),
        (spaces.Discrete(3, start=5), 6, None, [0.0, 1.0, 0.0]),
        (spaces.Discrete(2), np.array(1), ("observation=0", "observation=1"), [0.0, 1.0]),
        (
            spaces.MultiDiscrete([[2, 1], [1, 2]]),
            np.array([[1, 0], [0, 0]]),
            None,
            [0.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        ),
        (spaces.Tuple((spaces.Box(0, 1, (1,)),)), (np.array([1.0]),), None, [1.0]),
        # The mask is no part of what is observed.
        (
            spaces.Dict(observation=spaces.Box(0, 1, (1,)), action_mask=spaces.MultiBinary(3)),
            {"observation": np.array([1.0]), "action_mask": np.ones(3)},
            ("observation[0]",),
            [1.0],
        ),
    ],
)
def test_each_kind_of_observation(
    space: Any, value: Any, columns: tuple[str, ...] | None, numbers: list[float]
) -> None:
    assert written(space, value) == numbers
    assert columns is None or observed(space).columns == columns


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (spaces.Box(0, 1, (3,)), np.zeros(1), r"shape \(1,\), expected \(3,\)"),
        (spaces.Box(0, 1, (3,)), np.zeros((3, 1)), r"shape \(3, 1\)"),
        (spaces.Box(0, 1, (1,)), np.array(["x"]), "holds no numbers"),
        (spaces.Discrete(3, start=5), 4, "observation is 4, expected an integer from 5 to 7"),
        (spaces.Discrete(3), 1.0, "expected an integer from 0 to 2"),
        (spaces.MultiDiscrete([2, 2]), np.array([0, 2]), r"\[0, 2\], which is not in"),
        (spaces.MultiDiscrete([2, 2]), np.array([0.0, 1.0]), "of integers"),
        (NESTED, {"sensors": NESTED_VALUE["sensors"]}, "observation lacks 'hand'"),
        (NESTED, NESTED_VALUE | {"hand": (1,)}, "hand lacks '1'"),
    ],
)
def test_what_does_not_fit_its_space_is_refused(space: Any, value: Any, message: str) -> None:
    with pytest.raises(Unfit, match=message):
        written(space, value)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Text(5), "observation is a Text space"),
        (spaces.Dict(a=spaces.Sequence(spaces.Discrete(2))), "a is a Sequence space"),
        (spaces.Dict(action_mask=spaces.MultiBinary(2)), "nothing else"),
    ],
)
def test_observations_without_a_fixed_width_are_refused(space: Any, message: str) -> None:
    with pytest.raises(Unfit, match=message):
        observed(space)


def decoded(space: Any, *rows: list[float]) -> list[Any]:
    return acting(space).decode(np.array(rows, np.float32))


@pytest.mark.parametrize(
    ("space", "row", "action"),
    [
        (spaces.Discrete(3, start=5), [2], 7),
        (spaces.MultiDiscrete([2, 3], start=[5, -1]), [1, 0], [6, -1]),
        (spaces.MultiDiscrete([[2, 3], [4, 5]]), [1, 2, 3, 4], [[1, 2], [3, 4]]),
        (spaces.MultiBinary(3), [1, 0, 1], [1, 0, 1]),
        (
            spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32)),
            [0.75, 0.1],
            [1.0, 1.0],
        ),
        (spaces.Box(-1, 3, (2, 2)), [0, 0.25, 0.5, 1], [[-1, 0], [1, 3]]),
        (spaces.Box(-np.inf, np.inf, (2,)), [-40, 7], [-40, 7]),
        (spaces.Box(0, 255, (2,), np.uint8), [1.0, 0.5], [255, 128]),
        (spaces.Box(-1, 1, ()), [0.25], -0.5),
    ],
)
def test_rows_of_actions_mean_what_the_space_holds(space: Any, row: Any, action: Any) -> None:
    (found,) = decoded(space, row)
    assert np.array_equal(found, action)
    assert np.asarray(found).dtype == space.dtype
    assert space.contains(found)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-0.1, 0.1, (3,)),
        spaces.Box(-1.7, 123.456, (3,)),
        # Scaled without care, 1 comes out above the upper bound.
        spaces.Box(0.58, np.nextafter(1.88, 2.0), (3,), np.float64),
    ],
)
def test_the_bounds_are_reached_and_not_passed(space: Any) -> None:
    (found,) = decoded(space, [0.0, 1.0, float(np.nextafter(np.float32(1), np.float32(0)))])
    assert space.contains(found)
    assert found[:2].tolist() == [space.low[0], space.high[0]]


def test_nested_actions_have_the_factors_of_their_parts() -> None:
    space = spaces.Dict(
        move=spaces.Tuple((spaces.Discrete(3), spaces.Box(0, 2, (2,)))),
        say=spaces.MultiBinary(2),
    )
    assert acting(space).factors == (
        Factor("move[0]", "categorical", 3),
        Factor("move[1]", "bounded", 2),
        Factor("say[0]", "categorical", 2),
        Factor("say[1]", "categorical", 2),
    )
    first, second = decoded(space, [2, 0.5, 1, 0, 1], [0, 0, 0, 1, 1])
    assert space.contains(first)
    assert first["move"][0] == 2
    assert first["move"][1].tolist() == [1.0, 2.0]
    assert first["say"].tolist() == [0, 1]
    assert second["move"][0] == 0
    assert second["say"].tolist() == [1, 1]


def test_a_box_with_and_without_bounds_is_split() -> None:
    low, high = np.full(4, -np.inf), np.full(4, np.inf)
    low[:2], high[:2] = 0.0, 4.0
    space = spaces.Box(low, high, dtype=np.float64)
    assert acting(space).factors == (
        Factor("action[0]..[1]", "bounded", 2),
        Factor("action[2]..[3]", "unbounded", 2),
    )
    assert decoded(space, [0.5, 1.0, -9.0, 9.0])[0].tolist() == [2.0, 4.0, -9.0, 9.0]


def test_the_largest_number_of_a_type_is_no_bound() -> None:
    largest = np.finfo(np.float32).max
    assert acting(spaces.Box(-largest, largest, (2,))).factors == (
        Factor("action", "unbounded", 2),
    )


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            spaces.Box(np.zeros(2), np.array([1.0, np.inf]), dtype=np.float64),
            r"action\[1\] has the bounds 0",
        ),
        (spaces.Box(0, 1, (0,)), "nothing to decide"),
        (spaces.Tuple((spaces.Discrete(2), spaces.Text(3))), r"action\[1\] is a Text space"),
    ],
)
def test_spaces_that_cannot_be_acted_in_are_refused(space: Any, message: str) -> None:
    with pytest.raises(Unfit, match=message):
        acting(space)


MIXED = spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (1,)), spaces.MultiDiscrete([2, 1])))


@pytest.mark.parametrize(
    ("space", "mask"),
    [
        (MIXED, (np.array([1, 0]), None, (np.array([0, 1]), np.array([1])))),
        (MIXED, [[1, 0], None, [0, 1, 1]]),
        (MIXED, np.array([1, 0, 0, 1, 1], np.int8)),
        (MIXED, [True, False, False, True, True]),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Discrete(3)), {"b": [0, 1, 1], "a": [1, 0]}),
        (spaces.Discrete(5), [1, 0, 0, 1, 1]),
        (spaces.Discrete(5), np.array([[2.0, 0.0, 0.0, 1.0, 1.0]])),
    ],
)
def test_masks_are_read_in_every_form(space: Any, mask: Any) -> None:
    assert flags(acting(space).choices, mask).tolist() == [True, False, False, True, True]


@pytest.mark.parametrize(
    ("space", "mask", "message"),
    [
        (spaces.Discrete(5), np.ones(4), "4 flags of float64, expected 5"),
        (spaces.Discrete(5), [[1], [1, 2]], "2 parts, expected 0"),
        (MIXED, ([1, 1], None), "2 parts, expected 3"),
        (spaces.Dict(a=spaces.Discrete(2)), {"b": [1, 1]}, r"keys \['b'\], expected \['a'\]"),
        (spaces.Discrete(2), np.array(["a", "b"]), "flags of <U1"),
    ],
)
def test_masks_of_another_form_are_refused(space: Any, mask: Any, message: str) -> None:
    with pytest.raises(Unfit, match=message):
        flags(acting(space).choices, mask)
