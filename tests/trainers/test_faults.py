"""What can go wrong in a training in one process: one clear error, or it goes on as it should.

Whatever happens, the last good checkpoint is whole, and a resume from it gives the curve of a
run to which nothing happened.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import EXIT_CODE, TrainingError
from configs.mappo import MappoConfig
from tests.trainers.command_line import call
from tests.trainers.faulty_env import make
from tests.trainers.rays import local_ray
from tests.trainers.sittings import (
    FIRST,
    MAKE,
    STEPS,
    Sitting,
    check_resumed,
    command,
    settings,
    step_of,
    write_of,
)
from tests.trainers.test_train import curve
from tests.trainers.toy_env import toy_layout
from trainers.cli import INTERRUPTED
from trainers.mappo.checkpoint import latest_checkpoint, load_checkpoint
from trainers.mappo.config import VECTOR, MAPPOConfig
from trainers.mappo.plan import CRITIC, POLICY, plan_training
from trainers.mappo.sampler import Sampler
from trainers.mappo.update import Update
from trainers.train import IterationReport

pytestmark = pytest.mark.slow  # each trains several times


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(1):
        yield


# ---------------------------------------------------------------- environments


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan reward", r"reward of agent 'follower' is nan in environment row 1 at step 46 of"),
        ("nan observation", r"observation column 'signal' is nan in environment row 1 at step 46"),
        ("nan after a reset", r"column 'signal' is nan in environment row \d after the reset that"),
        ("raise", r"environment 'toy' raised ZeroDivisionError: by zero, in step\(\) at step 46 "),
        ("raise in a reset", r"environment 'toy' raised OSError: no such file, in reset\(\) at "),
    ],
)
def test_a_fault_of_the_environment_is_placed_and_the_run_goes_on_without_it(
    tmp_path: Path, fault: str, message: str
):
    config = settings()
    sitting = Sitting(tmp_path / "run", config, {"fault": fault, "at": step_of(FIRST)})
    assert isinstance(sitting.error, TrainingError)
    with pytest.raises(TrainingError, match=message):
        raise sitting.error
    assert len(sitting.reports) == FIRST - 1
    check_resumed(tmp_path / "run", tmp_path / "whole", config)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", "the environment raised ZeroDivisionError: by zero (environment row 0, in step "),
        (
            "nan reward",
            "agent 'agent_1': reward is nan: expected a finite number (environment r",
        ),
        (
            "nan observation",
            "agent 'agent_1': observation 'observation[0]' is nan: expected a f",
        ),
    ],
)
def test_a_fault_of_anyones_environment_ends_the_command_with_one_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fault: str,
    message: str,
):
    words = command(tmp_path, "tests.trainers.faulty_env:broken", f"kwargs.fault={fault}")
    code, _, err = call(monkeypatch, capfd, *words)
    assert code == EXIT_CODE
    assert err.count("error: ") == 1 and message in err.splitlines()[-1]
    assert "Traceback" not in err


def test_an_environment_that_cannot_be_saved_is_told_before_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    words = command(tmp_path, "tests.trainers.faulty_env:unsaved")
    code, out, _ = call(monkeypatch, capfd, *words)
    assert code == 0
    assert "cannot be saved to the bit, so a resume will begin its episodes anew" in out
    assert out.index("cannot be saved") < out.index("trained is")
    kept = latest_checkpoint(tmp_path / "run")
    assert kept is not None
    [(_, saved)] = load_checkpoint(kept)[1]["simulators"]
    assert saved["simulator"] is None
    assert "generator" in saved["problem"]
    again = ["--resume", "--set", "mappo.stop.iterations=4"]
    code, out, _ = call(monkeypatch, capfd, *words, *again)
    assert code == 0
    assert "so this resume begins its episodes anew" in out
    assert "episodes are begun anew" in out  # the training's own warning


def test_a_resume_without_a_saved_state_plays_episodes_that_were_not_played_yet(tmp_path: Path):
    unsaved = {"fault": "unsaved"}
    first = Sitting(tmp_path / "run", settings(2, keep_checkpoints=9), unsaved)
    rest = Sitting(tmp_path / "run", settings(4, keep_checkpoints=9), unsaved, resume=True)
    assert first.error is None and rest.error is None
    assert [report.iteration for report in rest.reports] == [3, 4]
    assert rest.reports[-1].env_steps == 4 * 8 * STEPS
    rewards = [report.rewards["reward/scout"] for report in first.reports + rest.reports]
    assert len(set(rewards)) == len(rewards)
    kept = load_checkpoint(tmp_path / "run" / "checkpoints" / "iteration-000002")[1]
    [(_, saved)] = kept["simulators"]
    assert saved["problem"] == "state_dict() raised NotImplementedError: somewhere else"
    assert any("learner" in name for name in kept["learner_group"])


def test_a_sampler_whose_episodes_were_not_saved_begins_as_one_that_was_built_then():
    """No return or length of an episode that is gone is counted into a new one's."""
    plan = plan_training(toy_layout(), MappoConfig())
    actors = {actor.name: actor.build() for actor in plan.actors}
    before, resumed, built = (Sampler(make(4, 0, fault="unsaved"), plan, 0) for _ in range(3))
    before.sample(actors, 3)  # in the middle of all episodes
    resumed.load_state(before.state_dict())
    for sampler in (resumed, built):
        sampler.begin_at(5)
    found, expected = (sampler.sample(actors, 20) for sampler in (resumed, built))
    assert found.stats == expected.stats
    assert (found.rewards == expected.rewards).all()


