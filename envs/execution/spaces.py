"""Spaces of the execution agents, from the column tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from configs.errors import ActionError
from signals.execution import EXECUTION
from signals.layout import AgentLayout, Column

AGENTS = tuple(agent.name for agent in EXECUTION.agents)


def column_box(columns: tuple[Column, ...]) -> spaces.Box:
    """A float32 box with the bounds that the column table declares."""
    low = np.array([c.low for c in columns], np.float32)
    high = np.array([c.high for c in columns], np.float32)
    return spaces.Box(low, high, dtype=np.float32)


def observation_space(agent: int) -> spaces.Dict:
    """`observation` (the agent's columns) and `upstream` (the choices before it)."""
    return spaces.Dict(
        {
            "observation": column_box(EXECUTION.observation_columns(agent)),
            "upstream": spaces.Box(0.0, 1.0, (EXECUTION.upstream_width,), np.float32),
        }
    )


def action_space(agent: int) -> spaces.Space[Any]:
    """A unit box, or the choices of a discrete agent."""
    layout = EXECUTION.agents[agent]
    if layout.kind == "discrete":
        return spaces.Discrete(len(layout.components))
    return spaces.Box(0.0, 1.0, (len(layout.components),), np.float32)


def checked_action(layout: AgentLayout, action: Any, space: spaces.Space[Any]) -> NDArray[Any]:
    """The action as the numbers of a joint row.

    Raises:
        ActionError: outside the space, not finite, or of another shape.
    """
    if layout.kind == "discrete":
        fits = np.ndim(action) == 0 and np.issubdtype(np.asarray(action).dtype, np.integer)
        if fits and 0 <= int(action) < len(layout.components):
            return np.array([action], np.float32)
        raise ActionError(
            f"{layout.name}: got {action!r}, expected an integer from 0 to "
            f"{len(layout.components) - 1} ({', '.join(c.name for c in layout.components)})"
        )
    try:
        numbers = np.asarray(action, np.float32)
    except (TypeError, ValueError) as error:
        raise ActionError(f"{layout.name}: got {action!r}, expected {space}") from error
    if numbers.shape != (len(layout.components),):
        raise ActionError(
            f"{layout.name}: got shape {numbers.shape}, expected ({len(layout.components)},)"
        )
    return numbers


def encode_choice(layout: AgentLayout, numbers: NDArray[Any]) -> NDArray[Any]:
    """An action as it stands in `upstream`: itself, or one-hot where discrete."""
    if layout.kind == "box":
        return numbers
    encoded = np.zeros(len(layout.components), np.float32)
    encoded[int(numbers[0])] = 1.0
    return encoded
