"""Functions by their place: found, or one error that says what is wrong with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from configs.errors import TrainingError
from configs.places import function_at


def test_a_place_leads_to_its_function():
    assert function_at("json:dumps", "writer", "writes") is json.dumps


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("json", r"^writer 'json': expected 'package\.module:function', where the function writes"),
        (":dumps", r"^writer ':dumps': expected 'package\.module:function'"),
        ("json.no_such:dumps", r"there is no module 'json\.no_such'"),
        ("json:dunps", r"module 'json' has no such function; did you mean 'dumps'\?"),
        ("json:__all__", r"^writer 'json:__all__' is no function: got \['dump'"),
    ],
)
def test_what_is_no_place_is_named(place: str, message: str):
    with pytest.raises(TrainingError, match=message):
        function_at(place, "writer", "writes")


def test_what_a_module_itself_lacks_is_not_said_to_be_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "needs_another.py").write_text("import not_installed_here\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ModuleNotFoundError, match="'not_installed_here'"):
        function_at("needs_another:make", "environment", "makes")
