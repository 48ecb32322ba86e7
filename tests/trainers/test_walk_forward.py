"""Walks forward: folds in a row, kept results, an honest total."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from configs.errors import ConfigError, TrainingError
from configs.evaluation import EvaluationConfig
from configs.loading import dump_yaml
from configs.train import load_train_config
from tests.trainers.checkpoints import unfinished
from trainers.layers import LAYERS
from trainers.runs import RunFolder
from trainers.walk_forward.backtest import Played, chained, in_words, judged, kept_bars
from trainers.walk_forward.commands import PAGE_FILE, WalkFolder, WalkRequest, run_walk_forward
from trainers.walk_forward.folds import (
    POLICY,
    FoldResult,
    kept_result,
    of_fold,
    split_place,
    standing_result,
)
from trainers.walk_forward.results import RESULT_FILE, TEXT_FILE, aggregated

TOLD = EvaluationConfig(bootstrap_samples=500)
OBJECTIVE = LAYERS["strategic"].objective


def fold(number: int, gain: float, days: int = 40, offset: int = 0) -> FoldResult:
    """Episodes whose policy gains so much over the flat baseline, noise apart."""
    noise = np.random.default_rng(number).normal(0.0, 1.0, days)
    flat = np.random.default_rng(100 + number).normal(0.0, 5.0, days)
    return FoldResult(
        fold=number,
        trained_on="2000-01-01 to 2001-01-01",
        env_steps=10,
        minutes=1.0,
        objectives={
            POLICY: (flat + gain + noise).tolist(),
            "flat": flat.tolist(),
            "bad": (flat - 9.0).tolist(),
        },
        metrics={},
        clusters=list(range(offset, offset + days)),
        config={},
        tracking_run=None,
        commit=f"c{number}",
    )


def test_the_total_counts_every_episode_once_against_one_rival() -> None:
    found = aggregated("strategic", [fold(0, 2.0), fold(1, 4.0, 80, 40)], OBJECTIVE, TOLD)
    assert found.rival == "flat" and found.ahead == 2
    assert found.as_dict()["commits"] == ["c0", "c1"]
    assert found.total.difference.n == 120
    gains = [line.difference.mean_difference for line in found.lines]
    assert found.total.difference.mean_difference == pytest.approx((gains[0] + 2 * gains[1]) / 3)
    assert "did better out of sample than the best baseline, 'flat'" in found.verdict
    assert "ahead in 2 of 2 folds" in found.verdict


def test_noise_is_not_told_apart() -> None:
    found = aggregated("strategic", [fold(0, 0.0), fold(1, 0.0, offset=40)], OBJECTIVE, TOLD)
    assert "cannot be told apart" in found.verdict


def test_days_that_several_folds_play_are_drawn_together() -> None:
    apart = aggregated("strategic", [fold(0, 0.0), fold(0, 0.0, offset=40)], OBJECTIVE, TOLD)
    shared = aggregated("strategic", [fold(0, 0.0), fold(0, 0.0)], OBJECTIVE, TOLD)
    # The same days twice say no more than once; counted as others they would seem to.
    assert shared.total.difference.clusters == 40
    assert shared.total.difference.half_width > 1.2 * apart.total.difference.half_width


def test_where_a_layer_is_split() -> None:
    def place(layer: str, *overrides: str) -> str:
        return split_place(load_train_config(layer, [], [], overrides, None))

    assert place("strategic") == "env.series"
    bars = "env.market.reference.bars.path=x.csv"
    kind = "env.market.reference.kind=bars"
    assert place("tactical", kind, bars) == "env.market.reference"
    assert place("execution", kind, bars) == "env.market.reference"
    loaded = ("env.upstream.strategic=a", "env.upstream.tactical=b")
    assert place("execution", *loaded) == "env.upstream.series"
    with pytest.raises(ConfigError, match="no dates to walk along"):
        place("execution")


def played(first: int, length: int, value: float) -> Played:
    """Bars of 13 a day whose returns are `value`, and of a baseline that is flat."""
    number = np.arange(first, first + length)
    flat = np.zeros(length)
    return Played(number, 10_000 + number // 13, {POLICY: flat + value, "flat": flat})


def test_every_bar_counts_once_and_is_the_mean_of_the_folds_that_hold_it_out() -> None:
    whole = chained([played(40, 20, 0.03), played(0, 50, 0.01)])
    assert whole.number.tolist() == list(range(60))
    assert whole.day.tolist() == [10_000 + n // 13 for n in range(60)]
    returns = whole.returns[POLICY]
    assert returns[:40] == pytest.approx(0.01)
    assert returns[40:50] == pytest.approx(0.02)
    assert returns[50:] == pytest.approx(0.03)
    assert (whole.returns["flat"] == 0.0).all()


def test_what_a_walk_earned_is_told_with_what_luck_would_have() -> None:
    config = load_train_config("strategic", [], [], [], None)
    rng = np.random.default_rng(5)
    bars = played(0, 13 * 300, 0.0)
    bars.returns[POLICY][:] = rng.normal(2e-4, 1e-3, len(bars.number))
    bars.returns["bad"] = rng.normal(-2e-4, 1e-3, len(bars.number))
    found = judged(config, bars)
    assert found is not None and found.alone is not None and found.pbo is not None
    days = (1.0 + bars.returns[POLICY]).reshape(300, 13).prod(axis=1) - 1.0
    assert found.gains[POLICY] == pytest.approx(days)
    year = 300 / 300 * 365.25
    sharpe = days.mean() / days.std(ddof=1) * year**0.5
    assert found.alone.sharpe == pytest.approx(sharpe, rel=1e-6)
    assert found.alone.trials == 1
    assert "DSR" in in_words(found) and "PBO" in in_words(found)
    assert judged(config, played(0, 10, 0.01)) is None  # too few for any interval


def request(output: Path, **more: Any) -> WalkRequest:
    """A walk of two tiny folds."""
    overrides = (
        "env.series.bars=9000",
        "env.horizon_bars=6",
        "mappo.runners=0",
        "mappo.num_envs=4",
        "mappo.rollout_length=6",
        "mappo.stagger=0",
        "mappo.stop.env_steps=48",
        "evaluation.min_parents=16",
        "evaluation.max_parents=16",
        "evaluation.batch_size=16",
        "tracking.enabled=false",
    )
    told: dict[str, Any] = {"overrides": overrides, "folds": 2, "output": str(output), **more}
    return WalkRequest(layer="strategic", **told)


def test_what_would_see_the_fold_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    console = Console(quiet=True)
    loaded = (*request(tmp_path).overrides, "env.upstream.strategic=models")
    with pytest.raises(ConfigError, match="--scheme combinatorial: training lies on both sides"):
        told = request(tmp_path / "a", overrides=loaded, scheme="combinatorial", folds=4)
        run_walk_forward(replace(told, layer="tactical"), console)
    seen = (*request(tmp_path).overrides, "mappo.stop.patience.scores=3")
    with pytest.raises(ConfigError, match=r"mappo\.stop\.patience is set, expected null"):
        run_walk_forward(request(tmp_path / "a", overrides=seen), console)
    with pytest.raises(TrainingError, match="holds no walk"):
        again = WalkRequest(layer="strategic", output=str(tmp_path / "b"), resume=True)
        run_walk_forward(again, console)
    with pytest.raises(ConfigError, match="--resume goes on with the settings"):
        run_walk_forward(request(tmp_path / "b", resume=True), console)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_walk_trains_every_fold_on_its_past_and_keeps_what_is_finished(tmp_path: Path) -> None:
    folder = tmp_path / "walk"
    result = run_walk_forward(request(folder), Console(quiet=True))
    told = json.loads((folder / RESULT_FILE).read_text())
    assert told["verdict"] == result.verdict and len(told["folds"]) == 2
    found = result.traded
    assert found is not None
    bars = chained([kept_bars(folder / f"fold-{k}") for k in range(2)])
    assert found.unit == "bar" and found.lead.size == len(bars.number)
    assert len(np.unique(bars.number)) == len(bars.number)
    assert told["traded"]["pbo"] is not None and told["traded"]["alone"]["dsr"] is not None
    page = (folder / PAGE_FILE).read_text(encoding="utf-8")
    assert "retrained 2 times" in page and "<svg" in page
    assert str(found.alone) in (folder / TEXT_FILE).read_text(encoding="utf-8")
    kept = [kept_result(folder / f"fold-{k}") for k in range(2)]
    first, second = (found for found in kept if found is not None)
    assert first.config["env"]["series"]["fold"] == 0
    assert second.config["env"]["series"]["fold"] == 1
    assert max(first.clusters) < min(second.clusters)  # each on what comes after its past
    # The second fold is lost: resuming trains it alone, and comes to the same.
    (folder / "fold-1" / "result.json").unlink()
    state = folder / "fold-0" / "result.json"
    before = state.stat().st_mtime_ns
    resume = WalkRequest(layer="strategic", output=str(folder), resume=True)
    again = run_walk_forward(resume, Console(quiet=True))
    assert state.stat().st_mtime_ns == before
    assert again.total.difference == result.total.difference
    assert again.traded is not None
    assert (again.traded.gains[POLICY] == found.gains[POLICY]).all()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_combinatorial_walk_holds_every_bar_out_more_than_once(tmp_path: Path) -> None:
    folder = tmp_path / "walk"
    result = run_walk_forward(request(folder, scheme="combinatorial", folds=4), Console(quiet=True))
    folds = [kept_bars(folder / f"fold-{k}") for k in range(len(result.lines))]
    assert len(folds) == 6  # of 4 blocks, 2 at a time
    _, times = np.unique(np.concatenate([fold.number for fold in folds]), return_counts=True)
    assert times.max() == 3
    whole = chained(folds)
    assert result.traded is not None and len(times) == len(whole.number)


def test_a_fold_that_cannot_go_on_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    home = tmp_path / "walk"
    overrides = [f"output={tmp_path}", "tracking.enabled=false"]
    config = load_train_config("strategic", [], [], overrides, None)
    folder = WalkFolder(home)
    folder.fold(1).mkdir(parents=True)
    folder.base.write_text(dump_yaml(config))
    fold = of_fold(config, split_place(config), 1)
    unfinished(folder.fold(1), fold, kernels="others")
    RunFolder(folder.fold(1), []).begin(fold, None)
    folder.finish()
    assert standing_result(of_fold(config, split_place(config), 0), folder.fold(0)) is None
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with pytest.raises(TrainingError, match=r"fold-1.* trained with simulator kernels others, her"):
        run_walk_forward(
            WalkRequest("strategic", output=str(home), resume=True), Console(quiet=True)
        )
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
