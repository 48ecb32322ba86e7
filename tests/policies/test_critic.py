"""The centralized critic and the normalisation of its targets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from configs.actors import MaskConfig
from configs.errors import TrainingError
from configs.mappo import CriticConfig, MappoConfig
from policies.critic import CentralCritic, Critic, ValueNorm
from policies.set_critic import AgentColumns, SetCritic
from signals.execution import EXECUTION
from signals.layout import LayerLayout
from signals.team import TeamLayout
from tests.policies.windowed import ENCODERS, rows_of
from tests.policies.windowed import LAYOUT as WINDOWED
from tests.trainers.team_envs import team_layout
from trainers.mappo.critics import agent_columns
from trainers.mappo.plan import plan_training


def test_value_norm_is_the_identity_before_any_update():
    norm = ValueNorm(2, beta=0.9)
    values = torch.tensor([[3.0, -5.0]])
    assert torch.equal(norm.normalize(values), values)
    assert torch.equal(norm.denormalize(values), values)


def test_value_norm_is_debiased_from_its_first_update():
    norm = ValueNorm(1, beta=0.99)
    batch = torch.tensor([1.0, 3.0, 5.0])
    norm.update(batch.mean()[None], batch.var(correction=0)[None])
    mean, deviation = norm.moments()
    torch.testing.assert_close(mean, torch.tensor([3.0]))
    torch.testing.assert_close(deviation, batch.std(correction=0)[None])


def test_value_norm_follows_a_change_of_scale_and_inverts():
    norm = ValueNorm(1, beta=0.5)
    for level in (1.0, 100.0):
        for _ in range(40):
            norm.update(torch.tensor([level]), torch.tensor([4.0]))
    mean, deviation = norm.moments()
    torch.testing.assert_close(mean, torch.tensor([100.0]))
    torch.testing.assert_close(deviation, torch.tensor([2.0]), rtol=1e-3, atol=0)
    values = torch.tensor([[7.0], [120.0]])
    torch.testing.assert_close(norm.denormalize(norm.normalize(values)), values)


def test_several_steps_at_once_equal_steps_one_by_one():
    once, singly = ValueNorm(1, beta=0.9), ValueNorm(1, beta=0.9)
    moments = torch.tensor([2.0]), torch.tensor([1.0])
    once.update(*moments, batches=3)
    for _ in range(3):
        singly.update(*moments)
    torch.testing.assert_close(once.state_dict(), singly.state_dict())


def test_the_statistics_are_saved_and_not_trained():
    critic = CentralCritic(5, 3, CriticConfig(hidden=(8,)))
    assert not any("norm" in name for name, _ in critic.named_parameters())
    assert {"norm.mean", "norm.variance", "norm.weight"} <= set(critic.state_dict())


def test_values_come_back_in_the_scale_of_rewards():
    critic = CentralCritic(5, 3, CriticConfig(hidden=(8,)))
    states = torch.rand(4, 5)
    ones = torch.ones(3)
    critic.norm.update(50.0 * ones, 4.0 * ones)
    torch.testing.assert_close(critic.values(states), critic(states) * 2.0 + 50.0)
    plain = CentralCritic(5, 3, CriticConfig(hidden=(8,), value_norm=False))
    torch.testing.assert_close(plain.values(states), plain(states))


# ---------------------------------------------------------------- sets of agents and dropout

WALKERS, TALKERS = 3, 2
# Two shared columns; three walkers of two columns each; two talkers of one.
COLUMNS = AgentColumns(
    shared=(0, 1),
    own=((2, 3), (4, 5), (6, 7), (8,), (9,)),
    roles=(0,) * WALKERS + (1,) * TALKERS,
)
WIDTH = 10
SET: dict[str, Any] = {"kind": "set", "hidden": (8, 6), "heads": 2}


def moved(critic: Critic, by: float = 0.3) -> Critic:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))
    return critic


def set_critic(**changes: Any) -> Critic:
    return moved(SetCritic(COLUMNS, CriticConfig(**(SET | changes))))


def flat_critic(**changes: Any) -> Critic:
    return moved(CentralCritic(WIDTH, 5, CriticConfig(**({"hidden": (8, 6)} | changes))))


def states_of(*lead: int) -> torch.Tensor:
    return torch.rand(*lead, WIDTH, generator=torch.Generator().manual_seed(1)) * 2 - 1


KINDS = {
    "flat": flat_critic,
    "identity": lambda **changes: flat_critic(identity=True, **changes),
    "attention": set_critic,
    "mean": lambda **changes: set_critic(relate="mean", **changes),
}


@pytest.mark.parametrize("relate", ["attention", "mean"])
def test_exchanging_agents_of_a_role_exchanges_their_values(relate: str):
    critic, states = set_critic(relate=relate), states_of(6)
    values = critic(states)
    exchanged = states[:, [0, 1, 6, 7, 4, 5, 2, 3, 9, 8]]
    torch.testing.assert_close(critic(exchanged), values[:, [2, 1, 0, 4, 3]])
    # Across roles nothing of the kind holds, and agents do see each other.
    assert (values[:, 0] != values[:, 3]).all()
    other = states.clone()
    other[:, 9] += 0.5
    assert (critic(other) != values).all(0).all()


def test_agents_of_a_role_are_read_by_the_same_moments():
    critic, states = set_critic(input_norm="running"), 50.0 + 9.0 * states_of(64)
    critic.inputs.update(critic.inputs.sums(states, None))
    exchanged = states[:, [0, 1, 6, 7, 4, 5, 2, 3, 9, 8]]
    torch.testing.assert_close(critic(exchanged), critic(states)[:, [2, 1, 0, 4, 3]])


def test_flat_critics_have_no_such_symmetry():
    critic, states = flat_critic(), states_of(6)
    exchanged = states[:, [0, 1, 6, 7, 4, 5, 2, 3, 8, 9]]
    assert not torch.allclose(critic(exchanged), critic(states)[:, [2, 1, 0, 3, 4]], atol=1e-3)


def test_agents_need_not_stand_role_by_role():
    mixed = AgentColumns(COLUMNS.shared, ((2, 3), (8,), (4, 5), (9,), (6, 7)), (0, 1, 0, 1, 0))
    config = CriticConfig(**SET)
    first, second = SetCritic(COLUMNS, config), SetCritic(mixed, config)
    states = states_of(4)
    torch.testing.assert_close(second(states), first(states)[:, [0, 3, 1, 4, 2]])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_alone_whatever_stands_in_front(kind: str):
    critic, states = KINDS[kind](), states_of(3, 7)
    values = critic(states)
    assert values.shape == (3, 7, 5)
    torch.testing.assert_close(critic(states[1]), values[1])
    torch.testing.assert_close(critic(states[1, 2:3]), values[1, 2:3])


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_every_parameter_of_a_critic(kind: str):
    critic = KINDS[kind]()
    (critic(states_of(9)) ** 2).sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in critic.parameters())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_spread_is_that_of_single_forwards_in_the_rewards_scale(kind: str, layers: int):
    critic = KINDS[kind](dropout=MaskConfig(rate=0.25, samples=30, layers=layers))
    assert critic.bank is not None
    critic.norm.update(torch.zeros(5), 4.0 * torch.ones(5))
    states = states_of(4)
    singles = []
    for sample in range(30):
        masks = [mask[sample].expand(4, -1) for mask in critic.bank.all()]
        singles.append(critic._finish(critic._begin(states), critic._shaped(masks)))
    expected = 2.0 * torch.stack(singles).std(0, correction=0)
    found = critic.spread(states)
    assert (found > 0).all()
    torch.testing.assert_close(found, expected)
    # The value is without masks; what is trained is under the row's own.
    torch.testing.assert_close(critic.trained(states)[2], singles[2][2])
    plain = KINDS[kind]()
    torch.testing.assert_close(critic(states), plain(states))
    torch.testing.assert_close(plain.trained(states), plain(states))


def test_without_dropout_a_critic_has_no_spread():
    with pytest.raises(TrainingError, match=r"train it with critic.dropout.rate above 0"):
        flat_critic().spread(states_of(2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "set", "identity": True}, "expected False; a set tells roles apart"),
        ({"kind": "set", "hidden": (10,), "heads": 4}, r"heads=4 with hidden=\[10\].*divisor"),
        ({"kind": "tree"}, "kind"),
    ],
)
def test_critics_that_cannot_be_built_are_refused(wrong: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        CriticConfig(**wrong)


# ---------------------------------------------------------------- of plans


def critic_of(layout: LayerLayout | TeamLayout, **changes: Any) -> Critic:
    config = MappoConfig(critic=CriticConfig(**changes))
    return plan_training(layout, config).build_critic(config)


def test_a_layers_columns_are_all_read_and_its_agents_told_apart():
    columns = agent_columns(EXECUTION, "state")
    read = [*columns.shared, *(place for own in columns.own for place in own)]
    assert sorted(read) == list(range(EXECUTION.state_width))
    assert columns.roles == (0, 1, 2, 3, 4)
    names = [EXECUTION.state_columns[place].name for place in columns.own[1]]
    assert names == [column.name for column in EXECUTION.agents[1].own]


def test_a_teams_agents_own_their_observations_and_flags():
    team = team_layout({"walkers": ("categorical", 3), "talkers": ("categorical", 2)}, 4)
    plan = plan_training(team, MappoConfig(critic=CriticConfig(input="both", kind="set")))
    columns = agent_columns(team, "both")
    assert columns.shared == (0, 1, 2, 3) and columns.roles == (0, 0, 0, 1, 1)
    for agent, own in zip(plan.agents, columns.own, strict=True):
        assert {plan.state_columns[place].split(".")[0] for place in own} == {agent}
        assert plan.state_columns[own[-1]] == f"{agent}.alive"


def test_windows_that_a_critic_reads_may_be_encoded():
    options: dict[str, Any] = {"hidden": (8, 8), "encoders": ENCODERS, "heads": 2}
    for kind in ("flat", "set"):
        critic = critic_of(WINDOWED, kind=kind, **options)
        states = rows_of(6).requires_grad_()
        values = critic(states)
        assert values.shape == (6, 3)
        (gradient,) = torch.autograd.grad(values.sum(), states)
        assert (gradient != 0).any(0).float().mean() > 0.95
        assert {part.window.rows for part in critic.reader.parts} == {8, 12}
        torch.testing.assert_close(critic(states[2:3]), values[2:3], rtol=1e-4, atol=1e-6)


def test_what_a_critic_cannot_read_is_explained():
    team = team_layout({"walkers": ("categorical", 3)}, 4)
    with pytest.raises(TrainingError, match=r"kind=set with input=state.*observations or both"):
        critic_of(team, kind="set", input="state")
    with pytest.raises(TrainingError, match=r"critic.encoders: team .* no windows"):
        critic_of(team, encoders=ENCODERS)
    with pytest.raises(TrainingError, match=r"names 1: layer 'windowed's critic' has windows 8x3"):
        critic_of(WINDOWED, encoders=ENCODERS[:1])


def test_the_seed_makes_a_critics_weights():
    for kind in ("flat", "set"):
        options: dict[str, Any] = {"kind": kind, "hidden": (8,), "heads": 2}
        first, again = critic_of(WINDOWED, **options), critic_of(WINDOWED, **options)
        assert all(
            torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
        )
