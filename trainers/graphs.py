"""What an artefact's graphs compute, as one torch module, its one trace, and the cuts of it."""

from __future__ import annotations

import copy
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx.utils import Extractor
from torch import Tensor, nn
from torch.nn import functional

from cascade.artefact import POLICY, POLICY_FILE, GraphName
from cascade.graphs import (
    ACTIONS,
    ENTROPY,
    INFORMATION,
    MEAN,
    NOISE,
    PROBABILITIES,
    REGIME_CONFIDENCE,
    REGIMES,
    ROWS,
    SAMPLED_ACTIONS,
    SAMPLING,
    SPREAD,
    UNCERTAINTY,
    inputs_of,
    outputs_of,
)
from configs.errors import ArtefactError
from policies.ensemble import LayerPolicy
from policies.sequential import Step
from signals.layout import LayerLayout

OPSET = 20
DOUBTS = (MEAN, SPREAD, ENTROPY, INFORMATION)  # in the order of `policies.dropout.Uncertainty`
_EXAMPLE_ROWS = 2  # a batch of one would be taken for a constant


class TracedPolicy(nn.Module):
    """A copy of a layer's policy, whose forward gives every output of every graph.

    The row is read once; what decides in mode, samples and doubts starts from there.
    """

    def __init__(self, trained: LayerPolicy) -> None:
        super().__init__()
        self.policy = copy.deepcopy(trained)
        self._gaps: list[Tensor] = []  # what `outputs` leaves behind for `clear_samples`
        self.eval()

    @property
    def layout(self) -> LayerLayout:
        return self.policy.layout

    @property
    def graphs(self) -> tuple[GraphName, ...]:
        """The graphs that it has."""
        if not self.policy.doubts:
            return (POLICY, SAMPLING)
        return (POLICY, SAMPLING, UNCERTAINTY)

    def widths(self, graph: GraphName) -> dict[str, int]:
        """The outputs of a graph, by name."""
        zero = torch.zeros(1, self.layout.row_width)
        regimes = REGIMES in self.outputs(zero)
        return outputs_of(self.layout, graph, regimes)

    def forward(self, rows: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """rows [N, row_width], noise [N, noise_width] -> the values of `outputs`."""
        return tuple(self.outputs(rows, noise, doubt=True).values())

    def outputs(
        self, rows: Tensor, noise: Tensor | None = None, doubt: bool = False
    ) -> dict[str, Tensor]:
        """Outputs by name: those in mode, sampled ones where there is noise, and the doubts.

        After sampling, `clear_samples` tells of which rows the choices were clear.
        """
        policy = self.policy
        masks = policy.legal(rows, None)
        first: Any  # of one policy a tensor, of several as many
        first, regimes = policy.read(rows)
        decided = policy.decide_all(first, None, masks)
        found = {
            ACTIONS: torch.cat([step.action for step in decided], dim=1),
            PROBABILITIES: self._probabilities(rows, decided),
        }
        if regimes is not None:
            found |= {REGIMES: regimes, REGIME_CONFIDENCE: regimes.amax(1, keepdim=True)}
        if doubt and policy.doubts:
            found |= zip(DOUBTS, policy.uncertainty_of(decided, masks), strict=True)
        if noise is not None:
            sampled = policy.decide_all(first, noise, masks)
            found[SAMPLED_ACTIONS] = torch.cat([step.action for step in sampled], dim=1)
            self._gaps = self._gaps_of(rows, sampled, noise)
        return found

    def clear_samples(self, least: float) -> Tensor:
        """bool [N]: every choice last sampled led by `least` in noisy log-probability."""
        return torch.stack(self._gaps).amin(0) >= least

    def forget(self) -> None:
        """Drop what `outputs` left behind."""
        self._gaps = []

    def _logits(self, decided: Sequence[Step]) -> Iterator[tuple[int, Tensor]]:
        """(number, logits [N, choices]) of each discrete agent."""
        for k, (agent, step) in enumerate(zip(self.layout.agents, decided, strict=True)):
            if agent.kind == "discrete":
                yield k, step.output[:, : agent.encoded_width]

    def _probabilities(self, rows: Tensor, decided: Sequence[Step]) -> Tensor:
        found = [torch.softmax(logits, dim=1) for _, logits in self._logits(decided)]
        return torch.cat([rows.new_zeros(rows.shape[0], 0), *found], dim=1)

    def _gaps_of(self, rows: Tensor, sampled: Sequence[Step], noise: Tensor) -> list[Tensor]:
        """By how much each sampled choice led the next one, [N] each."""
        gaps = [rows.new_full((rows.shape[0],), math.inf)]
        for k, logits in self._logits(sampled):
            if logits.shape[1] > 1:
                log_p = functional.log_softmax(logits, dim=1)
                top = (log_p + noise[:, self.layout.noise_slice(k)]).topk(2, dim=1).values
                gaps.append(top[:, 0] - top[:, 1])
        return gaps


def trace(policy: TracedPolicy) -> onnx.ModelProto:
    """All outputs in one model, its weights inside and nothing about where it was made."""
    layout = policy.layout
    batch = torch.export.Dim("batch", min=1)
    rows, noise = (torch.zeros(_EXAMPLE_ROWS, n) for n in (layout.row_width, layout.noise_width))
    with torch.no_grad():
        names = list(policy.outputs(rows, noise, doubt=True))
        with _quiet():
            program = torch.onnx.export(
                policy,
                (rows, noise),
                dynamo=True,
                opset_version=OPSET,
                input_names=[ROWS, NOISE],
                output_names=names,
                dynamic_shapes=({0: batch}, {0: batch}),
                verbose=False,
            )
    policy.forget()
    if program is None:
        raise ArtefactError("torch.onnx.export gave no program; export again with PyTorch 2.13")
    # Stack traces in the metadata would carry this machine's paths into the artefact.
    for node in program.model.graph:
        node.metadata_props.clear()
    for value in (*program.model.graph.inputs, *program.model.graph.outputs):
        value.metadata_props.clear()
    program.model.metadata_props.clear()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / POLICY_FILE
        program.save(path)
        if len(list(Path(scratch).iterdir())) != 1:
            raise ArtefactError("the exported policy has a data sidecar; expected one file")
        return onnx.load(path)


def cut(model: onnx.ModelProto, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
    """The part of a traced model that computes `outputs` from `inputs`."""
    part = Extractor(model).extract_model(list(inputs), list(outputs))
    onnx.checker.check_model(part)
    return bytes(part.SerializeToString())


def to_onnx(policy: TracedPolicy) -> dict[GraphName, bytes]:
    """The ONNX file of each graph of a policy."""
    model = trace(policy)
    return {
        graph: cut(model, inputs_of(policy.layout, graph), policy.widths(graph))
        for graph in policy.graphs
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter speaks of packages it does not find and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
