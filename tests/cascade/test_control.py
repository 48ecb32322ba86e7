"""Requests to a running cascade from beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade.control import Control, send
from cascade.events import DECIDED, Event
from configs.errors import AuditError, ConfigError
from tests.cascade.layers import layer_artefact
from tests.cascade.test_engine import Run


def test_stop_let_go_and_rollback_in_the_order_of_their_coming(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.to_a_parent()
    run.step()
    engine, control, before = run.engine, Control(run.log), run.execution.digest
    send(run.log, "stop", reason="drill")
    assert control.heed(engine) == 1
    assert engine.guard is not None
    assert engine.guard.stopped
    send(run.log, "stop", reason="again")
    send(run.log, "let-go", reason="drill over")
    assert control.heed(engine) == 2
    assert not engine.guard.stopped
    assert control.heed(engine) == 0
    run.models.stage("execution", layer_artefact(tmp_path / "next", "execution", seed=5))
    while run.execution.digest == before:
        if run.session.market.done:
            run.to_a_parent()
        run.step()
    send(run.log, "rollback", "execution")
    control.heed(engine)
    if run.session.market.done:
        run.to_a_parent()
    assert run.step() == DECIDED
    assert run.execution.digest == before
    run.ended()
    assert run.events()[Event.STOP_LIFTED] == 1
    assert [told["reason"] for told in run.told(Event.EMERGENCY_STOP)] == ["drill", "again"]


def test_a_request_that_cannot_be_done_is_an_alarm(tmp_path: Path) -> None:
    run = Run(tmp_path)
    place = send(run.log, "rollback", "tactical")
    place.with_name("1.json").write_text("{")
    place.with_name("2.json").write_text('{"request": "sell"}')
    assert Control(run.log).heed(run.engine) == 3
    alarms = " ".join(run.engine.alarms)
    assert "none to go back to" in alarms
    assert "'sell'" in alarms
    assert not list(place.parent.iterdir())
    run.ended()


def test_a_request_is_checked_before_it_is_sent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no request 'hold'"):
        send(tmp_path, "hold")
    with pytest.raises(ConfigError, match="expected a layer"):
        send(tmp_path, "rollback")
    with pytest.raises(AuditError, match="no such folder"):
        send(tmp_path / "nowhere", "stop")
