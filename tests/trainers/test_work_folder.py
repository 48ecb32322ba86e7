"""Which folder of unfinished work a resume goes on with, and what is said where there is none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from configs.errors import TrainingError
from trainers.work_folder import WorkFolder, by_time, dated


@dataclass
class Search(WorkFolder):
    family = "search"
    what = "search"
    file = "search.json"


def begun(root: Path, name: str, finished: bool = False) -> Search:
    folder = Search(root / name, "run-of-mlflow", finished)
    folder.path.mkdir(parents=True)
    folder.save()
    return folder


def test_the_latest_by_time_is_gone_on_with_whatever_its_market(tmp_path: Path) -> None:
    begun(tmp_path, "search-tactical-synthetic-20260101-000000-000001")
    late = begun(tmp_path, "search-tactical-nq-20260102-000000-000000")
    begun(tmp_path, "search-tactical-synthetic-20260103-000000-000000", finished=True)
    begun(tmp_path, "search-strategic-nq-20260104-000000-000000")
    assert Search.begun(tmp_path, None, "tactical") == late
    late.finish()
    assert Search.begun(tmp_path, None, "tactical").path.name.endswith("000001")
    assert Search.begun(tmp_path, str(late.path)).finished  # one that is named may be done


def test_dated_folders_sort_by_their_time(tmp_path: Path) -> None:
    first, second = dated(tmp_path, "search-z"), dated(tmp_path, "search-a")
    assert sorted([second, first], key=by_time) == [first, second]
    assert Search.fresh(tmp_path, "a", None).path.name.startswith("search-a-2")


def test_what_is_there_is_not_written_over_and_what_is_not_is_not_resumed(tmp_path: Path) -> None:
    kept = begun(tmp_path, "mine")
    with pytest.raises(TrainingError, match="holds a search already: add --resume"):
        Search.fresh(tmp_path, "a", str(kept.path))
    with pytest.raises(TrainingError, match="no unfinished search of the tactical layer under"):
        Search.begun(tmp_path, None, "tactical")
    with pytest.raises(TrainingError, match=r"no unfinished search under"):
        Search.begun(tmp_path, None)
    with pytest.raises(TrainingError, match=r"holds no search \(search.json is missing\)"):
        Search.begun(tmp_path, str(tmp_path / "nowhere"))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"finished": true}'])
def test_a_damaged_state_is_one_error(tmp_path: Path, content: bytes) -> None:
    kept = begun(tmp_path, "search-20260101-000000-000000")
    (kept.path / Search.file).write_bytes(content)
    with pytest.raises(TrainingError, match=r"search\.json cannot be read .*expected an object"):
        Search.begun(tmp_path, None)


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = begun(tmp_path, "mine")
    assert Search.read(kept.path) == kept
    kept.finish()
    assert json.loads((kept.path / Search.file).read_text()) == {
        "tracking_run": "run-of-mlflow",
        "finished": True,
    }
