"""`bench cascade`: CPU time of one decision by each layer's exported graph, against torch eager.

One row at a time on one thread, from the row's copy into the graph's input to the decision in
its output. Both run the same untrained network of the layer's default settings (time does not
depend on weights), in turns, so that a machine that changes its pace does so for both.

- execution: the five agents fused in one graph; and the graph that samples, which stands
  apart for what it costs more.
- tactical: the layer's graph, of its three agents and the encoder that they share.
- strategic: the graph of its four agents and both encoders with 1,000 masks of dropout, which
  gives decision, regimes and uncertainty. Masks come on top of the defaults, which have none.

Torch's reference is `act`, as training and evaluation call it, which gives log-probabilities
besides, or `uncertainty`, which encodes the row once as the graph does; both without gradients.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cascade.artefact import POLICY, GraphName, load_artefact
from cascade.graphs import ROWS, SAMPLING, UNCERTAINTY
from cascade.policy import OnnxPolicy
from configs.train import load_train_config
from experiments.bench.report import Figure, speed
from policies.sequential import SequentialPolicy
from signals.execution import EXECUTION
from signals.layout import LayerLayout
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL
from trainers.export import export_policy

Call = Callable[[], object]

_EAGER = "torch eager, p50 us"
_CHAIN_RATIO = 5.0  # times as fast as torch eager
_MICROSECONDS = 1e-3  # of a nanosecond
_HIGH = 99


@dataclass(frozen=True)
class Timed:
    """One graph to be timed: its layer, what is set on top of the layer's defaults, its bound.

    most_us: of the median; None without a bound.
    """

    name: str
    layout: LayerLayout
    graph: GraphName
    most_us: float | None = None
    told: tuple[str, ...] = ()


_STRATEGIC = Timed(
    "strategic_mc1000",
    STRATEGIC,
    UNCERTAINTY,
    1_000.0,
    ("mappo.policy.dropout.rate=0.1", "mappo.policy.dropout.samples=1000"),
)
_TIMED = (
    Timed("execution_chain", EXECUTION, POLICY, 50.0),
    Timed("execution_sampling", EXECUTION, SAMPLING),
    Timed("tactical_agent", TACTICAL, POLICY, 500.0),
    _STRATEGIC,
)


@dataclass(frozen=True)
class CascadeSizes:
    """How often each is called: in every round `calls` of ours, `eager_calls` of torch's.

    lead: calls before those that count, in every round, for caches that the other has filled.
    """

    rounds: int = 40
    calls: int = 100
    eager_calls: int = 20
    lead: int = 5
    seed: int = 0
    timed: tuple[Timed, ...] = field(default=_TIMED)


def figures(sizes: CascadeSizes | None = None) -> list[Figure]:
    """Every figure of the benchmark."""
    sizes = sizes or CascadeSizes()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [figure for timed in sizes.timed for figure in _figures(timed, sizes)]
    finally:
        torch.set_num_threads(threads)


def _figures(timed: Timed, sizes: CascadeSizes) -> list[Figure]:
    policy = network(timed, sizes.seed)
    rng = np.random.default_rng(sizes.seed)
    row = rng.uniform(-1.0, 1.0, (1, timed.layout.row_width)).astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        ours, eager = measured(
            _exported(timed, policy, Path(scratch) / timed.name, row),
            _eager(timed, policy, row),
            sizes,
        )
    p50, eager_p50 = np.percentile(ours, 50), float(np.percentile(eager, 50))
    median = speed(f"{timed.name}_p50_us", float(p50), "us", _EAGER, eager_p50)
    ratio = eager_p50 / float(p50)
    found = [
        # Of a time the ratio is how many times as fast.
        replace(median, ratio=ratio, target=timed.most_us, at_most=True, of_value=True),
        Figure(f"{timed.name}_p99_us", float(np.percentile(ours, _HIGH)), "us"),
    ]
    if timed.layout is EXECUTION and timed.graph == POLICY:
        name = f"{timed.name}_ratio_torch"
        found.append(Figure(name, ratio, "x", _EAGER, eager_p50, ratio, _CHAIN_RATIO))
    return found


def network(timed: Timed, seed: int) -> SequentialPolicy:
    """The untrained network of a layer's default settings."""
    config = load_train_config(timed.layout.layer, (), (), timed.told, None)
    return SequentialPolicy(timed.layout, config.mappo.policy, seed).eval()


def _exported(
    timed: Timed, policy: SequentialPolicy, folder: Path, row: NDArray[np.float32]
) -> Call:
    """A decision by the artefact, as a loop that decides often calls it."""
    export_policy(policy, timed.layout, folder, _manifest_fields(timed))
    bound = OnnxPolicy(load_artefact(folder, timed.layout)).bound(timed.graph)
    place = bound.inputs[ROWS]

    def decide() -> Mapping[str, NDArray[np.float32]]:
        place[:] = row
        bound.run()
        return bound.outputs

    return decide


def _eager(timed: Timed, policy: SequentialPolicy, row: NDArray[np.float32]) -> Call:
    rows = torch.from_numpy(row)
    if timed.graph == UNCERTAINTY:

        def doubt() -> object:
            with torch.inference_mode():
                return policy.uncertainty(rows)

        return doubt

    noise = None
    if timed.graph == SAMPLING:
        noise = torch.zeros(1, timed.layout.noise_width)

    def act() -> object:
        with torch.inference_mode():
            return policy.act(rows, noise)

    return act


def measured(
    ours: Call, eager: Call, sizes: CascadeSizes
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """CPU microseconds of every call of either, in turns, without garbage collections."""
    found: tuple[list[int], list[int]] = ([], [])
    turns = ((ours, sizes.calls, found[0]), (eager, sizes.eager_calls, found[1]))
    clock = time.process_time_ns
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(sizes.rounds):
            for call, times, taken in turns:
                for _ in range(sizes.lead):
                    call()
                for _ in range(times):
                    start = clock()
                    call()
                    taken.append(clock() - start)
    finally:
        if collecting:
            gc.enable()
    return _microseconds(found[0]), _microseconds(found[1])


def _microseconds(taken: Sequence[int]) -> NDArray[np.float64]:
    return np.array(taken, np.float64) * _MICROSECONDS


def _manifest_fields(timed: Timed) -> dict[str, Any]:
    """Of an artefact that nobody keeps: an untrained network, without metrics."""
    return {
        "env_id": timed.layout.env_id,
        "market": "none",
        "config": {},
        "seed": 0,
        "commit": "none",
        "versions": {},
        "metrics": {},
    }
