"""The study of shares of the optimum: what it judges by, keeps and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from configs.analytic import AnalyticConfig
from configs.errors import EXIT_CODE, RegistryError
from configs.mappo import MappoConfig
from envs.analytic import make_batched
from envs.analytic.kernel import METRICS
from experiments.analytic import __main__ as command
from experiments.analytic.playing import play, share_of
from experiments.analytic.policies import TablePolicy, best, rules_of, twap
from experiments.analytic.results import TaskResult, table, verdicts
from experiments.analytic.settings import (
    ANALYTIC,
    TARGETS,
    TASKS,
    JudgingConfig,
    StudyConfig,
    settings,
)
from experiments.analytic.steady import steady
from experiments.analytic.study import Judge, SeedResult, solution_of
from experiments.studies import named

TINY = JudgingConfig(episodes=256, bootstrap_samples=100)


def of_market(task: str, seed: int = 0, **told: int) -> StudyConfig:
    """The settings of a task in an analytic market."""
    found = settings(task, seed, **told)
    assert isinstance(found, StudyConfig)
    return found


@pytest.mark.parametrize("task", ANALYTIC)
def test_settings_name_a_market_and_a_target(task: str) -> None:
    config = of_market(task, 2, frames=8192, episodes=64)
    assert (config.mappo.seed, config.mappo.stop.env_steps) == (2, 8192)
    assert config.judging.episodes == 64
    assert isinstance(config.mappo, MappoConfig) and task in TARGETS
    named = {"neutral": "almgren_chriss", "ar1_cost": "ar1"}.get(task, task)
    assert config.market.name == named
    assert config.mappo.gamma == 1.0 or named != "almgren_chriss"


def test_the_issues_markets_are_those_of_the_study() -> None:
    for task in ("ar1", "ar1_cost"):
        assert of_market(task).market.law.model_dump()["phi"] == 0.98
    base = AnalyticConfig.model_validate({"law": {"kind": "almgren_chriss"}}).law
    assert of_market("almgren_chriss").market.law == base  # the paper's base case
    assert of_market("neutral").market.law.model_dump()["risk_aversion"] == 0.0
    wanted = {"ar1": 0.90, "regime": 0.85, "almgren_chriss": 0.90, "oracle": 0.80}
    assert {task: TARGETS[task].wanted for task in wanted} == wanted


def test_tasks_are_named() -> None:
    assert named("all", TASKS, "all", "task") == TASKS
    assert named("ar1", TASKS, "all", "task") == ("ar1",)
    with pytest.raises(RegistryError, match=r"unknown task 'regimes'.* did you mean 'regime'"):
        named("regimes", TASKS, "all", "task")


@pytest.mark.parametrize("task", ["ar1", "regime", "almgren_chriss", "oracle"])
def test_the_best_policy_has_the_share_of_one_and_rules_less(task: str) -> None:
    market = of_market(task).market.model_copy(update={"horizon_bars": 20})
    judge = Judge(task, market, TINY)
    share = judge.judge(judge.optimum)
    assert (share.value, share.low, share.high) == (1.0, 1.0, 1.0)
    assert all(value < 1.0 for value in judge.rules().values())


def test_twap_has_none_of_the_gap_and_all_of_neutral() -> None:
    judge = Judge("almgren_chriss", of_market("almgren_chriss").market, TINY)
    assert judge.rules() == {"twap": 0.0}
    neutral = Judge("neutral", of_market("neutral").market, TINY)
    assert neutral.rules()["twap"] == pytest.approx(0.0, abs=1e-12)


def test_who_trades_at_random_has_a_turnover() -> None:
    market = of_market("random_walk").market
    judge = Judge("random_walk", market, TINY)
    assert judge.judge(judge.optimum).value == 0.0

    class AtRandom:
        def act(self, rows: np.ndarray) -> np.ndarray:
            return np.random.default_rng(0).integers(0, 5, (len(rows), 4)).astype(np.float32)

    share = judge.judge(judge.play(AtRandom()))
    assert not TARGETS["random_walk"].met(share.value)


def test_twap_is_for_liquidations() -> None:
    with pytest.raises(TypeError, match="liquidates nothing"):
        twap(solution_of(settings("ar1", 0).market).problem)


def test_policies_of_tables_play_the_tables_of_both_sides() -> None:
    """A liquidation's holdings, unit by unit, for long and short alike."""
    config = of_market("almgren_chriss").market
    solution = solution_of(config)
    policy, env = best(solution), make_batched(8, config=config)
    env.reset()
    held = [env.arrays.units.copy()]
    for _ in range(config.horizon_bars):
        env.step(policy.act(env.rows))
        held.append(env.arrays.units.copy())
    paths = np.array(held)
    assert set(paths[0]) == {-60, 60}
    sides = np.sign(paths[0])
    place, wanted = solution.problem.first_position, []
    for bar in solution.policy:
        wanted.append(place - 60)
        place = int(bar[0, place])
    assert (paths[:-1] * sides == np.array(wanted)[:, None]).all()
    assert not paths[-1].any()


