"""What can go wrong where a training writes, and where it is gone on with, in one process."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.errors import EXIT_CODE, TrainingError
from tests.trainers.command_line import call
from tests.trainers.rays import local_ray
from tests.trainers.sittings import FIRST, Sitting, check_resumed, command, settings, write_of
from trainers.mappo.checkpoint import latest_checkpoint
from trainers.runs import CONFIG_FILE, HISTORY_FILE, RunFolder, load_team_run

pytestmark = pytest.mark.slow  # each trains several times


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(1):
        yield


# ---------------------------------------------------------------- the disk


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
    more = ["--resume", "--set", "mappo.stop.iterations=3"]
    code, _, err = call(monkeypatch, capfd, *words, *more, "--set", "mappo.gamma=0.5")
    assert code == EXIT_CODE
    assert "other settings: gamma=0.5 (was 0.99)" in err
    assert (tmp_path / "run" / CONFIG_FILE).read_text() == kept
    assert call(monkeypatch, capfd, *words, *more)[0] == 0


def test_a_finished_run_with_a_new_budget_is_unfinished_until_it_ends(tmp_path: Path):
    config, run = load_team_run(
        "mpe2.simple_spread_v3:parallel_env", [], [], None, str(tmp_path / "run"), False
    )
    run.begin(config, None)
    run.finish()
    run.begin(config, None)
    assert not run.finished
