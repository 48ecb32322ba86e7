"""Ensembles: a mixture is the mean of what members say, averaged weights are one network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cascade.artefact import load_artefact
from cascade.policy import OnnxPolicy
from configs.actors import ActorConfig, DropoutConfig
from configs.errors import TrainingError
from policies.attention import attention_maps
from policies.attribution import attribute
from policies.ensemble import (
    EnsemblePolicy,
    averaged_weights,
    differing_architecture,
    mixture,
)
from policies.sequential import SequentialPolicy
from signals.noise import joint_noise
from signals.strategic import STRATEGIC
from tests.policies.windowed import LAYOUT, gumbel_of, policy_of, rows_of
from tests.trainers.test_export import FIELDS
from tests.trainers.test_export import LAYOUT as BOXES
from tests.trainers.test_export_contract import recorded
from trainers.export import PARITY_TOLERANCE, export_policy
from trainers.graphs import TracedPolicy

COUNT = 40


def boxed(seed: int, **options: object) -> SequentialPolicy:
    """Box and discrete agents, choices clear."""
    config = ActorConfig(**({"hidden": (16,), "output_gain": 3.0} | options))
    policy = SequentialPolicy(BOXES, config, seed).eval()
    with torch.no_grad():
        policy.raw_sigma.add_(torch.linspace(-1.0, 1.0, len(policy.raw_sigma)) * (seed + 1))
    return policy


def boxes_rows(count: int = COUNT) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.rand(count, BOXES.row_width, generator=generator) * 2 - 1


@torch.no_grad()
def test_the_first_agents_probabilities_are_the_members_mean() -> None:
    """Later agents' too, given what the ensemble itself chose before them."""
    members = [policy_of(0), policy_of(1), policy_of(2, hidden=(8,), encoders=())]
    ensemble, rows = EnsemblePolicy(members, (1, 2, 1)), rows_of(COUNT)
    told = TracedPolicy(ensemble).outputs(rows)
    each = torch.stack([TracedPolicy(m).outputs(rows)["probabilities"][:, :3] for m in members])
    expected = (each * torch.tensor([0.25, 0.5, 0.25]).view(3, 1, 1)).sum(0)
    torch.testing.assert_close(told["probabilities"][:, :3], expected, rtol=0, atol=1e-6)
    latent = ensemble.act(rows, None).latent
    given = torch.stack(
        [torch.softmax(m.outputs_given(rows, latent)[..., :3], -1) for m in members]
    )
    expected = (given * torch.tensor([0.25, 0.5, 0.25]).view(3, 1, 1, 1)).sum(0).flatten(1)
    torch.testing.assert_close(told["probabilities"], expected, rtol=0, atol=1e-6)
    assert (told["probabilities"].view(COUNT, 3, 3).argmax(-1) == latent).all()


@torch.no_grad()
def test_regimes_are_the_mean_of_those_members_that_foretell_any() -> None:
    members = [policy_of(0), policy_of(1), policy_of(2, encoders=())]
    rows = rows_of(COUNT)
    each = [member.read(rows)[1] for member in members]
    assert each[0] is not None and each[1] is not None and each[2] is None
    told = TracedPolicy(EnsemblePolicy(members, (1, 3, 4))).outputs(rows)
    expected = 0.25 * each[0] + 0.75 * each[1]
    torch.testing.assert_close(told["regimes"], expected)
    torch.testing.assert_close(told["regime_confidence"], expected.amax(1, keepdim=True))


@torch.no_grad()
def test_a_number_has_the_mean_and_the_variance_of_the_mixture() -> None:
    members = [boxed(0), boxed(1, state_dependent_sigma=True)]
    ensemble = EnsemblePolicy(members, (3, 1))
    rows = boxes_rows(1).expand(20_000, -1)
    generator = np.random.default_rng(0)
    noise = torch.from_numpy(
        generator.standard_normal((len(rows), BOXES.noise_width)).astype(np.float32)
    )
    drawn = ensemble.act(rows, noise).latent[:, :2]
    # By hand: which member draws is itself drawn.
    parts = [member.act(rows, noise).latent[:, :2].double() for member in members]
    who = torch.from_numpy(generator.random(len(rows)) < 0.75).unsqueeze(1)
    mixed = torch.where(who, parts[0], parts[1])
    spread = mixed.std(0)
    torch.testing.assert_close(drawn.double().mean(0), mixed.mean(0), rtol=0, atol=0.05)
    assert ((drawn.double().std(0) / spread - 1.0).abs() < 0.03).all()
    modes = torch.stack([member.act(rows[:1], None).latent[0, :2] for member in members])
    expected = 0.75 * modes[0] + 0.25 * modes[1]
    torch.testing.assert_close(ensemble.act(rows[:1], None).latent[0, :2], expected)


