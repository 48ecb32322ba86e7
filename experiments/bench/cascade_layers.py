"""`bench cascade`, the whole cascade in one process: hot, warm and full decisions, and memory.

CPU time of one core, untrained networks of the default settings (time does not depend on
weights) whose outputs differ enough by what they see that they trade, decided by their modes:

- hot: a step of a parent order, from quotes to orders that the rules have passed and whose
  audit record is acknowledged: checks, row, five agents in one graph, `decode`, rules, `write`.
- warm: a tactical bar's close (signals, three agents, parent order) and a hot decision on it.
- full: a strategic bar's close besides, its policy and regime encoder with 1,000 masks of
  dropout, and what warm has.

Memory is flat where the resident set grows by less than a mebibyte over the hot decisions
after the first tenth.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.artefact import REGIME_MODEL_FILE
from cascade.audit import SUFFIX, AuditLog
from cascade.deadlines import LiveCaller, SystemClock
from cascade.engine import Engine, Plan
from cascade.models import LAYERS, Models, load_model
from cascade.session import PaperSession, begin_clock, driving_bars, without_collector
from configs.cascade import AuditConfig, CascadeConfig, CascadeRunConfig, DeadlineConfig
from configs.errors import SimulatorError
from configs.market import GeneratorReference
from configs.strategic import StrategicConfig
from configs.train import load_train_config
from experiments.bench.report import Figure
from market.synthetic import synthetic_bars
from policies.sequential import SequentialPolicy
from signals.execution import EXECUTION
from signals.regime import RegimeModel
from signals.regime_fit import fit_regimes
from trainers.export import export_policy

_HOT_P50, _HOT_P99, _WARM_P99, _FULL_P99 = 100.0, 250.0, 1_500.0, 6_000.0
_MICROSECONDS = 1e-3  # of a nanosecond
_FLAT_MIB = 1.0
_NETWORK = "the agents' network alone, p50 us"
_MIB = 2**20
_KEPT_SEGMENTS = 2
_FITTED_BARS = 2_000
_BACK_AND_FORTH = 1_000  # units
_WHOLE = 10_000  # steps: more than a parent has
_DECIDING = ("strategic", "tactical")
_DECIDED = ("mappo.policy.output_gain=20",)  # untrained ones hardly differ from row to row
_DROPOUT = ("mappo.policy.dropout.rate=0.1", "mappo.policy.dropout.samples=1000")


@dataclass(frozen=True)
class EngineSizes:
    """How much is measured.

    generated: bars of the built-in market, most of which warm the strategic windows up.
    hot, full: decisions that are timed, at least.
    memory_steps: hot decisions over which memory is watched.
    """

    generated: int = 6_500
    hot: int = 3_000
    full: int = 60
    memory_steps: int = 20_000
    seed: int = 0


def figures(sizes: EngineSizes | None = None) -> list[Figure]:
    """Every figure of the whole cascade."""
    sizes = sizes or EngineSizes()
    with tempfile.TemporaryDirectory() as scratch:
        session = trading_session(Path(scratch), sizes)
        with without_collector():
            hot, network, warm, full = _timed(session, sizes)
            grown = _grown(session, Path(scratch) / "log", sizes)
    return [
        _beside("hot_p50_us", np.percentile(hot, 50), np.percentile(network, 50), _HOT_P50),
        _bounded("hot_p99_us", np.percentile(hot, 99), _HOT_P99),
        Figure("warm_p50_us", float(np.percentile(warm, 50)), "us"),
        _bounded("warm_p99_us", np.percentile(warm, 99), _WARM_P99),
        Figure("full_p50_us", float(np.percentile(full, 50)), "us"),
        _bounded("full_p99_us", np.percentile(full, 99), _FULL_P99),
        Figure(
            f"memory_growth_{sizes.memory_steps}_hot_mib", grown, "MiB",
            target=_FLAT_MIB, at_most=True,
        ),
    ]  # fmt: skip


def _bounded(name: str, value: Any, most: float) -> Figure:
    return Figure(name, float(value), "us", target=most, at_most=True)


def _beside(name: str, value: Any, network: Any, most: float) -> Figure:
    """A time beside that of the network's call within it, which a busy machine slows as much."""
    ratio = float(value) / float(network)
    return Figure(
        name, float(value), "us", _NETWORK, float(network), ratio, most, at_most=True, of_value=True
    )


def untrained(folder: Path, seed: int, told: Mapping[str, Sequence[str]] | None = None) -> Models:
    """Untrained networks of all three layers, exported to `folder` and loaded.

    told: by layer, settings laid over its defaults.
    """
    for layer in LAYERS:
        dropout = _DROPOUT if layer == "strategic" else ()
        over = (*dropout, *(told or {}).get(layer, ()))
        config = load_train_config(layer, (), (), over, None)
        layout = LAYERS[layer][0]
        policy = SequentialPolicy(layout, config.mappo.policy, seed).eval()
        fields = {
            "env_id": layout.env_id,
            "market": "none",
            "config": config.model_dump(mode="json"),
            "seed": seed,
            "commit": "none",
            "versions": {},
            "metrics": {},
        }
        beside = {}
        if isinstance(config.env, StrategicConfig):
            beside = {REGIME_MODEL_FILE: _regimes(config.env).save}
        export_policy(policy, layout, folder / layer, fields, companions=beside)
    return Models({layer: load_model(layer, folder / layer) for layer in LAYERS})


