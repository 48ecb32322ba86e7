"""The study of walks: gone on with by the same settings, told on the page as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from configs.errors import ConfigError, TrainingError
from configs.loading import load_config
from configs.market import BarReference
from configs.train import load_train_config
from experiments.page import page
from experiments.studies import write_parts
from experiments.walks.__main__ import ALL, main
from experiments.walks.study import PartWalk, walked, walks
from trainers.walk_forward.commands import WalkFolder
from trainers.walk_forward.folds import POLICY

TINY = PartWalk(
    layer="strategic",
    overrides=(
        "env.series.bars=9000",
        "env.series.walk_forward.folds=2",
        "env.horizon_bars=6",
        "mappo.runners=0",
        "mappo.num_envs=4",
        "mappo.rollout_length=6",
        "mappo.stagger=0",
        "mappo.stop.env_steps=24",
        "evaluation.min_parents=16",
        "evaluation.max_parents=16",
        "evaluation.batch_size=16",
        "tracking.enabled=false",
    ),
    wanted={"sharpe": "> 1.2"},
)


def test_every_part_trains_on_a_file_whose_place_may_be_told() -> None:
    for part, told in walks().parts.items():
        overrides = told.told("bars.csv")
        config = load_train_config(told.layer, told.presets, (), overrides, 0)
        assert isinstance(config.env.market.reference, BarReference), part
        assert str(config.env.market.reference.bars.path) == "bars.csv", part
        assert config.mappo.stop.env_steps is not None and config.mappo.stop.patience is None


def test_what_is_asked_of_no_measure_is_refused() -> None:
    with pytest.raises(ConfigError, match="wanted names turnover, expected one of total_return"):
        load_config(PartWalk, {"layer": "strategic", "wanted": {"turnover": "< 1"}})


def test_an_unknown_part_is_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategic-nqq"]) == 2
    assert f"expected one of {', '.join(walks().parts)}, {ALL}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_walk_is_kept_by_its_settings_and_told_on_the_page(tmp_path: Path) -> None:
    console, runs = Console(quiet=True), tmp_path / "runs"
    found = walked("tiny", TINY, runs, console)
    fold = runs / "tiny" / "fold-1" / "result.json"
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    again = walked("tiny", TINY, runs, console)
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()} == before
    assert again.as_dict() == found.as_dict()

    # Stopped before its end, it is gone on with: the fold that is missing alone.
    folder = WalkFolder.read(runs / "tiny")
    folder.finished = False
    folder.save()
    fold.unlink()
    gone_on = walked("tiny", TINY, runs, console)
    assert fold.is_file() and WalkFolder.read(runs / "tiny").finished
    first = runs / "tiny" / "fold-0" / "result.json"
    assert first.stat().st_mtime_ns == before[first]
    assert gone_on.found["folds"] == found.found["folds"]

    other = TINY.model_copy(update={"overrides": (*TINY.overrides, "mappo.gamma=0.5")})
    with pytest.raises(TrainingError, match="holds a walk by other settings"):
        walked("tiny", other, runs, console)
    for name in ("config.yaml", "walk-forward.json", "walk.json"):
        file = runs / "tiny" / name
        kept = file.read_bytes()
        file.write_bytes(b"\xff")
        with pytest.raises(TrainingError, match=rf"{name}.*expected"):
            walked("tiny", TINY, runs, console)
        file.write_bytes(kept)
    result = runs / "tiny" / "walk-forward.json"
    for other_json in ("[]", "{}", "1"):
        result.write_text(other_json)
        with pytest.raises(TrainingError, match=r"walk-forward\.json is no result of a walk"):
            walked("tiny", TINY, runs, console)
    result.unlink()
    # A fold from before there was one of the rules is judged anew, by what it was trained to.
    older = json.loads(first.read_text())
    rule = next(name for name in older["objectives"] if name != POLICY)
    del older["objectives"][rule]
    first.write_text(json.dumps(older))
    assert walked("tiny", TINY, runs, console).as_dict() == found.as_dict()
    assert rule in json.loads(first.read_text())["objectives"]
    (runs / "tiny" / "config.yaml").unlink()
    with pytest.raises(TrainingError, match=r"config\.yaml cannot be read.*to walk anew"):
        walked("tiny", TINY, runs, console)

    (path,) = write_parts([found], tmp_path / "results" / "walks")
    shown = page(tmp_path / "results")
    total = found.found["total"]["difference"]
    assert f"{total['mean_difference']:+.3f} bp" in shown and f"[{total['low']:+.3f}, " in shown
    (sharpe,) = [line for line in shown.splitlines() if "tiny, sharpe over" in line]
    assert "| > 1.2 |" in sharpe and found.found["commits"][0][:8] in sharpe
    pbo = json.loads(path.read_text())["traded"]["pbo"]["pbo"]
    assert f"| tiny, PBO | {pbo:.2f} |" in shown
