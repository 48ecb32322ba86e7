"""`grandmodel market calibrate`: what it writes is what it found, and trains as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs.train import load_train_config
from market.calibrate import search
from tests.market.message_files import HOUR, lobster_lines, sample, write
from tests.market.test_calibrate import synthetic_rows
from tests.trainers import command_line
from trainers import market_calibrate


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short simulations: these tests look at what is written, not at how near it comes."""
    monkeypatch.setattr(search, "SECONDS", 60.0)
    monkeypatch.setattr(search, "RECORDINGS", 1)
    monkeypatch.setattr(search, "STEPS", 3)
    monkeypatch.setattr(search, "ROUNDS", 1)
    monkeypatch.setattr(market_calibrate, "REACHED_SECONDS", 300.0)
    monkeypatch.setattr(market_calibrate, "REACHED_RECORDINGS", 2)
    monkeypatch.setattr(market_calibrate, "BAR_RECORDINGS", 1)


def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setenv("COLUMNS", "200")
    return command_line.call(monkeypatch, capfd, "market", "calibrate", *arguments)


def test_what_is_written_loads_as_what_was_found(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, lobster_lines(synthetic_rows(4000)))
    output = tmp_path / "market.yaml"
    code, out, _ = run(monkeypatch, capfd, str(file), "--output", str(output), "--json")
    assert code == 0
    report = json.loads(out)
    env = load_train_config("execution", [], [output], [], None).env
    plain = env.model_dump(mode="json")
    for finding in report["findings"]:
        place = plain
        for name in finding["key"].split("."):
            place = place[name]
        if finding["value"] is not None and finding["key"] != "market.reference.regimes":
            assert place == finding["value"], finding["key"]
    assert env.market.reference.kind == "generator"
    assert [regime.name for regime in env.market.reference.regimes] == ["OBSERVED"]
    text = output.read_text()
    assert "# env.market.flow.impact kept at its default: " in text
    assert "4,002 observations" not in text.split("env:")[0]
    # Every figure that misses is said, both in the report and in the file.
    missed = [row["name"] for row in report["figures"] if row["met"] is False]
    assert [text.split(":")[0] for text in report["shortfalls"][: len(missed)]] == missed
    assert all(f"#   {name}: " in text for name in missed)


def test_an_output_that_exists_is_kept_without_force(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, lobster_lines(synthetic_rows(4000)))
    output = tmp_path / "market.yaml"
    output.write_text("seed: 1\n")
    code, _, err = run(monkeypatch, capfd, str(file), "--output", str(output))
    assert code == 2 and "--force" in err and output.read_text() == "seed: 1\n"
    code, out, _ = run(monkeypatch, capfd, str(file), "--output", str(output), "--force")
    assert code == 0 and "written:" in out and "wanted" in out
    assert "env:" in output.read_text()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["1,1,1,10,abc,1"], "bad row"),
        (["time,open,high,low,close", "1,2,3,4,5"], "volume"),
        (["1,1,1,10,1000000,1", "2,3,1,10,1000000,1"], "limit orders placed"),
    ],
)
def test_a_file_that_tells_nothing_is_one_error_and_leaves_nothing(
    lines: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = write(tmp_path, lines)
    output = tmp_path / "market.yaml"
    code, _, err = run(monkeypatch, capfd, str(file), "--output", str(output))
    assert code == 2 and said in err and "Traceback" not in err
    assert not output.exists()


def test_bars_write_a_market_that_loads(
    quick: None,
    tmp_path: Path,
    sample_bars_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "market.yaml"
    arguments = (str(sample_bars_path), "--output", str(output), "--json")
    settings = ("--set", "on_bad=drop", "--set", "timezone=America/New_York")
    code, out, _ = run(monkeypatch, capfd, *arguments, *settings)
    assert code == 0
    report = json.loads(out)
    assert report["kind"] == "bars"
    env = load_train_config("execution", [], [output], [], None).env
    assert env.market.tick == 0.25
    reference = env.market.reference
    assert reference.kind == "generator"
    by_name = {regime.name: regime.volatility for regime in reference.regimes}
    assert by_name["SIDEWAYS"] < by_name["BULL"] < by_name["BEAR"] < by_name["VOLATILE"]
    assert "messages_per_second kept at its default" in output.read_text()


@pytest.mark.slow
def test_the_real_hour_is_met_or_its_shortfall_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "market.yaml"
    code, out, _ = run(monkeypatch, capfd, str(sample(HOUR)), "--output", str(output), "--json")
    assert code == 0
    report = json.loads(out)
    rows = {row["name"]: row for row in report["figures"]}
    for name in ("messages_per_second", "trade_size_mean"):
        assert rows[name]["reached"] == pytest.approx(rows[name]["wanted"], rel=0.10), name
    spread = rows["spread_mean"]
    near = abs(spread["reached"] / spread["wanted"] - 1.0) <= 0.15
    assert near or any("spread" in text for text in report["shortfalls"])
    load_train_config("execution", [], [output], [], None)
