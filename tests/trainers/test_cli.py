"""The command line: one message and exit code 2 for whatever a user can mend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from configs.errors import ConfigError
from configs.evaluation import MAX_EVALUATION_SEED, MAX_PARENTS
from configs.tracking import URI_VARIABLE
from configs.train import MAX_SEED, load_train_config
from tests.trainers import command_line
from trainers import cli, cli_options
from trainers.evaluate import EVALUATION_SEEDS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process; (exit code, standard output, standard error)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        return command_line.call(monkeypatch, capfd, *arguments)

    return call


def test_help_lists_the_commands(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in ("train", "decide", "warm", "config"):
        assert command in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["decide", "--models", "nowhere"], "no models at nowhere"),
        (["decide", "--layer", "strategik"], "no layer 'strategik'"),
        (["config", "show", "exekution"], "did you mean 'execution'"),
        (["config", "show", "--preset", "sample-barz"], "sample-bars"),
        (["config", "show", "--set", "mappo.gama=1"], "did you mean 'gamma'"),
        (["config", "show", "--set", "mappo.gamma=high"], "mappo.gamma"),
        (["config", "show", "--set", "nonsense"], "KEY=VALUE"),
        (["config", "show", "--config", "absent.yaml"], "absent.yaml"),
        (["train", "execution", "--set", "env.step_seconds=-1"], "env.step_seconds"),
        (["train", "execution", "--set", "seed=99999999999999999999"], "<= 2147483647"),
        (["train", "execution", "--set", "evaluation.seed=99999999999999"], "evaluation.seed"),
        (["decide", "--models", "models:/nope@champion"], "there is none at sqlite:///mlflow.db"),
        (["train", "execution", "--on-bad", "drop"], "env.market.reference.bars"),
        (["train", "execution", "--resume", "--output", "nowhere"], "holds no run"),
        (["train", "strategic", "--set", "env.parent.horizon_steps=5"], "unknown key 'parent'"),
        (["train", "strategic", "--set", "env.horizon_bars=0"], "env.horizon_bars=0"),
        (["train", "strategic", "--set", "env.split=test"], "unknown key 'split' under 'env'"),
        (["train", "strategic", "--set", "layer=execution"], "layer=execution in --set"),
        (["train", "strategic", "--preset", "documents"], "expected 'strategic'"),
        (["config", "show", "execution", "--set", "env.horizon_bars=9"], "'horizon_bars'"),
        (["decide", "--layer", "strategic"], "works for the layer execution only"),
    ],
)
def test_a_users_mistake_is_one_message(
    run: Run, arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and said in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []  # nothing half written


@pytest.mark.parametrize(
    "arguments",
    [
        ["decide", "--seed", "x"],
        ["decide", "--seed", "99999999999999999999"],
        ["train", "execution", "--seed", "99999999999999999999"],
        ["decide", "--steps", "-1"],
        ["trane"],
        ["--nope"],
    ],
)
def test_unreadable_options_are_code_2_without_a_traceback(run: Run, arguments: list[str]) -> None:
    code, _, err = run(*arguments)
    assert code == 2 and "Traceback" not in err and err


def test_debug_shows_the_traceback(run: Run) -> None:
    code, _, err = run("--debug", "decide", "--models", "nowhere")
    assert code == 2 and "Traceback" in err and err.strip().splitlines()[-1].startswith("error: ")


def test_a_missing_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"torch": None}
    monkeypatch.setattr(cli_options, "find_spec", lambda name: found.get(name, object()))
    code, _, err = run("train", "execution")
    assert code == 2 and "needs torch" in err and "grandmodel[train]" in err


def test_a_full_disk_is_one_message(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise OSError(28, "No space left on device", "runs/x")

    monkeypatch.setattr(cli, "app", fail)
    code, _, err = run("warm")
    assert code == 2 and err == "error: runs/x: No space left on device\n"


@pytest.mark.parametrize("place", ["command", "startup"])
def test_ctrl_c_is_code_130(run: Run, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if place == "command":
        monkeypatch.setattr("cascade.commands.run_decide", interrupt)
    else:
        monkeypatch.setattr(cli, "app", interrupt)
    code, _, err = run("decide")
    assert code == cli.INTERRUPTED and "Traceback" not in err


def test_the_configuration_is_shown_merged(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mappo: {epochs: 3}\n")
    code, out, _ = run(
        "config", "show", "--config", str(tmp_path / "mine.yaml"), "--set", "env.step_seconds=2",
        "--seed", "7",
    )  # fmt: skip
    shown = yaml.safe_load(out)
    assert code == 0 and shown["mappo"]["epochs"] == 3 and shown["env"]["step_seconds"] == 2.0
    assert shown["seed"] == shown["mappo"]["seed"] == 7


def test_later_sources_win(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mappo: {epochs: 3, minibatches: 2}\n")
    config = load_train_config(
        "execution", [], [tmp_path / "mine.yaml"], ["mappo.epochs=5"], seed=None
    )
    assert (config.mappo.epochs, config.mappo.minibatches) == (5, 2)
    with pytest.raises(ConfigError, match="seed"):
        load_train_config("execution", [], [], ["seed=-1"], seed=None)


def test_the_largest_seeds_fit_where_they_go() -> None:
    last = MAX_EVALUATION_SEED * MAX_PARENTS + MAX_PARENTS
    assert EVALUATION_SEEDS + last < 1 << 63
    assert MAX_SEED + 2_000_000 < 1 << 32  # what RLlib adds for a worker and for evaluation
