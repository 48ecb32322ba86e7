"""Action spaces of gymnasium as factors of a row of actions, and rows as actions again.

    Discrete       one categorical factor
    MultiDiscrete  a categorical factor per number
    MultiBinary    a categorical factor of width 2 per flag
    Box            bounded factors, scaled from [0, 1] to [low, high], and unbounded ones
                   where it has no bounds; whole numbers are rounded to
    Tuple, Dict    the factors of their parts, one after the other

Whole batches are decoded at once. A mask is flags, as gymnasium's own `sample(mask)` takes
them: an array for Discrete, a tuple or one flat array for what has several factors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.vector_spaces import Unfit, indexed
from signals.team import Factor, FactorKind

ROOT = "action"

Decode = Callable[[NDArray[np.float32]], list[Any]]


@dataclass(frozen=True)
class Choices:
    """How an action mask is built: `width` flags, those of its `parts` one after the other."""

    width: int
    parts: Mapping[Any, Choices] | None = None


@dataclass(frozen=True)
class Acting:
    """What an action space becomes.

    factors: in the order of a row of actions. decode: float32 [N, action width] of valid
    numbers -> N actions of the space. choices: how its masks are built.
    """

    factors: tuple[Factor, ...]
    decode: Decode
    choices: Choices


def acting(space: Any) -> Acting:
    """Factors, decoder and masks of an agent's action space.

    Raises:
        Unfit: the space, or a part of it, cannot be acted in.
    """
    found = _acting(space, "")
    if not found.factors:
        raise Unfit("the action space holds no number, so there is nothing to decide")
    return found


def _acting(space: Any, path: str) -> Acting:
    for kind in type(space).__mro__:
        if kind in _KINDS:
            return _KINDS[kind](space, path)
    raise Unfit(
        f"{path or ROOT} is a {type(space).__name__} space: expected Box, Discrete, "
        "MultiDiscrete, MultiBinary, Tuple or Dict of gymnasium"
    )


def _discrete(space: spaces.Discrete, path: str) -> Acting:
    start = int(space.start)

    def decode(rows: NDArray[np.float32]) -> list[Any]:
        # Python's own integers: environments that index and compare by them, in Python, are
        # several per cent faster for it (mpe2: 15 us of a step of 330).
        chosen: list[Any] = (rows[:, 0].astype(np.int64) + start).tolist()
        return chosen

    factor = Factor(path or ROOT, "categorical", int(space.n))
    return Acting((factor,), decode, Choices(factor.width))


def _categorical(
    widths: Sequence[int], shape: tuple[int, ...], start: Any, dtype: Any, path: str
) -> Acting:
    """An array of choices, the smallest of them `start`."""

    def decode(rows: NDArray[np.float32]) -> list[Any]:
        return list(rows.astype(dtype).reshape(-1, *shape) + start)

    names = indexed(path or ROOT, shape)
    factors = tuple(
        Factor(name, "categorical", int(width)) for name, width in zip(names, widths, strict=True)
    )
    parts = {index: Choices(factor.width) for index, factor in enumerate(factors)}
    return Acting(factors, decode, Choices(sum(factor.width for factor in factors), parts))


def _multi_discrete(space: spaces.MultiDiscrete, path: str) -> Acting:
    start = space.start.astype(space.dtype)
    return _categorical(space.nvec.ravel(), space.shape, start, space.dtype, path)


def _binary(space: spaces.MultiBinary, path: str) -> Acting:
    widths = [2] * int(np.prod(space.shape))
    return _categorical(widths, space.shape, np.zeros((), space.dtype), space.dtype, path)


def _box(space: spaces.Box, path: str) -> Acting:
    path = path or ROOT
    shape, dtype = space.shape, space.dtype
    low, high = (_bounds(bound) for bound in (space.low, space.high))
    bounded = np.isfinite(low) & np.isfinite(high)
    names = indexed(path, shape)
    for position in np.flatnonzero(~bounded & (np.isfinite(low) | np.isfinite(high))):
        raise Unfit(
            f"{names[position]} has the bounds {low[position]:g} and {high[position]:g}: expected "
            "two finite bounds, or none"
        )
    scale, shift = np.where(bounded, high - low, 1.0), np.where(bounded, low, 0.0)
    whole = np.issubdtype(dtype, np.integer) or dtype == np.bool_
    lowest, highest = space.low.ravel(), space.high.ravel()

    def decode(rows: NDArray[np.float32]) -> list[Any]:
        values = rows * scale + shift
        if whole:
            values = np.rint(values)
        # In the space's own precision a scaled 1 may come out above the highest number.
        values = np.clip(values.astype(dtype), lowest, highest)
        return [row.reshape(shape) for row in values]

    return Acting(_runs(path, shape, bounded), decode, Choices(0))


def _bounds(bound: NDArray[Any]) -> NDArray[np.float64]:
    """Flattened; the largest number that the type holds is no bound."""
    flat = bound.ravel().astype(np.float64)
    if np.issubdtype(bound.dtype, np.floating):
        flat[np.abs(bound.ravel()) == np.finfo(bound.dtype).max] *= np.inf
    return flat


def _runs(path: str, shape: tuple[int, ...], bounded: NDArray[np.bool_]) -> tuple[Factor, ...]:
    """A factor for each run of neighbours with bounds, or without."""
    factors: list[Factor] = []
    names = indexed(path, shape)
    at = 0
    for has_bounds, run in groupby(bounded.tolist()):
        width = len(list(run))
        kind: FactorKind = "bounded" if has_bounds else "unbounded"
        whole = width == len(names)
        name = path if whole else names[at]
        if not whole and width > 1:
            name = f"{names[at]}..{names[at + width - 1].removeprefix(path)}"
        factors.append(Factor(name, kind, width))
        at += width
    return tuple(factors)


def _tuple(space: spaces.Tuple, path: str) -> Acting:
    parts = {
        index: _acting(part, f"{path or ROOT}[{index}]") for index, part in enumerate(space.spaces)
    }
    return _of_parts(parts, tuple)


def _dict(space: spaces.Dict, path: str) -> Acting:
    prefix = f"{path}." if path else ""
    parts = {key: _acting(part, f"{prefix}{key}") for key, part in space.spaces.items()}
    keys = tuple(parts)
    return _of_parts(parts, lambda values: dict(zip(keys, values, strict=True)))


def _of_parts(parts: Mapping[Any, Acting], build: Callable[[tuple[Any, ...]], Any]) -> Acting:
    ends = list(accumulate(sum(f.action_width for f in part.factors) for part in parts.values()))
    cuts = [slice(*edges) for edges in zip([0, *ends[:-1]], ends, strict=True)]

    def decode(rows: NDArray[np.float32]) -> list[Any]:
        columns = [
            part.decode(rows[:, cut]) for part, cut in zip(parts.values(), cuts, strict=True)
        ]
        return [build(values) for values in zip(*columns, strict=True)]

    factors = tuple(factor for part in parts.values() for factor in part.factors)
    choices = {key: part.choices for key, part in parts.items()}
    width = sum(part.width for part in choices.values())
    return Acting(factors, decode, Choices(width, choices))


_KINDS: dict[type, Callable[[Any, str], Acting]] = {
    spaces.Box: _box,
    spaces.Discrete: _discrete,
    spaces.MultiDiscrete: _multi_discrete,
    spaces.MultiBinary: _binary,
    spaces.Tuple: _tuple,
    spaces.Dict: _dict,
}


def flags(choices: Choices, mask: Any) -> NDArray[np.bool_]:
    """bool [choices.width]: the mask an environment gives, flattened; None allows everything.

    Raises:
        Unfit: it has another width or form than the action space.
    """
    if mask is None:
        return np.ones(choices.width, np.bool_)
    if isinstance(mask, Mapping):
        parts = choices.parts or {}
        if set(mask) != set(parts):
            raise Unfit(f"the action mask has the keys {list(mask)}, expected {list(parts)}")
        return _joined([flags(part, mask[key]) for key, part in parts.items()])
    if isinstance(mask, tuple | list) and not all(map(np.isscalar, mask)):
        parts = choices.parts or {}
        if len(mask) != len(parts):
            raise Unfit(f"the action mask has {len(mask)} parts, expected {len(parts)}")
        return _joined([flags(p, m) for p, m in zip(parts.values(), mask, strict=True)])
    flat = np.asarray(mask).ravel()
    if flat.size != choices.width or flat.dtype.kind not in "biuf":
        raise Unfit(
            f"the action mask has {flat.size} flags of {flat.dtype}, expected {choices.width}: "
            "one for each choice, 1 where it is allowed"
        )
    return flat != 0


def _joined(parts: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.concatenate([np.empty(0, np.bool_), *parts])


def bind_mask(choices: Choices, out: NDArray[np.bool_]) -> Callable[[Any], None]:
    """What writes a mask into `out` [choices.width], and raises `Unfit` where it does not fit."""
    shape = out.shape

    def write(mask: Any) -> None:
        if mask.__class__ is np.ndarray and mask.shape == shape and mask.dtype.kind in "biu":
            out[:] = mask
        else:
            out[:] = flags(choices, mask)

    return write
