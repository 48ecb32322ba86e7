"""Each endpoint and each fault of the service, without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from cascade.replay import replay
from cascade.serve.access import Queue, Rates, read_token
from cascade.serve.app import Service
from cascade.serve.desk import FULL, HOT, WARM
from cascade.serve.problems import Problem
from cascade.serve.schema import DECISION, openapi
from cascade.view import ON_TICK
from configs.errors import AuditError, ConfigError
from configs.loading import load_config
from configs.serve import ServeConfig, ServeLimitsConfig
from tests.cascade.layers import CONFIGS
from tests.cascade.serve.conftest import NAME, Maker, Served

TOKEN = "a-token-of-some-length"
ASK = {"instrument": NAME}
TICK = CONFIGS["execution"].market.tick
ERROR = {"what", "where", "got", "expected", "remedy"}


def run(body: Callable[[httpx.AsyncClient], Awaitable[Any]], served: Served, **given: Any) -> Any:
    async def inside() -> Any:
        async with served.client(**given) as client:
            return await body(client)

    return asyncio.run(inside())


def refused(answer: httpx.Response, status: int) -> dict[str, str]:
    """The one clear error of an answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    told: dict[str, str] = answer.json()["error"]
    assert set(told) == ERROR
    assert all(isinstance(text, str) and text for text in told.values())
    return told


def test_decisions_come_in_order_and_are_recorded(served: Served) -> None:
    async def body(client: httpx.AsyncClient) -> list[dict[str, Any]]:
        answers, due = [], None
        for _ in range(300):
            answer = await client.post("/decide", json={**ASK, "time": due})
            assert answer.status_code == 200, answer.text
            answers.append(answer.json())
            due = answers[-1]["next"]
        return answers

    answers = run(body, served)
    kinds = [answer["kind"] for answer in answers]
    assert set(kinds) == {HOT, WARM}
    times = [answer["time"] for answer in answers]
    assert times == sorted(set(times))
    assert [answer["next"] for answer in answers[:-1]] == times[1:]
    orders = [order for answer in answers for order in answer["orders"]]
    assert orders
    assert len({order["id"] for order in orders}) == len(orders)
    for answer in answers:
        assert set(answer) == set(DECISION["required"])
        for order in answer["orders"]:
            assert order["side"] == ("BUY" if answer["plan"] > 0 else "SELL")
            assert order["quantity"] > 0
            assert order["limit"] > 0
            ticks = order["limit"] / TICK
            assert abs(ticks - round(ticks)) < ON_TICK
    served.desk.engine.end()
    found = replay(served.log)
    assert found.difference is None, str(found.difference)
    assert found.steps == sum(answer["step"] is not None for answer in answers)


def test_a_moment_is_decided_once(served: Served) -> None:
    async def body(client: httpx.AsyncClient) -> None:
        due = served.desk.due
        first = await client.post("/decide", json={**ASK, "time": due})
        before = served.standing
        again = await client.post("/decide", json={**ASK, "time": due})
        assert again.content == first.content
        for time, word in ((0, "gone by"), (due * 2, "not come yet")):
            told = refused(await client.post("/decide", json={**ASK, "time": time}), 409)
            assert word in told["what"]
            assert str(first.json()["next"]) in told["expected"]
        assert served.standing == before

    run(body, served)


@pytest.mark.parametrize(
    ("content", "status", "where"),
    [
        (b"", 422, "body"),
        (b"{", 422, "body"),
        (b"[]", 422, "body"),
        (b"\xff\xfe", 422, "body"),
        (b"[" * 9_000, 422, "body"),
        (b'{"instrument": "paper", "instrument": "paper"}', 422, "body"),
        (b'{"instrument": "paper", "price": 3}', 422, "body"),
        (b"{}", 422, "instrument"),
        (b'{"instrument": 3}', 422, "instrument"),
        (b'{"instrument": "papre"}', 404, "instrument"),
        (b'{"instrument": "other"}', 421, "instrument"),
        (b'{"instrument": "paper", "time": -1}', 422, "time"),
        (b'{"instrument": "paper", "time": true}', 422, "time"),
        (b'{"instrument": "paper", "time": 1.5}', 422, "time"),
        (b'{"instrument": "paper", "time": NaN}', 422, "time"),
        (b'{"instrument": "paper", "time": "now"}', 422, "time"),
        (b'{"instrument": "paper", "time": 99999999999999999999}', 422, "time"),
        (b'{"instrument": "' + b"x" * 20_000 + b'"}', 413, "body"),
    ],
)
def test_what_is_malformed_gets_one_error_and_trades_nothing(
    served: Served, content: bytes, status: int, where: str
) -> None:
    before = served.standing

    async def body(client: httpx.AsyncClient) -> httpx.Response:
        headers = {"content-type": "application/json"}
        return await client.post("/decide", content=content, headers=headers)

    assert refused(run(body, served), status)["where"] == where
    assert served.standing == before


