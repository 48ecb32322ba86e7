"""The group's actor: act and evaluate are one policy, alone and in sequences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.actors import ActorConfig
from configs.errors import TrainingError
from policies.group import GroupActor, Sharing
from policies.stacked import GRUCell, LSTMCell
from signals.team import GroupLayout
from tests.policies.teams import (
    AGENTS,
    COLUMNS,
    FACTORS,
    actor_of,
    group_of,
    masks_of,
    noise_of,
    rows_of,
)

SHARINGS: tuple[Sharing, ...] = ("shared", "per_agent")
OPTIONS = [
    {},
    {"state_dependent_sigma": True, "activation": "relu"},
    {"bounded": "beta"},
    {"identity": True, "layer_norm": True, "hidden": (8,)},
]
ROWS = 20

every_sharing = pytest.mark.parametrize("sharing", SHARINGS)
every_kind = pytest.mark.parametrize("kind", FACTORS)
every_memory = pytest.mark.parametrize("memory", ["gru", "lstm"])


@every_sharing
@every_kind
@pytest.mark.parametrize("options", OPTIONS)
def test_evaluate_gives_the_log_probability_that_act_gave(kind, sharing, options):
    actor = actor_of(group_of(kind), sharing, **options)
    rows = rows_of(actor.layout, ROWS)
    for noise in (noise_of(actor, ROWS), None):
        acted = actor.act(rows, noise)
        evaluated = actor.evaluate(rows, acted.latent)
        assert torch.equal(acted.log_prob, evaluated.log_prob)


@every_sharing
@every_kind
@pytest.mark.parametrize("bounded", ["squashed", "beta"])
def test_shapes_dtypes_and_ranges(kind, sharing, bounded):
    group = group_of(kind)
    actor = actor_of(group, sharing, bounded=bounded)
    rows = rows_of(group, ROWS)
    acted = actor.act(rows, noise_of(actor, ROWS))
    evaluated = actor.evaluate(rows, acted.latent)
    assert acted.latent.shape == acted.actions.shape == (ROWS, group.action_width)
    assert acted.log_prob.shape == evaluated.entropy.shape == (ROWS, AGENTS)
    assert evaluated.log_prob.shape == (ROWS, AGENTS)
    assert evaluated.supervised.shape == (ROWS, 0)
    assert acted.memory is None and actor.memory_width == 0
    given = (*acted[:3], *evaluated[:3])
    assert all(t.dtype == torch.float32 and t.isfinite().all() for t in given)
    assert evaluated.auxiliary is None
    by_agent = acted.actions.unflatten(1, (AGENTS, -1))
    start = 0
    for factor in group.factors:
        part = by_agent[..., start : start + factor.action_width]
        start += factor.action_width
        if factor.kind == "categorical":
            assert torch.isin(part, torch.arange(factor.width)).all()
            assert len(part.unique()) == factor.width
        elif factor.kind == "bounded":
            assert ((part > 0) & (part < 1)).all() and len(part.unique()) > ROWS
        else:
            assert part.min() < 0 < part.max()


@every_kind
def test_shared_weights_decide_alike_and_identity_tells_agents_apart(kind):
    group = group_of(kind)
    rows = rows_of(group, ROWS)[:, :COLUMNS].repeat(1, AGENTS)
    for identity in (False, True):
        actor = actor_of(group, "shared", identity=identity)
        drawn = actor.act(rows, noise_of(actor, ROWS)).latent
        latent = drawn[:, : group.agent_action_width].repeat(1, AGENTS)  # the first agent's
        log_prob = actor.evaluate(rows, latent).log_prob
        alike = torch.allclose(log_prob, log_prob[:, :1].expand(-1, AGENTS), atol=1e-6)
        assert alike is not identity


@every_sharing
def test_agents_read_their_own_columns_and_choices_alone(sharing):
    group = group_of("tuple")
    actor = actor_of(group, sharing)
    rows = rows_of(group, ROWS)
    latent = actor.act(rows, noise_of(actor, ROWS)).latent
    base = actor.evaluate(rows, latent)
    for owner in range(AGENTS):
        seen, chosen = rows.clone(), latent.clone()
        seen.unflatten(1, (AGENTS, -1))[:, owner] += 0.5
        chosen.unflatten(1, (AGENTS, -1))[:, owner, 0] += 0.5
        expected = [k == owner for k in range(AGENTS)]
        moved = (actor.evaluate(seen, latent).log_prob != base.log_prob).all(0)
        assert moved.tolist() == expected
        moved = (actor.evaluate(rows, chosen).log_prob != base.log_prob).all(0)
        assert moved.tolist() == expected


def test_networks_of_their_own_learn_from_their_own_agents_alone():
    actor = actor_of(group_of("tuple"), "per_agent", memory="lstm", state_dependent_sigma=True)
    rows = rows_of(actor.layout, 6, ROWS)
    latent = sequence_of(actor, rows, noise_of(actor, 6, ROWS)).latent
    evaluated = actor.evaluate(rows, latent)
    (evaluated.log_prob[..., 1].sum() + evaluated.entropy[..., 1].sum()).backward()
    for name, parameter in actor.named_parameters():
        assert parameter.shape[0] == AGENTS, name
        touched = (parameter.grad != 0).flatten(1).any(1)
        assert touched.tolist() == [False, True, False], name


@every_sharing
@every_kind
@pytest.mark.parametrize("options", [*OPTIONS, {"memory": "gru"}, {"memory": "lstm"}])
def test_gradients_reach_every_parameter(kind, sharing, options):
    actor = actor_of(group_of(kind), sharing, **options)
    lead = (4, ROWS) if actor.memory_width else (ROWS,)
    rows = rows_of(actor.layout, *lead)
    latent = sequence_of(actor, rows, noise_of(actor, *lead)).latent
    evaluated = actor.evaluate(rows, latent)
    (evaluated.log_prob.sum() + evaluated.entropy.sum()).backward()
    for name, parameter in actor.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def sequence_of(actor: GroupActor, rows, noise, memory=None, begins=None, masks=None):
    """`act` step by step over [L, B, .], its results stacked; without memory, at once."""
    if not actor.memory_width:
        with torch.no_grad():
            return actor.act(rows, noise, masks)
    steps = []
    with torch.no_grad():
        for t in range(rows.shape[0]):
            if begins is not None and memory is not None:
                memory = memory * ~begins[t].unsqueeze(1)
            steps.append(actor.act(rows[t], noise[t], None if masks is None else masks[t], memory))
            memory = steps[-1].memory
    return type(steps[0])(*(torch.stack(parts) for parts in zip(*steps, strict=True)))


@every_sharing
@every_memory
@every_kind
def test_a_sequence_is_judged_as_it_was_acted_through_resets(kind, memory, sharing):
    length = 9
    actor = actor_of(group_of(kind), sharing, memory=memory)
    factor = 2 if memory == "lstm" else 1
    assert actor.memory_width == AGENTS * actor.config.memory_width * factor
    rows, noise = rows_of(actor.layout, length, ROWS), noise_of(actor, length, ROWS)
    begins = torch.zeros(length, ROWS, dtype=torch.bool)
    begins[4, ::3], begins[0, 1], begins[8, 2] = True, True, True
    carried = 0.5 * torch.randn(
        ROWS, actor.memory_width, generator=torch.Generator().manual_seed(3)
    )
    acted = sequence_of(actor, rows, noise, carried, begins)
    evaluated = actor.evaluate(rows, acted.latent, memory=carried, begins=begins)
    torch.testing.assert_close(evaluated.log_prob, acted.log_prob, rtol=1e-5, atol=1e-5)
    assert evaluated.entropy.shape == (length, ROWS, AGENTS)
    # What came before counts, and only up to the last begin.
    fresh = actor.evaluate(rows, acted.latent, begins=begins)
    moved = (fresh.log_prob - evaluated.log_prob).abs().amax(2) > 1e-6
    assert moved[:4, [0, 2]].all() and not moved[4:, ::3].any() and not moved[:, 1].any()


@every_sharing
@every_memory
def test_gradients_stop_at_an_episodes_begin(memory, sharing):
    actor = actor_of(group_of("bounded"), sharing, memory=memory)
    rows = rows_of(actor.layout, 5, ROWS).requires_grad_()
    latent = sequence_of(actor, rows.detach(), noise_of(actor, 5, ROWS)).latent
    begins = torch.zeros(5, ROWS, dtype=torch.bool)
    begins[3, 0] = True
    evaluated = actor.evaluate(rows, latent, begins=begins)
    evaluated.log_prob[4].sum().backward()
    reached = (rows.grad != 0).any(2)
    assert reached[:, 0].tolist() == [False, False, False, True, True]
    assert reached[:, 1:].all()


@pytest.mark.parametrize("networks", [1, 3])
def test_the_gru_is_torchs(networks):
    ours, theirs = (
        GRUCell(networks, 12, 7, torch.Generator().manual_seed(0)),
        torch.nn.GRUCell(12, 7),
    )
    values, before = numbers(networks, 5, 12), numbers(networks, 5, 7)
    with torch.no_grad():
        ours.recall_bias.copy_(numbers(networks, 1, 7))
        found = ours.step(ours.project(values), (before,))
        for k in range(networks):
            theirs.weight_ih.copy_(ours.reads.weight[k].T)
            theirs.weight_hh.copy_(ours.recall_weight[k].T)
            theirs.bias_ih.copy_(ours.reads.bias[k, 0])
            theirs.bias_hh.zero_()[14:] = ours.recall_bias[k, 0]
            torch.testing.assert_close(found[0][k], theirs(values[k], before[k]))


@pytest.mark.parametrize("networks", [1, 3])
def test_the_lstm_is_torchs_with_its_gates_in_another_order(networks):
    ours, theirs = (
        LSTMCell(networks, 12, 7, torch.Generator().manual_seed(0)),
        torch.nn.LSTMCell(12, 7),
    )
    values, output, inner = numbers(networks, 5, 12), *numbers(2, networks, 5, 7)
    gates = torch.arange(28).unflatten(0, (4, 7))[[0, 1, 3, 2]].flatten()  # theirs: cell, then out
    with torch.no_grad():
        found = ours.step(ours.project(values), (output, inner))
        for k in range(networks):
            theirs.weight_ih.copy_(ours.reads.weight[k].T[gates])
            theirs.weight_hh.copy_(ours.recall_weight[k].T[gates])
            theirs.bias_ih.copy_(ours.reads.bias[k, 0, gates])
            theirs.bias_hh.zero_()
            expected = theirs(values[k], (output[k], inner[k]))
            for part, reference in zip(found, expected, strict=True):
                torch.testing.assert_close(part[k], reference)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), sharing=st.sampled_from(SHARINGS))
def test_forbidden_categories_are_never_chosen(seed, sharing):
    group = group_of("tuple", masked=True)
    actor = actor_of(group, sharing, seed=seed % 97, output_gain=5.0)
    rows, masks = rows_of(group, ROWS, seed=seed), masks_of(group, ROWS, seed=seed)
    for noise in (noise_of(actor, ROWS, seed=seed), None):
        acted = actor.act(rows, noise, masks)
        actions, flags = (v.unflatten(1, (AGENTS, -1)) for v in (acted.actions, masks))
        for column, first in ((2, 0), (7, 4)):  # the two choices among four of the tuple
            chosen = actions[..., column].long()
            assert flags.gather(2, (first + chosen).unsqueeze(2)).all()
        evaluated = actor.evaluate(rows, acted.latent, masks)
        assert torch.equal(evaluated.log_prob, acted.log_prob)
        assert evaluated.entropy.isfinite().all()


@every_sharing
def test_a_single_category_left_has_no_entropy_and_no_nan_in_gradients(sharing):
    group = group_of("categorical", masked=True)
    actor = actor_of(group, sharing)
    rows = rows_of(group, ROWS)
    masks = torch.zeros(ROWS, AGENTS, 5, dtype=torch.bool)
    masks[..., 3] = True
    acted = actor.act(rows, noise_of(actor, ROWS), masks.flatten(1))
    assert (acted.actions == 3).all() and (acted.log_prob == 0).all()
    evaluated = actor.evaluate(rows, acted.latent, masks.flatten(1))
    assert (evaluated.entropy == 0).all()
    (evaluated.log_prob.sum() + evaluated.entropy.sum()).backward()
    assert all((p.grad == 0).all() for p in actor.parameters())


def test_all_allowed_is_no_mask():
    group = group_of("tuple", masked=True)
    actor = actor_of(group)
    rows, noise = rows_of(group, ROWS), noise_of(actor, ROWS)
    everything = torch.ones(ROWS, group.mask_width, dtype=torch.bool)
    masked, free = actor.act(rows, noise, everything), actor.act(rows, noise)
    assert torch.equal(masked.latent, free.latent) and torch.equal(masked.log_prob, free.log_prob)


@every_sharing
@pytest.mark.parametrize("memory", ["none", "gru", "lstm"])
def test_a_row_decides_alone_as_in_a_batch(sharing, memory):
    actor = actor_of(group_of("tuple"), sharing, memory=memory)
    rows, noise = rows_of(actor.layout, ROWS), noise_of(actor, ROWS)
    together, alone = actor.act(rows, noise), actor.act(rows[7:8], noise[7:8])
    for whole, single in zip(together, alone, strict=True):
        if whole is not None:
            torch.testing.assert_close(single, whole[7:8], rtol=1e-5, atol=1e-6)


@every_sharing
def test_the_seed_makes_the_weights_and_the_global_generator_is_left_alone(sharing):
    before = torch.get_rng_state()
    group, config = group_of("tuple"), ActorConfig(hidden=(8,), memory="gru", identity=True)
    first, second, other = (GroupActor(group, config, sharing, seed) for seed in (4, 4, 5))
    assert torch.equal(before, torch.get_rng_state())
    names = dict(first.named_parameters())
    assert all(torch.equal(names[n], p) for n, p in second.named_parameters())
    assert not torch.equal(names["head.weight"], dict(other.named_parameters())["head.weight"])
    if sharing == "per_agent":
        assert not torch.equal(names["head.weight"][0], names["head.weight"][1])


def test_rows_are_clipped():
    actor = actor_of(group_of("tuple"))
    rows, noise = rows_of(actor.layout, 3), noise_of(actor, 3)
    huge = rows.clone()
    huge[:, 0] = 1e9
    rows[:, 0] = actor.config.input_clip
    torch.testing.assert_close(actor.act(huge, noise), actor.act(rows, noise))


@every_sharing
def test_saved_weights_act_the_same(sharing):
    actor = actor_of(group_of("tuple"), sharing, memory="lstm", identity=True)
    twin = actor_of(actor.layout, sharing, seed=9, memory="lstm", identity=True)
    rows, noise = rows_of(actor.layout, ROWS), noise_of(actor, ROWS)
    assert not torch.equal(twin.act(rows, noise).latent, actor.act(rows, noise).latent)
    twin.load_state_dict(actor.state_dict())
    assert torch.equal(twin.act(rows, noise).latent, actor.act(rows, noise).latent)


def test_what_cannot_be_read_is_refused():
    plain, recurrent = (
        actor_of(group_of("categorical")),
        actor_of(group_of("bounded"), memory="gru"),
    )
    rows, noise = rows_of(plain.layout, ROWS), noise_of(plain, ROWS)
    latent = plain.act(rows, noise).latent
    some = torch.ones(ROWS, 15, dtype=torch.bool)
    with pytest.raises(TrainingError, match="masks of 15 flags a row, expected 0"):
        plain.act(rows, noise, some)
    with pytest.raises(TrainingError, match="memory of 5 numbers a row, expected 0"):
        plain.act(rows, noise, memory=torch.zeros(ROWS, 5))
    with pytest.raises(TrainingError, match="got begins, expected None"):
        plain.evaluate(rows, latent, begins=some[:, 0])
    with pytest.raises(TrainingError, match="memory of 20 numbers a row, expected 21"):
        recurrent.act(rows, None, memory=torch.zeros(ROWS, 20))
    with pytest.raises(TrainingError, match=r"rows of 2 dimensions.*\[L, B, row_width\]"):
        recurrent.evaluate(rows, torch.zeros(ROWS, 6))
    # Columns that are not there say nothing: whoever keeps [N, 0] arrays may pass them.
    nothing = torch.zeros(ROWS, 0)
    assert torch.equal(plain.act(rows, noise, nothing.bool(), nothing).latent, latent)


def test_a_group_of_one_agent_acts():
    group = GroupLayout("lone", ("one",), ("a", "b"), FACTORS["tuple"])
    for sharing in SHARINGS:
        actor = GroupActor(group, ActorConfig(hidden=(8,), memory="gru"), sharing)
        assert actor.act(torch.zeros(2, 2), None).actions.shape == (2, group.action_width)


@pytest.mark.parametrize(
    ("kind", "sharing", "options"),
    [
        ("categorical", "per_agent", {}),
        ("tuple", "shared", {"identity": True, "layer_norm": True, "memory": "lstm"}),
        ("bounded", "per_agent", {"memory": "gru", "state_dependent_sigma": True}),
    ],
    ids=["plain", "lstm", "gru"],
)
def test_one_graph_serves_any_device_and_precision(kind, sharing, options):
    """One compiled graph, nothing read back; on `meta` a tensor left on the CPU would raise."""
    group = group_of(kind, masked=kind != "bounded")
    actor = actor_of(group, sharing, **options)
    lead = (3, 4) if actor.memory_width else (4,)
    begins = torch.zeros(lead, dtype=torch.bool) if actor.memory_width else None
    masks = masks_of(group, 4) if group.masked else None
    rows, noise = rows_of(group, *lead), noise_of(actor, 4)
    first = rows[0] if actor.memory_width else rows
    acted = actor.act(first, noise, masks)
    compiled = torch.compile(actor.act, fullgraph=True, backend="eager")(first, noise, masks)
    torch.testing.assert_close(compiled, acted)
    every = None if masks is None else masks.expand(*lead, -1)
    arguments = (rows, acted.latent.detach().expand(*lead, -1), every, None, begins)
    evaluated = actor.evaluate(*arguments)
    compiled = torch.compile(actor.evaluate, fullgraph=True, backend="eager")(*arguments)
    torch.testing.assert_close(compiled, evaluated)
    with torch.autocast("cpu", torch.bfloat16):
        half, judged = actor.act(first, noise, masks), actor.evaluate(*arguments)
    assert all(t.dtype == torch.float32 for t in (*half, *judged) if t is not None)
    torch.testing.assert_close(judged.entropy, evaluated.entropy, rtol=0.1, atol=0.1)
    actor.to("meta")
    moved = [None if v is None else v.to("meta") for v in (first, noise, masks, *arguments)]
    assert actor.act(*moved[:3]).latent.is_meta
    assert actor.evaluate(*moved[3:]).entropy.is_meta
