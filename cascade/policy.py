"""The policy of an artefact: decisions in mode, sampled ones, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.artefact import DIRECTION, POLICY, Artefact, GraphName
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
    BoundGraph,
    Graph,
    graph_of,
    inputs_of,
)
from configs.errors import RequestError


@dataclass(frozen=True)
class Decision:
    """Joint decisions of a layer's agents for N rows.

    Attributes:
        actions: float32 [N, layout.action_width]; boxes in [0, 1], discrete as an index.
        probabilities: float32 [N, choices of all discrete agents], in agent order,
            each agent's conditioned on what those before it chose.
        regimes: float32 [N, 4], what the regime encoder expects of the next bar, in the order
            of `signals.bars.columns.POSTERIORS`; None where the policy has no such encoder.
        regime_confidence: float32 [N], the largest of them.
    """

    actions: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    regimes: NDArray[np.float32] | None = None
    regime_confidence: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Doubt:
    """A decision in mode and how far the bank's masks move it, over all of them.

    Attributes:
        decision: the same as `OnnxPolicy.decide` gives.
        mean, spread: float32 [N, layout.noise_width], of every choice's probability and every
            box component's action, agent by agent; the spread is the standard deviation.
        entropy: float32 [N, agents], of the mean prediction, nats.
        information: float32 [N, agents], mutual information of prediction and mask, nats.
    """

    decision: Decision
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    entropy: NDArray[np.float32]
    information: NDArray[np.float32]


class OnnxPolicy:
    """Decides by an artefact's policy; no state between calls. Further graphs load when used."""

    def __init__(self, artefact: Artefact) -> None:
        self.layout = artefact.layout
        self.manifest = artefact.manifest
        self._artefact = artefact
        self._graphs: dict[str, Graph] = {POLICY: graph_of(artefact, POLICY)}

    @property
    def doubts(self) -> bool:
        """Whether `doubt` has a graph to run."""
        return UNCERTAINTY in self._artefact.others

    @property
    def temperature(self) -> float:
        """Of the confidence in the direction that it states (`signals.said`); 1 where none fits."""
        return self.manifest.temperatures.get(DIRECTION, 1.0)

    def decide(self, rows: NDArray[np.float32]) -> Decision:
        """The joint mode actions for `rows` float32 [N, layout.row_width].

        Raises:
            RequestError: rows of another shape, or not finite.
            ArtefactError: the policy answered with a non-finite number.
        """
        return _decision(self._graphs[POLICY].run({ROWS: self._checked(rows)}))

    def sample(self, rows: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """Joint actions sampled with `noise` float32 [N, layout.noise_width] (signals.noise).

        Each agent is conditioned on what those before it sampled. What the trained policy
        does with the same noise.

        Raises:
            RequestError: rows or noise of another shape, or not finite.
            ArtefactError: the artefact has no such graph (format 1), or it answered with a
                non-finite number.
        """
        rows = self._checked(rows)
        expected = (len(rows), self.layout.noise_width)
        noise = np.ascontiguousarray(noise, dtype=np.float32)
        if noise.shape != expected or not np.isfinite(noise).all():
            raise RequestError(
                f"noise has shape {noise.shape}, expected finite numbers {list(expected)} for "
                f"layer '{self.layout.layer}'; draw it with signals.noise.JointNoise"
            )
        return self._graph(SAMPLING).run({ROWS: rows, NOISE: noise})[SAMPLED_ACTIONS]

    def doubt(self, rows: NDArray[np.float32]) -> Doubt:
        """The decision for `rows` and its uncertainty; takes samples x N hidden rows of memory.

        Raises:
            RequestError: rows of another shape, or not finite.
            ArtefactError: the policy was trained without dropout, or answered with a
                non-finite number.
        """
        found = self._graph(UNCERTAINTY).run({ROWS: self._checked(rows)})
        return Doubt(
            _decision(found), found[MEAN], found[SPREAD], found[ENTROPY], found[INFORMATION]
        )

    def bound(self, graph: GraphName = POLICY, count: int = 1) -> BoundGraph:
        """A graph bound to arrays of its own, for loops that decide often; see `BoundGraph`.

        Raises:
            ArtefactError: the artefact has no such graph.
        """
        return BoundGraph(self._graph(graph), inputs_of(self.layout, graph), count)

    def act(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The actions of `decide` alone: the face that evaluation drives."""
        return self.decide(rows).actions

    def reset(self, num_envs: int) -> None:
        """Begin `num_envs` episodes: nothing to do, the policy keeps no state."""
        del num_envs

    def _graph(self, name: GraphName) -> Graph:
        if name not in self._graphs:
            self._graphs[name] = graph_of(self._artefact, name)
        return self._graphs[name]

    def _checked(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
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
        return rows


def _decision(found: dict[str, NDArray[np.float32]]) -> Decision:
    regimes = found.get(REGIMES)
    sure = None if regimes is None else found[REGIME_CONFIDENCE][:, 0]
    return Decision(found[ACTIONS], found[PROBABILITIES], regimes, sure)
