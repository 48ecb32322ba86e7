"""Where a run's numbers come from: the commit, the packages, the machine's memory."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "grandmodel",
    "mlflow",
    "numba",
    "numpy",
    "onnx",
    "onnxruntime",
    "pettingzoo",
    "ray",
    "torch",
)
UNKNOWN_COMMIT = "unknown"
_GIT_SECONDS = 10.0


@dataclass(frozen=True)
class Commit:
    """The commit that the code was run at; `dirty` where files differ from it."""

    name: str
    dirty: bool

    @property
    def told(self) -> str:
        """The name, ending in -dirty where files differ."""
        return f"{self.name}-dirty" if self.dirty else self.name


def commit(root: Path | None = None) -> Commit:
    """The commit of the checkout that this code lies in; unknown outside one.

    A package installed inside somebody else's checkout is not that checkout's
    code, so the repository's top must be the folder of the packages.
    """
    home = root if root is not None else Path(__file__).resolve().parent.parent
    top = _git(home, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != home.resolve():
        return Commit(UNKNOWN_COMMIT, dirty=False)
    name = _git(home, "rev-parse", "HEAD")
    changed = _git(home, "status", "--porcelain", "--untracked-files=no")
    return Commit(name or UNKNOWN_COMMIT, dirty=bool(changed))


def versions() -> dict[str, str]:
    """The versions of the packages that shape a run; those not installed are left out."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
