"""What can go wrong in a training in one process: one clear error, or it goes on as it should.

Whatever happens, the last good checkpoint is whole, and a resume from it gives the curve of a
run to which nothing happened.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import EXIT_CODE, GrandmodelError, TrainingError
from configs.mappo import MappoConfig
from tests.trainers.command_line import call
from tests.trainers.faulty_env import make
from tests.trainers.rays import local_ray
from tests.trainers.test_train import curve, tiny
from tests.trainers.toy_env import toy_layout
from trainers.cli import INTERRUPTED
from trainers.mappo import checkpoint as checkpoints
from trainers.mappo.checkpoint import latest_checkpoint, load_actors, load_checkpoint
from trainers.mappo.config import VECTOR, MAPPOConfig
from trainers.mappo.plan import CRITIC, POLICY, plan_training
from trainers.mappo.sampler import Sampler
from trainers.mappo.update import Update
from trainers.runs import CONFIG_FILE, HISTORY_FILE, RunFolder, load_team_run
from trainers.train import IterationReport, TrainResult, train

pytestmark = pytest.mark.slow  # each trains several times

MAKE = "tests.trainers.faulty_env:make"
FIRST = 3  # the iteration in which things go wrong, where a test does not say another
STEPS = 16  # of an environment per iteration, after `STAGGER` of them
STAGGER = 6


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(1):
        yield


def settings(iterations: int = 4, **changes: object) -> MappoConfig:
    """A tiny run that keeps a checkpoint of every iteration."""
    return tiny(iterations, checkpoint_every=1, **changes)


def step_of(iteration: int) -> int:
    """A step of the environment in the middle of this iteration's sampling."""
    return STAGGER + (iteration - 1) * STEPS + STEPS // 2


class Sitting:
    """One call of `train`: the reports it gave and how it ended."""

    def __init__(
        self,
        output: Path,
        config: MappoConfig,
        kwargs: dict[str, Any] | None = None,
        make: str = MAKE,
        resume: bool = False,
        then: Callable[[IterationReport], None] = lambda report: None,
    ) -> None:
        self.reports: list[IterationReport] = []
        self.result: TrainResult | None = None
        self.error: BaseException | None = None

        def seen(report: IterationReport) -> None:
            self.reports.append(report)
            then(report)

        try:
            self.result = train(config, make, kwargs or {}, output, resume, seen)
        except (GrandmodelError, KeyboardInterrupt, RuntimeError) as error:
            self.error = error


def check_resumed(output: Path, whole: Path, config: MappoConfig, make: str = MAKE) -> None:
    """The run in `output` goes on from its last good checkpoint as one without a fault."""
    kept = latest_checkpoint(output)
    assert kept is not None
    done = load_checkpoint(kept)[0].iteration
    load_actors(kept)
    hidden = [path.name for path in kept.parent.iterdir() if path.name.startswith(".")]
    assert hidden == []
    rest = Sitting(output, config, make=make, resume=True)
    expected = Sitting(whole, config, make=make)
    assert rest.error is None and expected.error is None
    assert 0 < len(rest.reports) < len(expected.reports)
    assert curve(rest.reports) == curve(expected.reports)[done:]
    mine, its = (found.result.policy.state_dict() for found in (rest, expected))  # type: ignore[union-attr]
    assert all(torch.equal(mine[name], its[name]) for name in its)


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


def command(tmp_path: Path, env: str, *overrides: str) -> list[str]:
    """A tiny `train` of anyone's environment, without a tracking store."""
    tiny_run = (
        "mappo.num_envs=4",
        "mappo.rollout_length=8",
        "mappo.minibatches=2",
        "mappo.epochs=1",
        "mappo.policy.hidden=[8]",
        "mappo.critic.hidden=[8]",
        "mappo.checkpoint_every=1",
        "play.episodes=4",
        "play.num_envs=4",
        "play.bootstrap_samples=100",
        "tracking.enabled=false",
    )
    settings = [*tiny_run, "mappo.stop={iterations: 2}", *overrides]
    words = [word for text in settings for word in ("--set", text)]
    return ["train", env, "--output", str(tmp_path / "run"), *words]


