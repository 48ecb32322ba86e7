"""The study of panels judges as the verdict does, and finds what it should."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from configs.errors import EXIT_CODE
from experiments.evidence import study
from experiments.evidence.__main__ import main
from experiments.evidence.results import FILE
from trainers.evaluation.significance import verdict


def test_panels_are_judged_as_the_verdict_judges_each() -> None:
    generator = np.random.default_rng(0)
    panels = 0.01 * generator.standard_normal((400, 6, 20))
    panels[:, 2, 5] += 0.002
    together = study._judged(panels)
    for number in range(panels.shape[1]):
        one = verdict(panels[:, number])
        assert one.candidate == together["chosen"][number]
        assert one.probability == pytest.approx(together["verdict"][number], rel=1e-9)
        assert one.dsr == pytest.approx(together["DSR"][number], rel=1e-9)
        assert one.sharpe == pytest.approx(together["best"][number], rel=1e-9)


def test_noise_is_not_taken_for_skill_nor_skill_for_noise() -> None:
    size = study.Size(panels=300)
    noise, planted = study.counted("noise", size), study.counted("planted", size)
    # A verdict that errs as often as it says strays to 9% in one of 900 tries of 300 panels.
    assert noise.evidence["verdict"] <= 0.09
    assert noise.evidence["best alone"] > 0.5  # what not counting trials would have done
    assert planted.evidence["verdict"] >= study.FOUND_AT_LEAST
    assert planted.right > 0.9


def test_trends_are_why_days_are_counted() -> None:
    trending = study.counted("noise_trending", study.Size(panels=300))
    assert trending.evidence["verdict"] <= 0.09 < trending.evidence["no trends"]


def test_the_same_seed_counts_the_same_and_the_command_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["noise", "--panels", "60", "--years", "1", "--output", str(tmp_path)]
    assert main([*arguments, "--json"]) == main([*arguments, "--json"]) == 0
    first, second = (json.loads(part) for part in _objects(capsys.readouterr().out))
    assert first == second
    assert first[0]["met"] is True
    kept = json.loads((tmp_path / FILE).read_text())
    assert kept["results"] == first
    assert kept["made"]["commit"]


def test_a_wrong_world_and_a_short_planted_record_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["niose", "--output", str(tmp_path)]) == EXIT_CODE
    assert "noise" in capsys.readouterr().err
    # Half a year cannot show a Sharpe ratio of 2 among 20: the study says that it did not.
    short = ["planted", "--panels", "50", "--years", "0.5", "--output", str(tmp_path)]
    assert main(short) == 1
    assert "NOT MET" in capsys.readouterr().out


def _objects(text: str) -> list[str]:
    half = len(text) // 2
    return [text[:half], text[half:]]
