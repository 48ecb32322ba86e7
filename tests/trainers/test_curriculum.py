"""The curriculum: when it moves, what a score is, and that stage and scores survive a resume."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from pydantic import ValidationError

from configs.actors import ActorConfig
from configs.curriculum import CurriculumConfig, StageConfig
from configs.errors import TrainingError
from configs.mappo import CriticConfig, MappoConfig, StopConfig
from experiments.toy_team import AGENT_NAMES
from tests.trainers.rays import local_ray
from trainers.mappo.config import MAPPOConfig
from trainers.mappo.curriculum import Curriculum, stage_kwargs
from trainers.mappo.plan import plan_training
from trainers.mappo.sampler import make_environment
from trainers.stages import StageScorer
from trainers.train import IterationReport, TrainResult, train

MAKE = "experiments.toy_team:make_batched"
SHORT, LONG = 10, 20
RESTART_S = 90.0


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(2):
        yield


def curriculum(**changes: object) -> CurriculumConfig:
    """Two stages told apart by how long their episodes are."""
    options: dict[str, object] = {
        "stages": (
            StageConfig(name="short", kwargs={"length": SHORT}, target=SHORT),
            StageConfig(name="long", kwargs={"length": LONG}, target=LONG),
        ),
        "evaluate_every": 1,
        "episodes": 16,
        "window": 2,
        "advance": -1.0,
        "fall_back": -2.0,
    }
    return CurriculumConfig(**(options | changes))


def settings(iterations: int, **changes: object) -> MappoConfig:
    options: dict[str, object] = {
        "policy": ActorConfig(hidden=(16,)),
        "critic": CriticConfig(hidden=(16,)),
        "curriculum": curriculum(),
        "num_envs": 8,
        "rollout_length": 20,
        "minibatches": 2,
        "epochs": 1,
        "stop": StopConfig(iterations=iterations),
        "seed": 3,
    }
    return MappoConfig(**(options | changes))


def run(config: MappoConfig, output: Path, **options: bool) -> tuple[TrainResult, list]:
    reports: list[IterationReport] = []
    result = train(config, MAKE, {}, output, on_iteration=reports.append, **options)
    return result, reports


def figures(reports: list[IterationReport]) -> list[object]:
    """All that does not depend on the clock or on how long the run was to be."""
    losses = [{k: v for k, v in r.losses.items() if k != "progress"} for r in reports]
    return [
        (r.iteration, r.metrics, loss, r.curriculum)
        for r, loss in zip(reports, losses, strict=True)
    ]


def test_it_moves_on_and_back_by_the_mean_of_the_latest_scores():
    stages = tuple(StageConfig(name=name) for name in "abc")
    found = Curriculum(CurriculumConfig(stages=stages, window=3, advance=0.8, fall_back=0.5))
    assert [found.record(s) for s in (0.9, 0.9)] == ["stay", "stay"]  # too few yet
    assert found.record(0.61) == "advance"  # their mean is .803
    assert (found.stage, found.name, found.scores) == (1, "b", [])  # earned in another stage
    assert [found.record(s) for s in (0.9, 0.7, 0.7)] == ["stay"] * 3  # .77 neither way
    assert found.record(0.0) == "fall back"  # the oldest has left the window: .47
    assert found.name == "a"
    assert [found.record(0.1) for _ in range(4)] == ["stay"] * 4  # there is nothing below
    found.stage, found.scores = 2, []
    assert [found.record(1.0) for _ in range(4)] == ["stay"] * 4  # nor above


def test_a_curriculum_that_contradicts_itself_is_refused():
    with pytest.raises(ValidationError, match=r"fall_back=0\.9: expected less than advance=0\.8"):
        curriculum(fall_back=0.9, advance=0.8)
    with pytest.raises(ValidationError, match="stages a, a: expected different names"):
        CurriculumConfig(stages=(StageConfig(name="a"), StageConfig(name="a")))


def test_a_stage_is_laid_over_the_arguments_key_by_key():
    base = {"config": {"market": {"tick": 1, "name": "x"}}, "split": "train"}
    over = {"config": {"market": {"tick": 2}}}
    merged = stage_kwargs(base, over)
    assert merged == {"config": {"market": {"tick": 2, "name": "x"}}, "split": "train"}
    assert base["config"]["market"]["tick"] == 1


def test_a_score_lies_between_random_and_the_target():
    config = settings(1)
    layout = make_environment(MAKE, 1, 0, {}).layout
    plan = plan_training(layout, config)
    stages = [{"length": SHORT}, {"length": LONG}]
    scorer = StageScorer(config.curriculum, plan, MAKE, stages, None, seed=0)
    actors = {actor.name: actor.build() for actor in plan.actors}
    first, again, longer = (scorer.score(stage, actors) for stage in (0, 0, 1))
    assert first == again
    assert (first.best, longer.best) == (SHORT, LONG)
    assert first.random == pytest.approx(SHORT / 5, rel=0.2)  # one in five is right by chance
    assert first.score == pytest.approx((first.policy - first.random) / (SHORT - first.random))


def test_a_target_below_random_scores_nothing():
    low = curriculum(stages=(StageConfig(name="low", target=0.0),))
    plan = plan_training(make_environment(MAKE, 1, 0, {}).layout, settings(1))
    scorer = StageScorer(low, plan, MAKE, [{"length": SHORT}], None, seed=0)
    with pytest.raises(TrainingError, match=r"stage 'low': random actions return .* target 0"):
        scorer.score(0, {actor.name: actor.build() for actor in plan.actors})


def test_without_baselines_a_stage_needs_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And that is told before Ray is started, which takes seconds."""

    def started(config: MappoConfig) -> None:
        pytest.fail("Ray was started for a curriculum that cannot be scored")

    monkeypatch.setattr("trainers.train.ray_session", started)
    aimless = curriculum(stages=(StageConfig(name="open"),))
    with pytest.raises(TrainingError, match=r"stage 'open' of mappo\.curriculum has no target"):
        run(settings(1, curriculum=aimless), tmp_path)


