"""Observation spaces of gymnasium as columns of a row, and what writes observations there.

    Box            its numbers, flattened            position[0], image[3,4,1]
    Discrete       one-hot                           phase=2
    MultiDiscrete  one-hot each                      cards[1]=4
    MultiBinary    its flags                         doors[0]
    Tuple, Dict    their parts, one after the other  sensors.position[0]

A writer is bound to its place in the batch once, so that a step does no look-ups.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

ROOT = "observation"
ACTION_MASK = "action_mask"

Write = Callable[[Any], None]
Bind = Callable[[NDArray[np.float32]], Write]


class Unfit(Exception):
    """A space or a value that cannot be read; whoever knows the place says where."""


@dataclass(frozen=True)
class Observed:
    """What an observation space becomes.

    columns: a name per number. bind: given float32 [len(columns)] to overwrite, hands
    back what writes one observation there and raises `Unfit` where it does not fit.
    """

    columns: tuple[str, ...]
    bind: Bind


def masks_itself(space: Any) -> bool:
    """Whether the observation carries the action mask: a Dict with the key "action_mask"."""
    return isinstance(space, spaces.Dict) and ACTION_MASK in space.spaces


def observed(space: Any) -> Observed:
    """Columns and writer of an agent's observation space, its action mask left out.

    Raises:
        Unfit: a part of the space has no fixed width.
    """
    if masks_itself(space):
        rest = {key: part for key, part in space.spaces.items() if key != ACTION_MASK}
        if not rest:
            raise Unfit(f"the observation holds '{ACTION_MASK}' and nothing else")
        return _of_parts(rest, {key: str(key) for key in rest})
    return _observed(space, "")


def _observed(space: Any, path: str) -> Observed:
    for kind in type(space).__mro__:
        if kind in _KINDS:
            return _KINDS[kind](space, path)
    raise Unfit(
        f"{path or ROOT} is a {type(space).__name__} space: expected Box, Discrete, "
        "MultiDiscrete, MultiBinary, Tuple or Dict of gymnasium"
    )


def indexed(path: str, shape: Sequence[int]) -> list[str]:
    """Names of the numbers of an array: "path[0]", "path[2,1]"; "path" alone where it is one."""
    if not shape:
        return [path]
    return [f"{path}[{','.join(map(str, index))}]" for index in np.ndindex(*shape)]


def _numbers(shape: tuple[int, ...], columns: Sequence[str], path: str) -> Observed:
    def bind(out: NDArray[np.float32]) -> Write:
        view = out.reshape(shape)

        def write(value: Any) -> None:
            if value.__class__ is not np.ndarray:
                value = np.asarray(value)
            if value.shape != shape:
                raise Unfit(f"{path} has shape {value.shape}, expected {shape}")
            try:
                view[...] = value
            except (TypeError, ValueError) as error:
                raise Unfit(f"{path} holds no numbers: {error}") from error

        return write

    return Observed(tuple(columns), bind)


def _box(space: spaces.Box, path: str) -> Observed:
    path = path or ROOT
    return _numbers(space.shape, indexed(path, space.shape), path)


def _binary(space: spaces.MultiBinary, path: str) -> Observed:
    path = path or ROOT
    return _numbers(space.shape, indexed(path, space.shape), path)


def _discrete(space: spaces.Discrete, path: str) -> Observed:
    path = path or ROOT
    start, count = int(space.start), int(space.n)

    def bind(out: NDArray[np.float32]) -> Write:
        def write(value: Any) -> None:
            try:
                index = operator.index(value) - start
            except TypeError:
                index = -1
            if not 0 <= index < count:
                raise Unfit(
                    f"{path} is {value!r}, expected an integer from {start} to {start + count - 1}"
                )
            out[:] = 0.0
            out[index] = 1.0

        return write

    return Observed(tuple(f"{path}={start + index}" for index in range(count)), bind)


def _multi_discrete(space: spaces.MultiDiscrete, path: str) -> Observed:
    path = path or ROOT
    shape = space.nvec.shape
    counts = space.nvec.ravel().astype(np.int64)
    starts = space.start.ravel().astype(np.int64)
    offsets = np.cumsum(counts) - counts
    columns = [
        f"{name}={start + index}"
        for name, start, count in zip(indexed(path, shape), starts, counts, strict=True)
        for index in range(count)
    ]

    def bind(out: NDArray[np.float32]) -> Write:
        def write(value: Any) -> None:
            value = np.asarray(value)
            if value.shape != shape or value.dtype.kind not in "iu":
                raise Unfit(
                    f"{path} has shape {value.shape} of {value.dtype}, expected {shape} of integers"
                )
            indices = value.ravel() - starts
            if ((indices < 0) | (indices >= counts)).any():
                raise Unfit(f"{path} is {value.tolist()}, which is not in {space}")
            out[:] = 0.0
            out[offsets + indices] = 1.0

        return write

    return Observed(tuple(columns), bind)


def _tuple(space: spaces.Tuple, path: str) -> Observed:
    parts = dict(enumerate(space.spaces))
    return _of_parts(parts, {key: f"{path or ROOT}[{key}]" for key in parts}, path)


def _dict(space: spaces.Dict, path: str) -> Observed:
    prefix = f"{path}." if path else ""
    return _of_parts(space.spaces, {key: f"{prefix}{key}" for key in space.spaces}, path)


def _of_parts(parts: Mapping[Any, Any], paths: Mapping[Any, str], path: str = "") -> Observed:
    path = path or ROOT
    inner = {key: _observed(part, paths[key]) for key, part in parts.items()}
    columns = tuple(column for part in inner.values() for column in part.columns)

    def bind(out: NDArray[np.float32]) -> Write:
        writes: list[tuple[Any, Write]] = []
        at = 0
        for key, part in inner.items():
            writes.append((key, part.bind(out[at : at + len(part.columns)])))
            at += len(part.columns)

        def write(value: Any) -> None:
            for key, put in writes:
                try:
                    found = value[key]
                except (KeyError, IndexError, TypeError) as error:
                    raise Unfit(f"{path} lacks '{key}', which its space has") from error
                put(found)

        return write

    return Observed(columns, bind)


_KINDS: dict[type, Callable[[Any, str], Observed]] = {
    spaces.Box: _box,
    spaces.Discrete: _discrete,
    spaces.MultiDiscrete: _multi_discrete,
    spaces.MultiBinary: _binary,
    spaces.Tuple: _tuple,
    spaces.Dict: _dict,
}
