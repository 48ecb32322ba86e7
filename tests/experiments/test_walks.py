"""The study of walks: gone on with by the same settings, told on the page as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from configs.errors import TrainingError
from configs.market import BarReference
from experiments.page import page
from experiments.studies import write_parts
from experiments.walks.__main__ import ALL, main
from experiments.walks.study import PartWalk, walked, walks
from trainers.evaluation import metrics

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


def test_every_part_trains_on_the_files_past_and_asks_of_what_is_measured() -> None:
    for part, told in walks().parts.items():
        config = told.config()
        assert isinstance(config.env.market.reference, BarReference), part
        assert config.mappo.stop.env_steps is not None and config.mappo.stop.patience is None
        for name in told.wanted:
            assert callable(getattr(metrics, name, None)), name


def test_an_unknown_part_is_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategic-nqq"]) == 2
    assert f"expected one of {', '.join(walks().parts)}, {ALL}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_walk_is_kept_by_its_settings_and_told_on_the_page(tmp_path: Path) -> None:
    console = Console(quiet=True)
    found = walked("tiny", TINY, tmp_path / "runs", console)
    fold = tmp_path / "runs" / "tiny" / "fold-1" / "result.json"
    before = fold.stat().st_mtime_ns
    again = walked("tiny", TINY, tmp_path / "runs", console)
    assert fold.stat().st_mtime_ns == before
    assert again.found.as_dict() == found.found.as_dict()

    told = TINY.overrides[:-1]
    other = TINY.model_copy(update={"overrides": (*told, "mappo.gamma=0.5")})
    with pytest.raises(TrainingError, match="holds a walk by other settings"):
        walked("tiny", other, tmp_path / "runs", console)

    made = tmp_path / "runs" / "tiny" / "made.json"
    kept = made.read_bytes()
    made.write_text("[1")
    with pytest.raises(TrainingError, match="to walk anew"):
        walked("tiny", TINY, tmp_path / "runs", console)
    made.write_bytes(kept)

    (path,) = write_parts([found], tmp_path / "results" / "walks")
    shown = page(tmp_path / "results")
    total = found.found.total.difference
    assert f"{total.mean_difference:+.3f} bp" in shown and f"[{total.low:+.3f}, " in shown
    (sharpe,) = [line for line in shown.splitlines() if "tiny, sharpe over" in line]
    assert "| > 1.2 |" in sharpe and found.made["commit"][:8] in sharpe
    data = json.loads(path.read_text())
    pbo = data["traded"]["pbo"]["pbo"]
    assert f"| tiny, PBO | {pbo:.2f} |" in shown
