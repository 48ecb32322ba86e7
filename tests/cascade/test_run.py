"""`grandmodel cascade run` and `grandmodel replay`, as people and machines see them."""

from __future__ import annotations

import io
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from cascade.audit import read_log
from cascade.control import send
from cascade.engine import Engine
from cascade.events import Event
from cascade.run import RunRequest, accounts_table, run_cascade, run_replay
from cascade.session import PaperSession
from configs.cascade import CascadeRunConfig
from configs.errors import ArtefactError, AuditError, ConfigError, DataError
from configs.loading import load_config
from configs.market import GeneratorReference
from market.synthetic import synthetic_bars
from market.trade_bars import write_bars
from tests.cascade.layers import CONFIGS, layer_artefact
from tests.cascade.test_engine import Run

WIDE = 200


def console(terminal: bool = False) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=WIDE, force_terminal=terminal, color_system=None), out


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("artefacts")
    return [
        f"{layer}={layer_artefact(folder / layer, layer, seed=1)}"
        for layer in ("tactical", "execution")
    ]


def request(tmp_path: Path, artefacts: list[str], **changed: Any) -> RunRequest:
    config = load_config(CascadeRunConfig, {"generated_bars": 2000, **changed})
    return RunRequest(
        models=str(tmp_path / "none"),
        tracking_uri="sqlite:///none",
        config=config,
        layers=artefacts,
        steps=40,
        log=tmp_path / "log",
    )


def test_a_run_concludes_and_its_log_replays(tmp_path: Path, artefacts: list[str]) -> None:
    told, out = console()
    run_cascade(request(tmp_path, artefacts), told, live=False, as_json=True)
    found = json.loads(out.getvalue())
    assert found["steps"] == 40
    tally = found["tally"]
    ends = ("filled", "cancelled", "rejected", "open")
    assert tally["orders_sent"] == sum(tally[f"orders_{how}"] for how in ends) > 0
    told, out = console()
    assert run_replay(tmp_path / "log", [], told, as_json=True)
    replayed = json.loads(out.getvalue())
    assert replayed["equal"]
    assert replayed["hot_decisions"] == 40
    assert replayed["records"] == found["records"]


def test_a_replay_says_how_the_log_ends(tmp_path: Path, artefacts: list[str]) -> None:
    told, _ = console()
    run_cascade(request(tmp_path, artefacts), told, live=False, as_json=True)
    (segment,) = (tmp_path / "log").glob("*.audit")
    told, out = console()
    assert run_replay(tmp_path / "log", [], told, as_json=False)
    assert "cut off" not in out.getvalue() and "SESSION_ENDED" not in out.getvalue()
    segment.write_bytes(segment.read_bytes()[:-1])
    told, out = console()
    assert run_replay(tmp_path / "log", [], told, as_json=False)
    assert "cut off" in out.getvalue() and "no SESSION_ENDED" in out.getvalue()
    told, out = console()
    assert run_replay(tmp_path / "log", [], told, as_json=True)
    found = json.loads(out.getvalue())
    assert found["torn_bytes"] > 0 and found["ended"] is False


def test_a_log_of_several_networks_replays_from_where_they_lie_now(tmp_path: Path) -> None:
    run = Run(tmp_path)
    second = layer_artefact(tmp_path / "second", "execution", seed=5)
    run.session.run(10)
    before = run.execution.digest
    run.models.stage("execution", second)
    while run.execution.digest == before:
        run.session.run(10)
    after = run.execution.digest
    run.engine.end()
    run.sink.close()
    began = next(read_log(run.log)).told()["models"]
    here = tmp_path / "moved"
    Path(began["execution"]["folder"]).rename(here)
    second.rename(tmp_path / "other")
    told, out = console()
    for one, gone in ((here, after), (tmp_path / "other", before)):
        with pytest.raises(ArtefactError, match=rf"made by network {gone[:12]}.*--model execution"):
            run_replay(run.log, [f"execution={one}"], told, True)
    both = [f"execution={tmp_path / 'other'}", f"execution={here}"]
    assert run_replay(run.log, both, told, as_json=True)
    assert json.loads(out.getvalue())["equal"]
    with pytest.raises(ArtefactError, match="nowhere"):
        run_replay(run.log, [*both, "execution=nowhere"], told, True)


