"""What can go wrong with runners and learners that are processes of their own: marked slow.

A runner that dies is started again by RLlib, and must come back as one of the training: with
the present weights, in the present stage, in episodes that were not played yet.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import structlog
import torch

from configs.curriculum import CurriculumConfig
from configs.errors import TrainingError
from configs.mappo import MappoConfig
from tests.trainers.rays import local_ray
from tests.trainers.test_train import curve, tiny
from trainers.mappo.algorithm import MAPPO
from trainers.mappo.checkpoint import latest_checkpoint, load_checkpoint
from trainers.mappo.config import MAPPOConfig
from trainers.mappo.plan import POLICY
from trainers.mappo.runner import BatchedEnvRunner
from trainers.train import IterationReport, train

pytestmark = pytest.mark.slow

MAKE = "tests.trainers.faulty_env:make"
N, T = 8, 16
STEPS = N * T  # of one runner per iteration
BACK_S = 60.0  # a runner that was killed is back after about six


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(2):
        yield


@pytest.fixture
def said() -> Iterator[list[Any]]:
    """The warnings of a test."""
    with structlog.testing.capture_logs() as found:
        yield found


class Training:
    """An algorithm with remote runners, as a context, and looks into them."""

    def __init__(self, config: MappoConfig, **kwargs: Any) -> None:
        self.algorithm: MAPPO = MAPPOConfig().mappo(config).batched_env(MAKE, kwargs).build_algo()

    def __enter__(self) -> MAPPO:
        return self.algorithm

    def __exit__(self, *_: object) -> None:
        self.algorithm.stop()


def handles(algorithm: MAPPO) -> dict[int, Any]:
    found: dict[int, Any] = algorithm.env_runner_group._worker_manager.actors()
    return found


def pids(algorithm: MAPPO) -> dict[int, int]:
    """The runners' processes, asked past RLlib's records of who is healthy."""
    return {
        worker: ray.get(handle.apply.remote(lambda runner: os.getpid()))
        for worker, handle in handles(algorithm).items()
    }


def wait_for(algorithm: MAPPO, worker: int) -> None:
    """Until Ray has started this runner again, unknown to RLlib."""
    until = time.monotonic() + BACK_S
    while True:
        try:
            ray.get(handles(algorithm)[worker].ping.remote())
            return
        except ray.exceptions.RayActorError:
            assert time.monotonic() < until, "the runner did not come back"
            time.sleep(0.2)


def looked_at(algorithm: MAPPO) -> dict[int, dict[str, Any]]:
    """Of every runner that RLlib holds healthy: its weights, their number, stage and beginning."""

    def look(runner: BatchedEnvRunner) -> tuple[int, dict[str, Any]]:
        state = runner.module[POLICY].get_state()
        return runner.worker_index, {
            "weights": {name: np.array(value) for name, value in state.items()},
            "number": runner.weights_seq_no,
            "stage": runner.stage,
            "begun": runner.sampler.state_dict()["begun"],
        }

    return dict(algorithm.env_runner_group.foreach_env_runner(look, local_env_runner=False))


def check_present(algorithm: MAPPO, workers: set[int]) -> dict[int, dict[str, Any]]:
    """All these runners hold the learner's weights of now."""
    found = looked_at(algorithm)
    assert set(found) == workers
    weights = algorithm.learner_group.get_weights([POLICY])[POLICY]
    for runner in found.values():
        for name, value in weights.items():
            np.testing.assert_array_equal(runner["weights"][name], value, err_msg=name)
    return found


def stages() -> CurriculumConfig:
    return CurriculumConfig.model_validate(
        {"stages": [{"name": "first", "target": 1.0}, {"name": "second", "target": 1.0}]}
    )


def enter(algorithm: MAPPO, stage: int) -> None:
    """Move the training to this stage of its curriculum."""
    curriculum: Any = getattr(algorithm, "curriculum", algorithm)
    curriculum.stage = stage


