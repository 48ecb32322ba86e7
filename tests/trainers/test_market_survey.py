"""`grandmodel market report`: a page and a verdict for each fact of the simulated market."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from configs.errors import ConfigError
from configs.execution import ExecutionConfig
from configs.facts import FactsConfig
from configs.messages import MessagesConfig
from tests.market.test_reference import bars_config, synthetic_bars
from trainers.market_survey import SurveyRequest, run_report

ROWS = [
    (0.0, 1, 1, 100, 999_900, 1),
    (0.5, 1, 2, 100, 1_000_100, -1),
    *((1.0 + k, 1, 3 + k, 10, 999_800, 1) for k in range(40)),
    (60.0, 4, 2, 50, 1_000_100, -1),
    (61.0, 3, 1, 100, 999_900, 1),
]


def request(output: Path, **changes: object) -> SurveyRequest:
    base: dict[str, object] = {
        "env": ExecutionConfig(),
        "facts": FactsConfig(),
        "real": None,
        "output": output,
        "hours": 1,
        "paths": 0,
        "seed": 3,
    }
    return SurveyRequest(**{**base, **changes})  # type: ignore[arg-type]


def run(given: SurveyRequest, as_json: bool) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        run_report(given, console, as_json)
    return capture.get()


def test_the_page_and_the_object_hold_the_same_facts(tmp_path: Path) -> None:
    page = tmp_path / "folder" / "page.html"
    found = json.loads(run(request(page), as_json=True))
    facts = {fact["name"]: fact for fact in found["facts"]}
    assert found["report"] == str(page)
    assert 5.0 < facts["messages_per_second"]["value"] < 120.0
    assert facts["locked_or_crossed"]["met"]
    assert "impact_exponent_fixed_horizon" not in facts
    html = page.read_text()
    assert all(name in html for name in ("sign_memory_1", "placement_scale", "<svg"))


def test_a_real_market_stands_beside_and_impact_is_measured(tmp_path: Path) -> None:
    messages = tmp_path / "messages.csv"
    messages.write_text("\n".join(",".join(map(str, row)) for row in ROWS) + "\n")
    real = MessagesConfig(path=messages)
    page = tmp_path / "page.html"
    text = run(request(page, real=real, paths=16), as_json=False)
    assert "impact_exponent_fixed_horizon" in text
    assert "real" in text
    assert str(page) in text.replace("\n", "")
    assert "messages.csv" in page.read_text()


def test_bars_hold_no_hour(tmp_path: Path) -> None:
    config = bars_config(synthetic_bars(tmp_path))
    page = tmp_path / "page.html"
    with pytest.raises(ConfigError, match="kind: generator"):
        run(request(page, env=config), as_json=True)
    assert not page.exists()
