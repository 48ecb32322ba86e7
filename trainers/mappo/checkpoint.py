"""Checkpoints: folders that are always whole, and a pointer to the latest.

A checkpoint is written under a hidden name in the same folder and renamed when
it is complete; the pointer is replaced atomically after that. A kill at any
moment leaves the last good one.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from configs.errors import TrainingError
from configs.mappo import MappoConfig
from policies.sequential import SequentialPolicy

FOLDER = "checkpoints"
_PREFIX = "iteration-"
_POINTER = "latest"
_STATE, _POLICY, _META = "state.pkl", "policy.pkl", "meta.json"
# What a resumed run may set anew: its budget and how it is run, not what is computed.
_FREE = frozenset(
    {
        "stop",
        "checkpoint_every",
        "keep_checkpoints",
        "torch_threads",
        "object_store_mb",
        "sample_timeout_s",
    }
)


@dataclass(frozen=True)
class CheckpointMeta:
    """What a checkpoint says of itself, as JSON beside the state.

    minutes: of training so far, over all sittings. layout: digest of the columns.
    """

    iteration: int
    env_steps: int
    minutes: float
    make: str
    layout: str
    config: dict[str, Any]

    def check_resumable(self, config: MappoConfig, make: str, layout: str, where: Path) -> None:
        """Refuse to go on with another environment, other columns or other settings."""
        if self.layout != layout or self.make != make:
            raise TrainingError(
                f"{where} was trained on '{self.make}' with columns {self.layout[:12]}, this run "
                f"has '{make}' with columns {layout[:12]}: begin a new run in another folder"
            )
        now = config.model_dump(mode="json")
        changed = sorted(
            key
            for key in self.config.keys() | now.keys()
            if key not in _FREE and self.config.get(key) != now.get(key)
        )
        if changed:
            pairs = ", ".join(f"{k}={now.get(k)} (was {self.config.get(k)})" for k in changed)
            raise TrainingError(
                f"{where} was trained with other settings: {pairs}; resume with the settings it "
                f"was begun with (free to change: {', '.join(sorted(_FREE))}), or begin a new run"
            )


def save_checkpoint(
    output: Path,
    state: Mapping[str, Any],
    policy: SequentialPolicy,
    meta: CheckpointMeta,
    keep: int,
) -> Path:
    """Write one checkpoint under `output`/checkpoints and point to it; keep the last `keep`."""
    root = output / FOLDER
    root.mkdir(parents=True, exist_ok=True)
    name = f"{_PREFIX}{meta.iteration:06d}"
    final, partial = root / name, root / f".{name}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    actor = {
        "layout": policy.layout,
        "config": policy.config,
        "weights": {key: value.numpy() for key, value in policy.state_dict().items()},
    }
    _write(partial / _STATE, pickle.dumps(dict(state), protocol=pickle.HIGHEST_PROTOCOL))
    _write(partial / _POLICY, pickle.dumps(actor, protocol=pickle.HIGHEST_PROTOCOL))
    _write(partial / _META, json.dumps(asdict(meta), indent=2).encode())
    if final.exists():  # the same iteration again, after a resume from an earlier one
        shutil.rmtree(final)
    partial.rename(final)
    pointer = root / f".{_POINTER}.{os.getpid()}"
    _write(pointer, name.encode())
    os.replace(pointer, root / _POINTER)
    for old in _folders(root)[:-keep]:
        if old != final:
            shutil.rmtree(old)
    return final


def latest_checkpoint(output: Path) -> Path | None:
    """The checkpoint that `latest` names, else the newest whole one, else None."""
    root = output / FOLDER
    pointer = root / _POINTER
    if pointer.is_file():
        named = root / pointer.read_text().strip()
        if named.is_dir():
            return named
    folders = _folders(root)
    return folders[-1] if folders else None


def load_checkpoint(folder: Path) -> tuple[CheckpointMeta, dict[str, Any]]:
    """What `save_checkpoint` wrote: what it says of itself, and the algorithm's state."""
    meta = CheckpointMeta(**json.loads(_read(folder / _META)))
    return meta, _unpickled(folder / _STATE)


def load_policy(folder: Path) -> SequentialPolicy:
    """The actor of a checkpoint, on the CPU, ready to act."""
    found = _unpickled(folder / _POLICY)
    policy = SequentialPolicy(found["layout"], found["config"])
    weights = {key: torch.from_numpy(value.copy()) for key, value in found["weights"].items()}
    policy.load_state_dict(weights)
    return policy.eval()


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob(f"{_PREFIX}*") if path.is_dir())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be read ({error.strerror}); resume from an earlier checkpoint beside "
            "it by writing its folder's name into the file 'latest'"
        ) from error


def _unpickled(path: Path) -> dict[str, Any]:
    content = _read(path)
    try:
        found: dict[str, Any] = pickle.loads(content)
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
        raise TrainingError(
            f"{path}: damaged, or written by another version ({error}); resume from an earlier "
            "checkpoint beside it by writing its folder's name into the file 'latest'"
        ) from error
    return found