def test_a_runner_killed_while_it_samples_is_done_without_and_comes_back(
    tmp_path: Path, said: list[Any]
):
    """It kills itself in iteration 2."""
    config = tiny(9, runners=2, sample_timeout_s=60.0, curriculum=stages())
    fault = {"fault": "kill", "at": 6 + T + 5, "mark": str(tmp_path / "mark")}
    with Training(config, **fault) as algorithm:
        enter(algorithm, 1)
        algorithm.train()
        algorithm.train()
        assert algorithm.last is not None
        assert algorithm.last.env_steps == STEPS  # the survivor's
        assert algorithm.env_steps_total == 3 * STEPS
        assert algorithm.last.episodes.steps == STEPS
        [warning] = said
        assert (warning["log_level"], warning["iteration"]) == ("warning", 2)
        [lost] = warning["without"]
        total = algorithm.env_steps_total
        for _ in range(20):
            algorithm.train()
            total += algorithm.last.env_steps
            if algorithm.last.env_steps == 2 * STEPS:
                break
            time.sleep(0.5)
        assert algorithm.last.env_steps == 2 * STEPS
        assert algorithm.env_steps_total == total
        found = check_present(algorithm, {1, 2})
        assert found[lost]["begun"] > 1  # not the episodes that the lost one began with
        assert found[3 - lost]["begun"] == 0
        assert [runner["stage"] for runner in found.values()] == [1, 1]


def test_a_runner_that_died_unnoticed_does_not_sample_with_its_first_weights(said: list[Any]):
    """Between two iterations: Ray has it back before RLlib asks."""
    config = tiny(9, runners=2, sample_timeout_s=60.0)
    with Training(config) as algorithm:
        algorithm.train()
        algorithm.train()
        os.kill(pids(algorithm)[2], signal.SIGKILL)
        wait_for(algorithm, 2)
        first, present = (
            ray.get(handles(algorithm)[worker].apply.remote(lambda r: r.module[POLICY].get_state()))
            for worker in (2, 1)
        )
        assert any(not np.array_equal(first[name], value) for name, value in present.items())
        algorithm.train()
        assert algorithm.last is not None
        assert algorithm.last.env_steps == 2 * STEPS
        # Sampled with other weights than the learner's, decisions would have other odds.
        assert algorithm.last.learner["kl"] < 0.05
        [warning] = said
        assert (warning["without"], warning["restarted"]) == ([], [2])
        assert check_present(algorithm, {1, 2})[2]["begun"] == 2


def test_a_runner_that_hangs_costs_its_time_limit_and_is_started_anew(
    tmp_path: Path, said: list[Any]
):
    config = tiny(9, runners=2, sample_timeout_s=6.0)
    fault = {"fault": "hang", "at": 6 + T + 5, "mark": str(tmp_path / "mark")}
    with Training(config, **fault) as algorithm:
        algorithm.train()
        before = pids(algorithm)
        began = time.monotonic()
        algorithm.train()
        assert 5.0 < time.monotonic() - began < 15.0
        assert algorithm.last is not None and algorithm.last.env_steps == STEPS
        assert said[0]["event"].startswith("a runner took longer than mappo.sample_timeout_s")
        hung = said[0]["runner"]
        for _ in range(20):
            algorithm.train()
            if algorithm.last.env_steps == 2 * STEPS:
                break
            time.sleep(0.5)
        after = pids(algorithm)
        assert before[hung] != after[hung] and before[3 - hung] == after[3 - hung]
        check_present(algorithm, {1, 2})


def test_all_runners_dead_is_one_error_and_the_run_goes_on_from_its_checkpoint(tmp_path: Path):
    config = tiny(3, runners=2, checkpoint_every=1, sample_timeout_s=30.0)
    with pytest.raises(TrainingError, match=r"^iteration 2 sampled nothing: all 2 runners died"):
        train(config, MAKE, {"fault": "kill", "at": 6 + T + 5}, tmp_path)
    kept = latest_checkpoint(tmp_path)
    assert kept is not None and load_checkpoint(kept)[0].iteration == 1
    result = train(config, MAKE, {}, tmp_path, resume=True)
    assert (result.iterations, result.env_steps) == (3, 3 * 2 * STEPS)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", r"runner 1: environment 'toy' raised ZeroDivisionError: by zero, in step\(\) at"),
        ("nan reward", r"runner 1: reward of agent 'follower' is nan in environment row 1 at step"),
    ],
)
def test_a_fault_in_a_remote_environment_ends_the_run_and_a_resume_is_to_the_bit(
    tmp_path: Path, fault: str, message: str
):
    config = tiny(4, runners=1, checkpoint_every=1)
    reports: list[IterationReport] = []
    began = time.monotonic()
    with pytest.raises(TrainingError, match=message):
        train(
            config,
            MAKE,
            {"fault": fault, "at": 6 + 2 * T + 5},
            tmp_path / "a",
            False,
            reports.append,
        )
    assert time.monotonic() - began < 45.0  # RLlib would wait a minute before a restart
    train(config, MAKE, {}, tmp_path / "a", True, reports.append)
    whole: list[IterationReport] = []
    train(config, MAKE, {}, tmp_path / "b", False, whole.append)
    assert curve(reports) == curve(whole)


