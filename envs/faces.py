"""What PettingZoo's faces of all our environments share: seeds, and choices checked and coded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ActionError
from signals.layout import AgentLayout

UPSTREAM = "upstream"  # in observations: what was chosen before in the same step
_SEEDS = 1 << 64


def fresh_seed() -> int:
    """A seed from the system, for an environment that was given none."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def checked_seed(seed: int) -> int:
    """The seed, if the generator can take it.

    Raises:
        ActionError: it is not a whole number from 0 to 2**64 - 1.
    """
    if not 0 <= seed < _SEEDS:
        raise ActionError(f"seed is {seed}, expected a whole number from 0 to 2**64 - 1")
    return seed


def checked_choice(layout: AgentLayout, action: Any) -> int:
    """A discrete agent's choice.

    Raises:
        ActionError: it is no whole number, or none of the agent's.
    """
    fits = np.ndim(action) == 0 and np.issubdtype(np.asarray(action).dtype, np.integer)
    if fits and 0 <= int(action) < len(layout.components):
        return int(action)
    raise ActionError(
        f"{layout.name}: got {action!r}, expected an integer from 0 to "
        f"{len(layout.components) - 1} ({', '.join(c.name for c in layout.components)})"
    )


def checked_numbers(layout: AgentLayout, action: Any) -> NDArray[Any]:
    """The action as the numbers of a joint row; whether a box's lie in range is not judged.

    Raises:
        ActionError: no choice of a discrete agent, or numbers of another shape.
    """
    if layout.kind == "discrete":
        return np.array([checked_choice(layout, action)], np.float32)
    width = len(layout.components)
    try:
        numbers = np.asarray(action, np.float32)
    except (TypeError, ValueError) as error:
        raise ActionError(
            f"{layout.name}: got {action!r}, expected {width} numbers in [0, 1]"
        ) from error
    if numbers.shape != (width,):
        raise ActionError(f"{layout.name}: got shape {numbers.shape}, expected ({width},)")
    return numbers


def encode_choice(layout: AgentLayout, numbers: NDArray[Any]) -> NDArray[Any]:
    """An action as it stands in `upstream`: itself, or one-hot where discrete."""
    if layout.kind == "box":
        return numbers
    encoded = np.zeros(len(layout.components), np.float32)
    encoded[int(numbers[0])] = 1.0
    return encoded
