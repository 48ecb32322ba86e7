"""A soak: many steps of the whole cascade on paper under faults that are drawn at random.

`python -m experiments.soak --steps N`: untrained networks, sampled so that they trade, run in
sessions; networks raise, answer NaN or late, bars come damaged, stale or again, quotes are
damaged, venues fall silent, the log's disk fills, and artefacts change and go back. What must
hold: no exception that nobody handles, no position or order beyond its limit, every order
accounted for, and every session's log gives its decisions again to the bit.
"""

from __future__ import annotations

import argparse
import errno
import gc
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cascade.audit import AuditLog, read_log
from cascade.deadlines import LiveCaller
from cascade.engine import Engine
from cascade.events import Event
from cascade.models import LAYERS, LayerModel, Models, load_model
from cascade.replay import replay
from cascade.session import PaperSession, begin_clock, driving_bars
from configs.cascade import CascadeConfig, CascadeRunConfig
from configs.errors import SimulatorError
from experiments.bench.cascade_layers import untrained
from market.state import SMART
from market.view import EMPTY_PRICE
from signals.bars.streams import Bar

_SESSION_STEPS = 50_000
_BARS = 9_000
_LATE_SECONDS = 60.0
_LONG_AGO = 3_600_000_000_000  # ns
# How often a fault begins, and how many calls, steps or bars it may last.
_PER_CALL, _PER_BAR, _PER_STEP, _PER_WRITE, _PER_CHANGE = 0.002, 0.02, 0.002, 0.0005, 0.02
_LONGEST = 12
_ENDS = ("filled", "cancelled", "rejected", "open")


class SteeredClock:
    """Simulated time: deadlines pass when a fault says so."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Faults:
    """Draws faults and counts them."""

    seed: int
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._left: Counter[str] = Counter()
        self._kind: dict[str, str] = {}

    def now(self, place: str, chance: float, *kinds: str, longest: int = _LONGEST) -> str | None:
        """The fault at a place, or None: one that goes on, or one that begins."""
        if self._left[place] > 0:
            self._left[place] -= 1
            return self._kind[place]
        if self._rng.random() >= chance:
            return None
        self._left[place] = int(self._rng.integers(0, longest))
        kind = self._kind[place] = str(self._rng.choice(kinds))
        self.counts[f"{place}: {kind}"] += 1
        return kind

    def pick(self, count: int) -> int:
        """A number below `count`."""
        return int(self._rng.integers(count))


class FaultySession(PaperSession):
    """A session whose bars and quotes come damaged now and then."""

    faults: Faults

    def bar_at(self, number: int) -> Bar:
        """See `PaperSession.bar_at`."""
        bar = super().bar_at(number)
        kind = self.faults.now("bar", _PER_BAR, "nan", "contradictory", "again")
        if kind == "nan":
            return bar._replace(close=float("nan"))
        if kind == "contradictory":
            return bar._replace(high=bar.low / 2.0)
        return super().bar_at(max(number - 1, 0)) if kind == "again" else bar

    def arrival(self, number: int) -> int:
        """See `PaperSession.arrival`."""
        stale = self.faults.now("arrival", _PER_BAR, "stale")
        return super().arrival(number) + (_LONG_AGO if stale else 0)

    def seen(self) -> tuple[Any, Any, Any, Any]:
        """See `PaperSession.seen`."""
        parents, episodes, depth, owned = super().seen()
        kind = self.faults.now("quotes", _PER_STEP, "nan", "inf", "back", "empty", "remaining")
        if kind is None:
            return parents, episodes, depth, owned
        parents, episodes, depth = parents.copy(), episodes.copy(), depth.copy()
        if kind in ("nan", "inf"):
            episodes[("last_mid", "variance_slow", "flow_fast")[self.faults.pick(3)]] = float(kind)
        elif kind == "back":
            episodes["clock"] -= _LATE_SECONDS
        elif kind == "empty":
            depth[..., 0] = EMPTY_PRICE
        else:
            parents["remaining"] = -1
        return parents, episodes, depth, owned


@dataclass
class Found:
    """What a soak came to."""

    steps: int = 0
    sessions: int = 0
    records: int = 0
    orders: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def soak(steps: int, seed: int, session_steps: int = _SESSION_STEPS) -> Found:
    """Run `steps` hot decisions under faults, in sessions."""
    found = Found()
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = Path(scratch)
        untrained(folder / "models", seed).close()
        while found.steps < steps:
            most = min(session_steps, steps - found.steps)
            before = found.steps
            with tempfile.TemporaryDirectory(dir=folder) as place:
                _session(folder / "models", Path(place) / "log", seed + found.sessions, most, found)
            gc.collect()  # a session ends in cycles, of a hundred MiB
            found.sessions += 1
            if found.steps == before:
                found.problems.append(f"session {found.sessions} decided nothing")
                break
    return found


def _session(models: Path, log: Path, seed: int, steps: int, found: Found) -> None:
    faults, clock = Faults(seed), SteeredClock()
    told = CascadeConfig(seed=seed, sample=("strategic", "tactical"))
    active = Models({layer: load_model(layer, models / layer) for layer in LAYERS})
    bars = driving_bars(active, CascadeRunConfig(generated_bars=_BARS, generated_seed=seed + 1))

    def write(file: int, content: bytes | bytearray) -> int:
        # The beginning of a log is no part of the soak.
        if found_engine and faults.now("disk", _PER_WRITE, "full"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(file, content)

    found_engine: list[Engine] = []
    sink = AuditLog(log, told.audit, write)
    engine = Engine(active, told, sink, LiveCaller(told.deadline, clock), begin_clock(bars))
    found_engine.append(engine)
    session = FaultySession(engine, bars, seed)
    session.faults = faults
    faulty: dict[str, LayerModel[Any]] = {}
    taken = 0
    while taken < steps and session.bar + 1 < len(bars):
        for layer, model in active.active.items():
            if faulty.get(layer) is not model:
                if layer in faulty:
                    vars(faulty[layer]).pop("ask")  # whole again, and no cycle that keeps it
                faulty[layer] = model
                _make_faulty(model, faults, clock)
        taken += session.play_bar(steps - taken)
        _check(session, found)
        if session.trades and faults.now("artefact", _PER_CHANGE, "changed", longest=1):
            layer = list(LAYERS)[faults.pick(len(LAYERS))]
            active.stage(layer, models / layer)
    for model in faulty.values():
        vars(model).pop("ask")
    found_engine.clear()
    engine.end()
    sink.close()
    found.steps += taken
    found.orders += session.tally["orders_sent"]
    found.faults += faults.counts
    _judge_log(log, session, found)


def _make_faulty(model: LayerModel[Any], faults: Faults, clock: SteeredClock) -> None:
    """Let a layer's network fail now and then."""
    whole, layer = model.ask, model.layer

    def ask() -> None:
        kind = faults.now(layer, _PER_CALL, "raises", "nan", "late")
        if kind == "raises":
            raise RuntimeError("injected")
        whole()
        if kind == "nan":
            raise ArithmeticError("injected: the network answered NaN")
        if kind == "late":
            clock.time += _LATE_SECONDS

    model.ask = ask  # type: ignore[method-assign]


