"""How every kernel of the project is compiled, and where its machine code is kept.

numba's own cache looks at the file of the function alone and misses a change in
a module that it calls. The cache folder is therefore keyed by a hash of all
kernel sources, the versions that shape the code, and the processor.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import llvmlite
import numba
import numpy
from llvmlite import binding

Function = TypeVar("Function", bound=Callable[..., Any])

KERNEL_ROOMS = ("market", "signals", "rewards", "envs")
CACHE_VARIABLE = "GRANDMODEL_CACHE"


def kernel_digest() -> str:
    """Hex digest of everything that compiled kernels depend on."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parent.parent
    for room in KERNEL_ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    for part in (
        numba.__version__,
        llvmlite.__version__,
        numpy.__version__,
        platform.python_version(),
        binding.get_host_cpu_name(),
        str(sorted(binding.get_host_cpu_features().items())),
    ):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """The folder of compiled kernels: `$GRANDMODEL_CACHE`, else the user's cache."""
    base = os.environ.get(CACHE_VARIABLE)
    root = Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return root / "grandmodel" / "kernels" / kernel_digest()


def kernel(function: Function) -> Function:
    """Compile `function` in nopython mode, releasing the GIL, with a cached binary."""
    numba.config.CACHE_DIR = str(_CACHE)
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)


def inlined(function: Function) -> Function:
    """Like `kernel`, and always inlined by LLVM: for small steps of a hot loop."""
    numba.config.CACHE_DIR = str(_CACHE)
    options = {"cache": True, "nogil": True, "error_model": "numpy", "forceinline": True}
    return numba.njit(**options)(function)


_CACHE = cache_folder()