def test_methods_paths_and_types_are_named(served: Served) -> None:
    async def body(client: httpx.AsyncClient) -> None:
        assert refused(await client.get("/decide"), 405)["expected"] == "POST"
        assert refused(await client.post("/health"), 405)["expected"] == "GET"
        assert "/decide" in refused(await client.get("/nowhere"), 404)["expected"]
        plain = await client.post("/decide", content=b"{}", headers={"content-type": "text/plain"})
        assert refused(plain, 415)["where"] == "content-type"

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield b" " * 4_000

        headers = {"content-type": "application/json"}
        refused(await client.post("/decide", content=chunks(), headers=headers), 413)

    run(body, served)


def test_health_metrics_and_the_description(served: Served) -> None:
    async def body(client: httpx.AsyncClient) -> None:
        await client.post("/decide", json=ASK)
        health = (await client.get("/health")).json()
        assert health["ready"] is True
        told = health["instruments"][NAME]
        assert sum(told["decisions"].values()) == 1
        assert set(told["models"]) == {"tactical", "execution"}
        text = (await client.get("/metrics")).text
        assert 'grandmodel_decisions_total{instrument="paper",kind="warm"} 1.0' in text
        assert 'grandmodel_answers_total{status="200"} 2.0' in text
        described = (await client.get("/openapi.json")).json()
        assert described == openapi(token=False)
        assert set(described["paths"]) >= {"/decide", "/health", "/ready", "/metrics"}
        page = await client.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        assert "http://" not in page.text and "https://" not in page.text

    run(body, served)


def test_it_is_not_ready_while_loading_degraded_or_ended(served: Served) -> None:
    fresh = Service([NAME], ServeLimitsConfig())
    loading = Served(fresh, served.desk, served.log)

    async def before(client: httpx.AsyncClient) -> None:
        answer = await client.get("/ready")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == {NAME: ["its artefacts are being loaded"]}
        late = await client.post("/decide", json=ASK)
        refused(late, 503)
        assert int(late.headers["retry-after"]) >= 1

    run(before, loading)

    async def body(client: httpx.AsyncClient) -> None:
        assert (await client.get("/ready")).status_code == 200
        served.desk.engine.health.degrade("tactical", "a test says so", 0)
        answer = await client.get("/ready")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == {NAME: ["degraded: tactical"]}
        served.desk.engine.health.recover("tactical", 0)
        assert (await client.get("/ready")).status_code == 200
        served.service.drain()
        assert (await client.get("/ready")).status_code == 503
        refused(await client.post("/decide", json=ASK), 503)

    run(body, served)


def test_bars_that_end_are_told(served: Served) -> None:
    session = served.desk.session
    few = {
        name: getattr(session.bars, name)[: session.bar + 4]
        for name in ("start", "open", "high", "low", "close", "volume")
    }
    session.bars = replace(session.bars, **few)
    while not served.desk.ended:
        served.desk.decide(None)
    assert session.bar + 1 == len(session.bars)

    async def body(client: httpx.AsyncClient) -> None:
        refused(await client.post("/decide", json=ASK), 410)
        assert (await client.get("/ready")).json()["reasons"] == {NAME: ["its bars have ended"]}

    run(body, served)


