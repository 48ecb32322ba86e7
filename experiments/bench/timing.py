"""CPU time of a piece of work."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median


def cpu_seconds(work: Callable[[], object], prepare: Callable[[], object] | None = None) -> float:
    """CPU seconds of one call of `work`, after `prepare`, without garbage collections."""
    if prepare is not None:
        prepare()
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.process_time()
        work()
        return time.process_time() - start
    finally:
        if collecting:
            gc.enable()


def median_cpu_seconds(
    work: Callable[[], object], repeats: int, prepare: Callable[[], object] | None = None
) -> float:
    """The median over `repeats`, after one run that is not counted (compiling, page faults)."""
    cpu_seconds(work, prepare)
    return median(cpu_seconds(work, prepare) for _ in range(repeats))
