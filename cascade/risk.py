"""The rules that every order passes after the networks: nothing that these say opens them.

The seam for the risk layer: `judge_parent` and `judge_children` see an order, the position,
the limits and the state of the session, and say what of it may go. Today's rules are the
account's: position and order size, a price collar, and in distress nothing but what reduces.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.cascade import LimitsConfig
from market.kernels import inlined

LIMITS = np.dtype(
    [
        ("position", np.int64),  # units, long or short
        ("order", np.int64),  # units of one child
        ("collar", np.int64),  # ticks beyond the mid
    ]
)


class Reason(IntEnum):
    """Why an order does not go."""

    NONE = 0
    SIZE = 1
    POSITION = 2
    COLLAR = 3
    ONLY_REDUCE = 4


def limits_of(config: LimitsConfig, limit: int) -> NDArray[Any]:
    """LIMITS [1] of an account whose full position is `limit` units."""
    out = np.zeros(1, LIMITS)
    out["position"] = int(config.position * limit)
    out["order"] = max(int(config.order * limit), 1)
    out["collar"] = config.collar_ticks
    return out


def judge_parent(
    signed: int, position: int, limits: NDArray[Any], only_reduce: bool
) -> tuple[int, Reason]:
    """What of a parent order of `signed` units may go, and why not all of it.

    Args:
        position: units held, short below 0.
        only_reduce: nothing may go but toward flat.
    """
    most = 0 if only_reduce else int(limits["position"][0])
    target = position + signed
    if only_reduce:
        # Toward flat and no further.
        low, high = min(position, 0), max(position, 0)
    else:
        # What is beyond the limit already may come back in parts, and not grow.
        low, high = min(-most, position), max(most, position)
    allowed = min(max(target, low), high) - position
    if allowed == signed:
        return signed, Reason.NONE
    return allowed, Reason.ONLY_REDUCE if only_reduce else Reason.POSITION


@inlined
def judge_child(
    child: Any, side: int, position: int, open_units: int, mid: float, limits: Any
) -> int:
    """Why a child order may not go, or NONE.

    Args:
        child: a CHILD record.
        position: units held now, fills of the parent included.
        open_units: of the same side that may still be filled, those let through just now too.
        mid: ladder ticks.
        limits: a LIMITS record.
    """
    if child.quantity <= 0 or child.quantity > limits.order:
        return 1
    after = position + side * (open_units + child.quantity)
    if abs(after) > limits.position and abs(after) > abs(position):
        return 2
    if side * (child.price - mid) > limits.collar:
        return 3
    return 0
