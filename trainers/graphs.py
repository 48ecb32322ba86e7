"""What an artefact's graphs compute, as one torch module, its one trace, and the cuts of it."""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from onnx.utils import Extractor
from torch import Tensor
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
from policies.sequential import SequentialPolicy

OPSET = 20
DOUBTS = (MEAN, SPREAD, ENTROPY, INFORMATION)  # in the order of `policies.dropout.Uncertainty`
_EXAMPLE_ROWS = 2  # a batch of one would be taken for a constant


class TracedPolicy(SequentialPolicy):
    """A sequential policy whose forward gives every output of every graph.

    The row is read once; what decides in mode, samples and doubts starts from there.
    """

    def __init__(self, trained: SequentialPolicy) -> None:
        super().__init__(trained.layout, trained.config)
        self.load_state_dict(trained.state_dict())
        # What inner calls leave behind for `outputs`, which empties them.
        self._probabilities: list[Tensor] = []
        self._gaps: list[Tensor] = []
        self._told: list[Tensor] = []
        self.eval()

    @property
    def graphs(self) -> tuple[GraphName, ...]:
        """The graphs that it has."""
        if self.bank is None:
            return (POLICY, SAMPLING)
        return (POLICY, SAMPLING, UNCERTAINTY)

    def widths(self, graph: GraphName) -> dict[str, int]:
        """The outputs of a graph, by name."""
        zero = torch.zeros(1, self.layout.row_width)
        regimes = REGIMES in self.outputs(zero)
        return outputs_of(self.layout, graph, regimes)

    def forward(self, rows: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """rows [N, row_width], noise [N, noise_width] -> the values of `outputs`."""
        return tuple(self.outputs(rows, noise, doubt=self.bank is not None).values())

    def outputs(
        self, rows: Tensor, noise: Tensor | None = None, doubt: bool = False
    ) -> dict[str, Tensor]:
        """Outputs by name: those in mode, sampled ones where there is noise, and the doubts.

        After sampling, `clear_samples` tells of which rows the choices were clear.
        """
        self._clear()
        self._gaps.append(rows.new_full((rows.shape[0],), math.inf))
        masks = self.legal(rows, None)
        first = self._from_row(rows)
        decided = self._decide_all(first, None, masks)
        none = rows.new_zeros(rows.shape[0], 0)
        found = {
            ACTIONS: torch.cat([step[2] for step in decided], dim=1),
            PROBABILITIES: torch.cat([none, *self._probabilities], dim=1),
        }
        for told in self._told:
            found |= {REGIMES: told[:, :-1], REGIME_CONFIDENCE: told[:, -1:]}
        if doubt and self.bank is not None:
            found |= zip(DOUBTS, self._uncertainty_of(decided, self.bank, masks), strict=True)
        if noise is not None:
            sampled = self._decide_all(first, noise, masks)
            found[SAMPLED_ACTIONS] = torch.cat([step[2] for step in sampled], dim=1)
        return found

    def clear_samples(self, least: float) -> Tensor:
        """bool [N]: every choice last sampled led by `least` in noisy log-probability."""
        return torch.stack(self._gaps).amin(0) >= least

    def _clear(self) -> None:
        self._probabilities, self._gaps, self._told = [], [], []

    def _first(self, features: Tensor) -> Tensor:
        told = self.reader.regimes(features)
        if told is not None:
            self._told.append(told)
        return super()._first(features)

    def _decide(
        self, k: int, output: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        agent = self.layout.agents[k]
        if agent.kind == "discrete":
            logits = output[:, : agent.encoded_width]
            if noise is None:
                self._probabilities.append(torch.softmax(logits, dim=1))
            elif agent.encoded_width > 1:
                top = (functional.log_softmax(logits, dim=1) + noise).topk(2, dim=1).values
                self._gaps.append(top[:, 0] - top[:, 1])
        return super()._decide(k, output, noise)


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
    policy._clear()
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