def test_a_state_that_a_remote_runner_cannot_take_is_not_passed_over(tmp_path: Path):
    train(tiny(1, runners=1), MAKE, {}, tmp_path)
    with pytest.raises(TrainingError, match=r"runner 1: ValueError: another shape \("):
        train(tiny(2, runners=1), MAKE, {"fault": "unrestored"}, tmp_path, True)


def test_a_checkpoint_without_a_lost_runners_episodes_resumes_and_says_so(
    tmp_path: Path, said: list[Any]
):
    config = tiny(3, runners=2, checkpoint_every=1, sample_timeout_s=30.0)
    fault = {"fault": "kill", "at": 6 + T + 5, "mark": str(tmp_path / "mark")}
    train(tiny(2, runners=2, sample_timeout_s=30.0), MAKE, fault, tmp_path / "run")
    kept = latest_checkpoint(tmp_path / "run")
    assert kept is not None
    states = dict(load_checkpoint(kept)[1]["simulators"])
    [lost] = [worker for worker, found in states.items() if found is None]
    said.clear()
    result = train(config, MAKE, {}, tmp_path / "run", resume=True)
    assert result.env_steps == 3 * STEPS + 2 * STEPS
    assert said == [
        {
            "event": "episodes are begun anew",
            "log_level": "warning",
            "runner": lost,
            "reason": "the runner was lost",
        }
    ]


def spoil_learner(index: int, how: str) -> Any:
    """A function for learners: the one of this number fails in its next update."""

    def spoil(learner: Any) -> None:
        if learner._learner_index != index:
            return
        update = learner._updater()
        original, calls = update._minibatch, [0]

        def minibatch(*args: Any) -> None:
            calls[0] += 1
            if calls[0] == 2:
                if how == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise RuntimeError("out of memory")
            original(*args)

        update._minibatch = minibatch

    return spoil


@pytest.mark.parametrize("how", ["raise", "kill"])
@pytest.mark.parametrize(("learners", "index"), [(1, 0), (2, 0), (2, 1)])
def test_a_remote_learner_that_fails_ends_the_run_in_one_error(how: str, learners: int, index: int):
    config = tiny(9, learners=learners)
    with Training(config) as algorithm:
        algorithm.train()
        before = {k: v.clone() for k, v in algorithm.env_runner.module[POLICY].state_dict().items()}
        algorithm.learner_group.foreach_learner(spoil_learner(index, how))
        began = time.monotonic()
        said = "RuntimeError: out of memory" if how == "raise" else "(ActorDied|Connection)"
        with pytest.raises(TrainingError, match=f"update of iteration 2 failed.*{said}"):
            algorithm.train()
        assert time.monotonic() - began < 30.0
        after = algorithm.env_runner.module[POLICY].state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_ctrl_c_reaches_all_processes_and_the_run_is_checkpointed(tmp_path: Path):
    """A terminal sends the signal to the whole group; runners must finish the iteration."""
    config = tiny(500, runners=1, checkpoint_every=1000)

    def press() -> None:
        time.sleep(1.0)
        for pid in runner_pids:
            os.kill(pid, signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    runner_pids: list[int] = []
    reports: list[IterationReport] = []

    def seen(report: IterationReport) -> None:
        reports.append(report)
        if report.iteration == 1:
            import psutil

            children = psutil.Process().children(recursive=True)
            runner_pids.extend(c.pid for c in children if "BatchedEnvRunner" in c.name())
            runner_pids.extend(
                c.pid for c in children if any("BatchedEnvRunner" in w for w in c.cmdline())
            )
            assert runner_pids
            threading.Thread(target=press).start()

    result = train(config, MAKE, {}, tmp_path, False, seen)
    assert result.interrupted
    kept = latest_checkpoint(tmp_path)
    assert kept is not None and load_checkpoint(kept)[0].iteration == reports[-1].iteration
    assert all(found is not None for _, found in load_checkpoint(kept)[1]["simulators"])
