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
from pydantic import ConfigDict, TypeAdapter, ValidationError

from configs.errors import TrainingError
from configs.mappo import MappoConfig
from policies.actor import Actor
from trainers.mappo.plan import ActorPlan, TeamPlan

FOLDER = "checkpoints"
_PREFIX = "iteration-"
_POINTER = "latest"
_STATE, _ACTORS, _META = "state.pkl", "actors.pkl", "meta.json"
EARLIER = (
    "resume from an earlier checkpoint beside it by writing its folder's name into the file "
    "'latest', or begin a new run in another folder"
)
# What a resumed run may set anew: its budget and how it is run, not what is computed.
_FREE = frozenset(
    {
        "stop",
        "alarms",
        "checkpoint_every",
        "keep_checkpoints",
        "torch_threads",
        "object_store_mb",
        "sample_timeout_s",
        "ray_address",
    }
)


@dataclass(frozen=True)
class CheckpointMeta:
    """What a checkpoint says of itself, as JSON beside the state.

    minutes: of training so far, over all sittings. layout: digest of the columns that
    agents read. state_columns: names of all that the critic reads. kernels: digest of
    what the compiled simulator depends on.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    iteration: int
    env_steps: int
    minutes: float
    make: str
    layout: str
    state_columns: list[str]
    kernels: str
    config: dict[str, Any]

    def check_resumable(
        self, config: MappoConfig, make: str, plan: TeamPlan, kernels: str, where: Path
    ) -> None:
        """Refuse another environment, other columns, other kernels or other settings."""
        digest, columns = plan.layout.digest, list(plan.state_columns)
        if self.layout != digest or self.make != make:
            raise TrainingError(
                f"{where} was trained on '{self.make}' with columns {self.layout[:12]}, this run "
                f"has '{make}' with columns {digest[:12]}: begin a new run in another folder"
            )
        if self.state_columns != columns:
            other = sorted(set(self.state_columns) ^ set(columns)) or ["their order"]
            raise TrainingError(
                f"{where} was trained with other state columns (they differ in: "
                f"{', '.join(other)}); resume with the version it was begun with, or begin a new "
                "run in another folder"
            )
        if self.kernels != kernels:
            raise TrainingError(
                f"{where} was trained with simulator kernels {self.kernels}, here they are "
                f"{kernels}: the code, numba, numpy, python or the processor differs, and the "
                "run would not go on as it was begun; resume with that version on such a "
                "machine, or begin a new run in another folder"
            )
        self.check_settings(config, where)

    def check_settings(self, config: MappoConfig, where: Path) -> None:
        """Refuse other settings than those it was trained with, the free ones apart."""
        now = config.model_dump(mode="json")
        # A setting that is newer than the checkpoint had no other value than its default.
        then = MappoConfig().model_dump(mode="json") | self.config
        changed = sorted(
            key
            for key in then.keys() | now.keys()
            if key not in _FREE and then.get(key) != now.get(key)
        )
        if changed:
            pairs = ", ".join(f"{k}={now.get(k)} (was {then.get(k)})" for k in changed)
            raise TrainingError(
                f"{where} was trained with other settings: {pairs}; resume with the settings it "
                f"was begun with (free to change: {', '.join(sorted(_FREE))}), or begin a new run"
            )


def save_checkpoint(
    output: Path,
    state: Mapping[str, Any],
    plan: TeamPlan,
    actors: Mapping[str, Actor],
    meta: CheckpointMeta,
    keep: int,
) -> Path:
    """Write one checkpoint under `output`/checkpoints and point to it; keep the last `keep`.

    Raises:
        TrainingError: it cannot be written; what there was of it is gone again, and the
            last good one is whole.
    """
    root = output / FOLDER
    name = f"{_PREFIX}{meta.iteration:06d}"
    partial, pointer = (root / f".{part}.{os.getpid()}" for part in (name, _POINTER))
    found = {
        actor.name: {
            "plan": actor,
            "weights": {k: v.numpy() for k, v in actors[actor.name].state_dict().items()},
        }
        for actor in plan.actors
    }
    contents = {
        _STATE: pickle.dumps(dict(state), protocol=pickle.HIGHEST_PROTOCOL),
        _ACTORS: pickle.dumps(found, protocol=pickle.HIGHEST_PROTOCOL),
        _META: json.dumps(asdict(meta), indent=2).encode(),
    }
    try:
        return _place(root, name, contents, partial, pointer, keep)
    except OSError as error:
        last = latest_checkpoint(output)
        kept = "there is none before it" if last is None else f"the last good one is {last}"
        raise TrainingError(
            f"{error.filename or root / name}: the checkpoint of iteration {meta.iteration} cannot "
            f"be written ({error.strerror or error}); {kept}: make room and go on with --resume"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        pointer.unlink(missing_ok=True)


def _place(
    root: Path, name: str, contents: Mapping[str, bytes], partial: Path, pointer: Path, keep: int
) -> Path:
    """Write the files into `partial`, make it the folder `name`, point to it, prune."""
    final = root / name
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f".{_PREFIX}*"):  # by a kill, midway in writing or deleting
        shutil.rmtree(left)
    partial.mkdir()
    for file, content in contents.items():
        _write(partial / file, content)
    _sync(partial)
    if final.exists():  # the same iteration again, after a resume from an earlier one
        _remove(final)
    partial.rename(final)
    _write(pointer, name.encode())
    os.replace(pointer, root / _POINTER)
    _sync(root)
    for old in _folders(root)[:-keep]:
        if old != final:
            _remove(old)
    return final


def latest_checkpoint(output: Path) -> Path | None:
    """The checkpoint that `latest` names, else the newest whole one, else None."""
    root = output / FOLDER
    folders = _folders(root)
    pointer = root / _POINTER
    name = _read(pointer).decode(errors="replace").strip() if pointer.is_file() else ""
    named = [folder for folder in folders if folder.name == name]
    return (named or folders)[-1] if folders else None


def load_checkpoint(folder: Path) -> tuple[CheckpointMeta, dict[str, Any]]:
    """What `save_checkpoint` wrote: what it says of itself, and the algorithm's state.

    Raises:
        TrainingError: a file of it is missing, damaged or of another version.
    """
    return load_meta(folder), _unpickled(folder / _STATE)


def load_meta(folder: Path) -> CheckpointMeta:
    """What a checkpoint says of itself.

    Raises:
        TrainingError: it is missing, damaged or of another version.
    """
    path = folder / _META
    try:
        return TypeAdapter(CheckpointMeta).validate_json(_read(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise TrainingError(_damaged(path, reason)) from error


def holds_actors(folder: Path) -> bool:
    """Whether the folder is a checkpoint's, with actors in it."""
    return (folder / _ACTORS).is_file()


