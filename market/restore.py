"""Restoring arrays from a saved state, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from configs.errors import SimulatorError


def restore_arrays(targets: Mapping[str, Any], given: Mapping[str, Any], what: str) -> None:
    """Write what `given` holds under each name of `targets` into that array.

    Args:
        targets: arrays to be overwritten, by name.
        given: what a `state_dict` returned.
        what: whose state it is, for messages.

    Raises:
        SimulatorError: an array is missing or has another shape or type; nothing changes then.
    """
    for name, target in targets.items():
        found = given.get(name)
        if not isinstance(found, np.ndarray):
            raise SimulatorError(
                f"{what} state: '{name}' is missing; give what state_dict() returned"
            )
        if found.shape != target.shape or found.dtype != target.dtype:
            raise SimulatorError(
                f"{what} state: '{name}' is {found.dtype}{list(found.shape)}, expected "
                f"{target.dtype}{list(target.shape)}; restore into one of the same configuration "
                "and number of episodes"
            )
    for name, target in targets.items():
        target[...] = given[name]


def market_arrays(market: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    """The arrays of a `market.state.Market` that its next step depends on, by name."""
    found = {name: getattr(market, name) for name in fields}
    found.update({f"books_{k}": v for k, v in market.books._asdict().items()})
    return found