def test_an_instrument_that_fails_is_taken_out_of_service(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise AuditError("more waits than may")

    monkeypatch.setattr(served.desk.session, "decide_bar", broken)
    monkeypatch.setattr(served.desk.session, "step", broken)

    async def body(client: httpx.AsyncClient) -> None:
        for _ in range(2):
            told = refused(await client.post("/decide", json=ASK), 503)
            assert "more waits than may" in told["what"]
        assert (await client.get("/ready")).status_code == 503

    run(body, served)


def test_a_token_is_demanded(make: Maker) -> None:
    served = make(token=TOKEN)

    async def body(client: httpx.AsyncClient) -> None:
        before = served.standing
        for given in ({}, {"authorization": f"Bearer {TOKEN}x"}, {"authorization": TOKEN}):
            for path in ("/health", "/ready", "/metrics", "/openapi.json", "/docs"):
                refused(await client.get(path, headers=given), 401)
            answer = await client.post("/decide", json=ASK, headers=given)
            refused(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
        assert served.standing == before
        mine = {"authorization": f"Bearer {TOKEN}"}
        assert (await client.post("/decide", json=ASK, headers=mine)).status_code == 200
        described = (await client.get("/openapi.json", headers=mine)).json()
        assert described["security"] == [{"token": []}]

    run(body, served)


def test_pages_of_other_sites_are_refused(served: Served) -> None:
    async def body(client: httpx.AsyncClient) -> None:
        for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
            refused(await client.get("/health", headers=headers), 403)
        assert (await client.get("/health", headers={"host": "localhost:8000"})).is_success

    run(body, served)


def test_tokens_are_read_and_checked(tmp_path: Any) -> None:
    assert read_token("127.0.0.1", None, {}) == ""
    assert read_token("::1", None, {}) == ""
    assert read_token("0.0.0.0", None, {"GRANDMODEL_TOKEN": TOKEN}) == TOKEN
    for host in ("0.0.0.0", "192.0.2.1", "trading.example", "::"):
        with pytest.raises(ConfigError, match="--token-file"):
            read_token(host, None, {})
    file = tmp_path / "token"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token("127.0.0.1", file, {})
    file.write_text("short\n")
    with pytest.raises(ConfigError, match="at least 16"):
        read_token("127.0.0.1", file, {})
    file.write_text(f"{TOKEN}\nanother line\n")
    assert read_token("127.0.0.1", file, {"GRANDMODEL_TOKEN": "overruled"}) == TOKEN


def test_overload_is_shed_and_passes(make: Maker) -> None:
    served = make(queue=4)

    async def body(client: httpx.AsyncClient) -> None:
        asked = [client.post("/decide", json=ASK) for _ in range(12)]
        answers = await asyncio.gather(*asked)
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200] * 4 + [503] * 8
        for answer in answers:
            if answer.status_code == 503:
                refused(answer, 503)
                assert int(answer.headers["retry-after"]) >= 1
        assert served.service.queue.waiting == 0
        # Each decision that was answered was taken, and no other.
        assert sum(served.desk.decisions.values()) == 4
        assert (await client.post("/decide", json=ASK)).status_code == 200

    run(body, served)


def test_a_client_has_a_rate_of_its_own() -> None:
    now = [0.0]
    rates = Rates(ServeLimitsConfig(rate=10.0, burst=2), lambda: now[0])
    rates.take("a")
    rates.take("a")
    with pytest.raises(Problem) as caught:
        rates.take("a")
    assert caught.value.status == 429
    assert (b"retry-after", b"1") in caught.value.headers
    rates.take("b")
    now[0] = 0.11
    rates.take("a")
    with pytest.raises(Problem):
        rates.take("a")
    for number in range(5_000):
        rates.take(str(number))
    assert len(rates._kept) <= 1_024


def test_a_queue_counts_who_waits() -> None:
    queue = Queue(1)
    queue.enter()
    with pytest.raises(Problem):
        queue.enter()
    queue.leave()
    queue.enter()
    assert (queue.waiting, queue.shed) == (1, 1)


def test_a_rate_limit_is_answered(make: Maker) -> None:
    served = make(rate=0.001, burst=3)

    async def body(client: httpx.AsyncClient) -> list[int]:
        return [(await client.get("/health")).status_code for _ in range(5)]

    assert run(body, served) == [200] * 3 + [429] * 2


def test_a_body_that_does_not_come_is_given_up(make: Maker) -> None:
    served = make(body_seconds=0.05)

    async def ask() -> list[Any]:
        sent: list[Any] = []
        scope = {
            "type": "http", "method": "POST", "path": "/decide", "client": ("127.0.0.1", 1),
            "headers": [(b"content-type", b"application/json"), (b"host", b"127.0.0.1")],
        }  # fmt: skip

        async def receive() -> Any:
            await asyncio.sleep(30)

        async def send(message: Any) -> None:
            sent.append(message)

        await served.service(scope, receive, send)
        return sent

    start, content = asyncio.run(ask())
    assert start["status"] == 408
    assert set(json.loads(content["body"])["error"]) == ERROR


def test_configurations_add_up() -> None:
    for wrong, words in (
        ({"workers": 2}, "at most as many workers"),
        ({"instruments": []}, "at least one"),
        ({"instruments": [{"name": "a"}, {"name": "a"}]}, "named twice"),
        ({"instruments": [{"name": "../a"}]}, "text that matches"),
        ({"port": 65_535, "workers": 2, "instruments": [{"name": "a"}, {"name": "b"}]}, "beyond"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_config(ServeConfig, wrong)
    assert load_config(ServeConfig, {}).host == "127.0.0.1"
    assert FULL not in (HOT, WARM)
