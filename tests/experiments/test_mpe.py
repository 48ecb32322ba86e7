"""The study of MAPPO on MPE at a tiny budget: what it keeps, resumes and refuses."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import EXIT_CODE, RegistryError
from experiments.mpe import __main__ as command
from experiments.mpe.pace import Pace, PaceMeter, RawEnvironment
from experiments.mpe.results import PLOT_FILE, TaskResult, read, table, verdicts
from experiments.mpe.settings import TASKS, settings
from experiments.mpe.study import SeedResult
from experiments.studies import INTERRUPTED, named
from trainers.mappo.config import MAPPOConfig
from trainers.progress import TrainingProgress
from trainers.train import IterationReport

ITERATION = 3_200
TASK = "speaker_listener"
PNG = b"\x89PNG"


def arguments(output: Path, iterations: int, *more: str) -> list[str]:
    frames = str(iterations * ITERATION)
    tiny = ["--seeds", "1", "--frames", frames, "--episodes", "4", "--output", str(output)]
    return [TASK, *tiny, *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that ran to its end."""
    output = tmp_path_factory.mktemp("study")
    assert command.main(arguments(output, 3)) == 0
    return output


@pytest.mark.parametrize("task", TASKS)
def test_settings_train_the_environment_that_they_name(task: str) -> None:
    config = settings(task, 2, frames=ITERATION)
    assert config.kwargs["max_cycles"] == config.mappo.rollout_length == 25
    assert (config.seed, config.mappo.seed, config.mappo.stop.env_steps) == (2, 2, ITERATION)
    assert config.mappo.iteration_env_steps == ITERATION
    built = MAPPOConfig().mappo(config.mappo).parallel_env(config.env, **config.kwargs)
    built.validate()
    assert built.training_plan.critic_input == "observations"


def test_spread_is_the_one_of_the_target() -> None:
    config = settings("spread", 0)
    assert config.env == "mpe2.simple_spread_v3:parallel_env"
    assert config.kwargs == {"N": 3, "max_cycles": 25, "local_ratio": 0.5}
    assert (config.mappo.stop.env_steps, config.play.episodes) == (1_500_000, 200)


def test_an_unknown_task_lists_those_there_are() -> None:
    assert named("all", TASKS, "all", "task") == TASKS
    with pytest.raises(RegistryError, match=r"'spred'.*spread, reference.*did you mean 'spread'"):
        named("spred", TASKS, "all", "task")


def test_the_raw_environment_plays_whole_episodes() -> None:
    raw = RawEnvironment(settings("reference", 0))
    for _ in range(2):
        found = raw.turn(episodes=3)
        assert found["raw_frames"] == 75.0
        assert found["raw_cpu_seconds"] > 0.0
    raw.close()


def test_pace_is_of_all_frames_over_all_seconds() -> None:
    rows = [
        {"iteration": 1.0, "raw_frames": 400.0, "raw_cpu_seconds": 0.1},
        {"iteration": 2.0, "cpu_frames": 3200.0, "cpu_seconds": 1.0},
        {"iteration": 3.0, "cpu_frames": 3200.0, "cpu_seconds": 3.0},
    ]
    pace = Pace.of(rows)
    assert (pace.training, pace.raw, pace.ratio) == (1600.0, 4000.0, 0.4)
    assert Pace.of(rows[:1]).ratio is None


def test_the_first_iteration_of_a_sitting_is_not_counted() -> None:
    meter = PaceMeter(settings(TASK, 0))
    assert "cpu_seconds" not in meter.figures(1)
    meter.go_on()
    found = meter.figures(2)
    assert found["cpu_frames"] == ITERATION
    assert 0.0 <= found["cpu_seconds"] < 1.0
    meter.close()


@pytest.mark.slow
def test_a_study_keeps_its_results(finished: Path) -> None:
    found = read(finished, TASK)
    assert found is not None
    (seed,) = found.seeds
    assert (seed.task, seed.seed, seed.frames) == (TASK, 0, 3 * ITERATION)
    assert [frames for frames, _ in seed.curve] == [ITERATION * k for k in (1, 2, 3)]
    assert all(math.isfinite(mean) and mean < 0.0 for _, mean in seed.curve)
    assert seed.played["trained"]["n"] == 4
    assert seed.played["trained"]["mean"] == seed.greedy
    assert seed.pace.ratio is not None and 0.0 < seed.pace.ratio < 1.5
    assert seed.config == settings(TASK, 0, 3 * ITERATION, 4).model_dump(mode="json")
    assert (finished / PLOT_FILE).read_bytes().startswith(PNG)


@pytest.mark.slow
def test_a_finished_seed_is_not_trained_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("experiments.mpe.study.train", refuse)
    before = read(finished, TASK)
    assert command.main(arguments(finished, 3, "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed[0]["task"] == TASK
    assert read(finished, TASK) == before
    with pytest.raises(AssertionError, match="trained again"):
        command.main(arguments(finished, 3, "--only", "1"))
    assert command.main(arguments(finished, 2)) == EXIT_CODE
    assert "other settings" in capsys.readouterr().err


@pytest.mark.slow
def test_a_stopped_study_goes_on_to_the_same_result(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = TrainingProgress.update

    def stop_after_two(self: TrainingProgress, report: IterationReport) -> None:
        update(self, report)
        if report.iteration == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingProgress, "update", stop_after_two)
        assert command.main(arguments(tmp_path, 3)) == INTERRUPTED
    assert read(tmp_path, TASK) is None
    assert command.main(arguments(tmp_path, 3)) == 0
    resumed, whole = read(tmp_path, TASK), read(finished, TASK)
    assert resumed is not None and whole is not None
    assert resumed.seeds[0].curve == whole.seeds[0].curve
    assert resumed.greedy == whole.greedy


def seed_result(seed: int, greedy: float, ratio: float) -> SeedResult:
    return SeedResult(
        task="spread",
        seed=seed,
        frames=ITERATION,
        minutes=1.0,
        greedy=greedy,
        random=-27.0,
        pace=Pace(ratio * 3200.0, 3200.0),
        played={"trained": {"half_width": 0.5}},
        curve=[(ITERATION, -20.0)],
        config={},
        made={},
    )


def test_a_target_is_met_by_the_mean_over_seeds() -> None:
    found = TaskResult(
        "spread",
        (seed_result(0, -9.0, 0.8), seed_result(1, -11.0, 0.8), seed_result(2, -10.3, 0.6)),
    )
    assert found.greedy == pytest.approx(-10.1)
    assert found.greedy_spread == pytest.approx(np.std([9.0, 11.0, 10.3], ddof=1))
    assert list(found.judged().values()) == [True, False]
    assert TaskResult("spread", found.seeds[1:]).judged()["greedy >= -10.2"] is False
    assert TaskResult("reference", found.seeds).judged() == {}
    assert table([found]).row_count == 4
    assert verdicts([found])[1] == "spread: pace >= 0.75 of raw, over 3 seeds: no"


def test_results_are_read_back_as_they_were() -> None:
    result = seed_result(0, -9.0, 0.8)
    assert SeedResult.from_dict(json.loads(json.dumps(result.as_dict()))) == result
