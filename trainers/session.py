"""What a training holds while it runs: Ray, torch's threads, and a deferred Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator

import ray
import structlog
import torch

from configs.errors import TrainingError
from configs.mappo import MappoConfig
from configs.serve import LOOPBACK

_MEGABYTE = 1 << 20
_CLIENT = "ray://"
_KNOCK_S = 5.0
_STARTS = 3
_TOO_SLOW = "timed out during startup"  # Ray's word, after thirty seconds; it raises it bare

log = structlog.get_logger(__name__)


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """`count` threads of torch in this process, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def knock(address: str) -> None:
    """Connect to "HOST:PORT" or "ray://HOST:PORT" and hang up: Ray itself would try for minutes.

    Raises:
        OSError: nothing answers there.
    """
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def start_ray(num_cpus: int, object_store_mb: int, loopback: bool = False) -> None:
    """Ray on this machine alone, never a cluster that somebody else has started here.

    A machine that is so busy that Ray is not up within its own limit gets further tries.

    Args:
        loopback: have Ray's own processes, too, listen where this machine alone reaches them.

    Raises:
        TrainingError: it did not come up in any of them.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    where = {"_node_ip_address": LOOPBACK} if loopback else {}
    for attempt in range(1, _STARTS + 1):
        try:
            ray.init(
                address="local",
                num_cpus=num_cpus,
                object_store_memory=object_store_mb * _MEGABYTE,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **where,
            )
        except Exception as error:
            ray.shutdown()
            if _TOO_SLOW not in str(error):
                raise
            if attempt == _STARTS:
                raise TrainingError(
                    f"Ray did not start on this machine in {_STARTS} tries ({error}): free some of "
                    "its CPU, or join a cluster that is up by mappo.ray_address"
                ) from error
            log.warning("Ray did not start in time and is started again", attempt=attempt)
        else:
            return


@contextlib.contextmanager
def ray_session(config: MappoConfig) -> Iterator[None]:
    """Ray for the length of a run: on this machine, or a cluster's; one that runs is used.

    Raises:
        TrainingError: the cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    # Ray's own note about devices hidden from workers without any; it has no meaning here.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = config.ray_address or os.environ.get("RAY_ADDRESS", "")
    if address:
        _join(address)
    else:
        start_ray(max(1, config.runners + config.learners), config.object_store_mb)
    try:
        yield
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except OSError as error:  # ConnectionError is one
        raise TrainingError(
            f"Ray at '{address}' cannot be reached ({error}): start it there, give another "
            "mappo.ray_address, or leave it out to run on this machine alone"
        ) from error
