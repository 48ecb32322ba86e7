"""A small Ray for the tests of a module: it takes seconds to start, and a training uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ray

from trainers.session import start_ray

_OBJECT_STORE_MB = 128


@contextmanager
def local_ray(num_cpus: int) -> Iterator[None]:
    """Ray on this machine, for as long as it is needed."""
    start_ray(num_cpus, _OBJECT_STORE_MB)
    try:
        yield
    finally:
        ray.shutdown()
