"""The policy of an artefact, run by ONNX Runtime on one thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cascade.artefact import (
    INPUT_ROWS,
    OUTPUT_ACTIONS,
    OUTPUT_PROBABILITIES,
    POLICY_FILE,
    REMEDY,
    Artefact,
)
from configs.errors import ArtefactError, RequestError


@dataclass(frozen=True)
class Decision:
    """Joint decisions of a layer's agents for N rows.

    Attributes:
        actions: float32 [N, layout.action_width]; boxes in [0, 1], discrete as an index.
        probabilities: float32 [N, choices of all discrete agents], in agent order,
            each agent's conditioned on what those before it chose.
    """

    actions: NDArray[np.float32]
    probabilities: NDArray[np.float32]


class OnnxPolicy:
    """Decides by an artefact's policy in mode: no sampling, no state between calls.

    One thread: ONNX Runtime's pool would double the latency on a busy machine.
    """

    def __init__(self, artefact: Artefact) -> None:
        self.layout = artefact.layout
        self.manifest = artefact.manifest
        self._where = artefact.folder / POLICY_FILE
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                artefact.model, options, providers=["CPUExecutionProvider"]
            )
        # ONNX Runtime's exceptions share no base below Exception; each means a bad file here.
        except Exception as error:
            raise ArtefactError(
                f"{self._where} is not a model that ONNX Runtime loads "
                f"({str(error).splitlines()[0]}); {REMEDY}"
            ) from error
        self._check_signature()

    def decide(self, rows: NDArray[np.float32]) -> Decision:
        """The joint mode actions for `rows` float32 [N, layout.row_width].

        Raises:
            RequestError: rows of another shape, or not finite.
            ArtefactError: the policy answered with a non-finite number.
        """
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.layout.row_width:
            raise RequestError(
                f"rows have shape {rows.shape}, expected [N, {self.layout.row_width}] "
                f"for layer '{self.layout.layer}'"
            )
        if not np.isfinite(rows).all():
            row, index = (int(i) for i in np.argwhere(~np.isfinite(rows))[0])
            column = self.layout.columns[index].name
            raise RequestError(
                f"column '{column}' of row {row} is {rows[row, index]}, expected a finite number"
            )
        actions, probabilities = self._session.run(
            [OUTPUT_ACTIONS, OUTPUT_PROBABILITIES], {INPUT_ROWS: rows}
        )
        if not (np.isfinite(actions).all() and np.isfinite(probabilities).all()):
            raise ArtefactError(
                f"{self._where} answered with a non-finite number to finite rows; {REMEDY}"
            )
        return Decision(actions=actions, probabilities=probabilities)

    def act(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The actions of `decide` alone: the face that evaluation drives."""
        return self.decide(rows).actions

    def reset(self, num_envs: int) -> None:
        """Begin `num_envs` episodes: nothing to do, the policy keeps no state."""
        del num_envs

    def _check_signature(self) -> None:
        """The graph must take this layout's rows and give its actions."""
        discrete = sum(len(a.components) for a in self.layout.agents if a.kind == "discrete")
        expected = {
            INPUT_ROWS: self.layout.row_width,
            OUTPUT_ACTIONS: self.layout.action_width,
            OUTPUT_PROBABILITIES: discrete,
        }
        nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        got = {node.name: node.shape[-1] if node.shape else None for node in nodes}
        if got != expected:
            raise ArtefactError(
                f"{self._where} has inputs and outputs {got} (name: width), "
                f"expected {expected}; {REMEDY}"
            )