@pytest.mark.parametrize(
    ("make", "kwargs"),
    [
        ("envs.execution:make_batched", {"config": {"parent": {"horizon_steps": 12}}}),
        ("experiments.toy_team:make_batched", {"length": 20, "lives": (20, 7, 12, 20, 5)}),
        (
            VECTOR,
            {"env": "mpe2.simple_spread_v3:parallel_env", "kwargs": {"N": 2, "max_cycles": 10}},
        ),
    ],
    ids=["execution", "native team", "simple_spread"],
)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    tmp_path: Path, make: str, kwargs: dict[str, Any]
):
    config = settings(4, num_envs=4, learning_rate_decay="linear")

    def stop_after_two(report: IterationReport) -> None:
        if report.iteration == 2:
            os.kill(os.getpid(), signal.SIGINT)

    whole = Sitting(tmp_path / "whole", config, kwargs, make)
    first = Sitting(tmp_path / "run", config, kwargs, make, then=stop_after_two)
    rest = Sitting(tmp_path / "run", config, kwargs, make, resume=True)
    assert first.result is not None and first.result.interrupted
    assert curve(first.reports + rest.reports) == curve(whole.reports)
    assert whole.result is not None and rest.result is not None
    for name, actor in whole.result.actors.items():
        found = rest.result.actors[name].state_dict()
        assert all(torch.equal(found[key], value) for key, value in actor.state_dict().items())


# ---------------------------------------------------------------- the learner


def break_minibatch(
    monkeypatch: pytest.MonkeyPatch, iteration: int, act: Callable[[Update], None]
) -> None:
    """Call `act` before the second minibatch of this iteration."""
    original, calls = Update._minibatch, [0]
    per_iteration = 4  # 2 epochs of 2

    def minibatch(self: Update, *args: Any) -> None:
        calls[0] += 1
        if calls[0] == (iteration - 1) * per_iteration + 2:
            act(self)
        original(self, *args)

    monkeypatch.setattr(Update, "_minibatch", minibatch)


def test_a_learner_that_fails_leaves_no_half_update_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(_: Update) -> None:
        raise RuntimeError("out of memory")

    config = settings()
    with monkeypatch.context() as patch:
        break_minibatch(patch, FIRST, fail)
        sitting = Sitting(tmp_path / "run", config)
    assert isinstance(sitting.error, TrainingError)
    assert "update of iteration 3 failed with RuntimeError: out of memory" in str(sitting.error)
    check_resumed(tmp_path / "run", tmp_path / "whole", config)


