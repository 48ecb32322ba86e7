"""How every kernel of the project is compiled, and where its machine code is kept.

numba's own cache looks at the file of the function alone and misses a change in
a module that it calls. Every function's folder is therefore keyed by a hash of its
module, of all that this imports from the project, directly or not, of the versions
that shape the code, and of the processor: an edit recompiles what can see it. What
takes NamedTuples that its module does not import is kept by its callers alone, since
such a type may change unseen: `generic`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import llvmlite
import numba
import numpy
from llvmlite import binding

Function = TypeVar("Function", bound=Callable[..., Any])

KERNEL_ROOMS = ("market", "signals", "rewards", "envs")
CACHE_VARIABLE = "GRANDMODEL_CACHE"
_ROOT = Path(__file__).resolve().parent.parent
_SHOWN = 16  # hex digits of a digest
_INLINED = {"nogil": True, "error_model": "numpy", "forceinline": True}
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+)?import[ \t]+(\([^)]*\)|.*)", re.MULTILINE
)


def kernel_digest() -> str:
    """Hex digest of everything that any compiled kernel depends on."""
    paths = (path for room in KERNEL_ROOMS for path in (_ROOT / room).rglob("*.py"))
    return _digest(paths)


def module_digest(path: Path) -> str:
    """Hex digest of everything that the kernels of one file of the project depend on."""
    return _digest(imported_files(path))


def imported_files(path: Path) -> frozenset[Path]:
    """The file itself and all files of the project that it imports, directly or not."""
    found: set[Path] = set()
    open_ends = [path]
    while open_ends:
        file = open_ends.pop()
        if file not in found:
            found.add(file)
            open_ends += _direct_imports(file)
    return frozenset(found)


@cache
def _direct_imports(file: Path) -> tuple[Path, ...]:
    """Files of the project that `file` names in an import; a name may be a module's or its part."""
    names = []
    for base, imported in _IMPORT.findall(file.read_text(encoding="utf-8")):
        parts = re.findall(r"([\w.]+)(?:[ \t]+as[ \t]+\w+)?", imported)
        names += [base, *(f"{base}.{part}" for part in parts)] if base else parts
    places = (_ROOT.joinpath(*name.split(".")) for name in names)
    files = (file for place in places for file in (place.with_suffix(".py"), place / "__init__.py"))
    return tuple(file for file in files if file.is_file())


def _digest(paths: Iterable[Path]) -> str:
    """Of these files, their places in the project, the versions and the processor."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(os.path.relpath(path, _ROOT).encode())
        digest.update(path.read_bytes())
    digest.update(_surroundings().encode())
    return digest.hexdigest()[:_SHOWN]


@cache
def _surroundings() -> str:
    parts = (
        numba.__version__,
        llvmlite.__version__,
        numpy.__version__,
        platform.python_version(),
        binding.get_host_cpu_name(),
        str(sorted(binding.get_host_cpu_features().items())),
    )
    return " ".join(parts)


def cache_folder() -> Path:
    """The folder of compiled kernels: `$GRANDMODEL_CACHE`, else the user's cache."""
    base = os.environ.get(CACHE_VARIABLE)
    root = Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return root / "grandmodel" / "kernels"


def kernel(function: Function) -> Function:
    """Compile `function` in nopython mode, releasing the GIL, with a cached binary."""
    numba.config.CACHE_DIR = _folder_of(function.__code__.co_filename)
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)


def inlined(function: Function) -> Function:
    """Like `kernel`, and always inlined by LLVM: for small steps of a hot loop."""
    numba.config.CACHE_DIR = _folder_of(function.__code__.co_filename)
    return numba.njit(cache=True, **_INLINED)(function)


def generic(function: Function) -> Function:
    """Like `inlined`, for NamedTuples that its module does not import; kept as part of callers.

    Of their fields numba's key has the types alone, not names or order, and what it keeps for
    them cannot be read once their class has moved.
    """
    return numba.njit(**_INLINED)(function)


@cache
def _folder_of(filename: str) -> str:
    return str(_CACHE / module_digest(Path(filename).resolve()))


_CACHE = cache_folder()