def _regimes(config: StrategicConfig) -> RegimeModel:
    """The regimes of a stretch of the built-in market."""
    tick, flow = config.market.tick, config.market.flow
    bars = synthetic_bars(GeneratorReference(), _FITTED_BARS, config.bar_minutes, tick, 0, flow)
    return fit_regimes(bars, int(config.bar_minutes), config.signals)


class TimedEngine(Engine):
    """An engine that keeps the CPU time of its decisions, ns.

    Attributes:
        hot_times, warm_times, full_times, network_times: of steps, of bars, of bars that
            close a strategic one, and of the network's call within a step.
    """

    def __init__(self, *given: Any) -> None:
        self.hot_times: list[int] = []
        self.warm_times: list[int] = []
        self.full_times: list[int] = []
        self.network_times: list[int] = []
        self._closed = 0
        super().__init__(*given)
        model = self.models.active[EXECUTION.layer]
        self._alone = model.ask
        model.ask = self._ask_timed  # type: ignore[method-assign]

    def _ask_timed(self) -> None:
        begun = time.process_time_ns()
        self._alone()
        self.network_times.append(time.process_time_ns() - begun)

    def on_step(self, *given: Any) -> bool:
        begun = time.process_time_ns()
        sends = super().on_step(*given)
        self.hot_times.append(time.process_time_ns() - begun)
        return sends

    def on_bar(self, *given: Any) -> Plan:
        begun = time.process_time_ns()
        plan = super().on_bar(*given)
        taken, closed = time.process_time_ns() - begun, self.upper.longer
        (self.warm_times if closed == self._closed else self.full_times).append(taken)
        self._closed = closed
        return plan


def trading_session(folder: Path, sizes: EngineSizes) -> PaperSession:
    """A session of untrained layers, its windows warm."""
    told = CascadeConfig(
        seed=sizes.seed,
        audit=AuditConfig(segment_mib=16),
        # A machine that is busy elsewhere is no fault of the cascade's here.
        deadline=DeadlineConfig(strategic=30.0, tactical=30.0, execution=30.0),
    )
    models = untrained(folder, sizes.seed, dict.fromkeys(_DECIDING, _DECIDED))
    bars = driving_bars(models, CascadeRunConfig(generated_bars=sizes.generated))
    caller = LiveCaller(told.deadline, SystemClock())
    log = AuditLog(folder / "log", told.audit)
    engine = TimedEngine(models, told, log, caller, begin_clock(bars))
    session = PaperSession(engine, bars, sizes.seed)
    while not session.trades:
        if session.bar + 1 >= len(bars):
            raise SimulatorError(f"{len(bars)} bars passed without an order; generate more")
        session.play_bar(_WHOLE)
    return session


def _timed(session: PaperSession, sizes: EngineSizes) -> tuple[NDArray[np.float64], ...]:
    """CPU microseconds of hot decisions, the network's part of them, warm and full decisions."""
    engine = session.engine
    assert isinstance(engine, TimedEngine)
    times = (engine.hot_times, engine.network_times, engine.warm_times, engine.full_times)
    for kept in times:
        kept.clear()
    while len(engine.hot_times) < sizes.hot or len(engine.full_times) < sizes.full:
        if session.bar + 1 >= len(session.bars):
            break
        session.play_bar(_WHOLE)
    hot, network, warm, full = (np.array(kept, np.float64) * _MICROSECONDS for kept in times)
    step = np.median(hot)
    return hot, network, warm + step, full + step


def _grown(session: PaperSession, log: Path, sizes: EngineSizes) -> float:
    """MiB by which the resident set grows over hot decisions, after the first tenth of them."""
    engine, market = session.engine, session.market
    assert isinstance(engine, TimedEngine)
    first, start = None, session.plan.start
    assert engine.guard is not None
    gate, length = engine.guard.gate, session.arrival(0) - int(session.bars.start[0])
    for step in range(sizes.memory_steps):
        if market.done or step == 0:
            engine.hot_times.clear()
            engine.network_times.clear()
            # A bar a parent, to and fro, without the layers above: the rules' clock goes on.
            start, held = start + length, int(gate.account["position"][0, 0])
            gate.begin_bar(engine.guard.volume)
            plan = Plan(start, -held or _BACK_AND_FORTH, bool(held))
            market.begin(session.bar, plan.signed, plan.reduces_risk)
            engine.begin_parent(plan)
            for segment in sorted(log.glob(f"*{SUFFIX}"))[:-_KEPT_SEGMENTS]:
                segment.unlink()
        session.step()
        if step == sizes.memory_steps // 10:
            first = _resident()
    return (_resident() - (first or 0)) / _MIB


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