def load_actors(folder: Path) -> dict[str, Actor]:
    """The actors of a checkpoint, on the CPU, ready to act."""
    try:
        return {name: _actor(found) for name, found in _unpickled(folder / _ACTORS).items()}
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise TrainingError(_damaged(folder / _ACTORS, str(error))) from error


def _actor(found: Mapping[str, Any]) -> Actor:
    plan: ActorPlan = found["plan"]
    actor = plan.build()
    weights = {key: torch.from_numpy(value.copy()) for key, value in found["weights"].items()}
    actor.load_state_dict(weights)
    return actor.eval()


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob(f"{_PREFIX}*") if path.is_dir())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make what was renamed in `folder` outlive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    """Delete a checkpoint; a kill midway leaves no part of it under its name."""
    gone = folder.with_name(f".{folder.name}.gone")
    folder.rename(gone)
    shutil.rmtree(gone)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); {EARLIER}") from error


def _damaged(path: Path, reason: str) -> str:
    return f"{path}: damaged, or written by another version ({reason}); {EARLIER}"


def _unpickled(path: Path) -> dict[str, Any]:
    content = _read(path)
    try:
        found = pickle.loads(content)
    except Exception as error:  # damaged bytes can call anything, and so raise anything
        reason = f"{type(error).__name__}: {error}"
        raise TrainingError(_damaged(path, reason)) from error
    if not isinstance(found, dict):
        raise TrainingError(_damaged(path, f"a {type(found).__name__}, expected a dict"))
    return found
