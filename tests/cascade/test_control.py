"""Requests to a running cascade from beside it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cascade.audit import AuditLog
from cascade.control import Control, send
from cascade.events import DECIDED, Event
from configs.errors import AuditError, ConfigError
from tests.cascade.layers import layer_artefact
from tests.cascade.test_engine import ROOT, Run

_HOLDER = """
import sys, time
from pathlib import Path
from cascade.control import Control
control = Control(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


class Steered(Run):
    """A session that heeds requests while their sender waits."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.control = Control(self.log)

    def ask(self, request: str, *given: str, **told: Any) -> str:
        return send(self.log, request, *given, sleep=self.heed, **told)

    def heed(self, _: float) -> None:
        self.control.heed(self.engine)


def test_stop_let_go_and_rollback_in_the_order_of_their_coming(tmp_path: Path) -> None:
    run = Steered(tmp_path)
    run.to_a_parent()
    run.step()
    engine, before = run.engine, run.execution.digest
    assert "stopped" in run.ask("stop", reason="drill")
    assert engine.guard is not None
    assert engine.guard.stopped
    run.ask("stop", reason="again")
    assert "let go" in run.ask("let-go", reason="drill over")
    assert not engine.guard.stopped
    assert run.control.heed(engine) == 0
    run.models.stage("execution", layer_artefact(tmp_path / "next", "execution", seed=5))
    while run.execution.digest == before:
        if run.session.market.done:
            run.to_a_parent()
        run.step()
    assert before[:12] in run.ask("rollback", "execution")
    if run.session.market.done:
        run.to_a_parent()
    assert run.step() == DECIDED
    assert run.execution.digest == before
    run.ended()
    assert run.events()[Event.STOP_LIFTED] == 1
    assert [told["reason"] for told in run.told(Event.EMERGENCY_STOP)] == ["drill", "again"]


def test_what_the_cascade_refuses_is_an_error_to_its_sender(tmp_path: Path) -> None:
    run = Steered(tmp_path)
    with pytest.raises(AuditError, match=r"refused rollback.*none to go back to"):
        run.ask("rollback", "tactical")
    with pytest.raises(AuditError, match=r"refused let-go.*nothing to let go"):
        run.ask("let-go")
    assert "none to go back to" in " ".join(run.engine.alarms)
    assert [place.name for place in (run.log / "control").iterdir()] == ["running"]
    run.ended()


def test_a_request_that_cannot_be_done_is_an_alarm(tmp_path: Path) -> None:
    run = Steered(tmp_path)
    (run.log / "control" / "1.json").write_text("{")
    (run.log / "control" / "2.json").write_text('{"request": "sell"}')
    assert run.control.heed(run.engine) == 2
    alarms = " ".join(run.engine.alarms)
    assert "1.json refused" in alarms
    assert "'sell'" in alarms
    run.ended()


def test_a_request_that_is_not_taken_is_withdrawn(tmp_path: Path) -> None:
    run = Steered(tmp_path)
    with pytest.raises(AuditError, match="did not take stop in time"):
        send(run.log, "stop", patience=0.05)
    assert run.control.heed(run.engine) == 0
    assert not run.engine.stopped
    with pytest.raises(AuditError, match="ended before it answered stop"):
        send(run.log, "stop", sleep=lambda _: run.control.close())
    assert not list((run.log / "control").glob("*.json"))
    with pytest.raises(AuditError, match="has ended"):
        send(run.log, "stop")


def test_a_full_disk_under_the_answer_does_not_end_the_cascade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = Steered(tmp_path)
    monkeypatch.setattr(Control, "_answer", full)
    with pytest.raises(AuditError, match="took stop and has not answered"):
        run.ask("stop", patience=0.2)
    assert run.engine.stopped
    assert "has no answer" in run.engine.alarms[-1]
    run.ended()


def test_the_death_of_the_process_ends_its_hold(tmp_path: Path) -> None:
    log = tmp_path / "log"
    AuditLog(log).close()
    command = [sys.executable, "-c", _HOLDER, str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(AuditError, match="did not take stop in time"):
            send(log, "stop", patience=0.05)
        process.kill()
    begun = time.monotonic()
    with pytest.raises(AuditError, match="has ended"):
        send(log, "stop")
    assert time.monotonic() - begun < 5


def test_a_request_is_checked_before_it_is_sent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no request 'hold'"):
        send(tmp_path, "hold")
    with pytest.raises(ConfigError, match="expected a layer"):
        send(tmp_path, "rollback")
    with pytest.raises(AuditError, match="no such folder"):
        send(tmp_path / "nowhere", "stop")


def test_nothing_is_made_where_no_cascade_runs(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="no audit log"):
        send(tmp_path, "stop")
    assert not list(tmp_path.iterdir())
    instrument = tmp_path / "paper"
    AuditLog(instrument).close()
    for folder in (tmp_path, instrument):  # as `grandmodel serve` writes them
        with pytest.raises(AuditError, match=r"service.*/stop, /let-go, /models/rollback"):
            send(folder, "stop")
    assert [place.suffix for place in instrument.iterdir()] == [".audit"]
