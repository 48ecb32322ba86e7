"""The study over the book: costs that are measured, the best policy played, what is judged."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from configs.loading import load_config
from configs.strategic import StrategicConfig
from envs.strategic import make_batched
from experiments.analytic import __main__ as command
from experiments.analytic.charges import (
    SCRIPT_SEEDS,
    Measured,
    foresight_of,
    lattice_for,
    measure,
    places_of,
)
from experiments.analytic.playing import HELD_OUT, Played, share_of
from experiments.analytic.results import TaskResult, verdicts
from experiments.analytic.settings import (
    STRATEGIC,
    TARGETS,
    StrategicJudgingConfig,
    StrategicStudyConfig,
    settings,
)
from experiments.analytic.strategic import BestPolicy, Reading, StrategicJudge
from experiments.analytic.study import SeedResult
from signals.strategic import strategic_layout
from tests.envs.layers import SMALL
from trainers.evaluate import EVALUATION_SEEDS

JUDGING = StrategicJudgingConfig(episodes=64, bootstrap_samples=100, script_episodes=128)
SHOWN = {"next_return": True, "matrices": False}


def of_book(task: str, **told: int) -> StrategicStudyConfig:
    found = settings(task, 2, **told)
    assert isinstance(found, StrategicStudyConfig)
    return found


@pytest.fixture(scope="module")
def config() -> StrategicConfig:
    """The study's market in small: few bars, short episodes, a quiet book."""
    told = of_book("strategic_oracle").env.model_dump(mode="json")
    told["market"]["flow"]["arrivals"]["messages_per_second"] = 4.0
    told["series"] |= {"bars": 6000, "embargo_bars": 46, "purge_bars": 0}
    told |= {"horizon_bars": 12, "signals": SMALL["signals"]}
    return load_config(StrategicConfig, told)


@pytest.fixture(scope="module")
def measured(config: StrategicConfig) -> Measured:
    return measure(config, lattice_for(config), 256, HELD_OUT)


@pytest.fixture(scope="module")
def judge(config: StrategicConfig) -> StrategicJudge:
    return StrategicJudge("share", config, JUDGING)


def test_the_issues_settings_are_those_of_the_study() -> None:
    oracle, walk = (of_book(task, frames=8192, episodes=64) for task in STRATEGIC)
    assert oracle.env.study.model_dump() == SHOWN
    assert not walk.env.study.next_return  # nothing shows the future
    assert walk.env.model_copy(update={"study": oracle.env.study}) == oracle.env
    for told in (oracle, walk):
        assert (told.mappo.seed, told.mappo.stop.env_steps, told.judging.episodes) == (2, 8192, 64)
        # Choices, limits, costs and how long an episode is: the environment's defaults.
        usual = StrategicConfig()
        assert told.env.decision == usual.decision and told.env.account == usual.account
        assert told.env.horizon_bars == usual.horizon_bars
        assert told.env.reward.profile == "aggressive"  # equity after costs alone
    assert TARGETS["strategic_oracle"].wanted == 0.80
    assert TARGETS["strategic_random_walk"].figure == "turnover"


def test_costs_are_positive_and_near_enough_convex(measured: Measured) -> None:
    """What a unit costs rises with how many are traded, to within what is known of it."""
    assert (measured.cost > 0.0).all() and (measured.error > 0.0).all()
    each, error = measured.cost / measured.quantity, measured.error / measured.quantity
    # Beyond eight sixtieths there are liquidations alone, to which own standing impact gives back.
    usual = measured.quantity < 0.15
    assert (np.diff(measured.cost[usual]) > 0.0).all()
    slack = 3.0 * np.hypot(error[usual][1:], error[usual][:-1])
    assert (np.diff(each[usual]) > -slack).all()
    assert each[usual][-1] > each[usual][0]


def test_orders_earn_about_half_of_their_own_bar(measured: Measured) -> None:
    assert measured.during == pytest.approx(0.53, abs=4.5 * measured.during_error)


def test_scripts_play_other_chance_than_judges_do() -> None:
    assert SCRIPT_SEEDS > EVALUATION_SEEDS + 100_000 * 1_000_000  # episodes x seed, at most


def test_what_is_shown_is_a_standard_normal_number_of_sigmas(
    config: StrategicConfig, measured: Measured
) -> None:
    found = foresight_of(config, lattice_for(config), measured, HELD_OUT)
    assert found.deviation == pytest.approx(1.0, abs=0.1)
    yearly = 252 * 6.5 * 3600 / (30 * 60)
    assert found.gain == pytest.approx(1e4 * 0.10 / yearly**0.5, rel=0.1)


def test_the_best_policy_earns_what_backward_induction_says(judge: StrategicJudge) -> None:
    """In the environment, through the agents' choices; the interval is over its episodes."""
    earned = judge.optimum.of("return_bp")
    error = earned.std(ddof=1) / len(earned) ** 0.5
    assert judge.expected == pytest.approx(earned.mean(), abs=4.5 * error)
    assert not judge.optimum.of("masked").any() and not judge.optimum.of("halted").any()
    share = judge.judge(judge.optimum)
    assert (share.value, share.low, share.high) == (1.0, 1.0, 1.0)
    assert judge.expected > judge.forgetful.expected > 0.0
    assert set(judge.rules()) == {"forgetful", "by_sign"}
    told = judge.details(judge.optimum)
    assert told["share_of_expected"] == pytest.approx(earned.mean() / judge.expected)
    assert json.loads(json.dumps(told))["book"]["trades"]