@pytest.mark.parametrize("name", [POLICY, CRITIC])
def test_weights_that_are_spoilt_midway_are_neither_saved_nor_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    def spoil(update: Update) -> None:
        with torch.no_grad():
            update._parameters[name][0].view(-1)[0] = torch.nan

    config = settings()
    with monkeypatch.context() as patch:
        break_minibatch(patch, FIRST, spoil)
        sitting = Sitting(tmp_path / "run", config)
    assert isinstance(sitting.error, TrainingError)
    assert "=nan in update 3: expected a finite number" in str(sitting.error)
    assert f"(the weights of '{name}' are not finite)" in str(sitting.error)
    other = {POLICY: CRITIC, CRITIC: POLICY}[name]
    assert f"'{other}'" not in str(sitting.error)
    check_resumed(tmp_path / "run", tmp_path / "whole", config)


@pytest.mark.parametrize("name", [POLICY, CRITIC])
def test_weights_that_the_last_step_spoils_are_found(tmp_path: Path, name: str):
    """One minibatch and a step too large for float32: no loss sees what came of it."""
    rates = {POLICY: {"learning_rate": 1e39, "critic_learning_rate": 1e-3}}
    rates[CRITIC] = {"learning_rate": 1e-3, "critic_learning_rate": 1e39}
    config = settings(1, epochs=1, minibatches=1, **rates[name])
    sitting = Sitting(tmp_path, config)
    assert isinstance(sitting.error, TrainingError)
    assert f"the weights of '{name}' are not finite after update 1; lower" in str(sitting.error)
    assert latest_checkpoint(tmp_path) is None


def test_runners_keep_their_weights_where_the_update_is_refused():
    algorithm = MAPPOConfig().mappo(settings(1, epochs=1, minibatches=1, learning_rate=1e39))
    algorithm = algorithm.batched_env(MAKE).build_algo()
    try:
        before = {k: v.clone() for k, v in algorithm.env_runner.module[POLICY].state_dict().items()}
        with pytest.raises(TrainingError, match="not finite"):
            algorithm.train()
        after = algorithm.env_runner.module[POLICY].state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
        assert all(torch.isfinite(value).all() for value in after.values())
    finally:
        algorithm.stop()


# ---------------------------------------------------------------- signals


def interrupt(times: int) -> Callable[..., None]:
    def act(*_: object) -> None:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)

    return act


@pytest.mark.parametrize("place", ["sampling", "learning", "writing"])
@pytest.mark.parametrize("times", [1, 2])
def test_the_first_signal_finishes_the_iteration_and_the_second_acts_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, times: int
):
    config = settings()
    kwargs: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        if place == "sampling":
            kwargs = {"fault": ("interrupt", "interrupt twice")[times - 1], "at": step_of(FIRST)}
        elif place == "learning":
            break_minibatch(patch, FIRST, interrupt(times))
        else:
            write_of(patch, f"iteration-{FIRST:06d}", interrupt(times))
        sitting = Sitting(tmp_path / "run", config, kwargs)
    last = latest_checkpoint(tmp_path / "run")
    assert last is not None
    if times == 1:
        assert sitting.result is not None and sitting.result.interrupted
        assert last.name == f"iteration-{FIRST:06d}"
    else:
        assert isinstance(sitting.error, KeyboardInterrupt)
        assert last.name == f"iteration-{FIRST - 1:06d}"
    check_resumed(tmp_path / "run", tmp_path / "whole", config)


def test_an_interrupted_command_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    words = command(tmp_path, "mpe2.simple_spread_v3:parallel_env", "mappo.stop.iterations=3")
    with monkeypatch.context() as patch:
        write_of(patch, "iteration-000001", interrupt(1))
        code, out, _ = call(patch, capfd, *words)
    assert code == INTERRUPTED
    assert "stopped after iteration 1; go on with: grandmodel train mpe2.simple_spread_v3:" in out
    code, out, _ = call(monkeypatch, capfd, *words, "--resume")
    assert code == 0