def test_played_episodes_are_the_same_for_all_and_others_by_seed() -> None:
    config = AnalyticConfig.model_validate({"law": {"kind": "iid"}, "horizon_bars": 8})
    problem = solution_of(config).problem
    rule = TablePolicy(problem, rules_of(problem)["by_sign"])
    first, again, other = (play(config, rule, 64, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.metrics, again.metrics)
    assert not np.array_equal(first.metrics, other.metrics)


@pytest.mark.parametrize("task", ["ar1", "regime", "oracle", "almgren_chriss"])
def test_the_steady_reward_has_the_mean_of_the_reward_and_less_noise(task: str) -> None:
    """Step by step it adds up to the metric that policies are judged by."""
    config = of_market(task).market.model_copy(update={"horizon_bars": 20})
    env, rng = make_batched(512, config=config), np.random.default_rng(0)
    env.reset()
    total = np.zeros(512)
    for _ in range(config.horizon_bars):
        actions = rng.integers(0, 5, (512, 4)).astype(np.float32)
        env.step(actions)
        paid = steady(env, actions)
        assert paid.shape == env.rewards.shape and paid.dtype == np.float32
        total += paid[:, 0]
    utility, told = (
        env.episode_metrics[:, METRICS.index(name)] for name in ("utility_bp", "steady_utility_bp")
    )
    assert total == pytest.approx(told, abs=1e-2)
    assert (told - utility).mean() == pytest.approx(
        0.0, abs=4.5 * (told - utility).std() / 512**0.5
    )
    assert told.std() <= utility.std() + 1e-9


def test_a_share_is_a_ratio_of_means_with_an_interval() -> None:
    rng = np.random.default_rng(0)
    possible = rng.normal(1.0, 0.5, 4000)
    gained = 0.9 * possible + rng.normal(0.0, 0.1, 4000)
    share = share_of(gained, possible, 0.95, 500, 0)
    assert share.low < 0.9 < share.high and share.high - share.low < 0.02
    assert share.low < share.value < share.high


def arguments(output: Path, *more: str) -> list[str]:
    tiny = ["--seeds", "1", "--frames", "5120", "--episodes", "128", "--output", str(output)]
    return ["almgren_chriss", *tiny, *more]


@pytest.mark.slow
def test_a_tiny_study_trains_judges_keeps_and_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments(tmp_path)) == 0
    said = capsys.readouterr().out
    assert "wanted >= 0.9, over 1 seeds: " in said
    told = json.loads((tmp_path / "almgren_chriss.json").read_text())
    kept = json.loads((tmp_path / "almgren_chriss" / "seed-0" / "result.json").read_text())
    assert told["seeds"] == [kept] and kept["frames"] == 5120
    assert kept["made"]["commit"] and kept["optimum"] == pytest.approx(kept["expected"], abs=1e-6)
    found = SeedResult.from_dict(kept)
    result = TaskResult("almgren_chriss", (found,))
    assert result.mean == found.figure.value and result.spread is None
    assert len(verdicts([result])) == 1 and table([result]).row_count == 2
    # Kept: no training the second time; other settings are refused.
    before = (tmp_path / "almgren_chriss" / "seed-0" / "result.json").stat().st_mtime_ns
    assert command.main(arguments(tmp_path, "--json")) == 0
    assert (tmp_path / "almgren_chriss" / "seed-0" / "result.json").stat().st_mtime_ns == before
    assert command.main([*arguments(tmp_path), "--episodes", "64"]) == EXIT_CODE
    assert "other settings" in capsys.readouterr().err


def test_a_folder_of_someone_elses_is_not_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "almgren_chriss" / "seed-0" / "theirs.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("kept")
    assert command.main(arguments(tmp_path, "--force")) == EXIT_CODE
    assert "no training of this study" in capsys.readouterr().err
    assert theirs.read_text() == "kept"
