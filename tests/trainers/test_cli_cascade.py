"""`grandmodel cascade` and `grandmodel replay` as a shell sees them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from cascade.audit import AuditLog
from cascade.control import Control
from cascade.events import Event
from configs.cascade import MAX_SEED, CascadeRunConfig
from configs.errors import ConfigError
from configs.loading import load_config
from configs.serve import ServeConfig
from tests.trainers.command_line import call

Command = Callable[..., tuple[int, str, str]]
_BEYOND = MAX_SEED + 1


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return functools.partial(call, monkeypatch, capfd)


@pytest.mark.parametrize("words", [["stop"], ["let-go"], ["rollback", "execution"]])
def test_steering_where_no_cascade_runs_is_an_error(
    tmp_path: Path, command: Command, words: list[str]
) -> None:
    request, *layer = words
    code, out, err = command("cascade", request, tmp_path, *layer)
    assert code == 2 and not out and err.count("error: ") == 1 and "no audit log" in err
    assert not list(tmp_path.iterdir())
    log = AuditLog(tmp_path / "log")
    log.tell(Event.SESSION_ENDED, 0, steps=0)
    log.close()
    Control(tmp_path / "log").close()
    code, out, err = command("cascade", request, tmp_path / "log", *layer)
    assert code == 2 and not out and "has ended" in err


def test_what_came_of_a_request_is_printed(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascade.control.send", lambda *_, **__: "stopped: drill")
    assert command("cascade", "stop", tmp_path)[:2] == (0, "stopped: drill\n")


def test_a_seed_that_no_draw_can_have_is_refused(tmp_path: Path, command: Command) -> None:
    log = tmp_path / "log"
    for words in (["--seed", "9" * 23], ["--set", f"cascade.seed={_BEYOND}"]):
        code, _, err = command("cascade", "run", "--log", log, *words)
        assert code == 2 and "cascade.seed" in err and "Traceback" not in err
    assert not log.exists()


def test_seeds_are_bounded_alone_and_together() -> None:
    assert load_config(CascadeRunConfig, {"cascade": {"seed": MAX_SEED}}).cascade.seed == MAX_SEED
    with pytest.raises(ConfigError, match="generated_seed"):
        load_config(CascadeRunConfig, {"generated_seed": _BEYOND})
    for key in ("seed", "generated_seed"):
        with pytest.raises(ConfigError, match=f"instruments.*{key}"):
            load_config(ServeConfig, {"instruments": [{key: _BEYOND}]})
    with pytest.raises(ConfigError, match=r"at most .* together"):
        load_config(ServeConfig, {"cascade": {"seed": MAX_SEED}, "instruments": [{"seed": 1}]})
