"""What the log before leaves to a service that is started anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cascade.audit import AuditLog
from cascade.events import Event
from cascade.replay import replay
from cascade.serve.former import begin_stopped, standing_stop
from tests.cascade.serve.conftest import NAME, Maker, Served

BEGUN, STOP, LIFT, END = (
    Event.SESSION_BEGUN,
    Event.EMERGENCY_STOP,
    Event.STOP_LIFTED,
    Event.SESSION_ENDED,
)


def write(logs: Path, when: str, *events: Event, by: str = "operator") -> None:
    log = AuditLog(logs / when / NAME)
    for event in events:
        log.tell(event, 0, **({"by": by} if event == STOP else {}))
    log.close()


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ((BEGUN, END), ""),
        ((BEGUN,), "has no end"),
        ((), "has no end"),
        ((BEGUN, STOP), "emergency stop held"),
        ((BEGUN, STOP, END), "emergency stop held"),
        ((BEGUN, STOP, LIFT, END), ""),
        ((BEGUN, STOP, LIFT, STOP, END), "emergency stop held"),
    ],
)
def test_the_last_log_says_whether_a_stop_stands(
    tmp_path: Path, events: tuple[Event, ...], told: str
) -> None:
    assert standing_stop(tmp_path / "none", NAME) == ""
    write(tmp_path, "20260101-000000-9", BEGUN, STOP)
    write(tmp_path, "20260102-000000-1", *events)
    found = standing_stop(tmp_path, NAME)
    assert told in found and bool(told) == bool(found)
    assert standing_stop(tmp_path, "other") == ""


def test_a_networks_stop_ends_its_parent_order_alone(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000-1", BEGUN, STOP, END, by="execution")
    assert standing_stop(tmp_path, NAME) == ""
    write(tmp_path, "20260102-000000-1", BEGUN, STOP, END, by="risk")
    assert "emergency stop held" in standing_stop(tmp_path, NAME)


def test_a_log_that_cannot_be_read_counts_as_a_stop(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000-1", BEGUN, END)
    (segment,) = tmp_path.glob("*/*/*.audit")
    segment.write_bytes(b"nothing of a log")
    assert "cannot be read" in standing_stop(tmp_path, NAME)


def test_it_begins_stopped_says_so_and_can_be_let_go_of(make: Maker) -> None:
    token = "a-token-of-some-length"
    served = make(token=token)
    begin_stopped(served.desk, "the log before has no end")
    assert served.desk.stopped
    assert any("the log before has no end" in alarm for alarm in served.desk.engine.alarms)

    async def let_go(served: Served) -> bool:
        given = {"headers": {"authorization": f"Bearer {token}"}}
        async with served.client(**given) as client:
            for _ in range(30):
                answer = (await client.post("/decide", json={"instrument": NAME})).json()
                assert not answer["orders"]  # flat, so that nothing is toward flat
            answer = (await client.post("/let-go", json={"reason": "it is understood"})).json()
            return bool(answer["instruments"][NAME]["stopped"])

    assert asyncio.run(let_go(served)) is False
    served.desk.engine.end()
    found = replay(served.log)
    assert found.difference is None, str(found.difference)
