"""The learning study: seeds and paths redrawn together, proposals judged before they are mended."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade.artefact import MANIFEST_FILE, load_artefact
from configs.errors import TrainingError
from configs.evaluation import EvaluationConfig
from configs.execution import ExecutionConfig
from configs.risk import LimitConfig, RiskConfig
from envs.execution import BatchedExecution
from experiments.learning import __main__ as command
from experiments.learning.proposals import Judged
from experiments.learning.results import LayerResult, crossed_draws, table
from experiments.learning.settings import (
    LearningConfig,
    PartStudy,
    above_folder,
    learning,
    seed_folder,
    training,
)
from experiments.learning.study import Baselines, Played, SeedResult, baselines, seed_result
from experiments.studies import RESULT_FILE, write_parts
from signals.strategic import STRATEGIC
from trainers.baselines import execution_baselines
from trainers.evaluate import Match
from trainers.objective import SHORTFALL

STUDY = learning()
OUTPUT = Path("runs/learning")
EPISODES = 400


def played(values: Any, **more: Any) -> Played:
    metrics = {"shortfall_bp": list(values), "filled_before_cross": [1.0] * len(values)}
    metrics["slippage_bp"] = list(np.asarray(values) / 2.0)
    return Played(metrics | more, np.repeat(np.arange(len(values) // 2), 2).tolist(), 0.01)


def result(gains: Any, noise: float = 1.0) -> LayerResult:
    """Policies of as many seeds, each cheaper than TWAP by its gain on the mean."""
    rng = np.random.default_rng(0)
    path = rng.normal(3.0, 5.0, EPISODES)
    twap, other = played(path), played(path + 0.5)
    trainings = tuple(
        SeedResult(
            "execution", seed, 10, 0.1, played(path - gain + rng.normal(0, noise, EPISODES)), {}, {}
        )
        for seed, gain in enumerate(gains)
    )
    return LayerResult(
        "execution",
        "execution",
        trainings,
        Baselines("execution", {"vwap": other, "twap": twap}, {}, {}),
    )


def test_the_best_baseline_is_the_one_that_is_compared_with_first() -> None:
    found = result(np.full(8, 0.4))
    assert found.best == "twap"
    best, worse = found.differences
    assert (best.baseline, worse.baseline) == ("twap", "vwap")
    assert best.mean == pytest.approx(-0.4, abs=0.1)
    assert worse.mean == pytest.approx(best.mean - 0.5)
    assert best.low is not None and best.high is not None
    assert best.low < best.mean < best.high < 0.0
    assert best.probability == 1.0
    assert best.seeds_better == 8
    figures = found.figures()
    assert figures["violations"] == pytest.approx(0.01)
    assert figures["slippage_of_aggressive_twap"] < 1.0


def test_seeds_that_disagree_widen_the_interval() -> None:
    alike, apart = result(np.full(8, 0.4)), result(np.linspace(-1.6, 2.4, 8))
    narrow, wide = alike.differences[0], apart.differences[0]
    assert wide.mean == pytest.approx(narrow.mean, abs=0.05)
    assert wide.high - wide.low > 4.0 * (narrow.high - narrow.low)  # type: ignore[operator]
    assert wide.high > 0.0  # type: ignore[operator]
    assert 0.5 < wide.probability < 1.0  # type: ignore[operator]
    (single,) = result([0.4]).differences[:1]
    assert (single.low, single.probability) == (None, None)


def test_each_training_alone_is_judged_as_evaluate_judges() -> None:
    """A lead is evidence, a lag is none, nor is to do as the best baseline does."""
    found = result([0.8, -0.8, 0.0])
    assert [told.says for told in found.verdicts] == ["evidence", "no evidence", "no evidence"]
    assert found.verdicts[0].periods == EPISODES // 2
    assert found.figures()["told_as_evidence"] == pytest.approx(1 / 3)
    same = result([0.0], noise=0.0)
    assert not same.verdicts[0].is_evidence


def test_wins_are_of_episodes_that_won_or_lost() -> None:
    def earned(values: list[float]) -> LayerResult:
        names = ("return_bp", "costs_bp", "turnover", "exposure", "worst_drawdown_bp")
        told = Played(dict.fromkeys(names, values), list(range(len(values))))
        flat = Played(dict.fromkeys(names, [0.0] * len(values)), told.clusters)
        trained = SeedResult("strategic", 0, 10, 0.1, told, {}, {})
        rules = Baselines("strategic", {"flat": flat}, {}, {})
        return LayerResult("strategic", "strategic", (trained,), rules)

    figures = earned([30.0, -10.0, 0.0, -20.0, 0.0]).figures()
    assert figures["win_rate"] == pytest.approx(1 / 3)
    assert figures["payoff_ratio"] == pytest.approx(2.0)
    assert "win_rate" not in earned([0.0] * 5).figures()


def test_noise_has_regimes_of_volatility_and_nothing_to_foresee() -> None:
    config = training(STUDY, "strategic-noise", 0, OUTPUT)
    assert {regime.drift for regime in config.env.market.reference.regimes} == {0.0}
    usual = training(STUDY, "strategic-trending", 0, OUTPUT).env.market.reference.regimes
    drawn = config.env.market.reference.regimes
    assert [each.volatility for each in drawn] == [each.volatility for each in usual]


def test_what_is_asked_of_figures_is_asked_of_some_there_are() -> None:
    found = result([0.4, 0.4])
    assert set(STUDY.parts["execution"].wanted) <= set(found.figures())
    assert set(STUDY.parts["strategic-noise"].wanted) <= set(found.figures())


def test_redrawing_is_of_seeds_and_clusters_by_hand() -> None:
    """The variance of a crossed mean, from its rows' and its columns' own."""
    rng = np.random.default_rng(3)
    rows, columns = rng.normal(0.0, 1.0, (12, 1)), rng.normal(0.0, 2.0, (1, 60))
    values = np.repeat(rows + columns, 2, axis=1)
    draws = crossed_draws(values, np.repeat(np.arange(60), 2))
    assert draws.mean() == pytest.approx(values.mean(), abs=0.05)
    assert draws.var() == pytest.approx(rows.var() / 12 + columns.var() / 60, rel=0.1)


def judged(rules: RiskConfig | None, episodes: int = 4) -> Judged:
    config = ExecutionConfig()
    actor = Judged(execution_baselines(config, 12)["twap"], config, rules)
    told = EvaluationConfig(min_parents=episodes, max_parents=episodes, batch_size=episodes)
    match = Match(
        lambda num: BatchedExecution(config, num, split="test"), {"twap": actor}, told, SHORTFALL
    )
    match.play_batch()
    return actor


def test_twap_proposes_nothing_that_the_rules_would_not_let_pass() -> None:
    found = judged(None)
    proposals, violations = found.counts
    horizon = ExecutionConfig().parent.horizon_steps
    assert 2 * horizon < proposals <= 4 * horizon
    assert violations == 0
    assert found.share == 0.0


def test_what_the_rules_would_cut_is_a_violation_though_nothing_is_mended() -> None:
    free = judged(None)
    bound = judged(RiskConfig(limits=LimitConfig(order_units=1)))
    assert bound.counts[0] == free.counts[0]  # the same episodes, played alike
    assert bound.share > 0.9


def test_what_is_written_holds_means_and_no_episodes(tmp_path: Path) -> None:
    found = result(np.full(3, 0.4))
    (path,) = write_parts([found], tmp_path / "new")
    data = json.loads(path.read_text())
    assert data["episodes"] == EPISODES
    assert data["clusters"] == EPISODES // 2
    assert "played" not in data["trainings"][0]
    assert data["differences"][0]["baseline"] == "twap"
    assert table(found).row_count == 2


def test_other_settings_and_layers_are_refused(tmp_path: Path, capsys: Any) -> None:
    kept = vars(result([0.4]).trainings[0]) | {"config": {"seed": 5}}
    kept["played"] = vars(kept["played"])
    folder = seed_folder(tmp_path, "execution", 0)
    folder.mkdir(parents=True)
    (folder / RESULT_FILE).write_text(json.dumps(kept))
    with pytest.raises(TrainingError, match="other settings"):
        seed_result(STUDY, "execution", 0, tmp_path)
    assert command.main(["strategc"]) == 2
    assert "unknown part 'strategc': expected one of" in capsys.readouterr().err


def test_baselines_are_kept_as_long_as_their_episodes_are_the_same(tmp_path: Path) -> None:
    config = training(STUDY, "strategic", 0, tmp_path).model_dump(mode="json")
    once = {"metrics": {"return_bp": [0.0]}, "clusters": [0]}
    names = ("buy_and_hold", "flat", "momentum", "mean_reversion")
    file = tmp_path / "strategic" / "baselines" / RESULT_FILE
    file.parent.mkdir(parents=True)

    def keep(*played: str, **settings: Any) -> None:
        told = dict.fromkeys(played or names, once)
        plain = {"layer": "strategic", "played": told, "config": settings, "made": {}}
        file.write_text(json.dumps(plain))

    keep(env=config["env"], evaluation=config["evaluation"])
    assert set(baselines(STUDY, "strategic", tmp_path).played) == set(names)
    keep("flat", "momentum", env=config["env"], evaluation=config["evaluation"])
    with pytest.raises(TrainingError, match=r"holds flat, momentum, expected buy_and_hold, flat,"):
        baselines(STUDY, "strategic", tmp_path)
    keep(env=config["env"] | {"horizon_bars": 5}, evaluation=config["evaluation"])
    with pytest.raises(TrainingError, match="on other episodes"):
        baselines(STUDY, "strategic", tmp_path)


def test_what_lies_above_is_a_part_of_the_strategic_layer() -> None:
    part = {"layer": "tactical", "under": "strategc", "episodes": 1, "seeds": 1}
    with pytest.raises(ValueError, match=r"parts.low.under is strategc, expected a part of the"):
        LearningConfig.model_validate({"parts": {"low": part}})


@pytest.mark.parametrize("part", STUDY.parts)
def test_seeds_train_apart_and_are_judged_alike(part: str) -> None:
    first, second = (training(STUDY, part, seed, OUTPUT) for seed in (0, 1))
    _, _, market = part.partition("-")
    assert first.env.market.name == (market or "builtin")
    assert first.mappo.seed != second.mappo.seed
    assert first.evaluation == second.evaluation
    assert first.evaluation.min_parents == STUDY.parts[part].episodes


@pytest.mark.slow
def test_the_study_trains_plays_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = (
        "mappo.stop.env_steps=400",
        "mappo.num_envs=8",
        "mappo.rollout_length=25",
        "mappo.runners=0",
        "evaluation.batch_size=4",
    )
    part = PartStudy(layer="execution", overrides=quick, episodes=8, seeds=2)
    small = STUDY.model_copy(update={"parts": {"execution": part}})
    monkeypatch.setattr(command, "learning", lambda: small)
    alone = Namespace(part="all", seeds=None, only=1, output=str(tmp_path))
    (found,) = command.run(alone)
    assert [one.seed for one in found.trainings] == [1]
    given = Namespace(part="all", seeds=None, only=None, output=str(tmp_path))
    (found,) = command.run(given)
    assert [one.seed for one in found.trainings] == [0, 1]
    assert len(found.baselines.played) == 8  # four, each in both forms
    assert all(len(one.played.clusters) == 8 for one in found.trainings)
    assert all(0.0 <= (one.played.violations or 0.0) <= 1.0 for one in found.trainings)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob(RESULT_FILE)}
    assert len(times) == 3
    (again,) = command.run(given)
    assert again == found
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob(RESULT_FILE)} == times


@pytest.mark.slow
def test_a_part_trains_under_the_first_seed_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = (
        "env.series.bars=4000",
        "mappo.num_envs=8",
        "mappo.rollout_length=24",
        "mappo.stop.env_steps=400",
        "mappo.runners=0",
        "evaluation.batch_size=4",
    )
    few: dict[str, Any] = {"presets": ("mlp",), "episodes": 4, "seeds": 1}
    above = PartStudy(layer="strategic", overrides=(*quick, "env.series.embargo_bars=100"), **few)
    under = PartStudy(
        layer="tactical",
        overrides=(*quick, "env.series.bars=16000", "env.series.seed=1"),
        under="above",
        **few,
    )
    small = STUDY.model_copy(update={"parts": {"under": under, "above": above}})
    monkeypatch.setattr(command, "learning", lambda: small)
    given = Namespace(part="under", seeds=None, only=None, output=str(tmp_path))
    (found,) = command.run(given)
    folder = above_folder(tmp_path, "above")
    told = load_artefact(folder, STRATEGIC).manifest
    assert (told.layer, told.trained_on is None) == ("strategic", False)
    assert found.trainings[0].config["env"]["upstream"]["strategic"] == str(folder)
    written = (folder / MANIFEST_FILE).stat().st_mtime_ns
    command.run(given)
    assert (folder / MANIFEST_FILE).stat().st_mtime_ns == written
