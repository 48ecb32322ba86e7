"""`bench serve`: decisions over HTTP on loopback, from a client in a process of its own.

Untrained networks of the default settings (time does not depend on weights), sampled above
execution so that they trade; a worker an instrument, two of them. Every request is decided by
the engine, judged, recorded, and worked in the simulated books, whose time is part of it.

- hot: requests of parent orders that are worked, those at bars' closes between them included
  (one in 75) but not counted.
- warm: every request is a bar's close: the tactical layer, and the first step of what it orders.
  The parents have a single step, so that each request is one. Strategic bars, one in six, are
  left to `bench cascade`.
- rates: decisions a CPU second of client and service together, times two cores: what two cores
  carry that nobody else uses. Those by the wall clock, which a busy machine lowers, stand beside.
- reference: a constant answer by starlette on uvicorn, one process, same client, same measure.
- overload: twice the rate that the warm service carries by the wall clock, at an open loop with
  more connections than its queue takes; errors are answers other than 200, 429 and 503, broken
  connections and missing answers, and refusals once it is over.
- ray: see `experiments.bench.serve_ray`.
- start: from the process's begin to /ready of all three layers, their windows whole, kernels
  cached; memory of a worker then.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.bench.cascade_layers import untrained
from experiments.bench.report import Figure, speed
from experiments.bench.serve_ray import ray_figures
from experiments.serving import Serving, process_cpu_seconds, service

_HELLO = "starlette on uvicorn, a constant answer, per s"
_HOT, _WARM = "hot", "warm"
_CORES = 2
_HOT_TARGET, _WARM_TARGET = 5_000.0, 800.0
_START_SECONDS, _MEBIBYTES = 2.0, 220.0
_OVERLOAD = 2.0
_LOWER = ("tactical", "execution")
_SHED = {200, 429, 503}
_ONE_STEP = {"execution": ("env.parent.horizon_steps=1",)}
_PATIENT = "cascade.deadline={strategic: 30, tactical: 30, execution: 30}"


@dataclass(frozen=True)
class ServeSizes:
    """How much is measured.

    seconds: of each load. connections: to each worker; in overload, beyond its queue.
    queue: of the service, in overload. bars: of each instrument.
    after: requests one by one after the overload. starts: of which the fastest counts.
    """

    seconds: float = 4.0
    connections: int = 8
    crowd: int = 64
    queue: int = 16
    bars: int = 20_000
    start_bars: int = 8_000
    after: int = 50
    starts: int = 3
    workers: int = 2
    seed: int = 0


def figures(sizes: ServeSizes | None = None) -> list[Figure]:
    """Every figure of the benchmark."""
    sizes = sizes or ServeSizes()
    with tempfile.TemporaryDirectory() as scratch:
        plain, single = Path(scratch) / "plain", Path(scratch) / "single"
        untrained(plain, sizes.seed)
        untrained(single, sizes.seed, _ONE_STEP)
        with _hello() as (pid, port):
            cpu = process_cpu_seconds(pid)
            hello = _load([("127.0.0.1", port, "none")], sizes, sizes.connections)
            hello["server_cpu"] = process_cpu_seconds(pid) - cpu
        reference = _rate(hello, _HOT)
        found = _loaded(plain, _HOT, _HOT_TARGET, reference, sizes)
        found += _loaded(single, _WARM, _WARM_TARGET, reference, sizes)
        found += [_overloaded(single, sizes), *_started(plain, sizes)]
        return found + ray_figures(plain, sizes.seconds, sizes.connections)


def _settings(sizes: ServeSizes, *more: str) -> list[str]:
    instruments = ", ".join(
        f"{{name: i{number}, generated_bars: {sizes.bars}, seed: {number}}}"
        for number in range(sizes.workers)
    )
    return [
        "cascade.sample=[tactical]", "limits.rate=1000000.0", "limits.burst=1000000", _PATIENT,
        f"instruments=[{instruments}]", *more,
    ]  # fmt: skip


def _targets(served: Serving) -> list[tuple[str, int, str]]:
    return [(host, port, f"i{number}") for number, (host, port) in enumerate(served.places)]


def _load(
    targets: Sequence[tuple[str, int, str]], sizes: ServeSizes, connections: int,
    rate: float = 0.0, seconds: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What a client in a process of its own has seen."""
    plan = {
        "targets": list(targets),
        "connections": connections,
        "seconds": seconds or sizes.seconds,
        "rate": rate,
    }
    done = subprocess.run(
        [sys.executable, "-m", "experiments.bench.serve_load"], input=json.dumps(plan),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def _rate(seen: Mapping[str, Any], kind: str) -> float:
    """Decisions of a kind a second, of two cores that nobody else uses."""
    return float(_CORES * seen["kinds"].get(kind, 0) / (seen["server_cpu"] + seen["cpu_seconds"]))


def _loaded(
    folder: Path, kind: str, target: float, reference: float, sizes: ServeSizes
) -> list[Figure]:
    """The rate of a kind of decision, and what the wall clock says."""
    with service(folder, _settings(sizes), _LOWER, sizes.workers) as served:
        _load(_targets(served), sizes, sizes.connections, seconds=1.0)
        cpu = served.cpu_seconds()
        seen = _load(_targets(served), sizes, sizes.connections)
        seen["server_cpu"] = served.cpu_seconds() - cpu
    name, count = f"http_{kind}", seen["kinds"].get(kind, 0)
    rate = speed(f"{name}_per_s", _rate(seen, kind), "1/s", _HELLO, reference)
    return [
        replace(rate, target=target, of_value=True),
        Figure(f"{name}_wall_per_s", count / seen["seconds"], "1/s"),
        Figure(f"{name}_latency_p50_us", seen["latency_us"][0], "us"),
        Figure(f"{name}_latency_p99_us", seen["latency_us"][1], "us"),
    ]


def _overloaded(folder: Path, sizes: ServeSizes) -> Figure:
    """Errors at twice the rate that it carries, and after."""
    told = _settings(sizes, f"limits.queue={sizes.queue}")
    with service(folder, told, _LOWER, sizes.workers) as served:
        targets = _targets(served)
        _load(targets, sizes, sizes.connections, seconds=1.0)
        seen = _load(targets, sizes, sizes.connections, seconds=sizes.seconds / 2)
        carried = seen["kinds"].get(_WARM, 0) / seen["seconds"]
        crowded = _load(targets, sizes, sizes.crowd, rate=_OVERLOAD * carried)
        statuses = {int(status): count for status, count in crowded["statuses"].items()}
        wrong = sum(count for status, count in statuses.items() if status not in _SHED)
        wrong += crowded["unanswered"]
        rate = max(1.0, carried / _CORES / 2)
        after = _load(targets, sizes, 1, rate=rate, seconds=sizes.after / rate)
        wrong += sum(count for status, count in after["statuses"].items() if status != "200")
        wrong += after["unanswered"]
    shed = sum(count for status, count in statuses.items() if status in _SHED - {200})
    return Figure(
        "errors_at_2x_overload", wrong, "errors", f"of {crowded['asked']} asked, turned away", shed,
        target=0.0, at_most=True,
    )  # fmt: skip


def _started(folder: Path, sizes: ServeSizes) -> list[Figure]:
    """Seconds to be ready, and MiB of a worker, of all three layers."""
    seconds, resident, own = [], 0.0, 0.0
    told = (_PATIENT, f"instruments=[{{name: i0, generated_bars: {sizes.start_bars}}}]")
    for _ in range(sizes.starts):
        with service(folder, told) as served:
            seconds.append(served.seconds)
            resident, own = served.mebibytes("Rss"), served.mebibytes("Pss")
    return [
        Figure("start_to_ready_s", min(seconds), "s", target=_START_SECONDS, at_most=True),
        Figure("resident_mib_per_worker", resident, "MiB", target=_MEBIBYTES, at_most=True),
        Figure("proportional_mib_per_worker", own, "MiB"),
    ]


@contextmanager
def _hello() -> Iterator[tuple[int, int]]:
    """Process id and port of the reference."""
    command = [sys.executable, "-m", "experiments.bench.serve_hello"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.terminate()
