"""Small sweeps over pure functions of the parameters, as a process of its own, too."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from configs.loading import load_config
from configs.sweep import SweepConfig
from trainers.sweeps.study import open_storage
from trainers.sweeps.work import Measure, Task, Worker

RATE = "mappo.learning_rate"
SETTINGS = {"sweep": {"layer": "execution"}, "training": {"seed": 0}}


def sweep_config(**more: Any) -> SweepConfig:
    """A sweep of one parameter, without pruning unless told."""
    told: dict[str, Any] = {
        "layer": "execution",
        "space": {RATE: {"kind": "float", "low": 1e-4, "high": 1e-1, "log": True}},
        "goals": [{"metric": "shortfall_bp", "direction": "minimize"}],
        "env_steps": 900,
        "trials": 8,
        "startup_trials": 4,
        "pruning": {"enabled": False},
        **more,
    }
    return load_config(SweepConfig, told)


def bowl(task: Task) -> Sequence[float | None]:
    """Lowest at 1e-2."""
    return [(math.log10(task.params[RATE]) + 2.0) ** 2]


def worker(place: str | BaseStorage, sweep: SweepConfig, measure: Measure = bowl) -> Worker:
    """A worker on a study in a storage, or in the one at an address."""
    storage = open_storage(place, sweep.storage) if isinstance(place, str) else place
    return Worker(storage, "study", sweep, SETTINGS, measure)


def main() -> None:
    """Work on a study, each trial taking a while; argument: JSON of url, sweep, seconds, log."""
    told = json.loads(sys.argv[1])
    log = Path(told["log"])

    def measure(task: Task) -> Sequence[float | None]:
        with log.open("a") as file:
            file.write(f"{task.number}\n")
        time.sleep(told["seconds"])
        return bowl(task)

    found = worker(told["url"], load_config(SweepConfig, told["sweep"]), measure)
    found.begin()
    found.run()


if __name__ == "__main__":
    main()