@torch.no_grad()
@pytest.mark.parametrize("boxes", [False, True])
def test_what_was_acted_is_judged_as_it_was_drawn(boxes: bool) -> None:
    members = [boxed(0), boxed(1)] if boxes else [policy_of(0), policy_of(1)]
    ensemble = EnsemblePolicy(members, (1, 2))
    rows, layout = (boxes_rows(), BOXES) if boxes else (rows_of(COUNT), LAYOUT)
    noise = torch.from_numpy(
        joint_noise(layout, np.arange(COUNT, dtype=np.uint64), np.zeros(COUNT, np.int64))
    )
    drawn = ensemble.act(rows, noise)
    judged = ensemble.evaluate(rows, drawn.latent)
    torch.testing.assert_close(judged.log_prob, drawn.log_prob, rtol=1e-4, atol=1e-5)
    assert judged.supervised.shape == (COUNT, 1 if boxes else 0)
    # Members that agree are one policy.
    alike = EnsemblePolicy([members[0], members[0]], (1, 4))
    one, same = members[0].act(rows, noise), alike.act(rows, noise)
    torch.testing.assert_close(same.actions, one.actions, rtol=0, atol=1e-5)
    entropy = members[0].evaluate(rows, one.latent).entropy
    torch.testing.assert_close(alike.evaluate(rows, one.latent).entropy, entropy)


@torch.no_grad()
def test_choices_are_drawn_by_the_mixed_probabilities() -> None:
    ensemble = EnsemblePolicy([policy_of(0), policy_of(1)], (1, 1))
    rows = rows_of(1)
    many = rows.expand(20_000, -1)
    chosen = ensemble.act(many, gumbel_of(20_000)).latent[:, 0].long()
    p = TracedPolicy(ensemble).outputs(rows)["probabilities"][0, :3]
    shares = torch.bincount(chosen, minlength=3) / len(many)
    assert ((shares - p).abs() < 0.015).all()


@torch.no_grad()
def test_what_is_forbidden_is_never_chosen() -> None:
    config = ActorConfig(hidden=(8,), output_gain=3.0)
    members = [SequentialPolicy(STRATEGIC, config, seed).eval() for seed in (0, 1)]
    ensemble = EnsemblePolicy(members, (1, 1))
    rows = torch.from_numpy(recorded(STRATEGIC, 200))
    told = TracedPolicy(ensemble).outputs(rows)["probabilities"]
    allowed = ensemble.legal(rows, None)
    assert allowed is not None and (~allowed).any()
    assert (told[~allowed] == 0.0).all() and told.isfinite().all()
    noise = torch.from_numpy(
        joint_noise(STRATEGIC, np.arange(200, dtype=np.uint64), np.zeros(200, np.int64))
    )
    chosen = ensemble.act(rows, noise).latent.long()
    for k, place in ensemble.table.mask_slices.items():
        assert allowed[:, place].gather(1, chosen[:, k : k + 1]).all()


@torch.no_grad()
def test_doubt_is_how_far_members_disagree() -> None:
    members = [boxed(0), boxed(1)]
    rows = boxes_rows()
    apart = EnsemblePolicy(members, (1, 1)).uncertainty(rows)
    alike = EnsemblePolicy([members[0], members[0]], (1, 1)).uncertainty(rows)
    assert (alike.spread == 0.0).all() and (alike.information < 1e-6).all()
    assert (apart.spread.amax(0) > 0.01).all() and (apart.information.amax(0) > 0.01).all()
    # Counts are copies.
    counted = EnsemblePolicy(members, (2, 1)).uncertainty(rows)
    copies = EnsemblePolicy([members[0], members[0], members[1]], (1, 1, 1)).uncertainty(rows)
    for one, other in zip(counted, copies, strict=True):
        torch.testing.assert_close(one, other)


