"""Stop, let go, reload and roll back over HTTP: by whoever holds the token, and on record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cascade.audit import read_log
from cascade.events import Event
from cascade.registry import mirror
from cascade.replay import replay
from cascade.serve.schema import STEERED, openapi
from cascade.serve.steering import LET_GO, PATHS, RELOAD, ROLLBACK, STOP
from tests.cascade.layers import layer_artefact
from tests.cascade.serve.conftest import NAME, Maker, Served

TOKEN = "a-token-of-some-length"
MINE = {"authorization": f"Bearer {TOKEN}"}
MARKET = "here"
Body = Callable[[httpx.AsyncClient], Awaitable[Any]]


def run(body: Body, served: Served, **given: Any) -> Any:
    async def inside() -> Any:
        async with served.client(**given) as client:
            return await body(client)

    return asyncio.run(inside())


def refused(answer: httpx.Response, status: int) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    told: dict[str, str] = answer.json()["error"]
    assert all(told[key] for key in ("what", "where", "got", "expected", "remedy"))
    return told


def events(served: Served) -> list[Event]:
    return [record.event for record in read_log(served.log)]


def position(served: Served) -> int:
    """Units held, whichever way, as the rules know it."""
    guard = served.desk.engine.guard
    assert guard is not None
    return abs(int(guard.gate.account["position"][0, 0]))


def replayed(served: Served) -> int:
    served.desk.engine.end()
    found = replay(served.log)
    assert found.difference is None, str(found.difference)
    return found.steps


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of champions."""
    for layer in ("tactical", "execution"):
        mirror(layer_artefact(tmp_path / "a" / layer, layer, 1), tmp_path / "m", layer, MARKET)
    return tmp_path / "m"


def test_nobody_steers_without_a_token(served: Served, make: Maker) -> None:
    async def body(client: httpx.AsyncClient) -> None:
        for path in PATHS:
            assert "--token-file" in refused(await client.post(path, json={}), 403)["remedy"]

    run(body, served)
    guarded = make(token=TOKEN)

    async def wrong(client: httpx.AsyncClient) -> None:
        for path in PATHS:
            refused(await client.post(path, json={}), 401)
            refused(await client.post(path, json={}, headers={"authorization": "Bearer no"}), 401)

    before = guarded.standing
    run(wrong, guarded)
    assert guarded.standing == before
    assert not guarded.desk.stopped


def test_a_stop_holds_until_it_is_let_go_and_replays(make: Maker) -> None:
    served = make(token=TOKEN)

    async def body(client: httpx.AsyncClient) -> None:
        for _ in range(40):
            assert (await client.post("/decide", json={"instrument": NAME})).is_success
        asked = {"instrument": NAME, "reason": "a test"}
        told = (await client.post(STOP, json=asked)).json()["instruments"][NAME]
        assert told["stopped"] is True
        assert told["record"] == served.desk.engine.recorded
        assert set(STEERED["properties"]["instruments"]["additionalProperties"]["required"]) <= set(
            told
        )
        assert (await client.get("/health")).json()["instruments"][NAME]["stopped"] is True
        # What was open at the stop may still fill before it is taken back; nothing else does.
        most = position(served) + served.desk.session.tally["units_open"]
        for _ in range(200):
            assert (await client.post("/decide", json={"instrument": NAME})).is_success
            assert position(served) <= most
        assert position(served) == 0
        told = (await client.post(LET_GO, json={"instrument": NAME})).json()["instruments"][NAME]
        assert told["stopped"] is False
        for _ in range(40):
            assert (await client.post("/decide", json={"instrument": NAME})).is_success

    run(body, served, headers=MINE)
    assert replayed(served) > 0
    assert {Event.EMERGENCY_STOP, Event.STOP_LIFTED} <= set(events(served))


def test_a_new_champion_is_taken_and_rolled_back(make: Maker, models: Path, tmp_path: Path) -> None:
    served = make(token=TOKEN, models=str(models))

    async def decide(client: httpx.AsyncClient) -> None:
        for _ in range(80):
            assert (await client.post("/decide", json={"instrument": NAME})).is_success

    async def body(client: httpx.AsyncClient) -> None:
        await decide(client)
        told = (await client.post(RELOAD, json={})).json()["instruments"][NAME]
        assert told["layers"] == {"tactical": "kept", "execution": "kept"}
        first = told["models"]["execution"]
        mirror(layer_artefact(tmp_path / "b", "execution", 2), models, "execution", MARKET)
        told = (await client.post(RELOAD, json={"instrument": NAME})).json()["instruments"][NAME]
        assert told["layers"] == {"tactical": "kept", "execution": "taken"}
        assert told["models"]["execution"] != first
        await decide(client)
        back = {"instrument": NAME, "layer": "execution"}
        told = (await client.post(ROLLBACK, json=back)).json()["instruments"][NAME]
        assert told["models"]["execution"] == first
        await decide(client)

    run(body, served, headers=MINE)
    assert events(served).count(Event.ARTEFACT_CHANGED) == 2
    assert replayed(served) > 0


def test_what_cannot_be_taken_changes_nothing(make: Maker, models: Path, tmp_path: Path) -> None:
    served = make(token=TOKEN, models=str(models))
    digest = served.desk.engine.models.active["execution"].digest

    async def body(client: httpx.AsyncClient) -> None:
        back = {"instrument": NAME, "layer": "execution"}
        assert "there is none" in refused(await client.post(ROLLBACK, json=back), 409)["what"]
        champion = mirror(
            layer_artefact(tmp_path / "b", "execution", 2), models, "execution", MARKET
        )
        network = champion.resolve() / "policy.onnx"
        network.write_bytes(network.read_bytes()[:-1])
        told = refused(await client.post(RELOAD, json={}), 409)
        assert "damaged" in told["what"] and NAME in told["what"]
        assert served.desk.engine.models.active["execution"].digest == digest
        assert (await client.post("/decide", json={"instrument": NAME})).is_success

    run(body, served, headers=MINE)
    replayed(served)


@pytest.mark.parametrize(
    ("path", "fields", "status", "where"),
    [
        (STOP, [], 422, "body"),
        (STOP, {"instrument": 3}, 422, "instrument"),
        (STOP, {"instrument": "papre"}, 404, "instrument"),
        (STOP, {"instrument": "other"}, 421, "instrument"),
        (STOP, {"layer": "execution"}, 422, "body"),
        (STOP, {"reason": 7}, 422, "reason"),
        (STOP, {"reason": "x" * 501}, 422, "reason"),
        (LET_GO, {"when": "now"}, 422, "body"),
        (ROLLBACK, {}, 422, "layer"),
        (ROLLBACK, {"layer": "risk"}, 422, "layer"),
        (RELOAD, {"layer": "execution"}, 422, "body"),
    ],
)
def test_a_malformed_step_does_nothing(
    make: Maker, path: str, fields: Any, status: int, where: str
) -> None:
    served = make(token=TOKEN)
    before = served.standing

    async def body(client: httpx.AsyncClient) -> None:
        assert refused(await client.post(path, json=fields), status)["where"] == where
        assert refused(await client.get(path), 405)["expected"] == "POST"

    run(body, served, headers=MINE)
    assert served.standing == before
    assert not served.desk.stopped


def test_the_description_names_every_step() -> None:
    described = openapi(token=True)
    for path in PATHS:
        told = described["paths"][path]["post"]
        name = told["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
        schema = described["components"]["schemas"][name]
        assert ("layer" in schema["properties"]) == (path == ROLLBACK)
