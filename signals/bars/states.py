"""States of indicators as named arrays: to clear them, and to carry them in checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import SimulatorError

State = Any
"""A NamedTuple (or a mapping) of arrays, or of such tuples again."""


def arrays_of(state: State, prefix: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    """Every array of a state with its name, such as `mlmi.prices.count`."""
    parts = state.items() if isinstance(state, Mapping) else state._asdict().items()
    for name, value in parts:
        if isinstance(value, np.ndarray):
            yield prefix + name, value
        else:
            yield from arrays_of(value, f"{prefix}{name}.")


def clear(state: State) -> None:
    """Make a state what it was before its first bar: zeros."""
    for _, array in arrays_of(state):
        array[...] = np.zeros((), array.dtype)


def state_dict(state: State) -> dict[str, NDArray[Any]]:
    """Copies of the arrays, by name."""
    return {name: array.copy() for name, array in arrays_of(state)}


def load_state(state: State, saved: Mapping[str, NDArray[Any]]) -> None:
    """Write saved arrays into a state; nothing is written where any does not fit.

    Raises:
        SimulatorError: an array is missing, unknown, or of another shape or type.
    """
    own = dict(arrays_of(state))
    odd = sorted(set(own) ^ set(saved))
    if odd:
        where = "saved state" if odd[0] in own else "state of these settings"
        raise SimulatorError(
            f"'{odd[0]}' is not in the {where}: expected the same {len(own)} arrays; load it into "
            "a stream of the kind and configuration that saved it"
        )
    for name, array in own.items():
        got = np.asarray(saved[name])
        if got.shape != array.shape or got.dtype != array.dtype:
            raise SimulatorError(
                f"'{name}' of the saved state is {got.dtype} {list(got.shape)}: expected "
                f"{array.dtype} {list(array.shape)}; load it with the configuration that saved it"
            )
    for name, array in own.items():
        array[...] = saved[name]
