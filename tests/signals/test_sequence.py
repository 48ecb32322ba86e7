"""A group as a layer: the same rows, actions, noise and masks, and an error where it cannot be."""

from __future__ import annotations

import pytest

from configs.errors import ConfigError
from signals.sequence import sequential_layout
from signals.team import Factor, GroupLayout


def group_of(*factors: Factor) -> GroupLayout:
    return GroupLayout("talkers", ("first", "second", "third"), ("x", "y"), factors, masked=True)


@pytest.mark.parametrize(
    "factor", [Factor("move", "categorical", 4), Factor("push", "bounded", 2)], ids=lambda f: f.kind
)
def test_the_layer_has_the_groups_rows(factor: Factor):
    group = group_of(factor)
    layer = sequential_layout(group)
    assert [agent.name for agent in layer.agents] == list(group.agents)
    assert layer.row_width == layer.state_width == group.row_width
    assert layer.action_width == group.action_width
    assert layer.noise_width == group.noise_width
    for k in range(3):
        assert layer.observation_indices(k).tolist() == [2 * k, 2 * k + 1]
        assert [c.name for c in layer.observation_columns(k)] == ["x", "y"]
    assert len(layer.digest) == 64


@pytest.mark.parametrize(
    ("factors", "found"),
    [
        ((Factor("turn", "unbounded", 2),), r"turn \(unbounded, 2\)"),
        (
            (Factor("move", "categorical", 4), Factor("push", "bounded", 2)),
            r"move \(categorical, 4\), push \(bounded, 2\)",
        ),
    ],
)
def test_what_no_layer_can_hold_is_refused(factors: tuple[Factor, ...], found: str):
    with pytest.raises(ConfigError, match=f"group 'talkers'.*{found}; expected one factor"):
        sequential_layout(group_of(*factors))