def _check(session: PaperSession, found: Found) -> None:
    """What must hold after every bar."""
    tally, held = session.tally, session.account[0]
    for what in ("orders", "units"):
        ends = sum(tally[f"{what}_{how}"] for how in _ENDS)
        if tally[f"{what}_sent"] != ends:
            found.problems.append(f"bar {session.bar}: {what} {tally} do not add up")
    guard = session.engine.guard
    if guard is None:
        return
    most = guard.gate.limits["position_units"][0]
    if abs(int(held["position"])) > most:
        found.problems.append(f"bar {session.bar}: position {int(held['position'])} of {most:g}")
    opened = guard.gate.account["open_buys"][0, 0] + guard.gate.account["open_sells"][0, 0]
    if session.market.done and opened:
        found.problems.append(f"bar {session.bar}: the rules take {opened} units for open")


def _judge_log(log: Path, session: PaperSession, found: Found) -> None:
    """Every order in the log within its limits, and the log's decisions again."""
    most = session.engine.config.risk.limits.order_units
    for record in read_log(log):
        found.records += 1
        if record.event == Event.ORDER_SUBMITTED:
            child = record.array()["child"]
            crossing = (child["venue"] == SMART) & (child["price"] == 0)
            if (child["quantity"][~crossing] > most).any():
                found.problems.append(f"record {record.number}: an order beyond {most} units")
    replayed = replay(log)
    if replayed.difference is not None:
        found.problems.append(f"replay differs at {replayed.difference}")


def main() -> int:
    """Run a soak and print what it came to. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m experiments.soak", description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="hot decisions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--session", type=int, default=_SESSION_STEPS, help="steps of a session")
    given = parser.parse_args()
    begun, used = time.monotonic(), time.process_time()
    found = soak(given.steps, given.seed, given.session)
    print(f"{found.steps} hot decisions in {found.sessions} sessions, {found.orders} orders, ")
    print(f"{found.records} records, {time.process_time() - used:.0f} s of CPU time, ", end="")
    print(f"{time.monotonic() - begun:.0f} s")
    for name, count in sorted(found.faults.items()):
        print(f"  {count:8d}  {name}")
    for problem in found.problems:
        print(f"PROBLEM {problem}")
    print("every order accounted for, no limit breached, every replay equal"
          if not found.problems else f"{len(found.problems)} problems")  # fmt: skip
    if not found.steps:
        raise SimulatorError("no hot decision was taken")
    return int(bool(found.problems))


if __name__ == "__main__":
    sys.exit(main())
