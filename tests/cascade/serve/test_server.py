"""The service on real sockets of loopback, in processes of its own."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from cascade.replay import replay
from cascade.serve.server import ServeRequest, bind, serve
from configs.errors import ArtefactError, ConfigError
from configs.loading import load_config
from configs.serve import ServeConfig
from experiments.serve_fuzz import Wire, garbage
from experiments.serving import Serving, service
from tests.cascade.layers import layer_artefact

LAYERS = ("tactical", "execution")
TOLD = (
    "cascade.deadline.tactical=30",
    "cascade.deadline.execution=30",
    "instruments=[{name: a, generated_bars: 2000}, {name: b, generated_bars: 2000, seed: 1}]",
)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("server")
    for layer in LAYERS:
        layer_artefact(made / layer, layer, seed=1)
    return made


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Serving]:
    with service(folder, TOLD, LAYERS, workers=2) as found:
        yield found


def ask(place: tuple[str, int], path: str, fields: Any = None) -> tuple[int, Any]:
    client = http.client.HTTPConnection(*place, timeout=30)
    try:
        if fields is None:
            client.request("GET", path)
        else:
            told = {"content-type": "application/json"}
            client.request("POST", path, json.dumps(fields), told)
        answer = client.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        client.close()


def test_each_worker_works_its_own_instruments(served: Serving) -> None:
    first, second = served.places
    assert len(set(served.workers)) == 2
    for mine, other, name in ((first, second, "a"), (second, first, "b")):
        status, told = ask(mine, "/decide", {"instrument": name})
        assert status == 200 and told["instrument"] == name
        status, told = ask(other, "/decide", {"instrument": name})
        assert status == 421
        assert f"{mine[0]}:{mine[1]}" in told["error"]["expected"]


def test_loopback_alone_is_listened_on(served: Serving) -> None:
    for host, _ in served.places:
        assert host == "127.0.0.1"


def test_events_are_streamed_as_they_are_recorded(served: Serving) -> None:
    host, port = served.places[0]

    async def listen() -> list[dict[str, Any]]:
        async with connect(f"ws://{host}:{port}/events") as events:
            # What a listener says is not listened to.
            await events.send("buy")
            told = await asyncio.to_thread(ask, served.places[0], "/decide", {"instrument": "a"})
            last = told[1]["record"]
            found: list[dict[str, Any]] = []
            while not found or found[-1]["number"] < last:
                found.append(json.loads(await asyncio.wait_for(events.recv(), 10)))
            return found

    found = asyncio.run(listen())
    assert {"number", "clock", "event", "count", "instrument"} <= set(found[0])
    numbers = [each["number"] for each in found]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert {each["event"] for each in found} & {"NEW_5MIN_BAR", "EXECUTE_TRADE"}


def test_events_are_kept_from_other_sites(served: Serving) -> None:
    host, port = served.places[0]

    async def listen() -> None:
        told = {"Origin": "http://evil.example"}
        async with connect(f"ws://{host}:{port}/events", additional_headers=told):
            raise AssertionError("it was let in")

    with pytest.raises(InvalidStatus) as caught:
        asyncio.run(listen())
    assert caught.value.response.status_code == 403


def test_bytes_that_are_no_request_are_refused(served: Serving) -> None:
    client = Wire(*served.places[0])
    before = ask(served.places[0], "/health")[1]["instruments"]["a"]["record"]
    for content in (b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\r\n\r\n"):
        status, body = client.ask(content)
        assert status == 400
        assert json.loads(body)["error"]["where"] == "connection"
        client.close()
    for seed in range(40):
        status, body = client.ask(garbage(seed), 0.5)
        assert status == 0 or 400 <= status < 500, (seed, status, body)
        client.close()
    assert ask(served.places[0], "/health")[1]["instruments"]["a"]["record"] == before


def test_it_ends_in_good_order(folder: Path) -> None:
    with service(folder, TOLD[:2], LAYERS) as found:
        for _ in range(20):
            assert ask(found.places[0], "/decide", {"instrument": "paper"})[0] == 200
        taken = ask(found.places[0], "/health")[1]["instruments"]["paper"]["decisions"]
        assert sum(taken.values()) == 20
        os.kill(found.workers[0], signal.SIGTERM)
    log = max(folder.glob("log-*/paper"), key=lambda place: place.stat().st_mtime)
    replayed = replay(log)
    assert replayed.difference is None, str(replayed.difference)
    out = log.parent.with_suffix(".out").read_text()
    assert "Traceback" not in out and "error" not in out


def test_other_addresses_demand_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(ServeConfig, {"host": "0.0.0.0", "port": 0})
    request = ServeRequest(config, "sqlite:///none", str(tmp_path), log=tmp_path / "log")
    monkeypatch.delenv("GRANDMODEL_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="GRANDMODEL_TOKEN or --token-file"):
        serve(request, [].append)
    monkeypatch.setenv("GRANDMODEL_TOKEN", "short")
    with pytest.raises(ConfigError, match="at least 16"):
        serve(request, [].append)


def test_what_cannot_be_loaded_ends_it(tmp_path: Path) -> None:
    config = load_config(ServeConfig, {"port": 0})
    request = ServeRequest(config, "sqlite:///none", str(tmp_path), log=tmp_path / "log")
    with pytest.raises(ArtefactError, match="no champion of any layer"):
        serve(request, [].append)
    assert gc.isenabled()


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    told = ["serve", "--port", "0", "--models", str(tmp_path), "--set", "limits.queue=0"]
    done = subprocess.run(
        [sys.executable, "-m", "trainers.cli", *told], cwd=ROOT, timeout=120,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "limits.queue=0" in done.stderr and "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=str(port)):
            bind(load_config(ServeConfig, {"port": port}))
    with pytest.raises(ConfigError, match="cannot listen"):
        bind(load_config(ServeConfig, {"host": "192.0.2.1"}))