# ---------------------------------------------------------------- states that cannot be saved


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


# ---------------------------------------------------------------- the disk


def write_of(
    monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[..., None], file: str = "actors.pkl"
) -> None:
    """Call `act` when this file of the checkpoint `name` is about to be written."""
    original = checkpoints._write

    def write(path: Path, content: bytes) -> None:
        if path.name == file and name in path.parent.name:
            act()
        original(path, content)

    monkeypatch.setattr(checkpoints, "_write", write)


@pytest.fixture
def no_room() -> Iterator[Callable[[], None]]:
    """Let this process write no file beyond 1 kB: the kernel refuses, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("file", ["state.pkl", "actors.pkl"])
def test_a_checkpoint_that_the_kernel_refuses_leaves_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_room: Callable[[], None], file: str
):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    config = settings()
    with monkeypatch.context() as patch:
        write_of(patch, f"iteration-{FIRST:06d}", no_room, file)
        sitting = Sitting(tmp_path / "run", config)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(sitting.error, TrainingError)
    assert "the checkpoint of iteration 3 cannot be written (File too large)" in str(sitting.error)
    assert f"the last good one is {tmp_path}/run/checkpoints/iteration-000002" in str(sitting.error)
    check_resumed(tmp_path / "run", tmp_path / "whole", config)


@pytest.mark.parametrize("when", ["fsync", "rename", "replace"])
def test_a_disk_that_is_full_at_any_moment_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
):
    """ENOSPC where the kernel may say so: as data is flushed, a name given, the pointer set."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    config = settings()
    armed = [False]

    def failing(original: Callable[..., Any]) -> Callable[..., Any]:
        def call_it(*args: Any, **kwargs: Any) -> Any:
            if armed[0]:
                armed[0] = False
                raise full
            return original(*args, **kwargs)

        return call_it

    with monkeypatch.context() as patch:
        write_of(patch, f"iteration-{FIRST:06d}", lambda: armed.__setitem__(0, True))
        owner = Path if when == "rename" else os
        patch.setattr(owner, when, failing(getattr(owner, when)))
        sitting = Sitting(tmp_path / "run", config)
    assert isinstance(sitting.error, TrainingError)
    assert "cannot be written (No space left on device)" in str(sitting.error)
    check_resumed(tmp_path / "run", tmp_path / "whole", config)


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path: Path):
    left = tmp_path / "checkpoints" / ".iteration-000001.999"
    left.mkdir(parents=True)
    (left / "state.pkl").write_bytes(b"half")
    assert latest_checkpoint(tmp_path) is None
    sitting = Sitting(tmp_path, settings(1))
    assert sitting.error is None
    names = sorted(path.name for path in left.parent.iterdir())
    assert names == ["iteration-000001", "latest"]


def test_curves_that_cannot_be_written_are_named(tmp_path: Path):
    run = RunFolder(tmp_path, [])
    (tmp_path / HISTORY_FILE).symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"history\.jsonl: cannot be written \(No space left"):
        run.record({"iteration": 1})


# ---------------------------------------------------------------- resumes


def test_a_refused_resume_does_not_spoil_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    words = command(tmp_path, "mpe2.simple_spread_v3:parallel_env")
    assert call(monkeypatch, capfd, *words)[0] == 0
    kept = (tmp_path / "run" / CONFIG_FILE).read_text()
    code, _, err = call(monkeypatch, capfd, *words, "--resume", "--set", "mappo.gamma=0.5")
    assert code == EXIT_CODE
    assert "other settings: gamma=0.5 (was 0.99)" in err
    assert (tmp_path / "run" / CONFIG_FILE).read_text() == kept
    more = ["--resume", "--set", "mappo.stop.iterations=3"]
    assert call(monkeypatch, capfd, *words, *more)[0] == 0


def test_a_finished_run_with_a_new_budget_is_unfinished_until_it_ends(tmp_path: Path):
    config, run = load_team_run(
        "mpe2.simple_spread_v3:parallel_env", [], [], None, str(tmp_path / "run"), False
    )
    run.begin(config, None)
    run.finish()
    run.begin(config, None)
    assert not run.finished
