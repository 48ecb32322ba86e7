"""Compiled kernels are kept by what they were compiled from."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from numba import types
from numba.core.caching import FunctionCache
from numba.core.registry import CPUDispatcher

import market.kernels as kernels
from envs import execution_v1, strategic_v0, tactical_v1
from market.kernels import imported_files, module_digest

ROOT = Path(kernels.__file__).resolve().parent.parent
LOADED = """
import importlib, sys
importlib.import_module(sys.argv[1])
for module in list(sys.modules.values()):
    if getattr(module, "__file__", None):
        print(module.__file__)
"""


@pytest.mark.parametrize("module", ["market.barwise", "signals.execution", "rewards.tactical"])
def test_files_that_a_module_is_compiled_from_cover_all_that_it_loads(module: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, module], capture_output=True, text=True, cwd=ROOT, check=True
    )
    rooms = tuple(str(ROOT / room) for room in (*kernels.KERNEL_ROOMS, "configs"))
    loaded = {Path(line) for line in ran.stdout.splitlines() if line.startswith(rooms)}
    packages = {path for path in loaded if path.name == "__init__.py"}  # docstrings alone
    found = imported_files(ROOT.joinpath(*module.split(".")).with_suffix(".py"))
    assert found
    assert loaded - packages <= found


def project(root: Path, **files: str) -> None:
    for name, text in files.items():
        (root / "market" / f"{name}.py").write_text(text)


def test_an_edit_changes_the_digest_of_what_imports_it_and_of_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "market").mkdir()
    project(
        tmp_path,
        top="from market.middle import (\n    step,\n)\n",
        middle="def step():\n    from market import bottom\n",
        bottom="import numpy as np\n",
        beside="import market.bottom as other\n",
        alone="VALUE = 1\n",
    )
    monkeypatch.setattr(kernels, "_ROOT", tmp_path)

    def digests() -> dict[str, str]:
        kernels._direct_imports.cache_clear()
        return {p.stem: module_digest(p) for p in (tmp_path / "market").glob("*.py")}

    before = digests()
    assert digests() == before
    project(tmp_path, bottom="import numpy as np\nVALUE = 2\n")
    after = digests()
    changed = {name for name, digest in after.items() if digest != before[name]}
    assert changed == {"top", "middle", "bottom", "beside"}


def kept_kernels() -> Iterator[tuple[str, CPUDispatcher]]:
    """The compiled functions of the project that numba keeps, and the modules that define them."""
    for room in (*kernels.KERNEL_ROOMS, "cascade"):
        for path in sorted((ROOT / room).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for each in vars(importlib.import_module(name)).values():
                ours = isinstance(each, CPUDispatcher) and each.__module__ == name
                if ours and isinstance(each._cache, FunctionCache):
                    yield name, each


def tuples_in(kind: Any) -> Iterator[type]:
    """Classes of the NamedTuples that a numba type is, or holds."""
    if isinstance(kind, types.NamedTuple):
        yield kind.instance_class
    if isinstance(kind, types.BaseTuple):
        for member in kind.types:
            yield from tuples_in(member)


@pytest.mark.parametrize("layer", [execution_v1, strategic_v0, tactical_v1])
def test_what_is_kept_is_keyed_by_the_files_of_all_types_that_it_takes(layer: Any) -> None:
    env = layer.parallel_env()
    env.reset(seed=0)
    env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    taken, unseen = set(), set()
    for name, each in kept_kernels():
        files = imported_files(ROOT.joinpath(*name.split(".")).with_suffix(".py"))
        for signature, *_ in each._cache._cache_file._load_index():
            for argument in signature:
                for given in tuples_in(argument):
                    taken.add(given)
                    if Path(inspect.getfile(given)) not in files:
                        unseen.add(f"{name}.{each.__name__} takes {given.__qualname__}")
    assert taken
    assert not unseen
