"""Spaces of the execution agents, from the column tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from signals.execution import EXECUTION
from signals.layout import Column

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
