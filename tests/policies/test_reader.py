"""Windows are encoded once per row, and nobody learns of a column that it does not observe."""

from __future__ import annotations

import pytest
import torch

from configs.actors import ActorConfig
from configs.encoders import FlatConfig
from configs.errors import TrainingError
from policies.reader import RowReader
from policies.sequential import SequentialPolicy
from signals.strategic import AGENTS, STRATEGIC
from tests.policies.windowed import (
    BOTH,
    ENCODERS,
    FAR,
    LAYOUT,
    NEAR,
    gumbel_of,
    places,
    policy_of,
    rows_of,
)
from tests.trainers.toy_env import toy_layout


def reader_of(*encoders: object) -> RowReader:
    return RowReader(LAYOUT, encoders, torch.Generator().manual_seed(0))  # type: ignore[arg-type]


def test_without_encoders_features_are_the_rows():
    rows = rows_of(3)
    for reader in (reader_of(), reader_of(FlatConfig(), FlatConfig())):
        assert reader(rows) is rows and not list(reader.parameters())
        assert reader.seen(NEAR).tolist() == LAYOUT.observation_indices(NEAR).tolist()


def test_columns_that_the_same_agents_see_are_one_part_and_encoded_once():
    reader = reader_of(*ENCODERS)
    found = [(part.names(LAYOUT), set(part.agents)) for part in reader.parts]
    assert found[0] == (("price", "trend"), {NEAR, BOTH})
    assert found[1] == (("noise",), {BOTH})
    assert found[2][0][0] == "regime.level" and found[2][1] == {FAR}
    calls = []
    for encoder in reader.encoders:
        encoder.register_forward_hook(lambda *_: calls.append(1))
    reader(rows_of(7))
    assert len(calls) == 3  # however many rows and agents


def test_bars_are_cut_as_the_columns_are_named():
    reader, rows = reader_of(*ENCODERS), rows_of(2)
    assert torch.equal(reader.bars(rows, 1)[..., 0], rows[:, places("noise")])
    newest = reader.bars(rows, 0)[:, -1]
    assert torch.equal(newest, rows[:, [*places("price", "@0"), *places("trend", "@0")]])


def test_the_newest_bar_stays_beside_the_embedding():
    reader = reader_of(*ENCODERS)
    flat = {LAYOUT.columns[place].name for place in reader.flat.tolist()}
    assert flat == {
        *(f"{name}@0" for name in ("price", "trend", "noise")),
        *(f"regime.{name}@0" for name in reader.parts[2].names(LAYOUT) for name in [name[7:]]),
        "position",
    }


@pytest.mark.parametrize("encoders", [ENCODERS, (), (FlatConfig(), ENCODERS[1])], ids=str)
def test_an_agent_decides_by_what_it_observes_alone(encoders: tuple[object, ...]):
    policy = policy_of(encoders=encoders)
    rows = rows_of(20)
    latent = policy.act(rows, gumbel_of(20)).latent
    base = policy.evaluate(rows, latent)
    cases = {
        ("price@7",): [NEAR, BOTH],
        ("noise@3",): [BOTH],
        ("regime.level@5",): [FAR],
        ("regime.level@0",): [FAR, BOTH],
        ("position",): [NEAR, FAR, BOTH],
    }
    for (name,), readers in cases.items():
        changed = rows.clone()
        changed[:, places(name)] += 0.5
        moved = (policy.evaluate(changed, latent).log_prob != base.log_prob).any(0)
        assert torch.nonzero(moved).flatten().tolist() == readers, name


@pytest.mark.parametrize("encoders", [ENCODERS, ()], ids=["encoded", "flat"])
def test_act_and_evaluate_are_one_policy_and_rows_are_alone(encoders: tuple[object, ...]):
    policy = policy_of(encoders=encoders)
    rows, noise = rows_of(20), gumbel_of(20)
    acted = policy.act(rows, noise)
    evaluated = policy.evaluate(rows, acted.latent)
    torch.testing.assert_close(acted.log_prob, evaluated.log_prob, rtol=1e-5, atol=1e-5)
    alone = policy.act(rows[7:8], noise[7:8])
    torch.testing.assert_close(alone.log_prob, acted.log_prob[7:8], rtol=1e-5, atol=1e-6)
    assert torch.equal(alone.actions, acted.actions[7:8])


def test_gradient_reaches_every_parameter_and_no_masked_weight():
    policy = policy_of()
    rows = rows_of(40)
    evaluated = policy.evaluate(rows, policy.act(rows, gumbel_of(40)).latent)
    (evaluated.log_prob.sum() + evaluated.auxiliary["regime_loss"].sum()).backward()
    reached = {name: p.grad is not None and (p.grad != 0).any() for name, p in named(policy)}
    assert all(reached.values()), [name for name, found in reached.items() if not found]
    assert policy.row_weight.grad is not None
    assert (policy.row_weight.grad[policy.row_mask == 0] == 0).all()


def named(policy: SequentialPolicy) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, p) for name, p in policy.named_parameters() if p.numel()]


def test_the_same_seed_gives_the_same_weights():
    first, second, other = (
        SequentialPolicy(LAYOUT, ActorConfig(hidden=(8,), encoders=ENCODERS), seed).state_dict()
        for seed in (4, 4, 5)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["row_weight"], other["row_weight"])


def test_the_strategic_layers_columns_fall_into_parts_by_who_sees_them():
    encoders = (ENCODERS[0], ENCODERS[1].model_copy(update={"patch": 8}))
    parts = RowReader(STRATEGIC, encoders, torch.Generator()).parts
    momentum, structure, regime, coordinator = range(len(AGENTS))
    found = [(part.names(STRATEGIC)[0], set(part.agents)) for part in parts]
    assert found == [
        ("mlmi_value", {momentum, coordinator}),
        ("nwrqk_value", {structure, coordinator}),
        ("hour_sin", {coordinator}),
        ("regime.volatility_30", {regime}),
    ]
    assert sum(len(part.columns) for part in parts) == 13 + 9


def test_encoders_that_do_not_fit_the_layout_are_refused():
    with pytest.raises(TrainingError, match=r"names 1: layer 'windowed' has windows 8x3, 12x5; ex"):
        reader_of(ENCODERS[0])
    with pytest.raises(TrainingError, match="has windows none"):
        RowReader(toy_layout(), ENCODERS, torch.Generator())
