"""A worker that holds and loads no more than it needs.

numba imports scipy and cffi where they are installed, when the first kernel is loaded, for the
linear algebra and the C functions that a kernel may call. Ours call neither: the base install
has neither package. A worker that hides them while numba sets itself up begins sooner, and
smaller by all that they import.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from numba.core.registry import cpu_target

UNUSED = ("scipy", "cffi")
_COMPILER = "libllvmlite"
_GIVE_BACK = 4  # MADV_DONTNEED of Linux: clean pages of a file are read again when touched
_MAPS = Path("/proc/self/maps")


class _Hidden(MetaPathFinder):
    """Finds nothing, and lets nobody else find it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"{fullname} is hidden from this process", name=fullname)
        return None


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """As if these packages were not installed; what is imported already stays."""
    finder = _Hidden(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def load_numba() -> None:
    """Have numba set itself up, without what our kernels never call.

    A kernel that called linear algebra could not be compiled in this process from here on.
    """
    with hidden(*UNUSED):
        cpu_target.typing_context.refresh()
        cpu_target.target_context.refresh()


def give_back() -> None:
    """Return to the system what loading needed and deciding does not.

    Garbage, the free ends of the heap, and the pages of the compiler's own code: these are
    clean pages of a file, which come back from it where a kernel is still to be loaded.
    """
    gc.collect()
    if not sys.platform.startswith("linux"):
        return
    system = ctypes.CDLL(None)
    if hasattr(system, "malloc_trim"):  # glibc's alone
        system.malloc_trim(0)
    system.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in _MAPS.read_text().splitlines():
        place, flags, *_ = line.split(maxsplit=5)
        # Code alone: what else is read-only was written to when the library was linked.
        if _COMPILER in line and "x" in flags:
            begin, end = (int(part, 16) for part in place.split("-"))
            system.madvise(begin, end - begin, _GIVE_BACK)
