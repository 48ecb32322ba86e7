"""`bench serve`, the rows of Ray Serve: hot decisions a second through its proxy, and HAProxy.

The same artefacts, load and measure as the ASGI app's rows: decisions a CPU second of the client
and of every process that Ray has started, times two cores. HAProxy shows its statistics on all
interfaces, so that its row is measured inside a network namespace of its own, client included;
where no namespace may be made, or Ray Serve is not installed, the row is left out, with the
reason said.

`python -m experiments.bench.serve_ray FOLDER MODE SECONDS CONNECTIONS` measures one of them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from configs.errors import ConfigError, TrainingError
from configs.serve import TOKEN_VARIABLE
from experiments.bench.report import Figure
from experiments.serving import process_cpu_seconds
from trainers.ray_serving import check_needs

PROXY, HAPROXY = "proxy", "haproxy"
_NAMES = {PROXY: "ray_hot_per_s", HAPROXY: "ray_haproxy_hot_per_s"}
_HAPROXY_TARGET = 2_500.0
_CORES = 2
_TOKEN = "of-this-benchmark-alone"
_PLACE = re.compile(r"^(http://[^ ]+) works (\S+)$", re.MULTILINE)
_SECONDS = 300.0  # to be ready, Ray started on the way
_ENTER = ("unshare", "--user", "--map-root-user", "--net")
_UP = ("sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def ray_figures(folder: Path, seconds: float, connections: int) -> list[Figure]:
    """The rows that can be measured here; why others cannot is said on standard error."""
    found = []
    for mode, name in _NAMES.items():
        reason = missing(mode)
        if reason is not None:
            print(f"{name}: left out: {reason}", file=sys.stderr)
            continue
        command = [
            *((*_ENTER, *_UP) if mode == HAPROXY else ()), sys.executable, "-m", __name__,
            str(folder), mode, str(seconds), str(connections),
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seen = json.loads(done.stdout.splitlines()[-1])
        target = _HAPROXY_TARGET if mode == HAPROXY else None
        found.append(Figure(name, seen["rate"], "1/s", target=target))
        found.append(Figure(f"{name}_wall", seen["wall"], "1/s"))
    return found


def missing(mode: str) -> str | None:
    """Why a row cannot be measured here; None where it can."""
    try:
        check_needs(mode == HAPROXY)
    except ConfigError as error:
        return str(error)
    if mode != HAPROXY:
        return None
    if not (shutil.which("unshare") and shutil.which("ip")):
        return "a network namespace needs `unshare` and `ip`, which are not here"
    tried = subprocess.run([*_ENTER, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"no network namespace may be made here ({tried.stderr.strip()})"
    return None


def measured(folder: Path, mode: str, seconds: float, connections: int) -> dict[str, float]:
    """Hot decisions a CPU second times two cores, and by the wall clock."""
    with _on_ray(folder, mode) as (pid, targets):
        _load(targets, 1.0, connections)
        before = tree_cpu_seconds(pid)
        seen = _load(targets, seconds, connections)
        used = tree_cpu_seconds(pid) - before + seen["cpu_seconds"]
    hot = seen["kinds"].get("hot", 0)
    return {"rate": _CORES * hot / used, "wall": hot / seen["seconds"]}


def _load(targets: Sequence[Sequence[Any]], seconds: float, connections: int) -> dict[str, Any]:
    plan = {"targets": targets, "connections": connections, "seconds": seconds, "rate": 0.0}
    done = subprocess.run(
        [sys.executable, "-m", "experiments.bench.serve_load"], input=json.dumps(plan),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@contextmanager
def _on_ray(folder: Path, mode: str) -> Iterator[tuple[int, list[list[Any]]]]:
    """Process id of a service on Ray, and its instruments as `serve_load` asks them."""
    names = "{name: a, generated_bars: 20000}, {name: b, generated_bars: 20000, seed: 1}"
    patient = "cascade.deadline={strategic: 30, tactical: 30, execution: 30}"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        command = [
            sys.executable, "-m", "trainers.cli", "serve", "--ray", "--port", "0",
            *(("--haproxy",) if mode == HAPROXY else ()), "--log", f"{scratch}/log",
            "--models", scratch,
            *(f"--model={layer}={folder / layer}" for layer in ("tactical", "execution")),
            f"--set=instruments=[{names}]", "--set=cascade.sample=[tactical]", f"--set={patient}",
            "--set=limits.rate=1000000.0", "--set=limits.burst=1000000",
        ]  # fmt: skip
        environment = {**os.environ, TOKEN_VARIABLE: _TOKEN}
        with out.open("w") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment
            )
        try:
            yield process.pid, _targets(process, out)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(_SECONDS)


def _targets(process: subprocess.Popen[bytes], out: Path) -> list[list[Any]]:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until and process.poll() is None:
        found = _PLACE.findall(out.read_text())
        if len(found) == _CORES:
            parts = [(urlsplit(place), name) for place, name in found]
            return [[at.hostname, at.port, name, at.path, _TOKEN] for at, name in parts]
        time.sleep(0.1)
    raise TrainingError(f"the service on Ray did not get ready: it said {out.read_text()!r}")


def tree_cpu_seconds(pid: int) -> float:
    """CPU that a process and all that it has started have used so far."""
    total = process_cpu_seconds(pid)
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # a thread that has ended meanwhile
            continue
        total += sum(map(tree_cpu_seconds, map(int, children)))
    return total


if __name__ == "__main__":
    print(
        json.dumps(measured(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
    )
