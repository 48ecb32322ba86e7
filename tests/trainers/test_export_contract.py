"""Every kind of policy, exported: the graphs give torch's numbers, alone and in a batch.

A new kind of encoder and a new layer must be named here, or
`test_every_kind_of_encoder_is_exported` and `test_every_layers_own_policy_is_exported` fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cascade.artefact import load_artefact
from cascade.policy import OnnxPolicy
from configs.actors import ActorConfig, CommunicationConfig, DropoutConfig
from configs.encoders import AveragesConfig, EncoderConfig, FlatConfig
from configs.errors import ArtefactError
from configs.train import load_train_config
from policies.encoders import RegimeEncoder
from policies.sequential import SequentialPolicy
from signals.execution import EXECUTION
from signals.layout import LayerLayout
from signals.noise import joint_noise
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL
from tests.policies.windowed import ATTENTION, ENCODERS
from tests.policies.windowed import LAYOUT as WINDOWED
from tests.trainers.test_export import FIELDS
from tests.trainers.test_export import LAYOUT as BOXES
from tests.trainers.updates import one_thread  # noqa: F401  a fixture, used by its name
from trainers.export import BATCH_TOLERANCE, PARITY_TOLERANCE, export_policy
from trainers.layers import LAYERS

SMALL: dict[str, Any] = {"hidden": (16, 12), "output_gain": 1.0}
MASKS = DropoutConfig(rate=0.2, samples=64)
EVERYTHING: dict[str, Any] = {
    "encoders": ENCODERS,
    "states": 3,
    "communication": CommunicationConfig(rounds=2, width=5),
    "dropout": MASKS,
}
ROWS = 24
_MOVED = 0.2  # of every parameter away from its start, so that wrong wiring shows


@dataclass(frozen=True)
class Case:
    """A policy to be exported. layer: whose defaults it takes, with presets and settings."""

    layout: LayerLayout
    options: dict[str, Any] = field(default_factory=dict)
    layer: tuple[tuple[str, ...], tuple[str, ...]] | None = None

    def config(self) -> ActorConfig:
        if self.layer is None:
            return ActorConfig(**(SMALL | self.options))
        presets, told = self.layer
        return load_train_config(self.layout.layer, presets, (), told, None).mappo.policy

    def policy(self) -> SequentialPolicy:
        policy = SequentialPolicy(self.layout, self.config(), seed=1)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in policy.parameters():
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.add_(_MOVED / max(1.0, parameter.shape[-1] ** 0.5) * drawn)
        return policy.eval()


QUICK = {
    "flat": Case(WINDOWED),
    "execution": Case(EXECUTION),
}
# Each takes seconds, all of them minutes.
SLOW = {
    "everything": Case(WINDOWED, EVERYTHING),
    "boxes": Case(
        BOXES, {"state_dependent_sigma": True, "states": 2, "dropout": MASKS, "activation": "relu"}
    ),
    "encoders": Case(WINDOWED, {"encoders": ENCODERS}),
    "attention": Case(WINDOWED, {"encoders": (ATTENTION, FlatConfig())}),
    "averages": Case(WINDOWED, {"encoders": (AveragesConfig(spans=(1, 4)), FlatConfig())}),
    "strategic-averages": Case(STRATEGIC, layer=(("trending",), ())),
    "superposition": Case(WINDOWED, {"states": 8}),
    "earlier": Case(WINDOWED, {"communication": CommunicationConfig(rounds=1, width=4)}),
    "all": Case(
        WINDOWED,
        {"communication": CommunicationConfig(rounds=1, width=4, hears="all", memory=False)},
    ),
    "masks": Case(WINDOWED, {"dropout": MASKS}),
    "masks-deep": Case(WINDOWED, {"dropout": MASKS.model_copy(update={"layers": 2})}),
    "execution-masks": Case(EXECUTION, {"dropout": MASKS, "states": 2}),
    "execution-own": Case(EXECUTION, layer=((), ())),
    "strategic-own": Case(STRATEGIC, layer=((), ())),
    "strategic-mlp": Case(STRATEGIC, layer=(("mlp",), ())),
    "strategic-masks": Case(STRATEGIC, layer=((), ("mappo.policy.dropout.rate=0.1",))),
    "tactical-own": Case(TACTICAL, layer=((), ())),
    "tactical-mlp": Case(TACTICAL, layer=(("mlp",), ())),
    "tactical-masks": Case(TACTICAL, layer=((), ("mappo.policy.dropout.rate=0.1",))),
}
CASES = [
    *(pytest.param(case, id=name) for name, case in QUICK.items()),
    *(pytest.param(case, id=name, marks=pytest.mark.slow) for name, case in SLOW.items()),
]


def recorded(layout: LayerLayout, count: int) -> NDArray[np.float32]:
    """Rows as environments give them: every column in its range, some choice always allowed."""
    generator = np.random.default_rng(3)
    low = np.array([max(column.low, -3.0) for column in layout.columns])
    high = np.array([min(column.high, 3.0) for column in layout.columns])
    rows = generator.uniform(low, high, (count, layout.row_width))
    for k in range(len(layout.agents)):
        flags = layout.mask_indices(k)
        if len(flags):
            allowed = generator.random((count, len(flags))) < 0.5
            allowed[np.arange(count), generator.integers(len(flags), size=count)] = True
            rows[:, flags] = allowed
    return rows.astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_the_exported_graphs_equal_torch(case: Case, tmp_path: Path) -> None:
    layout, policy = case.layout, case.policy()
    rows = recorded(layout, ROWS)
    fields = FIELDS | {"env_id": layout.env_id}
    manifest = export_policy(policy, layout, tmp_path / "artefact", fields, rows)
    parity = manifest.parity
    assert parity.max_abs_difference <= PARITY_TOLERANCE
    assert parity.max_abs_sampled_difference is not None
    assert parity.max_abs_sampled_difference <= PARITY_TOLERANCE
    onnx = OnnxPolicy(load_artefact(tmp_path / "artefact", layout))
    noise = joint_noise(layout, np.arange(ROWS, dtype=np.uint64), np.full(ROWS, 5))
    given = torch.from_numpy(rows)
    with torch.no_grad():
        mode = policy.act(given, None).actions.numpy()
        sampled = policy.act(given, torch.from_numpy(noise)).actions.numpy()
    decided = onnx.decide(rows)
    np.testing.assert_allclose(decided.actions, mode, rtol=0, atol=PARITY_TOLERANCE)
    np.testing.assert_allclose(onnx.sample(rows, noise), sampled, rtol=0, atol=PARITY_TOLERANCE)
    assert (np.abs(sampled - mode) > 0).any()
    for k in (0, ROWS - 1):
        one = slice(k, k + 1)
        alone = onnx.decide(rows[one]).actions
        np.testing.assert_allclose(alone, decided.actions[one], rtol=0, atol=BATCH_TOLERANCE)
        alone = onnx.sample(rows[one], noise[one])
        np.testing.assert_allclose(alone, sampled[one], rtol=0, atol=PARITY_TOLERANCE)
    _compare_regimes(policy, onnx, rows)
    _compare_doubts(policy, onnx, rows)


def _compare_regimes(policy: SequentialPolicy, onnx: OnnxPolicy, rows: NDArray[np.float32]) -> None:
    decided = onnx.decide(rows)
    clipped = torch.from_numpy(rows)
    with torch.no_grad():
        said = [
            torch.softmax(encoder.regimes(policy.reader.bars(clipped, number)), -1).numpy()
            for number, encoder in enumerate(policy.reader.encoders)
            if isinstance(encoder, RegimeEncoder)
        ]
    if not said:
        assert decided.regimes is None and decided.regime_confidence is None
        return
    assert decided.regimes is not None and decided.regime_confidence is not None
    np.testing.assert_allclose(decided.regimes, said[0], rtol=0, atol=PARITY_TOLERANCE)
    np.testing.assert_allclose(decided.regime_confidence, said[0].max(-1), rtol=0, atol=1e-5)


def _compare_doubts(policy: SequentialPolicy, onnx: OnnxPolicy, rows: NDArray[np.float32]) -> None:
    assert onnx.doubts == (policy.bank is not None)
    if policy.bank is None:
        return
    with torch.no_grad():
        expected = policy.uncertainty(torch.from_numpy(rows))
    doubt, alone = onnx.doubt(rows), onnx.doubt(rows[3:4])
    for name in ("mean", "spread", "entropy", "information"):
        torchs = getattr(expected, name).numpy()
        found = getattr(doubt, name)
        np.testing.assert_allclose(found, torchs, rtol=0, atol=PARITY_TOLERANCE, err_msg=name)
        np.testing.assert_allclose(getattr(alone, name), torchs[3:4], rtol=0, atol=PARITY_TOLERANCE)
    np.testing.assert_array_equal(doubt.decision.actions, onnx.decide(rows).actions)
    # ONNX Runtime has not thrown the masks away: every agent's decisions move.
    for k in range(len(policy.layout.agents)):
        assert doubt.spread[:, policy.layout.noise_slice(k)].max() > 1e-4


def test_every_kind_of_encoder_is_exported() -> None:
    union, _ = get_args(EncoderConfig)
    kinds = {option.model_fields["kind"].default for option in get_args(union)}
    cases = (QUICK | SLOW).values()
    assert {encoder.kind for case in cases for encoder in case.config().encoders} == kinds


def test_every_layers_own_policy_is_exported() -> None:
    """Each layer that can be trained, with the networks that its own file names."""
    own = {case.layout.layer for case in SLOW.values() if case.layer == ((), ())}
    assert own == set(LAYERS)


def test_masks_that_move_nothing_are_refused(tmp_path: Path) -> None:
    policy = Case(WINDOWED, {"dropout": MASKS}).policy()
    with torch.no_grad():
        policy.head_weight.zero_()
        policy.head_bias += torch.arange(float(policy.table.outputs))
    with pytest.raises(ArtefactError, match="no mask moves what any agent decides in 16 rows"):
        export_policy(policy, WINDOWED, tmp_path / "artefact", FIELDS)
    assert list(tmp_path.iterdir()) == []