def test_a_training_is_promoted_and_its_runner_with_it(tmp_path: Path):
    _, reports = run(settings(5), tmp_path)
    assert [r.curriculum["stage"] for r in reports] == [0, 0, 1, 1, 1]
    assert [r.metrics["length"] for r in reports] == [SHORT, SHORT, LONG, LONG, LONG]
    assert all("score" in r.curriculum for r in reports)


def test_a_training_falls_back_and_its_runner_with_it():
    never = curriculum(window=1, advance=99.0, fall_back=98.0)
    algorithm = MAPPOConfig().mappo(settings(9, curriculum=never)).batched_env(MAKE).build_algo()
    try:
        algorithm.curriculum.stage = 1
        algorithm.train()
        assert algorithm.last.episodes.episode_means()["length"] == LONG
        assert algorithm.curriculum.record(0.5) == "fall back"
        algorithm.train()
        assert algorithm.last.episodes.episode_means()["length"] == SHORT
    finally:
        algorithm.stop()


@pytest.mark.slow
def test_a_resumed_curriculum_is_the_uninterrupted_one(tmp_path: Path):
    _, whole = run(settings(5), tmp_path / "whole")
    for stop in (1, 2, 3):  # inside a window, at the move, after it
        _, first = run(settings(stop), tmp_path / f"{stop}")
        _, rest = run(settings(5), tmp_path / f"{stop}", resume=True)
        assert figures(first) + figures(rest) == figures(whole)


def test_a_checkpoint_of_another_curriculum_is_refused():
    found = Curriculum(curriculum())
    with pytest.raises(TrainingError, match=r"stage 1 'late' .* stages are short, long"):
        found.load_state({"stage": 1, "name": "late", "scores": []})


@pytest.mark.slow
def test_a_killed_runner_comes_back_in_the_current_stage():
    config = MAPPOConfig().mappo(settings(9, runners=1)).batched_env(MAKE)
    config.fault_tolerance(restart_failed_env_runners=True, ignore_env_runner_failures=True)
    algorithm = config.build_algo()

    def told() -> list[tuple[int, int, tuple[str, ...]]]:
        """Of each runner that answers: its process, its stage and its environment's agents."""
        return algorithm.env_runner_group.foreach_env_runner(
            lambda runner: (os.getpid(), runner.stage, runner.sampler.env.layout.agent_names),
            local_env_runner=False,
        )

    try:
        algorithm.train()
        algorithm.curriculum.stage = 1
        algorithm.train()
        ((killed, *_),) = told()
        for actor in algorithm.env_runner_group._worker_manager.actors().values():
            ray.kill(actor, no_restart=False)
        deadline = time.monotonic() + RESTART_S
        # An iteration may still sample from the process that dies, or go by without a sample.
        while not (runners := told()) or runners[0][0] == killed:
            assert time.monotonic() < deadline, "the runner did not come back"
            try:
                algorithm.train()
            except TrainingError:
                time.sleep(1.0)
        algorithm.train()
        assert [rest for _, *rest in told()] == [[1, AGENT_NAMES]]
        assert algorithm.last.episodes.episode_means()["length"] == LONG
    finally:
        algorithm.stop()
