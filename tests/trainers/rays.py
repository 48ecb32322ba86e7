"""A small Ray for the tests of a module: it takes seconds to start, and a training uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ray

_OBJECT_STORE_BYTES = 100 << 20


@contextmanager
def local_ray(num_cpus: int) -> Iterator[None]:
    """Ray on this machine, for as long as it is needed."""
    ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        yield
    finally:
        ray.shutdown()
