"""`grandmodel market replay`: what it prints, and one message for what a user can mend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.trainers import command_line

ROWS = """1,1,1,5,10000,1
2,1,2,6,10200,-1
3,4,1,2,10000,1
4,3,9,7,10100,1
5,5,0,1,10150,1
"""
BOOK = """9999999999,0,10100,7
10200,6,10100,7
10200,6,10100,7
10200,6,10000,3
10200,6,10000,3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small message file; its order book file stands beside it."""
    path = tmp_path / "m.csv"
    path.write_text(ROWS)
    (tmp_path / "b.csv").write_text(BOOK)
    return path


def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setenv("COLUMNS", "200")
    return command_line.call(monkeypatch, capfd, "market", "replay", *arguments)


def test_json_holds_every_figure(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(monkeypatch, capfd, str(file), "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["rows"], report["kept"], report["seconds"]) == (5, 5, 4.0)
    assert list(report["not_for_the_book"].values()) == [1] and report["dropped"] == {}
    assert report["executions_at_head"] == report["executions_at_best"] == 1.0
    assert report["counts"]["hidden_executions"] == 1 and "levels" not in report
    # Implied: id 9 came last of all ids, so only with its delete, which undoes it.
    assert report["best_price_changes"]["share"] == 1.0
    assert report["messages_per_cpu_second"] > 0
    book = str(file.with_name("b.csv"))
    report = json.loads(run(monkeypatch, capfd, str(file), "--book", book, "--json")[1])
    changes = report["best_price_changes"]
    assert (changes["changes"], changes["matched"], changes["unseen"]) == (3, 0, 2)
    assert report["levels"]["known_share"] == 1.0 and report["truth"] == book


def test_the_table_names_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    book = str(file.with_name("b.csv"))
    code, out, _ = run(monkeypatch, capfd, str(file), "--book", book)
    assert code == 0
    for said in ("best price changes", "0 of 3 match", "delete of an order never added", "level"):
        assert said in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.csv"], "absent.csv does not exist"),
        (["m.csv", "--book", "absent.csv"], "absent.csv cannot be read"),
        (["m.csv", "--book", "m.csv"], "whole numbers"),
        (["b.csv"], "no column 'time'"),
        (["m.csv", "--set", "tik=1"], "did you mean 'tick'"),
        (["m.csv", "--set", "tick=7"], "price is off the tick"),
        (["m.csv", "--config", "absent.yaml"], "absent.yaml"),
    ],
)
def test_a_users_mistake_is_one_message(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(file.parent)
    code, out, err = run(monkeypatch, capfd, *arguments)
    assert (code, out) == (2, "") and err.startswith("error: ") and said in err
    assert "Traceback" not in err
