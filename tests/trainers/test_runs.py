"""Run folders and provenance: what a resume finds, what a report may claim."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from configs.errors import TrainingError
from configs.loading import load_config
from configs.mappo import MappoConfig
from configs.train import TrainConfig
from tests.trainers.checkpoints import write_meta
from trainers.provenance import UNKNOWN_COMMIT, commit, versions
from trainers.runs import RUN_FILE, RunFolder, load_run, new_run, resumed_run


def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig(output=str(tmp_path / "runs"))


def checkpointed(run: RunFolder, mappo: MappoConfig | None = None, minutes: float = 0.0) -> None:
    """A checkpoint of nothing that was trained with these settings."""
    write_meta(run.path, mappo or MappoConfig(), minutes=minutes)


def test_a_run_is_found_again_as_it_was_left(tmp_path: Path) -> None:
    run = new_run(config(tmp_path), None)
    checkpointed(run)
    run.begin(config(tmp_path), "abc")
    for iteration in (1, 2, 3):
        run.record({"iteration": iteration, "return": -1.0})
    found = resumed_run(config(tmp_path), None)
    assert (found.path, found.tracking_run, found.history) == (run.path, "abc", run.history)
    assert load_config(TrainConfig, found.path / "config.yaml") == config(tmp_path)
    found.forget_after(2)
    assert [row["iteration"] for row in resumed_run(config(tmp_path), None).history] == [1, 2]


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    run = new_run(config(tmp_path), str(tmp_path / "mine"))
    checkpointed(run)
    run.begin(config(tmp_path), None)
    run.record({"iteration": 1})
    with (run.path / "history.jsonl").open("a") as file:
        file.write('{"iteration": 2, "ret')
    assert resumed_run(config(tmp_path), str(run.path)).history == [{"iteration": 1}]


def test_a_torn_line_does_not_spoil_what_is_recorded_after_it(tmp_path: Path) -> None:
    run = new_run(config(tmp_path), str(tmp_path / "mine"))
    checkpointed(run)
    run.begin(config(tmp_path), None)
    with (run.path / "history.jsonl").open("w") as file:
        file.write('{"iteration": 1}\n{"iteration": 2, "ret')
    again = resumed_run(config(tmp_path), str(run.path))
    again.forget_after(1)
    again.record({"iteration": 2})
    assert resumed_run(config(tmp_path), str(run.path)).history == [
        {"iteration": 1},
        {"iteration": 2},
    ]


def test_finished_runs_and_other_markets_are_not_resumed(tmp_path: Path) -> None:
    run = new_run(config(tmp_path), None)
    checkpointed(run)
    run.begin(config(tmp_path), None)
    run.finish()
    with pytest.raises(TrainingError, match="nothing to resume"):
        resumed_run(config(tmp_path), None)
    assert resumed_run(config(tmp_path), str(run.path)).finished  # named, it may go on
    assert new_run(config(tmp_path), None).path != run.path
    with pytest.raises(TrainingError, match="add --resume"):
        new_run(config(tmp_path), str(run.path))


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"run.json is missing"):
        resumed_run(config(tmp_path), str(tmp_path))
    (tmp_path / RUN_FILE).write_text("{")
    with pytest.raises(TrainingError, match="cannot be read"):
        resumed_run(config(tmp_path), str(tmp_path))


def test_a_commit_is_claimed_by_its_own_checkout_alone(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True)

    assert commit(tmp_path).name == UNKNOWN_COMMIT
    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "first")
    clean = commit(tmp_path)
    assert len(clean.name) == 40 and not clean.dirty
    (tmp_path / "a").write_text("2")
    assert commit(tmp_path).dirty
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert commit(inside).name == UNKNOWN_COMMIT


def test_versions_are_the_installed_ones() -> None:
    import numpy

    assert versions()["numpy"] == numpy.__version__


def test_a_resume_keeps_the_settings_that_the_run_was_begun_with(tmp_path: Path) -> None:
    root = f"output={tmp_path / 'runs'}"
    begun, folder = load_run(
        "execution", [], [], [root, "mappo.epochs=3"], seed=5, output=None, resume=False
    )
    checkpointed(folder, begun.mappo)
    folder.begin(begun, None)
    again, found = load_run(
        "execution", [], [], [root, "mappo.stop.minutes=1"], seed=None, output=None, resume=True
    )
    assert found.path == folder.path
    assert (again.mappo.epochs, again.seed, again.mappo.stop.minutes) == (3, 5, 1.0)
    with pytest.raises(TrainingError, match="begun in another environment"):
        load_run(
            "execution", [], [], ["env.step_seconds=2"], None, output=str(found.path), resume=True
        )


def test_a_finished_run_is_left_alone_unless_more_is_asked_of_it(tmp_path: Path) -> None:
    begun, folder = load_run(
        "execution", [], [], [f"output={tmp_path}"], seed=None, output=None, resume=False
    )
    checkpointed(folder, begun.mappo, minutes=9.5)
    folder.begin(begun, "run of before")
    folder.finish()
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    for given, said in (
        ([], r"trained for 1 steps in 9\.5 minutes, with mappo\.stop\.minutes=9\.0; expected"),
        ([f"mappo.epochs={begun.mappo.epochs}"], "is finished: trained for 1 steps"),
        # Less, as much, or as long as it has been trained; and what trains nothing.
        (["mappo.stop.env_steps=1", "mappo.stop.minutes=20"], r"mappo\.stop\.env_steps=1; expec"),
        (["mappo.stop.env_steps=900_000_000"], r"mappo\.stop\.minutes=9\.0; expected"),
        (["mappo.checkpoint_every=50"], r"mappo\.stop\.minutes=9\.0; expected"),
    ):
        with pytest.raises(TrainingError, match=said):
            load_run("execution", [], [], given, None, output=str(folder.path), resume=True)
    after = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert after == before
    more = ["mappo.stop.env_steps=900_000_000", "mappo.stop.minutes=20"]
    again, found = load_run("execution", [], [], more, None, output=str(folder.path), resume=True)
    assert found.path == folder.path and again.mappo.stop.env_steps == 900_000_000


def test_the_latest_run_of_any_market_is_resumed(tmp_path: Path) -> None:
    for market in ("zebra", "ant"):
        text = {"output": str(tmp_path), "env": {"market": {"name": market}}}
        run = new_run(TrainConfig.model_validate(text), None)
        checkpointed(run)
        run.begin(TrainConfig.model_validate(text), None)
    default = TrainConfig(output=str(tmp_path))
    assert "-ant-" in resumed_run(default, None, any_market=True).path.name
    with pytest.raises(TrainingError, match="execution-builtin"):
        resumed_run(default, None)


def test_a_run_killed_before_its_first_checkpoint_is_begun_anew(tmp_path: Path) -> None:
    run = new_run(config(tmp_path), None)
    checkpointed(run)
    run.begin(config(tmp_path), None)
    killed = new_run(config(tmp_path), None)
    killed.path.mkdir()
    killed.begin(config(tmp_path), None)
    assert resumed_run(config(tmp_path), None).path == run.path
    with pytest.raises(TrainingError, match=r"no checkpoint to resume from; run without --resume"):
        resumed_run(config(tmp_path), str(killed.path))
    assert new_run(config(tmp_path), str(killed.path)).path == killed.path
    killed.artefact.mkdir()  # it was trained to its end, then its checkpoints were removed
    with pytest.raises(TrainingError, match="choose another folder"):
        new_run(config(tmp_path), str(killed.path))
    with pytest.raises(TrainingError, match="its checkpoints are gone"):
        resumed_run(config(tmp_path), str(killed.path))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run.json", b"[]", r"run\.json cannot be read \(got a list"),
        ("run.json", b'{"tracking_run": 3}', r"run\.json cannot be read \(expected tracking_run"),
        ("run.json", b"\xff", r"run\.json cannot be read"),
        ("history.jsonl", b'{"iteration": 1}\n\xff\xfe\n', r"history\.jsonl, line 2: damaged"),
        ("history.jsonl", b"[1]\n", r"history\.jsonl, line 1: damaged"),
        ("history.jsonl", b'{"iteration": "x"}\n', r"history\.jsonl, line 1: damaged"),
    ],
)
def test_a_damaged_run_is_one_clear_error(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    run = new_run(config(tmp_path), None)
    checkpointed(run)
    run.begin(config(tmp_path), None)
    (run.path / name).write_bytes(content)
    with pytest.raises(TrainingError, match=said):
        resumed_run(config(tmp_path), None)
