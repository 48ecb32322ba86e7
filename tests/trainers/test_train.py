"""Whole trainings on the toy: reproducible, resumable, stoppable, and clear where they fail."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from rich.console import Console

from configs.actors import ActorConfig
from configs.errors import TrainingError
from configs.mappo import CriticConfig, MappoConfig, StopConfig
from policies.gae import generalized_advantages
from signals.layout import Column
from tests.trainers.rays import local_ray
from tests.trainers.toy_env import toy_layout
from trainers.budget import budget_used, decay_progress, limits_reached
from trainers.mappo.checkpoint import (
    CheckpointMeta,
    latest_checkpoint,
    load_actors,
    load_checkpoint,
    save_checkpoint,
)
from trainers.mappo.config import MAPPOConfig
from trainers.mappo.plan import POLICY, plan_training
from trainers.memory import PeakMemory
from trainers.progress import TrainingProgress
from trainers.train import (
    IterationReport,
    TrainResult,
    train,
)

MAKE = "tests.trainers.toy_env:make"


def tiny(iterations: int, **changes: object) -> MappoConfig:
    """A run of fractions of a second."""
    options = {
        "policy": ActorConfig(hidden=(16, 16)),
        "critic": CriticConfig(hidden=(16,)),
        "num_envs": 8,
        "rollout_length": 16,
        "stagger": 6,
        "minibatches": 2,
        "epochs": 2,
        "learning_rate": 1e-3,
        "stop": StopConfig(iterations=iterations),
        "seed": 3,
    }
    return MappoConfig(**(options | changes))


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(1):
        yield


def run(config: MappoConfig, output: Path, **options: object) -> tuple[TrainResult, list]:
    reports: list[IterationReport] = []
    kwargs = options.pop("kwargs", {})
    result = train(config, MAKE, kwargs, output, on_iteration=reports.append, **options)
    return result, reports


def curve(reports: list[IterationReport]) -> list[object]:
    """All of a report that does not depend on the clock."""
    return [(r.iteration, r.env_steps, r.episodes, r.metrics, r.rewards, r.losses) for r in reports]


def weights(result: TrainResult) -> list[torch.Tensor]:
    return list(result.policy.state_dict().values())


def same(first: TrainResult, second: TrainResult) -> bool:
    return all(map(torch.equal, weights(first), weights(second)))


def test_same_seed_same_curve_to_the_bit(tmp_path: Path):
    first, reports = run(tiny(3), tmp_path / "a")
    again, repeated = run(tiny(3), tmp_path / "b")
    other, _ = run(tiny(3, seed=4), tmp_path / "c")
    assert curve(reports) == curve(repeated)
    assert same(first, again)
    assert not same(first, other)


def test_a_resumed_run_is_the_uninterrupted_run(tmp_path: Path):
    decays = {"learning_rate_decay": "linear", "entropy_decay": "linear"}
    whole, reports = run(tiny(4, **decays), tmp_path / "whole")
    # The same budget throughout, since decays depend on it: stop by a signal instead.
    seen: list[IterationReport] = []

    def stop_after_two(report: IterationReport) -> None:
        seen.append(report)
        if report.iteration == 2:
            os.kill(os.getpid(), signal.SIGINT)

    half = train(tiny(4, **decays), MAKE, {}, tmp_path / "half", False, stop_after_two)
    assert half.interrupted
    assert half.iterations == 2
    rest, later = run(tiny(4, **decays), tmp_path / "half", resume=True)
    assert not rest.interrupted
    assert curve(seen + later) == curve(reports)
    assert same(rest, whole)
    assert rest.env_steps == whole.env_steps == 4 * 8 * 16
    assert rest.minutes > half.minutes


def test_a_report_holds_measured_figures(tmp_path: Path):
    result, reports = run(tiny(2), tmp_path)
    report = reports[-1]
    assert result.last == report
    assert report.env_steps == 2 * 8 * 16
    assert report.steps_per_s > 0
    assert set(report.seconds) == {"sample", "learn", "sync"}
    assert {"return", "length", "error", "return/chooser"} <= set(report.metrics)
    assert {"reward/scout", "term/monitor"} <= set(report.rewards)
    expected = {"policy_loss", "value_loss", "supervised_loss", "entropy", "kl"}
    expected |= {"clip_fraction", "explained_variance", "grad_norm_policy", "grad_norm_critic"}
    assert expected <= set(report.losses)
    assert report.peak_rss_bytes > 50e6
    assert report.progress == 1.0


def test_checkpoints_are_whole_pruned_and_pointed_to(tmp_path: Path):
    result, _ = run(tiny(5, checkpoint_every=1, keep_checkpoints=2), tmp_path)
    folder = tmp_path / "checkpoints"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["iteration-000004", "iteration-000005", "latest"]
    assert latest_checkpoint(tmp_path) == result.checkpoint == folder / "iteration-000005"
    meta, _ = load_checkpoint(result.checkpoint)
    assert (meta.iteration, meta.env_steps) == (5, 5 * 8 * 16)
    (folder / "latest").unlink()
    assert latest_checkpoint(tmp_path) == result.checkpoint


def test_the_policy_of_a_checkpoint_is_the_trained_one(tmp_path: Path):
    result, _ = run(tiny(2), tmp_path)
    loaded = load_actors(result.checkpoint)[POLICY]
    rows = torch.rand(5, toy_layout().row_width)
    with torch.no_grad():
        expected, found = result.policy.act(rows, None), loaded.act(rows, None)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_run_is_not_overwritten_and_needs_its_own_settings(tmp_path: Path):
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        run(tiny(1), tmp_path, resume=True)
    run(tiny(1), tmp_path)
    with pytest.raises(TrainingError, match=r"holds a run already .* add --resume"):
        run(tiny(1), tmp_path)
    with pytest.raises(TrainingError, match=r"other settings: gamma=0.5 \(was 0.99\)"):
        run(tiny(2, gamma=0.5), tmp_path, resume=True)
    with pytest.raises(TrainingError, match=r"with columns .* begin a new run"):
        run(tiny(2), tmp_path, resume=True, kwargs={"padding": 2})
    done, reports = run(tiny(1), tmp_path, resume=True)
    assert reports == []
    assert done.iterations == 1


def test_a_damaged_checkpoint_is_named(tmp_path: Path):
    result, _ = run(tiny(1), tmp_path)
    state = result.checkpoint / "state.pkl"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"state\.pkl: damaged"):
        run(tiny(2), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("meta.json", b'{"iteration": 1', r"meta\.json: damaged"),
        ("meta.json", b"[]", r"meta\.json: damaged"),
        ("meta.json", b'{"iteration": 1}', r"meta\.json: damaged.*env_steps: Field required"),
        ("meta.json", b"\xff\xfe", r"meta\.json: damaged"),
        ("state.pkl", b"\xff", r"state\.pkl: damaged"),
        ("state.pkl", pickle.dumps([1]), r"state\.pkl: damaged.*expected a dict"),
        ("state.pkl", b"\x80\x04I1a\n.", r"state\.pkl: damaged.*ValueError"),
    ],
)
def test_a_damaged_file_of_a_checkpoint_is_one_clear_error(
    tmp_path: Path, name: str, content: bytes, said: str
):
    folder = _checkpoint(tmp_path)
    (folder / name).write_bytes(content)
    with pytest.raises(TrainingError, match=said) as raised:
        load_checkpoint(folder)
    assert "earlier checkpoint" in str(raised.value)


def test_a_policy_of_other_weights_is_one_clear_error(tmp_path: Path):
    folder = _checkpoint(tmp_path)
    found = pickle.loads((folder / "actors.pkl").read_bytes())
    found[POLICY]["weights"].popitem()
    (folder / "actors.pkl").write_bytes(pickle.dumps(found))
    with pytest.raises(TrainingError, match=r"actors\.pkl: damaged"):
        load_actors(folder)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"..", b"iteration-000009", b"a\0b"])
def test_a_damaged_pointer_falls_back_to_the_newest(tmp_path: Path, content: bytes):
    folder = _checkpoint(tmp_path)
    (tmp_path / "checkpoints" / "latest").write_bytes(content)
    assert latest_checkpoint(tmp_path) == folder


def test_a_resume_across_state_columns_or_kernels_is_refused(tmp_path: Path):
    folder = _checkpoint(tmp_path)
    meta, _ = load_checkpoint(folder)
    layout = toy_layout()
    plan = plan_training(layout, tiny(1))
    assert meta.state_columns == [column.name for column in layout.state_columns]
    meta.check_resumable(tiny(1), MAKE, plan, "k1", folder)
    with pytest.raises(TrainingError, match=r"kernels k1, here they are k2: .* or begin a new run"):
        meta.check_resumable(tiny(1), MAKE, plan, "k2", folder)
    hidden = Column("hidden_too", "1", 0, 1, "test", privileged=True)
    wider = replace(layout, privileged=(*layout.privileged, hidden))
    assert wider.digest == layout.digest
    with pytest.raises(TrainingError, match=r"other state columns \(they differ in: hidden_too\)"):
        meta.check_resumable(tiny(1), MAKE, plan_training(wider, tiny(1)), "k1", folder)


def _checkpoint(output: Path) -> Path:
    """One without a training."""
    plan = plan_training(toy_layout(), tiny(1))
    meta = CheckpointMeta(
        iteration=1,
        env_steps=128,
        minutes=0.1,
        make=MAKE,
        layout=plan.layout.digest,
        state_columns=list(plan.state_columns),
        kernels="k1",
        config=tiny(1).model_dump(mode="json"),
    )
    actors = {actor.name: actor.build() for actor in plan.actors}
    return save_checkpoint(output, {"a": 1}, plan, actors, meta, 2)


def test_a_fault_of_the_environment_ends_the_run_with_its_place(tmp_path: Path):
    with pytest.raises(TrainingError, match=r"agent 'follower' is nan in environment row 1"):
        run(tiny(3), tmp_path, kwargs={"spoil_at": 30})


def test_target_kl_ends_the_epochs_early(tmp_path: Path):
    _, reports = run(tiny(1, epochs=8, target_kl=1e-9), tmp_path / "a")
    assert reports[0].losses["epochs"] < 8
    _, reports = run(tiny(1, epochs=8, target_kl=1e9), tmp_path / "b")
    assert reports[0].losses["epochs"] == 8


def test_the_budget_is_that_of_the_nearest_limit():
    stop = StopConfig(env_steps=1000, minutes=2.0)
    assert budget_used(stop, 500, 0.1, 7) == 0.5
    assert budget_used(stop, 500, 3.0, 7) == 1.5
    assert budget_used(StopConfig(iterations=10), 0, 9.0, 10) == 1.0
    assert limits_reached(stop, 999, 2.0, 7) == ("minutes=2.0",)
    assert limits_reached(stop, 1000, 2.0, 7) == ("env_steps=1000", "minutes=2.0")
    assert limits_reached(stop, 999, 1.9, 7) == ()


def test_decays_follow_the_clock_only_where_nothing_else_bounds_the_run():
    stop = StopConfig(env_steps=1000, minutes=2.0)
    assert decay_progress(stop, 100, 1.9, 7) == 0.1
    assert decay_progress(StopConfig(iterations=10, minutes=2.0), 0, 1.9, 3) == 0.3
    assert decay_progress(StopConfig(minutes=2.0), 100, 1.0, 7) == 0.5


def test_the_clock_does_not_change_the_curve(tmp_path: Path):
    decays = {"learning_rate_decay": "linear", "entropy_decay": "linear"}
    _, reports = run(tiny(2, **decays), tmp_path / "a")
    timed = tiny(2, **decays, stop=StopConfig(iterations=2, minutes=1.0))
    _, repeated = run(timed, tmp_path / "b")
    assert curve(repeated) == curve(reports)
    assert all(report.losses["progress"] in (0.0, 0.5) for report in repeated)


def test_the_peak_memory_is_that_of_the_process_or_more():
    import resource

    assert PeakMemory().measure() >= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1000


def test_the_learners_batch_bootstraps_where_it_must():
    """The batch the learner trains on, against values looked up one by one."""
    config = tiny(1, normalize_advantages="none", critic=CriticConfig(value_norm=False))
    algorithm = MAPPOConfig().mappo(config).batched_env(MAKE).build_algo()
    try:
        [rollout] = algorithm.env_runner.sample()
        learner = algorithm.learner_group._learner
        critic = learner.module["critic"].critic
        batch, _ = learner._updater().batches.prepare(rollout)
        pairs = zip(rollout.cut_index, rollout.cut_states, strict=True)
        cuts = {tuple(index): state for index, state in pairs}
        following = []
        for t in range(rollout.length):
            for n in range(rollout.num_envs):
                last = t == rollout.length - 1
                state = rollout.last_states[n] if last else rollout.states[t + 1, n]
                following.append(torch.from_numpy(cuts.get((t, n), state)))
        shape = rollout.rewards.shape
        with torch.no_grad():
            next_values = critic.values(torch.stack(following)).reshape(shape)
            values = critic.values(torch.from_numpy(rollout.states))
        expected = generalized_advantages(
            torch.from_numpy(rollout.rewards),
            values,
            next_values,
            torch.from_numpy(rollout.terminations),
            torch.from_numpy(rollout.truncations),
            config.gamma,
            config.gae_lambda,
        ).flatten(0, 1)
        torch.testing.assert_close(
            batch.rows["policy"]["advantages"], expected, rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(
            batch.rows["critic"]["returns"], expected + values.flatten(0, 1), rtol=1e-4, atol=1e-5
        )
        assert len(cuts) > 0
    finally:
        algorithm.stop()


def test_rllibs_own_checkpoint_restores_the_simulators_too(tmp_path: Path):
    """`save_to_path` and `restore_from_path`, which Tune uses."""
    config = MAPPOConfig().mappo(tiny(4)).batched_env(MAKE)
    algorithm, fresh = config.copy().build_algo(), config.copy().build_algo()
    try:
        algorithm.train()
        algorithm.save_to_path(str(tmp_path / "rllib"))
        algorithm.train()
        fresh.restore_from_path(str(tmp_path / "rllib"))
        fresh.train()
        assert fresh.last.learner == algorithm.last.learner
        assert fresh.last.episodes == algorithm.last.episodes
    finally:
        algorithm.stop()
        fresh.stop()


def test_progress_prints_lines_where_there_is_no_terminal(tmp_path: Path):
    stream = io.StringIO()
    shown = [("return", "return", "{:.2f}"), ("error", "error", "{:.3f}")]
    with TrainingProgress(shown, "toy", Console(file=stream, width=200), every_s=0.0) as progress:
        train(tiny(2), MAKE, {}, tmp_path, on_iteration=progress.update)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("toy  50%  iteration 1")
    assert lines[-1].startswith("toy 100%  iteration 2")
    for part in ("steps/s", "return -", "error 0.", "GB", "ETA 0:00"):
        assert part in lines[-1]


def test_the_meta_is_readable_json(tmp_path: Path):
    result, _ = run(tiny(1), tmp_path)
    meta = json.loads((result.checkpoint / "meta.json").read_text())
    assert MappoConfig.model_validate(meta["config"]) == tiny(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learners": 3}, "num_envs=8 with learners=3: expected num_envs to divide"),
        ({"minibatches": 5}, "minibatches=5: expected a divisor of the 128 rows"),
    ],
)
def test_settings_that_cannot_be_shared_out_are_refused(changes: dict[str, int], message: str):
    with pytest.raises(ValidationError, match=message):
        tiny(1, **changes)


def test_a_run_has_some_limit():
    with pytest.raises(ValidationError, match="set at least one of env_steps, minutes, iterations"):
        StopConfig()
