"""Integrated gradients: complete, blind where an agent is blind, known where that is simple."""

from __future__ import annotations

import pytest
import torch

from configs.actors import ActorConfig, CommunicationConfig
from configs.errors import TrainingError
from policies.attribution import attribute, by_name
from policies.sequential import SequentialPolicy
from signals.strategic import STRATEGIC
from tests.policies.windowed import BOTH, FAR, LAYOUT, NEAR, places, policy_of, rows_of
from tests.trainers.toy_env import toy_layout


@pytest.mark.parametrize("agent", [NEAR, FAR, BOTH])
@pytest.mark.parametrize("states", [1, 3])
def test_attributions_sum_to_the_difference_of_the_outputs(agent: int, states: int):
    policy = policy_of(states=states, communication=CommunicationConfig(rounds=1, width=4))
    rows = rows_of(6)
    coarse, found = (attribute(policy, agent, rows, steps=steps) for steps in (4, 256))
    difference = found.output - found.baseline
    assert (difference.abs() > 0.01).any()
    torch.testing.assert_close(found.columns.sum(1), difference, rtol=0, atol=2e-3)
    error, before = (
        (one.columns.sum(1) - difference).abs().max().item() for one in (found, coarse)
    )
    assert error < before


def test_the_output_is_the_log_probability_of_the_choice():
    policy, rows = policy_of(), rows_of(5)
    acted = policy.act(rows, None)
    found = attribute(policy, BOTH, rows)
    expected = acted.log_prob[:, BOTH].double().detach()
    torch.testing.assert_close(found.output, expected, rtol=0, atol=1e-5)


def test_what_an_agent_does_not_see_is_given_nothing():
    found = attribute(policy_of(), NEAR, rows_of(5)).columns
    blind = [*places("noise"), *places("regime.")]
    assert (found[:, blind] == 0).all() and (found[:, places("price")] != 0).any()


def test_a_linear_agent_is_given_weight_times_distance():
    """Of a box agent's mean, where the hidden layers are linear in the range of the rows."""
    layout = toy_layout()
    policy = SequentialPolicy(layout, ActorConfig(hidden=(4,), activation="relu", output_gain=1.0))
    with torch.no_grad():
        policy.first_bias += 50.0  # every unit stays above zero
    rows = torch.rand(3, layout.row_width)
    weight = (policy.row_weight * policy.row_mask).unflatten(1, (policy.agents, -1))[:, 0]
    slope = (weight @ policy.head_weight[0])[:, 0].double()
    found = attribute(policy, 0, rows, torch.zeros(layout.row_width))
    torch.testing.assert_close(found.columns, slope * rows.double())


def test_columns_of_a_window_are_summed_over_its_bars():
    columns = torch.rand(2, LAYOUT.row_width, dtype=torch.float64)
    found = by_name(LAYOUT, columns)
    assert list(found)[:4] == ["price", "trend", "noise", "regime.level"]
    torch.testing.assert_close(found["trend"], columns[:, places("trend")].sum(1))
    torch.testing.assert_close(torch.stack(list(found.values())).sum(0), columns.sum(1))


def test_what_is_allowed_is_held():
    policy = SequentialPolicy(STRATEGIC, ActorConfig(hidden=(8,), output_gain=1.0))
    rows = torch.rand(3, STRATEGIC.row_width)
    flags = STRATEGIC.mask_indices(0)
    rows[:, flags] = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
    found = attribute(policy, 0, rows, torch.zeros(STRATEGIC.row_width), steps=128)
    assert (found.columns[:, flags] == 0).all()
    difference = found.output - found.baseline
    torch.testing.assert_close(found.columns.sum(1), difference, rtol=0, atol=1e-3)


def test_what_cannot_be_explained_is_one_error():
    policy, rows = policy_of(), rows_of(2)
    for given, message in (
        ((3, rows), "agent number 3 of layer 'windowed': expected 0 to 2"),
        ((0, rows[:, 1:]), "rows of shape"),
        ((0, rows[:0]), "at least one"),
        ((0, rows, None, 3), "component 3 of near: expected 0 to 2"),
    ):
        with pytest.raises(TrainingError, match=message):
            attribute(policy, *given)
