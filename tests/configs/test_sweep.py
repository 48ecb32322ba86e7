"""Sweeps as configuration: what is shipped can be searched, and what is wrong is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError
from configs.loading import load_config, shipped_names
from configs.sweep import SweepConfig, load_sweep_config

PLAIN: dict[str, Any] = {
    "layer": "execution",
    "space": {"mappo.clip": {"kind": "float", "low": 0.1, "high": 0.3}},
    "goals": [{"metric": "shortfall_bp", "direction": "minimize"}],
    "env_steps": 900,
}


def test_every_layer_has_a_sweep_and_a_front() -> None:
    assert shipped_names("sweeps") == tuple(
        sorted(
            f"{la}{end}" for la in ("execution", "strategic", "tactical") for end in ("", "-front")
        )
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": {"split": "test"}}, "score.split=test in .*expected validation: what a search"),
        ({"score": {"split": "train"}}, "score.split=train in .*expected validation"),
        ({"score": {"batch_size": 3}}, "batch_size must be even"),
        ({"space": {}}, "space=.*expected at least 1"),
        ({"space": {"mappo.clip": {"kind": "float", "low": 1, "high": 1}}}, "low below high"),
        ({"space": {"mappo.clip": {"kind": "int", "low": 0, "high": 9, "log": True}}}, "above 0"),
        ({"space": {"mappo.clip": {"kind": "choice", "values": [1]}}}, "at least 2"),
        ({"space": {"mappo.clip": {"kind": "flaot"}}}, "expected one of 'float', 'int', 'choice'"),
        ({"goals": []}, "goals=.*expected at least 1"),
        ({"goals": PLAIN["goals"] * 2}, "expected each once"),
        ({"trails": 5}, "unknown key trails .*did you mean 'trials'"),
        ({"storage": {"grace_s": 10}}, "grace_s=10 with heartbeat_s=30: expected more"),
    ],
)
def test_a_wrong_sweep_is_one_message(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(SweepConfig, {**PLAIN, **change})


def test_a_space_of_ones_own_takes_the_place_of_the_layers(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("space:\n  mappo.epochs: {kind: int, low: 1, high: 4}\ntrials: 7\n")
    found = load_sweep_config("execution", str(file), ["score.episodes=64"], None, None)
    assert list(found.space) == ["mappo.epochs"]
    assert (found.trials, found.score.episodes) == (7, 64)
    assert found.goals[0].metric == "shortfall_bp"
    assert load_sweep_config("execution", str(file), [], 3, 5).trials == 3


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("strategic", "is of the layer strategic, expected execution"),
        ("execution-frond", "unknown sweep 'execution-frond': did you mean 'execution-front'"),
        ("absent.yaml", "absent.yaml"),
    ],
)
def test_another_sweep_is_named(space: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_sweep_config("execution", space, [], None, None)


def test_budgets_grow_to_the_whole_one() -> None:
    one = load_config(SweepConfig, PLAIN)
    goals = [*PLAIN["goals"], {**PLAIN["goals"][0], "statistic": "deviation"}]
    several = load_config(SweepConfig, {**PLAIN, "goals": goals})
    assert one.budgets == (900,)
    assert several.budgets == (100, 300, 900)
    assert [goal.name for goal in several.goals] == ["shortfall_bp", "deviation of shortfall_bp"]
