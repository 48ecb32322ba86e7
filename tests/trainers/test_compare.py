"""Runs compared: only where they play the same game, and paired on the same episodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from configs.errors import ConfigError, TrainingError
from configs.tactical import TacticalConfig
from configs.train import load_train_config
from tests.trainers.rays import local_ray
from trainers.compare import CURVES_PLOT, RESULT_FILE, CompareRequest, names, run_compare
from trainers.differences import as_judged, differences
from trainers.layers import LAYERS
from trainers.recording import RunRecorder
from trainers.runs import RunFolder
from trainers.tracking import flatten
from trainers.train import train

QUIET = Console(quiet=True)
TINY = (
    "mappo.num_envs=4",
    "mappo.rollout_length=4",
    "mappo.stagger=0",
    "mappo.stop.env_steps=32",
    "evaluation.batch_size=8",
    "tracking.enabled=false",
)


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(1):
        yield


def trained(path: Path, *overrides: str) -> Path:
    """A run of a moment, as `grandmodel train` leaves it."""
    config = load_train_config("execution", [], [], [*TINY, *overrides], None)
    run = RunFolder(path, [])
    path.mkdir()
    run.begin(config, None)
    told = {"config": config.env.model_dump(mode="json")}
    recorder = RunRecorder(run)
    make = LAYERS["execution"].make
    train(config.mappo, make, told, path, on_iteration=lambda report: recorder.keep(report))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    return {
        "a": trained(root / "a"),
        "b": trained(root / "b", "seed=1", "env.reward.risk_aversion=1e-2"),
        "other": trained(root / "other", "env.step_seconds=5"),
    }


@pytest.mark.slow
def test_runs_are_paired_on_the_same_episodes(runs: dict[str, Path], tmp_path: Path) -> None:
    told = CompareRequest([runs["a"], runs["b"]], "validation", 16, tmp_path)
    found = run_compare(told, QUIET)
    assert list(found.means) == ["a", "b"] and list(found.differences) == ["b"]
    paired = found.differences["b"]
    assert paired.n == 16
    assert paired.mean_a == found.means["b"].mean and paired.mean_b == found.means["a"].mean
    assert paired.correlation > 0.5  # the same random numbers
    assert found.settings["seed"] == {"a": "0", "b": "1"}
    assert found.settings["env.reward.risk_aversion"] == {"a": "0.001", "b": "0.01"}
    assert "output" not in found.settings
    assert json.loads((tmp_path / RESULT_FILE).read_text())["verdicts"] == found.verdicts
    assert (tmp_path / CURVES_PLOT).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_another_environment_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"env\.step_seconds=5\.0 \(there 4\.0\)"):
        run_compare(CompareRequest([runs["a"], runs["other"]], output=tmp_path / "x"), QUIET)
    with pytest.raises(ConfigError, match="named twice"):
        run_compare(CompareRequest([runs["a"], runs["a"]], output=tmp_path / "x"), QUIET)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got 1 run, expected two or more"):
        run_compare(CompareRequest([tmp_path]), QUIET)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(TrainingError, match="expected the folder of a run with a checkpoint"):
        run_compare(CompareRequest([tmp_path / "a", tmp_path / "b"]), QUIET)


def test_what_training_alone_knows_makes_no_other_episodes() -> None:
    default = flatten(TacticalConfig().model_dump(mode="json"))
    told = {"tilt": {"commitment_bars": 72}, "critic_sees_path": False, "reward": {"limit": 0.5}}
    other = flatten(TacticalConfig.model_validate(told).model_dump(mode="json"))
    assert differences(other, default, "was", "env.") == (
        "env.critic_sees_path=False (was True), env.reward.limit=0.5 (was 1.0), "
        "env.tilt.commitment_bars=72 (was 1)"
    )
    assert as_judged(other) == as_judged(default)
    longer = TacticalConfig.model_validate({"horizon_bars": 96}).model_dump(mode="json")
    assert as_judged(flatten(longer)) != as_judged(default)


def test_names_are_as_short_as_tells_them_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "one" / "trial-1", tmp_path / "two" / "trial-1"]
    assert names(paths) == ["one/trial-1", "two/trial-1"]
    assert names([tmp_path / "one", tmp_path / "two"]) == ["one", "two"]
