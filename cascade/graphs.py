"""An artefact's networks, run by ONNX Runtime on one thread.

One trace of the trained policy is cut into graphs by what is asked of it, since ONNX Runtime
computes every node of a graph, whatever is fetched:

- `policy`: rows -> the decision in mode, and what the regime encoder says where there is one.
- `sampling`: rows and noise -> sampled actions. Apart, for an input of noise would slow the
  hot path (`bench cascade`: execution_sampling against execution_chain).
- `uncertainty`: rows -> all that `policy` gives, and how far a bank of masks moves it;
  of policies with dropout alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cascade.artefact import POLICY, REMEDY, Artefact, GraphFacts, GraphName, graph_file
from configs.errors import ArtefactError
from signals.bars.columns import POSTERIORS
from signals.layout import LayerLayout

SAMPLING: GraphName = "sampling"
UNCERTAINTY: GraphName = "uncertainty"

ROWS, NOISE = "rows", "noise"
ACTIONS, PROBABILITIES = "actions", "probabilities"
REGIMES, REGIME_CONFIDENCE = "regimes", "regime_confidence"
SAMPLED_ACTIONS = "sampled_actions"
# Long, since torch's exporter calls values of its own `mean` and does not see the clash.
MEAN, SPREAD = "uncertainty_mean", "uncertainty_spread"
ENTROPY, INFORMATION = "uncertainty_entropy", "uncertainty_information"

Rows = NDArray[np.float32]

_ERRORS_ALONE = 3  # of ONNX Runtime's levels of logging


def inputs_of(layout: LayerLayout, graph: str) -> dict[str, int]:
    """The inputs of a graph by name, with their widths."""
    widths = {ROWS: layout.row_width}
    return widths | {NOISE: layout.noise_width} if graph == SAMPLING else widths


def outputs_of(layout: LayerLayout, graph: str, regimes: bool) -> dict[str, int]:
    """The outputs of a graph by name, with their widths, in the order of the file.

    regimes: whether a regime encoder is part of the policy.
    """
    agents = len(layout.agents)
    if graph == SAMPLING:
        return {SAMPLED_ACTIONS: layout.action_width}
    discrete = sum(len(a.components) for a in layout.agents if a.kind == "discrete")
    widths = {ACTIONS: layout.action_width, PROBABILITIES: discrete}
    if regimes:
        widths |= {REGIMES: len(POSTERIORS), REGIME_CONFIDENCE: 1}
    if graph == UNCERTAINTY:
        encoded = layout.noise_width
        widths |= {MEAN: encoded, SPREAD: encoded, ENTROPY: agents, INFORMATION: agents}
    return widths


class Graph:
    """One ONNX file with inputs and outputs float32 [N, width], proven to be what it should be.

    One thread: ONNX Runtime's pool would double the latency on a busy machine.
    """

    def __init__(self, model: bytes, where: Path, facts: GraphFacts) -> None:
        self.where, self.outputs = where, dict(facts.outputs)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ALONE
        try:
            self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        # ONNX Runtime's exceptions share no base below Exception; each means a bad file here.
        except Exception as error:
            raise ArtefactError(
                f"{where} is not a model that ONNX Runtime loads "
                f"({str(error).splitlines()[0]}); {REMEDY}"
            ) from error
        nodes = [*self.session.get_inputs(), *self.session.get_outputs()]
        got = {node.name: node.shape[-1] if node.shape else None for node in nodes}
        expected = {**facts.inputs, **facts.outputs}
        if got != expected:
            raise ArtefactError(
                f"{where} has inputs and outputs {got} (name: width), expected {expected}; {REMEDY}"
            )

    def run(self, feeds: Mapping[str, Rows]) -> dict[str, Rows]:
        """Every output by name, for inputs of one length.

        Raises:
            ArtefactError: the graph answered with a non-finite number.
        """
        names = list(self.outputs)
        found = dict(zip(names, self.session.run(names, dict(feeds)), strict=True))
        if not all(np.isfinite(values).all() for values in found.values()):
            raise ArtefactError(
                f"{self.where} answered with a non-finite number to finite rows; {REMEDY}"
            )
        return found


class BoundGraph:
    """A graph bound to arrays of `count` rows each, read and written in place by every `run`.

    For loops that decide often: nothing is allocated, and nothing is checked.

    Attributes:
        inputs, outputs: float32 [count, width] by name.
    """

    def __init__(self, graph: Graph, inputs: Mapping[str, int], count: int = 1) -> None:
        self.inputs = {name: np.zeros((count, width), np.float32) for name, width in inputs.items()}
        self.outputs = {
            name: np.zeros((count, width), np.float32) for name, width in graph.outputs.items()
        }
        self._session = graph.session
        self._binding = graph.session.io_binding()
        for name, values in self.inputs.items():
            self._binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(values))
        for name, values in self.outputs.items():
            self._binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(values))

    def run(self) -> None:
        """Compute `outputs` from what `inputs` hold now."""
        self._session.run_with_iobinding(self._binding)


def graph_of(artefact: Artefact, name: GraphName) -> Graph:
    """The named graph of an artefact.

    Raises:
        ArtefactError: it has none of that name, or one that is not what its manifest and its
            layout say.
    """
    layout, told = artefact.layout, artefact.manifest.graphs
    where = artefact.folder / graph_file(name)
    model = artefact.model if name == POLICY else artefact.others.get(name)
    if model is None:
        present = ", ".join([POLICY, *artefact.others])
        why = "train it with mappo.policy.dropout.rate above 0" if name == UNCERTAINTY else REMEDY
        raise ArtefactError(f"{artefact.folder} has no graph '{name}', only {present}; {why}")
    regimes = name in told and REGIMES in told[name].outputs
    expected = GraphFacts(
        sha256=told[name].sha256 if name in told else artefact.manifest.onnx_sha256,
        inputs=inputs_of(layout, name),
        outputs=outputs_of(layout, name, regimes),
    )
    if name in told and told[name] != expected:
        raise ArtefactError(
            f"{where} has by its manifest inputs {told[name].inputs} and outputs "
            f"{told[name].outputs} (name: width), expected {expected.inputs} and "
            f"{expected.outputs}; {REMEDY}"
        )
    return Graph(model, where, expected)