def test_a_mixture_of_mixtures_is_flat() -> None:
    one, two, three = boxed(0), boxed(1), boxed(2)
    inner = EnsemblePolicy([one, two], (1, 2))
    outer = mixture([inner, three], (1, 1))
    assert isinstance(outer, EnsemblePolicy)
    assert outer.each == [one, two, three] and outer.counts == (1, 2, 3)
    assert mixture([one], (4,)) is one
    inside = mixture([inner], (2,))
    assert isinstance(inside, EnsemblePolicy) and inside.counts == (1, 2)


@torch.no_grad()
def test_averaged_weights_are_the_mean_and_of_equals_the_same() -> None:
    one, two = policy_of(0), policy_of(1)
    found = averaged_weights([one, two], (1, 3)).state_dict()
    for name, value in found.items():
        expected = 0.25 * one.state_dict()[name].double() + 0.75 * two.state_dict()[name].double()
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-8)
    same = averaged_weights([one, one, one], (1, 1, 1)).state_dict()
    assert all(torch.equal(same[name], value) for name, value in one.state_dict().items())


def test_members_that_do_not_go_together_are_refused() -> None:
    wide = policy_of(0, hidden=(8,))
    with pytest.raises(TrainingError, match=r"another architecture .*policy\.hidden=\[8\], there"):
        averaged_weights([policy_of(0), wide], (1, 1))
    assert differing_architecture(policy_of(0), policy_of(0, output_gain=2.0)) == []
    assert differing_architecture(policy_of(0), boxed(0)) == ["columns or actions"]
    with pytest.raises(TrainingError, match="other columns or actions than the first"):
        EnsemblePolicy([policy_of(0), boxed(0)], (1, 1))
    with pytest.raises(TrainingError, match="expected two or more"):
        EnsemblePolicy([policy_of(0)], (1,))
    with pytest.raises(TrainingError, match="each counted once at least"):
        averaged_weights([policy_of(0), policy_of(1)], (1, 0))


def test_a_mixture_is_explained_as_a_policy_is() -> None:
    members = [policy_of(0), policy_of(1)]
    ensemble = EnsemblePolicy(members, (1, 1))
    rows = rows_of(6)
    found = attribute(ensemble, 0, rows, steps=128)
    gap = found.columns.sum(1) - (found.output - found.baseline)
    assert gap.abs().max() < 1e-2 * found.columns.abs().max()
    with torch.no_grad():
        p = TracedPolicy(ensemble).outputs(rows)["probabilities"][:, :3].amax(1)
    torch.testing.assert_close(found.output.exp().float(), p, rtol=1e-4, atol=1e-5)
    assert len(attention_maps(ensemble, rows)) == 2 * len(attention_maps(members[0], rows))


@pytest.mark.slow  # each export takes seconds
@pytest.mark.parametrize("kind", ["boxes", "windows", "strategic"])
def test_an_exported_mixture_equals_torch(kind: str, tmp_path: Path) -> None:
    layout = {"boxes": BOXES, "windows": LAYOUT, "strategic": STRATEGIC}[kind]
    masks = DropoutConfig(rate=0.2, samples=8)
    members = {
        "boxes": lambda: [boxed(0), boxed(1, state_dependent_sigma=True, hidden=(8, 8))],
        "windows": lambda: [policy_of(0), policy_of(1, states=3, dropout=masks)],
        "strategic": lambda: [
            SequentialPolicy(STRATEGIC, ActorConfig(hidden=(8,), output_gain=3.0), seed)
            for seed in (0, 1)
        ],
    }[kind]()
    ensemble = EnsemblePolicy(members, (2, 1)).eval()
    rows = recorded(layout, 24)
    fields = FIELDS | {"env_id": layout.env_id}
    manifest = export_policy(ensemble, layout, tmp_path / "artefact", fields, rows)
    assert manifest.parity.max_abs_difference <= PARITY_TOLERANCE
    assert set(manifest.graphs) == {"policy", "sampling", "uncertainty"}
    onnx = OnnxPolicy(load_artefact(tmp_path / "artefact", layout))
    with torch.no_grad():
        expected = ensemble.act(torch.from_numpy(rows), None).actions.numpy()
        doubt = ensemble.uncertainty(torch.from_numpy(rows))
    np.testing.assert_allclose(onnx.decide(rows).actions, expected, atol=PARITY_TOLERANCE)
    np.testing.assert_allclose(onnx.doubt(rows).spread, doubt.spread, atol=PARITY_TOLERANCE)
    assert manifest.parity.near_ties < manifest.parity.rows // 10
