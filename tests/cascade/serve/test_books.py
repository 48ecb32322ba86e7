"""Decisions in books of the caller's own: by the session's network and rules, moving nothing."""

from __future__ import annotations

import asyncio
import json
from copy import deepcopy
from typing import Any

import httpx
import pytest

from cascade.audit import read_log
from cascade.book_state import book_state_of
from cascade.decide import decide
from cascade.events import Event
from cascade.replay import replay
from cascade.serve.schema import BOOK_DECISION, openapi
from cascade.view import view_of_book
from tests.cascade.serve.conftest import NAME, Served
from tests.cascade.test_book_state import example

HOLD = [0.0, 1.0, 0.0]


def ask(served: Served, *asked: dict[str, Any]) -> list[httpx.Response]:
    async def inside() -> list[httpx.Response]:
        async with served.client() as client:
            return [await client.post("/decide", json=each) for each in asked]

    return asyncio.run(inside())


def book(**changed: Any) -> dict[str, Any]:
    """A book whose upstream is told, and small enough for every limit."""
    told = example()
    told["upstream"] = {"strategic": HOLD, "tactical": HOLD}
    return {**told, **changed}


def standing(served: Served) -> tuple[Any, ...]:
    """What no decision in another's books may move."""
    desk, guard = served.desk, served.desk.engine.guard
    assert guard is not None
    return (
        desk.due, desk.session.bar, desk.engine.steps, json.dumps(desk.session.tally),
        desk.session.account.tobytes(), guard.gate.account.tobytes(), guard.gate.state.tobytes(),
    )  # fmt: skip


def test_a_step_in_the_callers_books_is_decided_as_the_command_does(served: Served) -> None:
    before = standing(served)
    (answer,) = ask(served, {"instrument": NAME, "book": book()})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert set(told) == set(BOOK_DECISION["required"])
    assert standing(served) == before
    model = served.desk.engine.models.active["execution"]
    expected = decide(model.policy, view_of_book(book_state_of(book(), "test"), model.config))
    assert told["refused_units"] == 0
    assert [
        (each["kind"], each["venue"], each["side"], each["quantity"], each["after_seconds"])
        for each in told["orders"]
    ] == [
        (each.kind, each.venue, each.side, each.quantity, each.after_seconds)
        for each in expected.orders
    ]
    assert told["orders"], "the example is to be traded"
    assert [each["limit"] for each in told["orders"]] == [each.limit for each in expected.orders]
    assert told["carry"] == pytest.approx(expected.carry, abs=1e-6)
    assert told["urgency_correction"] == pytest.approx(expected.urgency_correction, abs=1e-6)
    assert served.desk.decisions["book"] == 1


def test_the_layers_above_are_those_of_the_session_unless_they_are_told(served: Served) -> None:
    plain = book()
    del plain["upstream"]
    mine, told = ask(
        served, {"instrument": NAME, "book": plain}, {"instrument": NAME, "book": book()}
    )
    context = served.desk.engine.upper.context
    assert context.any()
    assert mine.json()["action"] != told.json()["action"]


def test_rules_bind_and_a_stop_holds_in_other_books_too(served: Served) -> None:
    guard = served.desk.engine.guard
    assert guard is not None
    most = int(guard.gate.limits["position_units"][0])
    free, full = ask(
        served,
        {"instrument": NAME, "book": book()},
        {"instrument": NAME, "book": book(), "position": most},
    )
    assert free.json()["orders"]
    assert full.json()["orders"] == []
    assert full.json()["refused_units"] > 0
    served.desk.engine.stop("a test")
    (stopped,) = ask(served, {"instrument": NAME, "book": book()})
    assert stopped.json()["orders"] == []


def test_it_is_on_record_and_replays(served: Served) -> None:
    asked: list[dict[str, Any]] = [{"instrument": NAME}] * 30
    asked[10:10] = [{"instrument": NAME, "book": book()}] * 2
    for answer in ask(served, *asked):
        assert answer.status_code == 200, answer.text
    served.desk.engine.end()
    events = [record.event for record in read_log(served.log)]
    assert events.count(Event.BOOK_DECIDED) == 2
    found = replay(served.log)
    assert found.difference is None, str(found.difference)


@pytest.mark.parametrize(
    ("changed", "where", "word"),
    [
        ({"book": 3}, "book", "no object"),
        ({"book": {}}, "book", "Field required"),
        ({"book": {**example(), "venues": {"ARKA": {"bids": [[1.0, 1]]}}}}, "book", "ARCA"),
        ({"book": {**example(), "price": 1}}, "book", "price"),
        ({"book": example(), "time": 5}, "time", "beside books"),
        ({"book": example(), "position": 1.5}, "position", "none"),
        ({"book": example(), "position": 1 << 31}, "position", "none"),
        ({"position": 5}, "position", "without books"),
    ],
)
def test_a_state_that_does_not_add_up_is_refused(
    served: Served, changed: dict[str, Any], where: str, word: str
) -> None:
    before, recorded = standing(served), served.desk.engine.recorded
    (answer,) = ask(served, {"instrument": NAME, **deepcopy(changed)})
    assert answer.status_code == 422, answer.text
    told = answer.json()["error"]
    assert told["where"] == where
    assert word in told["what"]
    assert (standing(served), served.desk.engine.recorded) == (before, recorded)


def test_the_description_holds_every_schema_that_it_names() -> None:
    described = openapi(token=False)
    text = json.dumps(described)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(described["components"]["schemas"])
    assert "BookDecision" in named and "VenueState" in named
