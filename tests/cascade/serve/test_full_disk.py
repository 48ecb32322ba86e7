"""A service whose audit log cannot be written: moments go by untraded, and it says so."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from typing import Any

import httpx
import pytest

from cascade.replay import replay
from cascade.serve.desk import HOT, Desk
from tests.cascade.serve.conftest import NAME, Served


def ask(served: Served, *moments: int) -> list[httpx.Response]:
    async def inside() -> list[httpx.Response]:
        async with served.client() as client:
            asked = [{"instrument": NAME, "time": moment} for moment in moments]
            return [await client.post("/decide", json=each) for each in asked]

    return asyncio.run(inside())


def until(desk: Desk, hot: bool) -> None:
    """Decide until the moment that is due is a further step, or a bar's close."""
    while (json.loads(desk.decide(None))["next"] % BAR_NS != 0) is not hot:
        pass


def full(file: int, content: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


BAR_NS = 5 * 60 * 1_000_000_000


@pytest.mark.parametrize("hot", [True, False])
def test_a_moment_that_cannot_be_recorded_goes_by_untraded(
    served: Served, monkeypatch: pytest.MonkeyPatch, hot: bool
) -> None:
    desk = served.desk
    until(desk, hot)
    moment, sent = desk.due, desk.session.tally["orders_sent"]
    decided, recorded = dict(desk.decisions), desk.engine.recorded
    with monkeypatch.context() as patched:
        patched.setattr(desk.engine.sink, "_write", full)
        for answer in ask(served, moment, moment):  # the second as a client that missed the first
            assert answer.status_code == 503
            assert "retry-after" not in answer.headers
            told = answer.json()["error"]
            assert f"moment {moment}" in told["what"] and "untraded" in told["what"]
            assert told["expected"].startswith(str(desk.due)) and desk.due > moment
    assert desk.session.tally["orders_sent"] == sent
    assert (desk.decisions, desk.engine.recorded) == (decided, recorded)
    # The disk takes it again: what is due is decided, and the log is whole.
    while (answered := ask(served, desk.due)[0]).json().get("kind") != HOT:
        assert answered.status_code == 200
    desk.engine.end()
    found = replay(served.log)
    assert found.difference is None, str(found.difference)
