"""The page of results says what the published files say, and nothing besides."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from experiments.page import PAGE, RESULTS, main, page


def test_the_page_is_of_the_files_beside_it() -> None:
    assert (RESULTS / PAGE).read_text(encoding="utf-8") == page()


def test_every_published_file_is_on_it(tmp_path: Path) -> None:
    shutil.copytree(RESULTS, tmp_path / "results")
    published = sorted((tmp_path / "results").glob("*/*.json"))
    assert len(published) > 10
    whole = page(tmp_path / "results")
    for path in published:
        content = path.read_bytes()
        path.unlink()
        assert page(tmp_path / "results") != whole, path
        path.write_bytes(content)


def test_figures_and_targets_come_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "analytic").mkdir()
    told = json.loads((RESULTS / "analytic" / "ar1.json").read_text())
    told |= {"mean": 0.1234, "met": False}
    (tmp_path / "analytic" / "ar1.json").write_text(json.dumps(told))
    assert main(["--results", str(tmp_path)]) == 0
    (row,) = [line for line in (tmp_path / PAGE).read_text().splitlines() if "ar1" in line]
    assert "| 0.123 |" in row
    assert ">= 0.9, not met" in row


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_file_of_another_study_is_one_error(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "execution.json").write_text(content)
    assert main(["--results", str(tmp_path)]) == 2
    assert "publish it again" in capsys.readouterr().err
    assert not (tmp_path / PAGE).exists()