def test_a_run_refused_at_its_start_leaves_nothing(
    tmp_path: Path, artefacts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told, out = console()
    asked = request(tmp_path / "deep" / "er", artefacts)

    def refuse(*_: object) -> None:
        raise DataError("these bars do not suit the market")

    with monkeypatch.context() as patched:
        patched.setattr("cascade.session.PaperMarket", refuse)
        with pytest.raises(DataError, match="do not suit"):
            run_cascade(asked, told, live=False, as_json=True)
    assert not (tmp_path / "deep").exists()
    run_cascade(asked, told, live=False, as_json=True)
    assert json.loads(out.getvalue())["steps"] == 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_between_two_steps_and_says_where(
    tmp_path: Path, artefacts: list[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    whole = Engine._choose

    def interrupted(engine: Engine, *given: Any) -> Any:
        if engine.steps == 7:  # NEW_TICK is down, EXECUTE_TRADE is not
            signal.raise_signal(number)
        return whole(engine, *given)

    told, out = console()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Engine, "_choose", interrupted)
        run_cascade(request(tmp_path, artefacts), told, live=False, as_json=False)
    text = out.getvalue()
    assert "interrupted at bar" in text and f"grandmodel replay {tmp_path / 'log'}" in text
    events = [record.event for record in read_log(tmp_path / "log")]
    assert 8 <= events.count(Event.NEW_TICK) == events.count(Event.EXECUTE_TRADE) < 40
    assert events[-1] == Event.SESSION_ENDED
    assert run_replay(tmp_path / "log", [], told, as_json=False)


def test_a_run_heeds_requests_from_beside_it(
    tmp_path: Path, artefacts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that ends is heeded no more, and says so."""
    log, said = tmp_path / "log", list[str]()

    def ask() -> None:
        while not (log / "control" / "running").exists():
            time.sleep(0.01)
        said.append(send(log, "stop", reason="drill", patience=120))

    sender = threading.Thread(target=ask)
    run = PaperSession.run

    def late(session: PaperSession, steps: int) -> int:
        sender.start()
        while not list((log / "control").glob("*.json")):
            time.sleep(0.01)
        return run(session, steps)

    monkeypatch.setattr(PaperSession, "run", late)
    told, _ = console()
    run_cascade(request(tmp_path, artefacts), told, live=False, as_json=True)
    sender.join()
    assert "stopped" in said[0]
    assert any(record.event == Event.EMERGENCY_STOP for record in read_log(log))
    with pytest.raises(AuditError, match="has ended"):
        send(log, "stop")


def test_the_live_view_shows_what_goes_on(tmp_path: Path, artefacts: list[str]) -> None:
    told, out = console(terminal=True)
    run_cascade(request(tmp_path, artefacts), told, live=True, as_json=False)
    text = out.getvalue()
    for word in ("position", "result", "drawdown", "latency", "tactical", "execution", "no alarms"):
        assert word in text
    assert "sent = filled + cancelled + rejected + open" in text
    assert "NO:" not in text
    assert "grandmodel replay" in text


def test_a_file_of_bars_drives_it(tmp_path: Path, artefacts: list[str]) -> None:
    config = CONFIGS["tactical"]
    bars = synthetic_bars(
        GeneratorReference(), 120, 30.0, config.market.tick, 2, config.market.flow
    )
    write_bars(bars, tmp_path / "bars.csv")
    told, out = console()
    given = {"path": str(tmp_path / "bars.csv"), "bar_minutes": 30}
    run_cascade(request(tmp_path, artefacts, bars=given), told, live=False, as_json=True)
    assert json.loads(out.getvalue())["steps"] == 40
    odd = {**given, "bar_minutes": 7}
    with pytest.raises(ConfigError, match="whole multiple"):
        run_cascade(request(tmp_path, artefacts, bars={**odd, "on_bad": "drop"}), told, False, True)


def test_a_file_too_short_to_decide_on_says_so(tmp_path: Path, artefacts: list[str]) -> None:
    config = CONFIGS["tactical"]
    bars = synthetic_bars(GeneratorReference(), 60, 5.0, config.market.tick, 2, config.market.flow)
    write_bars(bars, tmp_path / "bars.csv")
    given = {"path": str(tmp_path / "bars.csv"), "bar_minutes": 5}
    told, out = console()
    run_cascade(request(tmp_path, artefacts, bars=given), told, live=False, as_json=False)
    assert "never came to be whole" in out.getvalue()


def test_what_is_missing_is_named(tmp_path: Path, artefacts: list[str]) -> None:
    told, _ = console()
    with pytest.raises(ArtefactError, match="no champion of any layer"):
        run_cascade(request(tmp_path, []), told, False, True)
    with pytest.raises(ConfigError, match="expected LAYER=FOLDER"):
        run_cascade(request(tmp_path, ["execution"]), told, False, True)
    with pytest.raises(AuditError, match="no such folder"):
        run_replay(tmp_path / "nowhere", [], told, False)


def test_orders_that_do_not_add_up_are_shown() -> None:
    names = ("sent", "filled", "cancelled", "rejected", "open")
    tally = {f"{what}_{name}": 1 for what in ("orders", "units") for name in names}
    told, out = console()
    told.print(accounts_table(tally))
    assert "NO: 4" in out.getvalue()
    assert np.all([name in out.getvalue() for name in names])
