"""A service in processes of its own, as `grandmodel serve` starts it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cascade.models import LAYERS
from configs.errors import TrainingError
from configs.serve import LOOPBACK

_PLACE = re.compile(r"^http://([^ ]+):(\d+) works ", re.MULTILINE)
_MOST_SECONDS = 180.0  # to be ready, kernels compiled on the way
_LOOKS = 0.01
_KIB = 1024


@dataclass(frozen=True)
class Serving:
    """A service that is ready.

    Attributes:
        places: host and port of each worker.
        workers: their process ids.
        seconds: from the start of the process to the last worker's being ready.
    """

    places: tuple[tuple[str, int], ...]
    workers: tuple[int, ...]
    seconds: float

    def cpu_seconds(self) -> float:
        """CPU that all workers have used."""
        return sum(map(process_cpu_seconds, self.workers))

    def mebibytes(self, what: str) -> float:
        """The most that any worker has, by a field of /proc/PID/smaps_rollup: Rss or Pss."""
        most = 0
        for pid in self.workers:
            told = Path(f"/proc/{pid}/smaps_rollup").read_text()
            found = re.search(rf"^{what}:\s+(\d+) kB", told, re.MULTILINE)
            most = max(most, int(found.group(1)) if found else 0)
        return most / _KIB


def process_cpu_seconds(pid: int) -> float:
    """CPU that a process has used, its threads' included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def service(
    folder: Path, told: Sequence[str] = (), layers: Sequence[str] = tuple(LAYERS), workers: int = 1
) -> Iterator[Serving]:
    """Serve the artefacts `folder`/LAYER on free ports of loopback, until the block ends.

    Args:
        told: further settings, KEY=VALUE.

    Raises:
        TrainingError: it does not get ready.
    """
    log = folder / f"log-{time.monotonic_ns()}"
    command = [
        sys.executable, "-m", "trainers.cli", "serve", "--port", "0", "--workers", str(workers),
        # Champions that were trained where this runs decide nothing here.
        "--models", str(folder / "no-champions"),
        "--log", str(log), *(f"--model={layer}={folder / layer}" for layer in layers),
        *(f"--set={setting}" for setting in told),
    ]  # fmt: skip
    out = log.with_suffix(".out")
    with out.open("w") as file:
        begun = time.monotonic()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            places = _ready(process, out, workers, begun)
            seconds = time.monotonic() - begun
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            pids = tuple(map(int, children)) if workers > 1 else (process.pid,)
            yield Serving(places, pids, seconds)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(_MOST_SECONDS)


def _ready(
    process: subprocess.Popen[bytes], out: Path, workers: int, begun: float
) -> tuple[tuple[str, int], ...]:
    """Where the workers listen, once all are ready."""
    while time.monotonic() - begun < _MOST_SECONDS and process.poll() is None:
        places = tuple((host, int(port)) for host, port in _PLACE.findall(out.read_text()))
        if len(places) == workers and all(_is_ready(*place) for place in places):
            return places
        time.sleep(_LOOKS)
    raise TrainingError(
        f"the service did not get ready on {LOOPBACK}: it said {out.read_text().strip()!r}"
    )


def _is_ready(host: str, port: int) -> bool:
    client = http.client.HTTPConnection(host, port, timeout=_MOST_SECONDS)
    try:
        client.request("GET", "/ready")
        return client.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        client.close()