def test_the_best_policy_goes_where_it_aims(config: StrategicConfig, judge: StrategicJudge) -> None:
    """Joint choices lead to the lattice's successors, to the rounding of units."""
    reading = Reading(strategic_layout(config.study), config.horizon_bars)
    policy, env = BestPolicy(judge.solution, reading), make_batched(16, 5, config, HELD_OUT)
    env.reset()
    lattice = judge.solution.problem.lattice
    for bar in range(config.horizon_bars):
        assert reading.bar(env.rows) == bar
        places, shown = reading.places(env.rows), reading.shown(env.rows)
        before = np.zeros(16) if bar == 0 else policy._before
        env.step(policy.act(env.rows))
        held = env.arrays.accounts["position"] / env.arrays.accounts["limit"]
        if bar < config.horizon_bars - 1:
            slots = judge.solution.slots(bar, places, before, shown)
            wanted = lattice.successors[places, slots]
            assert np.abs(places_of(held) - wanted).max() <= 1
    assert not held.any()


def test_shown_nothing_the_best_is_flat(config: StrategicConfig) -> None:
    judge = StrategicJudge("turnover", config, JUDGING)
    assert judge.judge(judge.optimum).value == 0.0 and judge.expected == 0.0

    class AtRandom:
        def act(self, rows: np.ndarray) -> np.ndarray:
            return np.random.default_rng(0).integers(0, 5, (len(rows), 4)).astype(np.float32)

    played = judge.play(AtRandom())
    share = judge.judge(played)
    assert share.low < share.value < share.high
    assert not TARGETS["strategic_random_walk"].met(share.value)
    told = judge.details(played)
    assert told["costs_bp"]["value"] > 0.0
    assert told["return_bp"]["value"] == pytest.approx(played.mean("return_bp"))


def test_a_share_over_clusters_has_the_wider_interval() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(50), 20)
    possible = 1.0 + rng.normal(0.0, 0.5, 50)[clusters]
    gained = 0.9 * possible + rng.normal(0.0, 0.1, 50)[clusters]
    alone, together = (share_of(gained, possible, 0.95, 500, 0, told) for told in (None, clusters))
    assert alone.value == together.value
    assert together.high - together.low > 2.0 * (alone.high - alone.low)


def seed_result(low: float, high: float) -> SeedResult:
    share = {"value": 0.5 * (low + high), "low": low, "high": high}
    return SeedResult.from_dict(
        {
            "task": "strategic_random_walk", "seed": 0, "frames": 1, "minutes": 1.0,
            "figure": {"value": 0.001, "low": 0.0, "high": 0.002}, "utility": -1.0,
            "optimum": 0.0, "expected": 0.0, "turnover": 0.001, "rules": {}, "config": {},
            "made": {}, "details": {"return_bp": share, "costs_bp": share},
        }
    )  # fmt: skip


def test_verdicts_say_whether_nothing_was_lost() -> None:
    kept, lost = seed_result(-1.0, 0.5), seed_result(-1.0, -0.5)
    assert verdicts([TaskResult("strategic_random_walk", (kept,))])[-1].endswith("1 of 1 seeds")
    found = TaskResult("strategic_random_walk", (kept, lost))
    assert verdicts([found])[-1].endswith("1 of 2 seeds")
    assert fmean(r.turnover for r in found.seeds) == found.mean


@pytest.mark.slow
def test_a_tiny_study_over_the_book_trains_and_judges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    config: StrategicConfig,
) -> None:  # fmt: skip
    def small(task: str, seed: int, frames: int | None, episodes: int | None) -> object:
        found = settings(task, seed, frames, episodes)
        assert isinstance(found, StrategicStudyConfig)
        mappo = found.mappo.model_copy(update={"num_envs": 16, "rollout_length": 32, "stagger": 12})
        judging = found.judging.model_copy(update={"script_episodes": 128})
        return found.model_copy(update={"env": config, "mappo": mappo, "judging": judging})

    monkeypatch.setattr(command, "settings", small)
    told = ["strategic_oracle", "--seeds", "1", "--frames", "1024", "--episodes", "64"]
    assert command.main([*told, "--output", str(tmp_path)]) == 0
    assert "wanted >= 0.8, over 1 seeds: no" in capsys.readouterr().out
    kept = json.loads((tmp_path / "strategic_oracle.json").read_text())["seeds"][0]
    assert kept["details"]["book"]["cost"] and kept["optimum"] > kept["utility"]
    assert SeedResult.from_dict(kept).figure.value == pytest.approx(
        kept["utility"] / kept["optimum"]
    )
    assert isinstance(Played(np.zeros((1, 9))).names, tuple)
