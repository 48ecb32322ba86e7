"""Tables that take seconds to compute, kept on disk by a digest of what they are made of.

A key names everything that a table depends on, the code included, so that nothing is ever out
of date: what no longer fits has another name. A table is a folder of `.npy` files with their
SHA-256 beside them, which appears under its name whole or not at all; processes that read it
map the same memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.kernels import cache_folder, module_digest

Arrays = Mapping[str, NDArray[Any]]

SUMS_FILE = "sums.json"
_SHOWN = 32  # hex digits of a key
_log = logging.getLogger(__name__)


def tables_folder() -> Path:
    """Where tables are kept: beside the compiled kernels."""
    return cache_folder().with_name("tables")


def key_of(module: str, *parts: object) -> str:
    """Hex digest of plain data and of the code that `module` (its `__file__`) depends on."""
    text = json.dumps([module_digest(Path(module).resolve()), *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_SHOWN]


def kept(name: str, key: str, make: Callable[[], Arrays]) -> dict[str, NDArray[Any]]:
    """The arrays of `make`, read from disk where they were computed before; read-only.

    What is damaged is computed again, and a line says so. A folder that cannot be written
    costs the time of the next process and nothing else.

    Args:
        name: of the kind of table, for people who look into the folder.
        key: see `key_of`.
        make: computes them.
    """
    folder = tables_folder() / f"{name}-{key}"
    if folder.is_dir():
        try:
            return _read(folder)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _log.warning("%s is damaged (%s): it is computed again", folder, error)
    made = {part: np.ascontiguousarray(array) for part, array in make().items()}
    try:
        _write(folder, made)
    except OSError as error:
        _log.warning("%s cannot be kept (%s)", folder, error.strerror or error)
    for array in made.values():
        array.flags.writeable = False
    return made


def _read(folder: Path) -> dict[str, NDArray[Any]]:
    sums = json.loads((folder / SUMS_FILE).read_text(encoding="utf-8"))
    found = {}
    for part, expected in sums.items():
        path = folder / f"{part}.npy"
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise ValueError(f"{path.name} does not have the SHA-256 in {SUMS_FILE}")
        # Kernels know arrays, not their subclass; the memory stays the file's.
        found[part] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    return found


def _write(folder: Path, arrays: Arrays) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        sums = {}
        for part, array in arrays.items():
            path = temporary / f"{part}.npy"
            np.save(path, array, allow_pickle=False)
            sums[part] = hashlib.sha256(path.read_bytes()).hexdigest()
        (temporary / SUMS_FILE).write_text(json.dumps(sums), encoding="utf-8")
        if folder.exists():  # damaged, or another process was first with the same
            os.replace(folder, temporary / "before")
        os.replace(temporary, folder)
        shutil.rmtree(folder / "before", ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
