"""What layers say of their decisions, against sums by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from configs.errors import ActionError
from market.targets import STRATEGIC_RULES, TACTICAL_RULES
from signals.said import (
    SAID,
    STRATEGIC_SAID,
    _tilt_sizes,
    strategic_said,
    strategic_tactical_entanglement,
    tactical_directions,
    tactical_given_strategic,
    tactical_said,
)
from signals.strategic import (
    BACK_REGIME,
    BACK_STRUCTURE,
    BUY,
    EQUAL_WEIGHTS,
    HOLD,
    INCREASE,
    SELL,
    STAND_ASIDE,
    STRATEGIC,
)
from signals.superposition import coherence, confidence, directions
from signals.tactical import SHARES, TACTICAL, TILTS

AT = {name: index for index, name in enumerate(STRATEGIC_SAID)}
SLOW = {column.name: index for index, column in enumerate(STRATEGIC.columns)}
FAST = {column.name: index for index, column in enumerate(TACTICAL.columns)}
# BUY, SELL, HOLD, REDUCE, INCREASE of momentum, structure and regime agent.
MOMENTUM, STRUCTURE, REGIME = (0.4, 0.1, 0.2, 0.2, 0.1), (0.1, 0.6, 0.1, 0.1, 0.1), (0.2,) * 5


def strategic_rules() -> Any:
    rules = np.zeros(1, STRATEGIC_RULES)
    rules["step"], rules["small_step"] = 0.1, 0.05
    return rules


def tactical_rules() -> Any:
    rules = np.zeros(1, TACTICAL_RULES)
    rules["small"], rules["large"], rules["kelly_cap"] = 0.1, 0.25, 0.3
    return rules


def strategic(
    position: float, allowed: float, gate: int, choices: tuple[int, int, int] = (HOLD,) * 3
) -> Any:
    rows = np.zeros((1, STRATEGIC.row_width), np.float32)
    rows[0, SLOW["position"]], rows[0, SLOW["allowed"]] = position, allowed
    p = np.array([[*MOMENTUM, *STRUCTURE, *REGIME, *(0.2,) * 5]], np.float32)
    actions = np.array([[*choices, gate]], np.float32)
    return strategic_said(rows, actions, p, strategic_rules())[0]


def test_directions_are_the_weighted_mean_by_the_sign_of_the_move() -> None:
    """Long: REDUCE sells, INCREASE buys."""
    said = strategic(0.5, 1.0, EQUAL_WEIGHTS)
    assert said[:3] == pytest.approx([(0.3 + 0.7 + 0.4) / 3, (0.2 + 0.1 + 0.2) / 3, 1.1 / 3])
    assert said[AT["confidence"]] == pytest.approx(said[:3].max())
    backed = strategic(0.5, 1.0, BACK_STRUCTURE)
    assert backed[:3] == pytest.approx([(0.3 + 1.4 + 0.4) / 4, 0.5 / 4 + 0.1 / 4, 1.3 / 4])


def test_illegal_choices_are_left_out() -> None:
    """Flat: neither REDUCE nor INCREASE; the rest is scaled up."""
    said = strategic(0.0, 1.0, EQUAL_WEIGHTS)
    sell = (0.1 / 0.7 + 0.6 / 0.8 + 0.2 / 0.6) / 3
    assert said[:2] == pytest.approx([sell, (0.2 / 0.7 + 0.1 / 0.8 + 0.2 / 0.6) / 3])


def test_a_move_that_changes_nothing_holds_and_a_cut_sells() -> None:
    full = strategic(1.0, 1.0, EQUAL_WEIGHTS)
    assert full[2] == 0.0  # BUY at the limit changes nothing, INCREASE is not legal
    halved = strategic(0.8, 0.5, EQUAL_WEIGHTS)
    assert halved[:3] == pytest.approx([1.0, 0.0, 0.0])  # whatever is chosen, the position shrinks
    halted = strategic(0.0, 0.0, EQUAL_WEIGHTS)
    assert halted[:3] == pytest.approx([0.0, 1.0, 0.0]) and halted[AT["coherence"]] == 1.0


def test_who_stands_aside_holds_and_keeps_the_target() -> None:
    said = strategic(0.5, 1.0, STAND_ASIDE, (BUY, BUY, SELL))
    assert said[:3].tolist() == [0.0, 1.0, 0.0] and said[AT["target"]] == pytest.approx(0.5)


def test_the_target_is_that_of_the_environment() -> None:
    moved = strategic(0.5, 1.0, BACK_REGIME, (BUY, SELL, INCREASE))
    assert moved[AT["target"]] == pytest.approx(0.5 + (0.1 - 0.1 + 2 * 0.05) / 3)


def tactical(target: float, legal: tuple[int, ...] = (1,) * 5) -> Any:
    rows = np.zeros((1, TACTICAL.row_width), np.float32)
    rows[0, FAST["strategic_target"]] = target
    for name, flag in zip(TILTS, legal, strict=True):
        rows[0, FAST[f"may_tactical_agent_{name.lower()}"]] = flag
    # HOLD, BUY_SMALL, BUY_LARGE, SELL_SMALL, SELL_LARGE; then the two others' choices.
    p = np.array([[0.3, 0.2, 0.1, 0.15, 0.25, *(0.2,) * 10]], np.float32)
    actions = np.array([[0, SHARES.index("THREE_QUARTERS"), 4]], np.float32)
    return rows, actions, p


def test_tilts_count_by_what_they_change_of_the_target() -> None:
    rows, actions, p = tactical(0.1)
    said = tactical_said(rows, actions, p, tactical_rules())[0]
    assert said[:3] == pytest.approx([0.4, 0.3, 0.3]) and said[len(SAID)] == 0.75
    rows, actions, p = tactical(0.3)
    capped = tactical_said(rows, actions, p, tactical_rules())[0]
    assert capped[:3] == pytest.approx([0.4, 0.6, 0.0])  # a tilt beyond Kelly's cap adds nothing
    rows, actions, p = tactical(0.1, (1, 0, 0, 0, 0))
    closing = tactical_said(rows, actions, p, tactical_rules())[0]
    assert closing[:3] == pytest.approx([0.0, 1.0, 0.0])


def test_rows_under_a_certain_strategic_layer_differ_in_its_columns_alone() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((4, TACTICAL.row_width)).astype(np.float32)
    asked = tactical_given_strategic(rows).reshape(4, 3, -1)
    places = [FAST[f"strategic_{name}"] for name in SAID]
    others = np.delete(np.arange(TACTICAL.row_width), places)
    assert np.array_equal(asked[:, :, others], np.repeat(rows[:, None, others], 3, axis=1))
    for direction in range(3):
        wanted = [*np.eye(3)[direction], 1.0, 1.0]
        assert asked[:, direction, places].tolist() == [wanted] * 4
    rows, _, p = tactical(0.0)
    assert tactical_directions(rows, p, tactical_rules())[0] == pytest.approx([0.4, 0.3, 0.3])


def answers_by_direction(table: Any, asked: list[Any]) -> Any:
    """A tactical layer that looks at the strategic directions alone: P(choice | direction)."""

    def ask(rows: Any) -> Any:
        asked.append(rows)
        places = [FAST[f"strategic_{name}"] for name in SAID[:3]]
        mine = rows[:, places] @ np.asarray(table, np.float32)
        return np.concatenate([mine, np.full((len(rows), 10), 0.2, np.float32)], axis=1)

    return ask


def test_entanglement_asks_once_and_only_where_the_strategic_layer_is_sure() -> None:
    """Full dependence is 1, none is 0, below .6 it is not used; TILTS hold, buy small and large,
    sell small and large."""
    rows = np.zeros((3, TACTICAL.row_width), np.float32)
    rows[:, TACTICAL.mask_indices(0)] = 1.0
    above = np.array([[0.3, 0.1, 0.6], [0.35, 0.1, 0.55], [0.0, 0.3, 0.7]])
    follows = [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]  # sells, holds, buys as told
    asked: list[Any] = []
    rules = tactical_rules()
    ask = answers_by_direction(follows, asked)
    found = strategic_tactical_entanglement(ask, above, above.max(1), rows, rules)
    assert found == pytest.approx([1.0, 0.0, 1.0])
    assert [len(batch) for batch in asked] == [6]
    ask = answers_by_direction([[0.4, 0.2, 0.1, 0.2, 0.1]] * 3, asked)
    found = strategic_tactical_entanglement(ask, above, above.max(1), rows, rules)
    assert found == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    unsure = np.full((3, 3), 1 / 3)
    found = strategic_tactical_entanglement(ask, unsure, unsure.max(1), rows, rules)
    assert found.tolist() == [0] * 3
    assert len(asked) == 2  # not asked at all
    # A tempered confidence decides, whatever the likeliest direction's share is.
    found = strategic_tactical_entanglement(ask, above, np.array([0.5, 0.5, 0.9]), rows, rules)
    assert [len(batch) for batch in asked] == [6, 6, 3]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_one_row_says_what_a_batch_says_and_what_superposition_does(temperature: float) -> None:
    rng, count, agents = np.random.default_rng(5), 50, len(STRATEGIC.agents) - 1
    rows = rng.uniform(-1.0, 1.0, (count, STRATEGIC.row_width)).astype(np.float32)
    rows[:, SLOW["allowed"]] = rng.choice([0.25, 0.5, 1.0], count)
    p = rng.dirichlet(np.ones(5), (count, agents + 1)).astype(np.float32)
    actions = rng.integers(0, 5, (count, agents + 1)).astype(np.float32)
    told = p.reshape(count, -1)
    said = strategic_said(rows, actions, told, strategic_rules(), temperature)
    for n in range(count):
        one = slice(n, n + 1)
        alone = strategic_said(rows[one], actions[one], told[one], strategic_rules(), temperature)
        np.testing.assert_array_equal(alone[0], said[n])
    np.testing.assert_allclose(said[:, :3].sum(axis=1), 1.0, atol=1e-12)
    expected = [confidence(said[:, :3], temperature), coherence(said[:, :3])]
    np.testing.assert_allclose(said[:, 3:5].T, expected, atol=1e-12)
    plan = rng.uniform(-1.0, 1.0, (count, TACTICAL.row_width)).astype(np.float32)
    mask = TACTICAL.mask_indices(0)
    plan[:, mask] = rng.random((count, len(mask))) < 0.7
    plan[:, mask[0]] = 1.0
    choices, rules = rng.integers(0, 3, (count, 3)).astype(np.float32), tactical_rules()
    q = np.tile(p[:, 0], (1, 3))
    words = tactical_said(plan, choices, q, rules, temperature)
    for n in range(count):
        one = slice(n, n + 1)
        alone = tactical_said(plan[one], choices[one], q[one], rules, temperature)
        np.testing.assert_array_equal(alone[0], words[n])
    target = np.clip(plan[:, FAST["strategic_target"]].astype(np.float64), -0.3, 0.3)
    tilted = plan[:, FAST["strategic_target"], None].astype(np.float64) + _tilt_sizes(5, 0.1, 0.25)
    change = np.clip(tilted, -0.3, 0.3) - target[:, None]
    change[np.abs(change) < 1e-3] = 0.0
    by_hand = directions(p[:, :1].astype(np.float64), change, np.ones(1), plan[:, mask] > 0.0)
    np.testing.assert_allclose(words[:, :3], by_hand, atol=1e-12)
    np.testing.assert_array_equal(words[:, 5], choices[:, 1] / (len(SHARES) - 1))


def test_probabilities_that_are_none_are_refused_by_name() -> None:
    rows = np.zeros((2, TACTICAL.row_width), np.float32)
    rows[:, TACTICAL.mask_indices(0)] = 1.0
    actions = np.zeros((2, 3), np.float32)
    for wrong, says in ((np.nan, "expected a number from 0 to 1"), (0.9, "give probabilities")):
        p = np.full((2, 15), 0.2, np.float32)
        p[1, 0] = wrong
        with pytest.raises(ActionError, match=says):
            tactical_said(rows, actions, p, tactical_rules())
    p = np.full((2, 15), 0.2, np.float32)
    with pytest.raises(ActionError, match="temperature"):
        tactical_said(rows, actions, p, tactical_rules(), -1.0)
    rows[1, TACTICAL.mask_indices(0)] = 0.0
    with pytest.raises(ActionError, match="legal"):
        tactical_said(rows, actions, p, tactical_rules())
