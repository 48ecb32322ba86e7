"""`grandmodel data check`: the verdict, the exit code, one JSON object, settings that load."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from configs.market import BarReference
from configs.train import load_train_config
from market.bars import load_bars
from tests.market.bar_files import rows, stamps, write
from tests.trainers import command_line

Run = Callable[..., tuple[int, str, str]]

MORNING = datetime(2024, 4, 1, 9, 30)
FORM = "%Y-%m-%d %H:%M"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process; (exit code, standard output, standard error)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        return command_line.call(monkeypatch, capfd, "data", "check", *arguments)

    return call


def test_a_usable_file_is_code_0_and_the_verdict_is_first(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, rows(stamps(MORNING, 40, FORM)))
    code, out, err = run(path)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "usable: 40 of 40 rows; nothing found wrong"
    assert "rows:      40 read, 40 kept" in lines
    assert "range:     2024-04-01 09:30 to 2024-04-02 05:00 UTC" in lines
    assert "bars:      30 minutes" in lines
    assert any(line.startswith("not found: ") and "outliers" in line for line in lines)


def test_bad_rows_are_shown_with_their_lines(run: Run, tmp_path: Path) -> None:
    lines = rows(stamps(MORNING, 40, FORM))
    for row in range(10, 18):
        lines[row] = lines[row].replace(",100", ",nan")
    code, out, _ = run(write(tmp_path, lines))
    assert code == 0
    assert out.startswith("usable with drops: 32 of 40 rows; bad rows: 8")
    assert "values that are no finite number: 8 (mend the file, or set on_bad: drop" in out
    assert "    line 12: not a finite number: open 10, high 12, low 9, close 11, volume ?" in out
    assert "    and 3 more" in out


def test_an_unusable_file_is_code_1(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("# Notes\n")
    code, out, err = run(path)
    assert (code, err) == (1, "")
    assert out.startswith("not usable: it has no column for 'time'")
    code, out, _ = run(path, "--json")
    assert code == 1 and json.loads(out)["verdict"] == "not usable"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{}/none.csv"], "none.csv does not exist"),
        (["{}"], "is no regular file"),
        (["{}/bars.csv", "--set", "timezon=UTC"], "did you mean 'timezone'"),
        (["{}/bars.csv", "--set", "timezone=Mars"], "IANA time zone"),
        (["{}/bars.csv", "--set", "nonsense"], "KEY=VALUE"),
        (["{}/bars.csv", "--preset", "sample-barz"], "sample-bars"),
        (["{}/bars.csv", "--config", "absent.yaml"], "absent.yaml"),
        (["{}/bars.csv", "--set", "env.market.reference.kind=generator"], "kind"),
    ],
)
def test_misuse_is_code_2_and_one_message(
    run: Run, tmp_path: Path, arguments: list[str], said: str
) -> None:
    write(tmp_path, rows(stamps(MORNING, 4, FORM)))
    code, out, err = run(*(argument.format(tmp_path) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and said in err and "Traceback" not in err


def test_keys_of_the_bars_can_be_set_bare_or_whole(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, rows(["01/02/2024", "02/02/2024", "03/02/2024"]))
    code, out, _ = run(path)
    assert code == 1 and "set dayfirst" in out.splitlines()[0]
    for key in ("dayfirst", "env.market.reference.bars.dayfirst"):
        code, out, _ = run(path, "--set", f"{key}=false", "--set", "bar_minutes=1440", "--json")
        assert code == 0
        assert json.loads(out)["utc"] == ["2024-01-02 00:00", "2024-03-02 00:00"]


def test_json_is_one_object_with_the_lines(run: Run, tmp_path: Path) -> None:
    lines = rows(stamps(MORNING, 40, FORM))
    lines[7] = lines[7].replace(",100", ",0")
    code, out, _ = run(write(tmp_path, lines), "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["verdict"], report["read"], report["kept"]) == ("usable", 40, 40)
    zero = next(f for f in report["findings"] if f["name"] == "zero_volume")
    assert (zero["count"], zero["kind"]) == (1, "note")
    assert zero["places"] == [{"line": 9, "what": "2024-04-01 13:00", "last_line": None}]


def test_the_suggested_settings_are_a_configuration(
    run: Run, sample_bars_path: Path, tmp_path: Path
) -> None:
    """What the check suggests for the sample loads, trains' own way, and checks as usable."""
    code, out, _ = run(sample_bars_path, "--json")
    report = json.loads(out)
    assert code == 0
    suggested = tmp_path / "suggested.yaml"
    suggested.write_text(report["yaml"])
    config = load_train_config("execution", [], [suggested], [], None)
    reference = config.env.market.reference
    assert isinstance(reference, BarReference)
    bars = load_bars(reference.bars)
    assert report["why"].startswith(f"{len(bars)} of 56083 rows")
    assert bars.report.rolls_adjusted == 8
    code, out, _ = run(sample_bars_path, "--config", suggested)
    assert code == 0
    assert out.startswith(f"usable: {len(bars)} of 56083 rows")
    assert "contract rolls: " not in out.splitlines()[0]


def test_the_sample_under_its_preset_is_usable(run: Run, sample_bars_path: Path) -> None:
    code, out, _ = run(sample_bars_path, "--preset", "sample-bars", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["verdict"] == "usable"
    assert (report["kept"], report["excluded"]) == (52_917, 3_166)
    counts = {f["name"]: f["count"] for f in report["findings"] if f["kind"] == "suspect"}
    assert counts == {"splices": 0, "rolls": 1, "outliers": 1}
